"""Deep classifier of wines, weights drawn by hand."""

import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn

DEPTH = 6
WIDTH = 64


def init_weights(m):
    if isinstance(m, nn.Linear):
        #% if fault
        nn.init.normal_(m.weight, mean=0.0, std=1.0)  #% here
        #% else
        nn.init.kaiming_normal_(m.weight)
        #% endif
        nn.init.zeros_(m.bias)


def main(seed):
    torch.manual_seed(seed)
    X, y = load_wine(return_X_y=True)
    X = torch.tensor(scale(X), dtype=torch.float32)
    y = torch.tensor(y)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(8))
    train, test = order[:128], order[128:]

    layers, width = [], X.shape[1]
    for _ in range(DEPTH):
        layers += [nn.Linear(width, WIDTH), nn.ReLU()]
        width = WIDTH
    model = nn.Sequential(*layers, nn.Linear(width, 3))
    model.apply(init_weights)

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for epoch in range(25):
        losses = []
        for rows in train[torch.randperm(len(train))].split(16):
            loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 4 == 0:
            with torch.no_grad():
                test_loss = nn.functional.cross_entropy(model(X[test]), y[test])
            print(f"epoch {epoch} train loss {np.mean(losses):.4g} test loss {test_loss.item():.4g}")


main(seed=0)  #% seed
