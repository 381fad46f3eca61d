"""Repair of evaluation in training mode: every network that is asked is switched, and back where it is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, receiver
from aitia.agent.repairs.source import LOOPS, Statement
from aitia.agent.repairs.state import drawn_again

JUDGES = re.compile(r"eval|valid|test|accura|score|predict|measure|check")
OFF = ("no_grad", "inference_mode", "set_grad_enabled")

Region = cst.With | cst.FunctionDef


def mode_not_eval(accused: Accused) -> Patch | None:
    """All regions that ask without learning begin in evaluation mode; all loops that learn begin in training mode."""
    if drawn_again(accused):
        return None
    for source in accused.sources:
        edits, asked = Edits(source), False
        for region in _regions(accused, source):
            names = _names(accused, source, region.body)
            around = region if isinstance(region, cst.FunctionDef) else source.scope(region)
            new = [n for n in names if not _called(source, n, "eval", around)]
            first = region if isinstance(region, cst.With) else _first(region.body)
            if first is not None and new:
                edits.before(first, *(f"{n}.eval()" for n in new))
                asked = True
        if not asked:
            continue
        for place, names in _learning(accused, source):
            edits.before(place, *(f"{n}.train()" for n in names))
        patch = accused.patch("evaluate in evaluation mode, and train in training mode", edits)
        if patch is not None:
            return patch
    return None


def _regions(accused: Accused, source: Source) -> Iterator[Region]:
    """Blocks and functions without gradients, and functions that judge; of nested ones the outer."""
    found: list[Region] = [w for w in source.nodes(cst.With) if any(source.calls(*OFF, within=i) for i in w.items)]
    for function in source.nodes(cst.FunctionDef):
        marked = any(n in source.code(d) for d in function.decorators for n in OFF)
        here = any(source.line(function) <= n <= source.last_line(function) for n in accused.lines(source))
        if marked or here or JUDGES.search(function.name.value):
            found.append(function)
    apart = [r for r in found if not source.calls("backward", within=r) and not _forward(r)]
    for region in apart:
        inner = any(o is not region and any(n is region for n in source.nodes(type(region), o)) for o in apart)
        if not inner:
            yield region


def _forward(region: Region) -> bool:
    return isinstance(region, cst.FunctionDef) and region.name.value in {"forward", "__call__"}


def _names(accused: Accused, source: Source, within: cst.CSTNode) -> list[str]:
    """What is called as a model there, as far as it can be asked for its mode: names and attributes."""
    calls = [c.func for c in accused.forwards(source, within) if isinstance(c.func, (cst.Name, cst.Attribute))]
    return list(dict.fromkeys(source.code(f) for f in calls))


def _called(source: Source, name: str, method: str, within: cst.CSTNode) -> bool:
    on = [receiver(c) for c in source.calls(method, within=within)]
    return any(o is not None and source.code(o) == name for o in on)


def _learning(accused: Accused, source: Source) -> Iterator[tuple[Statement, list[str]]]:
    """Before which statement networks have to be in training mode: once for each loop over batches, or each step."""
    done = set[int]()
    for call in source.calls("backward"):
        loop, function = source.loop(call), source.function(call)
        region = loop or function
        if region is None or id(region) in done:
            continue
        done.add(id(region))
        trained = source.loop(region) or region
        names = [n for n in _names(accused, source, region) if not _called(source, n, "train", trained)]
        whole = isinstance(region, LOOPS) and not _judges(accused, source, region)
        place = region if isinstance(region, LOOPS) and whole else _first(region.body)
        if names and place is not None:
            yield place, names


def _judges(accused: Accused, source: Source, loop: cst.For | cst.While) -> bool:
    """Whether a loop that learns evaluates as well, itself or by calling a function that does."""
    regions = list(_regions(accused, source))
    names = {r.name.value for r in regions if isinstance(r, cst.FunctionDef)}
    inside = any(n is r for r in regions for n in source.nodes(type(r), loop))
    return inside or (bool(names) and bool(source.calls(*names, within=loop.body)))


def _first(body: cst.BaseSuite) -> Statement | None:
    if not isinstance(body, cst.IndentedBlock):
        return None
    found = [s for s in body.body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]
    first = found[0] if found else None
    small = first.body[0] if isinstance(first, cst.SimpleStatementLine) else None
    said = isinstance(small, cst.Expr) and isinstance(small.value, (cst.SimpleString, cst.ConcatenatedString))
    return next(iter(found[1:] if said else found), None)
