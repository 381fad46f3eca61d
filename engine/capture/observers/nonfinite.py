"""The first value that is not a number: what made it, where, and of what."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import LossCall, Observer
from aitia.engine.capture.observers.replay_forward import extremes, find_origin, first_row
from aitia.engine.capture.observers.singular import Singular, at_singularity, find, follow, saved

MAX_FACTS: Final = 2
"""What comes after the first is mostly its consequence."""
ALWAYS: Final = 3
"""Backward calls of a site whose graph is searched for singular operations; later only at powers of two."""
HELD_ENTRIES: Final = 1_000_000
"""Larger saved tensors are not held until the step is over."""
DROPOUT: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.RReLU)
MAX_NAMES: Final = 50


class Watch(Observer):
    """One look at each loss and at each step's gradient norm; all else only when one of them is not finite."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._facts = 0
        self._model: weakref.ref[nn.Module] | None = None
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._state: Tensor | None = None
        self._autocast: tuple[str, torch.dtype] | None = None
        self._device = "cpu"
        self._random: dict[int, bool] = {}
        self._target: weakref.ref[Tensor] | None = None
        self._prediction: weakref.ref[Tensor] | None = None
        self._calls: Counter[int] = Counter()
        self._singular: dict[int, list[Singular]] = {}
        self._held: list[tuple[Singular, Tensor]] = []
        self._gradient_was_finite = True
        self._loss_was_finite = True

    def install(self) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def gradient(norm: float) -> None:
                original(norm)
                self.guard(self._stepped, norm)

            return gradient

        self.replace(self.recorder.steps, "gradient", wrap)

    # ---- what is kept of each step -------------------------------------------------------------------------------

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self._facts >= MAX_FACTS or not torch.is_grad_enabled():
            return
        self._model = weakref.ref(module)
        self._args, self._kwargs = _detached(tuple(args)), _detached(dict(kwargs))
        self._state = torch.get_rng_state() if self._draws(module) else None
        device = self._device
        self._autocast = (device, torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else None

    def _draws(self, module: nn.Module) -> bool:
        if id(module) not in self._random:
            self._random[id(module)] = any(
                isinstance(m, DROPOUT) or "Dropout" in type(m).__name__ for m in module.modules()
            )
        return module.training and self._random[id(module)]

    def after_loss(self, call: LossCall) -> None:
        self._target = weakref.ref(call.target) if isinstance(call.target, Tensor) else None
        self._prediction = weakref.ref(call.prediction)

    def before_backward(self, loss: Tensor, site: int) -> None:
        if self._facts >= MAX_FACTS or loss.is_meta or (loss.is_cuda and not self.recorder.measuring):
            return
        self._calls[site] += 1
        if not (math.isfinite(loss.item()) if loss.numel() == 1 else bool(torch.isfinite(loss.detach()).all())):
            self._loss_was_finite = False
            overflow = self.recorder.scale_of(loss) != 1.0 and not bool(torch.isnan(loss.detach()).any())
            if not overflow:  # a scaler that is still calibrating overflows on purpose
                self._explain_loss(loss, site)
            return
        n = self._calls[site]
        if loss.grad_fn is None:
            return
        if n <= ALWAYS or not n & (n - 1):
            self._remember(site, find(loss.grad_fn))
        for singular in self._singular.get(site, ()):
            node = follow(loss.grad_fn, singular)
            value = saved(node) if node is not None else None
            if value is not None and value.numel() <= HELD_ENTRIES:
                self._held.append((singular, value))

    def _remember(self, site: int, found: list[Singular]) -> None:
        """Keep the lines that an earlier look has found: only the first steps are traced."""
        places = {(s.op, s.path): s.place for s in self._singular.get(site, ())}
        self._singular[site] = [
            s if s.place is not None else Singular(s.op, s.path, places.get((s.op, s.path)), s.masked, s.exponent)
            for s in found
        ]

    def _stepped(self, norm: float) -> None:
        """The step is over and its gradient norm is known."""
        held, self._held = self._held, []
        finite = math.isfinite(norm)
        if not finite and self._gradient_was_finite and self._loss_was_finite and self._facts < MAX_FACTS:
            self._explain_gradient(held)
        self._gradient_was_finite, self._loss_was_finite = finite, True
        self._args, self._kwargs, self._state = (), {}, None

    # ---- explaining -----------------------------------------------------------------------------------------------

    def _tell(self, kind: str, where: str, place: tuple[str, int] | None, subject: str = "", **data: Any) -> None:
        self._facts += 1
        recorder = self.recorder
        step = recorder.step + (0 if where == "backward" else 1)  # a gradient is told when its step is just over
        file, line = place or user_frame() or (None, None)
        data = {"kind": kind, "where": where, **data}
        recorder.writer.fact("nonfinite", step, recorder.seconds(), subject, data, file, line)

    def _explain_gradient(self, held: list[tuple[Singular, Tensor]]) -> None:
        """The loss was finite, its gradient is not: which operation has an infinite slope where it was used?"""
        base: dict[str, Any] = {"loss_finite": True, "inputs_finite": self._bad_input() is None}
        for singular, value in held:
            hit = at_singularity(singular.op, value, singular.exponent)
            if bool(hit.any()):
                self._tell(
                    "gradient",
                    "backward",
                    singular.place,
                    op=singular.op,
                    masked=singular.masked,
                    row=first_row(hit),
                    n_singular=int(hit.sum()),
                    values=[extremes(value)],
                    **base,
                )
                return
        self._tell("gradient", "backward", None, op=None, parameters=self._bad_parameters(gradients=True), **base)

    def _explain_loss(self, loss: Tensor, site: int) -> None:
        value = float(loss.detach().float().mean())
        data: dict[str, Any] = {"loss": value, "site": site}
        bad_input = self._bad_input()
        if bad_input is not None:
            row, numbers = bad_input
            self._tell("input", "forward", None, row=row, values=[numbers], inputs_finite=False, **data)
            return
        bad = self._bad_parameters()
        if bad:
            states = self._bad_states()
            kind = "optimizer_state" if states and self._gradient_was_finite else "parameter"
            data |= {"parameters": bad, "states": states, "gradient_was_finite": self._gradient_was_finite}
            self._tell(kind, "step", None, bad[0], inputs_finite=True, **data)
            return
        target = self._target() if self._target is not None else None
        if target is not None and target.is_floating_point() and not bool(torch.isfinite(target).all()):
            row = first_row(~torch.isfinite(target))
            self._tell("target", "loss", None, row=row, values=[extremes(target)], inputs_finite=True, **data)
            return
        if self._in_forward(data) or self._in_graph(loss, site, data):
            return
        prediction = self._prediction() if self._prediction is not None else None
        values = [extremes(prediction)] if prediction is not None else []
        self._tell("loss", "loss", None, op=None, inputs_finite=True, values=values, **data)

    def _in_forward(self, data: dict[str, Any]) -> bool:
        """Run the forward of a copy again, operation by operation."""
        model = self._model() if self._model is not None else None
        if model is None:
            return False
        autocast = torch.autocast(*self._autocast) if self._autocast is not None else None
        try:
            origin = find_origin(model, self._args, self._kwargs, self._state, autocast)
        except Exception as error:  # noqa: BLE001 - not every model can be copied or called twice
            detail = f"{type(error).__name__}: {error}"
            self.recorder.fact("recorder", data={"what": "forward could not be run again", "detail": detail})
            return False
        if origin is None:
            return False
        place = origin.pop("place")
        self._tell("activation", "forward", place, origin["module"] or "", **origin, **data)
        return True

    def _in_graph(self, loss: Tensor, site: int, data: dict[str, Any]) -> bool:
        """The deepest operation that met its singular place on the way from the model's output to the loss."""
        if loss.grad_fn is None:
            return False
        self._remember(site, find(loss.grad_fn))
        for singular in sorted(self._singular[site], key=lambda s: -len(s.path)):
            node = follow(loss.grad_fn, singular)
            value = saved(node) if node is not None else None
            if value is None or bool(torch.isnan(value).any()):
                continue
            hit = at_singularity(singular.op, value, singular.exponent)
            if bool(hit.any()):
                data |= {
                    "op": singular.op,
                    "row": first_row(hit),
                    "masked": singular.masked,
                    "n_singular": int(hit.sum()),
                }
                self._tell("loss", "loss", singular.place, values=[extremes(value)], inputs_finite=True, **data)
                return True
        return False

    # ---- looking --------------------------------------------------------------------------------------------------

    def _bad_input(self) -> tuple[int | None, dict[str, Any]] | None:
        for tensor in _floating((self._args, self._kwargs)):
            bad = ~torch.isfinite(tensor)
            if bool(bad.any()):
                return first_row(bad), extremes(tensor)
        return None

    def _bad_parameters(self, gradients: bool = False) -> list[str]:
        found = []
        for entry in self.recorder.registry.parameters:
            tensor = entry.ref()
            value = tensor.grad if gradients and tensor is not None else tensor
            if value is not None and value.layout is torch.strided and not bool(torch.isfinite(value.detach()).all()):
                found.append(entry.name)
        return found[:MAX_NAMES]

    def _bad_states(self) -> list[str]:
        found = set()
        for entry in self.recorder.registry.optimizers.entries:
            optimizer = entry.ref()
            for state in (optimizer.state if optimizer is not None else {}).values():
                for name, value in state.items():
                    if (
                        isinstance(value, Tensor)
                        and value.is_floating_point()
                        and not bool(torch.isfinite(value).all())
                    ):
                        found.add(str(name))
        return sorted(found)

    def finish(self) -> None:
        self._args, self._kwargs, self._held = (), {}, []


def _detached(value: Any, depth: int = 0) -> Any:
    """The same structure without graphs; tensors keep their storage."""
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad else value
    if depth < 4:
        if type(value) is dict:
            return {k: _detached(v, depth + 1) for k, v in value.items()}
        if type(value) in {tuple, list}:
            return type(value)(_detached(v, depth + 1) for v in value)
    return value


def _floating(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.layout is torch.strided and not value.is_meta:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _floating(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _floating(item)
