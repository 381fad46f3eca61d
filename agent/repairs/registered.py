"""Repairs of layers that a model holds without knowing them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver
from aitia.agent.repairs.sequences import module
from aitia.agent.repairs.source import number

KNOWN = frozenset({"ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict"})
LISTS, DICTS = ("list", "tuple"), ("dict", "OrderedDict")
SUMMARY = "register the layers with the model: "


def submodule_not_registered(accused: Accused) -> Iterator[Patch]:
    """Layers in a list, tuple or dictionary; attributes that bypass the model; blocks that are no modules."""
    for source in accused.sources:
        edits, named = Edits(source), set[str]()
        for target, value in _attributes(source):
            held = _held(source, target, value)
            if held is not None:
                named.add(held)
                _wrap(source, edits, value, held)
        what = " and ".join(sorted(named)) + " instead of a list or dict"
        blocks, both = Edits(source), Edits(source)
        _blocks(source, blocks)
        for target, value in _attributes(source) if blocks.result() is not None else ():
            if (held := _held(source, target, value)) is not None and not _in_block(source, value):
                _wrap(source, both, value, held)
        _blocks(source, both)
        for patch in (
            accused.patch(SUMMARY + what, edits), _set_plainly(accused, source), *_by_path(accused, source),
            accused.patch(SUMMARY + "make the block a module", both),
            accused.patch(SUMMARY + "make the block a module", blocks),
        ):  # fmt: skip
            if patch is not None:
                yield patch


def _in_block(source: Source, node: cst.CSTNode) -> bool:
    """Whether this stands in a class that is no module."""
    owner = source.enclosing(node, (cst.ClassDef,))
    return isinstance(owner, cst.ClassDef) and not owner.bases


def _by_path(accused: Accused, source: Source) -> Iterator[Patch | None]:
    """`self.experts = made(n)`: the path of the accused layer says that this holds layers."""
    name = (accused.hypothesis.component or "").partition(".")[0]
    for target, value in _attributes(source):
        if target != f"self.{name}" or _held(source, target, value) is not None:
            continue
        if isinstance(value, (cst.Name, cst.Call)) and not _layer_at_once(source, value):
            edits = Edits(source)
            edits.replace(value, f"{module(source, 'ModuleList')}({source.code(value)})")
            yield accused.patch(SUMMARY + "ModuleList instead of a list", edits)


def _layer_at_once(source: Source, value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Call) and (_layer(source, value) or last_name(value.func) in KNOWN)


HELPER = """def layers_in(held):
    \"\"\"Layers in lists, dictionaries, functions and plain objects, which a model does not find by itself.\"\"\"
    if isinstance(held, {0}):
        return [held]
    if isinstance(held, dict):
        held = held.values()
    elif callable(held) and getattr(held, "__defaults__", None) or getattr(held, "__closure__", None):
        held = [*(held.__defaults__ or ()), *(cell.cell_contents for cell in held.__closure__ or ())]
    elif hasattr(held, "func") and hasattr(held, "keywords"):
        held = [held.func, *held.args, *held.keywords.values()]
    elif hasattr(held, "__dict__"):
        held = vars(held).values()
    return [m for part in held for m in layers_in(part)] if not hasattr(held, "shape") and hasattr(
        held, "__iter__") and not isinstance(held, str) else []


