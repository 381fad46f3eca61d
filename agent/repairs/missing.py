"""Repairs of data that hold no numbers: the operation that makes them, or the values that were never there.

Which operation it was stands in numpy's own warnings; torch is silent, so that its operations are tried in turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst
import numpy as np

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, only, positional, receiver, targets
from aitia.agent.repairs.arrays import Kept, held_out, kept, trained_calls
from aitia.agent.repairs.flow import definitions
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import argument, number

SPREADS = frozenset({"std", "var", "norm", "ptp", "nanstd", "max", "sum", "std_mean", "amax", "scale", "range"})
"""What data are divided by to be scaled: zero for a column that does not change, or for an empty one."""
WARNED = re.compile(r"([\w.]+\.py):(\d+): RuntimeWarning: ([\w -]+)")
LIBRARIES = frozenset({"np", "numpy", "torch", "math"})
SMALL = "1e-6"
FILL = "fill missing values with the mean of the training part"
NAMES_OF_A_SPLIT = 4
"""Features and targets, each of both parts."""


def not_a_number(accused: Accused) -> Iterator[Patch]:
    """Operations on the data that have no result for some of them, those that numpy warned of first."""
    found = list[tuple[bool, Patch]]()
    for source in accused.sources:
        warned = _warned(accused, source)
        made = (
            ("divide by one where the spread is zero", _divided(source, spreads=True), r"divi|true_divide|scalar"),
            ("take a logarithm that zero has", _logs(source, "log1p"), "log"),
            ("take the logarithm of what is above zero", _logs(source, "above"), "log"),
            ("take the root of the size, and keep the sign", _roots(source), "sqrt|power"),
            ("keep the divisor away from zero", _divided(source, spreads=False), r"divi|true_divide|scalar"),
            ("average what is there", _means(source), "mean of empty|divi"),
        )
        for summary, edits, kind in made:
            patch = accused.patch(summary, edits[0])
            if patch is not None:
                here = any(line in warned and re.search(kind, warned[line]) for line in edits[1])
                found.append((not here, patch))
    yield from (p for _, p in sorted(found, key=lambda f: f[0]))


def never_there(accused: Accused) -> Iterator[Patch]:
    """Missing values get the mean of the training part; samples without a target are left out."""
    for source in accused.sources:
        if _targets_missing(accused):
            for call in loss_calls(accused, source):
                target = argument(call, 1, "target")
                found = kept(source, target, 1) if target is not None else None
                patch = _left_out(accused, source, found) if found is not None else None
                if patch is not None:
                    yield patch
                    break
        for call in trained_calls(source, list(accused.forwards(source, source.module))):
            array = kept(source, positional(call)[0].value)
            if array is None:
                continue
            for edits in _filled(source, array):
                if (patch := accused.patch(FILL, edits)) is not None:
                    yield patch
            break
        for call in source.calls("train_test_split"):  # where no name leads from the model to the data
            pair = next(iter(targets(source, call)), None)
            names = [source.code(e.value) for e in pair.elements] if isinstance(pair, cst.Tuple) else []
            if len(names) == NAMES_OF_A_SPLIT:
                edits, (x, other) = Edits(source), names[:2]
                edits.after(
                    source.statement(call), f"filling = np.nanmean({x}, axis=0)",
                    *(f"{n} = np.where(np.isnan({n}), filling, {n})" for n in (x, other)),
                )  # fmt: skip
                if (patch := accused.patch(FILL, edits)) is not None:
                    yield patch


def _warned(accused: Accused, source: Source) -> dict[int, str]:
    """Lines of this file that numpy warned of, and what it said."""
    try:
        text = accused.run.log_tail()
    except OSError:
        return {}
    return {int(line): said for name, line, said in WARNED.findall(text) if name.rpartition("/")[2] == source.name}


Made = tuple[Edits, list[int]]
"""Edits of one kind, and their lines."""


def _data(source: Source, node: cst.CSTNode) -> bool:
    """Whether this works on data: no layer, no loss, nothing in the loop that trains."""
    function, loop = source.function(node), source.loop(node)
    if function is not None and function.name.value == "forward":
        return False
    if function is not None and (steps := source.calls("backward", within=function)):
        return loop is None and source.line(node) < source.line(steps[0])
    return loop is None or not source.calls("backward", "step", within=loop)


def _divided(source: Source, spreads: bool) -> Made:
    edits, lines, done = Edits(source), list[int](), set[str]()
    nodes: list[cst.BinaryOperation | cst.AugAssign] = [
        *source.nodes(cst.BinaryOperation),
        *source.nodes(cst.AugAssign),
    ]
    for node in nodes:
        operator = node.operator
        divides = isinstance(operator, (cst.Divide, cst.DivideAssign))
        divisor = node.right if isinstance(node, cst.BinaryOperation) else node.value
        if not divides or number(divisor) is not None or not _data(source, node) or _is_count(source, divisor):
            continue
        if _is_spread(source, divisor) is not spreads:
            continue
        text = source.code(divisor)
        if re.search(r"1e-\d+|eps|\bor\b|clip|clamp|maximum", text):
            continue
        plain = isinstance(divisor, (cst.Name, cst.Attribute)) and spreads
        edits.replace(divisor, f"({text} + ({text} == 0))" if plain else f"({text} + {SMALL})")
        lines.append(source.line(node))
        done.add(text)
    return edits, lines


def _is_spread(source: Source, divisor: cst.BaseExpression) -> bool:
    values = [divisor]
    if isinstance(divisor, (cst.Name, cst.Attribute)):
        values += [a.value for a in definitions(source, divisor) if a.value is not None]
    if last_name(divisor) in {"std", "sd", "sigma", "scale", "spread", "norm", "std_", "scale_", "stds", "s"}:
        return True
    names = {last_name(c.func) for v in values for c in source.nodes(cst.Call, v)}
    return bool(names & SPREADS)


def _is_count(source: Source, divisor: cst.BaseExpression) -> bool:
    """A length, a size, or a plain number under a name: never zero by the data."""
    if isinstance(divisor, cst.Call) and last_name(divisor.func) in {"len", "size", "numel", "sqrt"}:
        return last_name(divisor.func) != "sqrt"
    made = [a.value for a in definitions(source, divisor)] if isinstance(divisor, (cst.Name, cst.Attribute)) else []
    return bool(made) and all(m is not None and number(m) is not None for m in made)


def _logs(source: Source, way: str) -> Made:
    edits, lines = Edits(source), list[int]()
    for call in source.calls("log", "log2", "log10"):
        on, given = receiver(call), [a.value for a in positional(call)]
        library = source.code(on) if on is not None else ""
        inner = given[0] if library in LIBRARIES and given else on
        if inner is None or number(inner) is not None or not _data(source, call) or library == "math":
            continue
        text = source.code(inner)
        if re.search(r"1e-\d+|eps|clip|clamp|maximum|softmax", text):
            continue
        method = library not in LIBRARIES
        torch = method or library == "torch"
        if way == "log1p":
            _, end = source.span(call.func)
            edits.cut(end - len(last_name(call.func)), end, "log1p")
        else:
            above = f"{source.atom(inner)}.clamp(min={SMALL})" if torch else f"{library}.maximum({text}, {SMALL})"
            edits.replace(inner, above)
        lines.append(source.line(call))
    return edits, lines


def _roots(source: Source) -> Made:
    edits, lines = Edits(source), list[int]()
    for call in source.calls("sqrt"):
        on, given = receiver(call), [a.value for a in positional(call)]
        library = source.code(on) if on is not None else ""
        inner = given[0] if library in LIBRARIES - {"math"} and given else on
        if inner is None or number(inner) is not None or not _data(source, call) or library == "math":
            continue
        if _is_count(source, inner) or re.search(
            r"\babs\b|clip|clamp|maximum|\*\* ?2|square|var\(", source.code(inner)
        ):
            continue
        x, lib = source.code(inner), "np" if library in {"np", "numpy"} else "torch"
        edits.replace(call, f"{lib}.sign({x}) * {lib}.sqrt({lib}.abs({x}))")
        lines.append(source.line(call))
    for power in source.nodes(cst.BinaryOperation):
        exponent = number(power.right) if isinstance(power.operator, cst.Power) else None
        if exponent is not None and 0 < exponent < 1 and number(power.left) is None and _data(source, power):
            edits.replace(power.left, f"abs({source.code(power.left)})")
            lines.append(source.line(power))
    return edits, lines


def _means(source: Source) -> Made:
    """`values.mean()` of what a condition chose: zero where nothing was."""
    edits, lines = Edits(source), list[int]()
    for call in source.calls("mean", "std", "nanmean"):
        on, given = receiver(call), [a.value for a in positional(call)]
        library = source.code(on) if on is not None else ""
        inner = given[0] if library in LIBRARIES and given else on
        if inner is None or not _data(source, call) or len(call.args) > (1 if library in LIBRARIES else 0):
            continue
        made = [a.value for a in definitions(source, inner)] if isinstance(inner, cst.Name) else [inner]
        chosen = any(isinstance(m, cst.Subscript) or (isinstance(m, cst.ListComp) and m.for_in.ifs) for m in made)
        if chosen:
            edits.replace(call, f"({source.code(call)} if len({source.code(inner)}) else 0.0)")
            lines.append(source.line(call))
    return edits, lines


def _filled(source: Source, array: Kept) -> Iterator[Edits]:
    """Lines behind the array: its missing values, and those of the held-out part, get its means."""
    other, made, x = held_out(source, array), array.made, array.name
    together = other is not None and source.scope(other.made) is source.scope(made)
    if together and other is not None and source.line(other.made) > source.line(made):
        made = other.made
    names = [x, *([other.name] if together and other is not None else [])]
    tensor = re.search(r"torch|tensor|Tensor|\.float\(\)", source.code(array.made)) is not None
    numpy = [f"filling = np.nanmean({x}, axis=0)", *(f"{n} = np.where(np.isnan({n}), filling, {n})" for n in names)]
    torch = [f"filling = {x}.nanmean(0)", *(f"{n} = torch.where(torch.isnan({n}), filling, {n})" for n in names)]
    for lines in (torch, numpy) if tensor else (numpy, torch):
        if lines is numpy and "import numpy as np" not in source.text:
            continue
        edits = Edits(source)
        edits.after(made, *lines)
        yield edits


def _left_out(accused: Accused, source: Source, target: Kept) -> Patch | None:
    """Samples whose target is missing leave with their features, where both have a name."""
    small = only(target.made)
    pair = small.targets[0].target if isinstance(small, cst.Assign) else None
    forward = next(iter(trained_calls(source, list(accused.forwards(source, source.module)))), None)
    features = kept(source, positional(forward)[0].value) if forward is not None else None
    names = [source.code(e.value) for e in pair.elements] if isinstance(pair, cst.Tuple) else []
    x = features.name if features is not None else next((n for n in names if n != target.name), None)
    made = target.made
    if features is not None and source.line(features.made) > source.line(made):
        made = features.made
    if x is None or x == target.name:
        return None
    edits, y = Edits(source), target.name
    there = f"there = ({y} == {y}).reshape(len({y}), -1).all(1)  # a missing value equals nothing"
    edits.after(made, there, f"{x}, {y} = {x}[there], {y}[there]")
    return accused.patch("leave out samples without a target", edits)


def _targets_missing(accused: Accused) -> bool:
    rows = accused.run.table("loss")
    return bool(np.any(rows["target_nonfinite"] > 0))
