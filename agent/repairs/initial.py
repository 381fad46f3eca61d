"""Repairs of how weights are initialized."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional
from aitia.agent.repairs.layers import BOUNDED
from aitia.agent.repairs.source import number

WEIGHTS = r"(\.data|weight\w*(\.data)?(\[.*\])?)$"
DRAWN = ("randn", "randn_like", "rand", "rand_like", "normal", "normal_", "uniform_", "mul_", "trunc_normal_", "div_")
CONSTANTS = ("full_like", "zeros_like", "ones_like", "full", "zeros", "ones", "eye")
INITIALIZERS = ("constant_", "zeros_", "ones_", "fill_", "zero_")


def no_offset(accused: Accused) -> Patch | None:
    """Drop the initialization that puts the biases of hidden layers far from zero."""
    for source in accused.sources:
        for call in source.calls("constant_", "fill_", "uniform_", "normal_"):
            text, statement = source.code(call), source.statement(call)
            if "bias" not in text or number(call.args[-1].value if call.args else call) == 0:
                continue
            test, loop = source.enclosing(call, (cst.If, cst.For, cst.FunctionDef)), source.loop(call)
            whole = loop if loop is not None and len(source.block(statement)) == 1 else statement
            if not isinstance(test, (cst.If, cst.For)):
                continue  # one layer by name, such as the last one with the prior of rare targets, is meant
            edits = Edits(source)
            alone = isinstance(test, cst.If) and source.parent(source.parent(test) or test) is loop
            edits.remove(whole if alone and loop is not None and len(source.block(test)) == 1 else statement)
            return accused.patch("leave the biases of hidden layers near zero", edits)
    return None


def symmetric(accused: Accused) -> Patch | None:
    """Drop the initialization that makes all units equal."""
    for source in accused.sources:
        found = [c for c in source.calls(*INITIALIZERS) if "bias" not in source.code(c)]
        call = accused.pick(found, source)
        if call is None:
            equal = [
                c for c in source.calls("zeros", "ones", "full") if len(positional(c)) > 1 and _parameter(source, c)
            ]
            call = accused.pick(equal, source)
            if call is None or last_name(call.func) == "full":
                continue
            edits, size = Edits(source), positional(call)[0].value
            _, end = source.span(call.func)
            edits.cut(end - len(last_name(call.func)), end, "randn")
            edits.cut(source.span(call)[1], source.span(call)[1], f" / {source.atom(size)} ** 0.5")
            return accused.patch("initialize at random, which tells the units apart", edits)
        edits, statement = Edits(source), source.statement(call)
        if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
            edits.remove(statement)
            return accused.patch("keep the random initialization, which tells the units apart", edits)
    return None


def random_parameters(accused: Accused) -> Patch | None:
    """Matrices that are parameters of their own and filled with one number: drawn at random, scaled by their size."""
    for source in accused.sources:
        edits, changed = Edits(source), 0
        for call in source.calls("Parameter"):
            value = positional(call)[0].value if positional(call) else None
            filled = [] if value is None else source.calls("zeros", "ones", "full", within=value)
            if len(filled) != 1 or value is None or (sizes := _sizes(source, filled[0])) is None:
                continue
            edits.replace(value, f"torch.randn({', '.join(sizes)}) / ({sizes[0]}) ** 0.5")
            changed += 1
        patch = accused.patch("initialize at random, which tells the units apart", edits) if changed else None
        if patch is not None:
            return patch
    return None


def _sizes(source: Source, call: cst.Call) -> list[str] | None:
    """The sizes of a matrix that is made, as they are written; None for a vector."""
    given = [a.value for a in positional(call)]
    if given and isinstance(given[0], (cst.Tuple, cst.List)):
        sizes = [source.code(e.value) for e in given[0].elements]
    else:
        sizes = [] if last_name(call.func) == "full" else [source.code(g) for g in given]
    return sizes if len(sizes) > 1 else None


def equal_values(accused: Accused) -> list[Patch]:
    """Drop what gives all weights one value: copies of constants, entries that are set, data that are replaced."""
    return _dropped(accused, CONSTANTS, "keep the random initialization, which tells the units apart", numbers=True)


def own_scale(accused: Accused) -> list[Patch]:
    """Drop what draws or stretches the weights to another size: the layers' own initialization has the right one."""
    return _dropped(accused, DRAWN, "keep the layers' own initialization, which is scaled by the number of inputs")


