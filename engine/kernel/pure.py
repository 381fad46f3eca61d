"""The same statistics by numpy, for installations without a compiler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aitia.engine.kernel.fields import AT, CHANNELS, WIDTH

(
    COUNT, MEAN, STD, LOW, HIGH, ABSMAX, L1, L2, ZEROS, SATURATION,
    NONFINITE, NANS, FIRST, DEAD, SAMPLE_STD, MOVED, CHANGED,
) = AT.values()  # fmt: skip
Array = npt.NDArray[Any]
CANCELLATION: Final = 1e-2
"""Below this ratio of variance to mean square the one-pass formula loses more than two of single precision's digits."""
SAFE: Final = {"f": (2.0**-30, 2.0**55), "d": (2.0**-480, 2.0**480)}
"""Largest absolute values whose squares, and sums of them, keep their digits in float32 and float64."""
SATURATED: Final = 0.99
MANY: Final = 1000
"""Squares that are added up in single precision: their sum keeps five digits."""
SMALL: Final = 2
"""Bytes of integers that float32 represents exactly."""


def measure(  # noqa: PLR0917 - the compiled one takes them by position, which is what makes a call cheap
    tensors: Sequence[Any],
    out: Any,
    at: int,
    layout: int,
    low: float | None,
    high: float | None,
    threads: int,
    before: Sequence[Any] | None,
) -> list[int]:
    """See the package's docstring; `threads` is numpy's own business."""
    rows = np.frombuffer(out, np.float64).reshape(-1, WIDTH)
    if at < 0 or at + len(tensors) > len(rows):
        raise ValueError("out: not enough rows of 8-byte floats for these tensors")
    if before is not None and len(before) != len(tensors):
        raise ValueError("`before` must be as long as `tensors`")
    unread = []
    bounds = None if low is None or high is None else (low, high)
    with np.errstate(all="ignore"):  # what is not finite is counted, not warned of
        for i, tensor in enumerate(tensors):
            row = rows[at + i]
            row[:] = np.nan
            array = entries(tensor)
            if array is None:
                unread.append(i)
                continue
            _tell(row, array, layout, bounds)
            old = None if before is None or layout else before[i]
            if old is not None:
                _compare(row, array, entries(old))
    return unread


def gradients(parameters: Sequence[Any], out: Any, at: int, threads: int) -> float:
    """See the package's docstring."""
    found = [p.grad for p in parameters]
    measure(found, out, at, 0, None, None, threads, None)
    rows = np.frombuffer(out, np.float64).reshape(-1, WIDTH)[at : at + len(found)]
    rows[[g is None for g in found], COUNT] = -1
    rows[:, SATURATION] = np.nan
    norms = rows[rows[:, COUNT] >= 0, L2]
    return float(np.sqrt(norms @ norms))


def entries(x: Any) -> Array | None:
    """Entries of a host tensor or array in a type that holds them all, float32 or float64; None for anything else."""
    try:
        array: Array = x if isinstance(x, np.ndarray) else _of_tensor(x)
    except (TypeError, RuntimeError, AttributeError, ValueError):  # on a device, sparse, without data
        return None
    if array.dtype.kind == "f" and array.dtype.itemsize in {4, 8}:
        return array
    if array.dtype.kind in "iub" or array.dtype == np.float16:
        return array.astype(np.float32 if array.dtype.itemsize <= SMALL else np.float64)
    return None


def _of_tensor(x: Any) -> Array:
    plain = x.detach()
    try:
        return np.asarray(plain.numpy())
    except TypeError:  # bfloat16 and other types of its own
        if plain.device.type != "cpu" or plain.is_complex():
            raise
        return np.asarray(plain.float().numpy())


def _tell(row: Array, a: Array, layout: int, bounds: tuple[float, float] | None) -> None:
    n = row[COUNT] = a.size
    row[L1] = row[L2] = row[NONFINITE] = row[NANS] = 0
    row[FIRST] = -1
    if n == 0:
        return
    v = a.reshape(-1)
    square = float(np.dot(v, v))
    if not math.isfinite(square):
        finite = np.isfinite(v)
        if not finite.all():
            row[NONFINITE] = n - np.count_nonzero(finite)
            row[NANS] = np.count_nonzero(np.isnan(v))
            row[FIRST] = np.argmin(finite)
            a = np.where(finite.reshape(a.shape), a, 0)
            v = v[finite]
    if v.size:
        _moments(row, v, square, bounds)
    if row[NONFINITE]:
        row[L1] = row[L2] = np.nan if row[NANS] else np.inf
    if layout and a.ndim > 1 and a.shape[0] > 1:
        row[DEAD] = _dead(a, layout == CHANNELS) if row[ZEROS] != 0 or row[NONFINITE] else 0.0
        row[SAMPLE_STD] = _sample_std(a, row[ABSMAX])


