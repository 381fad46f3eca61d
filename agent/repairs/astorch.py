"""Repair of a term that is computed outside of torch: the same computation with tensors, from the model to the loss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver
from aitia.agent.repairs.flow import backward_roots, definitions, own_functions
from aitia.agent.repairs.source import number
from aitia.agent.repairs.tracking import reach, switches, turn_on

SUMMARY = "compute the term with tensors, in the graph"
NUMBERS = frozenset({"numpy", "item", "tolist", "cpu"})
PLAIN = frozenset({"detach", "detach_", "data"})
COPIES = frozenset({"tensor", "as_tensor", "from_numpy", "FloatTensor", "Tensor"})
ARRAYS = frozenset({"array", "asarray", "float32", "float64", "ascontiguousarray"})
SAME = frozenset({
    "mean", "sum", "square", "abs", "exp", "log", "log1p", "log2", "sqrt", "diag", "maximum", "minimum", "stack",
    "where", "outer", "trace", "eye", "tanh", "sin", "cos", "var", "std", "unique", "einsum", "matmul", "prod", "max",
    "min", "cov", "corrcoef", "tril", "triu", "sign", "argmax", "argmin", "dot", "zeros_like", "ones_like", "arange",
    "ones", "zeros", "diff", "cumsum", "roll", "norm", "det", "slogdet", "inv", "svd", "expm1", "floor", "median",
})  # fmt: skip
OTHER = {"absolute": "abs", "power": "pow", "clip": "clamp", "concatenate": "cat", "multiply": "mul", "divide": "div",
         "add": "add", "subtract": "sub", "transpose": "t", "inner": "inner"}  # fmt: skip
"""What numpy calls otherwise than torch."""
WORDS = {"axis": "dim", "keepdims": "keepdim", "a_min": "min", "a_max": "max", "ddof": "correction"}
DRAWN = frozenset({"randint", "rand", "randn", "argmax", "argmin", "size", "numel", "nonzero", "arange", "randperm"})
"""Calls whose numbers have no gradient, and may have to be plain numbers."""
REPORTS = frozenset({"print", "format", "write", "add_scalar", "log", "dumps", "info"})
DEPTH: Final = 8
"""Hops from value to value; a term takes fewer."""


def term_as_torch(accused: Accused) -> Iterator[Patch]:
    """Everything that the loss is made of stays a tensor; what is only detached there, in a second attempt."""
    for source in accused.sources:
        parts = region(source)
        for plain in (False, True):
            edits = Edits(source)
            rewritten = Rewriting(source, edits, plain)
            for part in parts:
                rewritten.rewrite(part)
            for switch in switches(source) if rewritten.done or plain else ():
                inside = reach(source, switch)
                if any(source.line(p) in inside for p in parts if not isinstance(p, cst.FunctionDef)):
                    turn_on(source, edits, switch)
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                yield patch


def leaves_torch(source: Source) -> bool:
    """Whether a term is computed with numpy, or with plain numbers."""
    edits = Edits(source)
    rewriting = Rewriting(source, edits, plain=False)
    for part in region(source):
        rewriting.rewrite(part)
    return rewriting.done > 0


def region(source: Source) -> list[cst.CSTNode]:
    """Values that backward's root is made of, in the loop around it, and the program's functions that are asked."""
    found, seen = list[cst.CSTNode](), set[cst.CSTNode]()
    waiting: list[tuple[cst.CSTNode, int]] = [(r, DEPTH) for r in backward_roots(source)]
    training = {source.function(r) for r in backward_roots(source)}
    while waiting:
        at, left = waiting.pop(0)
        if at in seen or left < 0:
            continue
        seen.add(at)
        found.append(at)
        for call in source.nodes(cst.Call, at):
            waiting += [(f, left - 1) for f in own_functions(source, call) if f not in training]
        if isinstance(at, cst.FunctionDef):
            continue
        names: list[cst.Name | cst.Attribute] = [*source.nodes(cst.Name, at), *source.nodes(cst.Attribute, at)]
        for name in names:
            around = source.parent(name)
            if isinstance(around, cst.Attribute) and around.attr is name:
                continue
            waiting += [(v, left - 1) for v in _given(source, name) if _in_training(source, v)]
    return found


def _given(source: Source, name: cst.Name | cst.Attribute) -> Iterator[cst.BaseExpression]:
    """Values that a name got, also by parts of it: `parts["a"] = …`, `terms.append(…)`, `self.x = …` for `net.x`."""
    text = source.code(name)
    yield from (a.value for a in definitions(source, name) if a.value is not None)
    if isinstance(name, cst.Name):
        for assign in source.nodes(cst.Assign, source.scope(name)):
            target = assign.targets[0].target
            if isinstance(target, cst.Subscript) and source.code(target.value) == text:
                yield assign.value
        for call in source.calls("append", "extend", "update", within=source.scope(name)):
            if (on := receiver(call)) is not None and source.code(on) == text:
                yield from (a.value for a in call.args)
    elif not text.startswith("self."):
        for assign in source.nodes(cst.Assign):
            if source.code(assign.targets[0].target) == f"self.{name.attr.value}":
                yield assign.value


def _in_training(source: Source, node: cst.CSTNode) -> bool:
    """Whether a value is made anew each step: in a loop, or in a function without the loop that trains."""
    if source.loop(node) is not None:
        return True
    function = source.function(node)
    trains = function is not None and any(source.loop(c) is not None for c in source.calls("backward", within=function))
    return function is not None and not trains and function.name.value not in {"__init__", "main"}


class Rewriting:
    """Edits that make tensors of numbers and arrays; they do not overlap."""

    def __init__(self, source: Source, edits: Edits, plain: bool) -> None:
        self.source, self.edits, self.plain = source, edits, plain
        self.done = 0
        """How many places left torch."""
        self._seen = set[cst.CSTNode]()

    def rewrite(self, part: cst.CSTNode) -> None:
        """Every cut, copy and call of numpy in this part."""
        s = self.source
        for call in s.nodes(cst.Call, part):
            if call not in self._seen and not self._reported(call):
                self._seen.add(call)
                drawn = any(last_name(c.func) in DRAWN for c in s.nodes(cst.Call, call))
                self._call(call) if not drawn else None
        for at in s.nodes(cst.Attribute, part):
            if at in self._seen:
                continue
            self._seen.add(at)
            if self.plain and at.attr.value == "data":
                self._cut(at.value, at)
            elif s.code(at) in {"np.newaxis", "numpy.newaxis"}:
                self.edits.replace(at, "None")

    def _call(self, call: cst.Call) -> None:
        s, name, on = self.source, last_name(call.func), receiver(call)
        first = next((a.value for a in positional(call)), None)
        library = s.code(on) if on is not None else ""
        numpy = re.fullmatch(r"(np|numpy)(\.linalg)?", library)
        if on is not None and not call.args and (name in NUMBERS or (self.plain and name in PLAIN)):
            self.done += name in {"numpy", "item", "tolist"}
            self._cut(on, call)
        elif on is not None and name == "detach" and not call.args and self._becomes_number(call):
            self._cut(on, call)
        elif first is not None and (
            (name in COPIES and library == "torch")
            or (name in ARRAYS and numpy)
            or (name == "float" and on is None and number(first) is None)
        ):
            self.done += 1
            self._unwrap(call, first)
        elif numpy and (name in SAME or name in OTHER) and any(True for _ in s.nodes(cst.Name, call.args[0])):
            self.done += 1
            sub = ".linalg" if library.endswith(".linalg") else ""
            self.edits.replace(call.func, f"torch{sub}.{OTHER.get(name, name)}")
            if first is not None and self._listed(first) and name not in {"stack", "concatenate"}:
                start, end = self._whole(first)
                self.edits.cut(start, start, "torch.stack(")
                self.edits.cut(end, end, ")")
            self._words(call)
        elif library == "math" and name in {"exp", "log", "sqrt", "tanh"} and first is not None:
            if not any(s.code(n) in {"len", "shape", "size"} for n in s.nodes(cst.Name, first)) and self._tensor(first):
                self.edits.replace(call.func, f"torch.{name}")
        elif on is not None and name == "astype":
            self.edits.cut(self._whole(on)[1], s.span(call)[1], ".float()")
        elif on is not None and name == "copy" and not call.args:
            self.edits.cut(self._whole(on)[1], s.span(call)[1], ".clone()")
        elif on is not None:
            self._words(call)

    def _words(self, call: cst.Call) -> None:
        for argument in call.args:
            if argument.keyword is not None and argument.keyword.value in WORDS:
                self.edits.replace(argument.keyword, WORDS[argument.keyword.value])

    def _cut(self, kept: cst.BaseExpression, whole: cst.CSTNode) -> None:
        self.edits.cut(self._whole(kept)[1], self.source.span(whole)[1])

    def _whole(self, node: cst.BaseExpression) -> tuple[int, int]:
        """Offsets of an expression with the parentheses around it."""
        (start, end), text = self.source.span(node), self.source.text
        for _ in node.rpar:
            start, end = text.rindex("(", 0, start), text.index(")", end) + 1
        return start, end

    def _unwrap(self, call: cst.Call, first: cst.BaseExpression) -> None:
        """`f(x, …)` becomes `(x)`; of a list of tensors, a stack."""
        (start, end), (inner, last) = self.source.span(call), self._whole(first)
        self.edits.cut(start, inner, "torch.stack(" if self._listed(first) else "(")
        self.edits.cut(last, end, ")")

    def _listed(self, node: cst.BaseExpression) -> bool:
        if isinstance(node, cst.Name):
            made = [a.value for a in definitions(self.source, node)]
            return bool(made) and all(isinstance(m, (cst.List, cst.ListComp)) for m in made)
        return isinstance(node, (cst.List, cst.ListComp))

    def _becomes_number(self, call: cst.Call) -> bool:
        """Whether what is detached is made a number or an array right behind."""
        at: cst.CSTNode = call
        while True:
            attribute = self.source.parent(at)
            around = self.source.parent(attribute) if isinstance(attribute, cst.Attribute) else None
            if not isinstance(attribute, cst.Attribute) or not isinstance(around, cst.Call):
                return False
            if attribute.attr.value in NUMBERS - {"cpu"}:
                return True
            at = around

    def _tensor(self, node: cst.BaseExpression) -> bool:
        return any(isinstance(c, cst.Call) for c in self.source.nodes(cst.Call, node))

    def _reported(self, node: cst.CSTNode) -> bool:
        around = self.source.enclosing(node, (cst.Call, cst.FormattedStringExpression))
        while around is not None:
            if isinstance(around, cst.FormattedStringExpression) or (
                isinstance(around, cst.Call) and last_name(around.func) in REPORTS and receiver_is_no_library(around)
            ):
                return True
            around = self.source.enclosing(around, (cst.Call, cst.FormattedStringExpression))
        return False


def receiver_is_no_library(call: cst.Call) -> bool:
    """Whether `log` is a report, no logarithm."""
    on = receiver(call)
    return not (isinstance(on, cst.Name) and on.value in {"torch", "np", "numpy", "math"})


def attached_in_torch(accused: Accused) -> list[Patch]:
    """For a term that leaves torch, the whole computation first."""
    return list(term_as_torch(accused)) if any(leaves_torch(s) for s in accused.sources) else []
