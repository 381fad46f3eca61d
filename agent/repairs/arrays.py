"""Where the samples of a program are kept: from what a model or a loss is given back to the array it is taken from."""

from __future__ import annotations

import re
from dataclasses import dataclass

import libcst as cst

from aitia.agent.repairs.accused import Source, last_name, positional, receiver
from aitia.agent.repairs.flow import definitions, own_functions
from aitia.agent.repairs.source import LOOPS, Statement, argument

HOPS = 12
MAKERS = frozenset({
    "from_numpy", "tensor", "as_tensor", "FloatTensor", "Tensor", "LongTensor", "rand", "randn", "linspace", "array",
    "asarray", "column_stack", "stack", "cat", "concatenate", "astype", "fit_transform", "transform", "to_numpy",
})  # fmt: skip
"""Calls that make an array: what they return is where the samples are kept."""
SAME = frozenset({"float", "long", "to", "double", "view", "reshape", "unsqueeze", "squeeze", "flatten", "contiguous",
                  "clone", "numpy", "cuda", "cpu", "requires_grad_"})  # fmt: skip
"""Methods that hand on the same numbers."""
AROUND = frozenset({"enumerate", "tqdm", "iter", "next", "list", "islice", "cycle", "trange", "tuple", "int", "float"})
SUBSETS = frozenset({"Subset", "random_split"})


HANDING = frozenset({*SAME, *AROUND, *SUBSETS, "DataLoader", "TensorDataset"})
NAMED = (cst.Name, cst.Attribute, cst.Subscript)
Assigned = cst.Assign | cst.AnnAssign | cst.AugAssign


@dataclass(frozen=True)
class Kept:
    """An array under a name, and the last statement outside of loops that gives it its values."""

    name: str
    made: Statement


def kept(source: Source, node: cst.BaseExpression, element: int = 0, hops: int = HOPS) -> Kept | None:
    """The array that a sample is taken from; `element` says which part of a pair is meant."""
    if hops <= 0:
        return None
    if isinstance(node, cst.Subscript):
        return kept(source, node.value, element, hops - 1)
    if isinstance(node, cst.Tuple) and len(node.elements) > element:
        return kept(source, node.elements[element].value, 0, hops - 1)
    if isinstance(node, cst.Call):
        return _of_call(source, node, element, hops - 1)
    if isinstance(node, (cst.Name, cst.Attribute)):
        return _of_name(source, node, element, hops - 1)
    return None


def _of_call(source: Source, call: cst.Call, element: int, hops: int) -> Kept | None:
    name, on, given = last_name(call.func), receiver(call), [a.value for a in call.args]
    if name in {"zip", "TensorDataset"}:
        return kept(source, given[min(element, len(given) - 1)], 0, hops) if given else None
    handed = on if name in SAME else None
    if name in AROUND | SUBSETS or (name in MAKERS and given and isinstance(given[0], NAMED)):
        handed = given[0] if given else None
    elif name == "DataLoader":
        handed = argument(call, 0, "dataset")
    if handed is not None:
        return kept(source, handed, element, hops)
    items = [f for c in source.nodes(cst.ClassDef) if c.name.value == name
             for f in source.nodes(cst.FunctionDef, c) if f.name.value == "__getitem__"]  # fmt: skip
    found = (_returned(source, f, element, hops) for f in items or own_functions(source, call))
    return next((k for k in found if k is not None), None)


def _returned(source: Source, function: cst.FunctionDef, element: int, hops: int) -> Kept | None:
    values = [r.value for r in source.nodes(cst.Return, function.body) if source.function(r) is function]
    values += [y.value for y in source.nodes(cst.Yield, function.body) if isinstance(y.value, cst.BaseExpression)]
    return next((kept(source, v, element, hops) for v in values if v is not None), None)


def _of_name(source: Source, node: cst.Name | cst.Attribute, element: int, hops: int) -> Kept | None:
    looped = _looped(source, node)
    if looped is not None:
        over, place = looped
        return kept(source, over, place if place is not None else element, hops)
    made = [a for a in definitions(source, node) if not isinstance(a, cst.AugAssign)]
    if not made:
        return _parameter(source, node, element, hops)
    found = _followed(source, made[-1], source.code(node), element, hops)
    outside = [a for a in made if source.loop(a) is None]
    if isinstance(found, Kept) or not found or not outside:
        return found if isinstance(found, Kept) else None
    return Kept(source.code(node), source.statement(outside[-1]))


