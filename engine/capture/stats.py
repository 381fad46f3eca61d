"""Statistics of one tensor: numpy on the host (there ten times as fast as torch's reductions), torch elsewhere."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FIELDS: Final = (
    "mean",
    "std",
    "min",
    "max",
    "absmax",
    "zero_share",
    "sat_share",
    "dead_share",
    "sample_std",
    "nonfinite",
    "norm",
)
"""What `describe` yields, in this order."""
GRADIENT_FIELDS: Final = ("norm", "absmax", "zero_share", "nonfinite")
"""What `describe_gradient` yields."""
NOTHING: Final = [math.nan] * len(FIELDS)
CANCELLATION: Final = 1e-4
"""Below this ratio of variance to squared mean the one-pass formula has lost its digits in float32."""
SATURATED: Final = 0.99
"""Part of a bounded activation's range beyond which a unit counts as saturated."""
MAX_ENTRIES: Final = 1 << 22
"""Larger tensors are described by a part of their samples: 16 MB take a few milliseconds."""

_NUMPY: Final = frozenset(
    {torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)
_CHARS: Final = frozenset("fdqlihbB")
"""numpy's letters for these types."""
_ORDINARY: Final = frozenset({Tensor, torch.nn.Parameter})
Array = npt.NDArray[Any]


def readable(x: Tensor) -> bool:
    """False for tensors without data of their own: meta, fake, under a function transform."""
    if x.is_meta or type(x).__name__ == "FakeTensor":
        return False
    return not bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def strided(x: Tensor) -> Tensor | None:
    """The values of `x` as a plain real tensor: sparse ones coalesced, complex ones as pairs, sharded ones local."""
    x = x.detach()
    if hasattr(x, "to_local"):
        x = x.to_local()
    if x.layout is not torch.strided:
        if x.layout is not torch.sparse_coo:
            return None
        x = x.coalesce().values()
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    return x


def host(x: Tensor) -> Array | None:
    """A numpy view (or, for types numpy lacks, a copy) of a host tensor; None for a device tensor."""
    if x.is_cuda:
        return None
    if type(x) in _ORDINARY:
        # Asking for the array and looking at it costs half of what asking the tensor about itself does.
        try:
            array: Array = x.detach().numpy()
            if array.dtype.char in _CHARS:
                return array
        except (TypeError, RuntimeError):  # a type, a layout or a device that numpy does not have
            pass
    if x.device.type != "cpu" or (x.layout is torch.strided and x.is_quantized):
        return None
    if x.layout is not torch.strided or x.is_complex() or hasattr(x, "to_local"):
        plain = strided(x)
        if plain is None:
            return None
        x = plain
    if x.dtype.is_floating_point and x.dtype not in _NUMPY:
        x = x.float()
    elif x.dtype is torch.bool:
        x = x.to(torch.uint8)
    return x.detach().resolve_neg().numpy() if x.dtype in _NUMPY else None


def flat(a: Array) -> Array:
    """One dimension, a view where the memory allows it."""
    return a.reshape(-1)


def sum_of_squares(a: Array) -> float:
    """Squared L2 norm of a flat float array; float64 where float32 would overflow."""
    s = float(np.dot(a, a))
    if math.isfinite(s):
        return s
    if not np.isfinite(a).all():
        return math.nan if np.isnan(a).any() else math.inf
    wide = a.astype(np.float64)
    return float(np.dot(wide, wide))


def norm(a: Array) -> float:
    """L2 norm; NaN or Inf when an entry is."""
    s = sum_of_squares(flat(a))
    return math.sqrt(s) if s >= 0 else s


def describe(
    x: Tensor, channels: bool = False, bounds: tuple[float, float] | None = None
) -> list[float] | Tensor | None:
    """All of `FIELDS` of a tensor with samples along its first dimension.

    Features are counted along dimension 1 when `channels`, else along the last. `bounds` is the range of a bounded
    activation; without it saturation is only told of when all values lie in [-1, 1]. A host tensor yields floats, a
    device tensor a device tensor of that many entries.
    """
    a = host(x)
    if a is not None:
        return _on_host(a, channels, bounds)
    plain = strided(x)
    return None if plain is None else _on_device(plain, channels, bounds)


def describe_gradient(x: Tensor) -> list[float] | Tensor | None:
    """All of `GRADIENT_FIELDS`."""
    a = host(x)
    if a is not None:
        return gradient_on_host(flat(a))
    plain = strided(x)
    if plain is None or plain.numel() == 0:
        return None
    y = plain.float()
    bad = (~torch.isfinite(y)).sum()
    parts = [torch.linalg.vector_norm(y), torch.linalg.vector_norm(y, math.inf), (y == 0).float().mean(), bad]
    return torch.stack([p.to(torch.float32) for p in parts])


def gradient_on_host(v: Array) -> list[float]:
    """`GRADIENT_FIELDS` of a flat host array."""
    n = v.size
    if n == 0:
        return [0.0, 0.0, math.nan, 0.0]
    square = float(np.dot(v, v))
    bad = 0
    if not math.isfinite(square):
        square = sum_of_squares(v)
        bad = n - int(np.count_nonzero(np.isfinite(v)))
    low, high = float(np.minimum.reduce(v)), float(np.maximum.reduce(v))
    zeros = n - int(np.count_nonzero(v)) if not low > 0 and not high < 0 else 0
    return [math.sqrt(square) if square >= 0 else square, max(-low, high), zeros / n, float(bad)]


def _on_host(a: Array, channels: bool, bounds: tuple[float, float] | None) -> list[float]:
    n = a.size
    if n == 0:
        return NOTHING
    if n > MAX_ENTRIES and a.ndim > 1 and a.shape[0] > 1:
        a = a[:: min(a.shape[0], -(-n // MAX_ENTRIES))]
        n = a.size
    if a.dtype.kind != "f":
        a = a.astype(np.float32 if a.dtype.itemsize < 4 else np.float64)
    v = a.reshape(-1)
    square = float(np.dot(v, v))
    bad = 0
    if not math.isfinite(square):
        finite = np.isfinite(v)
        bad = n - int(np.count_nonzero(finite))
        if bad:
            v = v[finite]
            a = np.where(finite.reshape(a.shape), a, 0)
        if v.size == 0:
            return [*NOTHING[:-2], float(bad), math.nan]
        v = v.astype(np.float64)
        square = float(np.dot(v, v))
        n = v.size
    mean = float(np.add.reduce(v)) / n
    variance = square / n - mean * mean
    if variance < CANCELLATION * mean * mean:
        variance = float(v.var(dtype=np.float64))
    low, high = float(np.minimum.reduce(v)), float(np.maximum.reduce(v))
    zeros = n - int(np.count_nonzero(v)) if low <= 0 <= high else 0
    sat = math.nan
    if bounds is not None or (low >= -1 and high <= 1):
        sat = _saturated(v, bounds) / n
    rows = a.shape[0] if a.ndim > 1 else 1
    return [
        mean,
        math.sqrt(max(variance, 0.0)),
        low,
        high,
        max(-low, high),
        zeros / n,
        sat,
        _dead(a, channels) if zeros and rows > 1 else (1.0 if zeros == n else 0.0) if rows > 1 else math.nan,
        _sample_std(a) if rows > 1 else math.nan,
        float(bad),
        math.sqrt(square) if not bad else math.nan,
    ]


def _saturated(v: Array, bounds: tuple[float, float] | None) -> int:
    if bounds is None or bounds[0] < 0:
        return int(np.count_nonzero(np.abs(v) > SATURATED))
    return int(np.count_nonzero(v > SATURATED)) + int(np.count_nonzero(v < 1 - SATURATED))


def _dead(a: Array, channels: bool) -> float:
    if channels and a.ndim > 2:
        alive = (a != 0).any(axis=(0, *range(2, a.ndim)))
    else:
        alive = (a.reshape(-1, a.shape[-1]) != 0).any(axis=0)
    return 1.0 - int(np.count_nonzero(alive)) / int(alive.size)


def _sample_std(a: Array) -> float:
    rows = a.reshape(a.shape[0], -1)
    # Distances from the first sample: exactly 0 when all samples are equal, and no digits lost to a large mean.
    moved = rows - rows[0]
    mean = np.add.reduce(moved, 0) / len(rows)
    variance = np.einsum("ij,ij->j", moved, moved) / len(rows) - mean * mean
    deviation: Array = np.sqrt(np.maximum(variance, 0))
    return float(np.add.reduce(deviation)) / deviation.size


def _on_device(x: Tensor, channels: bool, bounds: tuple[float, float] | None) -> Tensor:
    n = x.numel()
    if n == 0:
        return torch.full((len(FIELDS),), math.nan, device=x.device)
    if n > MAX_ENTRIES and x.dim() > 1 and x.shape[0] > 1:
        x = x[:: min(x.shape[0], -(-n // MAX_ENTRIES))]
        n = x.numel()
    x = x.float()
    finite = torch.isfinite(x)
    bad = n - finite.sum()
    x = torch.where(finite, x, 0)
    count = n - bad
    mean = x.sum() / count
    variance = (((x - mean) * finite) ** 2).sum() / count
    inf = torch.tensor(math.inf, device=x.device)
    low, high = torch.where(finite, x, inf).min(), torch.where(finite, x, -inf).max()
    zero = ((x == 0) & finite).sum()
    nan = torch.tensor(math.nan, device=x.device)
    if bounds is not None and bounds[0] >= 0:
        sat = ((x > SATURATED) | ((x < 1 - SATURATED) & finite)).sum() / count
    else:
        sat = (x.abs() > SATURATED).sum() / count
        if bounds is None:
            sat = torch.where((low >= -1) & (high <= 1), sat, nan)
    dead = sample = nan
    if x.dim() > 1 and x.shape[0] > 1:
        dims = (0, *range(2, x.dim())) if channels and x.dim() > 2 else tuple(range(x.dim() - 1))
        dead = ((x != 0).float().amax(dim=dims) == 0).float().mean()
        rows = x.reshape(x.shape[0], -1)
        sample = (rows - rows[0]).var(0, correction=0).clamp_min(0).sqrt().mean()
    square = torch.where(bad > 0, nan, (x.double() ** 2).sum().sqrt().float())
    parts = [mean, variance.sqrt(), low, high, torch.maximum(-low, high), zero / n, sat, dead, sample, bad, square]
    return torch.stack([p.to(torch.float32) for p in parts])
