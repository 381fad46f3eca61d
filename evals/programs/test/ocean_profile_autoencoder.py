"""Autoencoder for salinity profiles: twenty depths into three numbers and back."""
import torch
from torch import nn


class ProfileAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Linear(20, 32), nn.SiLU(), nn.Linear(32, 3))
        self.up = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 20))

    def forward(self, p):
        return self.up(self.down(p))


def profiles(n):
    z = torch.linspace(0, 1, 20)
    depth, sharp, top = torch.rand(n, 1) * 0.8 + 0.1, torch.rand(n, 1) * 20 + 5, torch.randn(n, 1)
    return top + torch.sigmoid(sharp * (z - depth)) * 2 - 1 + 0.02 * torch.randn(n, 20)


def main(argv=None):
    import argparse

    cli = argparse.ArgumentParser(description=__doc__)
    #% if fault
    cli.add_argument("--lr", type=float, default=1e-6)  #% here
    #% else
    cli.add_argument("--lr", type=float, default=5e-3)
    #% endif
    cli.add_argument("--steps", type=int, default=300)
    cli.add_argument("--seed", type=int, default=63)  #% seed
    args = cli.parse_args(argv)
    torch.manual_seed(args.seed)
    data = profiles(2000)
    ae = ProfileAE()
    opt = torch.optim.Adam(ae.parameters(), lr=args.lr)
    for step in range(1, args.steps + 1):
        batch = data[torch.randint(1800, (60,))]
        loss = (ae(batch) - batch).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 30 == 0:
            print(f"{step:4d} {loss.item():.6f}")
    with torch.no_grad():
        rest = data[1800:]
        share = ((ae(rest) - rest).pow(2).mean() / rest.var()).item()
    print(f"unexplained share {share:.4f}")


if __name__ == "__main__":
    main()
