"""The `layer` table: what enters and leaves every module, and the gradient that comes back to its output."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aitia.engine import kernel
from aitia.engine.capture import describe, stats
from aitia.engine.kernel import AT, CHANNELS, FEATURES_LAST, FLAT, WIDTH
from aitia.engine.store.schema import WIDE

if TYPE_CHECKING:
    from aitia.engine.capture.entries import LayerEntry
    from aitia.engine.capture.recorder import Recorder

COLUMNS: Final = {name: i for i, name in enumerate(WIDE["layer"])}
_NAMED: Final = {**{name: name for name in stats.FIELDS}, "norm": "l2"}
"""Columns' names for what the kernel measures, and its own."""


def _places(prefix: str) -> tuple[list[int], list[int], list[int]]:
    """Rows of the table with this prefix; for each its column of a row of the kernel, and its number among FIELDS."""
    kept = [f for f in stats.FIELDS if prefix + f in COLUMNS]
    return [COLUMNS[prefix + f] for f in kept], [AT[_NAMED[f]] for f in kept], [stats.FIELDS.index(f) for f in kept]


_IN: Final = _places("in_")
_OUT: Final = _places("out_")
_GOUT: Final = (
    [COLUMNS["gout_" + f] for f in stats.GRADIENT_FIELDS],
    [AT[_NAMED[f]] for f in stats.GRADIENT_FIELDS],
    list(range(len(stats.GRADIENT_FIELDS))),
)
_FIELDS: Final = [AT[_NAMED[f]] for f in stats.FIELDS]
FEW: Final = 64
"""Rows that are there at first."""
MANY: Final = 8192
"""Rows after which a program that does not step has the numbers taken out of them: 1 MB."""
WITHIN: Final = {True: (1 - stats.SATURATED, stats.SATURATED), False: (-stats.SATURATED, stats.SATURATED)}
"""Outside of which an entry is saturated, for activations that are never negative and for others."""
Values = int | list[float] | None
"""What was measured: a row of the kernel's, or the numbers themselves where torch computed them."""
Matrix = npt.NDArray[np.float32]


class Slot:
    """What was measured of one module since the last step, and what is known of it."""

    __slots__ = (
        "bounds",
        "calls",
        "channels",
        "entry",
        "gout",
        "inputs",
        "outputs",
        "parent",
        "ref",
        "round",
        "tracked",
        "training",
    )

    def __init__(self, module: nn.Module, parent: nn.Module | None) -> None:
        self.ref = weakref.ref(module)
        self.parent = weakref.ref(parent) if parent is not None else None
        self.bounds = describe.bounds(module)
        self.channels = describe.channels_first(module)
        self.entry: LayerEntry | None = None
        self.begin(-1)

    def begin(self, number: int) -> None:
        """Another step."""
        self.round = number
        self.calls = self.training = 0
        self.tracked = math.nan
        self.inputs: Values = None
        self.outputs: Values = None
        self.gout: Values = None


