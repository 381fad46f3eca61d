"""The recorder: the state of one recording, and the hooks of torch that feed it.

Rooms around it: `registry` knows models, parameters and optimizers by name; `forward`, `backward` and `params` measure;
`steps` gathers rows; `pace` decides which steps are measured fully; `observers` watch everything else.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from aitia.engine.capture.backward import Backward
from aitia.engine.capture.forward import Forward
from aitia.engine.capture.layers import Layers
from aitia.engine.capture.observers import all_observers
from aitia.engine.capture.observers.base import Observer
from aitia.engine.capture.pace import Pace
from aitia.engine.capture.params import Params
from aitia.engine.capture.quiet import Quiet
from aitia.engine.capture.registry import Registry
from aitia.engine.capture.session import Session
from aitia.engine.capture.signature import Signature
from aitia.engine.capture.steps import Steps

T = TypeVar("T")
EVENTS: Final = (
    "before_root",
    "after_root",
    "after_loss",
    "before_backward",
    "after_backward",
    "before_step",
    "bad_gradient",
    "after_step",
    "finish",
)
"""Methods of observers that the recorder calls."""
TOLD_FAULTS: Final = 5
"""Faults of our own that are written down; more of the same tell nothing new."""
MAX_FAULTS: Final = 50
"""A recorder that fails this often is switched off for the rest of the run."""

_current: list[Recorder] = []


def current() -> Recorder | None:
    """The recorder that is installed in this process."""
    return _current[-1] if _current else None


class Recorder:
    """State of one recording inside the training process."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.writer = session.writer
        self.level = session.level
        self.busy = False
        """True while we compute something ourselves; hooks ignore what happens then."""
        self.off = False
        self.passing = False
        """True while steps are passed over, see `pace`: only their losses and gradients are read, see `quiet`."""
        self.watchful = False
        """True while steps are passed over and what would explain a NaN is kept all the same."""
        self.compiled = False
        """Whether the program compiles: a compiler guards on the hooks that are there, so they stay."""
        self.in_backward = False
        """Forwards in here are recomputations (activation checkpointing), not the program's."""
        self.thread = 0
        """The thread that trains: the one of the first forward."""
        self.faults = 0
        self.spent = 0.0
        """Seconds that we took since the last step row."""
        self.tally: dict[str, float] = {}
        """Sums for columns of the step row that is being gathered."""
        self.latest: dict[str, float | Tensor] = {}
        """Last values for such columns."""
        self.site_of: Callable[[Tensor], int] = lambda root: -1
        self.scale_of: Callable[[Tensor], float] = lambda root: 1.0
        self._later: list[tuple[Tensor, Callable[[list[float]], None]]] = []
        self.pace = Pace(session.level, session.budget)
        self.signature = Signature(self)
        self.registry = Registry(self)
        self.layers = Layers(self)
        self.forward = Forward(self)
        self.backward = Backward(self)
        self.params = Params(self)
        self.quiet = Quiet(self)
        self.steps = Steps(self)
        self.observers: list[Observer] = []
        self._told: dict[str, tuple[Callable[..., None], ...]] = {}
        self._muted: set[tuple[int, str]] = set()
        self._finished = False

    # ---- what observers use ------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Finished optimizer steps; with several optimizers, rounds in which each stepped at most once."""
        return self.session.step

    @property
    def measuring(self) -> bool:
        """Whether the step that is going on is measured fully."""
        return self.pace.measuring

    def seconds(self) -> float:
        """Seconds since the run began."""
        return self.session.seconds()

    def fact(
        self,
        kind: str,
        subject: str = "",
        data: Mapping[str, Any] | None = None,
        where: tuple[str, int] | None = None,
    ) -> int:
        """Keep a fact; its place is the user's line that is running unless `where` says otherwise."""
        return self.session.fact(kind, subject, data, where)

    def letter(self, letter: str) -> None:
        """Append to the order of calls of this step."""
        if not self.passing:
            self.signature.add(letter)

    @property
    def roots(self) -> Registry:
        """Models, layers, parameters and optimizers by name."""
        return self.registry

    def name_of(self, module: nn.Module) -> str | None:
        """Dotted path of a module of a watched model."""
        return self.registry.name_of(module)

    def parameter_name(self, parameter: Tensor) -> str | None:
        """Dotted path of a parameter."""
        return self.registry.parameter_name(parameter)

    def optimizer_index(self, optimizer: torch.optim.Optimizer) -> int:
        """Index of an optimizer; it is registered if it was not yet."""
        return self.registry.optimizer(optimizer).index

    def idle(self) -> bool:
        """True while nothing is to be seen."""
        return self.off or self.busy or torch.compiler.is_compiling() or torch._C._is_tracing()

    def safe(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """Call a part of ours; whatever goes wrong in it stays in it."""
        if self.off:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - no fault of ours may reach the training
            self.fault(function, error)
            return None

    def own(self, function: Callable[..., T], *args: Any) -> T | None:
        """`safe`, with our computing hidden from our hooks and its time counted."""
        with np.errstate(all="ignore"):  # an overflow in a statistic is no warning to the user
            return self.quick(function, *args)

    def quick(self, function: Callable[..., T], *args: Any) -> T | None:
        """`own` for what is called at every step and has numpy compute nothing that could overflow."""
        if self.off:
            return None
        if self.busy:
            return self.safe(function, *args)
        start = time.perf_counter()
        self.busy = True
        try:
            return function(*args)
        except Exception as error:  # noqa: BLE001 - no fault of ours may reach the training
            self.fault(function, error)
            return None
        finally:
            self.busy = False
            self.spent += time.perf_counter() - start

    def fault(self, function: Callable[..., Any], error: Exception) -> None:
        """Count a fault of ours, write down the first few, give up after many."""
        self.faults += 1
        what = getattr(function, "__qualname__", type(function).__name__)
        if self.faults <= TOLD_FAULTS:
            detail = "".join(traceback.format_exception(error))[-2000:]
            self.session.fact("recorder", what, {"what": f"{what} failed", "detail": detail})
        if self.faults == MAX_FAULTS:
            self.off = True
            self.session.fact("recorder", what, {"what": "switched off", "detail": f"{MAX_FAULTS} faults"})

    def later(self, values: Tensor, then: Callable[[list[float]], None]) -> None:
        """Hand numbers of a device tensor to `then`; all of a step's come over in one transfer at its end."""
        self._later.append((values.detach().reshape(-1), then))

    def resolve(self) -> None:
        """Fetch what `later` was given."""
        if not self._later:
            return
        pending, self._later = self._later, []
        device = pending[0][0].device
        numbers = torch.cat([v.to(device=device, dtype=torch.float32) for v, _ in pending]).tolist()
        at = 0
        for values, then in pending:
            n = values.numel()
            self.safe(then, numbers[at : at + n])
            at += n

    def tell(self, event: str, *args: Any) -> None:
        """Call this method of every observer that has it and listens."""
        methods = self._told.get(event)
        if not methods or self.off:
            return
        start, busy = time.perf_counter(), self.busy
        self.busy = True
        try:
            for method in methods:
                try:
                    method(*args)
                except Exception as error:  # noqa: BLE001 - no fault of ours may reach the training
                    self.fault(method, error)
        finally:
            self.busy = busy
            if not busy:
                self.spent += time.perf_counter() - start

    def watch(self, event: str, *args: Any) -> None:
        """In a step that is passed over: call this method of the observers that have to see every step."""
        for observer in self.observers:
            if observer.watchful:
                self.safe(getattr(observer, event), *args)

    def pass_over(self) -> None:
        """Of the next steps only loss and gradients are read."""
        if not (self.compiled or self.off) and self.params.rest():
            self.passing, self.watchful = True, self.pace.watchful
            if not self.watchful:
                self.forward.sleep()

    def wake(self) -> None:
        """Read all again: as many steps as were due have been passed over, or something unusual happens."""
        if self.passing:
            counted = self.watchful
            self.passing = self.watchful = False
            self.forward.wake()
            self.safe(self.quiet.end)
            self.steps.begin_anew(counted)

    def listen(self, observer: Observer, events: tuple[str, ...], on: bool) -> None:
        """Whether these events are told to this observer; one that has nothing left to do costs nothing."""
        for event in events:
            key = (id(observer), event)
            if on is (key in self._muted):
                (self._muted.discard if on else self._muted.add)(key)
                self._subscribe(event)

    def _subscribe(self, event: str) -> None:
        base = getattr(Observer, event)
        self._told[event] = tuple(
            getattr(o, event)
            for o in self.observers
            if getattr(type(o), event) is not base and (id(o), event) not in self._muted
        )

    # ---- life --------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put all hooks in place."""
        _current.append(self)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.writer.update(
            versions={**self.writer.info.versions, "torch": str(torch.__version__)},
            device=torch.cuda.get_device_name() if device == "cuda" else device,
        )
        for part in (self.registry, self.forward, self.backward, self.params):
            self.safe(part.install)
        self.observers = self.observers or list(self.safe(all_observers, self) or ())
        for observer in self.observers:
            self.safe(observer.install)
        for event in EVENTS:
            self._subscribe(event)

    def uninstall(self) -> None:
        """Take all hooks away, also after the recorder was switched off."""
        self.off = False
        self.wake()
        for observer in reversed(self.observers):
            self.safe(observer.uninstall)
        for part in (self.params, self.backward, self.forward, self.registry):
            self.safe(part.uninstall)
        self.off = True
        if self in _current:
            _current.remove(self)

    def finish(self) -> None:
        """The program ended: write what is still open. The writer stays open for the run's end."""
        if self._finished:
            return
        self._finished = True
        self.wake()
        self.in_backward = False
        self.own(self.registry.finish)
        self.own(self.params.finish)
        self.own(self.resolve)
        self.own(self.steps.finish)
        self.tell("finish")
        self.own(self.forward.finish)
        self.own(self.signature.finish)
        self.off = True

    def forked(self) -> None:
        """In a child process (a loader's worker) nothing is recorded: its pen has no thread."""
        self.off = True
