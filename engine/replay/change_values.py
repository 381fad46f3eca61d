"""Changes of what flows: inputs, targets, losses, modes, precision, data order, seeds."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from aitia.engine.capture.observers.losses import FUNCTIONS
from aitia.engine.replay.bench import Bench, before_forward, beneath, on_top, replace

LEAK = 0.1
"""Slope of a leaky rectifier on the negative side: large enough for a unit to come back."""
LARGEST_EXPONENT = 50.0
"""exp(50) is far from float32's end and far beyond any meaning."""


def _inputs(bench: Bench, change: Callable[[Tensor], Tensor]) -> None:
    """Change the first floating-point argument of every model."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        for index, value in enumerate(args):
            if isinstance(value, Tensor) and value.is_floating_point():
                return (*args[:index], change(value), *args[index + 1 :])
        return None

    before_forward(bench, hook)


@beneath("standardise_inputs")
def standardise_inputs(bench: Bench) -> None:
    """Mean and deviation per feature (per channel of images) of the first training batch, for every later input."""
    known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def change(x: Tensor) -> Tensor:
        if x.dim() < 2:
            return x
        key = tuple(x.shape[1:])
        if key not in known:
            axes = tuple(d for d in range(x.dim()) if d != (1 if x.dim() == 4 else x.dim() - 1))
            mean, deviation = x.mean(axes, keepdim=True), x.std(axes, keepdim=True)
            known[key] = mean, torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        mean, deviation = known[key]
        return (x - mean) / deviation

    _inputs(bench, change)


@beneath("replace_nonfinite_inputs")
def replace_nonfinite_inputs(bench: Bench) -> None:
    """What is not finite becomes 0 before the model sees it."""
    _inputs(bench, lambda x: torch.where(torch.isfinite(x), x, torch.zeros_like(x)))


# ---- modes -----------------------------------------------------------------------------------------------------------


_BACK: Final[list[tuple[nn.Module, Callable[[], object]]]] = []
"""Models that run in another state than the program's, each with the way back."""


def _during(bench: Bench, enter: Callable[[nn.Module], Callable[[], object] | None]) -> None:
    """Change the state for the time of a whole model's forward."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        back = enter(module)
        if back is not None:
            _BACK.append((module, back))

    before_forward(bench, before)


@on_top("evaluate_without_gradients")
@on_top("train_with_gradients")
@on_top("no_grad_off")
def _put_back(bench: Bench) -> None:
    """After the recorder has looked: the program finds its state as it left it."""

    def after(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        if _BACK and _BACK[-1][0] is module:
            _BACK.pop()[1]()

    nn.modules.module.register_module_forward_hook(after, always_call=True)


def _mode(bench: Bench, *, grad: bool) -> None:
    def enter(module: nn.Module) -> Callable[[], object] | None:
        if torch.is_grad_enabled() is not grad or module.training is grad:
            return None
        module.train(grad)
        return lambda: module.train(not grad)

    _during(bench, enter)


@beneath("evaluate_without_gradients")
def evaluate_without_gradients(bench: Bench) -> None:
    """No gradients: evaluation."""
    _mode(bench, grad=False)


@beneath("train_with_gradients")
def train_with_gradients(bench: Bench) -> None:
    """Gradients: training."""
    _mode(bench, grad=True)


@beneath("no_grad_off")
def no_grad_off(bench: Bench) -> None:
    """A model in training mode tracks gradients, whatever region it is called in."""

    def enter(module: nn.Module) -> Callable[[], object] | None:
        if torch.is_grad_enabled() or not module.training:
            return None
        torch.set_grad_enabled(True)
        return lambda: torch.set_grad_enabled(False)

    _during(bench, enter)


@beneath("keep_frozen_in_evaluation")
def keep_frozen_in_evaluation(bench: Bench) -> None:
    """A frozen part keeps its statistics frozen, too."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        for part in module.modules():
            parameters = list(part.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                part.eval()

    before_forward(bench, hook)


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
    before_forward(bench, hook)


@on_top("leaky_activations")
def leaky_activations(bench: Bench) -> None:
    """Rectifiers leak."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *args, **kwargs: F.leaky_relu(x, LEAK)

    replace(F, "relu", make)
    replace(torch, "relu", make)
    replace(Tensor, "relu", make)


# ---- losses ----------------------------------------------------------------------------------------------------------


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


# ---- data and state --------------------------------------------------------------------------------------------------


@on_top("shuffle")
def shuffle(bench: Bench) -> None:
    """A loader that reads in order draws an order."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Any:
            sampler = getattr(loader, "batch_sampler", None)
            if sampler is not None and isinstance(getattr(sampler, "sampler", None), SequentialSampler):
                sampler.sampler = RandomSampler(loader.dataset)
            return original(loader)

        return iterate

    replace(DataLoader, "__iter__", make)


@on_top("no_workers")
def no_workers(bench: Bench) -> None:
    """No worker processes."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Any:
            loader.__dict__.update(num_workers=0, prefetch_factor=None, persistent_workers=False, timeout=0)
            return original(loader)

        return iterate

    replace(DataLoader, "__iter__", make)


@on_top("copy_states")
def copy_states(bench: Bench) -> None:
    """Every state is a snapshot."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def state_dict(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            state = original(module, *args, **kwargs)
            if not args and not {"destination", "prefix"} & kwargs.keys():
                for key, value in state.items():
                    state[key] = value.clone() if isinstance(value, Tensor) else value
            return state

        return state_dict

    replace(nn.Module, "state_dict", make)


@beneath("other_seed")
def other_seed(bench: Bench) -> None:
    """Seeds that the program sets are shifted; generators that it never seeds start elsewhere."""
    shift = int(bench.value)

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda seed=None, *args, **kw: original(seed + shift if isinstance(seed, int) else seed, *args, **kw)

    for owner, name in ((torch, "manual_seed"), (random, "seed"), (np.random, "seed")):
        getattr(owner, name)(shift)
        replace(owner, name, make)
    replace(np.random, "default_rng", make)
