"""Repairs of programs that stopped with an exception: the one dimension, type or index that disagrees."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver, targets
from aitia.agent.repairs.source import number
from aitia.engine.records import Failure

PAIR = re.compile(r"[Ee]xpected hidden(?:\[\d\])? size \(([\d, ]+)\), got [\[(]([\d, ]+)[\])]")
SIZES = re.compile(r"\[([\d, ]*)\]")
INPUT_ARGUMENT = {"Linear": ("in_features", 0), "Conv2d": ("in_channels", 0), "Conv1d": ("in_channels", 0),
                  "LSTM": ("input_size", 0), "GRU": ("input_size", 0), "RNN": ("input_size", 0),
                  "BatchNorm1d": ("num_features", 0), "BatchNorm2d": ("num_features", 0),
                  "LayerNorm": ("normalized_shape", 0)}  # fmt: skip


def shape_mismatch(accused: Accused) -> Patch | None:
    """Give the layer the width that it is handed, or flatten what it is handed."""
    failure = accused.run.info.failure
    if failure is None or failure.module_class not in INPUT_ARGUMENT:
        return None
    partial = _partial_batch(accused, failure)
    if partial is not None:
        return partial
    handed, weight = sizes(next(iter(failure.inputs), "")), sizes(failure.parameters.get("weight", ""))
    weight = weight or sizes(next(iter(failure.parameters.values()), ""))
    if not handed or not weight:
        return None
    linear = failure.module_class == "Linear"
    wrong = weight[1] if len(weight) > 1 else weight[0]
    got = (
        handed[-1]
        if linear or failure.module_class in {"LSTM", "GRU", "RNN", "LayerNorm"}
        else handed[min(1, len(handed) - 1)]
    )
    if linear and len(handed) > 2 and wrong == _product(handed[1:]):
        return _flatten(accused, failure)
    for source in accused.sources:
        widths = [(c, w) for c in source.calls(failure.module_class) if (w := _width(c)) is not None]
        fitting = [(c, w) for c, w in widths if number(w) == wrong]
        named = [w for c, w in widths if number(w) in {wrong, None} and _names(source, c, failure.module or "")]
        node = named[0] if len(named) == 1 else (fitting[0][1] if len(fitting) == 1 else None)
        if node is None or wrong == got:
            continue
        edits = Edits(source)
        edits.replace(node, str(got))
        return accused.patch(
            f"make {failure.module or failure.module_class} take {got} inputs instead of {wrong}", edits
        )
    return None


def sizes(text: str) -> list[int]:
    """`[16, 32]` out of `float32[16, 32]`."""
    found = SIZES.search(text)
    return [int(n) for n in found.group(1).split(",") if n.strip()] if found else []


def _partial_batch(accused: Accused, failure: Failure) -> Patch | None:
    """A state made for a full batch meets the last, smaller one: take its size from the input instead."""
    state = PAIR.search(failure.message)
    batch = sizes(next(iter(failure.inputs), ""))
    if state is None or not batch:
        return None
    wanted, given = ([int(n) for n in group.split(",")] for group in state.groups())
    differ = [(w, g) for w, g in zip(wanted, given, strict=False) if w != g]
    if len(differ) != 1 or differ[0][0] not in batch:
        return None
    size, wrong = differ[0]
    for source in accused.sources:
        known = {last_name(a.targets[0].target) for a in source.nodes(cst.Assign) if number(a.value) == wrong}
        for function in source.nodes(cst.FunctionDef):
            if function.name.value != "forward" or len(function.params.params) < 2:
                continue
            used: list[cst.BaseExpression] = [n for n in source.nodes(cst.Name, function.body) if n.value in known]
            used += [n for n in source.nodes(cst.Integer, function.body) if number(n) == wrong]
            if len(used) == 1:
                edits, name = Edits(source), function.params.params[1].name.value
                edits.replace(used[0], f"{name}.size({batch.index(size)})")
                return accused.patch(f"take the batch size from {name}: the last batch may be smaller", edits)
    return None


def _flatten(accused: Accused, failure: Failure) -> Patch | None:
    name = (failure.module or "").split(".")[-1]
    for source in accused.sources:
        for call in source.nodes(cst.Call):
            on = receiver(call)
            if last_name(call.func) == name and on is not None and source.code(on) == "self" and positional(call):
                first, edits = positional(call)[0].value, Edits(source)
                edits.replace(first, f"{source.atom(first)}.flatten(1)")
                return accused.patch(f"flatten what {name} is given", edits)
    return None


def _width(call: cst.Call) -> cst.BaseExpression | None:
    word, place = INPUT_ARGUMENT[last_name(call.func)]
    argument = keyword(call, word) or (positional(call)[place] if len(positional(call)) > place else None)
    return argument.value if argument is not None else None


def _names(source: Source, call: cst.Call, path: str) -> bool:
    """Whether this makes the module of that path: `self.fc = …` for `fc`, the third element for `net.2`."""
    parts = path.split(".")
    if any(last_name(t) == parts[-1] for t in targets(source, call)) and not parts[-1].isdigit():
        return True
    around = source.parent(call)
    sequence = source.parent(around) if isinstance(around, cst.Arg) else None
    if not isinstance(sequence, cst.Call) or not isinstance(around, cst.Arg) or not parts[-1].isdigit():
        return False
    return list(sequence.args).index(around) == int(parts[-1])


def _at(accused: Accused, source: Source, node: cst.CSTNode) -> bool:
    failure = accused.run.info.failure
    lines = set(accused.lines(source))
    if failure is not None and failure.file == source.name and failure.line is not None:
        lines.add(failure.line)
    return any(source.line(node) <= x <= source.range(node).end.line for x in lines)


def _product(values: list[int]) -> int:
    total = 1
    for v in values:
        total *= v
    return total
