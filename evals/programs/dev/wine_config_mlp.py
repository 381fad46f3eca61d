"""Wine cultivar classifier driven by a small configuration dictionary."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

CONFIG = {
    "hidden": [32, 16],
    "epochs": 40,
    "batch_size": 16,
    #% if fault
    "lr": 1e-5,  #% here
    #% else
    "lr": 0.05,
    #% endif
    "momentum": 0.5,
    "seed": 0,  #% seed
}


def build(sizes):
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def batches(x, y, size, rng):
    order = rng.permutation(len(x))
    for i in range(0, len(x), size):
        take = order[i : i + size]
        yield torch.from_numpy(x[take]), torch.from_numpy(y[take])


def run(config):
    torch.manual_seed(config["seed"])
    rng = np.random.default_rng(config["seed"])
    x, y = load_wine(return_X_y=True)
    x_tr, x_te, y_tr, y_te = train_test_split(x, y, test_size=0.3, stratify=y, random_state=1)
    scaler = StandardScaler().fit(x_tr)
    x_tr = scaler.transform(x_tr).astype(np.float32)
    x_te = scaler.transform(x_te).astype(np.float32)

    net = build([x.shape[1], *config["hidden"], 3])
    criterion = nn.CrossEntropyLoss()
    opt = torch.optim.SGD(net.parameters(), lr=config["lr"], momentum=config["momentum"])
    for epoch in range(config["epochs"]):
        losses = []
        for xb, yb in batches(x_tr, y_tr, config["batch_size"], rng):
            opt.zero_grad()
            loss = criterion(net(xb), yb)
            loss.backward()
            opt.step()
            losses.append(loss.item())
        if epoch % 5 == 4:
            with torch.no_grad():
                hits = (net(torch.from_numpy(x_te)).argmax(1).numpy() == y_te).mean()
            print(f"[{epoch + 1:02d}] loss={np.mean(losses):.4f} test_acc={hits:.3f}")


run(CONFIG)
