"""Repairs of the order in which a training loop calls things."""

from __future__ import annotations

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    is_expression,
    last_name,
    only,
    positional,
    receiver,
)
from aitia.agent.repairs.source import LOOPS, Statement


def missing_zero_grad(accused: Accused) -> Patch | None:
    """Clear the gradients before the first backward of the step."""
    for source in accused.sources:
        steps = accused.steps(source)
        cleared = {source.code(r) for c in source.calls("zero_grad") if (r := receiver(c)) is not None}
        uncleared = [(c, name) for c, name in steps if name not in cleared] or steps
        step = accused.pick([c for c, _ in uncleared], source)
        if step is None:
            continue
        name = dict(uncleared)[step]
        statement, edits = source.statement(step), Edits(source)
        backward = first_backward(accused, source, statement)
        if backward is not None:
            edits.before(backward, f"{name}.zero_grad()")
        else:
            edits.after(statement, f"{name}.zero_grad()")
        return accused.patch(f"call {name}.zero_grad() before each backward pass", edits)
    return None


def zero_grad_after_backward(accused: Accused) -> Patch | None:
    """Move zero_grad from between backward and step to before backward."""
    for source in accused.sources:
        for call in accused.suspects(source.calls("zero_grad"), source):
            clearing = source.statement(call)
            block = source.block(clearing)
            if clearing not in block or not is_expression(clearing):
                continue
            at = block.index(clearing)
            after = [s for s in block[at + 1 :] if accused.steps(source, s)]
            backward = [s for s in block[:at] if source.calls("backward", within=s)]
            if not after:
                continue
            edits = Edits(source)
            edits.remove(clearing)
            code = edits.lines(clearing)
            if backward:
                edits.before(first_backward(accused, source, after[0]) or backward[0], *code)
            else:
                edits.after(after[0], *code)
            return accused.patch("clear the gradients before backward, not between backward and step", edits)
    return None


def never_stepped(accused: Accused) -> Patch | None:
    """Call the optimizer's step after the last backward of the batch."""
    names = sorted({o.name for o in accused.run.optimizers})
    for source in accused.sources:
        flushed = _flush(accused, source)
        if flushed is not None:
            return flushed
        written = [source.code(r) for c in source.calls("zero_grad") if (r := receiver(c)) is not None]
        backwards = [source.statement(c) for c in source.calls("backward")]
        if not backwards:
            continue
        candidates = [w for w in dict.fromkeys(written) if not any(n == w for _, n in accused.steps(source))] or names
        scope = source.scope(backwards[-1])
        known = {source.code(n) for kind in (cst.Name, cst.Attribute) for n in source.nodes(kind, scope)}
        if len(candidates) != 1 or candidates[0] not in known:
            continue
        edits = Edits(source)
        edits.after(backwards[-1], f"{candidates[0]}.step()")
        return accused.patch(f"call {candidates[0]}.step() after backward", edits)
    return None


def clip_before_backward(accused: Accused) -> Patch | None:
    """Clip after the gradients exist."""
    return _move_clip(accused, "clip the gradients after backward and before the step")


def clip_before_unscale(accused: Accused) -> Patch | None:
    """Unscale the gradients before they are clipped."""
    for source in accused.sources:
        for call in accused.suspects(clips(source), source):
            statement = source.statement(call)
            later = [c for s in _rest(source, statement) for c, _ in accused.steps(source, s) if positional(c)]
            if not later:
                continue
            scaler, optimizer = receiver(later[0]), positional(later[0])[0].value
            if scaler is None:
                continue
            edits = Edits(source)
            edits.before(statement, f"{source.code(scaler)}.unscale_({source.code(optimizer)})")
            return accused.patch("unscale the gradients before clipping them", edits)
    return None


