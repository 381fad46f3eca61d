"""Repairs of what reaches the loss, and of what is made of it."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver, targets
from aitia.agent.repairs.source import number

CRITERIA = frozenset({"criterion", "loss_fn", "loss_func", "loss_function", "lossfn", "objective"})
MAXIMIZED = re.compile(r"log_prob|likelihood|elbo|reward|return|score", re.IGNORECASE)
FUNCTIONS = {"cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
             "binary_cross_entropy_with_logits", "kl_div"}  # fmt: skip


def double_softmax(accused: Accused) -> Patch | None:
    """Hand the loss the logits: take the activation away that the loss applies itself."""
    for source in accused.sources:
        for name, layer in (("softmax", "Softmax"), ("log_softmax", "LogSoftmax"), ("sigmoid", "Sigmoid")):
            edits = _without_activation(accused, source, name, layer)
            if edits is not None:
                return accused.patch(f"give the loss the logits, without {name}", edits)
    return None


def missing_log(accused: Accused) -> Patch | None:
    """Give the negative log likelihood logarithms: log_softmax in the place of softmax."""
    for source in accused.sources:
        found = [c for c in source.calls("softmax", "Softmax") if "attn" not in source.code(source.statement(c))]
        call = accused.pick(_reaching_loss(accused, source, found) or found, source)
        if call is None:
            continue
        edits = Edits(source)
        _, end = source.span(call.func)
        old = last_name(call.func)
        edits.cut(end - len(old), end, {"softmax": "log_softmax", "Softmax": "LogSoftmax"}[old])
        return accused.patch("take the logarithm: log_softmax instead of softmax", edits)
    return None


def shape_broadcast(accused: Accused) -> Patch | None:
    """Give prediction and target one shape before they meet."""
    facts = [f for f in accused.run.facts("loss_call") if f.data.get("broadcast")]
    for source in accused.sources:
        recorded = {f.line for f in facts if f.file == source.name}
        for call in loss_calls(accused, source):
            two = positional(call)[:2]
            span = range(source.line(call), source.range(call).end.line + 1)
            if len(two) == 2 and (recorded & set(span) or set(span) & accused.lines(source)):
                edits = Edits(source)
                _same_shape(source, edits, two[0].value, two[1].value)
                return accused.patch("give prediction and target the same shape", edits)
        accused_here = accused.lines(source)
        differences = [b for b in source.nodes(cst.BinaryOperation) if isinstance(b.operator, cst.Subtract)]
        differences = [b for b in differences if source.line(b) in accused_here and number(b.right) is None]
        if len(differences) == 1:
            edits = Edits(source)
            _same_shape(source, edits, differences[0].left, differences[0].right)
            return accused.patch("give prediction and target the same shape", edits)
    return None


def sign_flipped(accused: Accused) -> Patch | None:
    """Minimize the loss: drop the minus in front of it."""
    for source in accused.sources:
        rooted = {source.code(r) for c in source.calls("backward") if (r := receiver(c)) is not None}
        minus = [u for u in source.nodes(cst.UnaryOperation) if isinstance(u.operator, cst.Minus)]
        minus = [u for u in minus if number(u) is None and not MAXIMIZED.search(source.code(u.expression))]
        direct = [u for u in minus if _feeds(source, u, rooted) and _is_loss(accused, source, u.expression)]
        node = accused.pick(direct or [u for u in minus if source.line(u) in accused.lines(source)], source)
        if node is None:
            patch = _missing_minus(accused, source, rooted)
            if patch is not None:
                return patch
            continue
        edits = Edits(source)
        start, _ = source.span(node)
        edits.cut(start, start + len(cst.Module([]).code_for_node(node.operator)))
        return accused.patch("minimize the loss: drop the minus", edits)
    return None


def clipped_loss(accused: Accused) -> Patch | None:
    """Do not clamp the loss."""
    for source in accused.sources:
        found = source.calls("clamp", "clamp_max", "clip", "clamp_", "clamp_min")
        here = [c for c in found if source.line(c) in accused.lines(source)]
        found = here if len(here) == 1 else [c for c in found if "loss" in source.code(source.statement(c)).lower()]
        call = accused.pick(found, source)
        on = receiver(call) if call is not None else None
        if call is None or on is None:
            continue
        inner = positional(call)[0].value if source.code(on) == "torch" and positional(call) else on
        edits = Edits(source)
        edits.replace(call, source.code(inner))
        return accused.patch("do not clamp the loss: clamped samples have no gradient", edits)
    return None


def loss_calls(accused: Accused, source: Source) -> list[cst.Call]:
    """Calls of loss functions, and of loss modules under their usual names."""
    made = {
        last_name(t) for s in accused.sources for c in s.nodes(cst.Call) if _builds_loss(s, c) for t in targets(s, c)
    }
    names = CRITERIA | FUNCTIONS | (made - {""})
    return [
        c for c in source.nodes(cst.Call)
        if last_name(c.func) in names or _anonymous(source, c)
        or source.qualified(c.func).removeprefix("torch.nn.functional.") in FUNCTIONS
    ]  # fmt: skip


def _builds_loss(source: Source, call: cst.Call) -> bool:
    name = last_name(call.func)
    return name.endswith("Loss") and name[:1].isupper()


def _anonymous(source: Source, call: cst.Call) -> bool:
    """`nn.CrossEntropyLoss()(logits, y)`."""
    return isinstance(call.func, cst.Call) and _builds_loss(source, call.func)


def _without_activation(accused: Accused, source: Source, function: str, layer: str) -> Edits | None:
    edits, lines = Edits(source), accused.lines(source)
    last = [
        e
        for e in _last_elements(source)
        if last_name(e.value.func if isinstance(e.value, cst.Call) else e.value) == layer
    ]
    used = source.calls(function)
    held = {last_name(t) for c in source.calls(layer) for t in targets(source, c)} - {""}
    used += [c for c in source.nodes(cst.Call) if last_name(c.func) in held and len(positional(c)) == 1]
    accused_uses = [c for c in used if source.line(c) in lines]
    reaching = accused_uses or _reaching_loss(accused, source, used)
    if reaching and not (last and lines & {source.line(last[0])}):
        call = reaching[-1]  # an earlier one, in an attention for instance, is there for a reason
        on = receiver(call)
        plain = last_name(call.func) in held or (
            on is not None and source.code(on) in {"F", "torch", "nn.functional", "functional"}
        )
        inner = positional(call)[0].value if (plain or on is None) and positional(call) else on
        if inner is not None:
            edits.replace(call, source.atom(inner))
            return edits
    if len(last) == 1:
        sequence = source.parent(last[0])
        if isinstance(sequence, cst.Call):
            edits.cut(source.span(sequence.args[-2].value)[1], source.span(last[0].value)[1])
            return edits
    return None


def _last_elements(source: Source) -> list[cst.Arg]:
    """The last arguments of `nn.Sequential(...)`, where there are several."""
    return [c.args[-1] for c in source.calls("Sequential") if len(c.args) > 1]


def _reaching_loss(accused: Accused, source: Source, calls: list[cst.Call]) -> list[cst.Call]:
    """Those whose value is returned by a forward, handed to a loss, or assigned to a name that is."""
    handed = loss_calls(accused, source)
    names = {source.code(a.value) for c in handed for a in positional(c)[:1]}
    inside = [n for h in handed for a in positional(h)[:1] for n in source.nodes(cst.Call, a)]
    return [
        c for c in calls
        if c in inside or _returned(source, c) or {source.code(t) for t in _assigned(source, c)} & names
    ]  # fmt: skip


def _returned(source: Source, call: cst.Call) -> bool:
    """Whether a forward returns a call's value: `return f(x)`, or `x = f(x)` and later `return x`."""
    function = source.function(call)
    if function is None or function.name.value != "forward":
        return False
    values = [r.value for r in source.nodes(cst.Return, function) if r.value is not None]
    texts = {source.code(v) for v in values}
    return call in values or bool({source.code(t) for t in _assigned(source, call)} & texts)


