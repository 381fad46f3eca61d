"""Statistics of tensors: on the host by `aitia.engine.kernel` (one read of memory), elsewhere by torch operations."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aitia.engine import kernel
from aitia.engine.kernel import AT, CHANNELS, FEATURES_LAST, FLAT, WIDTH

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
UNDERFLOW: Final = 1e-25
"""A sum of squares below this may have lost some of them in float32, whose smallest number is 1e-38."""
SATURATED: Final = 0.99
"""Part of a bounded activation's range beyond which a unit counts as saturated."""
MAX_ENTRIES: Final = 1 << (24 if kernel.PATH == "compiled" else 22)
"""Larger tensors are described by a part of their samples; so many take a few milliseconds."""

_NUMPY: Final = frozenset(
    {torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)
_CHARS: Final = frozenset("fdqlihbB")
"""numpy's letters for these types."""
_ORDINARY: Final = frozenset({Tensor, torch.nn.Parameter})
Array = npt.NDArray[Any]
_refused: Final[list[str]] = []
"""Why Triton is not asked any more in this process."""
_DESCRIBED: Final = operator.itemgetter(*(AT[{"norm": "l2"}.get(f, f)] for f in FIELDS))
_COUNT, _L2, _ABSMAX, _ZEROS, _BAD = (AT[f] for f in ("count", "l2", "absmax", "zero_share", "nonfinite"))


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
    """Squared L2 norm of a flat float array; float64 where float32 would over- or underflow."""
    s = float(np.dot(a, a))
    if UNDERFLOW < s < math.inf:
        return s
    if not np.isfinite(a).all():
        return math.nan if np.isnan(a).any() else math.inf
    wide = a.astype(np.float64)
    return float(np.dot(wide, wide))


def norm(a: Array) -> float:
    """L2 norm; NaN or Inf when an entry is."""
    s = sum_of_squares(flat(a))
    return math.sqrt(s) if s >= 0 else s


def rows(
    tensors: Sequence[Any],
    layout: int = FLAT,
    bounds: tuple[float, float] | None = None,
    before: Sequence[Any] | None = None,
) -> tuple[Array, list[int]]:
    """A row of `kernel.FIELDS` for each of many host tensors in one call, and the indices of those it cannot read.

    `bounds` is the range of a bounded activation. With `before`, what the tensors were, it is told how far they moved.
    """
    out = np.empty((len(tensors), WIDTH))
    low, high = ends(bounds) or (None, None)
    return out, kernel.measure(tensors, out, 0, layout, low, high, torch.get_num_threads(), before)


def ends(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    """Where saturation begins in a bounded range: near both of its ends."""
    return None if bounds is None else ((1 - SATURATED if bounds[0] >= 0 else -SATURATED), SATURATED)


def device_row(x: Tensor, samples: bool, channels: bool, bounds: tuple[float, float] | None) -> Tensor | None:
    """`FIELDS` and then `GRADIENT_FIELDS` of a CUDA tensor by Triton; None where torch operations have to do it."""
    if not x.is_cuda or _refused or x.numel() == 0:
        return None
    try:
        from aitia.engine.capture import device_stats

        return device_stats.row(x, samples, channels, ends(bounds))
    except Exception as error:  # noqa: BLE001 - no Triton, no C compiler for its launcher, a device it does not know
        _refused.append(repr(error))
        return None


def host_row(x: Tensor, layout: int = FLAT, bounds: tuple[float, float] | None = None) -> list[float] | None:
    """`kernel.FIELDS` of a tensor on the host, whatever its type and layout; None for a device tensor."""
    if x.is_cuda:
        return None
    if x.is_neg():
        x = x.detach().resolve_neg()
    out, unread = rows((x,), layout, bounds)
    if unread:
        array = host(x)
        if array is None:
            return None
        out, unread = rows((array,), layout, bounds)
    row: list[float] = out[0].tolist()
    return None if unread else row


def describe(
    x: Tensor, channels: bool = False, bounds: tuple[float, float] | None = None
) -> list[float] | Tensor | None:
    """All of `FIELDS` of a tensor with samples along its first dimension.

    Features are counted along dimension 1 when `channels`, else along the last. `bounds` is the range of a bounded
    activation; without it saturation is only told of when all values lie in [-1, 1]. A host tensor yields floats, a
    device tensor a device tensor of that many entries.
    """
    n = x.numel()
    if n > MAX_ENTRIES and x.layout is torch.strided and x.dim() > 1:
        x = x.detach()[:: min(x.shape[0], -(-n // MAX_ENTRIES))]
    row = host_row(x, CHANNELS if channels else FEATURES_LAST, bounds)
    if row is not None:
        return list(_DESCRIBED(row))
    plain = strided(x)
    if plain is None:
        return None
    row_there = device_row(plain, True, channels, bounds)
    return _on_device(plain, channels, bounds) if row_there is None else row_there[: len(FIELDS)]


def describe_gradient(x: Tensor) -> list[float] | Tensor | None:
    """All of `GRADIENT_FIELDS`."""
    row = host_row(x)
    if row is not None:
        return _gradient(row)
    plain = strided(x)
    if plain is None or plain.numel() == 0:
        return None
    row_there = device_row(plain, False, False, None)
    if row_there is not None:
        return row_there[len(FIELDS) :]
    y = plain.float()
    bad = (~torch.isfinite(y)).sum()
    parts = [torch.linalg.vector_norm(y), torch.linalg.vector_norm(y, math.inf), (y == 0).float().mean(), bad]
    return torch.stack([p.to(torch.float32) for p in parts])


def gradient_on_host(v: Array) -> list[float]:
    """`GRADIENT_FIELDS` of a host array."""
    return _gradient(rows((v,))[0][0].tolist())


def gradients(out: Array) -> Array:
    """`GRADIENT_FIELDS` of the rows that `rows` made, as [tensors, fields]."""
    found = out[:, (_L2, _ABSMAX, _ZEROS, _BAD)]
    found[:, 1] = np.where(found[:, 3] > 0, found[:, 0], found[:, 1])  # the largest of entries that are not finite
    found[out[:, _COUNT] == 0, 1] = 0.0
    return found


def _gradient(row: list[float]) -> list[float]:
    norm, bad = row[_L2], row[_BAD]
    top = norm if bad else row[_ABSMAX] if row[_COUNT] else 0.0
    return [norm, top, row[_ZEROS], bad]


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
