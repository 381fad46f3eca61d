"""Repairs of what a module makes in the wrong place, or makes and does not use."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver, targets
from aitia.agent.repairs.source import number

POSITION = re.compile(r"(?i)pos")
TOKENS = re.compile(r"(?i)(tok|word|char|letter|symbol|emb|wte)")
WIDENED = 32
"""Width of a layer that was too narrow to tell more than two things apart; small beside the layers around it."""
MULTIPLIER = re.compile(r"(?i)(mult|width_factor|scale|ratio)")


def device_mismatch(accused: Accused) -> Patch | None:
    """A module's constant tensor becomes a buffer, which moves along; others are made where the input is."""
    for source in accused.sources:
        lines = accused.lines(source)
        used = {source.code(n) for n in source.nodes(cst.Attribute) if source.line(n) in lines}
        edits = Edits(source)
        for assign in source.nodes(cst.Assign):
            target = assign.targets[0].target
            own = isinstance(target, cst.Attribute) and source.code(target.value) == "self" and len(assign.targets) == 1
            if not own or source.code(target) not in used or not makes_tensor(source, assign.value):
                continue
            edits.replace(assign, f'self.register_buffer("{last_name(target)}", {source.code(assign.value)})')
        patch = accused.patch("keep the constant as a buffer, which moves with its module", edits)
        if patch is not None:
            return patch
        if (patch := _made_here(accused, source)) is not None:
            return patch
    return None


def param_recreated_each_forward(accused: Accused) -> Patch | None:
    """Use the parameter itself, not a new one made of it; make layers once, in __init__."""
    for source in accused.sources:
        edits = Edits(source)
        for function in source.nodes(cst.FunctionDef):
            if function.name.value == "__init__" or source.enclosing(function, (cst.ClassDef,)) is None:
                continue
            for call in source.calls("Parameter", within=function.body):
                first = positional(call)[0].value if positional(call) else None
                if first is None or "self." not in source.code(first):
                    continue
                assigned = [t for t in targets(source, call) if source.code(t).startswith("self.")]
                if not assigned:
                    edits.replace(call, source.atom(_attached(first)))
                elif isinstance(statement := source.statement(call), cst.SimpleStatementLine):
                    edits.remove(statement)
            for call in source.nodes(cst.Call, function.body):
                patch = _moved_to_init(accused, source, function, call)
                if patch is not None:
                    return patch
        patch = accused.patch("use the parameter itself instead of a new one in every forward", edits)
        if patch is not None:
            return patch
    return None


def no_position_signal(accused: Accused) -> Patch | None:
    """Add the positions to the token embedding."""
    for source in accused.sources:
        for function in [f for f in source.nodes(cst.FunctionDef) if f.name.value in {"forward", "encode", "embed"}]:
            made = _unused_positions(source, function)
            looked = [c for c in source.nodes(cst.Call, function.body) if _token_lookup(source, c)]
            if len(looked) != 1:
                continue
            edits = Edits(source)
            if made is not None:
                edits.replace(looked[0], f"{source.code(looked[0])} + {made}")
                late = next(
                    (a for a in source.nodes(cst.Assign, function) if source.code(a.targets[0].target) == made), None
                )
                if late is not None and source.line(late) > source.line(looked[0]):
                    continue
            elif (table := _table(source, function)) is not None:
                tokens = source.code(positional(looked[0])[0].value)
                where = f"torch.arange({tokens}.shape[1], device={tokens}.device)"
                edits.replace(looked[0], f"{source.code(looked[0])} + {table}({where})")
            else:
                return _new_positions(accused, source, function, looked[0])
            return accused.patch("add the positions to the token embedding", edits)
    return None


