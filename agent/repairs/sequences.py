"""Sequences of layers, however they are written, and which of their elements have weights."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Edits, Source, last_name, positional, receiver
from aitia.agent.repairs.source import Statement

LINEAR = re.compile(r"^(Lazy)?(Linear|Conv(Transpose)?[123]d|Bilinear)$")
NORMS = re.compile(r"(Norm|Norm[123]d)$")
LISTS = ("ModuleList", "ModuleDict", "Sequential")


def module(source: Source, name: str) -> str:
    """A layer of torch as this file can write it."""
    short = re.search(r"^from torch import .*\bnn\b|^import .*\btorch\.nn as nn\b", source.text, re.MULTILINE)
    if short:
        return f"nn.{name}"
    direct = re.search(rf"^from torch\.nn import .*\b{name.partition('(')[0]}\b", source.text, re.MULTILINE)
    return name if direct else f"torch.nn.{name}"


class Sequences:
    """Puts activations between the elements of a file's sequences."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.edits = Edits(source)
        self.classes = {c.name.value: c for c in source.nodes(cst.ClassDef)}
        self.functions = {f.name.value: f for f in source.nodes(cst.FunctionDef)
                          if source.enclosing(f, (cst.ClassDef,)) is None}  # fmt: skip
        self.done: set[int] = set()

    # ---- what is linear ------------------------------------------------------------------------------------------

    def linear_class(self, name: str, deep: int = 0) -> bool:
        """Whether a class of the program makes layers with weights."""
        owner = self.classes.get(name)
        if owner is None or deep > 4:
            return False
        return any(self.linear(c, deep + 1) for c in self.source.nodes(cst.Call, owner)) or bool(
            self.source.calls("Parameter", within=owner)
        )

    def linear(self, node: cst.CSTNode, deep: int = 0) -> bool:
        """Whether an expression makes a layer with weights, or something that holds some."""
        if not isinstance(node, cst.Call):
            return False
        name = last_name(node.func)
        if LINEAR.match(name) or self.linear_class(name, deep):
            return True
        if name in LISTS or name == "OrderedDict":
            if any(a.star == "*" and isinstance(a.value, (cst.Name, cst.Attribute)) for a in node.args):
                return True
            return any(self.linear(c, deep) for a in node.args for c in self.source.nodes(cst.Call, a))
        made = self.functions.get(name)
        return made is not None and deep < 4 and any(
            self.linear(c, deep + 1) for c in self.source.nodes(cst.Call, made) if c is not node
        )  # fmt: skip

    def held(self, owner: cst.ClassDef, attribute: str) -> list[cst.BaseExpression]:
        """What a class assigns to an attribute."""
        found = []
        for a in self.source.nodes(cst.Assign, owner):
            target = a.targets[0].target
            if isinstance(target, cst.Tuple) and isinstance(a.value, cst.Tuple):
                pairs = list(zip(target.elements, a.value.elements, strict=False))
                found += [v.value for t, v in pairs if self.source.code(t.value) == f"self.{attribute}"]
            elif self.source.code(target) == f"self.{attribute}":
                found.append(a.value)
        return found

    # ---- sequences -----------------------------------------------------------------------------------------------

    def sequence(self, call: cst.Call, ends: bool) -> bool:
        """Activations between the elements of `Sequential`, however it is filled; whether there were any to put."""
        before, args = len(self.done), list(call.args)
        if len(args) == 1 and args[0].star == "*":
            self.starred(call, args[0])
        elif len(args) == 1 and isinstance(args[0].value, cst.Call) and last_name(args[0].value.func) == "OrderedDict":
            first = positional(args[0].value)
            if first and isinstance(first[0].value, (cst.List, cst.Tuple)):
                self.between([e.value for e in first[0].value.elements])
        else:
            self.between([a.value for a in args])
        return len(self.done) > before

    def between(self, elements: list[cst.BaseExpression], open_end: bool = False) -> None:
        """Behind each layer (and its norm) that another layer follows."""
        plain = [self.plain(e) for e in elements]
        places = [i for i, e in enumerate(plain) if self.linear(e)]
        for index in places if open_end else places[:-1]:
            at = index
            while at + 1 < len(plain) and NORMS.search(self.name(plain[at + 1])):
                at += 1
            inner = plain[index]
            if self.name(inner) == "Sequential" and isinstance(inner, cst.Call):
                self.sequence(inner, ends=False)
            follows = next((i for i in places if i > index), len(plain))
            if any(self.active(e) for e in plain[at + 1 : follows]) or id(elements[at]) in self.done:
                continue
            self.done.add(id(elements[at]))
            _, end = self.source.span(elements[at])
            new = module(self.source, "ReLU()")
            if elements[at] is not plain[at]:
                new = f'("act{index}", {new})'
            if isinstance(elements[at], cst.Tuple):
                end += 1 if self.source.text[end : end + 1] == ")" else 0
            self.edits.cut(end, end, f", {new}")

    def starred(self, call: cst.Call, argument: cst.Arg) -> None:
        """`Sequential(*layers)` and `Sequential(*[Linear(a, b) for a, b in dims])`."""
        value, relu = argument.value, module(self.source, "ReLU()")
        if isinstance(value, (cst.ListComp, cst.GeneratorExp)) and self.linear(value.elt):
            start, end = self.source.span(value.elt)
            stop = self.source.span(value)[1]
            self.done.add(id(value))
            self.edits.cut(start, end, "layer")
            tail = f" for layer in ({self.source.code(value.elt)}, {relu})"
            listed = isinstance(value, cst.ListComp)
            at = self.source.span(value.for_in)[1]
            self.edits.cut(at, at, tail)
            if listed:
                self.edits.cut(stop, stop, "[:-1]")
        elif isinstance(value, cst.List):
            self.between([e.value for e in value.elements])
        elif isinstance(value, (cst.Name, cst.Attribute)):
            self.grown(value)

    def grown(self, held: cst.BaseExpression) -> None:
        """A list that is filled step by step: an activation goes in behind every layer but the last."""
        source, name, scope = self.source, self.source.code(held), self.source.scope(held)
        fills: list[tuple[Statement, cst.BaseExpression, str]] = [
            (source.statement(a), a.value, "=")
            for a in source.nodes(cst.Assign, scope) if source.code(a.targets[0].target) == name
        ]  # fmt: skip
        fills += [
            (source.statement(a), a.value, "+=")
            for a in source.nodes(cst.AugAssign, scope) if source.code(a.target) == name
        ]  # fmt: skip
        for call in source.calls("append", "extend", within=scope):
            on = receiver(call)
            if on is not None and source.code(on) == name and positional(call):
                fills.append((source.statement(call), positional(call)[0].value, last_name(call.func)))
        fills = sorted((f for f in fills if self.fills(f[1])), key=lambda f: source.line(f[0]))
        for index, (statement, value, how) in enumerate(fills):
            last = index == len(fills) - 1
            if isinstance(value, (cst.List, cst.Tuple)):
                looped = source.loop(statement) is not None
                self.between([e.value for e in value.elements], open_end=not last or looped)
            elif how == "append" and id(value) not in self.done and not (last and source.loop(statement) is None):
                self.done.add(id(value))
                self.edits.after(statement, f"{name}.append({module(source, 'ReLU()')})")
            elif isinstance(value, cst.ListComp) and self.linear(value.elt):
                start, end = source.span(value.elt)
                self.done.add(id(value))
                self.edits.cut(start, end, "layer")
                at = source.span(value.for_in)[1]
                self.edits.cut(at, at, f" for layer in ({source.code(value.elt)}, {module(source, 'ReLU()')})")
            if last and (source.loop(statement) is not None or isinstance(value, cst.ListComp)):
                start, end = source.span(held)  # the loop ends the network: no activation behind its last layer
                self.edits.cut(end, end, "[:-1]")

    def fills(self, value: cst.BaseExpression) -> bool:
        """Whether this puts layers into a list."""
        if isinstance(value, (cst.List, cst.Tuple)):
            return any(self.linear(self.plain(e.value)) for e in value.elements)
        if isinstance(value, cst.ListComp):
            return self.linear(value.elt)
        return self.linear(value)

    def plain(self, element: cst.BaseExpression) -> cst.BaseExpression:
        """`nn.Linear(2, 3)` of `("fc", nn.Linear(2, 3))`."""
        if isinstance(element, cst.Tuple) and len(element.elements) == 2:
            return element.elements[1].value
        return element

    def name(self, node: cst.CSTNode) -> str:
        """The last name of what is called."""
        return last_name(node.func) if isinstance(node, cst.Call) else ""

    def active(self, node: cst.CSTNode) -> bool:
        """An activation stands there already."""
        return bool(re.search(r"(?i)lu$|relu6?|sigmoid|tanh|softplus|mish|silu|gelu|act", self.name(node)))
