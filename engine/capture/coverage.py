"""Which parameters the optimizers hold, and which the models have: the fact `coverage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aitia.engine.capture.entries import ParameterEntry
    from aitia.engine.capture.recorder import Recorder

MAX_NAMES: Final = 200
MAX_FACTS: Final = 50


class Coverage:
    """Compares what is held with what there is, at first steps and whenever a step is measured fully."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._last: dict[str, Any] | None = None
        self._facts = 0
        self._told: set[str] = set()

    def describe_all(self) -> None:
        """Write anew who holds what."""
        for entry in self._recorder.registry.parameters:
            self._recorder.registry.describe(entry)

    def look(self, first: bool) -> None:
        """Tell a fact if something changed."""
        registry = self._recorder.registry
        if not first:
            registry.refresh()
        data = self._data(registry.parameters)
        if data == self._last or self._facts >= MAX_FACTS:
            return
        self._facts += 1
        changed = self._last is not None and self._last["frozen"] != data["frozen"]
        self._last = data
        self._recorder.fact("coverage", data=data)
        self._tell_replaced(registry.parameters)
        if changed:
            self.describe_all()

    def _data(self, parameters: list[ParameterEntry]) -> dict[str, Any]:
        lists: dict[str, list[str]] = {
            name: []
            for name in ("held_not_in_model", "trainable_not_held", "frozen", "held_frozen", "unregistered_parameters")
        }
        numel = {"frozen_numel": 0, "trainable_numel": 0}
        former: dict[str, str] = {}
        for entry in parameters:
            tensor = entry.ref()
            if tensor is None or entry.tied_to is not None:
                continue
            if entry.in_model:
                numel["trainable_numel" if tensor.requires_grad else "frozen_numel"] += tensor.numel()
                if not tensor.requires_grad:
                    lists["frozen"].append(entry.name)
                elif not entry.held:
                    lists["trainable_not_held"].append(entry.name)
            elif entry.layer is not None:
                lists["unregistered_parameters"].append(entry.name)
            elif entry.held:
                lists["held_not_in_model"].append(entry.name)
                if entry.former is not None:
                    former[entry.name] = entry.former
            if entry.held and not tensor.requires_grad:
                lists["held_frozen"].append(entry.name)
        registry = self._recorder.registry
        strays = [x.name for x in registry.layers if not x.registered]
        data: dict[str, Any] = {name: names[:MAX_NAMES] for name, names in lists.items()}
        return {**data, **numel, "unregistered_modules": strays[:MAX_NAMES], "former_names": former}

    def _tell_replaced(self, parameters: list[ParameterEntry]) -> None:
        """Tensors that an optimizer was given, and whose place in the model another tensor has now."""
        by_name = {p.name: p for p in parameters if p.in_model}
        for entry in parameters:
            if entry.former is None or not entry.held or entry.name in self._told or entry.retired:
                continue
            now = by_name.get(entry.former) or next(
                (p for n, p in by_name.items() if n.endswith("." + entry.former)), None
            )
            if now is not None:
                self._told.add(entry.name)
                data = {"old_held": True, "built_before": True, "old": entry.name}
                self._recorder.fact("parameter_replaced", now.name, data)
