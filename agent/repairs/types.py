"""Repairs of types that disagree: a cast where the value of the wrong type is handed on."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import argument, number
from aitia.engine.records import Failure

CASTS = {"float32": "float", "float64": "double", "float16": "half", "bfloat16": "bfloat16"}
"""Type of a weight → the method that casts to it."""
INDEX = re.compile(
    r"indices.*scalar types: Long|used as indices must be long|index.*(int64|Long)|Expected dtype int64 for index"
    r"|Long, Int"
)
"""What torch says where numbers of a table's rows are wanted."""
LABELS = re.compile(
    r"expected (target dtype to be|scalar type) Long|not implemented for '?(Float|Int|Double|Char|Short|Byte)"
    r"|Long but found|Expected object of scalar type Long"
)
"""What torch says where numbers of classes are wanted."""
CLASSES = {"cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss"}
LOOKUPS = (
    "embedding", "one_hot", "gather", "scatter", "scatter_", "scatter_add_", "index_select", "take", "index_add_",
    "bincount",
)  # fmt: skip
PLACE = re.compile(r'File "([^"]*)", line (\d+)')
MODULES_OF_TORCH = frozenset({"torch", "F", "nn", "np", "functional"})


def dtype_mismatch(accused: Accused) -> Patch | None:
    """Cast the operand where it enters the loss, the layer or the model."""
    failure = accused.run.info.failure
    if failure is None:
        return None
    for step in (_target, _layer_input, _index, _operands, _model_input):
        for source in accused.sources:
            patch = step(accused, source, failure)
            if patch is not None:
                return patch
    return None


def cast_at_the_model(accused: Accused) -> Patch | None:
    """Give the model input of the type of its weights."""
    failure = accused.run.info.failure
    for source in accused.sources if failure is not None else ():
        patch = _model_input(accused, source, failure) if failure is not None else None
        if patch is not None:
            return patch
    return None


def cast_operands(accused: Accused) -> Patch | None:
    """Cast both sides of the operation that failed to float32."""
    failure = accused.run.info.failure
    for source in accused.sources if failure is not None else ():
        patch = _operands(accused, source, failure) if failure is not None else None
        if patch is not None:
            return patch
    return None


def _target(accused: Accused, source: Source, failure: Failure) -> Patch | None:
    """The target of the loss that failed; where backward did, of every loss that compares numbers."""
    if failure.module and failure.phase == "forward" and failure.module_class not in CLASSES:
        return None
    lines, calls = _failed(source, failure), loss_calls(accused, source)
    here = [c for c in calls if _touches(source, c, lines)]
    late = not here and any(source.line(c) in lines for c in source.calls("backward"))
    edits = Edits(source)
    for call in here[:1] or (calls if late else []):
        target = argument(call, 1, "target", "labels")
        name = source.qualified(call.func).rpartition(".")[2] or last_name(call.func)
        classes = name in CLASSES or failure.module_class in CLASSES or bool(LABELS.search(failure.message))
        probable = "probabilities" in failure.message
        if target is None or (late and classes):
            continue
        edits.replace(target, f"{source.atom(target)}.{'long' if classes and not probable else 'float'}()")
    return accused.patch("give the loss targets of the type it expects", edits)


def _layer_input(accused: Accused, source: Source, failure: Failure) -> Patch | None:
    """What the layer that failed is given, at its innermost call in the program."""
    method = _wanted(failure)
    parts = set((failure.module or "").split("."))
    lines = _innermost(source, failure)
    for call in source.nodes(cst.Call):
        if not _touches(source, call, lines) or method is None or not positional(call):
            continue
        on = receiver(call)
        own = on is not None and source.code(on).partition(".")[0] == "self" and last_name(call.func) in parts
        if own or _element(source, call, parts):
            first, edits = positional(call)[0].value, Edits(source)
            edits.replace(first, f"{source.atom(first)}.{method}()")
            return accused.patch(f"give {failure.module} input of the type it works with", edits)
    return None


