"""Repairs of a number: the one place where the program, or its command line, sets it."""

from __future__ import annotations

import math

import libcst as cst
import numpy as np

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    keyword,
    last_name,
    optimizer_constructions,
    positional,
)
from aitia.agent.repairs.source import number

TARGET_RATIO = 3e-3
"""Update norm over weight norm to aim at: the middle of the usual 1e-4 to 1e-2 on a log scale, nearer to its upper end,
since small networks are trained for few steps (cs231n, part 3: "somewhere around 1e-3")."""
AT_LEAST = 10.0
"""A rate that is accused is wrong by an order of magnitude; a smaller change would not show."""
AT_MOST = 1e4
"""More than this is no change of a rate but another fault."""
EARLY_STEPS = 20
"""Steps in which the update ratio says what the rate does before the damage is done."""
MARGIN = 5
"""How much smaller the second guess of a rate is."""
SAME = 1e-9


def lr_too_high(accused: Accused) -> Patch | None:
    """Lower the learning rate until one step changes the weights by a fraction of a per cent."""
    ratio = _early_ratio(accused)
    factor = ratio / TARGET_RATIO if math.isfinite(ratio) and ratio > 0 else AT_LEAST
    return change_rate(accused, 1 / min(max(factor, AT_LEAST), AT_MOST))


def lr_far_too_high(accused: Accused) -> Patch | None:
    """The same with a margin: where the first guess is still too large for some seeds."""
    ratio = _early_ratio(accused)
    factor = ratio / TARGET_RATIO if math.isfinite(ratio) and ratio > 0 else AT_LEAST
    return change_rate(accused, 1 / (MARGIN * min(max(factor, AT_LEAST), AT_MOST)))


def lr_too_low(accused: Accused) -> Patch | None:
    """Raise the learning rate until a step shows in the weights."""
    ratio = _early_ratio(accused)
    factor = TARGET_RATIO / ratio if math.isfinite(ratio) and ratio > 0 else AT_LEAST
    return change_rate(accused, min(max(factor, AT_LEAST), AT_MOST))


def lr_far_too_low(accused: Accused) -> Patch | None:
    """The same with a margin: where weights move, and still too little for the steps there are."""
    ratio = _early_ratio(accused)
    factor = TARGET_RATIO / ratio if math.isfinite(ratio) and ratio > 0 else AT_LEAST
    return change_rate(accused, MARGIN * min(max(factor, AT_LEAST), AT_MOST))


def weight_decay_excess(accused: Accused) -> Patch | None:
    """Lower the weight decay to a hundredth."""
    return _change(accused, "weight_decay", _option(accused, "weight_decay"), 0.01, "weight decay")


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
    return _change(accused, "lr", _option(accused, "lr"), factor, "learning rate")


def _change(accused: Accused, name: str, value: float | None, factor: float, words: str) -> Patch | None:
    if value is None or value == 0:
        return None
    new = f"{float(f'{value * factor:.0e}'):g}"
    places = _places(accused, name, value)
    if len(places) != 1:
        return _at_optimizer(accused, name, new, factor, words)
    source, node = places[0]
    edits = Edits(source)
    edits.replace(node, new)
    for built in optimizer_constructions(source):  # groups that repeat the same number
        for entry in source.nodes(cst.DictElement, built):
            if source.code(entry.key).strip("'\"") == name and entry.value is not node and _is(entry.value, value):
                edits.replace(entry.value, new)
    return accused.patch(f"change the {words} from {value:g} to {new}", edits, "config")


def _at_optimizer(accused: Accused, name: str, new: str, factor: float, words: str) -> Patch | None:
    """Where the number comes from elsewhere (a command line, a file): scale it where the optimizer is built."""
    for source in accused.sources:
        built = accused.pick(optimizer_constructions(source), source)
        if built is None:
            continue
        place = keyword(built, name) or (positional(built)[1] if name == "lr" and len(positional(built)) > 1 else None)
        edits = Edits(source)
        if place is not None:
            edits.replace(place.value, f"{source.atom(place.value)} * {float(f'{factor:.0e}'):g}")
        elif not any(a.star for a in built.args):
            _add_argument(source, edits, built, f"{name}={new}")
        return accused.patch(f"change the {words} to {new}", edits, "config")
    return None


