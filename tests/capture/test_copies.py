"""How far a step moved the weights, from copies of all of them or of spread blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aitia.engine.capture import copies
from aitia.engine.capture.watch import watch


@pytest.mark.parametrize(("level", "tolerance"), [("deep", 1e-5), ("normal", 0.05)])
def test_a_large_models_updates_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, tolerance: float
) -> None:
    """Exactly at the deepest level, from a part of the entries within a few percent at the usual one."""
    monkeypatch.setattr(copies, "BUDGET", 20_000)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    moved = []
    with watch(model, optimizer, runs=tmp_path, level=level) as run:  # type: ignore[arg-type]  # a string of the list
        for _ in range(3):
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.zero_grad()
            model(torch.randn(64, 300)).square().sum().backward()
            optimizer.step()
            moved.append([float((p.detach() - b).norm()) for p, b in zip(model.parameters(), before, strict=True)])
    wide = run.run().wide("param")

    assert wide.values["update_norm"] == pytest.approx(np.array(moved), rel=tolerance)
    assert wide.values["weight_norm"][-1] == pytest.approx(
        [float(p.detach().norm()) for p in model.parameters()], rel=1e-5
    )
    assert np.all(wide.values["update_share"] > 0.99)