def _dropped(accused: Accused, names: tuple[str, ...], summary: str, *, numbers: bool = False) -> list[Patch]:
    found: list[Patch] = []
    for source in accused.sources:
        statements = [source.statement(c) for c in source.calls(*names)]
        statements += [source.statement(a) for a in source.nodes(cst.AugAssign) if not numbers]
        statements += [source.statement(a) for a in source.nodes(cst.Assign) if numbers and number(a.value) is not None]
        for statement in accused.suspects(dict.fromkeys(statements), source):
            small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
            target = small.targets[0].target if isinstance(small, cst.Assign) else getattr(small, "target", None)
            text = source.code(statement)
            written = isinstance(target, cst.BaseExpression) and re.search(WEIGHTS, source.code(target))
            copied = isinstance(small, cst.Expr) and re.search(r"\.\w+_\(|init\.", text)
            if (written or copied) and not re.search(r"bias|Parameter\(|running_|grad", text):
                edits = Edits(source)
                edits.remove(statement)
                patch = accused.patch(summary, edits)
                found += [patch] if patch is not None else []
    return found


def uninitialized_memory(accused: Accused) -> Patch | None:
    """Initialize the parameter."""
    for source in accused.sources:
        found = [
            c
            for c in source.nodes(cst.Call)
            if source.code(c.func) in {"torch.empty", "torch.Tensor", "torch.FloatTensor"}
        ]
        call = accused.pick(found, source)
        sizes = [source.code(a).rstrip(", ") for a in positional(call)] if call is not None else []
        if call is None or not sizes:
            continue
        edits = Edits(source)
        fan = next((s for s in reversed(sizes) if s.isdigit() and int(s) > 1), None)
        edits.replace(call, f"torch.randn({', '.join(sizes)})" + (f" / {fan}**0.5" if fan else ""))
        return accused.patch("initialize the parameter instead of taking memory as it is", edits)
    return None


def wrong_scale(accused: Accused) -> Patch | None:
    """Scale the weights by their fan-in."""
    for source in accused.sources:
        found = [c for c in source.calls("normal_", "uniform_", "trunc_normal_") if "bias" not in source.code(c)]
        call = accused.pick(found, source)
        if call is None:
            drawn = accused.pick([c for c in source.calls("randn", "rand") if _parameter(source, c)], source)
            size = next((a.value for a in positional(drawn)), None) if drawn is not None else None
            if drawn is None or size is None or len(positional(drawn)) < 2:
                continue
            edits = Edits(source)
            edits.replace(
                drawn, f"torch.randn{source.code(drawn)[len(source.code(drawn.func)) :]} / {source.atom(size)} ** 0.5"
            )
            return accused.patch("scale the initial weights by the number of inputs", edits)
        nested = source.code(call.func).startswith(("nn.init.", "init.", "torch.nn.init."))
        tensor = positional(call)[0].value if nested and positional(call) else getattr(call.func, "value", None)
        if tensor is None:
            continue
        bounded = any(b.lower() in source.text.lower() for b in BOUNDED)
        text = source.code(tensor).removesuffix(".data")
        edits = Edits(source)
        prefix = source.code(call.func).rpartition(".")[0] if nested else "torch.nn.init"
        edits.replace(call, f"{prefix}.{'xavier' if bounded else 'kaiming'}_normal_({text})")
        return accused.patch("scale the initial weights by the number of inputs", edits)
    return None


def _parameter(source: Source, call: cst.Call) -> bool:
    """Whether a drawn tensor becomes a parameter."""
    around = source.parent(call)
    while isinstance(around, (cst.Arg, cst.BinaryOperation)):
        around = source.parent(around)
    return isinstance(around, cst.Call) and last_name(around.func) == "Parameter"
