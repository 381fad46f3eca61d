"""After the training: experiments on a copy of the model, within a small budget of time."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

from aitia.engine.capture.observers.base import LossCall, Observer
from aitia.engine.capture.observers.probe_set import NEED_STEADY, PROBES, SAMPLES, Subject, first_float
from aitia.engine.capture.observers.replay_forward import alone, quiet

SHARE: Final = 0.02
"""Share of the run's time that experiments may take …"""
AT_LEAST: Final = 0.5
"""… but at least half a second, for short runs are the ones that are debugged …"""
AT_MOST: Final = 5.0
"""… and at most five."""
LARGEST_MODEL: Final = 256_000_000
"""Bytes of a model that is kept until the end and copied."""
LARGEST_BATCH: Final = 64_000_000
"""Bytes of a batch that is kept."""
FORWARDS: Final = {
    "two_evals": 3, "unit_symmetry": 1, "batch_mixing": 2, "affine": 4, "causal": 3, "position": 3, "later_inputs": 5,
    "train_eval_gap": 2, "fit_one_batch": 120,
}  # fmt: skip
"""Forwards that an experiment costs; learning one batch: 30 steps of forward and backward, with the optimizer."""


_Loss = tuple[Callable[..., Any], dict[str, Any], torch.Size]
"""A loss function, its arguments but for the prediction, and the prediction's shape."""


class Watch(Observer):
    """Keeps the last training batch and the model it was for; the model is let go when another one trains."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._model: nn.Module | None = None
        """The model of the last backward."""
        self._seen: nn.Module | None = None
        self._sizes: dict[int, int] = {}
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._batch: tuple[tuple[Any, ...], dict[str, Any], _Loss | None] = ((), {}, None)
        """Positional and keyword inputs and the loss of the last backward."""
        self._output: Tensor | None = None
        self._loss: _Loss | None = None
        self._begun = 0.0
        self._forward_s = 0.0
        """What the last forward of the program took."""

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self._begun = time.perf_counter()

    def after_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        if not self.recorder.measuring or not torch.is_grad_enabled():
            return
        if id(module) not in self._sizes:
            self._sizes[id(module)] = sum(p.numel() * p.element_size() for p in module.parameters())
        if self._sizes[id(module)] > LARGEST_MODEL:
            return
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        if not tensors or sum(t.numel() * t.element_size() for t in tensors) > LARGEST_BATCH:
            return
        self._seen, self._loss, self._forward_s = module, None, time.perf_counter() - self._begun
        self._args = tuple(a.detach() if isinstance(a, Tensor) else a for a in args)
        self._kwargs = {k: v.detach() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        found = first_float(output)
        self._output = found.detach() if found is not None else None

    def after_loss(self, call: LossCall) -> None:
        """The loss can be rebuilt when its prediction is the model's output, reshaped at most."""
        output, self._output = self._output, None
        if output is None:
            return
        prediction = call.prediction
        if not call.grad or prediction.numel() != output.numel():
            return
        if prediction.data_ptr() != output.data_ptr() or not prediction.is_contiguous() or not output.is_contiguous():
            return
        others = {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in call.arguments.items()
            if value is not prediction
        }
        key = next((name for name, value in call.arguments.items() if value is prediction), None)
        if key == "input":
            self._loss = (getattr(F, call.function), others, prediction.shape)

    def before_backward(self, loss: Tensor, site: int) -> None:
        if self._seen is not None:
            self._model, self._batch = self._seen, (self._args, self._kwargs, self._loss)
            self._seen, self._args, self._kwargs = None, (), {}

    def finish(self) -> None:
        model, self._model = self._model, None
        args, kwargs, loss = self._batch
        self._batch, self._seen, self._args, self._kwargs = ((), {}, None), None, (), {}
        self._output = self._loss = None
        if model is None or not _finite(model):  # a program that never steps has a model all the same
            return
        run_s = self.recorder.seconds()
        budget = min(AT_MOST, max(AT_LEAST, SHARE * run_s))
        started = time.perf_counter()
        made, skipped = self._within(model, args, kwargs, loss, started + budget)
        took = time.perf_counter() - started
        data = {"budget_s": budget, "took_s": took, "run_s": run_s, "made": made, "skipped": skipped}
        self.recorder.fact("probes", data=data)

    def _within(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: _Loss | None, deadline: float
    ) -> tuple[int, int]:
        """Make what fits in before the deadline: how many experiments were made, how many were left out."""
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                twin = copy.deepcopy(alone(model))
            except Exception as error:  # noqa: BLE001 - not every model can be copied
                self.recorder.fact("recorder", data={"what": "model could not be copied", "detail": str(error)[:500]})
                return 0, 0
            for module in twin.modules():
                module._forward_hooks.clear()  # the program's own hooks may keep what they see
            subjects = _subjects(twin, args, kwargs, loss)
            return self._experiment(*subjects, deadline) if subjects is not None else (0, 0)

    def _experiment(self, few: Subject, whole: Subject, deadline: float) -> tuple[int, int]:
        steady, cost, made, skipped = True, self._forward_s, 0, 0
        for probe in PROBES:
            name = probe.__name__
            if (name in NEED_STEADY and not steady) or (name == "fit_one_batch" and whole.loss is None):
                continue
            start = time.perf_counter()
            if start + cost * FORWARDS[name] > deadline:
                skipped += 1
                self.recorder.fact("probe", data={"name": name, "skipped": "no time left"})
                continue
            try:
                result = _made(probe, few, whole)
            except Exception as error:  # noqa: BLE001 - an experiment may ask of a model what it cannot do
                result = {"failed": f"{type(error).__name__}: {error}"[:300]}
            took = time.perf_counter() - start
            made += 1
            if name == "two_evals" and result is not None:
                steady = not result.get("differ", True)
                start = time.perf_counter()  # the first forward of a copy is slower than those that follow
                whole.output()
                cost = time.perf_counter() - start
            if result is not None:
                self.recorder.fact("probe", data={"name": name, **result, "seconds": took})
        return made, skipped


def _made(probe: Callable[[Subject], dict[str, Any] | None], few: Subject, whole: Subject) -> dict[str, Any] | None:
    """What an experiment found; that two evaluations agree is also asked of a model that takes no part of a batch."""
    if probe.__name__ in {"fit_one_batch", "train_eval_gap"}:
        return probe(whole)
    try:
        return probe(few)
    except Exception:
        if probe.__name__ != "two_evals":
            raise
        return probe(whole)


def _finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(p.detach()).all()) for p in model.parameters() if p.is_floating_point())


def _subjects(
    twin: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: _Loss | None
) -> tuple[Subject, Subject] | None:
    """The batch cut to a few samples, and the whole batch with the program's own loss."""
    at: int | str | None = next((i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dim()), None)
    if at is None:
        at = next((k for k, v in kwargs.items() if isinstance(v, Tensor) and v.dim()), None)
    if at is None:
        return None
    n = (args[at] if isinstance(at, int) else kwargs[at]).shape[0]

    def cut(value: Any) -> Any:
        return value[:SAMPLES] if isinstance(value, Tensor) and value.dim() and value.shape[0] == n else value

    rebuilt: Callable[[Tensor], Tensor] | None = None
    if loss is not None:
        function, others, shape = loss

        def rebuilt(output: Tensor) -> Tensor:
            value: Tensor = function(output.reshape(shape), **others)
            return value

    few = Subject(twin, tuple(cut(a) for a in args), {k: cut(v) for k, v in kwargs.items()}, at)
    return few, Subject(twin, args, kwargs, at, rebuilt)
