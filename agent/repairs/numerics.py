"""Repairs of operations that leave the finite numbers."""

from __future__ import annotations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver
from aitia.agent.repairs.source import number

EPS = "1e-12"
"""Below any distance or probability that matters in float32, and far above its smallest number (1.2e-38)."""
DIVISOR_EPS = "1e-5"
"""Larger than the rounding of a constant column around its mean, so that the quotient stays small there, too."""
HALF = 0.5
TORCH = frozenset({"torch", "F", "nn.functional", "functional", "np", "torch.linalg"})


def log_zero(accused: Accused) -> Patch | None:
    """Keep the argument of the logarithm above zero; log_softmax where it is a softmax."""
    for source in accused.sources:
        edits, summary = Edits(source), "keep the logarithm's argument above zero"
        for call in _accused_calls(accused, source, "log", "log2", "log10"):
            argument = _argument(source, call)
            if argument is None:
                continue
            softmax = isinstance(argument, cst.Call) and last_name(argument.func) == "softmax"
            if softmax and last_name(call.func) == "log":
                text, at = source.code(argument), source.code(argument).index("softmax")
                edits.replace(call, f"{text[:at]}log_{text[at:]}")
                summary = "use log_softmax, which never takes the logarithm of zero"
            else:
                edits.replace(argument, f"{source.atom(argument)}.clamp_min({EPS})")
        patch = accused.patch(summary, edits)
        if patch is not None:
            return patch
    return None


def sqrt_at_zero_backward(accused: Accused) -> Patch | None:
    """Keep the square root away from zero, where its slope is infinite."""
    for source in accused.sources:
        edits = Edits(source)
        for call in _accused_calls(accused, source, "sqrt"):
            argument = _argument(source, call)
            if argument is not None:
                edits.replace(argument, _plus_eps(source, argument, method=argument is receiver(call)))
        for call in _accused_calls(accused, source, "pow"):
            exponent, base = positional(call)[-1:], _argument(source, call)
            if exponent and number(exponent[0].value) == HALF and base is not None and _here(accused, source, call):
                edits.replace(base, _plus_eps(source, base, method=base is receiver(call)))
        for power in source.nodes(cst.BinaryOperation):
            if isinstance(power.operator, cst.Power) and number(power.right) == HALF and _here(accused, source, power):
                edits.replace(power.left, _plus_eps(source, power.left, method=True))
        for call in _accused_calls(accused, source, "std", "norm"):
            inner, options = _reduced(source, call)
            if inner is not None and source.line(call) in accused.lines(source):
                body = f"{inner}.var({options})" if last_name(call.func) == "std" else f"{inner}.pow(2).sum({options})"
                edits.replace(call, f"({body} + {EPS}).sqrt()")
        patch = accused.patch("keep the square root away from zero, where its slope is infinite", edits)
        if patch is not None:
            return patch
    return None


def divide_by_zero_scale(accused: Accused) -> Patch | None:
    """Keep the divisor away from zero."""
    for source in accused.sources:
        divisions = [b for b in source.nodes(cst.BinaryOperation) if isinstance(b.operator, cst.Divide)]
        divisions = [b for b in divisions if number(b.right) is None and source.line(b) in accused.lines(source)]
        if len(divisions) == 1:
            right, edits = divisions[0].right, Edits(source)
            text = f"{source.code(right)} + {DIVISOR_EPS}"
            edits.replace(right, text if right.lpar else f"({text})")
            return accused.patch("keep the divisor away from zero", edits)
    return None


def exp_overflow(accused: Accused) -> Patch | None:
    """Shift the exponent by its maximum, which a softmax does not feel."""
    for source in accused.sources:
        found = _accused_calls(accused, source, "exp")
        call = found[0] if len(found) == 1 else None
        argument = _argument(source, call) if call is not None else None
        if call is None or argument is None:
            continue
        inner, edits = source.atom(argument), Edits(source)
        shifted = f"{inner} - {inner}.amax(dim=-1, keepdim=True)"
        edits.replace(argument, f"({shifted})" if argument is receiver(call) else shifted)
        return accused.patch("subtract the maximum before exp", edits)
    return None


def _accused_calls(accused: Accused, source: Source, *names: str) -> list[cst.Call]:
    found = [c for c in source.calls(*names) if not source.code(c.func).startswith(("math.", "np."))]
    return [c for c in found if _here(accused, source, c)] or (found if len(found) == 1 else [])


def _here(accused: Accused, source: Source, node: cst.CSTNode) -> bool:
    lines = accused.lines(source)
    return any(source.line(node) <= x <= source.range(node).end.line for x in lines)


def _argument(source: Source, call: cst.Call) -> cst.BaseExpression | None:
    """`x` of `torch.log(x)` and of `x.log()`."""
    on = receiver(call)
    if on is None or source.code(on) in TORCH:
        return positional(call)[0].value if positional(call) else None
    return on


def _reduced(source: Source, call: cst.Call) -> tuple[str | None, str]:
    """The tensor and the dimensions of `x.norm(dim=1)` or `torch.std(x, 1)`."""
    on, rest = receiver(call), list(call.args)
    if on is None or source.code(on) in TORCH:
        if not rest:
            return None, ""
        inner, rest = rest[0].value, rest[1:]
    else:
        inner = on
    if last_name(call.func) == "norm":
        if any(a.keyword is None and number(a.value) != 2 for a in rest[:1]):
            return None, ""
        rest = [a for a in rest if a.keyword is not None and a.keyword.value in {"dim", "keepdim"}]
    return source.atom(inner), ", ".join(source.code(a).rstrip(", ") for a in rest)


def _plus_eps(source: Source, node: cst.BaseExpression, *, method: bool) -> str:
    text = f"{source.code(node)} + {EPS}"
    return f"({text})" if method and not node.lpar else text
