"""Move a motion classifier to a new wrist band: all but the last part keeps its weights."""

import torch
from torch import nn


class MotionNet(nn.Module):
    def __init__(self, motions):
        super().__init__()
        self.filters = nn.Conv1d(3, 16, 5)
        self.mix = nn.Conv1d(16, 24, 3)
        self.head = nn.Linear(24, motions)
        self.drop = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(24)

    def forward(self, x):
        h = torch.relu(self.mix(torch.relu(self.filters(x))))
        return self.head(self.drop(self.norm(h.mean(2))))


def recordings(n, motions, generator, band):
    motion = torch.randint(motions, (n,), generator=generator)
    time = torch.linspace(0, 6.28, 40)
    rate = 1 + motion[:, None, None] * 0.9 + torch.tensor([0.0, 0.15, 0.3])[:, None]
    start = 6.28 * torch.rand(n, 3, 1, generator=generator)
    wave = torch.sin(rate * time + start)
    return wave @ torch.eye(40) + band * 0.5 * wave.roll(1, 1) + 0.3 * torch.randn(n, 3, 40, generator=generator), motion


def fit(net, x, y, epochs, lr):
    optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=lr)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(40):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f}")


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = MotionNet(4)
    fit(net, *recordings(600, 4, generator, band=0.0), epochs=8, lr=5e-3)

    net.head = nn.Linear(24, 6)
    parts = list(net.children())
    #% if fault
    for part in parts[:-1]:  #% here
        part.requires_grad_(False)
    #% else
    for part in (net.filters, net.mix):
        part.requires_grad_(False)
    #% endif
    print("new band")
    fit(net, *recordings(600, 6, generator, band=1.0), epochs=14, lr=1e-2)
    net.eval()
    x, motion = recordings(400, 6, generator, band=1.0)
    with torch.no_grad():
        print(f"accuracy {(net(x).argmax(1) == motion).float().mean().item():.3f}")


main()
