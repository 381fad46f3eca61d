"""Layers with trainable parameters that only ever ran with gradient tracking off: the fact `untracked`."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from torch import nn

from aitia.engine.capture.frames import user_frame

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

MAX_NAMES: Final = 100


class Untracked:
    """Two sets of layers, by whether a gradient could ever have reached them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tracked: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._off: weakref.WeakKeyDictionary[nn.Module, tuple[str, int] | None] = weakref.WeakKeyDictionary()

    def see(self, module: nn.Module, grad: bool) -> None:
        """A layer ran. Only layers that own trainable parameters are of interest."""
        if grad:
            self._tracked.add(module)
        elif (
            module.training
            and module not in self._off
            and any(p.requires_grad for p in module._parameters.values() if p is not None)
        ):
            self._off[module] = user_frame()

    def finish(self) -> None:
        """Tell the layers that no tracked forward ever reached, with the line that ran the first of them."""
        found = [(m, where) for m, where in self._off.items() if m not in self._tracked]
        names = [name for m, _ in found if (name := self._recorder.name_of(m)) is not None]
        if names:
            self._recorder.fact("untracked", names[0], {"layers": names[:MAX_NAMES]}, where=found[0][1])
