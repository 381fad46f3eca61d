"""Metric learning: triplets of digits, checked by nearest neighbour in the embedding space."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.conv2 = nn.Conv2d(6, 4, 3, stride=2)
        self.project = nn.Linear(16, 8)

    #% if fault
    @torch.no_grad()  #% here
    #% else
    #% endif
    def features(self, images):
        h = F.leaky_relu(self.conv1(images))
        return F.leaky_relu(self.conv2(h)).flatten(1)

    def forward(self, images):
        return F.normalize(self.project(self.features(images)), dim=1)


def draw_triplets(labels, n):
    anchor = torch.randint(len(labels), (n,))
    positive = torch.empty_like(anchor)
    negative = torch.empty_like(anchor)
    for i, a in enumerate(anchor.tolist()):
        same = (labels == labels[a]).nonzero().squeeze(1)
        other = (labels != labels[a]).nonzero().squeeze(1)
        positive[i] = same[torch.randint(len(same), (1,))]
        negative[i] = other[torch.randint(len(other), (1,))]
    return anchor, positive, negative


@torch.no_grad()
def neighbour_accuracy(model, bank, bank_y, query, query_y):
    distance = torch.cdist(model(query), model(bank))
    return (bank_y[distance.argmin(1)] == query_y).float().mean().item()


def main(seed=2):  #% seed
    torch.manual_seed(seed)
    d = load_digits()
    images = torch.tensor(d.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(d.target)
    order = torch.randperm(len(labels))
    tr, te = order[:1300], order[1300:]
    model = Embedder()
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    triplet = nn.TripletMarginLoss(margin=0.4)
    ema = None
    for step in range(1, 181):
        a, p, n = draw_triplets(labels[tr], 64)
        x = images[tr]
        loss = triplet(model(x[a]), model(x[p]), model(x[n]))
        opt.zero_grad()
        loss.backward()
        opt.step()
        ema = loss.item() if ema is None else 0.95 * ema + 0.05 * loss.item()
        if step % 30 == 0:
            print(f"step {step} triplet loss {ema:.4f}")
    score = neighbour_accuracy(model, images[tr], labels[tr], images[te], labels[te])
    print(f"1-nn accuracy {score:.4f}")


if __name__ == "__main__":
    main()
