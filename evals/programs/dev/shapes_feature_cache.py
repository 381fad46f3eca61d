"""Features of a trained network as a fixed extractor; a new linear head learns to tell sizes from them."""

import torch
from torch import nn


def shapes(n, generator):
    """Crosses, squares or diagonals, small or large, on noisy 14x14 images."""
    kind = torch.randint(3, (n,), generator=generator)
    large = torch.randint(2, (n,), generator=generator)
    axis = torch.arange(14)
    image = 0.15 * torch.randn(n, 1, 14, 14, generator=generator)
    for k in range(n):
        r, c = torch.randint(4, 10, (2,), generator=generator).tolist()
        near = 2 + 2 * int(large[k])
        dy, dx = (axis - r)[:, None], (axis - c)[None]
        inside = (dy.abs() <= near) & (dx.abs() <= near)
        drawn = [(dy == 0) | (dx == 0), (dy.abs() == near) | (dx.abs() == near), dy == dx][int(kind[k])]
        image[k, 0] += (inside & drawn).float()
    return image, kind, large


class Extractor(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    image, kind, large = shapes(900, generator)
    extractor, kinds = Extractor(), nn.Linear(24 * 9, 3)
    optimizer = torch.optim.Adam([*extractor.parameters(), *kinds.parameters()], lr=3e-3)
    for epoch in range(4):
        for rows in torch.randperm(700).split(35):
            loss = nn.functional.cross_entropy(kinds(extractor(image[rows])), kind[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"kinds epoch {epoch} loss {loss.item():.4f}")

    extractor.eval()
    sizes = nn.Linear(24 * 9, 2)
    optimizer = torch.optim.Adam(sizes.parameters(), lr=3e-3)
    for epoch in range(12):
        for rows in torch.randperm(700).split(35):
            with torch.no_grad():
                features = extractor(image[rows])
            loss = nn.functional.cross_entropy(sizes(features), large[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (sizes(extractor(image[700:])).argmax(1) == large[700:]).float().mean().item()
        print(f"sizes epoch {epoch} loss {loss.item():.4f} accuracy {accuracy:.3f}")


main()
