"""Changes of the optimizer, the rate, and the order of calls around a step."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.utils import checkpoint

from aitia.engine.replay.bench import (
    Bench,
    around_backward,
    around_steps,
    before_forward,
    beneath,
    on_top,
    replace,
)


def _for_one_step(key: str, change: Callable[[Any, int], Any]) -> None:
    """A hyperparameter is another one during each step, and the program's own between steps."""
    kept: dict[tuple[int, int], Any] = {}
    taken: dict[int, int] = {}

    def before(optimizer: Optimizer) -> None:
        number = taken[id(optimizer)] = taken.get(id(optimizer), 0) + 1
        for index, group in enumerate(optimizer.param_groups):
            if key in group:
                kept[id(optimizer), index] = group[key]
                group[key] = change(group[key], number)

    def after(optimizer: Optimizer) -> None:
        for index, group in enumerate(optimizer.param_groups):
            if (id(optimizer), index) in kept:
                group[key] = kept.pop((id(optimizer), index))

    around_steps(before, after)


@beneath("scale_rate")
def scale_rate(bench: Bench) -> None:
    """Another rate in every step; schedulers go on undisturbed."""
    _for_one_step("lr", lambda lr, _: lr * bench.value)


@beneath("cap_rate")
def cap_rate(bench: Bench) -> None:
    """A bound for the rate."""
    _for_one_step("lr", lambda lr, _: min(lr, bench.value))


@beneath("warm_up")
def warm_up(bench: Bench) -> None:
    """A linear start."""
    _for_one_step("lr", lambda lr, number: lr * min(1.0, number / max(1.0, bench.value)))


@beneath("no_weight_decay")
def no_weight_decay(bench: Bench) -> None:
    """No decay in any group."""
    _for_one_step("weight_decay", lambda decay, _: 0.0)


@beneath("larger_epsilon")
def larger_epsilon(bench: Bench) -> None:
    """A floor for eps."""
    _for_one_step("eps", lambda eps, _: max(eps, bench.value) if isinstance(eps, float) else eps)


@on_top("constant_rate")
def constant_rate(bench: Bench) -> None:
    """Schedulers set the first rate when they are built, and nothing afterwards."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(scheduler, "_step_count", 0) < 1:
                return original(scheduler, *args, **kwargs)
            return None

        return step

    kinds = [lr_scheduler.LRScheduler, *lr_scheduler.LRScheduler.__subclasses__()]
    for kind in kinds:
        if "step" in vars(kind):
            replace(kind, "step", make)


def _gradients(optimizer: Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


@beneath("clip_gradients")
def clip_gradients(bench: Bench) -> None:
    """Clip by norm, with torch's own function as it was before the recorder."""
    clip = nn.utils.clip_grad_norm_

    def before(optimizer: Optimizer) -> None:
        clip(_gradients(optimizer), bench.value)

    around_steps(before)


@beneath("scale_gradients")
def scale_gradients(bench: Bench) -> None:
    """Multiply what enters the step."""

    def before(optimizer: Optimizer) -> None:
        for parameter in _gradients(optimizer):
            if parameter.grad is not None:
                parameter.grad.mul_(bench.value)

    around_steps(before)


def _leaves(root: torch.Tensor) -> list[nn.Parameter]:
    """Parameters at the ends of a graph."""
    seen, queue, found = set(), [root.grad_fn], []
    while queue:
        node: Any = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, nn.Parameter):
            found.append(variable)
        queue += [following for following, _ in node.next_functions]
    return found


@beneath("add_missing_parameters")
def add_missing_parameters(bench: Bench) -> None:
    """What has a gradient and no optimizer gets the first optimizer that steps after it."""
    used: dict[int, nn.Parameter] = {}
    optimizers: dict[int, Optimizer] = {}

    def before(optimizer: Optimizer) -> None:
        if id(optimizer) not in optimizers:
            optimizers.update({id(o): o for o in gc.get_objects() if isinstance(o, Optimizer)})
        held = {id(p) for o in optimizers.values() for group in o.param_groups for p in group["params"]}
        missing = [p for key, p in used.items() if key not in held]
        if missing:
            optimizer.add_param_group({"params": missing})
        used.clear()

    around_backward(before=lambda root: used.update({id(p): p for p in _leaves(root)}))
    around_steps(before)


