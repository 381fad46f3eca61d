"""Two-tower recommender: user tower and item tower, cosine similarity with a learned temperature, own rates per part."""
import torch
from torch import nn
from torch.nn import functional as F


class Tower(nn.Module):
    def __init__(self, n, dim=12):
        super().__init__()
        self.table = nn.Embedding(n, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 24), nn.ReLU(), nn.Linear(24, dim))

    def forward(self, ids):
        return F.normalize(self.mlp(self.table(ids)), dim=-1)


class TwoTower(nn.Module):
    def __init__(self, users, items):
        super().__init__()
        self.user, self.item = Tower(users), Tower(items)
        self.log_temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, users, items):
        return self.log_temperature.exp() * self.user(users) @ self.item(items).T


def interactions(n, users=100, items=60, tastes=6):
    u, i = torch.randint(users, (n,)), torch.randint(items, (n,))
    likes = (u % tastes) == (i % tastes)
    return u[likes], i[likes]


def hit_rate(model, users=100, items=60, tastes=6):
    with torch.no_grad():
        top = model(torch.arange(users), torch.arange(items)).argmax(1)
    return (top % tastes == torch.arange(users) % tastes).float().mean().item()


def main():
    torch.manual_seed(54)  #% seed
    u, i = interactions(12000)
    model = TwoTower(100, 60)
    groups = [
        {"params": model.user.table.parameters(), "lr": 0.02},
        {"params": model.user.mlp.parameters(), "lr": 0.005},
        {"params": [model.log_temperature], "lr": 0.01},
        #% if fault
        {"params": model.item.mlp[2].bias, "lr": 0.005},  #% here
        #% else
        {"params": model.item.parameters(), "lr": 0.01},
        #% endif
    ]
    opt = torch.optim.Adam(groups)
    for step in range(1, 151):
        rows = torch.randint(len(u), (64,))
        logits = model(u[rows], i[rows])
        same = (i[rows][:, None] == i[rows][None, :]) & ~torch.eye(64, dtype=torch.bool)
        loss = F.cross_entropy(logits.masked_fill(same, -30.0), torch.arange(64))
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 25 == 0:
            print(f"step {step}: contrastive loss {loss.item():.3f} hit rate {hit_rate(model):.3f}")


main()
