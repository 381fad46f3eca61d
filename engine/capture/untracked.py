"""Layers with trainable parameters that only ever ran with gradient tracking off: the fact `untracked`."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from torch import nn

from aitia.engine.capture.frames import user_frames

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

MAX_NAMES: Final = 100


class Untracked:
    """Names of layers by whether a gradient could ever have reached them; models may be gone when the run ends."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tracked: set[str] = set()
        self._done: dict[int, weakref.ref[nn.Module]] = {}
        """Modules of which nothing more is to be known."""
        self._off: dict[str, list[tuple[str, int]]] = {}

    def see(self, module: nn.Module, grad: bool) -> None:
        """A layer ran. Only layers that own trainable parameters are of interest."""
        if not grad and not module.training:
            return
        known = self._done.get(id(module))
        if known is not None and known() is module:
            return
        if not any(p.requires_grad for p in module._parameters.values() if p is not None):
            return
        name = self._recorder.name_of(module) if self._recorder.registry.named else None
        if name is None:
            return
        if grad:
            self._tracked.add(name)
            self._done[id(module)] = weakref.ref(module)
        elif name not in self._off:
            self._off[name] = [(file, frame.f_lineno) for frame, file in user_frames()]

    def finish(self) -> None:
        """Tell the layers that no tracked forward ever reached, with the line that ran the first of them."""
        found = [name for name in self._off if name not in self._tracked]
        if found:
            frames = self._off[found[0]]
            data = {"layers": found[:MAX_NAMES], "lines": [line for file, line in frames if file == frames[0][0]]}
            self._recorder.fact("untracked", found[0], data, where=frames[0] if frames else None)