def capacity_bottleneck(accused: Accused) -> Patch | None:
    """Widen the narrow layer, on both of its sides."""
    part = accused.hypothesis.component
    info = next((x for x in accused.run.layers if x.name == part), None)
    narrow = (info.config.get("out_features") or info.config.get("out_channels")) if info is not None else None
    for source in accused.sources:
        for name in [a for a in source.nodes(cst.Assign) if MULTIPLIER.search(source.code(a.targets[0].target))]:
            if (value := number(name.value)) is not None and 0 < value < 1:
                edits = Edits(source)
                edits.replace(name.value, "1.0")
                return accused.patch("use the full width of the layers", edits, "config")
        if isinstance(narrow, int):
            edits = Edits(source)
            for node in _widths(source, narrow):
                edits.replace(node, str(WIDENED))
            patch = accused.patch(f"widen the layer of {narrow} to {WIDENED}", edits, "config")
            if patch is not None:
                return patch
    return None


def _widths(source: Source, narrow: int) -> list[cst.BaseExpression]:
    """Where the narrow width is written: at the layers on both of its sides, else the one name or argument."""
    layers = [c for c in source.calls("Linear", "Conv1d", "Conv2d", "LazyLinear") if positional(c)]
    found = [
        a.value for c in layers for place, a in enumerate(positional(c)[:2])
        if number(a.value) == narrow and not (c is layers[-1] and place == 1)
    ]  # fmt: skip
    if found:
        norms = source.calls("BatchNorm1d", "BatchNorm2d", "LayerNorm")
        return found + [a.value for c in norms for a in positional(c)[:1] if number(a.value) == narrow]
    named = [a.value for a in source.nodes(cst.Assign) if number(a.value) == narrow and not _is_count(source, a)]
    given = [a for c in source.nodes(cst.Call) for a in c.args if a.keyword is not None and number(a.value) == narrow]
    entries = named or [a.value for a in given if re.search(r"hidden|width|dim|size|latent|code", source.code(a))]
    return entries if len(entries) == 1 else []


def _is_count(source: Source, assign: cst.Assign) -> bool:
    return bool(re.search(r"(?i)class|epoch|seed|batch|worker|head|layer", source.code(assign.targets[0].target)))


def makes_tensor(source: Source, node: cst.BaseExpression) -> bool:
    """Whether an expression makes a tensor that is no parameter."""
    name = source.qualified(node.func) if isinstance(node, cst.Call) else ""
    calls = [source.code(c.func) for c in source.nodes(cst.Call, node)]
    return (name.startswith("torch.") and not name.startswith("torch.nn")) or (
        any(c.startswith("torch.") and not c.startswith("torch.nn") for c in calls)
        and not any(c.startswith("nn.") for c in calls)
    )


def _made_here(accused: Accused, source: Source) -> Patch | None:
    """`torch.arange(n)` in a forward is made on the device of the input."""
    makers = ("arange", "zeros", "ones", "full", "randn", "rand", "tensor", "linspace", "eye", "empty")
    lines = accused.lines(source)
    functions = [f for f in source.nodes(cst.FunctionDef) if f.name.value == "forward"]
    for function in functions:
        if not any(source.line(function) <= n <= source.last_line(function) for n in lines):
            continue
        if len(function.params.params) < 2:
            continue
        given, edits = function.params.params[1].name.value, Edits(source)
        for call in source.calls(*makers, within=function.body):
            if source.code(call.func).startswith("torch.") and call.args and "device" not in source.code(call):
                _, end = source.span(call.args[-1].value)
                edits.cut(end, end, f", device={given}.device")
        patch = accused.patch("make the tensor on the device of the input", edits)
        if patch is not None:
            return patch
    return None


def _attached(node: cst.BaseExpression) -> cst.BaseExpression:
    """`x` of `x.detach().clone()` and `x.data`."""
    while True:
        if (
            isinstance(node, cst.Call)
            and last_name(node.func) in {"detach", "clone"}
            and (on := receiver(node)) is not None
        ):
            node = on
        elif isinstance(node, cst.Attribute) and node.attr.value == "data":
            node = node.value
        else:
            return node


