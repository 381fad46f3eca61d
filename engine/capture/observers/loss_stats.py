"""Statistics of one loss call: the prediction, the target, and how they fit; tensors only, no transfer to the host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from aitia.engine.capture import stats
from aitia.engine.kernel import AT, FEATURES_LAST

Family = Literal["classes", "binary", "values"]

FAMILY: Final[dict[str, Family]] = {
    "cross_entropy": "classes",
    "nll_loss": "classes",
    "multi_margin_loss": "classes",
    "binary_cross_entropy": "binary",
    "binary_cross_entropy_with_logits": "binary",
}
"""Losses that are about classes; every other one compares values."""

MAX_ENTRIES: Final = 262_144
"""Larger predictions are sampled by rows: reading 1 MB takes about as long as starting twenty small operations."""
MAX_CLASSES: Final = 32
"""Beyond this many classes no table of confusions is kept."""
COLUMNS: Final = (
    "in_mean",
    "in_std",
    "in_min",
    "in_max",
    "in_rowsum",
    "in_sample_std",
    "target_mean",
    "target_std",
    "target_min",
    "target_max",
    "valid_share",
    "accuracy",
    "majority_share",
    "target_majority",
    "in_nonfinite",
    "target_nonfinite",
    "valid_rows",
)
"""Columns of the `loss` table in the order in which `measure` packs them."""
_SPREAD: Final = [AT["mean"], AT["std"], AT["min"], AT["max"]]
_SAMPLE_STD: Final = AT["sample_std"]
_BAD: Final = AT["nonfinite"]


@dataclass
class Rows:
    """Prediction and target as rows: `x` is [rows, outputs], `target` is [rows] for class ids, else like `x`."""

    x: Tensor
    target: Tensor | None
    valid: Tensor | None
    """Which class ids count; None when all do."""
    family: Family
    answered: Tensor | None = None
    """Whether each sample has a target that counts; None where a target is all that a sample has."""


def rows_of(
    function: str, prediction: Tensor, target: Any, ignore_index: int | None, sequences: int | None = None
) -> Rows:
    """Bring prediction and target into rows, at most `MAX_ENTRIES` entries of them.

    `sequences` is how many the model was given: their targets are often made flat for the loss.
    """
    family = FAMILY.get(function, "values")
    x = prediction.detach()
    y = target.detach() if isinstance(target, Tensor) else None
    if family == "classes" and x.dim() != 1:
        x = x.movedim(1, -1).reshape(-1, x.shape[1])
    elif family == "classes":
        x = x.reshape(1, -1)
    else:
        x = x.reshape(x.shape[0], -1) if x.dim() > 1 else x.reshape(-1, 1)
    ids = y is not None and family == "classes" and not y.is_floating_point()
    answered = None
    if y is not None:
        if ids:
            answered = _answered(y, ignore_index, sequences)
            y = y.reshape(-1)
        elif family == "classes" and y.dim() > 1:
            y = y.movedim(1, -1).reshape(-1, y.shape[1])
        elif y.numel() == x.numel() and y.shape[:1] == prediction.shape[:1]:
            y = y.reshape(x.shape)
        else:
            y = y.reshape(y.shape[0], -1) if y.dim() > 1 else y.reshape(-1, 1)
    if x.numel() > MAX_ENTRIES and x.shape[0] > 1:
        every = min(-(-x.numel() // MAX_ENTRIES), x.shape[0])
        if y is not None and y.shape[0] == x.shape[0]:
            y = y[::every]
        x = x[::every]
    valid = None
    if ids and y is not None and ignore_index is not None:
        valid = y != ignore_index
    return Rows(x.float(), y, valid, family, answered)


def _answered(ids: Tensor, ignore_index: int | None, sequences: int | None) -> Tensor | None:
    """Whether each sample has a target that counts; None where a target is all that a sample has."""
    if sequences and ids.dim() == 1 and len(ids) > sequences and len(ids) % sequences == 0:
        ids = ids.reshape(sequences, -1)
    return (ids != ignore_index).flatten(1).any(1) if ignore_index is not None and ids.dim() > 1 else None


def confusion(rows: Rows, function: str) -> Tensor | None:
    """Counts [target * classes + predicted], or None where there are no class ids or too many classes."""
    x, y = rows.x, rows.target
    if y is None or y.shape[:1] != x.shape[:1]:
        return None
    if rows.family == "binary" and y.shape == x.shape and x.shape[1] == 1:
        n, truth = 2, (y > 0.5).long().flatten()
        guess = (x > (0.0 if function.endswith("with_logits") else 0.5)).long().flatten()
    elif rows.family == "classes" and y.dim() == 1 and 1 < x.shape[1] <= MAX_CLASSES:
        n = x.shape[1]
        truth, guess = y.long().clamp(0, n - 1), x.argmax(1)
    else:
        return None
    weight = torch.ones_like(x[:, 0]) if rows.valid is None else rows.valid.to(x.dtype)
    return torch.zeros(n * n, dtype=x.dtype, device=x.device).scatter_add_(0, truth * n + guess, weight)


def measure(rows: Rows, function: str) -> Tensor:
    """All of `COLUMNS` as one float tensor on the prediction's device."""
    x = rows.x
    quick = _on_host(rows) if x.is_cpu and x.numel() else None
    if quick is not None:
        return quick
    nan = x.new_full((), math.nan)
    if x.numel() == 0:
        return nan.expand(len(COLUMNS))
    variance, mean = torch.var_mean(x, correction=0)
    low, high = torch.aminmax(x)
    row_sum = (x.sum(1) - 1).abs().mean() if x.shape[1] > 1 else nan
    sample_std = x.std(0, correction=0).mean() if x.shape[0] > 1 else nan
    bad = (~torch.isfinite(x)).sum().to(x.dtype)
    parts = [mean, variance.sqrt(), low, high, row_sum, sample_std]
    parts += _target(rows, nan) + _fit(rows, function, nan) + [bad]
    y = rows.target
    parts.append(nan if y is None else (~torch.isfinite(y)).sum().to(x.dtype))
    parts.append(nan if rows.answered is None else rows.answered.to(x.dtype).mean())
    return torch.stack(parts)


