"""Repairs of a number: the one place where the program, or its command line, sets it."""

from __future__ import annotations

import math
from dataclasses import replace

import libcst as cst
import numpy as np

from aitia.agent.repairs import settings
from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    keyword,
    last_name,
    optimizer_constructions,
    positional,
    targets,
)

TARGET_RATIO = 3e-3
"""Update norm over weight norm to aim at: the middle of the usual 1e-4 to 1e-2 on a log scale, nearer to its upper end,
since small networks are trained for few steps (cs231n, part 3: "somewhere around 1e-3")."""
AT_LEAST = 10.0
"""A rate that is accused is wrong by an order of magnitude; a smaller change would not show."""
AT_MOST = 1e4
"""More than this is no change of a rate but another fault."""
EARLY_STEPS = 20
"""Steps in which the update ratio says what the rate does before the damage is done."""
RIVALS = (1.0, 0.3, 3.0, 0.1, 0.03, 10.0)
"""Rates that are tried as multiples of the guess: it is one of an order of magnitude, and what is
learned decides. The last two only where the best of the others is the outermost."""
DECAYS = (0.01, 0.001, 0.1)
"""Shares of the weight decay that are tried."""


def lr_too_high(accused: Accused) -> list[Patch]:
    """Lower the learning rate until one step changes the weights by a fraction of a per cent."""
    ratio = _early_ratio(accused)
    factor = ratio / TARGET_RATIO if math.isfinite(ratio) and ratio > 0 else AT_LEAST
    factor = min(max(factor, AT_LEAST), AT_MOST)
    return [p for r in RIVALS if (p := change_rate(accused, r / factor)) is not None]


def lower_rate(accused: Accused) -> Patch | None:
    """The first guess of those rates."""
    return next(iter(lr_too_high(accused)), None)


def lr_too_low(accused: Accused) -> list[Patch]:
    """Raise the learning rate until a step shows in the weights."""
    ratio = _early_ratio(accused)
    factor = TARGET_RATIO / ratio if math.isfinite(ratio) and ratio > 0 else AT_LEAST
    factor = min(max(factor, AT_LEAST), AT_MOST)
    return [p for r in RIVALS if (p := change_rate(accused, factor / r)) is not None]


def weight_decay_excess(accused: Accused) -> list[Patch]:
    """Lower the weight decay until it no longer outruns what is learned."""
    value = _option(accused, "weight_decay")
    found = [_change(accused, "weight_decay", value, share, "weight decay") for share in DECAYS]
    return [p for p in found if p is not None]


def eps_underflow(accused: Accused) -> Patch | None:
    """Use an epsilon that half precision can hold."""
    for source in accused.sources:
        for built in optimizer_constructions(source):
            given, edits = keyword(built, "eps"), Edits(source)
            if given is not None:
                edits.replace(given.value, "1e-4")
            else:
                _add_argument(source, edits, built, "eps=1e-4")
            return accused.patch("use an epsilon that half precision can represent", edits, "config")
    return None


def wrong_horizon(accused: Accused) -> Patch | None:
    """Give the scheduler the number of steps it is really called."""
    facts = accused.run.facts("scheduler_rate")
    n_steps = facts[-1].data.get("n_steps") if facts else None
    if not isinstance(n_steps, (int, float)) or n_steps < 1:
        return None
    for source in accused.sources:
        for call in source.calls("CosineAnnealingLR", "OneCycleLR", "LinearLR", "PolynomialLR"):
            places = [a for name in ("T_max", "total_steps", "total_iters") if (a := keyword(call, name)) is not None]
            places = places or (positional(call)[1:2] if last_name(call.func) == "CosineAnnealingLR" else [])
            if places:
                edits = Edits(source)
                edits.replace(places[0].value, str(int(n_steps)))
                return accused.patch(f"let the schedule span the {int(n_steps)} calls it gets", edits, "config")
    return None


def exploding_gradient(accused: Accused) -> Patch | None:
    """Clip the gradient's norm before the step."""
    for source in accused.sources:
        for call, _ in accused.steps(source):
            if positional(call):
                continue
            forward = next(accused.forwards(source, source.scope(call)), None)
            if forward is None:
                continue
            edits = Edits(source)
            line = f"torch.nn.utils.clip_grad_norm_({source.code(forward.func)}.parameters(), 1.0)"
            edits.before(source.statement(call), line)
            return accused.patch("clip the gradient's norm to 1 before the step", edits)
    return None


