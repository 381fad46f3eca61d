"""One backbone, two heads: learn digits, then inverted digits, with the backbone kept as it is."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class TwoHeadNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.heads = nn.ModuleDict({"plain": nn.Linear(128, 10), "inverted": nn.Linear(128, 10)})

    def forward(self, x, domain):
        return self.heads[domain](self.backbone(x))


def freeze(module):
    module.eval()
    for p in module.parameters():
        p.requires_grad_(False)


def train(model, domain, x, y, epochs, frozen=None):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for epoch in range(epochs):
        model.train()  #% here
        #% if fault
        #% else
        if frozen is not None:
            frozen.eval()
        #% endif
        running = 0.0
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(model(x[rows], domain), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * len(rows)
        print(f"{domain} epoch {epoch} loss {running / len(x):.4f}")


@torch.no_grad()
def accuracy(model, domain, x, y):
    model.eval()
    return (model(x, domain).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(y))
    x, y = x[order], y[order]
    inverted = 1.5 - x
    model = TwoHeadNet()
    train(model, "plain", x[:1300], y[:1300], epochs=5)
    print(f"accuracy on plain digits {accuracy(model, 'plain', x[1300:], y[1300:]):.3f}")
    freeze(model.backbone)
    train(model, "inverted", inverted[:1300], y[:1300], epochs=5, frozen=model.backbone)
    print(f"accuracy on plain digits {accuracy(model, 'plain', x[1300:], y[1300:]):.3f}")
    print(f"accuracy on inverted digits {accuracy(model, 'inverted', inverted[1300:], y[1300:]):.3f}")


main()