"""
"""What finds layers wherever an object keeps them."""


def held_anywhere(accused: Accused) -> Iterator[Patch]:
    """Where no container can be exchanged: the model registers what its attributes hold."""
    for source in accused.sources:
        modules = [c for c in source.nodes(cst.ClassDef) if any("Module" in source.code(b.value) for b in c.bases)]
        for owner in reversed(modules):
            init = next((f for f in source.nodes(cst.FunctionDef, owner) if f.name.value == "__init__"), None)
            body = init.body.body if init is not None and isinstance(init.body, cst.IndentedBlock) else ()
            last = body[-1] if body else None
            if not isinstance(last, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                continue
            edits = Edits(source)
            at = source.offset(min([source.line(owner), *(source.line(d) for d in owner.decorators)]))
            edits.cut(at, at, HELPER.format(module(source, "Module")))
            own = '[v for k, v in vars(self).items() if not k.startswith("_")]'
            edits.after(last, f"self.held = {module(source, 'ModuleList')}(layers_in({own}))")
            patch = accused.patch(SUMMARY + "those that its attributes hold", edits)
            if patch is not None:
                yield patch


def _attributes(source: Source) -> Iterator[tuple[str, cst.BaseExpression]]:
    """`self.x = value` in the classes of a file."""
    assigned: list[cst.Assign | cst.AnnAssign] = [*source.nodes(cst.Assign), *source.nodes(cst.AnnAssign)]
    for node in assigned:
        target = node.target if isinstance(node, cst.AnnAssign) else node.targets[0].target
        if isinstance(target, cst.Tuple):
            continue
        inside = source.enclosing(node, (cst.ClassDef,)) is not None
        if source.code(target).startswith("self.") and node.value is not None and inside:
            yield source.code(target), node.value


def _held(source: Source, target: str, value: cst.BaseExpression) -> str | None:
    """`ModuleList` or `ModuleDict`, where a plain container of layers is assigned."""
    node: cst.BaseExpression = value
    if isinstance(node, cst.BinaryOperation):
        node = node.left if isinstance(node.left, (cst.List, cst.ListComp)) else node.right
    called = last_name(node.func) if isinstance(node, cst.Call) else ""
    holds, dictionary = False, isinstance(node, (cst.Dict, cst.DictComp)) or called in DICTS
    if called in LISTS + DICTS and isinstance(node, cst.Call):
        holds = layers(source, node) if positional(node) else _filled(source, target)
    elif isinstance(node, (cst.List, cst.Tuple, cst.ListComp, cst.Dict, cst.DictComp)):
        empty = isinstance(node, (cst.List, cst.Dict)) and not node.elements
        holds = _filled(source, target) if empty else layers(source, node)
    elif isinstance(node, cst.Name) and _filled(source, node.value):
        made = [a.value for a in source.nodes(cst.Assign, source.scope(node))
                if source.code(a.targets[0].target) == node.value]  # fmt: skip
        holds, dictionary = bool(made), any(isinstance(m, (cst.Dict, cst.DictComp)) for m in made)
    if not holds or (dictionary and _numbered(source, node, target)):
        return None
    return "ModuleDict" if dictionary else "ModuleList"


def _wrap(source: Source, edits: Edits, value: cst.BaseExpression, holder: str) -> None:
    name = module(source, holder)
    empty = isinstance(value, (cst.List, cst.Dict)) and not value.elements
    bare = isinstance(value, cst.Call) and last_name(value.func) in LISTS + DICTS and not value.args
    if empty or bare:
        edits.replace(value, f"{name}()")
        return
    start, end = source.span(value)
    if isinstance(value, cst.List) and all(isinstance(e.value, cst.Tuple) for e in value.elements):
        for element in value.elements:
            first, last = source.span(element.value)
            opened = source.text[first - 1 : first] == "(" and not source.code(element.value).startswith("(")
            first, last = (first - 1, last + 1) if opened else (first, last)
            edits.cut(first, first, f"{module(source, 'ModuleList')}(")
            edits.cut(last, last, ")")
    if (
        isinstance(value, cst.Tuple)
        and source.text[start - 1 : start] == "("
        and not source.code(value).startswith("(")
    ):
        start, end = start - 1, end + 1
    edits.cut(start, start, f"{name}(")
    edits.cut(end, end, ")")


def layers(source: Source, node: cst.CSTNode) -> bool:
    """Whether an expression makes layers: of torch, of classes here, or by functions here that return some."""
    calls = [c for c in source.nodes(cst.Call, node) if number(c) is None]
    classes = {c.name.value for c in source.nodes(cst.ClassDef) if c.bases}
    makers = {f.name.value for f in source.nodes(cst.FunctionDef)
              if f.name.value != "__init__" and any(_layer(source, c) for r in source.nodes(cst.Return, f)
                                                    for c in source.nodes(cst.Call, r))}  # fmt: skip
    return any(_layer(source, c) or last_name(c.func) in classes | makers for c in calls) and not any(
        last_name(c.func) in KNOWN - {"Sequential"} for c in calls
    )


def _layer(source: Source, call: cst.Call) -> bool:
    name = source.qualified(call.func) or source.code(call.func)
    plain = last_name(call.func)
    return plain[:1].isupper() and plain not in {"Parameter"} and ("nn." in name or "." not in name)


def _filled(source: Source, target: str) -> bool:
    """Whether layers are put into the container later on."""
    for call in source.calls("append", "extend", "insert", "update", "setdefault"):
        on = receiver(call)
        if on is not None and source.code(on) == target and any(_made(source, a.value) for a in call.args):
            return True
    for a in source.nodes(cst.Assign):
        place = a.targets[0].target
        if isinstance(place, cst.Subscript) and source.code(place.value) == target and _made(source, a.value):
            return True
    for a in source.nodes(cst.Assign):
        plain = isinstance(a.value, (cst.List, cst.ListComp, cst.Dict))
        if plain and source.code(a.targets[0].target) == target and layers(source, a.value):
            return True
    return any(source.code(a.target) == target and _made(source, a.value) for a in source.nodes(cst.AugAssign))


def _made(source: Source, node: cst.BaseExpression) -> bool:
    """A layer, or a name that was assigned one in the same function."""
    if isinstance(node, cst.Name):
        scope = source.scope(node)
        return any(
            layers(source, a.value)
            for a in source.nodes(cst.Assign, scope)
            if source.code(a.targets[0].target) == node.value
        )
    return layers(source, node)


def _numbered(source: Source, node: cst.CSTNode, target: str) -> bool:
    """Whether keys are numbers, which a `ModuleDict` does not take."""
    keys = [e.key for e in node.elements if isinstance(e, cst.DictElement)] if isinstance(node, cst.Dict) else []
    asked = [s for s in source.nodes(cst.Subscript) if source.code(s.value) == target]
    written = [s for a in asked for e in a.slice for s in source.nodes(cst.Integer, e)]
    return any(number(k) is not None for k in keys) or bool(written)


def _set_plainly(accused: Accused, source: Source) -> Patch | None:
    """`object.__setattr__(self, "enc", layer)` and `self.__dict__["enc"] = layer` bypass the model."""
    edits = Edits(source)
    for call in source.calls("__setattr__"):
        if source.code(call.func) == "object.__setattr__" and len(call.args) == 3:
            name = call.args[1].value
            if isinstance(name, cst.SimpleString):
                edits.replace(call, f"{source.code(call.args[0].value)}.{name.raw_value} = "
                                    f"{source.code(call.args[2].value)}")  # fmt: skip
    for subscript in source.nodes(cst.Subscript):
        text = re.fullmatch(r"self\.__dict__\[['\"](\w+)['\"]\]", source.code(subscript))
        named = re.fullmatch(r"(?s)(?:self\.__dict__|vars\(self\))\[(.+)\]", source.code(subscript))
        around = source.parent(subscript)
        assign = source.parent(around) if isinstance(around, cst.AssignTarget) else None
        if named and not text and isinstance(assign, cst.Assign):
            edits.replace(assign, f"setattr(self, {named.group(1)}, {source.code(assign.value)})")
            continue
        if text and isinstance(around, cst.AssignTarget):
            edits.replace(subscript, f"self.{text.group(1)}")
    return accused.patch(SUMMARY + "assign them as attributes", edits)


def _blocks(source: Source, edits: Edits) -> None:
    """A block that holds layers and is called, but is no module, becomes one."""
    for owner in source.nodes(cst.ClassDef):
        methods = {f.name.value: f for f in source.nodes(cst.FunctionDef, owner)}
        init, call = methods.get("__init__"), methods.get("__call__") or methods.get("forward")
        bare = not owner.bases or source.code(owner.bases[0].value) == "object"
        if init is None or call is None or not bare or not isinstance(init.body, cst.IndentedBlock):
            continue
        if not any(_layer(source, c) and "nn." in (source.qualified(c.func) or source.code(c.func))
                   for c in source.nodes(cst.Call, init)) or source.calls("backward", within=owner):  # fmt: skip
            continue
        first = next((s for s in init.body.body if isinstance(s, (cst.SimpleStatementLine, cst.If, cst.For))), None)
        if first is None:
            continue
        _, end = source.span(owner.name)
        stop = source.text.index(":", end)
        edits.cut(end, stop, f"({module(source, 'Module')})")
        edits.before(first, "super().__init__()")
        if call.name.value == "__call__":
            edits.replace(call.name, "forward")
