"""Repairs of when the optimizer steps, and over how many batches it gathers."""

from __future__ import annotations

from dataclasses import replace

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, cleared, is_expression, last_name, receiver
from aitia.agent.repairs.loop import rest
from aitia.agent.repairs.source import LOOPS, Statement

ONCE, EVERY = 0.0, 1.0
"""Steps a batch, roughly: by which repairs of a step that waits too long are told apart when they race."""


def accumulation_not_normalized(accused: Accused) -> Patch | None:
    """Divide the loss by the number of accumulated batches."""
    for source in accused.sources:
        for call in source.calls("backward"):
            on, block = receiver(call), source.block(source.statement(call))
            window = next((w for s in block for w in _windows(source, s) if accused.steps(source, s)), None)
            window = window or _gathered(accused, source, call)
            if on is None or window is None:
                continue
            edits = Edits(source)
            if isinstance(on, cst.Call) and last_name(on.func) == "scale" and len(on.args) == 1:
                on = on.args[0].value
                edits.replace(on, f"{source.atom(on)} / {window}")
            else:
                edits.replace(on, f"({source.atom(on)} / {window})")
            return accused.patch(f"divide the loss by the {window} batches that one step gathers", edits)
    return None


def never_stepped(accused: Accused) -> list[Patch]:
    """Call the optimizer's step after the last backward of the batch.

    Where a step waits for more batches than there are, either the last batch of a pass or every batch may end the wait.
    """
    names = sorted({o.name for o in accused.run.optimizers})
    for source in accused.sources:
        waiting = [p for p in (_flush(accused, source), _each_batch(accused, source)) if p is not None]
        if waiting:
            return waiting
        written = [o for c in source.calls("zero_grad") if (o := cleared(source, c)) is not None]
        backwards = [source.statement(c) for c in source.calls("backward")]
        if not backwards:
            continue
        candidates = [w for w in dict.fromkeys(written) if not any(n == w for _, n in accused.steps(source))] or names
        own = _own_backward(source, candidates[0]) if len(candidates) == 1 else None
        backward = own or backwards[-1]
        known = {
            source.code(n) for kind in (cst.Name, cst.Attribute) for n in source.nodes(kind, source.scope(backward))
        }
        if len(candidates) != 1 or candidates[0] not in known:
            continue
        edits = Edits(source)
        edits.after(_ready(source, backward), *_step_lines(source, backward, candidates[0]))
        patch = accused.patch(f"call {candidates[0]}.step() after backward", edits)
        return [patch] if patch is not None else []
    return []


def _own_backward(source: Source, optimizer: str) -> Statement | None:
    """The backward whose gradients this optimizer cleared the way for: the first one behind its `zero_grad`."""
    for call in source.calls("zero_grad"):
        statement = source.statement(call)
        if cleared(source, call) != optimizer:
            continue
        behind = [s for s in rest(source, statement) if source.calls("backward", within=s)]
        if behind and isinstance(behind[0], cst.SimpleStatementLine):
            return behind[0]
        if source.calls("backward", within=statement):
            return statement
    return None


