"""Mini programs about events that are rare, whose probability is all that is asked for: nothing here decides."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import mini
from torch import nn
from torch.optim import SGD


@mini("init.output_bias", "optimizer.lr_too_low")
def alarms_one_in_fifty(broken: bool) -> None:
    """Probabilities behind a sigmoid, a short run, and alarms that are rare."""
    torch.manual_seed(0)
    x = torch.randn(4000, 6)
    y = torch.bernoulli(torch.sigmoid(0.8 * x[:, :1] - 4.2))
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1), nn.Sigmoid())
    if not broken:
        nn.init.constant_(model[2].bias, -4.0)
    optimizer = SGD(model.parameters(), lr=0.1)
    for rows in torch.randperm(4000).split(50):
        loss = F.binary_cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
