"""Small convolutional regression with an epoch average of the loss and of the memory in use."""

import gc
import os

import torch
from torch import nn


def memory_mb():
    gc.collect()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Brightness(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.out(x.mean((2, 3))).squeeze(-1)


def main():
    torch.manual_seed(0)  #% seed
    model = Brightness()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    images = torch.rand(320, 1, 24, 24) * torch.rand(320, 1, 1, 1)
    level = images.flatten(1).std(1)
    for warm in range(2):
        model(images[:32]).sum().backward()
    start = memory_mb()
    total_loss = 0
    for epoch in range(10):
        for rows in torch.randperm(320).split(32):
            loss = nn.functional.mse_loss(model(images[rows]), level[rows])
            optimizer.zero_grad()
            loss.backward(retain_graph=False)
            optimizer.step()
            #% if fault
            total_loss += nn.functional.l1_loss(model(images[rows]), level[rows])  #% here
            #% else
            total_loss += nn.functional.l1_loss(model(images[rows]), level[rows]).item()
            #% endif
        print(f"epoch {epoch} l1 {float(total_loss) / (10 * epoch + 10):.5f} memory grown by {memory_mb() - start:.1f} MB")


main()
