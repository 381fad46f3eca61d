"""Changes of modes, precision and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from aitia.engine.replay.bench import Bench, before_forward, beneath, on_top, replace

LEAK = 0.1
"""Slope of a leaky rectifier on the negative side: large enough for a unit to come back."""


_BACK: Final[list[tuple[nn.Module, Callable[[], object]]]] = []
"""Models that run in another state than the program's, each with the way back."""


def _during(enter: Callable[[nn.Module], Callable[[], object] | None]) -> None:
    """Change the state for the time of a whole model's forward."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        back = enter(module)
        if back is not None:
            _BACK.append((module, back))

    before_forward(before)


@on_top("evaluate_without_gradients")
@on_top("train_with_gradients")
@on_top("no_grad_off")
def _put_back(bench: Bench) -> None:
    """After the recorder has looked: the program finds its state as it left it."""

    def after(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        if _BACK and _BACK[-1][0] is module:
            _BACK.pop()[1]()

    nn.modules.module.register_module_forward_hook(after, always_call=True)


def _mode(*, grad: bool) -> None:
    def enter(module: nn.Module) -> Callable[[], object] | None:
        if torch.is_grad_enabled() is not grad or module.training is grad:
            return None
        module.train(grad)
        return lambda: module.train(not grad)

    _during(enter)


@beneath("evaluate_without_gradients")
def evaluate_without_gradients(bench: Bench) -> None:
    """No gradients: evaluation."""
    _mode(grad=False)


@beneath("train_with_gradients")
def train_with_gradients(bench: Bench) -> None:
    """Gradients: training."""
    _mode(grad=True)


@beneath("no_grad_off")
def no_grad_off(bench: Bench) -> None:
    """A model in training mode tracks gradients, whatever region it is called in."""

    def enter(module: nn.Module) -> Callable[[], object] | None:
        if torch.is_grad_enabled() or not module.training:
            return None
        torch.set_grad_enabled(True)
        return lambda: torch.set_grad_enabled(False)

    _during(enter)


@beneath("keep_frozen_in_evaluation")
def keep_frozen_in_evaluation(bench: Bench) -> None:
    """A frozen part keeps its statistics frozen, too."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        for part in module.modules():
            parameters = list(part.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                part.eval()

    before_forward(hook)


@on_top("no_dropout_in_evaluation")
def no_dropout_in_evaluation(bench: Bench) -> None:
    """Functional dropout follows whether gradients are tracked."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def dropout(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs) if torch.is_grad_enabled() else (args[0] if args else kwargs["input"])

        return dropout

    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"):
        replace(F, name, make)


@beneath("single_precision")
def single_precision(bench: Bench) -> None:
    """float32 throughout."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def enter(region: Any) -> Any:
            region._enabled = False
            return original(region)

        return enter

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if any(p.dtype in {torch.float16, torch.bfloat16} for p in module.parameters()):
            module.float()
        return tuple(a.float() if isinstance(a, Tensor) and a.dtype in {torch.float16, torch.bfloat16} else a
                     for a in args)  # fmt: skip

    replace(torch.autocast, "__enter__", make)
    before_forward(hook)


@on_top("leaky_activations")
def leaky_activations(bench: Bench) -> None:
    """Rectifiers leak."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *args, **kwargs: F.leaky_relu(x, LEAK)

    replace(F, "relu", make)
    replace(torch, "relu", make)
    replace(Tensor, "relu", make)
