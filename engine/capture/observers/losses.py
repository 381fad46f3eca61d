"""The loss functions of `torch.nn.functional`: each call's value, what entered it, how well it fits."""

from __future__ import annotations

import inspect
import math
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor

from aitia.engine.capture.frames import user_file, user_frame
from aitia.engine.capture.observers.base import SITE_MARK, LossCall, Observer, found_near, mark
from aitia.engine.capture.observers.loss_facts import WITH_CLASS_IDS, alignment, call_facts
from aitia.engine.capture.observers.loss_stats import COLUMNS, confusion, measure, rows_of
from aitia.engine.records import LossSite

FUNCTIONS: Final = (
    "cross_entropy",
    "nll_loss",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
    "gaussian_nll_loss",
    "poisson_nll_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "hinge_embedding_loss",
    "soft_margin_loss",
    "multilabel_soft_margin_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "ctc_loss",
)
ENDS: Final = 8
"""Batches whose ends are compared: enough to tell a habit from chance."""
ALWAYS: Final = 200
"""Calls of a site that are measured in full before the budget decides."""
SHARE: Final = 0.01
"""Share of the run's time that measuring losses of evaluations may take after that; those of steps are measured when
the step is."""
ALLOWANCE: Final = 1.0
"""Seconds that it may take in all before that share counts, so that short runs are seen whole."""
PENDING: Final = 64
"""Measured rows that wait on the device before one transfer brings them over."""
MAX_VALUE_ROWS: Final = 200_000
"""Calls of one site beyond which only measured calls are kept: a row costs 200 bytes."""
MAX_FACTS: Final = 12
"""`loss_call` facts of one site; shapes that change at every call would otherwise flood the run."""
DECAY: Final = 0.98
"""Old calls count less in the table of confusions, so that it shows how the training ended."""


@dataclass
class _Site:
    index: int
    function: str
    calls: int = 0
    signatures: set[tuple[Any, ...]] = field(default_factory=set)
    offset: int | None = None
    ends: list[tuple[int, int]] = field(default_factory=list)
    """(targets of a sequence, fewest ignored at its end), batch by batch."""
    confusions: dict[bool, Tensor] = field(default_factory=dict)


