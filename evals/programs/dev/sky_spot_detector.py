"""Find faint spots on sky patches with a fully convolutional detector; spots are rare, so biases start at the prior."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def patches(n, generator):
    """Noisy 12x12 patches with up to three spots, and the map of where they are."""
    where = (torch.rand(n, 1, 12, 12, generator=generator) < 0.012).float()
    glow = F.conv2d(where, torch.tensor([[[[0.2, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 0.2]]]]), padding=1)
    return glow + 0.15 * torch.rand(n, 1, 12, 12, generator=generator), where


class Detector(nn.Module):
    def __init__(self, prior=0.01):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1)
        self.score = nn.Conv2d(12, 1, 1)
        #% if fault
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.constant_(module.bias, -math.log((1 - prior) / prior))  #% here
        #% else
        nn.init.constant_(self.score.bias, -math.log((1 - prior) / prior))
        #% endif

    def forward(self, x):
        return self.score(F.relu(self.conv2(F.relu(self.conv1(x)))))


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    x, where = patches(600, generator)
    x_new, where_new = patches(200, generator)
    detector = Detector()
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    for epoch in range(10):
        for rows in torch.randperm(len(x), generator=generator).split(30):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(detector(x[rows]), where[rows])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            found = (detector(x_new) > 0)[where_new > 0].float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.5f} spots found {found:.3f}")


if __name__ == "__main__":
    main()
