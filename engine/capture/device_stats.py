"""Statistics of a tensor on a CUDA device by Triton: one read of its memory, nothing fetched, no synchronisation.

Three launches per tensor (clear, sum, finish), four where samples are told apart. Sums of single-precision parts are
joined in double precision; the numbers are those of `aitia.engine.kernel` to five digits, but for deviations of values
beyond 1e19, whose squares float32 does not hold. Import fails without Triton.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

SLOTS: Final = 16
"""8-byte places of the sums: see `_sums` and `_columns`."""
DESCRIBED: Final = 11
"""Numbers that `stats.FIELDS` takes of a row; those of `stats.GRADIENT_FIELDS` follow."""
WIDTH: Final = DESCRIBED + 4
BLOCK: Final = 1024
PROGRAMS: Final = 512
"""Programs of a launch at most: a few per multiprocessor of any device."""
COLUMNS: Final = 128
ROWS: Final = 8
"""What a program of `_columns` reads at once."""


# Numbers are kept from being specialized: each size of a layer would be compiled anew, and a 1 would lose its methods.
@triton.jit(do_not_specialize=["n", "steps"])
def _sums(x_ptr, whole, real, n, low, high, steps, BLOCK: tl.constexpr):
    """Whole numbers: 0 bad, 1 NaN, 2 n - first bad, 3 zeros, 4 saturated, 5 and 6 keys of the maximum and of -minimum.

    Real ones: 7 sum, 8 squares, both of distances from 9, the shift; 10, 11, 12 squares of ordinary, small and large
    entries, each scaled so that none under- or overflows; 13 absolute values.
    """
    head = tl.arange(0, 128)
    few = tl.load(x_ptr + head, mask=head < n, other=0.0).to(tl.float32)
    usable = (tl.abs(few) < 1e15) & (head < n)
    shift = tl.sum(tl.where(usable, few, 0.0), 0) / tl.maximum(tl.sum(usable.to(tl.float32), 0), 1.0)
    lane = tl.arange(0, BLOCK)
    s = tl.zeros((BLOCK,), tl.float32)
    q = tl.zeros((BLOCK,), tl.float32)
    ordinary = tl.zeros((BLOCK,), tl.float32)
    small = tl.zeros((BLOCK,), tl.float32)
    large = tl.zeros((BLOCK,), tl.float32)
    size = tl.zeros((BLOCK,), tl.float32)
    bad = tl.zeros((BLOCK,), tl.int32)
    nans = tl.zeros((BLOCK,), tl.int32)
    zeros = tl.zeros((BLOCK,), tl.int32)
    saturated = tl.zeros((BLOCK,), tl.int32)
    first = tl.zeros((BLOCK,), tl.int64)
    top = tl.zeros((BLOCK,), tl.int64)
    bottom = tl.zeros((BLOCK,), tl.int64)
    begin = tl.program_id(0).to(tl.int64) * steps * BLOCK
    for step in range(steps):
        at = begin + step * BLOCK + lane
        inside = at < n
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        finite = inside & (tl.abs(x) < float("inf"))
        broken = inside & (finite == 0)
        nans += (inside & (x != x)).to(tl.int32)
        x = tl.where(finite, x, 0.0)
        d = tl.where(finite, x - shift, 0.0)
        s += d
        q += d * d
        a = tl.abs(x)
        size += a
        tiny = a < 1e-12
        huge = a > 1e15
        ordinary += tl.where(tiny | huge, 0.0, x * x)
        y = tl.where(tiny, x * 1.152921504606847e18, 0.0)  # 2 to the 60th
        small += y * y
        z = tl.where(huge, x * 8.673617379884035e-19, 0.0)  # 2 to the -60th
        large += z * z
        bad += broken.to(tl.int32)
        zeros += (finite & (x == 0.0)).to(tl.int32)
        saturated += (finite & ((x < low) | (x > high))).to(tl.int32)
        first = tl.maximum(first, tl.where(broken, n - at, 0))
        # Bits of floats as integers of the same order, moved to be positive: 0 stands for none.
        bits = x.to(tl.int32, bitcast=True)
        key = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)
        top = tl.maximum(top, tl.where(finite, key + 2147483649, 0))
        bottom = tl.maximum(bottom, tl.where(finite, 2147483649 - key, 0))
    tl.atomic_add(whole + 0, tl.sum(bad.to(tl.int64), 0))
    tl.atomic_add(whole + 1, tl.sum(nans.to(tl.int64), 0))
    tl.atomic_max(whole + 2, tl.max(first, 0))
    tl.atomic_add(whole + 3, tl.sum(zeros.to(tl.int64), 0))
    tl.atomic_add(whole + 4, tl.sum(saturated.to(tl.int64), 0))
    tl.atomic_max(whole + 5, tl.max(top, 0))
    tl.atomic_max(whole + 6, tl.max(bottom, 0))
    tl.atomic_add(real + 7, tl.sum(s.to(tl.float64), 0))
    tl.atomic_add(real + 8, tl.sum(q.to(tl.float64), 0))
    tl.atomic_add(real + 10, tl.sum(ordinary.to(tl.float64), 0))
    tl.atomic_add(real + 11, tl.sum(small.to(tl.float64), 0))
    tl.atomic_add(real + 12, tl.sum(large.to(tl.float64), 0))
    tl.atomic_add(real + 13, tl.sum(size.to(tl.float64), 0))
    if tl.program_id(0) == 0:
        tl.store(real + 9, shift.to(tl.float64))


@triton.jit(do_not_specialize=["rows", "entries", "features", "stride"])
def _columns(x_ptr, real, alive, rows, entries, features, stride, COLUMNS: tl.constexpr, ROWS: tl.constexpr):
    """Samples along the first dimension. 14: sum of the entries' deviations; `alive`: features that are ever not 0."""
    column = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < entries
    base = tl.load(x_ptr + column, mask=inside, other=0.0).to(tl.float32)
    base = tl.where(tl.abs(base) < float("inf"), base, 0.0)
    s = tl.zeros((ROWS, COLUMNS), tl.float32)
    q = tl.zeros((ROWS, COLUMNS), tl.float32)
    live = tl.zeros((ROWS, COLUMNS), tl.int32)
    for begin in range(0, rows, ROWS):
        row = begin + tl.arange(0, ROWS).to(tl.int64)
        here = (row < rows)[:, None] & inside[None, :]
        x = tl.load(x_ptr + row[:, None] * entries + column[None, :], mask=here, other=0.0).to(tl.float32)
        x = tl.where(tl.abs(x) < float("inf"), x, 0.0)
        d = tl.where(here, x - base[None, :], 0.0)
        s += d
        q += d * d
        live |= (here & (x != 0.0)).to(tl.int32)
    n = rows.to(tl.float64)
    mean = tl.sum(s.to(tl.float64), 0) / n
    variance = tl.sum(q.to(tl.float64), 0) / n - mean * mean
    deviation = tl.sqrt(tl.where(inside & (variance > 0.0), variance, 0.0))
    tl.atomic_add(real + 14, tl.sum(deviation, 0))
    tl.store(alive + (column // stride) % features, 1, mask=inside & (tl.max(live, 0) > 0))


@triton.jit
def _float_of(key):
    """The float32 that a key of `_sums` stands for."""
    bits = (key - 2147483649).to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True).to(tl.float64)


@triton.jit(do_not_specialize=["n", "entries", "features", "bounded"])
def _finish(whole, real, alive, out, n, entries, features, bounded, SAMPLES: tl.constexpr, PART: tl.constexpr):
    """From sums to a row: `stats.FIELDS`, then `stats.GRADIENT_FIELDS`."""
    nan = float("nan")
    bad = tl.load(whole + 0).to(tl.float64)
    nans = tl.load(whole + 1)
    left = n.to(tl.float64) - bad
    some = left > 0.0
    count = tl.maximum(left, 1.0)
    offset = tl.load(real + 7) / count
    variance = tl.load(real + 8) / count - offset * offset
    high = _float_of(tl.load(whole + 5))
    low = -_float_of(tl.load(whole + 6))
    top = tl.maximum(high, -low)
    square = tl.load(real + 10) + tl.load(real + 11) * 7.52316384526264e-37 + tl.load(real + 12) * 1.329227995784916e36
    norm = tl.sqrt(square)
    broken = tl.where(nans > 0, nan, float("inf"))
    norm = tl.where(bad > 0.0, broken, norm)
    zeros = tl.where(some, tl.load(whole + 3).to(tl.float64) / count, nan)
    tell = (bounded != 0) | ((low >= -1.0) & (high <= 1.0))
    tl.store(out + 0, tl.where(some, tl.where(low == high, low, tl.load(real + 9) + offset), nan).to(tl.float32))
    tl.store(
        out + 1, tl.where(some, tl.sqrt(tl.maximum(tl.where(low == high, 0.0, variance), 0.0)), nan).to(tl.float32)
    )
    tl.store(out + 2, tl.where(some, low, nan).to(tl.float32))
    tl.store(out + 3, tl.where(some, high, nan).to(tl.float32))
    tl.store(out + 4, tl.where(some, top, nan).to(tl.float32))
    tl.store(out + 5, zeros.to(tl.float32))
    tl.store(out + 6, tl.where(some & tell, tl.load(whole + 4).to(tl.float64) / count, nan).to(tl.float32))
    tl.store(out + 9, bad.to(tl.float32))
    tl.store(out + 10, norm.to(tl.float32))
    tl.store(out + 11, norm.to(tl.float32))
    tl.store(out + 12, tl.where(bad > 0.0, broken, top).to(tl.float32))
    tl.store(out + 13, zeros.to(tl.float32))
    tl.store(out + 14, bad.to(tl.float32))
    if SAMPLES:
        living = tl.zeros((PART,), tl.int32)
        for begin in range(0, features, PART):
            at = begin + tl.arange(0, PART)
            living += tl.load(alive + at, mask=at < features, other=0).to(tl.int32)
        share = tl.sum(living, 0).to(tl.float32) / features.to(tl.float32)
        tl.store(out + 7, 1.0 - share)
        tl.store(out + 8, (tl.load(real + 14) / entries.to(tl.float64)).to(tl.float32))
    else:
        tl.store(out + 7, nan)
        tl.store(out + 8, nan)


def row(x: Tensor, samples: bool, channels: bool, bounds: tuple[float, float] | None) -> Tensor:
    """`WIDTH` numbers of a tensor, on its device; of its samples along the first dimension too, if asked.

    `bounds`: below and above which an entry is saturated; None: beyond ±0.99, if all are within ±1.
    """
    shape, n = x.shape, x.numel()
    out = torch.empty(WIDTH, dtype=torch.float32, device=x.device)
    samples = samples and x.dim() > 1 and shape[0] > 1
    feature = (1 if channels and x.dim() > 2 else x.dim() - 1) if samples else 0
    features = shape[feature] if samples else 1
    whole = torch.zeros(SLOTS + features, dtype=torch.int64, device=x.device)
    real, alive = whole.view(torch.float64), whole[SLOTS:]
    flat: Any = x.reshape(-1)
    if flat.dtype is torch.bool:
        flat = flat.view(torch.uint8)
    low, high = bounds or (-0.99, 0.99)
    steps = max(1, triton.cdiv(n, BLOCK * PROGRAMS))
    entries = n // shape[0] if samples else 1
    _sums[(triton.cdiv(n, BLOCK * steps),)](flat, whole, real, n, low, high, steps, BLOCK=BLOCK)
    if samples:
        grid = (triton.cdiv(entries, COLUMNS),)
        stride = 1
        for size in shape[feature + 1 :]:
            stride *= size
        _columns[grid](flat, real, alive, shape[0], entries, features, stride, COLUMNS=COLUMNS, ROWS=ROWS)
    _finish[(1,)](whole, real, alive, out, n, entries, features, int(bounds is not None), SAMPLES=samples, PART=BLOCK)
    return out
