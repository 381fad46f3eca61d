import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn, optim

SEED = 0  #% seed


def get_arrays(rng):
    digits = load_digits()
    X, y = digits.data.astype("float32") / 16, digits.target
    #% if fault
    X = X[rng.permutation(len(X))]  #% here
    y = y[rng.permutation(len(y))]  #% here
    #% else
    order = rng.permutation(len(X))
    X, y = X[order], y[order]
    #% endif
    n = int(0.8 * len(X))
    return (X[:n], y[:n]), (X[n:], y[n:])


def accuracy(model, X, y):
    model.eval()
    with torch.inference_mode():
        return float((model(torch.from_numpy(X)).argmax(1).numpy() == y).mean())


def main():
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    (X_train, y_train), (X_val, y_val) = get_arrays(rng)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    opt = optim.Adam(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss()

    for epoch in range(20):
        model.train()
        total = 0.0
        order = rng.permutation(len(X_train))
        for batch in np.array_split(order, len(order) // 64):
            opt.zero_grad()
            loss = loss_fn(model(torch.from_numpy(X_train[batch])), torch.from_numpy(y_train[batch]))
            loss.backward()
            opt.step()
            total += loss.item() * len(batch)
        print(
            f"epoch {epoch:2d}  loss {total / len(order):.3f}"
            f"  train {accuracy(model, X_train, y_train):.3f}  val {accuracy(model, X_val, y_val):.3f}"
        )


if __name__ == "__main__":
    main()
