"""Repairs of breaks in the autograd graph, and of how layers are made and registered."""

from __future__ import annotations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver, targets

COMPARING = (
    "cosine_similarity",
    "mse_loss",
    "smooth_l1_loss",
    "huber_loss",
    "l1_loss",
    "kl_div",
    "criterion",
    "loss_fn",
)
"""Functions that compare a prediction (first) with a target (second)."""


def detached_term(accused: Accused) -> Patch | None:
    """Keep the term a tensor with its graph."""
    return _without_call(accused, ("detach", "item", "detach_"), "keep the term in the graph")


def detach_in_generator_step(accused: Accused) -> Patch | None:
    """Let the generator's loss reach the generator."""
    for source in accused.sources:
        found = source.calls("detach")
        own = [c for c in found if source.line(c) in accused.lines(source)]
        nodes = own or [c for c in found if "gen" in source.code(source.statement(c)).split("=")[0].lower()]
        if len(nodes) == 1 and (on := receiver(nodes[0])) is not None:
            edits = Edits(source)
            edits.replace(nodes[0], source.atom(on))
            return accused.patch("do not detach what the generator made in the generator's own loss", edits)
    return None


def checkpoint_no_input_grad(accused: Accused) -> Patch | None:
    """Checkpoint without reentry, which needs no gradient at the input."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("checkpoint", "checkpoint_sequential"):
            given = keyword(call, "use_reentrant")
            if given is not None:
                edits.replace(given.value, "False")
            elif call.args:
                _, end = source.span(call.args[-1].value)
                edits.cut(end, end, ", use_reentrant=False")
        patch = accused.patch("checkpoint with use_reentrant=False", edits)
        if patch is not None:
            return patch
    return None


def backward_twice(accused: Accused) -> Patch | None:
    """Cut the graph at the state that is carried from batch to batch."""
    for source in accused.sources:
        for call in source.calls("backward"):
            loop = source.loop(call)
            if loop is None:
                continue
            for assign in source.nodes(cst.Assign, loop):
                target = assign.targets[0].target
                names = [e.value for e in target.elements] if isinstance(target, cst.Tuple) else [target]
                state = [n for n in names if isinstance(assign.value, cst.Call) and _given(source, assign.value, n)]
                if not state:
                    continue
                edits, name = Edits(source), source.code(state[0])
                pair = "LSTM" in source.text
                new = f"{name} = tuple(s.detach() for s in {name})" if pair else f"{name} = {name}.detach()"
                edits.before(source.statement(assign), f"if {name} is not None:", f"    {new}")
                return accused.patch(f"detach {name} before the next batch uses it", edits)
    return None


def bptt_cut_or_grown(accused: Accused) -> Patch | None:
    """Detach the state between windows, not between the steps of one window."""
    for source in accused.sources:
        cuts = []
        for assign in source.nodes(cst.Assign):
            loop, state = source.loop(assign), source.code(assign.targets[0].target)
            if source.code(assign.value) == f"{state}.detach()" and loop is not None:
                cuts += [] if source.calls("backward", within=loop) else [assign]
        cut = accused.pick(cuts, source)
        if cut is not None:
            edits = Edits(source)
            edits.remove(source.statement(cut))
            return accused.patch("let the gradient flow through the steps of a window", edits)
    return _cut_at_the_call(accused) or backward_twice(accused)


def _cut_at_the_call(accused: Accused) -> Patch | None:
    """`h = cell(x, h.detach())` and `h = cell(x, h).detach()` within the steps of one window."""
    for source in accused.sources:
        cuts = []
        for call in source.calls("detach"):
            loop, on = source.loop(call), receiver(call)
            names = {source.code(n) for t in targets(source, call) for n in source.nodes(cst.Name, t)}
            carried = on is not None and any(source.code(n) in names for n in source.nodes(cst.Name, on))
            if carried and loop is not None and not source.calls("backward", within=loop):
                cuts.append(call)
        edits = Edits(source)
        for call in accused.suspects(cuts, source):
            edits.replace(call, source.code(call.func.value) if isinstance(call.func, cst.Attribute) else "")
        patch = accused.patch("let the gradient flow through the steps of a window", edits)
        if patch is not None:
            return patch
    return None


def non_differentiable_op(accused: Accused) -> Patch | None:
    """Keep the operation's value, and let the gradient pass as if it were not there (straight-through)."""
    for source in accused.sources:
        found = [c for c in source.calls("round", "sign", "floor", "ceil", "float") if receiver(c) is not None]
        call = accused.pick([c for c in found if source.line(c) in accused.lines(source)], source)
        on = receiver(call) if call is not None else None
        if call is None or on is None:
            continue
        inner: cst.BaseExpression = positional(call)[0].value if source.code(on) == "torch" and positional(call) else on
        if isinstance(inner, cst.Comparison):
            inner = inner.left
        elif last_name(call.func) == "float":
            continue
        text, edits = source.atom(inner), Edits(source)
        edits.replace(call, f"({text} + ({source.code(call)} - {text}).detach())")
        return accused.patch("let the gradient pass through the operation (straight-through estimator)", edits)
    return None


