"""Parcel weight class from two sensor groups, trained by a small trainer class."""
import torch
from torch import nn


class ParcelNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.optic = nn.Sequential(nn.Linear(6, 16), nn.Tanh())
        self.scale = nn.Sequential(nn.Linear(6, 16), nn.Tanh())
        self.join = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, optic, scale):
        return self.join(torch.cat([self.optic(optic), self.scale(scale)], 1))


class Runner:
    def __init__(self, model):
        self.model = model
        #% if fault:a
        self.opt = torch.optim.Adam(model.optic.parameters(), lr=4e-3)  #% here:a
        #% else
        self.opt = torch.optim.Adam(model.parameters(), lr=4e-3)
        #% endif

    def epoch(self, optic, scale, kind):
        for idx in torch.randperm(len(kind)).split(50):
            loss = nn.functional.cross_entropy(self.model(optic[idx], scale[idx]), kind[idx])
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
        return loss.item()

    @torch.no_grad()
    def accuracy(self, optic, scale, kind):
        out = self.model(optic, scale)
        #% if fault:b
        return (out.max(0).indices[kind] == kind).float().mean().item()  #% here:b
        #% else
        return (out.max(1).indices == kind).float().mean().item()
        #% endif


def parcels(n, mix):
    kind = torch.randint(4, (n,))
    hidden = torch.randn(n, 2)
    sign = torch.stack([kind % 2, kind // 2], 1) * 2.0 - 1
    optic = hidden @ mix + 0.1 * torch.randn(n, 6)
    scale = (hidden * sign) @ mix + 0.1 * torch.randn(n, 6)
    return optic, scale, kind


if __name__ == "__main__":
    torch.manual_seed(111)  #% seed
    mix = torch.randn(2, 6) * 0.7
    train, test = parcels(2000, mix), parcels(500, mix)
    runner = Runner(ParcelNet())
    for epoch in range(12):
        loss = runner.epoch(*train)
        print(f"epoch {epoch} loss {loss:.4f} test accuracy {runner.accuracy(*test):.3f}")
