"""The first value that is not a number: what made it, where, and of what.

Each step costs one look at the loss and one at the gradient norm (which is measured anyway). What a step was given is
kept by reference until it is over; only when a look finds NaN or Inf is a copy of the model run again, operation by
operation.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import LINE_MARK, LossCall, Observer, notes_of
from aitia.engine.capture.observers.held import Held, extremes, first_row, rows_of
from aitia.engine.capture.observers.nonfinite_state import bad_parameters, bad_states, update_of
from aitia.engine.capture.observers.replay_backward import find_gradient
from aitia.engine.capture.observers.replay_forward import alone, find_origin
from aitia.engine.capture.observers.singular import Singular, at_singularity, find, follow, saved

MAX_FACTS: Final = 2
"""What comes after the first is mostly its consequence."""
ALWAYS: Final = 3
"""Backward calls of a site whose graph is searched for singular operations; later only at powers of two."""
SQUARE_OVERFLOWS: Final = 1e17
"""A gradient norm whose square float32 may not hold, with room for the factors of an optimizer's averages."""
HELD_ENTRIES: Final = 1_000_000
"""Larger saved tensors are not held until the step is over."""


class Watch(Observer):
    """Two sentinels, and the searches that they set off."""

    watchful = True

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._facts = 0
        self._held = Held()
        self._loss_call: tuple[weakref.ref[Tensor], weakref.ref[Tensor], Any, str, Any] | None = None
        """Result, prediction, target, name and the label that does not count, of the last call of a loss function."""
        self._calls: Counter[int] = Counter()
        self._singular: dict[int, list[Singular]] = {}
        self._saved: list[tuple[Singular, Tensor]] = []
        self._from_the_start: list[str] | None = None
        self._gradient_was_finite = True
        self._loss_was_finite = True
        self._explained = False
        """Whether this step's bad gradient was looked into."""

    def install(self) -> None:
        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def gradient(norm: float) -> None:
                original(norm)
                self.guard(self._stepped, norm)

            return gradient

        self.replace(self.recorder.steps, "gradient", wrap)

    # ---- what is kept of each step -------------------------------------------------------------------------------

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self._facts < MAX_FACTS and torch.is_grad_enabled():
            self._held.begin(module, args, kwargs)

    def after_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        if self._facts < MAX_FACTS and torch.is_grad_enabled():
            self._held.end(output)

    def after_loss(self, call: LossCall) -> None:
        target = weakref.ref(call.target) if isinstance(call.target, Tensor) else None
        ignored = call.arguments.get("ignore_index")
        self._loss_call = weakref.ref(call.result), weakref.ref(call.prediction), target, call.function, ignored

    def before_backward(self, loss: Tensor, site: int) -> None:
        if self._facts >= MAX_FACTS or loss.is_meta or (loss.is_cuda and not self.recorder.measuring):
            return
        if self._from_the_start is None:
            self._from_the_start = [] if self.recorder.step else bad_parameters(self.recorder)
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
                self._saved.append((singular, value))

    def _remember(self, site: int, found: list[Singular]) -> None:
        """Keep the lines that an earlier look has found: only the first steps are traced."""
        places = {(s.op, s.path): s.place for s in self._singular.get(site, ())}
        self._singular[site] = [
            s if s.place is not None else Singular(s.op, s.path, places.get((s.op, s.path)), s.masked, s.exponent)
            for s in found
        ]

    def bad_gradient(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Before the step spoils the weights."""
        self._explained = True
        if self._gradient_was_finite and self._loss_was_finite and self._facts < MAX_FACTS:
            self._explain_gradient(step)

    def _stepped(self, norm: float) -> None:
        """The step is over and its gradient norm is known (on a device or with a closure: only now)."""
        finite = math.isfinite(norm)
        if not finite and not self._explained:
            self.bad_gradient(None, self.recorder.step)  # type: ignore[arg-type]  # which optimizer is not used
        if finite and norm > SQUARE_OVERFLOWS and self._facts < MAX_FACTS and (states := bad_states(self.recorder)):
            self._explain_state(states, norm)
        self._saved = []
        self._gradient_was_finite, self._loss_was_finite, self._explained = finite, True, False
        self._held.clear()

    # ---- explaining -----------------------------------------------------------------------------------------------

    def _tell(
        self, kind: str, where: str, place: tuple[str, int] | None, subject: str = "", step: int = 0, **data: Any
    ) -> None:
        self._facts += 1
        recorder = self.recorder
        file, line = place or user_frame() or (None, None)
        data = {"kind": kind, "where": where, **data}
        entered = (data.get("values") or [{}])[0]
        data |= {"input_min": entered.get("min"), "input_max": entered.get("max")}
        data["module"] = subject if kind in {"activation", "loss", "gradient"} else data.get("module", "")
        recorder.writer.fact("nonfinite", step or recorder.step + 1, recorder.seconds(), subject, data, file, line)

    def _explain_gradient(self, step: int) -> None:
        """The loss was finite, its gradient is not: which operation has an infinite slope where it was used?"""
        inputs_finite = all(call.bad_input() is None for call in self._held.calls)
        base: dict[str, Any] = {"loss_finite": True, "inputs_finite": inputs_finite, "step": step}
        if self._in_backward(base):
            return
        for singular, value in self._saved:
            hit = at_singularity(singular.op, value, singular.exponent)
            if bool(hit.any()):
                data = base | {"op": singular.op, "masked": singular.masked, "row": first_row(hit)}
                data |= {"n_singular": int(hit.sum()), "values": [extremes(value)]}
                self._tell("gradient", "backward", singular.place, **data)
                return
        arrived = next((g for c in self._held.calls if (g := c.bad_gradient()) is not None), None)
        if arrived is not None:  # made between the model's output and the loss, by something that is not known
            base |= {"row": first_row(~torch.isfinite(arrived)), "values": [extremes(arrived)], "from_loss": True}
        self._tell("gradient", "backward", None, op=None, parameters=bad_parameters(self.recorder, True), **base)

    def _in_backward(self, data: dict[str, Any]) -> bool:
        """Run forward and backward of a copy again, from the gradients that the outputs got."""
        for call in self._held.calls:
            model = call.model()
            if model is None or not call.gradients or call.bad_gradient() is not None:
                continue
            origin = self._attempt("backward could not be run again", find_gradient, model, call)
            if origin is not None:
                place = origin.pop("place")
                subject = self._name(model, origin["module"])
                self._tell("gradient", "backward", place, subject, **{**data, **origin, "replayed": True})
                return True
        return False

    def _explain_loss(self, loss: Tensor, site: int) -> None:
        value = float(loss.detach().float().mean())
        data: dict[str, Any] = {"loss": value, "site": site}
        for call in self._held.calls:
            bad_input = call.bad_input()
            if bad_input is not None and not bad_input.requires_grad:  # what another model made is no input
                row = first_row(~torch.isfinite(bad_input), rows_of(call.args, call.kwargs))
                self._tell("input", "forward", None, row=row, values=[extremes(bad_input)], inputs_finite=False, **data)
                return
        bad = bad_parameters(self.recorder)
        if bad:
            self._explain_parameter(bad, data)
            return
        target = self._loss_call[2]() if self._loss_call is not None and self._loss_call[2] is not None else None
        if target is not None and target.is_floating_point() and not bool(torch.isfinite(target).all()):
            row = first_row(~torch.isfinite(target))
            self._tell("target", "loss", None, row=row, values=[extremes(target)], inputs_finite=True, **data)
            return
        if not self._in_forward(data) and not self._in_graph(loss, site, data):
            self._in_loss(data)

    def _explain_parameter(self, bad: list[str], data: dict[str, Any]) -> None:
        """A parameter is not finite: it never was, or the last step made it so."""
        recorder = self.recorder
        states, always = bad_states(recorder), bad[0] in (self._from_the_start or ())
        kind = "optimizer_state" if states and self._gradient_was_finite and not always else "parameter"
        data |= {"parameters": bad, "states": states, "gradient_was_finite": self._gradient_was_finite}
        used = next((o for c in self._held.calls if (o := self._replayed(c, any_input=True)) is not None), None) or {}
        data |= {"row": used.get("row"), "module": used.get("subject", "")}
        if always:
            data |= {"op": used.get("op"), "values": used.get("values", [])}
            self._tell(kind, "setup", None, bad[0], inputs_finite=True, **data)
            return
        data |= update_of(recorder, bad[0])
        self._tell(kind, "step", None, bad[0], step=max(1, recorder.step), inputs_finite=True, **data)

    def _explain_state(self, states: list[str], norm: float) -> None:
        """A gradient is finite and its square is not: an optimizer that divides by it stands still from now on."""
        recorder = self.recorder
        names = [e.name for e in recorder.registry.parameters if e.held]
        found = next(((n, u) for n in names if (u := update_of(recorder, n)).get("n_bad_state")), None)
        name, update = found or ("", {})
        data = {"states": states, "gradient_was_finite": True, "loss_finite": True, "grad_norm": norm, **update}
        self._tell("optimizer_state", "step", None, name, step=recorder.step, inputs_finite=True, **data)

    def _in_forward(self, data: dict[str, Any]) -> bool:
        """Run the forward of a copy again, operation by operation."""
        for call in self._held.calls:
            origin = self._replayed(call)
            if origin is not None:
                place, subject = origin.pop("place"), origin.pop("subject")
                self._tell("activation", "forward", place, subject, **{**data, **origin, "replayed": True})
                return True
        return False

    def _replayed(self, call: Any, any_input: bool = False) -> dict[str, Any] | None:
        model = call.model()
        if model is None:
            return None
        found = self._attempt("forward could not be run again", find_origin, model, call, any_input)
        return None if found is None else {**found, "subject": self._name(model, found["module"])}

    def _attempt(self, what: str, search: Callable[..., Any], *args: Any) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] | None = search(*args)
        except Exception as error:  # noqa: BLE001 - not every model can be copied or called twice
            self.recorder.fact("recorder", data={"what": what, "detail": f"{type(error).__name__}: {error}"})
            return None
        return found

    def _name(self, model: nn.Module, within: str | None) -> str:
        """The recording's name of a module of a copy; empty for the model itself and what lies outside of it."""
        inner = alone(model)
        original = dict(inner.named_modules()).get(within or "")
        return (
            (self.recorder.name_of(original) if original is not None and original is not inner else None)
            or within
            or ""
        )

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
                data |= {"op": singular.op, "row": first_row(hit), "masked": singular.masked}
                data |= {"n_singular": int(hit.sum()), "values": [extremes(value)], "inputs_finite": True}
                self._tell("loss", "loss", singular.place, **data)
                return True
        return False

    def _in_loss(self, data: dict[str, Any]) -> None:
        """Neither the model nor a known operation: the loss function itself, where it was one of torch's."""
        prediction = target = None
        if self._loss_call is not None:
            result, predicted, of, name, ignored = self._loss_call
            value, prediction, target = result(), predicted(), of() if of is not None else None
            if value is not None and not bool(torch.isfinite(value.detach()).all()):
                data |= {"op": name, "row": first_row(~torch.isfinite(value.detach()))}
                data["place"] = (notes_of(value) or {}).get(LINE_MARK)
                if isinstance(ignored, int) and target is not None:
                    data["counted"] = int((target != ignored).sum())
        values = [extremes(t) for t in (prediction, target) if isinstance(t, Tensor) and t.is_floating_point()]
        place = data.pop("place", None)
        self._tell("loss", "loss", place, values=values, **({"op": None, "inputs_finite": True} | data))

    def finish(self) -> None:
        self._held.clear()
        self._saved = []
