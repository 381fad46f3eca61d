"""The `layer` table: what enters and leaves every module, and the gradient that comes back to its output."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from aitia.engine.capture import describe, stats
from aitia.engine.store.schema import WIDE

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

COLUMNS: Final = {name: i for i, name in enumerate(WIDE["layer"])}
_IN: Final = [(COLUMNS["in_" + f], i) for i, f in enumerate(stats.FIELDS) if "in_" + f in COLUMNS]
_OUT: Final = [(COLUMNS["out_" + f], i) for i, f in enumerate(stats.FIELDS) if "out_" + f in COLUMNS]
_GOUT: Final = [(COLUMNS["gout_" + f], i) for i, f in enumerate(stats.GRADIENT_FIELDS)]
Values = list[float] | None
Matrix = npt.NDArray[np.float32]


class Slot:
    """What was measured of one module since the last step."""

    __slots__ = ("calls", "gout", "inputs", "outputs", "parent", "ref", "tracked", "training")

    def __init__(self, module: nn.Module, parent: nn.Module | None) -> None:
        self.ref = weakref.ref(module)
        self.parent = weakref.ref(parent) if parent is not None else None
        self.calls = 0
        self.training = 0
        self.tracked = math.nan
        self.inputs: Values = None
        self.outputs: Values = None
        self.gout: Values = None


class Layers:
    """Collects one slot per module; `row` turns them into a row and starts anew."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._slots: dict[int, Slot] = {}
        self._known: dict[int, tuple[weakref.ref[Tensor], int, list[float] | Tensor]] = {}
        self._hooked: dict[tuple[int, int], tuple[weakref.ref[Tensor], list[Slot]]] = {}
        self._traits: dict[int, tuple[weakref.ref[nn.Module], tuple[float, float] | None, bool]] = {}

    def begin(self) -> None:
        """A root forward begins: tensors of the last one are gone."""
        self._known.clear()
        self._hooked.clear()

    def see(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, stack: list[nn.Module]
    ) -> None:
        """A module returned."""
        slot = self._slots.get(id(module))
        if slot is None or slot.ref() is not module:
            slot = self._slots[id(module)] = Slot(module, stack[-1] if stack else None)
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
        bounds, channels = self._traits_of(module)
        wide = left.dim() >= 4 or (channels and left.dim() == 3)
        self._keep(slot, "outputs", self.known(left, wide, bounds))
        slot.tracked = float(left.requires_grad)
        if left.requires_grad:
            self._await_gradient(slot, left)

    def known(
        self, x: Tensor, channels: bool | None = None, bounds: tuple[float, float] | None = None
    ) -> list[float] | Tensor | None:
        """Statistics of a tensor; one that was just measured as another module's output is not read twice."""
        version = -1 if x.is_inference() else x._version
        found = self._known.get(id(x))
        if found is not None and found[0]() is x and found[1] == version and bounds is None:
            return found[2]
        values = stats.describe(x, x.dim() >= 4 if channels is None else channels, bounds)
        if values is not None:
            self._known[id(x)] = (weakref.ref(x), version, values)
        return values

    def _keep(self, slot: Slot, name: str, values: list[float] | Tensor | None) -> None:
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
                recorder.own(self._gradient, slots, gradient)

        return hook

    def _gradient(self, slots: list[Slot], gradient: Tensor) -> None:
        if not stats.readable(gradient):
            return
        scale = self._recorder.backward.scale
        values = stats.describe_gradient(gradient)

        def keep(numbers: list[float]) -> None:
            unscaled = [numbers[0] / scale, numbers[1] / scale, *numbers[2:]]
            for slot in slots:
                slot.gout = unscaled

        if isinstance(values, Tensor):
            self._recorder.later(values, keep)
        elif values is not None:
            keep(values)

    def _traits_of(self, module: nn.Module) -> tuple[tuple[float, float] | None, bool]:
        known = self._traits.get(id(module))
        if known is None or known[0]() is not module:
            known = (weakref.ref(module), describe.bounds(module), describe.channels_first(module))
            self._traits[id(module)] = known
        return known[1], known[2]

    def row(self) -> Matrix | None:
        """Everything since the last row as [statistics, layers]; None when no module was measured."""
        slots, self._slots = self._slots, {}
        self.begin()
        if not slots:
            return None
        registry = self._recorder.registry
        registry.ensure_named()
        entries = []
        for slot in slots.values():
            module = slot.ref()
            if module is None:
                continue
            entry = registry.layer(module)
            if entry is None:
                parent = slot.parent() if slot.parent is not None else None
                entry = registry.add_stray_layer(module, parent)
            if entry is not None:
                entries.append((entry.index, slot, entry.bounds is not None))
        matrix = np.full((len(COLUMNS), len(registry.layers)), np.nan, np.float32)
        for index, slot, bounded in entries:
            matrix[COLUMNS["calls"], index] = slot.calls
            matrix[COLUMNS["training"], index] = slot.training / slot.calls if slot.calls else math.nan
            matrix[COLUMNS["out_tracked"], index] = slot.tracked
            for values, places in ((slot.inputs, _IN), (slot.outputs, _OUT), (slot.gout, _GOUT)):
                if values is not None:
                    for row, at in places:
                        matrix[row, index] = values[at]
            if not bounded:
                matrix[COLUMNS["out_sat_share"], index] = math.nan
        return matrix


def _first_float(value: Any, depth: int = 0) -> Tensor | None:
    """The first floating tensor with data in nested arguments or outputs."""
    if isinstance(value, Tensor):
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
