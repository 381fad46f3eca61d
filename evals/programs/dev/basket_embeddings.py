"""Predict whether a basket of products is bought, from embeddings of its products."""

import random

import torch
from torch import nn


class Basket(nn.Module):
    def __init__(self, n_products, dim=12):
        super().__init__()
        self.products = nn.Embedding(n_products, dim, padding_idx=0)
        self.score = nn.Sequential(nn.Linear(dim, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, ids):
        present = (ids > 0).float().unsqueeze(-1)
        mean = (self.products(ids) * present).sum(1) / present.sum(1).clamp(min=1)
        return self.score(mean).squeeze(-1)


def make_baskets(rng, catalogue, n):
    """Product ids start at 1; 0 pads a basket to five."""
    rows, bought = [], []
    for _ in range(n):
        basket = [1 + min(int(rng.expovariate(0.06)), catalogue - 1) for _ in range(rng.randint(1, 5))]
        rows.append(basket + [0] * (5 - len(basket)))
        bought.append(float(sum(p % 3 == 0 for p in basket) * 2 >= len(basket)))
    return torch.tensor(rows), torch.tensor(bought)


def main():
    rng = random.Random(0)  #% seed
    torch.manual_seed(0)  #% seed
    catalogue = 80
    ids, bought = make_baskets(rng, catalogue, 1600)
    #% if fault
    model = Basket(catalogue)  #% here
    #% else
    model = Basket(catalogue + 1)
    #% endif
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    step = 0
    for epoch in range(6):
        for rows in torch.randperm(1400).split(20):
            loss = nn.functional.binary_cross_entropy_with_logits(model(ids[rows]), bought[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                print(f"step {step} loss {loss.item():.4f}")
    with torch.no_grad():
        print(f"accuracy {((model(ids[1400:]) > 0) == bought[1400:].bool()).float().mean():.3f}")


main()
