"""Repairs of training that goes through sorted samples in their order: they are brought into a new one."""

from __future__ import annotations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.arrays import untracked
from aitia.agent.repairs.flow import definitions, own_functions
from aitia.agent.repairs.source import LOOPS

SUMMARY = "shuffle the training samples before each pass"
COUNTED = {"arange": "randperm", "range": "randperm"}


def order_not_shuffled(accused: Accused) -> list[Patch]:
    """Where batches are cut by hand, by indices that only count, or by a loader whose option comes from elsewhere."""
    found: list[Patch] = []
    for source in accused.sources:
        edits = [*_counted(accused, source), *_cut_by_hand(accused, source), *_option(accused, source)]
        found += [p for e in edits if (p := accused.patch(SUMMARY, e)) is not None]
    return found


def _passes(accused: Accused, source: Source) -> list[cst.For]:
    """Loops over the batches of training: around a forward, or those that yield what such a loop runs over."""
    found: list[cst.For] = []
    for call in accused.forwards(source, source.module):
        loop = source.loop(call)
        if not isinstance(loop, cst.For) or untracked(source, call) or source.code(call.func) == "self":
            continue
        if not source.calls("backward", "step", within=loop.body):
            continue
        found.append(loop)
        for made in source.nodes(cst.Call, loop.iter):
            for function in own_functions(source, made):
                found += [x for x in source.nodes(cst.For, function.body) if any(source.nodes(cst.Yield, x.body))]
    return list(dict.fromkeys(found))


def _cut_by_hand(accused: Accused, source: Source) -> list[Edits]:
    """`x[lo:hi]`, `x.split(n)`: all arrays that are cut in a pass, in one new order."""
    found = []
    for loop in _passes(accused, source):
        names: list[str] = []
        for node in source.nodes(cst.Subscript, loop.body):
            cut = node.slice[0].slice if node.slice else None
            begun = isinstance(cut, cst.Slice) and cut.lower is not None
            if begun and isinstance(node.value, cst.Name) and source.loop(node) is loop:
                names.append(node.value.value)
        for call in source.calls("split", "chunk", within=loop.iter):
            on = receiver(call)
            first = positional(call)[0].value if positional(call) else None
            array = first if on is not None and source.code(on) in {"torch", "np"} else on
            if isinstance(array, cst.Name):
                names.append(array.value)
        names = [n for n in dict.fromkeys(names) if not _is_order(source, loop, n)]
        if not names or len(names) > 3:
            continue
        edits, moved = Edits(source), ", ".join(f"{n}[order]" for n in names)
        edits.before(loop, f"order = torch.randperm(len({names[0]}))", f"{', '.join(names)} = {moved}")
        found.append(edits)
    return found if "import torch" in source.text else []


def _is_order(source: Source, loop: cst.For, name: str) -> bool:
    nodes = [n for n in source.nodes(cst.Name, loop) if n.value == name]
    made = [a.value for n in nodes[:1] for a in definitions(source, n)]
    return any(
        isinstance(v, cst.Call) and last_name(v.func) in {*COUNTED, "list", "randperm", "permutation"} for v in made
    )


def _counted(accused: Accused, source: Source) -> list[Edits]:
    """`torch.arange(n)` that samples are taken by: a permutation."""
    found = []
    for loop in _passes(accused, source):
        used = {n.value for n in source.nodes(cst.Name, loop)}
        for call in source.calls("arange", "range", within=source.scope(loop)):
            statement = source.statement(call)
            assigned = isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Assign)
            if not assigned or len(positional(call)) != 1 or source.enclosing(call, LOOPS) is loop:
                continue
            small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
            name = source.code(small.targets[0].target) if isinstance(small, cst.Assign) else ""
            if name not in used or not isinstance(small, cst.Assign):
                continue
            size, on, edits = source.code(positional(call)[0].value), receiver(call), Edits(source)
            numpy = on is not None and source.code(on) in {"np", "numpy"}
            whole = small.value if isinstance(small.value, cst.Call) and last_name(small.value.func) == "list" else call
            listed = last_name(call.func) == "range"
            new = (
                f"np.random.permutation({size})"
                if numpy
                else f"torch.randperm({size})" + (".tolist()" if listed else "")
            )
            edits.replace(whole, new)
            found.append(edits)
    return found


def _option(accused: Accused, source: Source) -> list[Edits]:
    """`shuffle=cfg.shuffle` at the accused loader."""
    call = accused.pick(source.calls("DataLoader"), source)
    given = keyword(call, "shuffle") if call is not None else None
    if given is None or source.code(given.value) in {"True", "False"}:
        return []
    edits = Edits(source)
    edits.replace(given.value, "True")
    return [edits]
