"""Repair of a network without activations: one after every hidden layer, wherever the layers are made or called.

Layers are followed from the outermost module inwards: calls in `forward` and the methods it asks, elements of
sequences, blocks of the program's own classes. The layer that ends the network stays as it is.
"""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name
from aitia.agent.repairs.sequences import Sequences, module

CODE = re.compile(r"(?i)enc|latent|code|bottleneck|mu$|proj")
"""Parts whose last layer is a code: left linear where other layers can be activated."""
DOES_NOTHING = re.compile(r"^(identity|linear|none|null|id)$", re.IGNORECASE)


def missing_nonlinearity(accused: Accused) -> Patch | None:
    """Put an activation after every hidden layer."""
    for source in accused.sources:
        for codes in (False, True):
            plan = _Plan(source, codes)
            plan.draw()
            patch = accused.patch("put an activation after every hidden layer", plan.edits)
            if patch is not None:
                return patch
    return None


def instead_of_identity(accused: Accused) -> Patch | None:
    """An activation that does nothing is replaced by one that does."""
    for source in accused.sources:
        edits = Edits(source)
        for node in source.nodes(cst.Attribute):
            if source.code(node) in {"nn.Identity", "torch.nn.Identity"}:
                edits.replace(node, source.code(node).replace("Identity", "ReLU"))
        for unit in source.nodes(cst.Lambda):
            names = [p.name.value for p in unit.params.params]
            if len(names) == 1 and source.code(unit.body) == names[0] and edits.result() is None:
                edits.replace(unit, module(source, "ReLU()"))
        if edits.result() is None and re.search(r"""["']relu["']""", source.text):
            for text in source.nodes(cst.SimpleString):
                inside = isinstance(source.parent(text), (cst.DictElement, cst.ComparisonTarget))
                if DOES_NOTHING.match(str(text.evaluated_value)) and not inside:
                    edits.replace(text, text.quote + "relu" + text.quote)
        patch = accused.patch("use an activation that is not the identity", edits)
        if patch is not None:
            return patch
    return None


def activated(source: Source, text: str) -> str:
    """An expression behind a rectifier, as this file can write it."""
    if re.search(r"^import (.*, *)?torch\b(?!\.)", source.text, re.MULTILINE):
        return f"torch.relu({text})"
    if re.search(r"^import torch\.nn\.functional as F|^from torch\.nn import functional as F", source.text, re.M):
        return f"F.relu({text})"
    return f"({text}).relu()"


