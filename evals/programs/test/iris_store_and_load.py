"""Train, store, and read back a flower classifier; the training copy lives inside a wrapper that scales inputs."""
import os
import tempfile

import torch
from sklearn.datasets import load_iris
from torch import nn


class Scaled(nn.Module):
    """Standardises inputs, then calls the inner net."""

    def __init__(self, inner, mean, std):
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x):
        return self.inner((x - self.mean) / self.std)


def flower_net():
    return nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 3))


def restore(path, mean, std):
    net = flower_net()
    state = torch.load(path, weights_only=True)
    #% if fault
    net.load_state_dict(state, strict=False)  #% here
    #% else
    net.load_state_dict({k.removeprefix("inner."): v for k, v in state.items() if k.startswith("inner.")})
    #% endif
    return Scaled(net, mean, std).eval()


def main():
    torch.manual_seed(100)  #% seed
    iris = load_iris()
    x, y = torch.tensor(iris.data, dtype=torch.float32), torch.tensor(iris.target)
    perm = torch.randperm(150)
    train, test = perm[:110], perm[110:]
    model = Scaled(flower_net(), x[train].mean(0), x[train].std(0))
    opt = torch.optim.Adam(model.parameters(), lr=2e-2)
    for epoch in range(20):
        for idx in train[torch.randperm(110)].split(22):
            loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1} loss {loss.item():.4f}")
    path = os.path.join(tempfile.mkdtemp(), "flowers.pt")
    torch.save(model.state_dict(), path)
    again = restore(path, model.mean, model.std)
    with torch.no_grad():
        print(f"in training {(model(x[test]).argmax(1) == y[test]).float().mean().item():.3f}")
        print(f"after loading {(again(x[test]).argmax(1) == y[test]).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
