"""Memory and what makes it grow: graphs that stay alive, hooks that pile up; and calls that wait for the device."""

from __future__ import annotations

import os
import weakref
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import LossCall, Observer, notes_of
from aitia.engine.capture.observers.trace import Watch as TraceWatch

EVERY: Final = 20
"""Steps between two looks; a graph that is still alive after as many steps is kept by somebody."""
MEASURED: Final = 200
"""Steps in which the memory is read whenever the step is measured; later at every look."""
ALIVE: Final = 5
"""Graphs of earlier steps that are alive before it is told: the last loss or the best one may be kept on purpose."""
FOLLOWED: Final = 4096
MAX_FACTS: Final = 40
MAX_LINES: Final = 10
WAITING: Final = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "nonzero")
"""Methods of a tensor on an accelerator that wait until it has computed everything before."""
_MARK: Final = "aitia_alive"


class _Token:
    """Held by a graph's node and by nothing else: it lives as long as the graph does."""

    __slots__ = ("__weakref__",)


class Watch(Observer):
    """Reads the process's memory, follows the graphs of losses, counts the program's hooks."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._graphs: deque[tuple[int, weakref.ref[_Token], weakref.ref[Tensor]]] = deque(maxlen=FOLLOWED)
        self._last_look = (0, 0)
        """Graphs and tensors alive while the program still ran: at its end a function's locals are gone."""
        self._parameters = 0
        self._looked_at = 0
        self._alive_told = ALIVE - 1
        self._hooks: int | None = None
        self._hooks_since = 0
        self._facts = 0
        self._statm = -1
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
        self._first_rss = self._peak_rss = 0
        self._syncs: Counter[tuple[str, int]] = Counter()
        self._waits = 0
        self._cuda = False

    def install(self) -> None:
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:
            self._statm = -1
        self._cuda = torch.cuda.is_available()
        if self._cuda:
            for name in WAITING:
                self.replace(Tensor, name, self._wrap_wait)

    def uninstall(self) -> None:
        super().uninstall()
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1

    def _wrap_wait(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def waiting(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if tensor.is_cuda and not self.idle():
                self.guard(self._waited)
            return original(tensor, *args, **kwargs)

        return waiting

    def _waited(self) -> None:
        tally = self.recorder.tally
        tally["syncs"] = tally.get("syncs", 0.0) + 1
        self._waits += 1
        place = user_frame()
        if place is not None:
            self._syncs[place] += 1

    # ---- graphs ---------------------------------------------------------------------------------------------------

    def after_loss(self, call: LossCall) -> None:
        self._follow(call.result)

    def before_backward(self, loss: Tensor, site: int) -> None:
        if not self._graphs or self._graphs[-1][2]() is not loss:  # what a loss function returned is followed by now
            self._follow(loss)

    def _follow(self, loss: Tensor) -> None:
        notes = notes_of(loss)
        if notes is not None and _MARK not in notes:
            token = notes[_MARK] = _Token()
            self._graphs.append((self.recorder.step, weakref.ref(token), weakref.ref(loss)))

    def _alive(self) -> tuple[int, int]:
        """Graphs and loss tensors of steps long past that are still there."""
        old = self.recorder.step - EVERY
        kept = [(step, token, tensor) for step, token, tensor in self._graphs if step > old or token() is not None]
        self._graphs = deque(kept, maxlen=FOLLOWED)
        past = [entry for entry in kept if entry[0] <= old]
        return len(past), sum(1 for _, _, tensor in past if tensor() is not None)

    # ---- steps ----------------------------------------------------------------------------------------------------

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        step = self.recorder.step
        due = step // EVERY > self._looked_at // EVERY  # steps may be passed over
        if due or (self.recorder.measuring and step <= MEASURED):
            rss = self._rss()
            if rss:
                self.recorder.latest["rss_bytes"] = float(rss)
            if self._cuda:
                self.recorder.latest["device_bytes"] = float(torch.cuda.memory_allocated())
                self.recorder.tally.setdefault("syncs", 0.0)
        if due or step == 1:
            self._look_at_hooks(step)
        if due:
            self._looked_at = step
            graphs, tensors = self._last_look = self._alive()
            if graphs > self._alive_told and self._facts < MAX_FACTS:
                self._alive_told = 2 * graphs
                self._tell_memory(graphs, tensors, final=False)

    def _rss(self) -> int:
        if self._statm >= 0:
            rss = int(os.pread(self._statm, 128, 0).split()[1]) * self._page
        else:
            try:
                import resource  # not on every platform
            except ImportError:
                return 0
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
        self._first_rss = self._first_rss or rss
        self._peak_rss = max(self._peak_rss, rss)
        return rss

    def _look_at_hooks(self, step: int) -> None:
        count = self._parameters = 0
        for _, model in self.recorder.registry.live_models():
            self._parameters += sum(p.numel() * p.element_size() for p in model.parameters())
            for module in model.modules():
                count += len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        if self._hooks is not None and count > self._hooks and self._facts < MAX_FACTS:
            self._facts += 1
            per_step = (count - self._hooks) / max(1, step - self._hooks_since)
            self.recorder.fact("hooks", data={"count": count, "per_step": per_step})
        self._hooks, self._hooks_since = count, step

    def _tell_memory(self, graphs: int, tensors: int, final: bool) -> None:
        self._facts += 1
        trace = next((o for o in self.recorder.observers if isinstance(o, TraceWatch)), None)
        data = {
            "live_graphs": graphs,
            "tensors_alive": tensors,
            "history_len": graphs,
            "rss_first": self._first_rss,
            "rss_peak": self._peak_rss,
            "activation_bytes": trace.activation_bytes if trace is not None else None,
            "parameter_bytes": self._parameters,
            "final": final,
        }
        self.recorder.fact("memory", data=data)

    def finish(self) -> None:
        self._rss()
        self._tell_memory(*max(self._alive(), self._last_look), final=True)
        if self._waits:
            lines = [{"file": f, "line": n, "times": c} for (f, n), c in self._syncs.most_common(MAX_LINES)]
            self.recorder.fact("syncs", data={"total": self._waits, "lines": lines})
