"""Repairs of one array that was moved without its partner: the partner follows, by the same index or the same state."""

from __future__ import annotations

from itertools import combinations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, only, positional, targets
from aitia.agent.repairs.flow import definitions

TOGETHER = frozenset({"TensorDataset", "zip", "train_test_split", "DataLoader", "list"})


def moved_alone(accused: Accused) -> list[Patch]:
    """`x = x[kept]` without `y = y[kept]`, `x, _ = shuffle(x, y)`, two samples of frames with states of their own."""
    found: list[Patch] = []
    for source in accused.sources:
        for edits in [*_filtered(source), *_thrown_away(source), *_two_samples(source)]:
            patch = accused.patch("keep features and targets in one order", edits)
            found += [patch] if patch is not None else []
    return found


def _filtered(source: Source) -> list[Edits]:
    found = []
    for assign in source.nodes(cst.Assign):
        target, value = assign.targets[0].target, assign.value
        index = value.slice[0].slice if isinstance(value, cst.Subscript) and len(value.slice) == 1 else None
        if not isinstance(target, cst.Name) or not isinstance(value, cst.Subscript) or not isinstance(index, cst.Index):
            continue
        by = source.code(index.value)
        itself = source.code(value.value) == target.value and isinstance(index.value, cst.Name)
        if not itself or only(source.statement(assign)) is None:
            continue
        for partner in _partners(source, target):
            made = definitions(source, partner)
            follows = [a for a in made if a.value is not None and f"[{by}]" in source.code(a.value)]
            known = [a for a in made if source.line(a) < source.line(assign)]
            if follows or not known:
                continue
            edits, name = Edits(source), partner.value
            edits.after(source.statement(assign), f"{name} = {name}[{by}]")
            found.append(edits)
            break
    return found


def _partners(source: Source, name: cst.Name) -> list[cst.Name]:
    """Names that are handed on together with an array, as the second of two."""
    found: list[cst.Name] = []
    for call in source.nodes(cst.Call, source.scope(name)):
        given = [a.value for a in positional(call)][:2]
        own = last_name(call.func)[:1].isupper() or last_name(call.func) in TOGETHER
        if own and len(given) == 2 and source.code(given[0]) == name.value and isinstance(given[1], cst.Name):
            found.append(given[1])
    for pair in source.nodes(cst.Tuple, source.scope(name)):
        cuts = [e.value for e in pair.elements]
        if len(cuts) == 2 and all(isinstance(c, cst.Subscript) for c in cuts):
            bases = [c.value for c in cuts if isinstance(c, cst.Subscript)]
            if source.code(bases[0]) == name.value and isinstance(bases[1], cst.Name):
                found.append(bases[1])
    return [f for f in found if f.value != name.value]


def _thrown_away(source: Source) -> list[Edits]:
    """The second of two arrays that were moved together is not kept."""
    found = []
    for call in source.calls("shuffle", "resample"):
        names, given = targets(source, call), [a.value for a in positional(call)]
        target = names[0] if len(names) == 1 else None
        if not isinstance(target, cst.Tuple) or len(target.elements) != len(given):
            continue
        edits = Edits(source)
        for element, array in zip(target.elements, given, strict=True):
            if source.code(element.value) == "_" and isinstance(array, (cst.Name, cst.Attribute)):
                edits.replace(element.value, source.code(array))
        found.append(edits)
    return found


def _two_samples(source: Source) -> list[Edits]:
    """`frame.sample(frac=1)` of features and of labels: by one state."""
    found = []
    calls = [c for c in source.calls("sample") if keyword(c, "frac") is not None]
    for one, other in combinations(calls, 2):
        if source.scope(one) is not source.scope(other):
            continue
        states, edits = [keyword(c, "random_state") for c in (one, other)], Edits(source)
        if states[0] is not None and states[1] is not None:
            edits.replace(states[1].value, source.code(states[0].value))
        else:
            for call, state in zip((one, other), states, strict=True):
                if state is not None:
                    edits.replace(state.value, "0")
                else:
                    _, end = source.span(call.args[-1].value)
                    edits.cut(end, end, ", random_state=0")
        found.append(edits)
    return found
