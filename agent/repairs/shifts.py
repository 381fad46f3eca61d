"""Repairs of next-token targets that are shifted by the wrong number of positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.flow import definitions
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import argument, number

ONCE = "shift once: the targets are shifted already"
TARGET = re.compile(r"(?i)(^|_|\b)(y|yb|by|ys|tgt|targets?|labels?|lab|nxt|next|out|output)(_|\b|$|s$)")
SHAPING = frozenset({"view", "reshape", "flatten", "transpose", "permute", "contiguous", "float", "long", "mT", "to"})
"""What is done to outputs and targets on their way into the loss, without moving positions."""


@dataclass(frozen=True)
class Cut:
    """A slice that drops positions at one end of a sequence."""

    node: cst.Subscript
    late: bool
    """`x[:, 1:]`; else `x[:, :-1]`."""
    by: int


def label_shift_error(accused: Accused) -> list[Patch]:
    """Shift exactly once: what the recorder measured says whether a shift is missing or one too many."""
    offset = _measured(accused)
    found: list[Patch | None] = []
    for source in accused.sources:
        if offset is None or offset > 1:
            found += [accused.patch(ONCE, e) for e in _unshifted(accused, source)]
            found += [accused.patch("shift the targets by one position", e) for e in _less(source, offset or 2)]
        else:
            edits = [*_shifted_in_data(accused, source), *_shifted_at_loss(accused, source)]
            found += [accused.patch("shift the targets by one position", e) for e in edits]
    return [p for p in found if p is not None]


def _measured(accused: Accused) -> int | None:
    """At how many positions later the targets are the inputs."""
    for fact in accused.run.facts("alignment"):
        table = {int(k): float(v) for k, v in (fact.data.get("match_by_offset") or {}).items()}
        if table:
            return max(table, key=lambda k: table[k])
    return None


def _cuts(source: Source) -> list[Cut]:
    found = []
    for node in source.nodes(cst.Subscript):
        for element in node.slice:
            cut = element.slice
            if not isinstance(cut, cst.Slice) or cut.step is not None:
                continue
            low, high = (number(n) if n is not None else None for n in (cut.lower, cut.upper))
            if low is not None and low >= 1 and cut.upper is None:
                found.append(Cut(node, True, int(low)))
            elif cut.lower is None and ((high is not None and high < 0) or _one_less(source, cut.upper)):
                found.append(Cut(node, False, int(-(high or -1))))
    return found


def _one_less(source: Source, upper: cst.BaseExpression | None) -> bool:
    """`n - 1`, or a name that was given such a value: the length of all but the last."""
    if isinstance(upper, cst.BinaryOperation):
        return isinstance(upper.operator, cst.Subtract) and number(upper.right) == 1
    made = definitions(source, upper) if isinstance(upper, cst.Name) else []
    return len(made) == 1 and isinstance(made[0].value, cst.BinaryOperation) and _one_less(source, made[0].value)


def _unshifted(accused: Accused, source: Source) -> list[Edits]:
    """Two cuts of different tensors in one function, outputs and targets: both are taken away."""
    cuts, lines = _cuts(source), accused.lines(source)
    pairs = [(a, b) for a, b in product(cuts, cuts) if not a.late and b.late and a.by == b.by
             and source.scope(a.node) is source.scope(b.node)]  # fmt: skip
    apart = [p for p in pairs if source.code(p[0].node.value) != source.code(p[1].node.value)]
    here = [p for p in apart if {source.line(c.node) for c in p} & lines] or apart
    same = [p for p in pairs if p not in apart]
    found = []
    for early, late in [*here, *(same if len(same) > 1 else [])]:
        edits = Edits(source)
        for cut in (early, late):
            edits.replace(cut.node, source.code(cut.node.value))
        found.append(edits)
    return found


def _less(source: Source, offset: int) -> list[Edits]:
    """Targets that are cut further along than one position: `ids[i + 2 : i + n + 2]`, `ids[:, 2:]`, `roll(-2)`."""
    found = []
    for node in source.nodes(cst.Subscript):
        edits, changed = Edits(source), 0
        for element in node.slice:
            inner = element.slice
            ends = [inner.lower, inner.upper] if isinstance(inner, cst.Slice) else []
            ends += [inner.value] if isinstance(inner, cst.Index) else []
            for end in ends:
                for whole in source.nodes(cst.Integer, end) if end is not None else ():
                    around = source.parent(whole)
                    added = isinstance(around, cst.BinaryOperation) and isinstance(around.operator, cst.Add)
                    if number(whole) == offset and (added or (isinstance(inner, cst.Slice) and inner.upper is None)):
                        edits.replace(whole, "1")
                        changed += 1
        if changed:
            found.append(edits)
    for call in source.calls("roll"):
        shift = argument(
            call, 0 if receiver(call) is not None and source.code(call.func) != "torch.roll" else 1, "shifts"
        )
        if shift is not None and number(shift) == -offset:
            edits = Edits(source)
            edits.replace(shift, "-1")
            found.append(edits)
    return found


def _shifted_in_data(accused: Accused, source: Source) -> list[Edits]:
    """Two equal slices of one stream, input and target: the target's begins and ends one position later."""
    slices = [n for n in source.nodes(cst.Subscript) if len(n.slice) == 1 and isinstance(n.slice[0].slice, cst.Slice)]
    found = []
    for node in slices:
        twins = [t for t in slices if t is not node and source.code(t) == source.code(node)
                 and source.scope(t) is source.scope(node) and source.line(t) <= source.line(node)]  # fmt: skip
        cut = node.slice[0].slice
        if not twins or not isinstance(cut, cst.Slice) or cut.lower is None or cut.upper is None:
            continue
        edits = Edits(source)
        for end in (cut.lower, cut.upper):
            edits.replace(end, f"{source.code(end)} + 1")
        found.append(edits)
    return found[-1:] + found[:-1]


def _shifted_at_loss(accused: Accused, source: Source) -> list[Edits]:
    """Outputs but the last against targets but the first, where they are handed to the loss."""
    found = []
    for call in accused.suspects(loss_calls(accused, source), source):
        outputs, target = argument(call, 0, "input"), argument(call, 1, "target")
        if outputs is None or target is None or len(positional(call)) + sum(
            keyword(call, w) is not None for w in ("input", "target")
        ) < 2:  # fmt: skip
            continue
        edits = Edits(source)
        for value, cut in ((_bare(source, outputs), "[:, :-1]"), (_bare(source, target), "[:, 1:]")):
            edits.replace(value, f"{source.atom(value)}{cut}")
        found.append(edits)
    return found


def _bare(source: Source, node: cst.BaseExpression) -> cst.BaseExpression:
    """`logits` of `logits.reshape(-1, n)`; of a name that was only given another shape, the value it was given."""
    while isinstance(node, cst.Call) and last_name(node.func) in SHAPING and (on := receiver(node)) is not None:
        node = on
    made = definitions(source, node) if isinstance(node, cst.Name) else []
    if len(made) == 1 and isinstance(made[0].value, cst.Call) and last_name(made[0].value.func) in SHAPING:
        on = receiver(made[0].value)
        return _bare(source, made[0].value) if on is not None and source.code(on) != "torch" else node
    return node