@beneath("unfreeze")
def unfreeze(bench: Bench) -> None:
    """Everything asks for gradients from the first forward on."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        for name, parameter in module.named_parameters():
            if bench.concerns(name) and parameter.is_floating_point():
                parameter.requires_grad_(True)

    before_forward(hook)
    add_missing_parameters(bench)


@beneath("reinitialise")
def reinitialise(bench: Bench) -> None:
    """The first forward of every model finds its accused layers as torch builds them."""
    done: set[int] = set()

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        if id(module) in done:
            return
        done.add(id(module))
        for name, part in module.named_modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset) and bench.concerns(name):
                reset()
            elif bench.concerns(name):
                for parameter in part.parameters(recurse=False):
                    nn.init.ones_(parameter) if parameter.dim() < 2 else nn.init.xavier_uniform_(parameter)

    before_forward(hook)


# ---- order of calls --------------------------------------------------------------------------------------------------


@on_top("zero_gradients")
def zero_gradients(bench: Bench) -> None:
    """The first backward after a step starts from nothing."""
    stepped: dict[int, Optimizer] = {}

    def before(root: torch.Tensor) -> None:
        for optimizer in stepped.values():
            optimizer.zero_grad()
        stepped.clear()

    around_steps(lambda optimizer: stepped.update({id(optimizer): optimizer}))
    around_backward(before)


@on_top("keep_gradients")
def keep_gradients(bench: Bench) -> None:
    """Between a backward and the next step `zero_grad` does nothing."""
    pending = [False]

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> Any:
            return None if pending[0] else original(owner, *args, **kwargs)

        return zero_grad

    def set_to(value: bool) -> None:
        pending[0] = value

    around_backward(after=lambda root: set_to(True))
    around_steps(lambda optimizer: None, lambda optimizer: set_to(False))
    replace(Optimizer, "zero_grad", make)
    replace(nn.Module, "zero_grad", make)


@on_top("step_after_backward")
def step_after_backward(bench: Bench) -> None:
    """All optimizers step after each backward, and start the next one from nothing."""
    known: list[Optimizer] = []

    def after(root: torch.Tensor) -> None:
        if not known:
            known.extend(o for o in gc.get_objects() if isinstance(o, Optimizer))
        for optimizer in known:
            if _gradients(optimizer):
                optimizer.step()
                optimizer.zero_grad()

    around_backward(after=after)


@on_top("negate_loss")
def negate_loss(bench: Bench) -> None:
    """Backward starts from -1 instead of 1."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
            if isinstance(tensors, torch.Tensor) and grad_tensors is None and tensors.numel() == 1:
                grad_tensors = -torch.ones_like(tensors)
            return original(tensors, grad_tensors, *args, **kwargs)

        return backward

    replace(torch.autograd, "backward", make)


@on_top("no_retained_graph")
def no_retained_graph(bench: Bench) -> None:
    """`retain_graph` is taken for False."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(
            tensor: torch.Tensor, gradient: Any = None, retain_graph: Any = None, *args: Any, **kw: Any
        ) -> Any:
            return original(tensor, gradient, None, *args, **kw)

        return backward

    replace(torch.Tensor, "backward", make)


@on_top("checkpoint_without_reentry")
def checkpoint_without_reentry(bench: Bench) -> None:
    """The variant of checkpointing that needs no input with a gradient."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(function: Any, *args: Any, **kwargs: Any) -> Any:
            return original(function, *args, **{**kwargs, "use_reentrant": False})

        return run

    replace(checkpoint, "checkpoint", make)
