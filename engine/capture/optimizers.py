"""Optimizers: where each was built, with what, what it holds, and how often it stepped."""

from __future__ import annotations

import functools
import linecache
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aitia.engine.capture.discovery import parameter_names, variable_of
from aitia.engine.capture.frames import user_frames
from aitia.engine.records import OptimizerInfo

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

_ASSIGNED: Final = re.compile(r"^\s*(?:self\.)?([A-Za-z_][\w.]*)\s*(?::[^=]+)?=(?!=)")
"""`name = …` at the start of the line that builds an optimizer."""
MAX_NAMED: Final = 20_000
"""Parameters whose names are remembered from before the first step."""


@dataclass
class OptimizerEntry:
    """One optimizer."""

    index: int
    name: str
    cls: str
    ref: weakref.ref[torch.optim.Optimizer]
    file: str | None = None
    line: int | None = None
    n_steps: int = 0
    held: tuple[int, ...] = ()
    """Identities of its parameters when they were last looked at."""
    groups: list[tuple[int, int]] = field(default_factory=list)
    """Identity and length of its groups' lists: while these stay, hardly anything in them has changed."""
    searched: bool = False
    closure: bool = False
    """Whether a step was given a closure, which it calls as often as it likes."""
    extra: dict[str, Any] = field(default_factory=dict)


class Optimizers:
    """All optimizers of the process, in the order in which they were built or first seen."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.entries: list[OptimizerEntry] = []
        self._of: dict[int, OptimizerEntry] = {}
        self._former: dict[int, tuple[str, weakref.ref[Tensor]]] = {}
        self._undo: list[Callable[[], None]] = []

    # ---- watching them being built -----------------------------------------------------------------------------

    def install(self) -> None:
        """Wrap the base class's constructor and `add_param_group`."""
        recorder, cls = self._recorder, torch.optim.Optimizer
        build, add = cls.__init__, cls.add_param_group
        building = [0]

        @functools.wraps(build)
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - takes the constructor's place
            building[0] += 1
            try:
                build(optimizer, *args, **kwargs)
            finally:
                building[0] -= 1
            if not recorder.idle():
                recorder.own(self._built, optimizer)

        @functools.wraps(add)
        def add_param_group(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            result = add(optimizer, *args, **kwargs)
            if not building[0] and not recorder.idle():
                recorder.own(self.describe, self.entry(optimizer))
            return result

        owner: Any = cls
        owner.__init__, owner.add_param_group = __init__, add_param_group

        def undo() -> None:
            if owner.__init__ is __init__:
                owner.__init__ = build
            if owner.add_param_group is add_param_group:
                owner.add_param_group = add

        self._undo.append(undo)

    def uninstall(self) -> None:
        """Restore."""
        while self._undo:
            self._undo.pop()()

    def _built(self, optimizer: torch.optim.Optimizer) -> None:
        self._recorder.wake()
        entry = self._add(optimizer)
        for frame, file in user_frames(1):
            entry.file, entry.line = file, frame.f_lineno
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
            statement = next((s for s in line.split(";") if entry.cls in s), line)
            found = _ASSIGNED.match(statement)
            if found:
                entry.name = self._free_name(found.group(1).split(".")[-1], entry)
            break
        for identity, (name, parameter) in parameter_names().items():
            if len(self._former) < MAX_NAMED:
                self._former[identity] = (name, weakref.ref(parameter))
        self._tell_built(entry)

    def _tell_built(self, entry: OptimizerEntry) -> None:
        optimizer = entry.ref()
        if optimizer is None:
            return
        data = {
            "index": entry.index,
            "name": entry.name,
            "cls": entry.cls,
            "groups": hyperparameters(optimizer),
            "n_params": sum(len(g["params"]) for g in optimizer.param_groups),
        }
        where = (entry.file, entry.line) if entry.file is not None and entry.line is not None else None
        self._recorder.fact("optimizer_built", entry.name, data, where)
        self.describe(entry)

    @property
    def stepped(self) -> bool:
        """Whether any optimizer has finished a step."""
        return any(e.n_steps for e in self.entries)

    # ---- looking up --------------------------------------------------------------------------------------------

    def entry(self, optimizer: torch.optim.Optimizer) -> OptimizerEntry:
        """The entry of an optimizer; one that was built before us is taken in now."""
        known = self._of.get(id(optimizer))
        if known is not None and known.ref() is optimizer:
            return known
        entry = self._add(optimizer)
        self._name_by_variable(entry, optimizer)
        self._tell_built(entry)
        return entry

    def first_step(self, entry: OptimizerEntry, optimizer: torch.optim.Optimizer) -> None:
        """The user's variable can be found only after the constructor returned."""
        if not entry.searched:
            self._name_by_variable(entry, optimizer)
            self.describe(entry)

    def former_name(self, parameter: Tensor) -> str | None:
        """What a parameter was called when an optimizer was built."""
        known = self._former.get(id(parameter))
        return known[0] if known is not None and known[1]() is parameter else None

    def _add(self, optimizer: torch.optim.Optimizer) -> OptimizerEntry:
        cls = type(optimizer).__name__
        entry = OptimizerEntry(len(self.entries), cls, cls, weakref.ref(optimizer))
        entry.name = self._free_name(cls, entry)
        self.entries.append(entry)
        self._of[id(optimizer)] = entry
        return entry

    def _name_by_variable(self, entry: OptimizerEntry, optimizer: torch.optim.Optimizer) -> None:
        entry.searched = True
        if entry.name == entry.cls or entry.name.startswith(entry.cls + "_"):
            name = variable_of(optimizer, torch.optim.Optimizer)
            if name is not None:
                entry.name = self._free_name(name, entry)

    def _free_name(self, name: str, entry: OptimizerEntry) -> str:
        taken = {e.name for e in self.entries if e is not entry}
        n, free = 1, name
        while free in taken:
            n += 1
            free = f"{name}_{n}"
        return free

    def describe(self, entry: OptimizerEntry) -> None:
        """Write (or write anew) what is known of an optimizer."""
        optimizer = entry.ref()
        info = OptimizerInfo(
            index=entry.index,
            name=entry.name,
            cls=entry.cls,
            groups=tuple(hyperparameters(optimizer)) if optimizer is not None else (),
            file=entry.file,
            line=entry.line,
        )
        self._recorder.writer.subject("optimizer", entry.index, info)


def hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Settings of every group without its tensors, plus `n_params`."""
    groups = []
    for group in optimizer.param_groups:
        settings: dict[str, Any] = {}
        for key, value in group.items():
            if key in {"params", "param_names"}:
                continue
            if isinstance(value, Tensor):
                settings[key] = float(value) if value.numel() == 1 else f"tensor{list(value.shape)}"
            elif isinstance(value, (bool, int, float, str, type(None))):
                settings[key] = value
            elif isinstance(value, (tuple, list)):
                settings[key] = [float(v) if isinstance(v, (int, float, Tensor)) else str(v) for v in value]
        settings["n_params"] = len(group["params"])
        groups.append(settings)
    return groups
