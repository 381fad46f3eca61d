"""Both paths of the kernel agree with a slow, obvious reference for every type, layout and position of odd values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aitia.engine import kernel
from aitia.engine.kernel import AT, CHANNELS, FEATURES_LAST, FIELDS, FLAT, WIDTH, pure

_statistics = pytest.importorskip("aitia.engine.kernel._statistics", reason="no compiler built the kernel here")
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool)
EXACT = ("count", "min", "max", "absmax", "zero_share", "sat_share", "nonfinite", "nans", "first_nonfinite")
LAYOUTS = (FLAT, FEATURES_LAST, CHANNELS)
Measure = Callable[..., list[int]]


def with_instructions(name: str) -> Measure:
    """The compiled path, by one of the instruction sets of this machine."""

    def measure(*args: Any) -> list[int]:
        _statistics.use(name)
        try:
            return _statistics.measure(*args)
        finally:
            _statistics.use(_statistics.instructions()[0])

    return measure


PATHS = {"numpy": pure.measure, **{name: with_instructions(name) for name in _statistics.instructions()}}


def reference(x: Tensor, layout: int, bounds: tuple[float, float] | None, old: Tensor | None) -> dict[str, float]:
    """The same numbers one by one, in the widest floats there are."""
    a = np.array(x.double().tolist() if x.dtype.is_floating_point else x.tolist(), dtype=np.longdouble).reshape(x.shape)
    v = a.reshape(-1)
    row = dict.fromkeys(FIELDS, math.nan)
    good = v[np.isfinite(v)]
    bad = np.flatnonzero(~np.isfinite(v))
    nans = int(np.isnan(v).sum())
    row |= {"count": v.size, "nonfinite": len(bad), "nans": nans, "first_nonfinite": bad[0] if len(bad) else -1}
    broken = math.nan if nans else math.inf
    row["l1"] = broken if len(bad) else np.abs(good).sum()
    row["l2"] = broken if len(bad) else np.sqrt((good * good).sum())
    if good.size:
        row |= {"mean": good.mean(), "std": good.std(), "min": good.min(), "max": good.max()}
        row["absmax"] = np.abs(good).max()
        row["zero_share"] = (good == 0).sum() / good.size
        if bounds is not None:
            row["sat_share"] = ((good < bounds[0]) | (good > bounds[1])).sum() / good.size
        elif row["absmax"] <= 1:
            row["sat_share"] = (np.abs(good) > np.longdouble(np.float32(0.99))).sum() / good.size
    if layout != FLAT and a.ndim > 1 and len(a) > 1 and v.size:
        clean = np.where(np.isfinite(a), a, 0)
        row["sample_std"] = clean.reshape(len(a), -1).std(axis=0).mean()
        axis = 1 if layout == CHANNELS and a.ndim > 2 else a.ndim - 1
        row["dead_share"] = (np.moveaxis(clean, axis, 0).reshape(a.shape[axis], -1) == 0).all(1).mean()
    if old is not None and layout == FLAT and v.size:
        moved = v - np.array(old.double().tolist(), dtype=np.longdouble).reshape(-1)
        row["moved"] = np.sqrt((moved * moved).sum())
        row["changed_share"] = (moved != 0).mean()
    return {name: float(value) for name, value in row.items()}


def one_row(
    measure: Measure, x: Tensor, layout: int = FLAT, bounds: Any = None, threads: int = 1, old: Tensor | None = None
) -> dict[str, float]:
    """One tensor's row by one path."""
    out = np.full((3, WIDTH), 7.0)
    low, high = bounds or (None, None)

    assert measure((x,), out, 1, layout, low, high, threads, None if old is None else [old]) == []
    assert (out[[0, 2]] == 7).all(), "only its own row is written"
    return dict(zip(FIELDS, out[1].tolist(), strict=True))