def eval_mode_left_on(accused: Accused) -> Patch | None:
    """Put the model back into training mode before training goes on."""
    evaluating = {f.name.value for s in accused.sources for f in s.nodes(cst.FunctionDef) if s.calls("eval", within=f)}
    for source in accused.sources:
        for call in source.calls("backward"):
            loop = source.loop(call)
            evaluates = loop is not None and bool(source.calls("eval", *evaluating, within=loop))
            around = loop if loop is not None and not evaluates else _training_statement(accused, source, call)
            forward = next(accused.forwards(source, around), None) or next(
                accused.forwards(source, source.scope(call)), None
            )
            name = source.code(forward.func) if forward is not None else _mode_receiver(source, around)
            if name is None:
                continue
            edits = Edits(source)
            edits.before(around, f"{name}.train()")
            return accused.patch(f"call {name}.train() before training goes on after an evaluation", edits)
    return None


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


def stepped_per_batch(accused: Accused) -> Patch | None:
    """Move the scheduler's step behind the loop over the batches."""
    for source in accused.sources:
        calls = [
            c for c in source.calls("step") if (r := receiver(c)) is not None and last_name(r) in accused.schedulers
        ]
        for call in accused.suspects(calls, source):
            statement, loop = source.statement(call), source.loop(call)
            if loop is None or not is_expression(statement) or statement not in source.block(statement):
                continue
            edits = Edits(source)
            edits.remove(statement)
            edits.after(loop, *edits.lines(statement))
            return accused.patch("step the scheduler once per epoch, after the loop over the batches", edits)
    return None


def retain_graph(accused: Accused) -> Patch | None:
    """Let backward free the graph."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("backward"):
            kept = [
                a for a in call.args if a.keyword is None or a.keyword.value not in {"retain_graph", "create_graph"}
            ]
            if len(kept) < len(call.args):
                inner = ", ".join(source.code(a).rstrip(", ") for a in kept)
                edits.replace(call, f"{source.code(call.func)}({inner})")
        patch = accused.patch("do not keep the graph after backward", edits)
        if patch is not None:
            return patch
    return None


def first_backward(accused: Accused, source: Source, step: Statement) -> Statement | None:
    """The first backward of the step, in the step's own block: behind the step before it."""
    block = source.block(step)
    if step not in block:
        return None
    found: Statement | None = None
    for statement in reversed(block[: block.index(step)]):
        if accused.steps(source, statement):
            break
        if isinstance(statement, LOOPS) and not source.calls("backward", within=statement):
            continue
        if source.calls("backward", within=statement):
            found = statement
    return found


def clips(source: Source) -> list[cst.Call]:
    """Calls that clip gradients."""
    return source.calls("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "clip_grads_with_norm_")


def _move_clip(accused: Accused, summary: str) -> Patch | None:
    for source in accused.sources:
        for call in accused.suspects(clips(source), source):
            statement = source.statement(call)
            backward = next((s for s in _rest(source, statement) if source.calls("backward", within=s)), None)
            if backward is None or only(statement) is None:
                continue
            edits = Edits(source)
            edits.remove(statement)
            edits.after(backward, *edits.lines(statement))
            return accused.patch(summary, edits)
    return None


def _rest(source: Source, statement: Statement) -> list[Statement]:
    block = source.block(statement)
    return block[block.index(statement) + 1 :] if statement in block else []


def _training_statement(accused: Accused, source: Source, backward: cst.Call) -> Statement:
    """The first statement of backward's own block that runs the model, else backward's own."""
    statement = source.statement(backward)
    runs = [s for s in source.block(statement) if any(accused.forwards(source, s))]
    return runs[0] if runs else statement


def _mode_receiver(source: Source, around: cst.CSTNode) -> str | None:
    names = [
        source.code(r) for c in source.calls("eval", within=source.scope(around)) if (r := receiver(c)) is not None
    ]
    return names[0] if names else None


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
        return accused.patch("step after the last batch of a pass, too", edits)
    return None


def _gathered(accused: Accused, source: Source, backward: cst.Call) -> str | None:
    """`len(group)` of `for x, y in group:` and `k` of `for _ in range(k):`, where the step stands behind that loop."""
    loop = source.loop(backward)
    if not isinstance(loop, cst.For) or accused.steps(source, loop):
        return None
    if not any(accused.steps(source, s) for s in _rest(source, loop)):
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
