"""The experiments: each changes one thing about a batch or a copy of the model and looks at what the output does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from aitia.engine.capture.observers.held import floats

SAMPLES: Final = 32
"""Samples of the last batch that experiments use."""
SAME: Final = 1e-4
"""Relative difference below which two outputs are the same: single precision through some hundred layers."""
RESPONSE: Final = 1e-2
"""Relative difference that other content must make before its order, its place or its curvature can be judged."""
EQUAL: Final = 1e-6
"""Rows that started equal and got equal gradients differ by rounding at most."""
FIT_STEPS: Final = 30
FIT_RATE: Final = 3e-3
"""Adam at this rate moves a healthy small model far within 30 steps without blowing up a deep one."""
Result = dict[str, Any] | None


@dataclass
class Subject:
    """A copy of the model and the last training batch."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    at: int | str
    """Where the first tensor input stands: position or keyword."""
    loss: Callable[[Tensor], Tensor] | None = None
    """The program's own loss of the whole output for this batch, where it could be rebuilt."""

    @property
    def x(self) -> Tensor:
        """The first tensor input."""
        found: Tensor = self.args[self.at] if isinstance(self.at, int) else self.kwargs[self.at]
        return found

    def output(self, x: Tensor | None = None, training: bool = False) -> Tensor | None:
        """First floating output for this input, without gradients; normally in evaluation mode."""
        args, kwargs = self.args, self.kwargs
        if x is not None:
            if isinstance(self.at, int):
                args = (*args[: self.at], x, *args[self.at + 1 :])
            else:
                kwargs = {**kwargs, self.at: x}
        self.model.train(training)
        with torch.no_grad():
            return first_float(self.model(*args, **kwargs))


def first_float(value: Any) -> Tensor | None:
    """The first floating tensor inside an output; a loss that is returned along with it is passed over."""
    found = list(floats(value))
    return next((t for t in found if t.dim()), found[0] if found else None)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the spread of the first."""
    scale = float(a.detach().float().abs().max()) or 1.0
    return float((a.float() - b.float()).abs().max()) / scale if a.numel() else 0.0


def responds(before: Tensor, after: Tensor) -> bool:
    """Whether the output follows the input at all: of a model that says the same to everything nothing can be said."""
    return difference(before, after) > RESPONSE


def two_evals(s: Subject) -> Result:
    """Are two forwards in evaluation mode the same?"""
    a, b = s.output(), s.output()
    if a is None or b is None:
        return None
    gap = difference(a, b)
    if gap <= SAME:
        return {"differ": False, "difference": gap}
    with _RandomOps() as drawn:
        s.output()
    return {"differ": True, "difference": gap, "drawn_by": sorted(drawn.names)}


class _RandomOps(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch publishes no types for it
    """Notes which operations draw random numbers: dropout (a mask) or noise (a sample)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def affine(s: Subject) -> Result:
    """Is the output an affine function of a floating input? Then all layers are worth one."""
    x = s.x
    layers = sum(isinstance(m, (nn.Linear, nn.modules.conv._ConvNd)) for m in s.model.modules())
    if not x.is_floating_point() or x.shape[0] < 2:
        return None
    other = -1.5 * x.roll(1, 0) + 0.1 * x.abs().mean()
    worst = 0.0
    first, second = s.output(x), s.output(other)
    if first is None or second is None or not responds(first, second):
        return None
    for share in (0.25, 0.7):
        between = s.output(share * x + (1 - share) * other)
        if between is None:
            return None
        spread = float(torch.maximum(first.abs().max(), second.abs().max())) or 1.0
        expected = share * first + (1 - share) * second
        worst = max(worst, float((between - expected).abs().max()) / spread)
    return {"affine": worst < SAME, "error": worst, "n_linear_layers": layers}


def batch_mixing(s: Subject) -> Result:
    """Does one sample's output in evaluation mode depend on another sample?"""
    x = s.x
    if x.shape[0] < 3:
        return None
    before, last, first = s.output(), s.output(_with_other(x, -1)), s.output(_with_other(x, 0))
    if before is None or last is None or first is None or before.dim() == 0:
        return None
    if before.shape[0] != x.shape[0]:
        return {"mixing": None, "output_shape": list(before.shape), "input_shape": list(x.shape)}
    # a recurrence along the batch carries something of a sample to the later ones only
    gap = max(difference(before[:-1], last[:-1]), difference(before[1:], first[1:]))
    own = max(difference(before[-1:], last[-1:]), difference(before[:1], first[:1]))
    return {"mixing": gap > SAME, "difference": gap, "own_difference": own}


def causal(s: Subject) -> Result:
    """Of a model with one output for each position: do earlier outputs depend on later inputs?"""
    x, before = s.x, s.output()
    if not _is_sequence(x) or before is None or before.dim() != 3 or before.shape[:2] != x.shape[:2] or x.shape[1] < 4:
        return None
    half = x.shape[1] // 2
    later, earlier = s.output(_changed(x, half, x.shape[1])), s.output(_changed(x, 0, half))
    if later is None or earlier is None:
        return None
    leak = difference(before[:, :half], later[:, :half])
    past = difference(before[:, -1], earlier[:, -1])
    return {"leak": leak > SAME, "difference": leak, "sees_past": past > SAME, "past_difference": past}