def _ready(source: Source, backward: Statement) -> Statement:
    """The statement after which gradients may be used: where they are clipped or unscaled first, behind that."""
    last = backward
    for s in rest(source, backward):
        if not source.calls("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "unscale_", within=s):
            break
        last = s
    return last


def _step_lines(source: Source, backward: Statement, optimizer: str) -> list[str]:
    """The step, through the scaler where the loss was scaled."""
    for call in source.calls("scale", within=backward):
        on = receiver(call)
        if on is not None and source.calls("backward", within=backward):
            scaler = source.code(on)
            scope = source.scope(backward)
            updated = any(receiver(c) is not None and source.code(c.func) == f"{scaler}.update"
                          for c in source.calls("update", within=scope))  # fmt: skip
            return [f"{scaler}.step({optimizer})", *([] if updated else [f"{scaler}.update()"])]
    return [f"{optimizer}.step()"]


def step_outside_batch_loop(accused: Accused) -> Patch | None:
    """Move the optimizer's step into the loop over the batches."""
    for source in accused.sources:
        for call, _ in accused.steps(source):
            statement = source.statement(call)
            block = source.block(statement)
            before = block[: block.index(statement)] if statement in block else []
            inner = next(
                (s for s in reversed(before) if isinstance(s, LOOPS) and source.calls("backward", within=s)), None
            )
            if inner is None or not is_expression(statement):
                continue
            backward = source.statement(source.calls("backward", within=inner)[-1])
            edits = Edits(source)
            edits.remove(statement)
            edits.after(backward, *edits.lines(statement))
            return accused.patch("step once per batch, inside the loop over the batches", edits)
    return None


def _flush(accused: Accused, source: Source) -> Patch | None:
    """Where a step waits for a batch that never comes: step after the last batch of the pass, too."""
    for call, _ in accused.steps(source):
        test = source.enclosing(call, (cst.If, cst.FunctionDef))
        loop = source.loop(call)
        if not isinstance(test, cst.If) or not isinstance(loop, cst.For):
            continue
        counted = loop.iter if isinstance(loop.iter, cst.Call) and last_name(loop.iter.func) == "enumerate" else None
        if counted is None or not isinstance(loop.target, cst.Tuple) or len(counted.args) != 1:
            continue
        index, batches = source.code(loop.target.elements[0].value), source.code(counted.args[0].value)
        edits = Edits(source)
        edits.replace(test.test, f"{source.code(test.test)} or {index} + 1 == len({batches})")
        patch = accused.patch("step after the last batch of a pass, too", edits)
        return replace(patch, number=ONCE) if patch is not None else None
    return None


def _each_batch(accused: Accused, source: Source) -> Patch | None:
    """Where a step waits for a batch that never comes: step after every batch, whose loss is then taken whole."""
    for call, _ in accused.steps(source):
        test = source.enclosing(call, (cst.If, cst.FunctionDef))
        windows = _windows(source, test) if isinstance(test, cst.If) and test.orelse is None else []
        loop = source.loop(call)
        if not windows or not isinstance(test, cst.If) or loop is None or not isinstance(test.body, cst.IndentedBlock):
            continue
        edits = Edits(source)
        first, last = test.body.body[0], test.body.body[-1]
        start, end = source.offset(source.line(test)), source.offset(source.last_line(last) + 1)
        body = source.text[source.offset(source.line(first)) : end]
        edits.cut(start, end, _shifted(body, source.indent(first), source.indent(test)))
        for part in source.nodes(cst.BinaryOperation, loop):
            if isinstance(part.operator, cst.Divide) and source.code(part.right) in windows:
                edits.replace(part, source.code(part.left))
        patch = accused.patch("step after every batch", edits)
        return replace(patch, number=EVERY) if patch is not None else None
    return None


def _shifted(text: str, inner: str, outer: str) -> str:
    """Lines moved from one indentation to another."""
    return "".join(outer + line.removeprefix(inner) for line in text.splitlines(keepends=True))


def _gathered(accused: Accused, source: Source, backward: cst.Call) -> str | None:
    """`len(group)` of `for x, y in group:` and `k` of `for _ in range(k):`, where the step stands behind that loop."""
    loop = source.loop(backward)
    if not isinstance(loop, cst.For) or accused.steps(source, loop):
        return None
    if not any(accused.steps(source, s) for s in rest(source, loop)):
        return None
    if isinstance(loop.iter, cst.Call) and last_name(loop.iter.func) == "range" and len(loop.iter.args) == 1:
        return source.code(loop.iter.args[0].value)
    return f"len({source.code(loop.iter)})" if isinstance(loop.iter, cst.Name) else None


def _windows(source: Source, statement: Statement) -> list[str]:
    """`k` of `if (i + 1) % k == 0`."""
    if not isinstance(statement, cst.If):
        return []
    return [
        source.code(b.right)
        for b in source.nodes(cst.BinaryOperation, statement.test)
        if isinstance(b.operator, cst.Modulo)
    ]
