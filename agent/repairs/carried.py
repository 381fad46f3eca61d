"""Repairs of what is carried from step to step: hooks, states, batches; and of gradients between networks."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver


def carried_state(accused: Accused) -> Patch | None:
    """Cut the graph at a state that a module keeps between its calls."""
    for source in accused.sources:
        for assign in source.nodes(cst.Assign):
            target = assign.targets[0].target
            names = [e.value for e in target.elements] if isinstance(target, cst.Tuple) else [target]
            kept = [n for n in names if isinstance(n, cst.Attribute) and isinstance(assign.value, cst.Call)]
            kept = [n for n in kept if source.code(n) in {source.code(a.value) for a in _arguments(assign.value)}]
            if not kept:
                continue
            edits, name = Edits(source), source.code(kept[0])
            pair = re.search(r"\bLSTM(Cell)?\b", source.text) is not None
            new = f"{name} = tuple(s.detach() for s in {name})" if pair else f"{name} = {name}.detach()"
            edits.before(source.statement(assign), f"if {name} is not None:", f"    {new}")
            return accused.patch(f"detach {name} before the next batch uses it", edits)
    return None


def batch_of_an_object(accused: Accused) -> Patch | None:
    """A method that takes the first batch each time keeps an iterator over pass after pass instead."""
    for source in accused.sources:
        for call in source.calls("next"):
            first, function = (positional(call)[0].value if positional(call) else None), source.function(call)
            made = isinstance(first, cst.Call) and last_name(first.func) == "iter" and first.args
            if not made or function is None or not isinstance(first, cst.Call):
                continue
            owner = next((p.name.value for p in function.params.params), "")
            holder = f"{owner}._batches" if owner == "self" else f"{function.name.value}.batches"
            on, attribute = holder.rsplit(".", 1)
            edits, loader = Edits(source), source.code(first.args[0].value)
            edits.before(
                source.statement(call), f'if not hasattr({on}, "{attribute}"):',
                f"    {holder} = (batch for _ in iter(int, 1) for batch in {loader})  # pass after pass",
            )  # fmt: skip
            edits.replace(first, holder)
            return accused.patch("take the next batch instead of the first one again", edits)
    return None


def detach_before_the_step(accused: Accused) -> Patch | None:
    """The loss of an optimizer that never gets a gradient must not be detached from its network."""
    for source in accused.sources:
        built = [t for n in source.nodes(cst.Assign) if source.line(n) in accused.lines(source) for t in
                 (n.targets[0].target,)]  # fmt: skip
        for target in built:
            name = last_name(target)
            for step, optimizer in accused.steps(source):
                if optimizer.rpartition(".")[2] != name:
                    continue
                around: cst.CSTNode = source.function(step) or source.loop(step) or source.module
                backward = [c for c in source.calls("backward", within=around) if source.line(c) < source.line(step)]
                root = receiver(backward[-1]) if backward else None
                made = [a for a in source.nodes(cst.Assign, around) if root is not None
                        and source.code(a.targets[0].target) == source.code(root)
                        and source.line(a) < source.line(backward[-1])]  # fmt: skip
                cuts = source.calls("detach", within=made[-1]) if made else []
                if len(cuts) == 1 and (on := receiver(cuts[0])) is not None:
                    edits = Edits(source)
                    edits.replace(cuts[0], source.atom(on))
                    return accused.patch("do not detach what this optimizer's own loss is made of", edits)
    return None


def inplace_in_forward(accused: Accused) -> Patch | None:
    """Where the line is not known: every in-place change of a computed value in a module's methods."""
    operators = {"AddAssign": "+", "SubtractAssign": "-", "MultiplyAssign": "*", "DivideAssign": "/"}
    for source in accused.sources:
        edits = Edits(source)
        for owner in source.nodes(cst.ClassDef):
            for a in source.nodes(cst.AugAssign, owner.body):
                sign, target = operators.get(type(a.operator).__name__), source.code(a.target)
                if sign is not None and _computed(source, a, target):
                    edits.replace(a, f"{target} = {target} {sign} {source.atom(a.value)}")
            for call in source.nodes(cst.Call, owner.body):
                name = last_name(call.func)
                on = receiver(call)
                if re.fullmatch(r"(relu|add|mul|sub|div|clamp|sigmoid|tanh|exp|neg)_", name) and on is not None:
                    start, end = source.span(call.func)
                    text = f"{source.text[start : end - 1]}{source.code(call)[end - start :]}"
                    bare = isinstance(source.parent(call), cst.Expr)
                    edits.replace(call, f"{source.code(on)} = {text}" if bare else text)
        patch = accused.patch("make new tensors instead of changing ones that backward still needs", edits)
        if patch is not None:
            return patch
    return None


def float64_parameter(accused: Accused) -> Patch | None:
    """A parameter in float64, as numpy makes them, becomes float32 like the rest."""
    failure = accused.run.info.failure
    odd = [n for n, t in failure.parameters.items() if t.startswith("float64")] if failure is not None else []
    for source in accused.sources:
        for assign in source.nodes(cst.Assign):
            if last_name(assign.targets[0].target) not in odd:
                continue
            made = source.calls("from_numpy", "tensor", "as_tensor", within=assign)
            if len(made) == 1:
                edits = Edits(source)
                edits.replace(made[0], f"{source.code(made[0])}.float()")
                return accused.patch(f"keep {odd[0]} in float32", edits)
    return None


def _arguments(call: cst.BaseExpression) -> list[cst.Arg]:
    return list(call.args) if isinstance(call, cst.Call) else []


def _computed(source: Source, node: cst.CSTNode, target: str) -> bool:
    """Whether the name was assigned in the same function from a call or an operation."""
    function = source.function(node)
    made = [a for a in source.nodes(cst.Assign, function) if source.code(a.targets[0].target) == target]
    return function is not None and any(isinstance(a.value, (cst.Call, cst.BinaryOperation)) for a in made)
