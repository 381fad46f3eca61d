"""Matrix factorisation of a synthetic ratings table with user, item and global offsets."""

import argparse

import torch
from torch import nn


class Factorization(nn.Module):
    def __init__(self, n_users, n_items, rank):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, rank)
        self.item_factors = nn.Embedding(n_items, rank)
        self.user_bias = nn.Embedding(n_users, 1)
        self.item_bias = nn.Embedding(n_items, 1)
        self.offset = nn.Parameter(torch.zeros(()))
        for table in (self.user_factors, self.item_factors):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def forward(self, users, items):
        interaction = (self.user_factors(users) * self.item_factors(items)).sum(-1)
        return self.offset + self.user_bias(users)[:, 0] + self.item_bias(items)[:, 0] + interaction


def synthetic_ratings(n_users, n_items, rank, count, generator):
    u = torch.randn(n_users, rank, generator=generator)
    v = torch.randn(n_items, rank, generator=generator)
    bu = 0.3 * torch.randn(n_users, generator=generator)
    bi = 0.3 * torch.randn(n_items, generator=generator)
    pairs = torch.randperm(n_users * n_items, generator=generator)[:count]
    users, items = pairs // n_items, pairs % n_items
    ratings = 3.5 + bu[users] + bi[items] + (u[users] * v[items]).sum(-1) / rank**0.5
    return users, items, ratings + 0.1 * torch.randn(count, generator=generator)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--rank", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)  #% seed
    args = parser.parse_args()

    generator = torch.Generator().manual_seed(args.seed)
    torch.manual_seed(args.seed)
    users, items, ratings = synthetic_ratings(args.users, args.items, args.rank, 2400, generator)
    cut = 2000
    model = Factorization(args.users, args.items, args.rank)

    # offsets are few, so they are not decayed
    #% if fault
    groups = [  #% here
        {"params": list(model.user_bias.parameters()) + list(model.item_bias.parameters())},  #% here
        {"params": [model.offset], "lr": 10 * args.lr},  #% here
    ]
    #% else
    groups = [
        {"params": [model.user_factors.weight, model.item_factors.weight], "weight_decay": args.weight_decay},
        {"params": list(model.user_bias.parameters()) + list(model.item_bias.parameters())},
        {"params": [model.offset], "lr": 10 * args.lr},
    ]
    #% endif
    optimizer = torch.optim.Adam(groups, lr=args.lr)

    for epoch in range(1, args.epochs + 1):
        order = torch.randperm(cut, generator=generator)
        total = 0.0
        for start in range(0, cut, 100):
            index = order[start : start + 100]
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(users[index], items[index]), ratings[index])
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch % 4 == 0:
            with torch.no_grad():
                error = nn.functional.mse_loss(model(users[cut:], items[cut:]), ratings[cut:]).sqrt()
            print(f"epoch {epoch:3d}  train mse {total / (cut // 100):.4f}  held-out rmse {error.item():.4f}")


if __name__ == "__main__":
    main()