def _index(accused: Accused, source: Source, failure: Failure) -> Patch | None:
    """Indices in a lookup, a gather or a one-hot code."""
    if not INDEX.search(failure.message) and "one_hot" not in failure.message:
        return None
    lines = _innermost(source, failure)
    for call in source.calls(*LOOKUPS):
        method = receiver(call) is not None and source.code(receiver(call) or call) not in MODULES_OF_TORCH
        place = {"embedding": 0, "one_hot": 0}.get(last_name(call.func), 1 if method else 2)
        index = argument(call, place, "index", "input" if place == 0 else "index", "indices")
        if _touches(source, call, lines) and index is not None:
            edits = Edits(source)
            edits.replace(index, f"{source.atom(index)}.long()")
            return accused.patch("look up with whole numbers", edits)
    for subscript in source.nodes(cst.Subscript):
        inner = subscript.slice[0].slice if subscript.slice else None
        if _touches(source, subscript, lines) and isinstance(inner, cst.Index) and number(inner.value) is None:
            edits = Edits(source)
            edits.replace(inner.value, f"{source.atom(inner.value)}.long()")
            return accused.patch("look up with whole numbers", edits)
    return None


def _operands(accused: Accused, source: Source, failure: Failure) -> Patch | None:
    """Both sides of a product, or the tensor of an average: in float32."""
    lines, edits = _innermost(source, failure), Edits(source)
    for product in source.nodes(cst.BinaryOperation):
        if _touches(source, product, lines) and isinstance(product.operator, cst.MatrixMultiply):
            for side in (product.left, product.right):
                edits.replace(side, f"{source.atom(side)}.float()")
            return accused.patch("multiply tensors of one type", edits)
    for call in source.calls(
        "matmul", "mm", "bmm", "einsum", "cdist", "linear", "dot", "mv", "addmm", "conv1d", "conv2d"
    ):
        if not _touches(source, call, lines):
            continue
        on, given = receiver(call), [a.value for a in positional(call)]
        sides = [g for g in given if not isinstance(g, (cst.SimpleString, cst.Integer))][:2]
        if on is not None and source.code(on) not in MODULES_OF_TORCH:
            sides = [on, *sides[:1]]
        for side in sides:
            edits.replace(side, f"{source.atom(side)}.float()")
        return accused.patch("multiply tensors of one type", edits)
    for call in source.calls("mean", "std", "var", "softmax", "log_softmax", "norm"):
        on = receiver(call)
        inner = argument(call, 0, "input") if on is None or source.code(on) in MODULES_OF_TORCH else on
        if _touches(source, call, lines) and inner is not None:
            edits.replace(inner, f"{source.atom(inner)}.float()")
            return accused.patch("average numbers, not whole numbers", edits)
    return None


def _model_input(accused: Accused, source: Source, failure: Failure) -> Patch | None:
    """What the model is given where it is called."""
    lines = _failed(source, failure) | accused.lines(source)
    calls = (c for c in accused.forwards(source, source.module) if _touches(source, c, lines) and positional(c))
    forward = next(calls, None)
    if forward is None:
        return None
    first, edits = positional(forward)[0].value, Edits(source)
    edits.replace(first, f"{source.atom(first)}.{_wanted(failure) or 'float'}()")
    return accused.patch("give the model input of the type of its weights", edits)


def _wanted(failure: Failure) -> str | None:
    """The cast that makes a layer's input what its weights are."""
    if failure.module_class in {"Embedding", "EmbeddingBag"} or INDEX.search(failure.message):
        return "long"
    kinds = {text.partition("[")[0] for text in failure.parameters.values()} & set(CASTS)
    return CASTS[kinds.pop()] if len(kinds) == 1 else None


def _places(source: Source, failure: Failure) -> list[int]:
    """Lines of this file in the traceback, the outermost first."""
    found = [
        int(n) for path, n in PLACE.findall(failure.traceback) if path.replace("\\", "/").endswith(f"/{source.name}")
    ]
    return found or ([failure.line] if failure.file == source.name and failure.line is not None else [])


def _failed(source: Source, failure: Failure) -> frozenset[int]:
    return frozenset(_places(source, failure))


def _innermost(source: Source, failure: Failure) -> frozenset[int]:
    return frozenset(_places(source, failure)[-1:])


def _touches(source: Source, node: cst.CSTNode, lines: frozenset[int]) -> bool:
    return any(source.line(node) <= x <= source.range(node).end.line for x in lines)


def _element(source: Source, call: cst.Call, parts: set[str]) -> bool:
    """`self.layers[0](x)`, `layer(x)` in a loop over the layers: a call of an element of what the path names."""
    func = call.func
    if isinstance(func, cst.Subscript):
        return last_name(func.value) in parts
    loop = source.loop(call)
    if not isinstance(func, cst.Name) or not isinstance(loop, cst.For):
        return False
    over = {last_name(n) for n in source.nodes(cst.Attribute, loop.iter)}
    return bool(over & parts) and func.value in {n.value for n in source.nodes(cst.Name, loop.target)}
