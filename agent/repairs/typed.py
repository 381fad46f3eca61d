"""Repairs of types where they come from: numbers that numpy made in float64, masks of whole numbers, ids as floats."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.flow import definitions, made_of
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import argument
from aitia.agent.repairs.types import CLASSES, _failed, _innermost, _places, _touches
from aitia.engine.records import Failure

MAKERS = ("from_numpy", "tensor", "as_tensor", "asarray")
WIDE = re.compile(r"(?i)\bdouble\b|float64")
NARROW = re.compile(r"(?i)\bhalf\b|float16|bfloat16")
MASKS = ("mask", "attn_mask", "key_padding_mask", "src_mask", "src_key_padding_mask", "tgt_mask", "memory_mask",
         "tgt_key_padding_mask", "memory_key_padding_mask")  # fmt: skip
"""Keywords that torch's attention takes masks by."""
ONE_KIND = re.compile(r"only bool and floating|attn_mask|mask.*dtype|Input dtypes must be the same")
WHOLE = re.compile(r"(?i)long|int|bool")


def mask_cast(accused: Accused) -> Iterator[Patch]:
    """A mask of attention in a type that it takes."""
    failure = accused.run.info.failure
    if failure is None or not ONE_KIND.search(failure.message):
        return
    method = "float" if WIDE.search(failure.message) else "bool"
    for source in accused.sources:
        edits = Edits(source)
        for call in source.nodes(cst.Call):
            if not _touches(source, call, _innermost(source, failure)):
                continue
            for given in (a.value for name in MASKS if (a := keyword(call, name)) is not None):
                if source.code(given) != "None":
                    edits.replace(given, f"{source.atom(given)}.{method}()")
        patch = accused.patch("give attention a mask of a type that it takes", edits)
        if patch is not None:
            yield patch


def cast_at_the_source(accused: Accused) -> Iterator[Patch]:
    """What numpy made in float64, or was made in half precision, becomes float32 where the tensor is made."""
    failure = accused.run.info.failure
    if failure is None:
        return
    pattern = WIDE if WIDE.search(failure.message) else NARROW
    if not pattern.search(failure.message):
        return
    for source in accused.sources:
        for edits in _makers(source, failure, pattern):
            patch = accused.patch("make the tensor in float32, as the weights are", edits)
            if patch is not None:
                yield patch


def _makers(source: Source, failure: Failure, pattern: re.Pattern[str]) -> Iterator[Edits]:
    """Of the places that the failure went through, the innermost first: what flows into them, the nearest first."""
    done = set[cst.CSTNode]()
    for line in reversed(_places(source, failure)):
        for expression in _expressions(source, line):
            for value in made_of(source, expression):
                edits = Edits(source)
                for call in source.nodes(cst.Call, value):
                    if call in done:
                        continue
                    done.add(call)
                    _narrowed(source, edits, call, pattern)
                yield edits


def _expressions(source: Source, line: int) -> list[cst.BaseExpression]:
    """What a line computes with; the object that is called belongs to it."""
    found = list[cst.BaseExpression]()
    for statement in source.nodes(cst.SimpleStatementLine):
        if not source.line(statement) <= line <= source.range(statement).end.line:
            continue
        for call in source.nodes(cst.Call, statement):
            if isinstance(call.func, (cst.Name, cst.Attribute)) and not source.code(call.func).startswith("torch."):
                found += [a.value for a in definitions(source, call.func) if a.value is not None]
        for small in statement.body:
            value = getattr(small, "value", None)
            found += [value] if isinstance(value, cst.BaseExpression) else []
    return found


def _narrowed(source: Source, edits: Edits, call: cst.Call, pattern: re.Pattern[str]) -> None:
    """Float32 for one call that makes a tensor: its own type changed, or a cast behind it."""
    kind, name, on = keyword(call, "dtype"), last_name(call.func), receiver(call)
    around = source.parent(call)
    cast = isinstance(around, cst.Attribute) and around.attr.value in {"float", "long", "int", "bool", "to"}
    if kind is not None:
        if pattern.search(source.code(kind.value)):
            numpy = re.match(r"(np|numpy)\.", source.code(kind.value))
            edits.replace(kind.value, "np.float32" if numpy else "torch.float32")
    elif name in {"double", "half", "bfloat16"} and on is not None and not call.args:
        edits.replace(call, f"{source.atom(on)}.float()")
    elif name == "to" and call.args and pattern.search(source.code(call.args[0].value)):
        edits.replace(call.args[0].value, "torch.float32")
    elif name in MAKERS and on is not None and source.code(on) == "torch" and pattern is WIDE and not cast:
        edits.replace(call, f"{source.code(call)}.float()")


def input_and_target(accused: Accused) -> Iterator[Patch]:
    """Data in float64 reach the model and the loss: both get float32."""
    failure = accused.run.info.failure
    if failure is None or not WIDE.search(failure.message):
        return
    for source in accused.sources:
        edits = Edits(source)
        for call in loss_calls(accused, source):
            target = argument(call, 1, "target")
            if target is not None and last_name(call.func) not in CLASSES:
                edits.replace(target, f"{source.atom(target)}.float()")
        for call in accused.forwards(source, source.module):
            first = next((a.value for a in positional(call)), None)
            inner = first is not None and not any(True for _ in source.nodes(cst.Call, first))
            if inner and first is not None and source.code(call.func) != "self":
                edits.replace(first, f"{source.atom(first)}.float()")
        patch = accused.patch("give the model and the loss numbers of the type of the weights", edits)
        if patch is not None:
            yield patch


def all_lookups(accused: Accused) -> Iterator[Patch]:
    """Every table of one forward is asked for whole numbers, where one was asked for others."""
    failure = accused.run.info.failure
    if failure is None or failure.module_class not in {"Embedding", "EmbeddingBag"}:
        return
    for source in accused.sources:
        tables = {t for c in source.calls("Embedding", "EmbeddingBag") for t in _attributes(source, c)}
        edits, lines = Edits(source), _failed(source, failure)
        scopes = {source.function(c) for c in source.nodes(cst.Call) if _touches(source, c, lines)}
        for call in source.nodes(cst.Call):
            asks = isinstance(call.func, cst.Attribute) and source.code(call.func) in tables
            if not asks or source.function(call) not in scopes or not positional(call):
                continue
            given = positional(call)[0].value
            if not re.search(r"\.(long|int)\(\)$", source.code(given)):
                edits.replace(given, f"{source.atom(given)}.long()")
        patch = accused.patch("look up with whole numbers", edits)
        if patch is not None:
            yield patch


def _attributes(source: Source, call: cst.Call) -> list[str]:
    statement = source.statement(call)
    found = list[str]()
    for assign in source.nodes(cst.Assign, statement):
        for target in assign.targets:
            elements = [e.value for e in target.target.elements] if isinstance(target.target, cst.Tuple) else []
            found += [source.code(e) for e in elements or [target.target]]
    return found
