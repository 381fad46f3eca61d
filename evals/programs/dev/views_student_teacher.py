"""Self-supervised digits: two noisy views, a predictor, and no negatives (SimSiam-like)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Siamese(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, dim))
        self.predictor = nn.Sequential(nn.Linear(dim, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, dim))

    def forward(self, a, b):
        z1, z2 = self.encoder(a), self.encoder(b)
        return self.predictor(z1), self.predictor(z2), z1, z2


def similarity(p, z):
    #% if fault
    return -F.cosine_similarity(p, z, dim=-1).mean()  #% here
    #% else
    return -F.cosine_similarity(p, z.detach(), dim=-1).mean()
    #% endif


def view(x):
    keep = (torch.rand_like(x) > 0.2).float()
    return x * keep + 0.1 * torch.randn_like(x)


@torch.no_grad()
def spread(model, x):
    """Mean standard deviation of the normalised features, times sqrt(dim): 1 when they fill the sphere."""
    model.eval()
    z = F.normalize(model.encoder(x), dim=-1)
    return (z.std(0).mean() * z.size(1) ** 0.5).item()


def main():
    torch.manual_seed(0)  #% seed
    x = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    model = Siamese()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
    for epoch in range(8):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x))[:1792].split(128):
            p1, p2, z1, z2 = model(view(x[rows]), view(x[rows]))
            loss = 0.5 * (similarity(p1, z2) + similarity(p2, z1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / 14:.4f} feature spread {spread(model, x):.3f}")


main()
