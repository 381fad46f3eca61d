"""Siamese embedding of digits with a contrastive loss on random pairs."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class PairSampler:
    """Draws pairs of rows; half of them show the same digit."""

    def __init__(self, labels, generator):
        self.labels = labels
        self.generator = generator
        self.by_class = [torch.nonzero(labels == c).flatten() for c in labels.unique()]

    def draw(self, n):
        first = torch.randint(len(self.labels), (n,), generator=self.generator)
        second = torch.randint(len(self.labels), (n,), generator=self.generator)
        for k in range(n // 2):
            pool = self.by_class[self.labels[first[k]]]
            second[k] = pool[torch.randint(len(pool), (1,), generator=self.generator)]
        return first, second


class Embedder(nn.Module):
    def __init__(self, dim=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, dim))

    def forward(self, x):
        return self.layers(x)


def contrastive(a, b, same, margin=2.0):
    #% if fault
    distance = (a - b).pow(2).sum(1).sqrt()  #% here
    #% else
    distance = (a - b).pow(2).sum(1).add(1e-8).sqrt()
    #% endif
    return (same * distance.pow(2) + (1 - same) * torch.relu(margin - distance).pow(2)).mean()


@torch.no_grad()
def nearest_neighbour_accuracy(model, x_ref, y_ref, x_new, y_new):
    nearest = torch.cdist(model(x_new), model(x_ref)).argmin(1)
    return (y_ref[nearest] == y_new).float().mean().item()


def main():
    seed = 0  #% seed
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, digit = load_digits(return_X_y=True)
    images, digit = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digit)
    x, y, x_new, y_new = images[:1200], digit[:1200], images[1200:], digit[1200:]

    sampler = PairSampler(y, generator)
    model = Embedder()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(1, 251):
        i, j = sampler.draw(64)
        loss = contrastive(model(x[i]), model(x[j]), (y[i] == y[j]).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            score = nearest_neighbour_accuracy(model, x, y, x_new, y_new)
            print(f"step {step} loss {loss.item():.4f} 1-nn accuracy {score:.3f}")


if __name__ == "__main__":
    main()
