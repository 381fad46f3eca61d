"""Repairs of how a run is steered: sums over an epoch, mixed precision, and the optimizer's way of working."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    keyword,
    optimizer_constructions,
    receiver,
)
from aitia.agent.repairs.source import LOOPS, Statement

STARTS = re.compile(r"^(0|0\.0?|\[\]|0\.0, 0|0, 0)$")
"""What a sum, a count or a list begins with."""


def metric_logged_wrong(accused: Accused) -> Patch | None:
    """Begin every epoch with empty sums."""
    for source in accused.sources:
        for call in source.calls("backward"):
            inner = source.loop(call)
            outer = source.loop(inner) if inner is not None else None
            if not isinstance(inner, LOOPS):
                continue
            epoch, edits = outer if isinstance(outer, LOOPS) else None, Edits(source)
            if epoch is not None:
                _reset_objects(source, epoch, edits)
                _reset_names(source, epoch, inner, edits)
            else:
                _reset_after_print(source, inner, edits)
            patch = accused.patch("begin each epoch with empty sums", edits)
            if patch is not None:
                return patch
    return None


def autocast_not_applied(accused: Accused) -> Patch | None:
    """Let the region cover the device that is used, and the forward."""
    device = accused.run.info.device.partition(":")[0]
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("autocast"):
            given = keyword(call, "device_type") or next((a for a in call.args if a.keyword is None), None)
            text = source.code(given.value).strip("'\"") if given is not None else ""
            if given is not None and text in {"cuda", "mps"} and text != device:
                edits.replace(given.value, f'"{device}"')
        patch = accused.patch("enter autocast for the device that is used", edits)
        if patch is not None:
            return patch
        for region in source.nodes(cst.With):
            if not any(source.calls("autocast", within=item) for item in region.items):
                continue
            block = source.block(region)
            before = block[: block.index(region)] if region in block else []
            forward = next((s for s in reversed(before) if any(accused.forwards(source, s))), None)
            if isinstance(forward, cst.SimpleStatementLine) and not any(accused.forwards(source, region.body)):
                first = region.body.body[0] if isinstance(region.body, cst.IndentedBlock) else None
                if isinstance(first, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                    edits.before(first, *edits.lines(forward))
                    edits.remove(forward)
                    return accused.patch("run the forward inside the autocast region", edits)
            call = source.calls("autocast", within=region)[0]
            if keyword(call, "cache_enabled") is None and call.args and source.calls("no_grad", within=region.body):
                _, end = source.span(call.args[-1].value)
                edits.cut(end, end, ", cache_enabled=False")
                return accused.patch("keep no casts that were made without gradients", edits)
    return None


def slow_optimizer(accused: Accused) -> Patch | None:
    """Let torch work on all tensors at once."""
    for source in accused.sources:
        edits = Edits(source)
        for built in optimizer_constructions(source):
            given = keyword(built, "foreach")
            if given is not None and source.code(given.value) == "False":
                edits.replace(given.value, "True")
        patch = accused.patch("let the optimizer work on all tensors at once", edits, "config")
        if patch is not None:
            return patch
    return None


def _reset_objects(source: Source, epoch: cst.For | cst.While, edits: Edits) -> None:
    """Meters with a `reset` that this loop updates and does not reset."""
    methods = {f.name.value for f in source.nodes(cst.FunctionDef) if f.name.value in {"reset", "clear", "zero"}}
    if not methods:
        return
    updated = [r for c in source.calls("update", "add", "append", within=epoch.body) if (r := receiver(c)) is not None]
    reset = {source.code(r) for c in source.calls(*methods, within=epoch.body) if (r := receiver(c)) is not None}
    names = [n for n in dict.fromkeys(source.code(u) for u in updated) if n not in reset]
    first = _first(epoch)
    meters = [n for n in names if _made_of_own_class(source, n)]
    if first is not None and meters:
        edits.before(first, *[f"{n}.{sorted(methods)[-1]}()" for n in meters])


def _made_of_own_class(source: Source, name: str) -> bool:
    own = {c.name.value for c in source.nodes(cst.ClassDef)}
    return any(c.func.value in own for a in source.nodes(cst.Assign) if name in source.code(a.targets[0].target)
               for c in source.nodes(cst.Call, a.value) if isinstance(c.func, cst.Name))  # fmt: skip


def _reset_names(source: Source, epoch: cst.For | cst.While, inner: cst.CSTNode, edits: Edits) -> None:
    """Sums and counts that begin before all epochs begin in each of them."""
    grown = [source.code(a.target) for a in source.nodes(cst.AugAssign, inner)]
    grown += [source.code(r) for c in source.calls("append", within=inner) if (r := receiver(c)) is not None]
    outside = {s for a in source.nodes(cst.Assign, epoch.body) for s in [source.code(a.targets[0].target)]}
    printed = " ".join(source.code(c) for c in source.calls("print", "write", "log", "info", within=epoch.body))
    lines = []
    for name in dict.fromkeys(grown):
        started = [
            a for a in source.nodes(cst.Assign) if _begins(source, a, name) and source.line(a) < source.line(epoch)
        ]
        if started and name not in outside and re.search(rf"\b{re.escape(name)}\b", printed):
            lines.append(f"{name} = {_start(source, started[-1], name)}")
    first = _first(epoch)
    if first is not None and lines:
        edits.before(first, *lines)


def _reset_after_print(source: Source, loop: cst.For | cst.While, edits: Edits) -> None:
    """One loop over steps that prints now and then: the sums begin anew behind what is printed."""
    grown = {source.code(a.target) for a in source.nodes(cst.AugAssign, loop.body)}
    for call in source.calls("print", within=loop.body):
        names = [n for n in sorted(grown) if re.search(rf"\b{re.escape(n)}\b", source.code(call))]
        started = {n: [a for a in source.nodes(cst.Assign) if _begins(source, a, n)] for n in names}
        lines = [f"{n} = {_start(source, found[0], n)}" for n, found in started.items() if len(found) == 1]
        if lines and source.enclosing(call, (cst.If,)) is not None:
            edits.after(source.statement(call), *lines)
            return


def _begins(source: Source, assign: cst.Assign, name: str) -> bool:
    return _start(source, assign, name) != ""


def _start(source: Source, assign: cst.Assign, name: str) -> str:
    """What a name begins with: `0.0` of `total, seen = 0.0, 0`; empty where it is no beginning."""
    target, value = assign.targets[0].target, assign.value
    if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple) and len(target.elements) == len(value.elements):
        pairs = [
            (source.code(t.value), source.code(v.value)) for t, v in zip(target.elements, value.elements, strict=True)
        ]
    else:
        pairs = [(source.code(t.target), source.code(value)) for t in assign.targets]
    return next((v for n, v in pairs if n == name and STARTS.match(v)), "")


def _first(loop: cst.For | cst.While) -> Statement | None:
    body = loop.body.body if isinstance(loop.body, cst.IndentedBlock) else ()
    return next((s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))), None)
