"""A wide network on noisy glyphs, trained long; validation loss and accuracy are reported side by side."""

import torch
from torch import nn

GLYPHS, PIXELS = 12, 36


def glyphs(n, shapes, generator):
    kind = torch.randint(GLYPHS, (n,), generator=generator)
    return shapes[kind] + 1.15 * torch.randn(n, PIXELS, generator=generator), kind


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(GLYPHS, PIXELS, generator=generator)
    x, y = glyphs(500, shapes, generator)
    x_valid, y_valid = glyphs(600, shapes, generator)
    net = nn.Sequential(nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, GLYPHS))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(40):
        for rows in torch.randperm(500).split(50):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 4 == 3:
            with torch.no_grad():
                logits = net(x_valid)
            valid = nn.functional.cross_entropy(logits, y_valid).item()
            accuracy = (logits.argmax(1) == y_valid).float().mean().item()
            print(f"epoch {epoch + 1} loss {loss.item():.4f} valid loss {valid:.4f} valid accuracy {accuracy:.3f}")


main()