def position(s: Subject) -> Result:
    """Does the order of the positions matter at all?"""
    x, before = s.x, s.output()
    if not _is_sequence(x) or before is None or x.shape[1] < 4 or before.shape[:1] != x.shape[:1]:
        return None
    length = x.shape[1]
    whole = torch.arange(length - 1, -1, -1, device=x.device)
    front = torch.cat([whole[1:], whole[:1]])  # reversed, but the last stays the last
    turned, kept, other = s.output(x[:, whole]), s.output(x[:, front]), s.output(_changed(x, 0, length))
    if turned is None or kept is None or other is None or not responds(before, other):
        return None
    if before.dim() == 3 and before.shape[1] == length:
        same = difference(before[:, whole], turned)
        last = difference(before[:, -1], kept[:, -1])
        return {
            "order_ignored": same < SAME,
            "last_order_ignored": last < SAME,
            "difference": same,
            "last_difference": last,
        }
    if before.dim() == 2:
        gap = difference(before, turned)
        return {"order_ignored": gap < SAME, "last_order_ignored": difference(before, kept) < SAME, "difference": gap}
    return None


def later_inputs(s: Subject) -> Result:
    """Of a model with one output for a whole sequence: which part of it matters?"""
    x, before = s.x, s.output()
    if not _is_sequence(x) or before is None or before.dim() != 2 or before.shape[:1] != x.shape[:1] or x.shape[1] < 4:
        return None
    length, quarter = x.shape[1], max(1, x.shape[1] // 4)
    gaps = {}
    for name, low, high in (
        ("first", 0, quarter),
        ("middle", quarter, length - quarter),
        ("last", length - quarter, length),
    ):
        after = s.output(_changed(x, low, high))
        if after is None:
            return None
        gaps[name] = difference(before, after)
    only_first = s.output(_changed(x, 1, length))
    alone = difference(before, only_first) if only_first is not None else float("nan")
    if not max(gaps.values()) > RESPONSE:
        return None
    return {
        "early_matters": gaps["first"] > SAME,
        "late_matters": gaps["last"] > SAME,
        "only_first_position_matters": alone < SAME,
        "sensitivity": gaps,
    }


def unit_symmetry(s: Subject) -> Result:
    """Weights whose rows (units) are all the same; of these, the ones that are zero; and weights whose columns are."""
    same, zero, columns, looked = [], [], [], 0
    for name, weight in s.model.named_parameters():
        if weight.dim() < 2 or weight.shape[0] < 2 or weight.numel() > 50_000_000:
            continue
        looked += 1
        rows = weight.detach().reshape(weight.shape[0], -1).float()
        top = float(rows.abs().max())
        if float((rows - rows[:1]).abs().max()) <= EQUAL * top:
            same.append(name)
            if top == 0:
                zero.append(name)
        if rows.shape[1] > 1 and float((rows - rows[:, :1]).abs().max()) <= EQUAL * top:
            columns.append(name)
    return {"symmetric": same[:50], "zero": zero[:50], "equal_columns": columns[:50], "n_weights": looked}


def train_eval_gap(s: Subject) -> Result:
    """The same batch in training and in evaluation mode."""
    buffers = {name: b.clone() for name, b in s.model.named_buffers()}
    evaluated, trained = s.output(), s.output(training=True)
    with torch.no_grad():
        for name, b in s.model.named_buffers():
            b.copy_(buffers[name])
    if evaluated is None or trained is None:
        return None
    data: dict[str, Any] = {"difference": difference(trained, evaluated)}
    if s.loss is not None:
        data |= {"loss_train": float(s.loss(trained)), "loss_eval": float(s.loss(evaluated))}
    return data


def fit_one_batch(s: Subject) -> Result:
    """Can the copy learn the last batch by heart?"""
    if s.loss is None:
        return None
    s.model.train()
    trainable = [p for p in s.model.parameters() if p.requires_grad]
    if not trainable:
        return None
    optimizer = torch.optim.Adam(trainable, lr=FIT_RATE)
    values: list[float] = []
    with torch.enable_grad():
        for _ in range(FIT_STEPS):
            output = first_float(s.model(*s.args, **s.kwargs))
            if output is None:
                return None
            loss = s.loss(output)
            if not loss.requires_grad:
                return None
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            values.append(float(loss.detach()))
    return {"loss_before": values[0], "loss_after": values[-1], "best": min(values), "steps": FIT_STEPS}


PROBES: Final[tuple[Callable[[Subject], Result], ...]] = (
    two_evals,
    unit_symmetry,
    batch_mixing,
    affine,
    causal,
    position,
    later_inputs,
    train_eval_gap,
    fit_one_batch,
)
"""In the order in which they are made; the one that changes the copy's weights comes last."""
NEED_STEADY: Final = frozenset({"batch_mixing", "affine", "causal", "position", "later_inputs"})
"""Experiments that mean nothing where two forwards of the same batch differ."""


def _is_sequence(x: Tensor) -> bool:
    """(batch, position) of tokens or (batch, position, feature)."""
    return (x.dim() == 2 and not x.is_floating_point()) or (x.dim() == 3 and x.is_floating_point())


def _with_other(x: Tensor, at: int) -> Tensor:
    """The first (0) or last (-1) sample becomes something else that the model could be given."""
    changed, (one, two) = x.clone(), (x[0], x[1]) if at else (x[-1], x[-2])
    if x.is_floating_point():
        changed[at] = 2.0 * one - two + 0.5 * x.std()
    else:
        changed[at] = two if bool((one == x[at]).all()) else one
    return changed


def _changed(x: Tensor, low: int, high: int) -> Tensor:
    """Other content at these positions: floating values turned over, tokens of the next sample or moved along."""
    changed = x.clone()
    if x.is_floating_point():
        changed[:, low:high] = -x[:, low:high] + 0.5 * x.std()
        return changed
    other = x.roll(1, 0)[:, low:high]
    top = int(x.max())
    still = other == x[:, low:high]
    changed[:, low:high] = torch.where(still & (top > 0), (x[:, low:high] + 1) % (top + 1), other)
    return changed