def check(x: Tensor, layout: int, bounds: Any = None, threads: int = 1, old: Tensor | None = None) -> None:
    """Every path against the reference."""
    with np.errstate(all="ignore"):
        expected = reference(x, layout, bounds, old)
    size = max(expected["absmax"], math.ulp(0.0)) if math.isfinite(expected["absmax"]) else 1.0
    digits = 1e-9 if x.dtype in (torch.float64, torch.int32, torch.int64) else 1e-5
    for path, measure in PATHS.items():
        found = one_row(measure, x, layout, bounds, threads, old)
        for name in FIELDS:
            exact = name in EXACT or not math.isfinite(expected[name])
            # Of a mean or deviation the error is a part of the size of the entries; of a sum a part of the sum itself.
            room = 0.0 if exact else digits * (size if name in ("mean", "std", "sample_std") else abs(expected[name]))
            wanted = pytest.approx(expected[name], rel=1e-12 if exact else digits, abs=room, nan_ok=True)

            assert found[name] == wanted, f"{name} by {path} of {x.dtype} {tuple(x.shape)} {x.stride()}"


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, -1),
    "permuted": lambda x: x.permute(*range(1, x.dim()), 0),
    "every second": lambda x: x[::2],
    "every third entry": lambda x: x[..., ::3],
    "inner part": lambda x: x[..., : max(1, x.shape[-1] // 2)],
    "expanded": lambda x: x[:1].expand_as(x),
    "channels last": lambda x: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x,
}
SHAPES = ((), (0,), (3, 0, 2), (1,), (7,), (63,), (64,), (65,), (2049,), (5, 3), (2, 1), (300, 7), (17, 64), (3, 1500),
          (4, 3, 5, 5), (2, 40, 16), (9, 513), (6, 2, 300, 2), (10304,), (900, 64))  # fmt: skip
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0)


@st.composite
def tensors(draw: Any) -> Tensor:
    """A tensor of any type and view, around any value, with odd values in odd places."""
    dtype = draw(st.sampled_from(FLOATS + INTEGERS))
    shape = draw(st.sampled_from(SHAPES))
    seed = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    if dtype is torch.bool:
        x = torch.rand(shape, generator=seed) > draw(st.sampled_from((0.0, 0.5, 1.0)))
    elif dtype in INTEGERS:
        low, high = draw(st.sampled_from(((0, 2), (0, 100), (-100, 100)))) if dtype is not torch.uint8 else (0, 255)
        x = torch.randint(low, high, shape, generator=seed).to(dtype)
    else:
        info = torch.finfo(dtype)
        sizes = (1.0, 1e-3, 300.0, info.max / 16, info.tiny * 4, info.smallest_normal / 64)
        x = torch.randn(shape, generator=seed, dtype=torch.float64)
        x = (x.clamp(-8, 8) + draw(st.sampled_from((0.0, 5.0, -1.0)))) * draw(st.sampled_from(sizes))
        x = x.relu() if draw(st.booleans()) else x
        x = x.to(dtype)
        for _ in range(draw(st.integers(0, 3)) if x.numel() else 0):
            x.view(-1)[draw(st.integers(0, x.numel() - 1))] = draw(st.sampled_from(SPECIAL))
    view = draw(st.sampled_from(sorted(VIEWS)))
    return VIEWS[view](x) if x.dim() > 0 and x.numel() else x


@settings(max_examples=int(os.environ.get("AITIA_EXAMPLES", "150")), deadline=None)
@given(
    tensors(), st.sampled_from((FLAT, FEATURES_LAST, CHANNELS)), st.sampled_from((None, (0.01, 0.99), (-0.99, 0.99)))
)
@example(torch.full((70, 3), math.nan), FEATURES_LAST, None)
@example(torch.tensor([math.inf, -math.inf] * 40), FLAT, None)
@example(torch.full((9, 700), 0.1), FEATURES_LAST, None)
@example(torch.full((4, 4), torch.finfo(torch.float64).max / 4, dtype=torch.float64), FEATURES_LAST, None)
@example(torch.full((5,), 5e-324, dtype=torch.float64), FLAT, None)
@example(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1000, FEATURES_LAST, None)
def test_any_tensor_is_measured_as_the_reference_does(x: Tensor, layout: int, bounds: Any) -> None:
    """All types, empty and 0-dimensional, any view, NaN and infinities anywhere, denormal and huge values."""
    check(x, layout, bounds)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from((torch.float32, torch.float64, torch.bfloat16)), st.sampled_from((5, 64, 5000)),
       st.sampled_from((0.0, 1e-9, 0.1)), st.integers(0, 99))  # fmt: skip
