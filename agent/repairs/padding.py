"""Repairs of losses that count the padding of sequences: the id that was measured is ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name
from aitia.agent.repairs.source import number

PAD = re.compile(r"(?i)^_?(pad|padding)(_?(id|idx|index|token|value|token_id))?$")
MODULES, FUNCTIONS = ("CrossEntropyLoss", "NLLLoss"), ("cross_entropy", "nll_loss")


def padding_counted(accused: Accused) -> Patch | None:
    """Leave the padding id out of the loss: by the name it has where that is in reach, else by its number."""
    value = _measured(accused)
    for source in accused.sources:
        calls = [c for c in source.nodes(cst.Call) if _called(source, c) in {*MODULES, *FUNCTIONS}]
        calls = accused.suspects([c for c in calls if keyword(c, "ignore_index") is None], source)
        made = [c for c in calls if _called(source, c) in MODULES]
        call = next(iter(made or calls), None) if len(made or calls) == 1 or accused.lines(source) else None
        if call is None:
            continue
        name = _named(source, call, value)
        if name is None and value is None:
            continue
        edits = Edits(source)
        inside = [*(source.code(a).rstrip(", \n") for a in call.args), f"ignore_index={name or value}"]
        if call.args:
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, f", {inside[-1]}")
        else:
            edits.replace(call, f"{source.code(call.func)}({inside[0]})")
        return accused.patch("leave padding out of the loss", edits)
    return None


def _measured(accused: Accused) -> int | None:
    """The id that fills the ends of the sequences, as the recorder saw it among the targets."""
    shares = [(float(p.get("tail_share") or 0), p.get("value")) for f in accused.run.facts("loss_call")
              if (p := f.data.get("padding"))]  # fmt: skip
    _, value = max(shares, key=lambda s: s[0], default=(0.0, None))
    return int(value) if isinstance(value, (int, float)) else None


def _called(source: Source, call: cst.Call) -> str:
    """The function's own name, whatever it was imported as."""
    return (source.qualified(call.func) or source.code(call.func)).rpartition(".")[2]


def _named(source: Source, call: cst.Call, value: int | None) -> str | None:
    """A name for the id in the call's reach: a constant of the module, a local value, an argument of the function."""
    function = source.function(call)
    found = list(dict.fromkeys(n for n, node in _numbers(source, function) if number(node) == value is not None))
    given = [a.value for c in source.nodes(cst.Call) for word in ("padding_value", "padding_idx", "pad_id")
             if (a := keyword(c, word)) is not None]  # fmt: skip
    if not found and value is None:
        found = list(dict.fromkeys(source.code(g) for g in given if number(g) is not None))
    if not found and value is None:
        found = list(dict.fromkeys(n for n, node in _numbers(source, function) if number(node) is not None))
    return found[0] if len(found) == 1 else None


def _numbers(source: Source, function: cst.FunctionDef | None) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Names that mean padding and the values they are given, at the top of the module or in the same function."""
    for assign in source.nodes(cst.Assign):
        target, within = assign.targets[0].target, source.function(assign)
        top = within is None and source.enclosing(assign, (cst.ClassDef,)) is None
        if not top and within is not function:
            continue
        pairs: list[tuple[cst.BaseExpression, cst.BaseExpression]] = [(target, assign.value)]
        if isinstance(target, cst.Tuple) and isinstance(assign.value, cst.Tuple):
            pairs = [(t.value, v.value) for t, v in zip(target.elements, assign.value.elements, strict=False)]
        for name, given in pairs:
            if isinstance(name, cst.Name) and PAD.match(last_name(name)):
                yield name.value, given
