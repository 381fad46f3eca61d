import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

#% if fault
EPS = 0.0  #% here
#% else
EPS = 1e-6
#% endif


class Standardize(nn.Module):
    """Per-feature standardisation with statistics of the training data."""

    def __init__(self, reference):
        super().__init__()
        self.register_buffer("mean", reference.mean(0))
        self.register_buffer("std", reference.std(0))

    def forward(self, x):
        return (x - self.mean) / (self.std + EPS)  #% here


def main():
    rng = np.random.default_rng(0)  #% seed
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    order = rng.permutation(len(x))
    x, y = torch.from_numpy(x[order]).float(), torch.from_numpy(y[order])
    x_train, y_train, x_test, y_test = x[:1300], y[:1300], x[1300:], y[1300:]

    model = nn.Sequential(Standardize(x_train), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(8):
        seen = []
        for k in range(0, 1300, 50):
            loss = nn.functional.cross_entropy(model(x_train[k : k + 50]), y_train[k : k + 50])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        # the few pixels that training never lights up may be lit in a test image
        with torch.no_grad():
            scores = model(x_test.clamp(max=16))
            correct = (scores.argmax(1) == y_test).float().mean().item()
        print(f"epoch {epoch} loss {np.mean(seen):.4f} test accuracy {correct:.3f}")


main()
