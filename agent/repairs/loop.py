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
        edits, names = Edits(source), list[str]()
        for step, name in accused.suspects_with(uncleared, source):
            if name in names:
                continue
            names.append(name)
            statement = source.statement(step)
            backward = _in_closure(source, step) or first_backward(accused, source, statement)
            if backward is not None:
                edits.before(backward, f"{name}.zero_grad()")
            else:
                edits.after(statement, f"{name}.zero_grad()")
        if names:
            called = " and ".join(f"{name}.zero_grad()" for name in names)
            return accused.patch(f"call {called} before each backward pass", edits)
    return None


def zero_grad_after_backward(accused: Accused) -> Patch | None:
    """Move zero_grad from between backward and step to before backward."""
    for source in accused.sources:
        by_hand = [f for f in source.nodes(cst.For) if _clears(source, f)]
        for node in accused.suspects([*source.calls("zero_grad"), *by_hand], source):
            clearing = source.statement(node)
            block = source.block(clearing)
            if clearing not in block or not (is_expression(clearing) or node in by_hand):
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


def clip_before_backward(accused: Accused) -> Patch | None:
    """Clip after the gradients exist."""
    return _move_clip(accused, "clip the gradients after backward and before the step")


def clip_before_unscale(accused: Accused) -> Patch | None:
    """Unscale the gradients before they are clipped."""
    for source in accused.sources:
        for call in accused.suspects(clips(source), source):
            statement = source.statement(call)
            later = [c for s in rest(source, statement) for c, _ in accused.steps(source, s) if positional(c)]
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


def stepped_per_batch(accused: Accused) -> Patch | None:
    """Move the scheduler's step behind the loop over the batches."""
    for source in accused.sources:
        calls = [
            c for c in source.calls("step") if (r := receiver(c)) is not None and last_name(r) in accused.schedulers
        ]
        for call in accused.suspects(calls, source):
            statement, loop = source.statement(call), source.loop(call)
            if loop is None and (patch := _called_per_batch(accused, source, call)) is not None:
                return patch
            if loop is None or not is_expression(statement) or statement not in source.block(statement):
                continue
            edits = Edits(source)
            edits.remove(statement)
            edits.after(loop, *edits.lines(statement))
            return accused.patch("step the scheduler once per epoch, after the loop over the batches", edits)
    return None


def _called_per_batch(accused: Accused, source: Source, call: cst.Call) -> Patch | None:
    """In a method or function that is called for each batch: its step moves behind the loop it is called in."""
    function, statement, on = source.function(call), source.statement(call), receiver(call)
    uses = [c for c in source.calls(function.name.value) if source.loop(c) is not None] if function is not None else []
    if function is None or on is None or len(uses) != 1 or not is_expression(statement):
        return None
    loop, text, owner = source.loop(uses[0]), source.code(call), receiver(uses[0])
    names = [p.name.value for p in function.params.params]
    if text.startswith("self.") and owner is not None:
        text = source.code(owner) + text.removeprefix("self")
    elif source.code(on) in names:
        given = dict(zip(names, (a.value for a in positional(uses[0])), strict=False))
        if (node := given.get(source.code(on))) is None:
            return None
        text = text.replace(source.code(on), source.code(node), 1)
    if loop is None or (source.loop(loop) is None and source.function(loop) is None):
        return None
    edits = Edits(source)
    edits.remove(statement)
    edits.after(loop, text)
    return accused.patch("step the scheduler once per epoch, after the loop over the batches", edits)


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


def _in_closure(source: Source, step: cst.Call) -> Statement | None:
    """The backward of the closure that a step is given."""
    names = {source.code(a.value) for a in step.args}
    for function in source.nodes(cst.FunctionDef):
        if function.name.value in names and (found := source.calls("backward", within=function)):
            return source.statement(found[0])
    return None


def _clears(source: Source, loop: cst.For) -> bool:
    """`for p in model.parameters(): p.grad = None`, or `.grad.zero_()`."""
    assigned = any(last_name(a.targets[0].target) == "grad" for a in source.nodes(cst.Assign, loop.body))
    zeroed = any(source.code(c.func).endswith(".grad.zero_") for c in source.nodes(cst.Call, loop.body))
    return (assigned or zeroed) and not source.calls("backward", "step", within=loop)


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
            backward = next((s for s in rest(source, statement) if source.calls("backward", within=s)), None)
            if backward is None or only(statement) is None:
                continue
            edits = Edits(source)
            edits.remove(statement)
            edits.after(backward, *edits.lines(statement))
            return accused.patch(summary, edits)
    return None


def rest(source: Source, statement: Statement) -> list[Statement]:
    """The statements behind one in its block."""
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
