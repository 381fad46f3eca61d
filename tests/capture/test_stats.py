"""Statistics agree with slow, obvious ones, on the host and on the way that device tensors take."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from aitia.engine.capture import stats

CASES = {
    "normal": torch.randn(16, 5, generator=torch.Generator().manual_seed(0)),
    "shifted": torch.randn(16, 5, generator=torch.Generator().manual_seed(1)) * 1e-3 + 50.0,
    "relu": torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(2)).relu()
    * torch.tensor([0.0, 1, 1])[:, None, None],
    "constant": torch.full((8, 3), 0.25),
    "zeros": torch.zeros(8, 3),
    "holes": torch.tensor([[1.0, math.nan], [2.0, math.inf], [3.0, 4.0]]),
    "transposed": torch.arange(12.0).reshape(3, 4).t(),
    "half": torch.randn(16, 5, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16),
    "integers": torch.arange(24).reshape(6, 4),
}  # fmt: skip


def obvious(x: Tensor, channels: bool) -> dict[str, float]:
    """The same numbers by textbook operations in float64."""
    y = x.double()
    finite = y[y.isfinite()]
    feature = 1 if channels else y.dim() - 1
    columns = y.movedim(feature, -1).reshape(-1, y.shape[feature])
    return {
        "mean": finite.mean().item(),
        "std": finite.std(correction=0).item(),
        "min": finite.min().item(),
        "max": finite.max().item(),
        "absmax": finite.abs().max().item(),
        "zero_share": (finite == 0).double().mean().item(),
        "dead_share": (columns == 0).all(0).double().mean().item(),
        "nonfinite": float((~y.isfinite()).sum()),
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("where", ["host", "device"])
def test_statistics_are_the_obvious_ones(name: str, where: str) -> None:
    """Moments, extremes, zeros, dead features and non-finite entries."""
    x = CASES[name]
    channels = x.dim() == 4
    values = stats.describe(x, channels) if where == "host" else stats._on_device(x, channels, None)
    found = dict(zip(stats.FIELDS, values if isinstance(values, list) else values.tolist(), strict=True))

    for field, expected in obvious(x, channels).items():
        assert found[field] == pytest.approx(expected, rel=2e-3, abs=1e-6), field


def test_equal_samples_have_no_spread_at_all() -> None:
    """A prediction that does not depend on the input shows as exactly 0, even far from 0."""
    x = torch.tensor([[1234.567, -0.1]]).repeat(64, 1)
    at = stats.FIELDS.index("sample_std")

    assert stats.describe(x)[at] == 0.0
    assert stats._on_device(x, False, None)[at].item() == 0.0


def test_saturation_follows_the_range_of_the_activation() -> None:
    """A sigmoid saturates at both ends, a tanh at 1 in absolute value, and an unbounded tensor has no saturation."""
    at = stats.FIELDS.index("sat_share")
    x = torch.tensor([[0.001, 0.5], [0.999, 0.5]])

    assert stats.describe(x, bounds=(0.0, 1.0))[at] == 0.5
    assert stats.describe(x * 2 - 1, bounds=(-1.0, 1.0))[at] == 0.5
    assert math.isnan(stats.describe(x * 9)[at])
    assert stats._on_device(x, False, (0.0, 1.0))[at].item() == 0.5


def test_norms_survive_an_overflow_of_single_precision() -> None:
    """Squares that do not fit float32 are summed in float64; real infinities stay infinite."""
    big = torch.tensor([1e30, 1e30])

    with np.errstate(all="ignore"):  # as the recorder does around everything of its own
        assert stats.describe_gradient(big)[0] == pytest.approx(math.sqrt(2) * 1e30, rel=1e-6)
        assert math.isinf(stats.describe_gradient(torch.tensor([math.inf, 1.0]))[0])
        assert stats.describe_gradient(torch.tensor([math.nan, 1.0]))[3] == 1.0