def inplace_modification(accused: Accused) -> Patch | None:
    """Make a new tensor instead of writing into one that backward needs."""
    operators = {"AddAssign": "+", "SubtractAssign": "-", "MultiplyAssign": "*", "DivideAssign": "/"}
    for source in accused.sources:
        edits, lines = Edits(source), accused.lines(source)
        for a in source.nodes(cst.AugAssign):
            sign = operators.get(type(a.operator).__name__)
            if sign is not None and source.line(a) in lines:
                target = source.code(a.target)
                edits.replace(a, f"{target} = {target} {sign} {source.atom(a.value)}")
        for call in source.nodes(cst.Call):
            flag = keyword(call, "inplace")
            if flag is not None and source.code(flag.value) == "True" and (source.line(call) in lines or not lines):
                edits.replace(flag.value, "False")
            name = last_name(call.func)
            if source.line(call) in lines and name in {
                "relu_",
                "add_",
                "mul_",
                "sub_",
                "div_",
                "clamp_",
                "sigmoid_",
                "tanh_",
            }:
                _, end = source.span(call.func)
                edits.cut(end - 1, end)
        patch = accused.patch("make a new tensor instead of changing one that backward still needs", edits)
        if patch is not None:
            return patch
    return None


def target_not_detached(accused: Accused) -> Patch | None:
    """Compute the target without gradients."""
    for source in accused.sources:
        lines = accused.lines(source)
        compared = [c for c in source.calls(*COMPARING) if source.line(c) in lines and len(positional(c)) > 1]
        if len(compared) == 1 and not source.calls("detach", within=compared[0]):
            edits, target = Edits(source), positional(compared[0])[1].value
            edits.replace(target, f"{source.atom(target)}.detach()")
            return accused.patch("detach the target", edits)
        assigns = [
            a for a in source.nodes(cst.Assign) if source.line(a) in lines or "target" in source.code(a.targets[0])
        ]
        assigns = [
            a
            for a in assigns
            if any(True for _ in source.nodes(cst.Call, a.value)) and not source.calls("detach", within=a)
        ]
        assign = accused.pick(assigns, source)
        if assign is None:
            continue
        edits = Edits(source)
        edits.replace(assign.value, f"{source.atom(assign.value)}.detach()")
        return accused.patch("detach the target", edits)
    return None


def output_activation_range(accused: Accused) -> Patch | None:
    """Leave the output of a regression unbounded."""
    for source in accused.sources:
        for call in source.calls("Sequential"):
            last = call.args[-1] if len(call.args) > 1 else None
            name = last_name(last.value.func) if last is not None and isinstance(last.value, cst.Call) else ""
            if last is not None and name in {"ReLU", "Sigmoid", "Tanh", "LeakyReLU", "Softplus"}:
                edits = Edits(source)
                edits.cut(source.span(call.args[-2].value)[1], source.span(last.value)[1])
                return accused.patch(f"let the output be linear, without {name}", edits)
        bounded = source.calls("relu", "sigmoid", "tanh", "softplus", "softmax", "leaky_relu", "hardtanh")
        here = [c for c in bounded if source.line(c) in accused.lines(source)]
        ends = here or [c for c in bounded if isinstance(source.parent(c), cst.Return)]
        node = accused.pick(ends, source)
        if node is not None:
            on = receiver(node)
            by_name = on is None or source.code(on) in {"torch", "F", "nn.functional", "torch.nn.functional"}
            inner = positional(node)[0].value if by_name or on is None else on
            edits = Edits(source)
            edits.replace(node, source.code(inner))
            return accused.patch(f"let the output be linear, without {last_name(node.func)}", edits)
    return None


def without_the_last_layer(accused: Accused) -> list[Patch]:
    """Layers that a list holds, an activation behind each of them: the last one is left out."""
    found: list[Patch] = []
    for source in accused.sources:
        for call in source.calls("Sequential"):
            last = call.args[-1] if call.args else None
            if (
                last is None
                or last.star != "*"
                or not isinstance(last.value, (cst.Name, cst.Attribute, cst.List, cst.ListComp))
            ):
                continue
            edits = Edits(source)
            edits.replace(last.value, f"{source.code(last.value)}[:-1]")
            patch = accused.patch("let the output be linear, without the last activation of the list", edits)
            found += [patch] if patch is not None else []
    return found


def _without_call(accused: Accused, names: tuple[str, ...], summary: str) -> Patch | None:
    for source in accused.sources:
        found = [c for c in source.calls(*names) if source.line(c) in accused.lines(source)]
        if len(found) == 1 and (on := receiver(found[0])) is not None:
            edits = Edits(source)
            edits.replace(found[0], source.atom(on))
            return accused.patch(summary, edits)
    return None


def _given(source: Source, call: cst.Call, name: cst.BaseExpression) -> bool:
    return any(source.code(a.value) == source.code(name) for a in call.args)
