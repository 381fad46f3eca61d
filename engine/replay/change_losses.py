"""Changes of losses and their targets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from aitia.engine.capture.observers.losses import FUNCTIONS
from aitia.engine.replay.bench import Bench, on_top, replace

LARGEST_EXPONENT = 50.0
"""exp(50) is far from float32's end and far beyond any meaning."""


def _losses(change: Callable[[str, dict[str, Any]], None]) -> None:
    """Let `change` edit the named arguments of every functional loss, before the recorder sees them."""

    def wrap(name: str) -> None:
        original = getattr(F, name, None)
        if original is None:
            return
        parameters = tuple(inspect.signature(original).parameters)

        def make(inner: Callable[..., Any]) -> Callable[..., Any]:
            def loss(*args: Any, **kwargs: Any) -> Any:
                arguments = {**dict(zip(parameters, args, strict=False)), **kwargs}
                change(name, arguments)
                return inner(**arguments)

            return loss

        replace(F, name, make)

    for name in FUNCTIONS:
        wrap(name)


@on_top("average_loss")
def average_loss(bench: Bench) -> None:
    """`sum` becomes `mean`."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        if arguments.get("reduction") == "sum":
            arguments["reduction"] = "mean"

    _losses(change)


@on_top("log_of_probabilities")
def log_of_probabilities(bench: Bench) -> None:
    """Losses that expect logarithms of probabilities get them."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        if name in {"cross_entropy", "nll_loss", "kl_div"} and isinstance(arguments.get("input"), Tensor):
            arguments["input"] = arguments["input"].clamp_min(1e-12).log()

    _losses(change)


@on_top("match_shapes")
def match_shapes(bench: Bench) -> None:
    """As many numbers, so the same shape."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        x, y = arguments.get("input"), arguments.get("target")
        if isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape != y.shape and x.numel() == y.numel():
            arguments["input"] = x.reshape(y.shape)

    _losses(change)


@on_top("detach_targets")
def detach_targets(bench: Bench) -> None:
    """Targets are constants."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        if isinstance(arguments.get("target"), Tensor):
            arguments["target"] = arguments["target"].detach()

    _losses(change)


@on_top("no_class_weights")
def no_class_weights(bench: Bench) -> None:
    """All classes count alike."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        arguments.update({key: None for key in ("weight", "pos_weight") if key in arguments})

    _losses(change)


@on_top("count_every_class")
def count_every_class(bench: Bench) -> None:
    """torch's default, which no class can have."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        if arguments.get("ignore_index", -100) >= 0:
            arguments["ignore_index"] = -100

    _losses(change)


@on_top("standardise_targets")
def standardise_targets(bench: Bench) -> None:
    """Regression targets with mean 0 and deviation 1."""
    known: list[tuple[Tensor, Tensor]] = []

    def change(name: str, arguments: dict[str, Any]) -> None:
        y = arguments.get("target")
        if isinstance(y, Tensor) and y.is_floating_point() and y.numel() > 1:
            if not known:
                known.append((y.mean(), y.std().clamp_min(1e-12)))
            arguments["target"] = (y - known[0][0]) / known[0][1]

    _losses(change)


@on_top("away_from_singularity")
def away_from_singularity(bench: Bench) -> None:
    """Roots, logarithms, divisions and exponentials keep away from where they or their slopes are infinite."""
    eps = bench.value

    def shifted(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *args, **kw: original(x + eps if isinstance(x, Tensor) else x, *args, **kw)

    def floored(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *args, **kw: original(x.clamp_min(eps) if isinstance(x, Tensor) else x, *args, **kw)

    def capped(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *a, **kw: original(x.clamp_max(LARGEST_EXPONENT) if isinstance(x, Tensor) else x, *a, **kw)

    def divided(original: Callable[..., Any]) -> Callable[..., Any]:
        def divide(x: Any, by: Any, *args: Any, **kw: Any) -> Any:
            if isinstance(by, Tensor) and by.is_floating_point():
                by = torch.where(by.abs() < eps, torch.full_like(by, eps), by)
            return original(x, by, *args, **kw)

        return divide

    def deviation(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *args, **kw: (torch.var(x, *args, **kw) + eps).sqrt()

    for owner in (torch, Tensor):
        replace(owner, "std", deviation)
        replace(owner, "sqrt", shifted)
        replace(owner, "log", floored)
        replace(owner, "exp", capped)
        replace(owner, "div", divided)
    replace(Tensor, "__truediv__", divided)


@on_top("replace_nonfinite_inputs")
def replace_nonfinite_targets(bench: Bench) -> None:
    """The same for what the loss compares with."""

    def change(name: str, arguments: dict[str, Any]) -> None:
        y = arguments.get("target")
        if isinstance(y, Tensor) and y.is_floating_point():
            arguments["target"] = torch.where(torch.isfinite(y), y, torch.zeros_like(y))

    _losses(change)
