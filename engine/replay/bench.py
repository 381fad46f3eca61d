"""Where a change is put in place: the registry of changes, and how torch is patched in a process that is thrown away.

A change that touches what the recorder measures on its way in (arguments of a loss, `zero_grad`) goes on top of the
recorder's patches; one that must be seen by its hooks (inputs, gradients at the step) goes beneath. Nothing is undone:
the process ends with the replay.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.optim import Optimizer

from aitia.engine.capture.recorder import current
from aitia.engine.replay.vocabulary import Change


@dataclass(frozen=True)
class Bench:
    """One change that is being put in place."""

    change: Change

    @property
    def value(self) -> float:
        """The change's number."""
        return 1.0 if self.change.value is None else self.change.value

    def concerns(self, name: str) -> bool:
        """Whether a layer of this dotted path is meant."""
        wanted = self.change.subjects
        return not wanted or any(name == s or s.endswith(f".{name}") or name.startswith(f"{s}.") for s in wanted)


Install = Callable[[Bench], None]
BENEATH: Final[dict[str, Install]] = {}
"""Installed before the recorder: its hooks see what the change made."""
ON_TOP: Final[dict[str, Install]] = {}
"""Installed after the recorder: its patches are given what the change made."""


def beneath(name: str) -> Callable[[Install], Install]:
    """Register a change that the recorder's hooks must see."""

    def register(install: Install) -> Install:
        BENEATH[name] = install
        return install

    return register


def on_top(name: str) -> Callable[[Install], Install]:
    """Register a change of what the recorder's patches are given."""

    def register(install: Install) -> Install:
        ON_TOP[name] = install
        return install

    return register


def put(changes: tuple[Change, ...], table: dict[str, Install]) -> None:
    """Install those of the changes that stand in this table."""
    for change in changes:
        if change.name in table:
            table[change.name](Bench(change))


def by_recorder() -> bool:
    """Whether it is the recorder that computes, such as an experiment with an optimizer of its own after the end."""
    recorder = current()
    return recorder is not None and recorder.busy


# ---- tools of the changes --------------------------------------------------------------------------------------------


def replace(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `make(original)` in the place of `owner.name`, where there is one."""
    original = getattr(owner, name, None)
    if original is not None:
        setattr(owner, name, functools.wraps(original)(make(original)))


def around_steps(before: Callable[[Optimizer], None], after: Callable[[Optimizer], None] | None = None) -> None:
    """Call these around every step of every optimizer."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: None if by_recorder() else before(optimizer))
    if after is not None:
        register_optimizer_step_post_hook(lambda optimizer, args, kwargs: None if by_recorder() else after(optimizer))


def before_forward(hook: Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]) -> None:
    """Call the hook with every whole model that is about to run; what it returns replaces the arguments."""
    running: list[nn.Module] = []  # not the recorder's own list: it keeps none between measured steps

    def called(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        running.append(module)
        if len(running) > 1 or next(module.parameters(), None) is None:
            return None
        return hook(module, args)

    def over(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        if running and running[-1] is module:
            running.pop()

    nn.modules.module.register_module_forward_pre_hook(called)  # type: ignore[arg-type]  # it may return arguments
    nn.modules.module.register_module_forward_hook(over, always_call=True)


def around_backward(
    before: Callable[[torch.Tensor], None] | None = None, after: Callable[[torch.Tensor], None] | None = None
) -> None:
    """Call these around every `backward`, with its first root."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(*args: Any, **kwargs: Any) -> Any:
            if by_recorder():
                return original(*args, **kwargs)
            given = args[0] if args else kwargs.get("tensors")
            root = given if isinstance(given, torch.Tensor) else next(iter(given or ()), None)
            if before is not None and root is not None:
                before(root)
            result = original(*args, **kwargs)
            if after is not None and root is not None:
                after(root)
            return result

        return backward

    replace(torch.autograd, "backward", make)
