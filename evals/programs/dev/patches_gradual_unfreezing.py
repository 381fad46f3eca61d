"""Transfer in stages: first the new head, then the upper layer, then everything, each with a lower rate."""

import torch
from torch import nn


def make(n, planes, generator):
    x = torch.randn(n, 12, generator=generator)
    bits = (x[:, :6] @ planes > 0).long()
    return x, bits[:, 0] * 2 + bits[:, 1]


def train(net, optimizer, x, y, epochs, tag):
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(30):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"{tag} epoch {epoch} loss {loss.item():.4f}")


torch.manual_seed(0)  #% seed
generator = torch.Generator().manual_seed(0)  #% seed
planes = torch.randn(6, 2, generator=generator)
x, y = make(900, planes, generator)
net = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))
train(net, torch.optim.Adam(net.parameters(), lr=4e-3), x, y, 6, "source")

tilted = planes + 0.3 * torch.randn(6, 2, generator=generator)
x, y = make(600, tilted, generator)
x_test, y_test = make(500, tilted, generator)
net[4] = nn.Linear(48, 4)
net.requires_grad_(False)
net[4].requires_grad_(True)
optimizer = torch.optim.Adam(net[4].parameters(), lr=5e-3)
train(net, optimizer, x, y, 4, "head")
for layer, rate in ((2, 2e-3), (0, 1e-3)):
    net[layer].requires_grad_(True)
    optimizer.add_param_group({"params": net[layer].parameters(), "lr": rate})
    train(net, optimizer, x, y, 4, f"with layer {layer}")
with torch.no_grad():
    print(f"accuracy on the new task {(net(x_test).argmax(1) == y_test).float().mean():.3f}")
