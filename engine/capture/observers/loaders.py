"""Data loaders: what they are, how long the program waits for them, and in what order their samples come."""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as torch_dataloader
from torch.utils.data.sampler import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer

HASHED_BATCHES: Final = 8
"""Batches whose sample indices make the order's fingerprint; equal ones mean the shuffling repeats itself."""
LOOKED_AT: Final = 100
"""Batches whose integer tensors are noted: losses are described at their first calls."""
WHOLE: Final = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
MAX_LOADERS: Final = 64
"""A program that builds a loader at every step must not fill the run with their descriptions."""
EVERY_EPOCH: Final = 200
"""Epochs of one loader that are all told; after that only those whose number is a power of two."""


@dataclass
class _Loader:
    index: int
    told: bool = False
    epoch: int = 0
    taken: int = 0
    indices: list[str] = field(default_factory=list)
    previous: str = ""
    pending: bool = False


class Watch(Observer):
    """Patches the iterators of `torch.utils.data.DataLoader`."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._loaders: weakref.WeakKeyDictionary[Any, _Loader] = weakref.WeakKeyDictionary()
        self._iterators: weakref.WeakKeyDictionary[Any, _Loader] = weakref.WeakKeyDictionary()
        self._count = 0
        self._opening: _Loader | None = None
        """The loader whose iterator is being built: workers ask for their first indices before it exists."""
        self._untold: list[tuple[_Loader, dict[str, Any], tuple[str, int] | None]] = []
        self._datasets: dict[int, int] = {}
        self._looked = 0
        self.integers: list[tuple[int, float, str]] = []
        """Integer tensors of the last batch, in the first batches only: (entries, sum, type)."""

    def install(self) -> None:
        self.replace(DataLoader, "__iter__", self._wrap_iter)
        self.replace(torch_dataloader._BaseDataLoaderIter, "__next__", self._wrap_next)
        self.replace(torch_dataloader._BaseDataLoaderIter, "_next_index", self._wrap_index)

    def _wrap_iter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Any:
            if self.idle():
                return original(loader)
            self.guard(self._begin, loader)  # first, for workers prefetch while the iterator is being built
            iterator = original(loader)
            self.guard(self._attach, loader, iterator)
            return iterator

        return iterate

    def _wrap_next(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def following(iterator: Any) -> Any:
            if self.idle():
                return original(iterator)
            start = time.perf_counter()
            try:
                batch = original(iterator)
            except StopIteration:
                self.guard(self._close, iterator)
                raise
            self.recorder.quick(self._took, iterator, batch, time.perf_counter() - start)
            return batch

        return following

    def _wrap_index(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def next_index(iterator: Any) -> Any:
            index = original(iterator)
            self.recorder.quick(self._indexed, iterator, index)
            return index

        return next_index

    # ---- a loader begins ----------------------------------------------------------------------------------------

    def _begin(self, loader: Any) -> None:
        self._opening = None
        self.recorder.wake()  # an epoch begins, or an evaluation
        kept = self._loaders.get(loader)
        if kept is None:
            if self._count >= MAX_LOADERS:
                return
            kept = self._loaders[loader] = _Loader(self._count)
            self._count += 1
            self._untold.append((kept, self._describe(loader, kept.index), user_frame()))
            self.hear("before_root")
        else:
            self._tell_epoch(kept)
        kept.epoch += 1
        kept.taken, kept.indices, kept.pending = 0, [], True
        self._opening = kept

    def _attach(self, loader: Any, iterator: Any) -> None:
        self._opening = None
        kept = self._loaders.get(loader)
        if kept is not None:
            self._iterators[iterator] = kept

    def _describe(self, loader: Any, index: int) -> dict[str, Any]:
        sampler = loader.sampler if loader.sampler is not None else loader.batch_sampler
        shuffled = isinstance(sampler, (RandomSampler, SubsetRandomSampler, WeightedRandomSampler))
        first = self._datasets.setdefault(id(loader.dataset), index)
        return {
            "index": index,
            "batch_size": loader.batch_size,
            "n_samples": _length(loader.dataset),
            "n_batches": _length(loader),
            "shuffle": shuffled or bool(getattr(sampler, "shuffle", False)),
            "sampler": type(sampler).__name__,
            "drop_last": bool(loader.drop_last),
            "num_workers": loader.num_workers,
            "dataset": type(loader.dataset).__name__,
            "dataset_seen_as": first,  # smaller than index: another loader over the same data came before
        }

    # ---- batches ------------------------------------------------------------------------------------------------

    def _took(self, iterator: Any, batch: Any, seconds: float) -> None:
        tally = self.recorder.tally
        tally["data_s"] = tally.get("data_s", 0.0) + seconds
        self.recorder.letter("D")
        kept = self._iterators.get(iterator)
        if kept is not None:
            kept.taken += 1
        if self._looked <= LOOKED_AT:
            self._look(batch)

    def _look(self, batch: Any) -> None:
        """What a loss is given as a float may have been whole numbers before."""
        self._looked += 1
        self.integers = []
        if self._looked > LOOKED_AT:
            return
        parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, (tuple, list)) else (batch,)
        for value in parts:
            if isinstance(value, torch.Tensor) and value.dtype in WHOLE and value.device.type == "cpu":
                self.integers.append((value.numel(), float(value.sum()), str(value.dtype)[6:]))

    def _indexed(self, iterator: Any, index: Any) -> None:
        kept = self._iterators.get(iterator) or self._opening
        if kept is not None and len(kept.indices) < HASHED_BATCHES:
            kept.indices.append(repr(index))

    def _close(self, iterator: Any) -> None:
        kept = self._iterators.get(iterator)
        if kept is not None:
            self._tell_epoch(kept)

    def _tell_epoch(self, kept: _Loader) -> None:
        """The epoch that is over: its order and how much of it was taken."""
        if not kept.pending:
            return
        kept.pending = False
        order = hashlib.blake2b("|".join(kept.indices).encode(), digest_size=8).hexdigest() if kept.indices else ""
        if kept.epoch <= EVERY_EPOCH or kept.epoch & (kept.epoch - 1) == 0:
            data = {
                "index": kept.index,
                "epoch": kept.epoch,
                "order_hash": order,
                "same_as_previous": bool(order) and order == kept.previous,
                "n_taken": kept.taken,
            }
            self.recorder.fact("epoch", subject=str(kept.index), data=data)
        kept.previous = order

    # ---- around the model ---------------------------------------------------------------------------------------

    def before_root(self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self._tell_loaders(torch.is_grad_enabled())
        self.mute("before_root")

    def _tell_loaders(self, training: bool | None) -> None:
        untold, self._untold = self._untold, []
        for kept, data, where in untold:
            self.recorder.fact("loader", subject=str(kept.index), data={**data, "training": training}, where=where)

    def finish(self) -> None:
        self._tell_loaders(None)
        for kept in list(self._loaders.values()):
            self._tell_epoch(kept)


def _length(thing: Any) -> int | None:
    try:
        return len(thing)
    except (TypeError, NotImplementedError):
        return None
