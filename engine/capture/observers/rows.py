"""Fingerprints of samples: which evaluated ones were trained on, and whether training samples come back unchanged."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aitia.engine.capture.observers.base import Observer

WORDS: Final = 64
"""Numbers of a row that are read, evenly spread: two samples that agree in all of them are the same sample."""
FEWEST: Final = 4
"""Rows of fewer numbers than this recur by chance."""
MOST_ROWS: Final = 200_000
"""Fingerprints taken in training; as many again in evaluation. One costs about a microsecond and 64 bytes."""
ALLOWANCE: Final = 0.5
"""Seconds that may be spent on rows in all …"""
SHARE: Final = 0.005
"""… before this share of the run's time bounds it; what was seen until then is an unbroken beginning, and valid."""
LARGEST_COPY: Final = 1_000_000
"""Numbers of a batch whose rows are not contiguous, beyond which laying them out would cost more than reading them."""
ROWS_OF_FEATURES: Final = 4096
"""Rows whose features are averaged, in training and in evaluation."""
SKEWED: Final = 2.0
"""Standard error of the cube root of a third moment, against that of a mean: larger, as single values weigh more."""
SHIFTED: Final = 0.5
"""Standard deviations by which the mean of a feature is off, to be counted."""
LARGEST_BATCH: Final = 4096
"""Rows of one batch that are looked at."""
_WEIGHTS: Final = np.random.default_rng(7).integers(1, 2**63, WORDS, dtype=np.uint64) | np.uint64(1)


@dataclass
class _Seen:
    """What is known of the rows of one model."""

    trained: set[int] = field(default_factory=set)
    evaluated: set[int] = field(default_factory=set)
    n_trained: int = 0
    n_again: int = 0
    first_pass: int = 0
    """Training rows before the first one came back."""
    n_evaluated: int = 0
    n_met: int = 0
    n_batches: int = 0
    n_partial: int = 0
    sums: dict[bool, tuple[float, Any, Any, Any]] = field(default_factory=dict)
    """By training or not: rows, sums, sums of squares and of cubes of the numbers that are read."""

    def add(self, grad: bool, flat: npt.NDArray[Any], prints: list[int]) -> None:
        """Count in the rows that are new: those that come back say nothing more of the features."""
        n, total, squares, cubes = self.sums.get(grad, (0.0, 0.0, 0.0, 0.0))
        if n < ROWS_OF_FEATURES and (not n or np.shape(total) == flat.shape[1:]):
            known = self.trained if grad else self.evaluated
            flat = flat[[p not in known for p in prints]].astype(np.float64)
            if not grad:
                known.update(prints)
            self.sums[grad] = n + len(flat), total + flat.sum(0), squares + (flat**2).sum(0), cubes + (flat**3).sum(0)

    def shifts(self) -> dict[str, Any]:
        """How far the features' means in evaluation are from those in training, in standard deviations."""
        if len(self.sums) < 2 or np.shape(self.sums[True][1]) != np.shape(self.sums[False][1]):
            return {}
        if not self.sums[True][0] or not self.sums[False][0]:
            return {}
        (n, total, squares, cubes), (m, other, other_squares, other_cubes) = self.sums[True], self.sums[False]
        spread = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
        ok = spread > 1e-6 * max(float(spread.max()), 1e-12)
        if not ok.any():
            return {}
        shift = np.abs(other / m - total / n)[ok] / spread[ok]
        error = float(np.sqrt(1 / n + 1 / m))
        order = _order(_shape(n, total, squares, cubes), _shape(m, other, other_squares, other_cubes), error)
        return {"n_features": int(ok.sum()), "feature_shift": float(np.median(shift)), "feature_error": error,
                "features_shifted": float((shift > SHIFTED).mean())} | order  # fmt: skip


def _shape(n: float, total: Any, squares: Any, cubes: Any) -> tuple[npt.NDArray[Any], ...]:
    """Mean, spread and third central moment of every feature."""
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    return mean, np.sqrt(variance), cubes / n - 3 * mean * variance - mean**3


