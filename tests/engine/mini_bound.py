"""Mini programs in which a name or a place is given to the wrong tensor: parameters by hand, samples without labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import mini
from tiny import blobs, mlp


@mini("optimizer.silent_no_update")
def parameters_bound_anew(broken: bool) -> None:
    """Gradient descent by hand: `p = p - …` gives the name to a new tensor."""
    x = torch.randn(200, 4)
    y = x @ torch.randn(4, 1)
    w, b = torch.zeros(4, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(40):
        ((x @ w + b - y) ** 2).mean().backward()
        with torch.no_grad():
            for p in (w, b):
                assert p.grad is not None
                if broken:
                    p = p - 0.05 * p.grad
                else:
                    p -= 0.05 * p.grad
        w.grad = b.grad = None


@mini("data.label_misaligned")
def inputs_shuffled_alone(broken: bool) -> None:
    """Within a batch the samples change places, and their labels do not; nothing is evaluated under a known name."""
    x, y = blobs(480)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        for rows in torch.randperm(400).split(40):
            places = torch.randperm(len(rows))
            inputs, labels = x[rows][places], y[rows] if broken else y[rows][places]
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@mini("precision.int_or_dtype_truncation")
def bytes_divided_whole(broken: bool) -> None:
    """`//` where `/` is meant leaves nothing of bytes."""
    y = torch.randint(0, 4, (480,))
    kinds = torch.randint(0, 250, (4, 36))
    pixels = (kinds[y] * 0.7 + torch.rand(480, 36) * 60).to(torch.uint8)
    x = (pixels // 255 if broken else pixels / 255).float()
    model = torch.nn.Sequential(torch.nn.Linear(36, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        for rows in torch.randperm(480).split(40):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