def _places(accused: Accused, name: str, value: float) -> list[tuple[Source, cst.BaseExpression]]:
    """Literals of that value that may set the option: at the optimizer itself, else under a name that reaches it."""
    for source in accused.sources:
        built = accused.suspects(optimizer_constructions(source), source)
        direct = [a.value for c in built if (a := keyword(c, name)) is not None]
        direct += [p[1].value for c in built if name == "lr" and len(p := positional(c)) > 1]
        literal = [(source, n) for n in direct if _is(n, value)]
        if literal:
            return literal
    aliases = {name, *_aliases(accused, name)}
    found: list[tuple[int, Source, cst.BaseExpression]] = []
    for source in accused.sources:
        found += [
            (_SPECIFIC.index(kind), source, node) for kind, node in _literals(source, aliases) if _is(node, value)
        ]
    best = min((rank for rank, _, _ in found), default=0)
    return [(s, n) for rank, s, n in found if rank == best]


_SPECIFIC = ("argument", "entry", "assignment", "default")
"""Where a value is set, the most specific first: an argument at the call beats the default it overrides."""


def _literals(source: Source, names: set[str]) -> list[tuple[str, cst.BaseExpression]]:
    found: list[tuple[str, cst.BaseExpression]] = []
    for call in source.nodes(cst.Call):
        found += [("argument", a.value) for a in call.args if a.keyword is not None and a.keyword.value in names]
        options = {_text(a.value).lstrip("-").replace("-", "_") for a in positional(call)}
        default = keyword(call, "default")
        if last_name(call.func) == "add_argument" and default is not None and options & names:
            found.append(("default", default.value))
    for entry in source.nodes(cst.DictElement):
        if _text(entry.key) in names:
            found.append(("entry", entry.value))
    for assign in source.nodes(cst.Assign):
        if any(last_name(t.target) in names for t in assign.targets):
            found.append(("assignment", assign.value))
    for annotated in source.nodes(cst.AnnAssign):
        if annotated.value is not None and last_name(annotated.target) in names:
            found.append(("default" if source.enclosing(annotated, (cst.ClassDef,)) else "assignment", annotated.value))
    for parameter in source.nodes(cst.Param):
        if parameter.default is not None and parameter.name.value in names:
            found.append(("default", parameter.default))
    return found


def _aliases(accused: Accused, name: str) -> set[str]:
    """Names by which the option's value reaches the optimizer: `rate` of `SGD(p, lr=args.rate)`."""
    found = {"learning_rate", "base_lr"} if name == "lr" else {"wd"}
    for source in accused.sources:
        for call in optimizer_constructions(source):
            argument = keyword(call, name) or (
                positional(call)[1] if name == "lr" and len(positional(call)) > 1 else None
            )
            if argument is not None:
                node: cst.CSTNode = argument.value
                if isinstance(node, cst.Subscript):
                    found |= {_text(i.slice.value) for i in node.slice if isinstance(i.slice, cst.Index)}
                found.add(last_name(node))
    return {n for n in (x.lower() for x in found) if n} | {x for x in found if x}


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


def _is(node: cst.BaseExpression, value: float) -> bool:
    given = number(node)
    return given is not None and math.isclose(given, value, rel_tol=1e-6, abs_tol=SAME)


def _text(node: cst.CSTNode) -> str:
    value = node.evaluated_value if isinstance(node, cst.SimpleString) else None
    return value if isinstance(value, str) else ""


def _add_argument(source: Source, edits: Edits, call: cst.Call, text: str) -> None:
    last = call.args[-1]
    _, end = source.span(last.value)
    edits.cut(end, end, f", {text}")
