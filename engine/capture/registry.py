"""Who is who: models, layers, parameters, optimizers, each with a stable index and name. Holds weak references only."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture import describe
from aitia.engine.capture.discovery import variable_of, whole_model
from aitia.engine.capture.entries import LayerEntry, ModelEntry, ParameterEntry
from aitia.engine.capture.names import clean_path, free, holds_modules, numel, place_in, unwrapped
from aitia.engine.capture.optimizers import OptimizerEntry, Optimizers
from aitia.engine.records import LayerInfo, ParameterInfo

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

MAX_MODELS: Final = 64
"""Models told apart; a program that makes a new one in every step has no end of them."""
MAX_STRAYS: Final = 64
"""Modules outside the tree that get a column; a program that builds new ones in every forward has no end of them."""


class Registry:
    """Names for everything that is measured; what comes later gets new indices at the end."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.models: list[ModelEntry] = []
        self.layers: list[LayerEntry] = []
        self.parameters: list[ParameterEntry] = []
        self.optimizers = Optimizers(recorder)
        self._root_of: dict[int, tuple[weakref.ref[nn.Module], int]] = {}
        self._layer_of: dict[int, LayerEntry] = {}
        self._parameter_of: dict[int, ParameterEntry] = {}
        self._layer_names: set[str] = set()
        self._parameter_names: set[str] = set()
        self.named = False
        self.version = 0
        """Grows whenever a parameter is added, or held by another optimizer."""

    def install(self) -> None:
        """Watch optimizers being built."""
        self.optimizers.install()

    def uninstall(self) -> None:
        """Restore."""
        self.optimizers.uninstall()

    # ---- looking up --------------------------------------------------------------------------------------------

    def root(self, module: nn.Module) -> int | None:
        """Index of the model that this outermost call belongs to; None for what is no model (losses, activations)."""
        known = self._root_of.get(id(module))
        if known is not None and known[0]() is module:
            return known[1] if known[1] >= 0 else None
        index = self._new_root(module)
        self._root_of[id(module)] = (weakref.ref(module), -1 if index is None else index)
        return index

    def layer(self, module: nn.Module) -> LayerEntry | None:
        """The entry of a module."""
        entry = self._layer_of.get(id(module))
        return entry if entry is not None and entry.ref() is module else None

    def parameter(self, tensor: Tensor) -> ParameterEntry | None:
        """The entry of a parameter."""
        entry = self._parameter_of.get(id(tensor))
        return entry if entry is not None and entry.ref() is tensor else None

    def name_of(self, module: nn.Module) -> str | None:
        """Dotted path of a module."""
        self.ensure_named()
        entry = self.layer(module)
        return entry.name if entry is not None else None

    def parameter_name(self, tensor: Tensor) -> str | None:
        """Dotted path of a parameter."""
        self.ensure_named()
        entry = self.parameter(tensor)
        return entry.name if entry is not None else None

    def optimizer(self, optimizer: torch.optim.Optimizer) -> OptimizerEntry:
        """The entry of an optimizer."""
        return self.optimizers.entry(optimizer)

    def live_models(self) -> Iterator[tuple[ModelEntry, nn.Module]]:
        """Models that are still there."""
        for entry in self.models:
            module = entry.ref()
            if module is not None:
                yield entry, module

    # ---- models ------------------------------------------------------------------------------------------------

    def _new_root(self, module: nn.Module) -> int | None:
        if next(module.parameters(), None) is None and not holds_modules(module):
            return None
        if len(self.models) >= MAX_MODELS:
            return None
        whole, name = whole_model(module)
        known = self._root_of.get(id(whole))
        if whole is not module and known is not None and known[0]() is whole:
            return known[1]
        inner = unwrapped(whole)
        if inner is not whole:
            name = variable_of(inner, nn.Module) or name
            known = self._root_of.get(id(inner))
            if known is not None and known[0]() is inner:
                return known[1]
        name = self._free_model_name(name or type(inner).__name__)
        entry = ModelEntry(len(self.models), name, type(inner).__name__, weakref.ref(inner))
        self.models.append(entry)
        for alias in (whole, inner):
            self._root_of[id(alias)] = (weakref.ref(alias), entry.index)
        parameters = list(inner.parameters())
        self._recorder.fact(
            "model_seen",
            name,
            {
                "index": entry.index,
                "name": name,
                "cls": entry.cls,
                "n_parameters": sum(numel(p) for p in parameters),
                "n_trainable": sum(numel(p) for p in parameters if p.requires_grad),
                "n_layers": sum(1 for _ in inner.modules()),
                "training": module.training,
            },
        )
        if self.named:
            entry.prefix = f"{name}."
            self._register(entry, inner)
        return entry.index

    def _free_model_name(self, name: str) -> str:
        taken = {m.name for m in self.models}
        n, free = 1, name
        while free in taken:
            n += 1
            free = f"{name}_{n}"
        return free

    def ensure_named(self) -> None:
        """Fix the names: plain paths if one model was called so far, else each with its model's name before it."""
        if self.named or not self.models:
            return
        self.named = True
        several = len(self.models) > 1
        for entry, module in self.live_models():
            entry.prefix = f"{entry.name}." if several else ""
            self._register(entry, module)

    def _register(self, model: ModelEntry, module: nn.Module) -> None:
        for path, part in module.named_modules():
            if self.layer(part) is None:
                clean = clean_path(path)
                self.add_layer(part, f"{model.prefix}{clean}" if clean else model.name, model.name)
        for path, parameter in module.named_parameters(remove_duplicate=False):
            self._add_model_parameter(parameter, model.prefix + clean_path(path))

    def add_layer(self, module: nn.Module, name: str, model: str, registered: bool = True) -> LayerEntry:
        """A new column of the `layer` table."""
        name = free(name, self._layer_names)
        leaf = next(module.children(), None) is None
        entry = LayerEntry(
            len(self.layers),
            name,
            weakref.ref(module),
            model,
            leaf,
            describe.bounds(module),
            describe.channels_first(module),
            registered,
        )
        entry.owns = {k: id(p) for k, p in module._parameters.items() if p is not None}
        self.layers.append(entry)
        self._layer_of[id(module)] = entry
        self._write_layer(entry, module)
        return entry

    def _write_layer(self, entry: LayerEntry, module: nn.Module) -> None:
        prefix = entry.name + "." if entry.name != entry.model else self._prefix(entry.model)
        info = LayerInfo(
            index=entry.index,
            name=entry.name,
            cls=type(module).__name__,
            kind=describe.kind(module),
            root=entry.model,
            leaf=entry.leaf,
            parameters=tuple(prefix + k for k, p in module._parameters.items() if p is not None),
            config=describe.config(module) | ({} if entry.registered else {"registered": False}),
        )
        self._recorder.writer.subject("layer", entry.index, info)

    def add_stray_layer(self, module: nn.Module, parent: nn.Module | None) -> LayerEntry | None:
        """A module that ran inside a model without being part of its tree (kept in a plain list, say)."""
        known = self.layer(module)
        owner = self.layer(parent) if parent is not None else None
        if known is not None or parent is None or owner is None:
            return known
        if sum(1 for x in self.layers if not x.registered) >= MAX_STRAYS:
            return None
        prefix = owner.name + "." if owner.name != owner.model else self._prefix(owner.model)
        name = prefix + (place_in(parent, module) or f"<{type(module).__name__}>")
        entry = self.add_layer(module, name, owner.model, registered=False)
        for short, parameter in module.named_parameters(recurse=False):
            if self.parameter(parameter) is None:
                self.add_parameter(parameter, f"{entry.name}.{short}", entry.name, in_model=False)
        return entry

    def _prefix(self, model: str) -> str:
        return next((m.prefix for m in self.models if m.name == model), "")

    # ---- parameters --------------------------------------------------------------------------------------------

    def _add_model_parameter(self, parameter: Tensor, name: str) -> ParameterEntry | None:
        known = self.parameter(parameter)
        layer = name.rsplit(".", 1)[0] if "." in name else None
        if layer not in self._layer_names:
            layer = next((m.name for m in self.models if name.startswith(m.prefix)), None)
        if known is not None:
            if known.name.startswith("?"):
                known.name = free(name, self._parameter_names)
            if not known.in_model:
                known.in_model, known.layer = True, layer
                self.describe(known)
            elif name not in self._parameter_names:
                return self.add_parameter(parameter, name, layer, tied_to=known.name)
            return known
        return self.add_parameter(parameter, name, layer)

    def add_parameter(
        self, parameter: Tensor, name: str, layer: str | None, in_model: bool = True, tied_to: str | None = None
    ) -> ParameterEntry:
        """A new column of the `param` table."""
        entry = ParameterEntry(
            len(self.parameters), free(name, self._parameter_names), weakref.ref(parameter), layer, in_model, tied_to
        )
        self.parameters.append(entry)
        self.version += 1
        if tied_to is None:
            self._parameter_of[id(parameter)] = entry
        self.describe(entry)
        return entry

    def stray(self, parameter: Tensor) -> ParameterEntry:
        """A parameter that only an optimizer holds."""
        known = self.parameter(parameter)
        if known is not None:
            return known
        n = sum(1 for p in self.parameters if not p.in_model and p.layer is None)
        entry = self.add_parameter(parameter, f"?{n}", None, in_model=False)
        entry.former = self.optimizers.former_name(parameter)
        return entry

    def describe(self, entry: ParameterEntry) -> None:
        """Write (or write anew) what is known of a parameter."""
        tensor = entry.ref()
        if tensor is None:
            return
        info = ParameterInfo(
            index=entry.index,
            name=entry.name,
            layer=entry.layer,
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype)[6:],
            requires_grad=bool(tensor.requires_grad),
            in_model=entry.in_model,
            optimizers=tuple(sorted(entry.held)),
            group=entry.group,
            tied_to=entry.tied_to,
        )
        self._recorder.writer.subject("parameter", entry.index, info)

    def refresh(self) -> None:
        """Look at the models' trees again: modules and parameters that came later get new columns."""
        self.ensure_named()
        for model, module in self.live_models():
            for path, part in module.named_modules():
                if self.layer(part) is None:
                    clean = clean_path(path)
                    name = f"{model.prefix}{clean}" if clean else model.name
                    self._retire_layer(name)
                    self.add_layer(part, name, model.name)
            for path, parameter in module.named_parameters():
                entry = self.parameter(parameter)
                if entry is None:
                    self._replaced(parameter, model.prefix + clean_path(path))
                elif not entry.in_model:
                    self._add_model_parameter(parameter, model.prefix + clean_path(path))

    def _retire_layer(self, name: str) -> None:
        """Another module has taken this place: the old one's column keeps its numbers under another name."""
        old = next((x for x in reversed(self.layers) if x.name == name), None)
        if old is not None:
            old.name = free(f"{name} (replaced)", self._layer_names)
            self._layer_names.discard(name)
            module = old.ref()
            if module is not None:
                self._write_layer(old, module)

    def _replaced(self, parameter: Tensor, name: str) -> None:
        old = next((p for p in reversed(self.parameters) if p.name == name and not p.retired), None)
        if old is not None:
            old.retired = True
            layer, held = old.layer, bool(old.held)
            # The name goes to the tensor that the model uses now; the old one stays as what the optimizer holds.
            self._parameter_names.discard(name)
            n = sum(1 for p in self.parameters if p.name.startswith("?"))
            old.name, old.in_model, old.former, old.layer = f"?{n}", False, name, None
            self._parameter_names.add(old.name)
            self.describe(old)
            self.add_parameter(parameter, name, layer)
            data: dict[str, Any] = {"old_held": held, "built_before": held, "old": old.name}
            self._recorder.fact("parameter_replaced", name, data)
        else:
            self._add_model_parameter(parameter, name)

    def finish(self) -> None:
        """The end: names if there were none yet, and who held what."""
        self.ensure_named()
        for entry in self.parameters:
            self.describe(entry)
