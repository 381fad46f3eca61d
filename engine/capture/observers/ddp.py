"""Data parallelism: what wraps the model, which forwards go around it, which collectives the program calls itself."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aitia.engine.capture import stats
from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer
from aitia.engine.capture.session import group_name

COLLECTIVES: Final = (
    "all_reduce", "all_gather", "all_gather_object", "all_gather_into_tensor", "reduce", "gather", "gather_object",
    "broadcast", "broadcast_object_list", "reduce_scatter_tensor",
)  # fmt: skip
SHARDED: Final = frozenset({"DTensor", "FlatParameter"})
"""Parameters of which every rank holds another part."""
WATCHED: Final = 4
"""Gradients of each step whose size is followed from the collective to the step."""
FACTORS: Final = 50
"""Such observations that are kept."""


class Watch(Observer):
    """Patches `torch.distributed` and `DistributedDataParallel`; talks to nobody."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._inner: dict[int, weakref.ref[nn.Module]] = {}
        self._counts = {"wrapped": 0, "bare": 0, "joined": 0, "gradients": 0, "parameters": 0}
        self._collectives: Counter[str] = Counter()
        self._ops: Counter[str] = Counter()
        self._bare_at: tuple[str, int] | None = None
        self._reduce_at: tuple[str, int] | None = None
        self._owners: dict[int, bool] | None = None
        """Storage address → whether it is a gradient's (else a parameter's), while no step changes them."""
        self._reduced: list[tuple[Tensor, float]] = []
        self._factors: list[float] = []

    def install(self) -> None:
        if not dist.is_available():
            return
        if dist.is_initialized():
            self._joined()
        self.replace(dist, "init_process_group", self._wrap_join)
        for name in COLLECTIVES:
            self.replace(dist, name, self._wrap_collective(name))
        self.replace(DistributedDataParallel, "__init__", self._wrap_build)
        self.replace(DistributedDataParallel, "join", self._wrap_uneven)

    # ---- wrappers ------------------------------------------------------------------------------------------------

    def _wrap_join(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init_process_group(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if not self.recorder.off:
                self.guard(self._joined)
            return result

        return init_process_group

    def _joined(self) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        self.recorder.writer.update(rank=rank, world_size=world, group=group_name() if world > 1 else None)
        self.recorder.fact("process_group", data={"rank": rank, "world": world})

    def _wrap_collective(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def collective(*args: Any, **kwargs: Any) -> Any:
                result = original(*args, **kwargs)
                if not self.idle():
                    self.guard(self._called, name, args, kwargs, result)
                return result

            return collective

        return wrap

    def _wrap_build(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(wrapper: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:
            original(wrapper, module, *args, **kwargs)
            if not self.idle():
                self.guard(self._built, module)

        return init

    def _wrap_uneven(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def join(*args: Any, **kwargs: Any) -> Any:
            self._counts["joined"] += 1
            return original(*args, **kwargs)

        return join

    # ---- what they see -------------------------------------------------------------------------------------------

    def _built(self, module: nn.Module) -> None:
        self._inner[id(module)] = weakref.ref(module)
        names = [n for n, p in module.named_parameters() if p.requires_grad]
        self.recorder.fact("ddp_built", data={"cls": type(module).__name__, "n_parameters": len(names)})

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        if not torch.is_grad_enabled() or not module.training:
            return
        if isinstance(module, DistributedDataParallel):
            self._counts["wrapped"] += 1
        elif (known := self._inner.get(id(module))) is not None and known() is module:
            self._counts["bare"] += 1
            self._bare_at = self._bare_at or user_frame()

    def _called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        self._collectives[name] += 1
        tensor = args[0] if args else kwargs.get("tensor")
        if name != "all_reduce" or not isinstance(tensor, Tensor):
            return
        owner = self._owner(tensor)
        if owner is None:
            return
        self._counts["gradients" if owner else "parameters"] += 1
        if not owner:
            return
        op = kwargs.get("op", args[1] if len(args) > 1 else dist.ReduceOp.SUM)
        self._ops[str(op).rpartition(".")[2].lower()] += 1
        self._reduce_at = self._reduce_at or user_frame()
        if result is None and len(self._reduced) < WATCHED and (size := _size(tensor)) > 0:
            self._reduced.append((tensor, size))

    def _owner(self, tensor: Tensor) -> bool | None:
        if self._owners is None:
            self._owners = {}
            for entry in self.recorder.registry.parameters:
                parameter = entry.ref()
                if parameter is not None:
                    self._owners[parameter.data_ptr()] = False
                    if parameter.grad is not None:
                        self._owners[parameter.grad.data_ptr()] = True
        return self._owners.get(tensor.data_ptr())

    def after_backward(self, loss: Tensor, site: int) -> None:
        self._owners = None

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """By how much summed gradients were scaled until they are used."""
        reduced, self._reduced, self._owners = self._reduced, [], None
        if len(self._factors) < FACTORS:
            self._factors += [_size(t) / size for t, size in reduced]

    def finish(self) -> None:
        if not dist.is_available() or not (
            self._inner or self._collectives or self.recorder.writer.info.world_size > 1
        ):
            return
        factors = sorted(self._factors)
        data: dict[str, Any] = {**self._counts, "collectives": dict(self._collectives), "ops": dict(self._ops)}
        data["sharded"] = any(
            type(t).__name__ in SHARDED for e in self.recorder.registry.parameters if (t := e.ref()) is not None
        )
        data["factor"] = factors[len(factors) // 2] if factors else None
        self.recorder.fact("ddp_use", data=data, where=self._bare_at or self._reduce_at)


def _size(tensor: Tensor) -> float:
    array = stats.host(tensor)
    if array is not None:
        return float(stats.sum_of_squares(stats.flat(array)) ** 0.5) if array.size else 0.0
    return float(torch.linalg.vector_norm(tensor.detach().float()))