class _Plan(Sequences):
    """Where activations are missing in one file."""

    def __init__(self, source: Source, codes: bool) -> None:
        super().__init__(source)
        self.codes = codes

    def draw(self) -> None:
        """From the outermost modules inwards; sequences outside of any class last."""
        used = {last_name(c.func) for owner in self.classes.values() for c in self.source.nodes(cst.Call, owner)}
        for name, owner in self.classes.items():
            if name not in used and self.linear_class(name):
                self.walk(owner, ends=True)
        for call in self.source.calls("Sequential"):
            if self.source.enclosing(call, (cst.ClassDef,)) is None:
                around = self.source.enclosing(call, (cst.Call,))
                if not (isinstance(around, cst.Call) and last_name(around.func) == "Sequential"):
                    self.sequence(call, ends=True)

    # ---- modules -------------------------------------------------------------------------------------------------

    def walk(self, owner: cst.ClassDef, ends: bool, method: str = "forward", depth: int = 0) -> None:
        """The applications of layers in one class; `ends`: its last layer is the network's output."""
        body = [f for f in self.source.nodes(cst.FunctionDef, owner) if f.name.value == method]
        if not body or depth > 5:
            return
        calls = self.applications(owner, body[0])
        for index, call in enumerate(calls):
            hidden = not ends or self.feeds(call, calls[index + 1 :], body[0])
            name = last_name(call.func)
            looped = self.looped(call)
            if name in self.methods(owner) and self.source.code(call.func) == f"self.{name}":
                self.walk(owner, not hidden, name, depth + 1)
            elif looped is not None:
                self.each(owner, call, looped, hidden, depth)
            else:
                self.apply(owner, call, name, hidden, depth)

    def apply(self, owner: cst.ClassDef, call: cst.Call, name: str, hidden: bool, depth: int) -> None:
        """One call of a held layer, sequence or block."""
        for value in self.held(owner, name):
            kind = last_name(value.func) if isinstance(value, cst.Call) else ""
            if kind == "Sequential" and isinstance(value, cst.Call):
                inside = self.sequence(value, ends=True)
                if hidden and (self.codes or not CODE.search(name) or not inside):
                    self.wrap(call)
            elif kind in self.classes and self.compound(kind):
                self.walk(self.classes[kind], ends=True, depth=depth + 1)
                if hidden:
                    self.wrap(call)
            elif hidden and (self.codes or not CODE.search(name)):
                self.wrap(call)

    def each(self, owner: cst.ClassDef, call: cst.Call, held: cst.BaseExpression, hidden: bool, depth: int) -> None:
        """`for layer in self.layers: x = layer(x)`."""
        for value in self.held(owner, last_name(held)):
            for inner in self.source.nodes(cst.Call, value):
                if (kind := last_name(inner.func)) in self.classes and self.compound(kind):
                    self.walk(self.classes[kind], ends=True, depth=depth + 1)
        if hidden:
            self.wrap(call)
        elif id(call) not in self.done:
            self.done.add(id(call))
            text = self.source.code(call)
            last = f"{self.source.code(call.func)} is {self.source.code(held)}[-1]"
            self.edits.replace(call, f"({text} if {last} else {activated(self.source, text)})")

    def wrap(self, call: cst.Call) -> None:
        """Put one call behind a rectifier; several in one expression are told apart by their offsets."""
        if id(call) in self.done:
            return
        self.done.add(id(call))
        opened, _, closed = activated(self.source, "\0").partition("\0")
        start, end = self.source.span(call)
        self.edits.cut(start, start, opened)
        self.edits.cut(end, end, closed)

    def applications(self, owner: cst.ClassDef, method: cst.FunctionDef) -> list[cst.Call]:
        """Calls of layers with weights, inner ones first."""
        found = []
        for call in self.source.nodes(cst.Call, method.body):
            name, on_self = last_name(call.func), self.source.code(call.func).startswith("self.")
            if on_self and name in self.methods(owner):
                within = [f for f in self.source.nodes(cst.FunctionDef, owner) if f.name.value == name]
                if within and within[0] is not method and self.applications(owner, within[0]):
                    found.append(call)
                continue
            looped = self.looped(call)
            values = self.held(owner, last_name(looped) if looped is not None else name)
            inner = [c for v in values for c in self.source.nodes(cst.Call, v)] if looped is not None else values
            if (on_self or looped is not None) and any(self.linear(v) for v in inner):
                found.append(call)
        return sorted(found, key=lambda c: self.source.span(c)[1])

    def feeds(self, call: cst.Call, later: list[cst.Call], method: cst.FunctionDef) -> bool:
        """Whether what a call gives arrives at a later layer."""
        start, end = self.source.span(call)
        if any(self.source.span(c)[0] < start and end < self.source.span(c)[1] for c in later):
            return True
        reached = set[str]()
        for statement in self.source.nodes(cst.SimpleStatementLine, method.body):
            if self.source.last_line(statement) < self.source.line(call):
                continue
            names = {n.value for n in self.source.nodes(cst.Name, statement)}
            here = any(call is c for c in self.source.nodes(cst.Call, statement))
            if not here and any(
                {n.value for a in c.args for n in self.source.nodes(cst.Name, a)} & reached
                for c in later
                if any(c is x for x in self.source.nodes(cst.Call, statement))
            ):
                return True
            if here or names & reached:
                for small in statement.body:
                    if isinstance(small, cst.Assign):
                        reached |= {n.value for t in small.targets for n in self.source.nodes(cst.Name, t.target)}
        return False

    def looped(self, call: cst.Call) -> cst.BaseExpression | None:
        """`self.layers` where the called name runs over it."""
        loop = self.source.loop(call)
        if not isinstance(loop, cst.For) or not isinstance(call.func, cst.Name):
            return None
        names = {n.value for n in self.source.nodes(cst.Name, loop.target)}
        held = [a for a in self.source.nodes(cst.Attribute, loop.iter) if self.source.code(a.value) == "self"]
        return held[0] if call.func.value in names and len(held) == 1 else None

    def compound(self, name: str) -> bool:
        """Whether a block applies layers one after the other, so that activations belong inside, too."""
        made = [c for c in self.source.nodes(cst.Call, self.classes[name]) if self.linear(c)]
        return len(made) > 1

    def methods(self, owner: cst.ClassDef) -> set[str]:
        """Names of what a class defines."""
        return {f.name.value for f in self.source.nodes(cst.FunctionDef, owner)}
