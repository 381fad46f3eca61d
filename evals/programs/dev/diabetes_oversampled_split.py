"""Predict disease progression; rows are repeated with a little noise to have more of them, then split."""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn


def repeated(x, y, times, rng):
    x, y = np.repeat(x, times, axis=0), np.repeat(y, times)
    return x + 0.02 * rng.normal(size=x.shape), y


def r2(net, x, y):
    with torch.no_grad():
        error = (net(torch.tensor(x, dtype=torch.float32)).squeeze(1) - torch.tensor(y)).square().mean().item()
    return 1 - error / y.var()


def main():
    torch.manual_seed(0)  #% seed
    rng = np.random.default_rng(0)  #% seed
    x, y = load_diabetes(return_X_y=True)
    x, y = x / x.std(0), (y - y.mean()) / y.std()
    x, x_fresh, y, y_fresh = train_test_split(x, y, test_size=200, random_state=1)
    #% if fault
    x, y = repeated(x, y, 6, rng)  #% here
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, random_state=1)
    #% else
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, random_state=1)
    x_train, y_train = repeated(x_train, y_train, 6, rng)
    #% endif
    features, target = torch.tensor(x_train, dtype=torch.float32), torch.tensor(y_train, dtype=torch.float32)
    net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    for epoch in range(14):
        for rows in torch.randperm(len(target)).split(64):
            loss = nn.functional.mse_loss(net(features[rows]).squeeze(1), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        valid, fresh = r2(net, x_valid, y_valid), r2(net, x_fresh, y_fresh)
        print(f"epoch {epoch} loss {loss.item():.4f} valid r2 {valid:.3f} fresh r2 {fresh:.3f} apart {valid - fresh:+.3f}")


main()