def test_what_a_step_changed_is_measured_against_a_copy(dtype: torch.dtype, n: int, step: float, seed: int) -> None:
    """The norm of the update and the share of entries that it changed."""
    old = torch.randn(n, generator=torch.Generator().manual_seed(seed)).to(dtype)
    new = old.clone()
    new[:: 1 + seed % 3] += step

    check(new, FLAT, old=old)


@pytest.mark.parametrize("view", ["transposed", "permuted", "channels last", "every second", "inner part"])
@pytest.mark.parametrize("copied", [torch.preserve_format, torch.contiguous_format])
def test_a_copy_may_lie_otherwise_in_memory(view: str, copied: torch.memory_format) -> None:
    """A weight in channels-last order and a copy of it in row-major order are compared entry by entry."""
    now = VIEWS[view](torch.randn(6, 4, 3, 60, generator=torch.Generator().manual_seed(3)))
    old = now.clone(memory_format=copied)
    now[1:, 2] += 0.5
    now[0, 0, 1, 2] = math.inf

    check(now, FLAT, old=old)


@pytest.mark.parametrize("shape", [(1 << 19,), (64, 9000), (4000, 100), (300_000, 2), (16, 64, 24, 24)])
@pytest.mark.parametrize("layout", [FLAT, FEATURES_LAST, CHANNELS])
def test_large_tensors_are_shared_between_threads_with_one_result(shape: tuple[int, ...], layout: int) -> None:
    """Pieces are joined in their order, so the numbers do not depend on how many threads there were."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5)).relu_()
    x.view(-1)[-3] = math.inf
    rows = np.zeros((3, WIDTH))
    for i, threads in enumerate((1, 2, 5)):
        assert _statistics.measure((x, x), np.zeros((2, WIDTH)), 0, layout, None, None, threads, None) == []
        assert _statistics.measure([x], rows, i, layout, None, None, threads, None) == []

    assert rows[0, AT["first_nonfinite"]] == x.numel() - 3
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
    exact = np.zeros((1, WIDTH))
    pure.measure([x], exact, 0, layout, None, None, 1, None)
    np.testing.assert_allclose(rows[0], exact[0], rtol=1e-4)


def test_vanishing_and_offset_values_keep_their_digits() -> None:
    """Squares of tiny gradients do not underflow, and a large mean does not swallow a small deviation."""
    tiny = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * 1e-25
    offset = torch.randn(5000, generator=torch.Generator().manual_seed(2)) * 1e-2 + 1000

    for path, measure in PATHS.items():
        row = one_row(measure, tiny)
        assert row["l2"] == pytest.approx(tiny.double().norm().item(), rel=1e-5), path
        row = one_row(measure, offset)
        assert row["std"] == pytest.approx(offset.double().std(correction=0).item(), rel=1e-4), path


@pytest.mark.parametrize("path", PATHS)
def test_what_cannot_be_read_is_told_and_the_rest_is_measured(path: str) -> None:
    """Sparse, meta and complex tensors, and things that are no tensors."""
    sparse = torch.eye(3).to_sparse()
    things = [
        torch.ones(3),
        sparse,
        torch.empty(3, device="meta"),
        torch.ones(2, dtype=torch.complex64),
        None,
        torch.ones(2),
    ]
    out = np.zeros((6, WIDTH))

    assert PATHS[path](things, out, 0, FLAT, None, None, 1, None) == [1, 2, 3, 4]
    assert out[:, AT["l1"]].tolist() == pytest.approx([3, *[math.nan] * 4, 2], nan_ok=True)


@pytest.mark.parametrize("path", PATHS)
def test_parameters_arrays_and_a_buffer_without_room(path: str) -> None:
    """A tensor that requires a gradient and an array are read; a buffer that is too small is refused, not overrun."""
    out = np.zeros((2, WIDTH))

    assert PATHS[path]([torch.nn.Parameter(torch.ones(4)), np.ones(5)], out, 0, FLAT, None, None, 1, None) == []
    assert out[:, AT["count"]].tolist() == [4, 5]
    with pytest.raises(ValueError, match="not enough rows"):
        PATHS[path]([torch.ones(2)], out, 2, FLAT, None, None, 1, None)
    with pytest.raises(ValueError, match="as long as"):
        PATHS[path]([torch.ones(2)], out, 0, FLAT, None, None, 1, [])


def test_a_forked_process_measures_with_threads_of_its_own() -> None:
    """Worker processes of a loader are forked after the pool was used."""
    x = torch.ones(1 << 20)
    out = np.zeros((1, WIDTH))
    _statistics.measure([x], out, 0, FLAT, None, None, 4, None)
    child = os.fork()
    if child == 0:
        out[:] = 0
        _statistics.measure([x], out, 0, FLAT, None, None, 4, None)
        os._exit(0 if out[0, AT["l1"]] == 1 << 20 else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def rows_of(measure: Measure, things: Sequence[Any]) -> Any:
    """Rows of several things that all can be read."""
    out = np.zeros((len(things), WIDTH))

    assert measure(things, out, 0, FLAT, None, None, 1, None) == []
    return out


def test_a_tensor_of_an_older_torch_is_read_through_its_capsule() -> None:
    """Without the C exchange interface a tensor describes itself by `__dlpack__`, and is let go of afterwards."""

    class Old:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

        def detach(self) -> Old:
            return Old(self.tensor.detach())

        def __dlpack__(self) -> Any:
            return self.tensor.__dlpack__()

    x = torch.arange(6.0).reshape(2, 3).requires_grad_()

    np.testing.assert_array_equal(rows_of(_statistics.measure, [Old(x)]), rows_of(_statistics.measure, [x]))


def test_gradients_of_many_parameters_in_one_call() -> None:
    """Rows are those of `measure` without saturation; without a gradient the count is -1; the norm is over all."""
    torch.manual_seed(2)  # small enough entries that `measure` would count saturated ones
    parameters = [torch.nn.Parameter(torch.randn(n)) for n in (3, 5000, 7)]
    parameters[0].grad, parameters[1].grad = torch.randn(3), torch.randn(5000)
    expected = np.empty((2, WIDTH))
    pure.measure([parameters[0].grad, parameters[1].grad], expected, 0, FLAT, None, None, 1, None)
    assert expected[0, AT["sat_share"]] == 0
    expected[:, AT["sat_share"]] = np.nan

    for gradients in (kernel.gradients, pure.gradients):
        out = np.zeros((4, WIDTH))
        norm = gradients(parameters, out, 1, 1)

        assert norm == pytest.approx(np.hypot(*expected[:, AT["l2"]]), rel=1e-6)
        # a mean near zero is what is left of numbers of size 1, which float32 holds to 6e-8
        np.testing.assert_allclose(out[1:3], expected, rtol=1e-5, atol=6e-8)
        assert out[3, AT["count"]] == -1
        assert not out[0].any()


def test_a_gradient_that_is_not_finite_shows_in_the_norm() -> None:
    """So that one number tells whether anything is the matter."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, float("nan")])

    assert all(np.isnan(g([parameter], np.empty((1, WIDTH)), 0, 1)) for g in (kernel.gradients, pure.gradients))
