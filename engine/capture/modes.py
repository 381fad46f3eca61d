"""Training mode, evaluation mode, gradients on or off: what a model was in when it ran, and who changed it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

MAX_MODE_FACTS: Final = 60
"""Changes of mode that are told; a run that goes to and fro a thousand times tells the same each time."""
LOOKED_AT: Final = 60
"""Forwards in one combination of modes that are all looked into when they are measured fully …"""
SELDOM: Final = 16
"""… and from there on every so manyth: a look walks through all modules."""


class Modes:
    """Facts `mode`, `forward_context`, `mixed_modes`, `autocast`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._training: dict[int, bool] = {}
        self._contexts: dict[tuple[int, bool, bool, bool], int] = {}
        self._facts = 0
        self._mixed: dict[int, tuple[str, ...]] = {}
        self._autocast = False
        self._by: dict[int, str] = {}
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Wrap `Module.train` and `Module.eval`."""
        recorder, train, evaluate = self._recorder, nn.Module.train, nn.Module.eval
        depth = [0]

        @functools.wraps(train)
        def train_(module: nn.Module, mode: bool = True) -> Any:
            depth[0] += 1
            try:
                return train(module, mode)
            finally:
                depth[0] -= 1
                if not depth[0] and not recorder.idle():
                    recorder.own(self._set, module, mode)

        @functools.wraps(evaluate)
        def eval_(module: nn.Module) -> Any:
            depth[0] += 1
            try:
                return evaluate(module)
            finally:
                depth[0] -= 1
                if not depth[0] and not recorder.idle():
                    recorder.own(self._set, module, False)

        nn.Module.train, nn.Module.eval = train_, eval_  # type: ignore[method-assign, assignment]  # restored below

        def undo() -> None:
            if nn.Module.train is train_:
                nn.Module.train = train  # type: ignore[method-assign]  # puts the original back
            if nn.Module.eval is eval_:
                nn.Module.eval = evaluate  # type: ignore[method-assign]  # puts the original back

        self._undo.append(undo)

    def uninstall(self) -> None:
        """Restore."""
        while self._undo:
            self._undo.pop()()

    def _set(self, module: nn.Module, training: bool) -> None:
        for entry, model in self._recorder.registry.live_models():
            if model is module or any(m is model for m in module.children()):
                self._recorder.wake()
                self._recorder.letter("T" if training else "M")
                self._by[entry.index] = "train" if training else "eval"
                return

    def see(self, root: int, module: nn.Module, grad: bool) -> None:
        """A root forward begins."""
        recorder, training = self._recorder, module.training
        before = self._training.get(root)
        name = recorder.registry.models[root].name
        if before is not None and before != training and self._facts < MAX_MODE_FACTS:
            self._facts += 1
            recorder.fact("mode", name, {"root": root, "training": training, "grad": grad, "by": self._by.get(root)})
        self._training[root] = training
        inference = torch.is_inference_mode_enabled()
        key = (root, training, grad, inference)
        known = self._contexts.get(key, 0)
        self._contexts[key] = known + 1
        if not known:
            recorder.fact("forward_context", name, self._context(key))
        if not known or (recorder.pace.measuring and (known < LOOKED_AT or not known % SELDOM)):
            self._look_inside(root, module, name)
            self._look_at_autocast(name)

    def _context(self, key: tuple[int, bool, bool, bool]) -> dict[str, Any]:
        root, training, grad, inference = key
        return {"root": root, "training": training, "grad": grad, "inference": inference, "n": self._contexts[key]}

    def _look_inside(self, root: int, module: nn.Module, name: str) -> None:
        recorder = self._recorder
        others = [m for m in module.modules() if m.training != module.training]
        if not others and root not in self._mixed:
            return
        names = tuple(recorder.name_of(m) or type(m).__name__ for m in others[:50]) if recorder.registry.named else ()
        if others and not names:
            names = tuple(n for n, m in module.named_modules() if m.training != module.training)[:50]
        if names != self._mixed.get(root) and self._facts < MAX_MODE_FACTS:
            self._facts += 1
            self._mixed[root] = names
            recorder.fact("mixed_modes", name, {"root": root, "training": module.training, "names": list(names)})

    def _look_at_autocast(self, name: str) -> None:
        if self._autocast:
            return
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                self._autocast = True
                dtype = str(torch.get_autocast_dtype(device))[6:]
                data = {"dtype": dtype, "device": device, "nested_in_no_grad": not torch.is_grad_enabled()}
                self._recorder.fact("autocast", name, data)

    def finish(self) -> None:
        """How often each combination occurred."""
        for key in self._contexts:
            self._recorder.fact(
                "forward_context", self._recorder.registry.models[key[0]].name, {**self._context(key), "final": True}
            )