def _followed(source: Source, made: Assigned, text: str, element: int, hops: int) -> Kept | bool:
    """The array behind an assignment; True where the name itself is where it is kept, False where nobody knows."""
    value, place = made.value, _place(source, made, text)
    if value is None:
        return False
    if isinstance(value, cst.Call):
        inner = own_functions(source, value) or _own_class(source, value) or last_name(value.func) in HANDING
        if not inner:
            return True
        whole = place is None or last_name(value.func) in SUBSETS
        found = kept(source, value, element if whole else place or 0, hops)
        return found if found is not None else last_name(value.func) in SAME
    if isinstance(value, cst.Tuple) and place is not None:
        return kept(source, value, place, hops) or True
    if isinstance(value, NAMED):
        return kept(source, value, element if place is None else place, hops) or place is None
    return True


def _own_class(source: Source, call: cst.Call) -> bool:
    return any(c.name.value == last_name(call.func) for c in source.nodes(cst.ClassDef))


def _place(source: Source, assign: cst.Assign | cst.AnnAssign | cst.AugAssign, text: str) -> int | None:
    if not isinstance(assign, cst.Assign) or not isinstance(assign.targets[0].target, cst.Tuple):
        return None
    names = [source.code(e.value) for e in assign.targets[0].target.elements]
    return names.index(text) if text in names else None


def _looped(source: Source, node: cst.Name | cst.Attribute) -> tuple[cst.BaseExpression, int | None] | None:
    """What a loop variable runs over, and which part of a pair it is; behind the count of an enumerate, too."""
    at: cst.CSTNode | None = node
    while at is not None and not isinstance(at, cst.FunctionDef):
        at = source.enclosing(at, (*LOOPS, cst.FunctionDef, cst.CompFor, cst.ListComp, cst.GeneratorExp))
        loop = at.for_in if isinstance(at, (cst.ListComp, cst.GeneratorExp)) else at
        if not isinstance(loop, (cst.For, cst.CompFor)):
            continue
        over = loop.iter
        target: cst.BaseExpression = loop.target
        if isinstance(over, cst.Call) and last_name(over.func) == "enumerate" and isinstance(target, cst.Tuple):
            target = target.elements[-1].value
        if source.code(target) == source.code(node):
            return over, None
        if isinstance(target, cst.Tuple):
            names = [source.code(e.value) for e in target.elements]
            if source.code(node) in names:
                return over, names.index(source.code(node))
    return None


def _parameter(source: Source, node: cst.BaseExpression, element: int, hops: int) -> Kept | None:
    """What a function's argument is given where the function is called."""
    function = source.function(node)
    if function is None or not isinstance(node, cst.Name):
        return None
    names = [p.name.value for p in function.params.params]
    holder = source.enclosing(function, (cst.ClassDef,))
    if node.value not in names:
        return None
    name = function.name.value
    if name == "__init__" and isinstance(holder, cst.ClassDef):
        name = holder.name.value
    place = names.index(node.value) - (1 if names[:1] == ["self"] else 0)
    for call in source.calls(name):
        given = argument(call, place, node.value)
        if given is not None:
            found = kept(source, given, element, hops)
            if found is not None:
                return found
    return None


def held_out(source: Source, array: Kept) -> Kept | None:
    """The array of the other part: `x_test` to `x_train`, `val_x` to `train_x`."""
    for word in ("test", "val", "valid", "validation", "eval", "te", "va", "dev"):
        short = word in {"te", "va"}
        name = re.sub(r"(?<![a-z])tr(?![a-z])" if short else r"train(ing)?", word, array.name, flags=re.IGNORECASE)
        if name == array.name:
            continue
        made = [a for a in source.nodes(cst.Assign) if source.loop(a) is None and name in _names(source, a)]
        if made:
            return Kept(name, source.statement(made[-1]))
    return None


def _names(source: Source, assign: cst.Assign) -> list[str]:
    target = assign.targets[0].target
    return [source.code(e.value) for e in target.elements] if isinstance(target, cst.Tuple) else [source.code(target)]


def trained_calls(source: Source, calls: list[cst.Call]) -> list[cst.Call]:
    """Those that are no evaluation: outside of blocks and functions without gradients."""
    return [c for c in calls if positional(c) and not untracked(source, c)]


def untracked(source: Source, node: cst.CSTNode) -> bool:
    """Whether a node stands in a block or function without gradients."""
    at = source.enclosing(node, (cst.With, cst.FunctionDef))
    while at is not None:
        names = ("no_grad", "inference_mode")
        if isinstance(at, cst.With) and any(source.calls(*names, within=i) for i in at.items):
            return True
        if isinstance(at, cst.FunctionDef) and any(n in source.code(d) for d in at.decorators for n in names):
            return True
        at = source.enclosing(at, (cst.With, cst.FunctionDef))
    return False