def _moved_to_init(accused: Accused, source: Source, function: cst.FunctionDef, call: cst.Call) -> Patch | None:
    """`nn.Linear(8, 4)(x)` and `self.fc = nn.Linear(8, 4)` in a forward: the layer moves to __init__."""
    name = source.code(call.func)
    layer = re.match(r"(torch\.)?nn\.[A-Z]\w+$", name) and not name.endswith(("Parameter", "Sequential", "ModuleList"))
    if not layer or not call.args or any(number(a.value) is None and not _plain(source, a) for a in call.args):
        return None
    owner = source.enclosing(function, (cst.ClassDef,))
    makers = (
        [f for f in source.nodes(cst.FunctionDef, owner) if f.name.value == "__init__"] if owner is not None else []
    )
    body = makers[0].body.body if makers and isinstance(makers[0].body, cst.IndentedBlock) else ()
    last = [s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))][-1:]
    if not last or "forward" not in function.name.value:
        return None
    edits, statement = Edits(source), source.statement(call)
    held = [t for t in targets(source, call) if source.code(t).startswith("self.")]
    summary = "make the layer once, in __init__"
    if held and isinstance(statement, cst.SimpleStatementLine):
        edits.after(last[0], *edits.lines(statement))
        edits.remove(statement)
        return accused.patch(summary, edits)
    attribute = f"self.{name.rpartition('.')[2].lower()}_made_once"
    edits.after(last[0], f"{attribute} = {source.code(call)}")
    edits.replace(call, attribute)
    return accused.patch(summary, edits)


def _plain(source: Source, argument: cst.Arg) -> bool:
    """`self.width`, `True`, `bias=False`: what __init__ knows, too."""
    return bool(re.fullmatch(r"(\w+\s*=\s*)?(self\.\w+|True|False|None|[A-Z_]+)", source.code(argument).rstrip(", ")))


def _token_lookup(source: Source, call: cst.Call) -> bool:
    name = last_name(call.func)
    on_self = source.code(call.func).startswith("self.")
    return on_self and bool(TOKENS.search(name)) and not POSITION.search(name) and len(positional(call)) == 1


def _unused_positions(source: Source, function: cst.FunctionDef) -> str | None:
    """A name that was made of a position embedding and is used nowhere."""
    for assign in source.nodes(cst.Assign, function.body):
        target = assign.targets[0].target
        if not isinstance(target, cst.Name) or not any(
            POSITION.search(source.code(c.func)) for c in source.nodes(cst.Call, assign.value)
        ):
            continue
        uses = [n for n in source.nodes(cst.Name, function.body) if n.value == target.value and n is not target]
        if not uses:
            return target.value
    return None


def _table(source: Source, function: cst.FunctionDef) -> str | None:
    """A position embedding that the class holds and this forward never asks."""
    owner = source.enclosing(function, (cst.ClassDef,))
    if owner is None:
        return None
    held = {source.code(t) for c in source.calls("Embedding", within=owner) for t in targets(source, c)}
    held = {h for h in held if POSITION.search(h) and h.startswith("self.")}
    return held.pop() if len(held) == 1 else None


def _new_positions(accused: Accused, source: Source, function: cst.FunctionDef, lookup: cst.Call) -> Patch | None:
    """Where there are no positions at all: a table of sines beside the token embedding, as long as the sequence."""
    if "import torch" not in source.text:
        return None
    statement, tokens = source.statement(lookup), source.code(lookup)
    edits, on = Edits(source), targets(source, lookup)
    if len(on) != 1 or not isinstance(statement, cst.SimpleStatementLine):
        return None
    edits.before(
        statement, f"embedded = {tokens}",
        "place = torch.arange(embedded.shape[1], device=embedded.device)[:, None]",
        "waves = torch.exp(-9.2 * torch.arange(embedded.shape[2], device=embedded.device) / embedded.shape[2])",
    )  # fmt: skip
    edits.replace(
        lookup,
        "embedded + torch.sin(place * waves + 1.57 * (torch.arange(embedded.shape[2], device=embedded.device) % 2))",
    )
    return accused.patch("add sinusoidal positions to the token embedding", edits)