def _order(trained: tuple[npt.NDArray[Any], ...], shown: tuple[npt.NDArray[Any], ...], error: float) -> dict[str, Any]:
    """How far apart the features are in their order, and how far if order did not matter, in standard errors.

    By their means, or by the skewness of their distributions where that tells more (standardised features).
    """
    usual = max(float(np.median(trained[1])), 1e-12)
    found = (0.0, 0.0)
    for one, other, unit in (
        (trained[0], shown[0], usual * error),
        (np.cbrt(trained[2]), np.cbrt(shown[2]), usual * error * SKEWED),
    ):
        aligned = float(np.median(np.abs(one - other))) / unit
        if aligned > found[0]:
            found = aligned, float(np.median(np.abs(np.sort(one) - np.sort(other)))) / unit
    return {"order_kept": found[0], "order_ignored": found[1]}


class Watch(Observer):
    """Looks at the first floating input of models on the CPU; a copy from an accelerator would cost a wait."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._models: dict[int, _Seen] = {}
        self._spent = 0.0
        self._over = False

    def before_root(self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        x = next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None)
        grad = torch.is_grad_enabled()
        if grad and not module.training:
            return  # neither training nor evaluation: attributions, adversaries
        if type(x) is not Tensor or torch._C._functorch.is_functorch_wrapped_tensor(x):
            return
        if x.dim() < 2 or x.device.type != "cpu" or x.dtype not in {torch.float32, torch.float64}:
            return
        seen = self._models.setdefault(root, _Seen())
        if (seen.n_trained if grad else seen.n_evaluated) > MOST_ROWS or not len(x) or x[0].numel() < FEWEST:
            return
        if self._over or (not x.is_contiguous() and x.numel() > LARGEST_COPY):
            return
        start = time.perf_counter()
        self._look(seen, grad, module.training is grad, words_of(x.detach()[:LARGEST_BATCH].numpy()))
        self._spent += time.perf_counter() - start
        self._over = self._spent > max(ALLOWANCE, SHARE * self.recorder.seconds())
        if self._over:
            self.mute("before_root")

    def _look(self, seen: _Seen, grad: bool, plain: bool, flat: npt.NDArray[Any]) -> None:
        prints = row_prints(flat)
        seen.add(grad, flat, prints)
        if not plain:
            return  # who evaluates in training mode may as well be acting: what is met again says nothing
        if grad:
            self._trained(seen, prints)
        elif seen.trained:
            met = sum(p in seen.trained for p in prints)
            seen.n_evaluated += len(prints)
            seen.n_met += met
            seen.n_batches += 1
            seen.n_partial += 0 < met < len(prints)

    @staticmethod
    def _trained(seen: _Seen, prints: list[int]) -> None:
        again = sum(p in seen.trained for p in prints)
        if not seen.n_again and not again:
            seen.first_pass += len(prints)
        seen.n_again += again
        seen.n_trained += len(prints)
        seen.trained.update(prints)

    def finish(self) -> None:
        for root, seen in self._models.items():
            if seen.n_trained:
                data = {name: value for name, value in vars(seen).items() if isinstance(value, int)} | seen.shifts()
                self.recorder.fact(
                    "rows", subject=str(root), data={"root": root, "n_distinct": len(seen.trained), **data}
                )


def words_of(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers of each row that are read: all, or some evenly spread."""
    flat = x.reshape(len(x), -1)
    if flat.shape[1] > WORDS:
        flat = flat[:, np.linspace(0, flat.shape[1] - 1, WORDS).astype(int)]
    return np.ascontiguousarray(flat)


def row_prints(flat: npt.NDArray[Any]) -> list[int]:
    """One number for each row: equal rows, equal numbers, whatever batch they stand in."""
    words = flat.view(np.uint32 if flat.itemsize == 4 else np.uint64).astype(np.uint64)
    words ^= words >> np.uint64(17)
    with np.errstate(over="ignore"):
        mixed = (words + np.uint64(1)) * _WEIGHTS[: words.shape[1]]
        mixed ^= mixed >> np.uint64(29)
        found: list[int] = mixed.sum(axis=1, dtype=np.uint64).tolist()
    return found
