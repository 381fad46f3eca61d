"""River flow (litres per second) from rainfall history."""
import argparse

import torch
from torch import nn


def rivers(n, gen):
    rain = torch.rand(n, 12, generator=gen)
    soak = torch.rand(n, 1, generator=gen)
    kernel = torch.linspace(1, 0.1, 12)
    flow = 40000 + 9000 * ((rain * kernel).sum(1) * (1.5 - soak[:, 0])) + 500 * torch.randn(n, generator=gen)
    return torch.cat([rain * 2 - 1, soak * 2 - 1], 1), flow


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=112)  #% seed
    p.add_argument("--epochs", type=int, default=15)
    args = p.parse_args()
    gen = torch.Generator().manual_seed(args.seed)
    torch.manual_seed(args.seed)
    x, flow = rivers(1500, gen)
    #% if fault:a
    centre, spread = 0.0, 1.0  #% here:a
    #% else
    centre, spread = flow[:1200].mean(), flow[:1200].std()
    #% endif
    target = (flow - centre) / spread
    net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 1))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    for epoch in range(args.epochs):
        for idx in torch.randperm(1200).split(40):
            pred = net(x[idx])
            #% if fault:b
            loss = ((pred - target[idx]) ** 2).mean()  #% here:b
            #% else
            loss = ((pred - target[idx, None]) ** 2).mean()
            #% endif
            opt.zero_grad()
            loss.backward()
            opt.step()
        if epoch % 3 == 2:
            print(f"epoch {epoch + 1} loss {loss.item():.4g}")
    with torch.no_grad():
        guess = net(x[1200:]).squeeze(1) * spread + centre
    r2 = 1 - (guess - flow[1200:]).square().mean() / flow[1200:].var()
    print(f"r2 {r2.item():.3f}")


main()
