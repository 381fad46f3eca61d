"""Changes of what flows in: inputs, data order, states, seeds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from aitia.engine.replay.bench import Bench, before_forward, beneath, on_top, replace


def _inputs(change: Callable[[Tensor], Tensor]) -> None:
    """Change the first floating-point argument of every model."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        for index, value in enumerate(args):
            if isinstance(value, Tensor) and value.is_floating_point():
                return (*args[:index], change(value), *args[index + 1 :])
        return None

    before_forward(hook)


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

    _inputs(change)


@beneath("replace_nonfinite_inputs")
def replace_nonfinite_inputs(bench: Bench) -> None:
    """What is not finite becomes 0 before the model sees it."""
    _inputs(lambda x: torch.where(torch.isfinite(x), x, torch.zeros_like(x)))


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
