"""Convolutional classifier with cosine annealing and warm restarts."""

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts


def tiles(n):
    kind = torch.randint(4, (n,))
    axis = torch.arange(10.0)
    wave = torch.tensor([[0.6, 0.0], [0.0, 0.6], [0.6, 0.6], [0.6, -0.6]])[kind]
    start = 6.28 * torch.rand(n, 1, 1)
    tile = torch.sin(wave[:, 0, None, None] * axis[:, None] + wave[:, 1, None, None] * axis + start)
    return (tile + 0.7 * torch.randn(n, 10, 10)).unsqueeze(1), kind


class TileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 5), nn.Conv2d(16, 16, 3)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean((2, 3)))


torch.manual_seed(0)  #% seed
x, kind = tiles(1200)
x_test, kind_test = tiles(400)
model = TileNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=4)
batches = 20
for epoch in range(12):
    for i, rows in enumerate(torch.randperm(1000).split(50)):
        loss = nn.functional.cross_entropy(model(x[rows]), kind[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step(epoch + i / batches)
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == kind_test).float().mean().item()
    print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.4f} loss {loss.item():.4f} test {accuracy:.3f}")