class Layers:
    """Collects one slot per module; `row` turns them into a row and starts anew."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._slots: dict[int, Slot] = {}
        self._live: list[Slot] = []
        """Slots of modules that ran since the last step."""
        self._round = 0
        self._rows = np.empty((FEW, WIDTH))
        self._used = 0
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int | list[float] | Tensor]] = {}
        self._hooked: dict[tuple[int, int], tuple[weakref.ref[Tensor], list[Slot]]] = {}

    def begin(self) -> None:
        """A root forward begins: tensors of the last one are gone."""
        self._known.clear()
        self._hooked.clear()
        if self._used > MANY + 4 * len(self._live):
            self._take_out()

    def see(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, stack: list[nn.Module]
    ) -> None:
        """A module returned."""
        slot = self._slots.get(id(module))
        if slot is None or slot.ref() is not module:
            slot = self._slots[id(module)] = Slot(module, stack[-1] if stack else None)
        if slot.round != self._round:
            slot.begin(self._round)
            self._live.append(slot)
        slot.calls += 1
        slot.training += module.training
        entered = _first_float(args) if args else None
        if entered is None and kwargs:
            entered = _first_float(kwargs)
        if entered is not None:
            self._keep(slot, "inputs", self.known(entered))
        left = _first_float(output)
        if left is None:
            return
        wide = left.dim() >= 4 or (slot.channels and left.dim() == 3)
        self._keep(slot, "outputs", self.known(left, wide, slot.bounds))
        tracked = left.requires_grad
        slot.tracked = float(tracked)
        if tracked:
            self._await_gradient(slot, left)

    def known(
        self, x: Tensor, channels: bool | None = None, bounds: tuple[float, float] | None = None
    ) -> int | list[float] | Tensor | None:
        """Statistics of a tensor; one that was just measured as another module's output is not read twice."""
        version = -1 if x.is_inference() else x._version
        found = self._known.get(id(x))
        if found is not None and found[1] == version and bounds is None and found[0]() is x:
            return found[2]
        wide = x.dim() >= 4 if channels is None else channels
        low, high = (None, None) if bounds is None else WITHIN[bounds[0] >= 0]
        values: int | list[float] | Tensor | None = self._measure(x, CHANNELS if wide else FEATURES_LAST, low, high)
        if values is None and stats.readable(x):
            values = stats.describe(x, wide, bounds)
        if values is not None:
            self._known[id(x)] = (weakref.ref(x), version, values)
        return values

    def numbers(self, values: int | list[float]) -> list[float]:
        """All of `stats.FIELDS` of what `known` returned."""
        if isinstance(values, list):
            return values
        taken: list[float] = self._rows[values, _FIELDS].tolist()
        return taken

    def _measure(self, x: Tensor, layout: int, low: float | None, high: float | None) -> int | None:
        """The row that now holds the statistics of a tensor; None for one that only torch can read."""
        at = self._used
        if at == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        if kernel.measure((x,), self._rows, at, layout, low, high, torch.get_num_threads(), None):
            return None
        self._used = at + 1
        return at

    def _take_out(self) -> None:
        for slot in self._live:
            for name in ("inputs", "outputs"):
                values = getattr(slot, name)
                if values is not None:
                    setattr(slot, name, self.numbers(values))
            if isinstance(slot.gout, int):
                slot.gout = self._rows[slot.gout, _GOUT[1]].tolist()
        self._used = 0

    def _keep(self, slot: Slot, name: str, values: int | list[float] | Tensor | None) -> None:
        if isinstance(values, Tensor):
            self._recorder.later(values, lambda numbers: setattr(slot, name, numbers))
        elif values is not None:
            setattr(slot, name, values)

    def _await_gradient(self, slot: Slot, x: Tensor) -> None:
        key = (id(x), x._version)
        known = self._hooked.get(key)
        if known is not None and known[0]() is x:
            known[1].append(slot)
            return
        slots = [slot]
        self._hooked[key] = (weakref.ref(x), slots)
        x.register_hook(self._gradient_hook(slots))  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _gradient_hook(self, slots: list[Slot]) -> Callable[[Tensor], None]:
        recorder = self._recorder

        def hook(gradient: Tensor) -> None:
            if not recorder.off:
                recorder.quick(self._gradient, slots, gradient)

        return hook

    def _gradient(self, slots: list[Slot], gradient: Tensor) -> None:
        scale = self._recorder.backward.scale
        at = self._measure(gradient, FLAT, None, None)
        if at is not None:
            if scale != 1.0:
                self._rows[at, _GOUT[1][:2]] /= scale
            for slot in slots:
                slot.gout = at
            return
        values = stats.describe_gradient(gradient) if stats.readable(gradient) else None

        def keep(numbers: list[float]) -> None:
            unscaled = [numbers[0] / scale, numbers[1] / scale, *numbers[2:]]
            for slot in slots:
                slot.gout = unscaled

        if isinstance(values, Tensor):
            self._recorder.later(values, keep)
        elif values is not None:
            keep(values)

    def row(self) -> Matrix | None:
        """Everything since the last row as [statistics, layers]; None when no module was measured."""
        live, self._live = self._live, []
        self._round += 1
        self._known.clear()
        self._hooked.clear()
        if not live:
            self._used = 0
            return None
        registry = self._recorder.registry
        registry.ensure_named()
        slots = [slot for slot in live if self._entry_of(slot) is not None]
        matrix = np.full((len(COLUMNS), len(registry.layers)), np.nan, np.float32)
        columns = [slot.entry.index for slot in slots if slot.entry is not None]
        matrix[COLUMNS["calls"], columns] = [slot.calls for slot in slots]
        matrix[COLUMNS["training"], columns] = [slot.training / slot.calls for slot in slots]
        matrix[COLUMNS["out_tracked"], columns] = [slot.tracked for slot in slots]
        for name, places in (("inputs", _IN), ("outputs", _OUT), ("gout", _GOUT)):
            self._fill(matrix, columns, [getattr(slot, name) for slot in slots], places)
        free = [at for at, slot in zip(columns, slots, strict=True) if slot.bounds is None]
        matrix[COLUMNS["out_sat_share"], free] = math.nan
        self._used = 0
        return matrix

    def _entry_of(self, slot: Slot) -> LayerEntry | None:
        module = slot.ref()
        if module is None:
            return None
        if slot.entry is None or slot.entry.ref() is not module:
            registry = self._recorder.registry
            parent = slot.parent() if slot.parent is not None else None
            slot.entry = registry.layer(module) or registry.add_stray_layer(module, parent)
        return slot.entry

    def _fill(
        self, matrix: Matrix, columns: list[int], values: list[Values], places: tuple[list[int], list[int], list[int]]
    ) -> None:
        """Put what was measured where it belongs, all rows of the kernel's at once."""
        to, fields, numbers = places
        found = [(column, at) for column, at in zip(columns, values, strict=True) if isinstance(at, int)]
        if found:
            into, rows = zip(*found, strict=True)
            matrix[np.ix_(to, into)] = self._rows[np.ix_(rows, fields)].T
        for column, listed in zip(columns, values, strict=True):
            if isinstance(listed, list):
                matrix[to, column] = [listed[n] for n in numbers]


def _first_float(value: Any, depth: int = 0) -> Tensor | None:
    """The first floating tensor with data in nested arguments or outputs."""
    if isinstance(value, Tensor):
        if type(value) is Tensor and value.is_floating_point():
            return value  # whether it has data of its own is seen when it is read
        return value if (value.is_floating_point() or value.is_complex()) and stats.readable(value) else None
    if depth >= 4:
        return None
    if isinstance(value, (tuple, list)):
        items: Any = value
    elif isinstance(value, Mapping):
        items = value.values()
    elif hasattr(value, "__dataclass_fields__"):
        items = vars(value).values()
    else:
        return None
    for item in items:
        found = _first_float(item, depth + 1)
        if found is not None:
            return found
    return None