def half_without_scaler(accused: Accused) -> Patch | None:
    """Use bfloat16, whose range needs no loss scale."""
    return _dtype(
        accused, {"float16": "bfloat16", "half": "bfloat16"}, "use bfloat16, which underflows no sooner than float32"
    )


def low_precision_weights(accused: Accused) -> Patch | None:
    """Keep the weights in float32, where small updates still count."""
    return _dtype(
        accused, {"bfloat16": "float32", "float16": "float32", "half": "float32"}, "keep the weights in float32"
    )


def _dtype(accused: Accused, swaps: dict[str, str], summary: str) -> Patch | None:
    for source in accused.sources:
        edits = Edits(source)
        for node in source.nodes(cst.Attribute):
            called = isinstance(parent := source.parent(node), cst.Call) and parent.func is node
            if node.attr.value in swaps and (last_name(node.value) == "torch" or called):
                new = swaps[node.attr.value]
                edits.replace(node.attr, "float" if called and new == "float32" else new)
        patch = accused.patch(summary, edits, "config")
        if patch is not None:
            return patch
    return None


def change_rate(accused: Accused, factor: float) -> Patch | None:
    """Multiply the learning rate by a factor, in the one place where it is set."""
    top = _option(accused, "max_lr")
    if top is not None:  # a cycle sets the rate, whatever the optimizer was built with
        return _change(accused, "max_lr", top, factor, "top of the learning rate's cycle")
    return _change(accused, "lr", _option(accused, "lr"), factor, "learning rate")


def _change(accused: Accused, name: str, value: float | None, factor: float, words: str) -> Patch | None:
    if value is None or value == 0:
        return None
    new = f"{float(f'{value * factor:.0e}'):g}"
    summary = f"change the {words} from {value:g} to {new}"
    places = settings.places(accused, name, value)
    if not places or len({source.name for source, _ in places}) > 1:
        inside = settings.written(accused, name, value, new)
        patch = accused.patch(summary, inside, "config") if inside else _at_optimizer(accused, name, new, factor, words)
        return None if patch is None else replace(patch, number=float(new))
    edits = Edits(places[0][0])
    for _, node in places:
        edits.replace(node, new)
    patch = accused.patch(summary, edits, "config")
    return None if patch is None else replace(patch, number=float(new))


def _at_optimizer(accused: Accused, name: str, new: str, factor: float, words: str) -> Patch | None:
    """Where the number comes from elsewhere (a command line, a file): scale it where the optimizer is built."""
    share = f"{float(f'{factor:.0e}'):g}"
    for source in accused.sources:
        built = accused.pick(settings.constructions(source, name), source)
        if built is None:
            continue
        options, edits = list(settings.given(source, built, name)), Edits(source)
        for option in options:
            edits.replace(option, f"{source.atom(option)} * {share}")
        if not options and _whole(built):
            _add_argument(source, edits, built, f"{name}={new}")
        elif not options and len(names := targets(source, built)) == 1:
            edits.after(source.statement(built), f"for group in {source.code(names[0])}.param_groups:",
                        f'    group["{name}"] *= {share}')  # fmt: skip
        return accused.patch(f"change the {words} to {new}", edits, "config")
    return None


def _whole(built: cst.Call) -> bool:
    """Whether an option of the call holds for all parameters: nothing is unpacked, and there are no groups."""
    first = next(iter(positional(built)), keyword(built, "params"))
    return (
        first is not None
        and last_name(getattr(first.value, "func", first.value)) == "parameters"
        and not any(a.star for a in built.args)
    )


def _option(accused: Accused, name: str) -> float | None:
    """The option's value in the accused optimizer, as the recorder saw it."""
    values = [g.get(name) for o in accused.run.optimizers for g in o.groups]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and v]
    if name == "lr" and not numbers:
        _, rates = accused.run.scalar("lr")
        numbers = [float(r) for r in rates[:1] if math.isfinite(r)]
    return max(numbers, default=None)


def _early_ratio(accused: Accused) -> float:
    _, ratios = accused.run.scalar("update_ratio")
    early = ratios[:EARLY_STEPS]
    early = early[np.isfinite(early)]
    return float(np.median(early)) if len(early) else math.nan


def _add_argument(source: Source, edits: Edits, call: cst.Call, text: str) -> None:
    last = call.args[-1]
    _, end = source.span(last.value)
    edits.cut(end, end, f", {text}")