def _assigned(source: Source, call: cst.Call) -> list[cst.BaseExpression]:
    """What a call's value, and nothing else, is assigned to."""
    around = source.parent(call)
    return targets(source, call) if isinstance(around, cst.Assign) else []


def _same_shape(source: Source, edits: Edits, prediction: cst.BaseExpression, target: cst.BaseExpression) -> None:
    if isinstance(target, (cst.Name, cst.Attribute)):
        edits.replace(prediction, f"{source.atom(prediction)}.reshape({source.code(target)}.shape)")
    else:
        for side in (prediction, target):
            edits.replace(side, f"{source.atom(side)}.reshape(-1)")


def _feeds(source: Source, node: cst.CSTNode, roots: set[str]) -> bool:
    """Whether an expression is what backward starts from, or is assigned to it."""
    at, statement = source.parent(node), source.statement(node)
    while at is not None and isinstance(at, (cst.BaseExpression, cst.Arg)):
        if isinstance(at, cst.Attribute) and at.attr.value == "backward":
            return True
        at = source.parent(at)
    if isinstance(statement, cst.SimpleStatementLine) and any(isinstance(s, cst.Return) for s in statement.body):
        return True
    return bool({source.code(t) for t in targets(source, node)} & roots)


def climbing(accused: Accused) -> Patch | None:
    """Walk against the gradient: `p.data -= lr * p.grad`."""
    for source in accused.sources:
        edits = Edits(source)
        for a in source.nodes(cst.AugAssign):
            if isinstance(a.operator, cst.AddAssign) and ".grad" in source.code(a.value):
                start, end = source.span(a.operator)
                edits.cut(start, end, source.text[start:end].replace("+", "-"))
        patch = accused.patch("walk against the gradient", edits)
        if patch is not None:
            return patch
    return None


def _missing_minus(accused: Accused, source: Source, roots: set[str]) -> Patch | None:
    """Put the minus in front of a likelihood that is to be maximized."""
    assigned = [a for a in source.nodes(cst.Assign) if source.code(a.targets[0].target) in roots]
    assigned = [
        a for a in assigned if MAXIMIZED.search(source.code(a.value)) and not source.code(a.value).startswith("-")
    ]
    assign = accused.pick(assigned, source)
    if assign is None:
        return None
    edits = Edits(source)
    edits.replace(assign.value, f"-{source.atom(assign.value)}")
    return accused.patch("minimize the negative of what is to be maximized", edits)


def _is_loss(accused: Accused, source: Source, node: cst.BaseExpression) -> bool:
    calls = loss_calls(accused, source)
    return "loss" in source.code(node).lower() or any(c in calls for c in source.nodes(cst.Call, node))
