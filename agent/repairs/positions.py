"""Repairs of a network of attention that is not told where its tokens stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional
from aitia.agent.repairs.source import Statement

POSITION = re.compile(r"(?i)pos|pe$|where|place|order")
ATTENDING = ("TransformerEncoder", "TransformerEncoderLayer", "MultiheadAttention", "Transformer", "TransformerDecoder",
             "TransformerDecoderLayer")  # fmt: skip
SUMMARY = "add the positions to the token embedding"
WAVES = "add sinusoidal positions to the token embedding"


def no_position_signal(accused: Accused) -> Iterator[Patch]:
    """What the class holds and never asks goes first; then sines, at the embedding or before the attention."""
    for source in accused.sources:
        for owner in source.nodes(cst.ClassDef):
            for method in [
                f for f in source.nodes(cst.FunctionDef, owner) if f.name.value in {"forward", "encode", "embed"}
            ]:
                place = _embedding(source, owner, method) or _before_attention(source, owner, method)
                if place is None:
                    continue
                for held, kind in _unused(source, owner):
                    edits = Edits(source)
                    _add(source, edits, place, held, kind)
                    patch = accused.patch(SUMMARY, edits)
                    if patch is not None:
                        yield patch
                edits = Edits(source)
                _add(source, edits, place, "", "waves")
                patch = accused.patch(WAVES, edits)
                if patch is not None:
                    yield patch


def _embedding(source: Source, owner: cst.ClassDef, method: cst.FunctionDef) -> cst.BaseExpression | None:
    """The look-up of the tokens, with what scales it."""
    tables = {source.code(a.targets[0].target) for a in source.nodes(cst.Assign, owner)
              if isinstance(a.value, cst.Call) and last_name(a.value.func) == "Embedding"}  # fmt: skip
    looked = [c for c in source.nodes(cst.Call, method.body)
              if source.code(c.func) in tables and not POSITION.search(last_name(c.func))]  # fmt: skip
    if not looked:
        return None
    node: cst.BaseExpression = looked[0]
    around = source.parent(node)
    while isinstance(around, cst.BinaryOperation) and isinstance(around.operator, (cst.Multiply, cst.Add, cst.Divide)):
        node, around = around, source.parent(around)
    return node


def _before_attention(source: Source, owner: cst.ClassDef, method: cst.FunctionDef) -> cst.BaseExpression | None:
    """Without a look-up: what the first layer of attention is given."""
    attending = set(ATTENDING) | {
        c.name.value for c in source.nodes(cst.ClassDef)
        if c is not owner and (source.calls(*ATTENDING, "scaled_dot_product_attention", "softmax", within=c))
    }  # fmt: skip
    held = {source.code(a.targets[0].target) for a in source.nodes(cst.Assign, owner)
            if source.calls(*attending, within=a.value)}  # fmt: skip
    for call in source.nodes(cst.Call, method.body):
        if source.code(call.func) in held and positional(call):
            given = positional(call)[0].value
            if isinstance(given, cst.Name):
                made = [a for a in source.nodes(cst.Assign, method.body)
                        if source.code(a.targets[0].target) == given.value and source.line(a) <= source.line(call)
                        and call not in list(source.nodes(cst.Call, a))]  # fmt: skip
                return made[-1].value if made else None
            return given
    return None


def _unused(source: Source, owner: cst.ClassDef) -> list[tuple[str, str]]:
    """Attributes made for positions that no method but the constructor mentions, and what they are."""
    found = list[tuple[str, str]]()
    methods = [f for f in source.nodes(cst.FunctionDef, owner) if f.name.value != "__init__"]
    asked = {source.code(a) for f in methods for a in source.nodes(cst.Attribute, f.body)}
    classes = {c.name.value for c in source.nodes(cst.ClassDef)}
    for a in source.nodes(cst.Assign, owner):
        target = source.code(a.targets[0].target)
        if not target.startswith("self.") or target in asked or not isinstance(a.value, cst.Call):
            continue
        kind = last_name(a.value.func)
        if kind == "Embedding":
            found.append((target, "table"))
        elif kind == "Parameter" or kind.startswith(("zeros", "randn", "sin")):
            inner = next(source.nodes(cst.Call, a.value.args[0]), None) if a.value.args else None
            sizes = len(positional(inner)) if inner is not None else 2
            found.append((target, "batched rows" if sizes == 3 else "rows"))
        elif kind in classes and (POSITION.search(target) or POSITION.search(kind)):
            found.append((target, "module"))
    for call in source.calls("register_buffer", within=owner):
        name = positional(call)[0].value if positional(call) else None
        if (
            isinstance(name, cst.SimpleString)
            and f"self.{name.raw_value}" not in asked
            and POSITION.search(name.raw_value)
        ):
            found.append((f"self.{name.raw_value}", "rows"))
    return found


def _add(source: Source, edits: Edits, place: cst.BaseExpression, held: str, kind: str) -> None:
    statement, text = source.statement(place), source.code(place)
    if kind == "module":
        edits.replace(place, f"{held}({text})")
        return
    if not isinstance(statement, cst.SimpleStatementLine):
        return
    name = _name(source, statement, place)
    if name is None:
        name = "embedded"
        edits.before(statement, f"{name} = {text}")
        inside = isinstance(source.parent(place), (cst.Arg, cst.Return))
        edits.replace(place, _sum(name, held, kind) if inside else f"({_sum(name, held, kind)})")
        if kind == "waves":
            edits.before(statement, *_waves(name))
        return
    lines = _waves(name) if kind == "waves" else ()
    edits.after(statement, *lines, f"{name} = {_sum(name, held, kind)}")


def _name(source: Source, statement: Statement, place: cst.BaseExpression) -> str | None:
    """`x` of `x = self.tok(ids)`."""
    around = source.parent(place)
    if isinstance(around, cst.Assign) and isinstance(around.targets[0].target, cst.Name):
        return around.targets[0].target.value
    return None


def _sum(name: str, held: str, kind: str) -> str:
    if kind == "table":
        return f"{name} + {held}(torch.arange({name}.shape[1], device={name}.device))"
    if kind == "rows":
        return f"{name} + {held}[: {name}.shape[1]]"
    if kind == "batched rows":
        return f"{name} + {held}[:, : {name}.shape[1]]"
    return f"{name} + torch.sin(place * waves + 1.57 * (torch.arange({name}.shape[2], device={name}.device) % 2))"


def _waves(name: str) -> tuple[str, str]:
    return (
        f"place = torch.arange({name}.shape[1], device={name}.device)[:, None]",
        f"waves = torch.exp(-9.2 * torch.arange({name}.shape[2], device={name}.device) / {name}.shape[2])",
    )
