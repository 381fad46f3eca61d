"""Repairs that keep training samples apart from test samples, as they are, and ready when they are needed."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, positional, targets
from aitia.agent.repairs.arrays import untracked
from aitia.agent.repairs.flow import own_functions
from aitia.agent.repairs.source import number

CHANGES = re.compile(r"(?i)augment|jitter|corrupt|distort|perturb|transform|warp|mixup|cutout|noisy|scramble")
WORKERS = 4
"""Processes that read ahead; more than most loaders need, and few enough for any machine."""


def test_leakage(accused: Accused) -> list[Patch]:
    """Begin the test part where the training part ends, and train on the part that was split off for it."""
    found: list[Patch] = []
    for source in accused.sources:
        for edits in (_begins_at_the_end(source), _trains_on_its_part(source)):
            patch = accused.patch("train on no sample that is tested on", edits)
            found += [patch] if patch is not None else []
    return found


def _begins_at_the_end(source: Source) -> Edits:
    """`x[:1500]` and `x[1200:]`: the second begins at the end of the first."""
    edits, ends, begins = Edits(source), dict[str, cst.BaseExpression](), list[tuple[str, cst.BaseExpression]]()
    for node in source.nodes(cst.Subscript):
        cut = node.slice[0].slice if len(node.slice) == 1 else None
        if not isinstance(cut, cst.Slice) or source.loop(node) is not None:
            continue
        if cut.lower is None and cut.upper is not None:
            ends[source.code(node.value)] = cut.upper
        elif cut.upper is None and cut.lower is not None:
            begins.append((source.code(node.value), cut.lower))
    for name, lower in begins:
        upper = ends.get(name)
        one, other = number(lower), number(upper) if upper is not None else None
        if upper is not None and one is not None and other is not None and 0 <= one < other:
            edits.replace(lower, source.code(upper))
    return edits


def _trains_on_its_part(source: Source) -> Edits:
    """`train, test = random_split(data, …)`, and then a shuffled loader of all data: of the training part instead."""
    edits = Edits(source)
    for call in source.calls("random_split"):
        names, whole = targets(source, call), positional(call)[:1]
        if len(names) != 1 or not isinstance(names[0], cst.Tuple) or not whole:
            continue
        part = source.code(names[0].elements[0].value)
        for loader in source.calls("DataLoader"):
            shuffled = keyword(loader, "shuffle")
            data = positional(loader)[:1]
            training = shuffled is not None and source.code(shuffled.value) != "False"
            if training and data and source.code(data[0].value) == source.code(whole[0].value):
                edits.replace(data[0].value, part)
    return edits


def unchanged_samples(accused: Accused) -> list[Patch]:
    """Give the model the samples as they are, where a function of the program changes them on the way."""
    found: list[Patch] = []
    for source in accused.sources:
        edits = Edits(source)
        for call in source.nodes(cst.Call):
            named = CHANGES.search(source.code(call.func)) and positional(call) and own_functions(source, call)
            if not named or untracked(source, call):
                continue
            edits.replace(call, source.atom(positional(call)[0].value))
        patch = accused.patch("train on the samples as they are", edits)
        found += [patch] if patch is not None else []
    return found


def loader_bound(accused: Accused) -> Patch | None:
    """Read ahead in processes of their own."""
    for source in accused.sources:
        call = accused.pick(source.calls("DataLoader"), source)
        if call is None or not call.args:
            continue
        edits, given = Edits(source), keyword(call, "num_workers")
        if given is not None and number(given.value) == 0:
            edits.replace(given.value, str(WORKERS))
        elif given is None:
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, f", num_workers={WORKERS}")
        if keyword(call, "persistent_workers") is None and edits.result() is not None:
            _, end = source.span(call.args[-1].value)
            kept = given is not None and call.args[-1] is given
            if kept:
                edits = Edits(source)
                edits.replace(call.args[-1].value, f"{WORKERS}, persistent_workers=True")
            else:
                edits.cut(end, end, ", persistent_workers=True")
        patch = accused.patch("read batches ahead in worker processes", edits, "config")
        if patch is not None:
            return patch
    return None
