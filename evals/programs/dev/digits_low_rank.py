"""Adapt a digit classifier to mirrored images by training low-rank updates only."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class LowRankLinear(nn.Module):
    """A linear layer plus a trainable update of small rank; starts out equal to the layer it wraps."""

    def __init__(self, base, rank=4, alpha=8.0):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.down.T @ self.up.T)


def inject(model, rank):
    for name, child in list(model.named_children()):
        if isinstance(child, nn.Linear):
            setattr(model, name, LowRankLinear(child, rank))
    return model


def loop(model, params, x, y, epochs, lr, tag):
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=0.0)
    for epoch in range(epochs):
        losses = []
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"{tag} epoch {epoch} loss {sum(losses) / len(losses):.4f}")


@torch.no_grad()
def accuracy(model, x, y):
    return (model(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)  #% seed
    d = load_digits()
    images, y = torch.tensor(d.images, dtype=torch.float32) / 16, torch.tensor(d.target)
    x = images.flatten(1)
    x_new = images.flip(2).flatten(1)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    loop(model, model.parameters(), x[:1300], y[:1300], epochs=6, lr=3e-3, tag="base")
    print(f"before adaptation {accuracy(model, x_new[1300:], y[1300:]):.3f}")
    model = inject(model, rank=8)
    trainable = [p for p in model.parameters() if p.requires_grad]
    print(f"{sum(p.numel() for p in trainable)} trainable parameters")
    loop(model, trainable, x_new[:1300], y[:1300], epochs=14, lr=1e-2, tag="adapt")
    print(f"after adaptation {accuracy(model, x_new[1300:], y[1300:]):.3f}")
