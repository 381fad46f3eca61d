"""Do near inputs carry equal labels? Keeps the first training samples and asks at the end."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aitia.engine.capture.observers.base import LossCall, Observer

SAMPLES: Final = 1024
"""Samples kept: nearest neighbours among them cost some 10 ms, and the agreement is known to ± 3 %."""
FEATURES: Final = 64
"""Numbers kept of each sample: 256 bytes."""
GRID: Final = 8
"""Images are averaged down to this many cells a side before they are folded."""
FEWEST: Final = 48
"""Below this many different samples the agreement says nothing."""
MAX_CLASSES: Final = 256
SHUFFLES: Final = 30
"""Shuffled targets that tell how far chance alone goes."""
_PRIME: Final = 2654435761
"""Knuth's multiplicative hash: spreads features over the folded ones, the same in every run."""


class Watch(Observer):
    """Pairs a root forward's input with the integer targets of the loss that follows."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._inputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._values = False
        """Whether targets are values to be predicted rather than labels."""
        self._kept = 0
        self._last: Tensor | None = None
        self._batch = 0

    def after_root(self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        if self._kept >= SAMPLES:
            self.mute("after_root", "after_loss")
            return
        if not torch.is_grad_enabled():
            return
        first = next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim() >= 1), None)
        with torch.no_grad():
            self._last = None if first is None else fold(first.detach()[: SAMPLES - self._kept])
            self._batch = 0 if first is None else first.shape[0]

    def after_loss(self, call: LossCall) -> None:
        """Keep the targets that belong to the last forward."""
        inputs, self._last = self._last, None
        if inputs is None or not call.grad or not isinstance(call.target, Tensor):
            return
        target = call.target.detach()
        if target.dim() == 2 and target.shape[1] == 1:
            target = target[:, 0]
        if target.dim() != 1 or len(target) != self._batch or call.prediction.shape[0] != len(target):
            return
        values = target.is_floating_point() and not bool((target == target.round()).all())
        if values and self._targets and not self._values:
            return
        self._values = self._values or values
        self._inputs.append(inputs.cpu())
        self._targets.append(target[: len(inputs)].double().cpu())
        self._kept += len(inputs)

    def finish(self) -> None:
        if not self._inputs:
            return
        width = self._inputs[0].shape[1]
        pairs = [(x, y) for x, y in zip(self._inputs, self._targets, strict=True) if x.shape[1] == width]
        x, y = torch.cat([p[0] for p in pairs]).numpy(), torch.cat([p[1] for p in pairs]).numpy()
        if self._values:
            data = unexplained(x, y)
        else:
            y = y.astype(np.int64)
            self.recorder.writer.sample("inputs", x)
            self.recorder.writer.sample("targets", y)
            data = agreement(x, y)
        if data is not None:
            self.recorder.fact("sample_neighbours", data=data)


def fold(x: Tensor) -> Tensor:
    """Each sample as at most `FEATURES` numbers: images averaged, the rest added up with signs under a fixed hash."""
    n = x.shape[0]
    if x.is_complex():  # casting one to a real number would warn the user
        x = torch.view_as_real(x.resolve_conj())
    if not x.is_floating_point() and x.dtype is not torch.uint8 and x.dim() >= 2:
        bucket = (x.reshape(n, -1).long() * _PRIME >> 8) % FEATURES  # tokens: how often each bucket occurs
        zero = torch.zeros(n, FEATURES, device=x.device)
        return zero.scatter_add_(1, bucket, torch.ones_like(bucket, dtype=torch.float32))
    x = x.float()
    if x.dim() == 4 and min(x.shape[2:]) > GRID:
        x = torch.nn.functional.adaptive_avg_pool2d(x, GRID)
    x = x.reshape(n, -1)
    if x.shape[1] <= FEATURES:
        return x.clone()
    position = torch.arange(x.shape[1], device=x.device) * _PRIME
    sign = 1.0 - 2.0 * ((position >> 16) & 1).float()
    return torch.zeros(n, FEATURES, device=x.device).index_add_(1, (position >> 8) % FEATURES, x * sign)


def agreement(x: npt.NDArray[np.float32], y: npt.NDArray[np.int64]) -> dict[str, float | int] | None:
    """Share of samples whose nearest different sample has the same label, against drawing labels at random."""
    good = np.isfinite(x).all(axis=1)
    x, y = x[good].astype(np.float64), y[good]
    _, first, inverse = np.unique(x, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    repeated = np.setdiff1d(np.arange(len(y)), first)
    same = float((y[repeated] == y[first[inverse[repeated]]]).mean()) if len(repeated) else float("nan")
    x, y = x[first], y[first]
    _, counts = np.unique(y, return_counts=True)
    nearest = _nearest(x)
    if len(y) < FEWEST or not 1 < len(counts) <= MAX_CLASSES or nearest is None:
        return None
    shares = counts / len(y)
    return {
        "agreement": float((y[nearest] == y).mean()),
        "chance": float((shares**2).sum()),
        "n": len(y),
        "dims": int((x.std(axis=0) > 0).sum()),
        "classes": len(counts),
        "n_repeated": len(repeated),
        "repeated_agreement": same,
    }


def unexplained(x: npt.NDArray[np.float32], y: npt.NDArray[np.float64]) -> dict[str, float | int] | None:
    """Mean squared difference to the nearest sample's target, against that of any two (1: inputs tell nothing)."""
    good = np.isfinite(x).all(axis=1) & np.isfinite(y)
    x, first = np.unique(x[good].astype(np.float64), axis=0, return_index=True)
    y = y[good][first]
    nearest = _nearest(x)
    if len(y) < FEWEST or not y.std() > 0 or nearest is None:
        return None
    y = np.argsort(np.argsort(y)).astype(np.float64)  # ranks: single large values decide nothing
    scale = 2 * y.var()
    generator = np.random.default_rng(0)
    shuffled = [((p[nearest] - p) ** 2).mean() / scale for p in (generator.permutation(y) for _ in range(SHUFFLES))]
    return {
        "unexplained": float(((y[nearest] - y) ** 2).mean() / scale),
        "unexplained_error": float(np.std(shuffled)),
        "n": len(y),
        "dims": int((x.std(axis=0) > 0).sum()),
    }


def _nearest(x: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64] | None:
    """Index of each sample's nearest other one, in units of the features' spread."""
    spread = x.std(axis=0) if len(x) else np.empty(0)
    x = x[:, spread > 0] / spread[spread > 0] if len(x) else x
    if len(x) < 2 or x.shape[1] == 0:
        return None
    norms = (x**2).sum(axis=1)
    distance = norms[:, None] + norms[None, :] - 2 * x @ x.T
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance.argmin(axis=1), dtype=np.int64)
