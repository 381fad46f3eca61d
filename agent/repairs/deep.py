"""Repairs of deep stacks whose first layers get no gradient: rectifiers, and weights scaled for them."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    last_name,
    optimizer_constructions,
    positional,
    receiver,
    targets,
)
from aitia.agent.repairs.layers import BOUNDED

FUNCTIONS = ("sigmoid", "tanh", "logsigmoid", "hardtanh", "softsign")
LAST = re.compile(r"(?i)out|final|last|prob|gate|head|score")
"""Names of activations that are no hidden ones."""
SUMMARY = "use rectifiers between the layers, which do not saturate"
SCALED = SUMMARY + ", and weights scaled for them"


def vanishing_gradient(accused: Accused) -> list[Patch]:
    """Rectifiers in the hidden layers, then the same with weights that keep the size of what passes through them."""
    found: list[Patch | None] = []
    for source in accused.sources:
        for scaled in (False, True):
            edits = Edits(source)
            changed = _rectified(source, edits)
            if changed and (not scaled or _scaled(source, edits)):
                found.append(accused.patch(SCALED if scaled else SUMMARY, edits))
    return [p for p in found if p is not None]


def _rectified(source: Source, edits: Edits) -> bool:
    """Every bounded activation but the last of a model and the gates of attention: as layers, calls and values."""
    changed = False
    for call in source.calls(*BOUNDED):
        around = source.parent(call)
        sequence = source.parent(around) if isinstance(around, cst.Arg) else None
        if isinstance(sequence, cst.Call) and last_name(sequence.func) == "Sequential" and sequence.args[-1] is around:
            continue
        if any(LAST.search(source.code(t)) for t in targets(source, call)):
            continue
        _, end = source.span(call.func)
        edits.cut(end - len(last_name(call.func)), end, "ReLU")
        changed = True
    nodes: list[cst.Attribute | cst.Name] = [*source.nodes(cst.Attribute), *source.nodes(cst.Name)]
    for node in nodes:
        name, around = last_name(node), source.parent(node)
        inside = isinstance(around, cst.Attribute) and around.attr is node
        if name not in {*FUNCTIONS, *BOUNDED} or inside or not _between(source, node):
            continue
        _, end = source.span(node)
        edits.cut(end - len(name), end, "relu" if name in FUNCTIONS else "ReLU")
        changed = True
    return changed


def _between(source: Source, node: cst.Attribute | cst.Name) -> bool:
    """Whether an activation is handed on as a value, or applied within a forward and not to what it returns."""
    around = source.parent(node)
    if not isinstance(around, cst.Call) or around.func is not node:
        named = isinstance(source.enclosing(node, (cst.Assign, cst.Arg, cst.Param, cst.DictElement)), cst.CSTNode)
        return named and last_name(node) in {*FUNCTIONS, *BOUNDED} and not isinstance(around, cst.ImportAlias)
    function = source.function(node)
    if function is None or function.name.value not in {"forward", "__call__", "encode", "decode"}:
        return False
    gate = isinstance(product := source.parent(around), cst.BinaryOperation) and isinstance(
        product.operator, cst.Multiply
    )
    outside = gate or isinstance(source.parent(around), cst.Return)
    on = receiver(around)
    layered = on is None or source.code(on) in {"torch", "F", "nn.functional"} or isinstance(on, (cst.Call, cst.Name))
    return not outside and layered and last_name(node) in FUNCTIONS


def _scaled(source: Source, edits: Edits) -> bool:
    """Weights for rectifiers, right before the optimizer takes them (He et al. 2015)."""
    for built in optimizer_constructions(source)[:1]:
        first = positional(built)[0].value if positional(built) else None
        on = receiver(first) if isinstance(first, cst.Call) and last_name(first.func) == "parameters" else None
        if on is None or not targets(source, built) or "import torch" not in source.text:
            continue
        module = source.code(on)
        edits.before(
            source.statement(built), f"for weight in {module}.parameters():", "    if weight.dim() > 1:",
            '        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")',
        )  # fmt: skip
        return True
    return False
