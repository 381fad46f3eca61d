"""Random generators that a data set owns: every worker process gets a copy, and each copy draws the same numbers."""

from __future__ import annotations

import copy
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader

from aitia.engine.capture.observers.base import Observer
from aitia.engine.capture.observers.replay_forward import quiet

GENERATORS: Final = (np.random.Generator, np.random.RandomState, random.Random)
MAX_LOADERS: Final = 8


class Watch(Observer):
    """When the program is over, asks shallow copies of such a data set for a sample, three times.

    Not before: a sample that is asked for early could count, cache or log in the program's own code.
    """

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._loaders: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
        self._found: list[tuple[Any, dict[str, Any]]] = []
        """Data sets (kept until the end; a loader in a function is gone by then) and what is known of their loaders."""

    def install(self) -> None:
        self.replace(DataLoader, "__iter__", self._wrap_iter)

    def _wrap_iter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Any:
            if not self.idle():
                self.guard(self._begin, loader)
            return original(loader)

        return iterate

    def _begin(self, loader: Any) -> None:
        if loader in self._loaders:
            self._loaders[loader]["epochs"] += 1
        elif loader.num_workers and len(self._found) < MAX_LOADERS and any(True for _ in owned(loader.dataset)):
            data = self._loaders[loader] = {"epochs": 1, "workers": loader.num_workers}
            data["persistent"] = bool(loader.persistent_workers)
            self._found.append((loader.dataset, data))

    def finish(self) -> None:
        for dataset, data in self._found:
            self.recorder.fact("worker_randomness", data={**data, **experiment(dataset)})
        self._found.clear()


def experiment(dataset: Any) -> dict[str, Any]:
    """Is a sample random, and is it the same from two fresh copies though torch and numpy are seeded differently?"""
    with quiet():
        first = fresh(dataset)
        one, other = first[0], first[0]
        torch.default_generator.manual_seed(1)  # of the CPU alone: that one is put back
        np.random.seed(1)
        again = fresh(dataset)[0]
    names = [name for _, name, _ in owned(dataset)]
    return {"generators": names, "random": not same(one, other), "repeated": same(one, again)}


def owned(dataset: Any) -> Iterator[tuple[Any, str, Any]]:
    """(holder, name, generator): attributes of a data set, of its transform, of what it wraps."""
    for holder in (dataset, getattr(dataset, "dataset", None), getattr(dataset, "transform", None)):
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if isinstance(value, GENERATORS):
                yield holder, name, value


def fresh(dataset: Any) -> Any:
    """The data set as a worker gets it: its generators are copies of the originals; its data are shared."""
    twins: dict[int, Any] = {id(holder): copy.copy(holder) for holder, _, _ in owned(dataset)}
    for holder, name, value in owned(dataset):
        setattr(twins[id(holder)], name, copy.deepcopy(value))
    outer = twins.get(id(dataset)) or copy.copy(dataset)
    for name in ("dataset", "transform"):
        inner = twins.get(id(getattr(dataset, name, None)))
        if inner is not None:
            setattr(outer, name, inner)
    return outer


def same(a: Any, b: Any) -> bool:
    """Equal samples: tensors, arrays, numbers, and containers of these."""
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    return bool(a == b)
