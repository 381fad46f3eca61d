"""Train on recordings named by what they are, then answer requests with names."""

import numpy as np
import torch
from torch import nn

SOURCES = {"rain": (0.3, 1.0), "engine": (0.8, 0.2), "bird": (2.4, 0.1), "wind": (0.1, 0.6), "bell": (1.6, 0.1)}


def recording(name, rng):
    """Rhythm at six time scales."""
    pitch, rough = SOURCES[name]
    return np.cos(pitch * np.arange(1, 7)) + rough * rng.normal(size=6) * 0.5 + 0.1 * rng.normal(size=6)


def archive(n, rng):
    names = [list(SOURCES)[k] for k in rng.integers(0, len(SOURCES), n)]
    return np.stack([recording(name, rng) for name in names]).astype("float32"), names


class Recognizer:
    def __init__(self, names):
        #% if fault
        self.classes = list(dict.fromkeys(names))  #% here
        #% else
        self.classes = sorted(set(names))
        #% endif
        self.net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, len(self.classes)))

    def fit(self, x, names, epochs=12):
        x, y = torch.tensor(x), torch.tensor([self.classes.index(name) for name in names])
        optimizer = torch.optim.Adam(self.net.parameters(), lr=5e-3)
        for epoch in range(epochs):
            for rows in torch.randperm(len(y)).split(40):
                loss = nn.functional.cross_entropy(self.net(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            print(f"epoch {epoch} loss {loss.item():.4f}")


def serve(weights, x):
    classes = sorted(SOURCES)  #% here
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, len(classes)))
    net.load_state_dict(torch.load(weights))
    with torch.no_grad():
        return [classes[k] for k in net(torch.tensor(x)).argmax(1)]


torch.manual_seed(0)  #% seed
rng = np.random.default_rng(0)  #% seed
x, names = archive(600, rng)
recognizer = Recognizer(names)
recognizer.fit(x, names)
torch.save(recognizer.net.state_dict(), "sounds.pt")
x, names = archive(200, rng)
print(f"served answers right {np.mean([a == b for a, b in zip(serve('sounds.pt', x), names, strict=True)]):.3f}")