def _on_host(rows: Rows) -> Tensor | None:
    """The same for what most programs have, class ids that all count or numbers that are finite, in a few calls."""
    x, y = rows.x, rows.target
    if y is None or y.is_complex() or y.numel() == 0 or y.shape[0] != x.shape[0]:
        return None
    if rows.family != "values" and (rows.family != "classes" or y.dim() != 1 or y.is_floating_point()):
        return None
    (of_x,), unread = stats.rows((x,), FEATURES_LAST)
    (of_y,), unread_too = stats.rows((y,))
    if unread or unread_too or of_x[_BAD] or of_y[_BAD]:
        return None
    if rows.valid is not None and not bool(rows.valid.all()):
        return None
    a = x.numpy()
    row_sum = float(np.abs(a.sum(1) - 1).mean()) if a.shape[1] > 1 else math.nan
    fit = [math.nan] * 3
    if rows.family == "classes":
        guess, truth = a.argmax(1), y.numpy()
        top = np.bincount(np.clip(truth, 0, a.shape[1] - 1)).max()
        fit = [float(np.mean(guess == truth)), np.bincount(guess).max() / len(a), top / len(a)]
    answered = math.nan if rows.answered is None else float(rows.answered.to(x.dtype).mean())
    numbers = [*of_x[_SPREAD], row_sum, of_x[_SAMPLE_STD], *of_y[_SPREAD], 1.0, *fit, 0.0, 0.0, answered]
    return torch.tensor(numbers, dtype=x.dtype)


def _target(rows: Rows, nan: Tensor) -> list[Tensor]:
    y = rows.target
    if y is None or y.numel() == 0 or y.is_complex():
        return [nan] * 5
    t = y.to(rows.x.dtype)
    if rows.valid is None:
        variance, mean = torch.var_mean(t, correction=0)
        low, high = torch.aminmax(t)
        return [mean, variance.sqrt(), low, high, torch.ones_like(mean)]
    counted = rows.valid.to(t.dtype)
    n = counted.sum()
    mean = (t * counted).sum() / n
    spread = (((t - mean) ** 2) * counted).sum() / n
    low = torch.where(rows.valid, t, math.inf).min()
    high = torch.where(rows.valid, t, -math.inf).max()
    return [mean, spread.sqrt(), low, high, counted.mean()]


def _fit(rows: Rows, function: str, nan: Tensor) -> list[Tensor]:
    """Accuracy, share of the most frequent prediction, share of the most frequent target."""
    x, y = rows.x, rows.target
    if y is None or y.numel() == 0:
        return [nan] * 3
    if rows.family == "binary":
        if y.shape != x.shape:
            return [nan] * 3
        predicted = x > (0.0 if function.endswith("with_logits") else 0.5)
        truth = y > 0.5
        p, t = predicted.to(x.dtype).mean(), truth.to(x.dtype).mean()
        return [(predicted == truth).to(x.dtype).mean(), torch.maximum(p, 1 - p), torch.maximum(t, 1 - t)]
    if rows.family != "classes" or y.shape[0] != x.shape[0]:
        return [nan] * 3
    truth = y if y.dim() == 1 else y.argmax(1)
    guess = x.argmax(1)
    weight = torch.ones_like(x[:, 0]) if rows.valid is None else rows.valid.to(x.dtype)
    n = weight.sum()
    hit = ((guess == truth).to(x.dtype) * weight).sum() / n
    classes = x.shape[1]
    empty = torch.zeros(classes, dtype=x.dtype, device=x.device)
    guesses = empty.scatter_add(0, guess, weight).max() / n
    truths = empty.scatter_add(0, truth.long().clamp(0, classes - 1), weight).max() / n
    return [hit, guesses, truths]
