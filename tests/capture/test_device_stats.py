"""The way of CUDA tensors, by Triton's interpreter on the host; it shows the arithmetic, not the speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from aitia.engine.capture import stats

PROGRAM = """
import json, math, torch
from aitia.engine.capture import device_stats, stats
r = lambda *shape, seed=0: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
cases = {
    "normal": (r(16, 5), False, None),
    "offset": (r(300, 7) * 1e-2 + 50, False, None),
    "dead channel": (r(8, 3, 4, 4).relu() * torch.tensor([0.0, 1, 1])[:, None, None], True, None),
    "channels last": (r(4, 3, 5, 5).to(memory_format=torch.channels_last), True, None),
    "holes": (torch.tensor([[1.0, math.nan], [2.0, math.inf], [3.0, 4.0]]), False, None),
    "only infinite": (torch.full((3, 2), -math.inf), False, None),
    "tiny": (r(3000) * 1e-25, False, None),
    "large": (r(70, 3) * 1e17, False, None),
    "half": (r(33, 9).bfloat16(), False, None),
    "integers": (torch.arange(24).reshape(6, 4), False, None),
    "booleans": (r(20, 4) > 0, False, None),
    "constant": (torch.full((9, 2), 0.1), False, None),
    "sigmoid": ((r(40, 6) * 5).sigmoid(), False, (0.0, 1.0)),
    "tanh": ((r(40, 6) * 5).tanh(), False, (-1.0, 1.0)),
    "one": (torch.ones(1), False, None),
}
told = {}
for name, (x, channels, bounds) in cases.items():
    there = device_stats.row(x, True, channels, stats.ends(bounds)).tolist()
    told[name] = (there, stats.describe(x, channels, bounds) + stats.describe_gradient(x))
print(json.dumps(told))
"""


def test_the_device_kernel_agrees_with_the_host() -> None:
    """Every number of a row, for values, types and layouts that are odd in one way each."""
    pytest.importorskip("triton", reason="Triton is not installed")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    for case, (there, here) in json.loads(done.stdout).items():
        names = stats.FIELDS + stats.GRADIENT_FIELDS
        for name, found, expected in zip(names, there, here, strict=True):
            assert found == pytest.approx(expected, rel=2e-5, abs=1e-9, nan_ok=True), f"{name} of {case}"


def test_host_tensors_and_a_process_without_triton_never_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is remembered, told once, and torch operations take over."""
    x = torch.ones(4)

    class Cuda:
        is_cuda = True

        def numel(self) -> int:
            return 4

    assert stats.device_row(x, False, False, None) is None
    assert stats._refused == []

    refused: list[str] = []
    monkeypatch.setattr(stats, "_refused", refused)
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "aitia.engine.capture.device_stats", raising=False)
    assert stats.device_row(Cuda(), False, False, None) is None  # type: ignore[arg-type]  # looks like a device tensor
    assert len(refused) == 1
    assert stats.device_row(Cuda(), False, False, None) is None  # type: ignore[arg-type]
    assert len(refused) == 1