class Watch(Observer):
    """Wraps the functional losses; `nn.…Loss` modules reach them through `torch.nn.functional`."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._sites: dict[tuple[str, str, int, int], _Site] = {}
        """By function and place; two calls on one line are two instructions."""
        self._inside = False
        self._wrapped: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = []
        self._training = True
        self._sequences: int | None = None
        """Sequences in the input of the model that ran last, where it was given token ids."""
        self._tokens: list[weakref.ref[Tensor]] = []
        """What may be token ids among its inputs: those of a source, of what was said so far, of types."""
        self._spent = 0.0
        self._started = time.perf_counter()
        self._pending: list[tuple[dict[str, float | int], Tensor, Tensor | None]] = []

    def install(self) -> None:
        self.recorder.site_of = self.site_of
        self.replace(torch.jit, "script", self._wrap_script)
        for name in FUNCTIONS:
            original = getattr(F, name, None)
            if original is None:
                continue
            parameters = tuple(inspect.signature(original).parameters)
            self.replace(F, name, partial(self._wrap, name, parameters))
            self._wrapped.append((name, original, getattr(F, name)))
            self.replace_bound(name, original, getattr(F, name), F)

    def _wrap_script(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """TorchScript compiles the source of every function it meets, and cannot compile our wrappers."""

        def script(obj: Any, optimize: None = None, _frames_up: int = 0, *args: Any, **kwargs: Any) -> Any:
            for name, plain, wrapped in self._wrapped:
                if getattr(F, name) is wrapped:
                    setattr(F, name, plain)
            try:
                return original(obj, optimize, _frames_up + 1, *args, **kwargs)
            finally:
                for name, plain, wrapped in self._wrapped:
                    if getattr(F, name) is plain:
                        setattr(F, name, wrapped)

        return script

    def _wrap(self, name: str, parameters: tuple[str, ...], original: Callable[..., Any]) -> Callable[..., Any]:
        def loss(*args: Any, **kwargs: Any) -> Any:
            recorder = self.recorder
            if recorder.passing and not recorder.watchful:
                return original(*args, **kwargs)
            if self._inside or recorder.idle() or torch._C._current_graph_task_id() != -1:
                return original(*args, **kwargs)
            self._inside = True
            try:
                result = original(*args, **kwargs)
            except Exception as error:
                self.guard(self._failed, name, {**dict(zip(parameters, args, strict=False)), **kwargs}, error)
                raise
            finally:
                self._inside = False
            see = self._passed if recorder.passing else self._seen
            recorder.quick(see, name, {**dict(zip(parameters, args, strict=False)), **kwargs}, result)
            return result

        return loss

    # ---- around the model -------------------------------------------------------------------------------------

    def before_root(self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self._training = module.training
        self._tokens = [
            weakref.ref(value)
            for value in (*args, *kwargs.values())
            if isinstance(value, Tensor) and value.dim() == 2 and value.dtype in {torch.int64, torch.int32}
        ]
        first = self._tokens[0]() if self._tokens else None
        self._sequences = None if first is None else first.shape[0]

    # ---- one call -----------------------------------------------------------------------------------------------

    def _site(self, function: str) -> _Site:
        file, line, instruction = _place()
        key = (function, file, line, instruction)
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = _Site(len(self._sites), function)
            self.recorder.writer.subject(
                "loss", site.index, LossSite(index=site.index, function=function, file=file or None, line=line or None)
            )
        return site

    def _failed(self, function: str, arguments: dict[str, Any], error: Exception) -> None:
        """The loss function refused what it was given: keep the shapes, they tell why."""
        site = self._site(function)
        prediction, target = _operands(arguments)
        if isinstance(prediction, Tensor):
            data = call_facts(function, arguments, prediction, target, torch.is_grad_enabled())
            self._fact("loss_call", site, {**data, "raised": type(error).__name__})

    def _seen(self, function: str, arguments: dict[str, Any], result: Any) -> None:
        prediction, target = _operands(arguments)
        if not isinstance(prediction, Tensor) or not isinstance(result, Tensor) or not _readable(prediction):
            return
        start = time.perf_counter()
        grad = torch.is_grad_enabled()
        site = self._site(function)
        site.calls += 1
        self.recorder.letter(f"{'L' if grad else 'l'}{site.index}")
        mark(result, SITE_MARK, site.index)
        call = LossCall(site.index, function, arguments, prediction, target, result, grad)
        full = site.calls <= ALWAYS or self._spent < ALLOWANCE or self.recorder.measuring
        if not (full or grad):
            full = self._spent < SHARE * (start - self._started)
        if full:
            with torch.no_grad():
                self._row(site, call, full)
                self.recorder.tell("after_loss", call)
        else:
            if site.calls <= MAX_VALUE_ROWS:
                self._row(site, call, full)
            self.recorder.tell("after_loss", call)
        if not grad or self._spent < ALLOWANCE:
            self._spent += time.perf_counter() - start

    def _passed(self, function: str, arguments: dict[str, Any], result: Any) -> None:
        """In a step that is passed over: for those who would explain a NaN."""
        prediction, target = _operands(arguments)
        if isinstance(prediction, Tensor) and isinstance(result, Tensor) and torch.is_grad_enabled():
            site = self._site(function)
            mark(result, SITE_MARK, site.index)
            call = LossCall(site.index, function, arguments, prediction, target, result, True)
            self.recorder.watch("after_loss", call)

    def _row(self, site: _Site, call: LossCall, full: bool) -> None:
        value = call.result
        if value.dim():
            value = value.detach().float().mean()
        row: dict[str, float | int] = {
            "step": self.recorder.step + 1,
            "time": self.recorder.seconds(),
            "site": site.index,
            "grad": float(call.grad),
            "training": float(self._training),
            "n": call.prediction.shape[0] if call.prediction.dim() else 1,
        }
        stats = None
        if full:
            ignore = call.arguments.get("ignore_index", -100 if call.function in WITH_CLASS_IDS else None)
            rows = rows_of(call.function, call.prediction, call.target, ignore, self._sequences)
            stats = measure(rows, call.function)
            self._confuse(site, call, confusion(rows, call.function))
            self._facts(site, call)
        if not value.is_cpu:
            self._pending.append((row, value.detach(), stats))
            if len(self._pending) >= PENDING:
                self.flush()
            return
        row["value"] = value.item()
        if stats is not None:
            row.update(zip(COLUMNS, stats.tolist(), strict=True))
        self.recorder.writer.narrow("loss", row)

    def _confuse(self, site: _Site, call: LossCall, counts: Tensor | None) -> None:
        if counts is None:
            return
        kept = site.confusions.get(call.grad)
        if kept is None or kept.shape != counts.shape:
            site.confusions[call.grad] = counts
        else:
            kept.mul_(DECAY).add_(counts)

    def _facts(self, site: _Site, call: LossCall) -> None:
        x, y = call.prediction, call.target
        signature = (
            x.dim(),
            x.shape[1:] if call.function in WITH_CLASS_IDS else None,
            getattr(y, "dtype", None),
            x.dtype,
            y.shape == x.shape if isinstance(y, Tensor) else None,
            y.dim() if isinstance(y, Tensor) else None,
            call.arguments.get("reduction", "mean"),
            call.grad,
            x.requires_grad,
        )
        if signature not in site.signatures and len(site.signatures) < MAX_FACTS:
            site.signatures.add(signature)
            data = call_facts(call.function, call.arguments, x, y, call.grad, sequences=self._sequences)
            if isinstance(y, Tensor) and y.is_floating_point():
                data["target_source_dtype"] = self._source(y)
            self._fact("loss_call", site, data)
        if self._tokens and isinstance(y, Tensor) and site.calls <= ALWAYS:
            tokens = [t for ref in self._tokens if (t := ref()) is not None]
            aligned = alignment(tokens, y, call.arguments.get("ignore_index", -100))
            if aligned is not None:
                if "width" in aligned and len(site.ends) <= ENDS:
                    site.ends.append((aligned["width"], aligned["least_ignored"]))
                    aligned["ends"] = [list(pair) for pair in site.ends]
                if aligned["best"] != site.offset or len(site.ends) == ENDS:
                    site.offset = aligned["best"]
                    self._fact("alignment", site, aligned)

    def _source(self, target: Tensor) -> str | None:
        """Integer type in which the loader handed out what has become this floating target."""
        for observer in self.recorder.observers:
            for entries, total, dtype in getattr(observer, "integers", ()):
                if entries == target.numel() and total == float(target.sum()):
                    return str(dtype)
        return None

    def _fact(self, kind: str, site: _Site, data: dict[str, Any]) -> None:
        self.recorder.fact(kind, subject=str(site.index), data=data, where=user_frame())

    # ---- between calls ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring measured rows to the host in one transfer and hand them to the writer."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        parts = [
            v.float().reshape(1) if stats is None else torch.cat([v.float().reshape(1), stats])
            for _, v, stats in pending
        ]
        numbers = torch.cat([p.to(parts[0].device) for p in parts]).tolist()
        for row, _, stats in pending:
            row["value"] = numbers.pop(0) if stats is None else numbers[0]
            if stats is not None:
                row.update(zip(COLUMNS, numbers[1 : 1 + len(COLUMNS)], strict=True))
                del numbers[: 1 + len(COLUMNS)]
            self.recorder.writer.narrow("loss", row)

    def site_of(self, root: Tensor) -> int:
        """Index of the loss site whose result this backward root was made from; -1 when none is near."""
        found = found_near(root, SITE_MARK)
        return -1 if found is None else int(found)

    def finish(self) -> None:
        self.flush()
        for site in self._sites.values():
            for grad, counts in site.confusions.items():
                n = math.isqrt(counts.numel())
                table = counts.reshape(n, n).round(decimals=2).tolist()
                self._fact("confusion", site, {"grad": grad, "n_classes": n, "table": table})


def _place() -> tuple[str, int, int]:
    """Innermost place in the user's code: file, line, instruction. The short way, for it is asked at every call."""
    frame: FrameType | None = sys._getframe(4)  # this, _site, _seen or _failed, what guards it, the wrapper
    while frame is not None:
        name = user_file(frame.f_code.co_filename)
        if name is not None:
            return name, frame.f_lineno, frame.f_lasti
        frame = frame.f_back
    return "", 0, 0


def _operands(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Prediction and target under whatever names this loss gives them."""
    prediction = arguments.get("input")
    if prediction is None:
        prediction = next((arguments[k] for k in ("input1", "log_probs", "anchor") if k in arguments), None)
    return prediction, arguments.get("target", arguments.get("targets"))


def _readable(x: Tensor) -> bool:
    """False for tensors without data of their own: meta, traced, under a function transform, empty."""
    return not (x.is_meta or x.is_complex() or x.numel() == 0 or torch._C._functorch.is_functorch_wrapped_tensor(x))