def _moments(row: Array, v: Array, square: float, bounds: tuple[float, float] | None) -> None:
    n = v.size
    low, high = float(np.minimum.reduce(v)), float(np.maximum.reduce(v))
    top = max(-low, high)
    row[LOW], row[HIGH], row[ABSMAX] = low, high, top
    row[ZEROS] = (n - np.count_nonzero(v)) / n if low <= 0 <= high else 0.0
    if bounds is not None:
        row[SATURATION] = (np.count_nonzero(v < bounds[0]) + np.count_nonzero(v > bounds[1])) / n
    elif low >= -1 and high <= 1:
        row[SATURATION] = np.count_nonzero(np.abs(v) > v.dtype.type(SATURATED)) / n
    exponent = scale_of(top, v.dtype.char)
    if exponent or row[NONFINITE]:
        v = np.ldexp(v, -exponent)
        square = float(np.dot(v, v))
    mean = float(np.add.reduce(v)) / n
    variance = square / n - mean * mean
    if not variance > CANCELLATION * square / n:
        mean = float(np.add.reduce(v, dtype=np.float64)) / n
        variance = float(np.square(v - mean, dtype=np.float64).sum()) / n
    row[MEAN] = low if low == high else math.ldexp(mean, exponent)
    row[STD] = 0.0 if low == high else unscaled(math.sqrt(max(variance, 0.0)), exponent)
    row[L1] = unscaled(float(np.add.reduce(np.abs(v))), exponent)
    row[L2] = unscaled(math.sqrt(square), exponent)


def scale_of(top: float, kind: str) -> int:
    """The power of two to divide by where squares would over- or underflow; 0 where they do not."""
    small, large = SAFE[kind]
    return 0 if top == 0 or small <= top <= large or not math.isfinite(top) else math.frexp(top)[1] - 1


def unscaled(x: float, exponent: int) -> float:
    """`x` times a power of two; infinite where that is too large for a float."""
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.inf


def _dead(a: Array, channels: bool) -> float:
    if channels and a.ndim > 2:
        alive = (a != 0).any(axis=(0, *range(2, a.ndim)))
    else:
        alive = (a.reshape(-1, a.shape[-1]) != 0).any(axis=0)
    return 1.0 - int(np.count_nonzero(alive)) / int(alive.size)


def _sample_std(a: Array, top: float) -> float:
    rows = a.reshape(a.shape[0], -1)
    exponent = scale_of(top, a.dtype.char) if math.isfinite(top) else 0
    if exponent:
        rows = np.ldexp(rows, -exponent)
    # Distances from the first sample: exactly 0 when all samples are equal, and no digits lost to a large mean.
    moved = rows - rows[0]
    wide = np.float64 if len(rows) > MANY else moved.dtype
    mean = np.add.reduce(moved, 0, dtype=wide) / len(rows)
    variance = np.einsum("ij,ij->j", moved, moved, dtype=wide) / len(rows) - mean * mean
    deviation: Array = np.sqrt(np.maximum(variance, 0))
    return unscaled(float(np.add.reduce(deviation)) / deviation.size, exponent)


def _compare(row: Array, now: Array, old: Array | None) -> None:
    if old is None or old.size != now.size or old.dtype != now.dtype or not now.size:
        return
    exponent = scale_of(row[ABSMAX], now.dtype.char) if row[NONFINITE] < now.size else 0
    if exponent:
        now, old = np.ldexp(now, -exponent), np.ldexp(old, -exponent)
    moved = (now.reshape(-1) - old.reshape(-1)).astype(np.float64)
    square = float(np.dot(moved, moved))
    row[MOVED] = unscaled(math.sqrt(square), exponent) if square >= 0 else square
    row[CHANGED] = np.count_nonzero(moved) / moved.size
