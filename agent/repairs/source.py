"""One of the user's files, parsed: finds statements and calls, and edits the text around them.

libcst tells where things are; the edit itself replaces characters, so that everything that is not wrong stays as it
was, to the last space.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider, QualifiedNameProvider

N = TypeVar("N", bound=cst.CSTNode)
Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
LOOPS = (cst.For, cst.While)


class Source:
    """A parsed file with positions, parents and qualified names."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._wrapper = MetadataWrapper(cst.parse_module(text))
        self.module = self._wrapper.module
        self.newline = self.module.default_newline
        self._positions = self._wrapper.resolve(PositionProvider)
        self._parents = self._wrapper.resolve(ParentNodeProvider)
        self._starts = [0, *(m.end() for m in re.finditer(r"\r\n|\n|\r", text))]

    @cached_property
    def _qualified(self) -> dict[cst.CSTNode, str]:
        found = self._wrapper.resolve(QualifiedNameProvider)
        names: dict[cst.CSTNode, str] = {}
        for node, candidates in found.items():
            resolved = candidates() if callable(candidates) else candidates
            names[node] = next((q.name for q in resolved), "")
        return names

    # ---- reading ---------------------------------------------------------------------------------------------

    def nodes(self, kind: type[N], within: cst.CSTNode | None = None) -> Iterator[N]:
        """All nodes of a type, in the order of the text."""
        for node in _walk(within or self.module):
            if isinstance(node, kind):
                yield node

    def calls(self, *names: str, within: cst.CSTNode | None = None) -> list[cst.Call]:
        """Calls whose function's last name is one of `names`, e.g. `backward`."""
        return [c for c in self.nodes(cst.Call, within) if last_name(c.func) in names]

    def range(self, node: cst.CSTNode) -> CodeRange:
        """Where a node stands."""
        return self._positions[node]

    def line(self, node: cst.CSTNode) -> int:
        """First line of a node."""
        return self.range(node).start.line

    def last_line(self, node: cst.CSTNode) -> int:
        """Last line of a node; of a block, the last line of its last statement."""
        inner = [self.range(s).end.line for s in self.nodes(cst.SimpleStatementLine, node)]
        return max(inner) if inner and not isinstance(node, cst.SimpleStatementLine) else self.range(node).end.line

    def code(self, node: cst.CSTNode) -> str:
        """The node's text as the user wrote it, without parentheses around the whole."""
        start, end = self.span(node)
        return self.text[start:end]

    def atom(self, node: cst.CSTNode) -> str:
        """The node's text, in parentheses where an operator or a method put behind it would bind to a part of it."""
        simple = isinstance(node, (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.Integer, cst.Float))
        return self.code(node) if simple else f"({self.code(node)})"

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Offsets of the node's text."""
        where = self.range(node)
        return self.offset(where.start.line, where.start.column), self.offset(where.end.line, where.end.column)

    def offset(self, line: int, column: int = 0) -> int:
        """Offset of a place; the line after the last one is the end of the text."""
        return self._starts[line - 1] + column if line <= len(self._starts) else len(self.text)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The node around a node."""
        return self._parents.get(node)

    def enclosing(self, node: cst.CSTNode, kinds: tuple[type[cst.CSTNode], ...]) -> cst.CSTNode | None:
        """The innermost node of one of the kinds around a node."""
        at = self.parent(node)
        while at is not None and not isinstance(at, kinds):
            at = self.parent(at)
        return at

    def statement(self, node: cst.CSTNode) -> Statement:
        """The statement that holds an expression."""
        if isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
            return node
        found = self.enclosing(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement))
        if not isinstance(found, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
            raise LookupError(f"{self.name}: expression outside of any statement")
        return found

    def block(self, statement: Statement) -> list[Statement]:
        """The statement and its neighbours in one block; empty for a body on the line of its header."""
        around = self.parent(statement)
        if isinstance(around, (cst.IndentedBlock, cst.Module)):
            return [s for s in around.body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]
        return []

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        """The function around a node."""
        found = self.enclosing(node, (cst.FunctionDef,))
        return found if isinstance(found, cst.FunctionDef) else None

    def loop(self, node: cst.CSTNode) -> cst.For | cst.While | None:
        """The innermost loop around a node within the same function."""
        found = self.enclosing(node, (*LOOPS, cst.FunctionDef, cst.ClassDef))
        return found if isinstance(found, LOOPS) else None

    def scope(self, node: cst.CSTNode) -> cst.CSTNode:
        """The function around a node, else the module."""
        return self.function(node) or self.module

    def qualified(self, node: cst.CSTNode) -> str:
        """The full name an expression refers to through the file's imports, e.g. `torch.nn.functional.softmax`."""
        return self._qualified.get(node, "")

    def indent(self, statement: cst.CSTNode) -> str:
        """The white space before a statement."""
        where = self.range(statement).start
        return self.text[self.offset(where.line) : self.offset(where.line, where.column)]


class Edits:
    """Replacements in one file, applied together."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._edits: list[tuple[int, int, str]] = []

    def replace(self, node: cst.CSTNode, text: str) -> None:
        """Put other text in a node's place."""
        self._edits.append((*self.source.span(node), text))

    def cut(self, start: int, end: int, text: str = "") -> None:
        """Put other text between two offsets."""
        self._edits.append((start, end, text))

    def before(self, statement: Statement, *lines: str) -> None:
        """Insert lines of code before a statement, at its indentation."""
        self._insert(self.source.line(statement), self.source.indent(statement), lines)

    def after(self, statement: Statement, *lines: str) -> None:
        """Insert lines of code after a statement, at its indentation."""
        self._insert(self.source.last_line(statement) + 1, self.source.indent(statement), lines)

    def remove(self, statement: Statement) -> None:
        """Delete a statement's lines; `pass` stays where the block would be empty."""
        s = self.source
        start, end = s.offset(s.line(statement)), s.offset(s.last_line(statement) + 1)
        alone = len(s.block(statement)) == 1
        self.cut(start, end, f"{s.indent(statement)}pass{s.newline}" if alone else "")

    def lines(self, statement: Statement) -> list[str]:
        """A statement's lines without its indentation, to be put elsewhere."""
        s, indent = self.source, self.source.indent(statement)
        text = s.text[s.offset(s.line(statement)) : s.offset(s.last_line(statement) + 1)]
        return [line.removeprefix(indent) for line in text.splitlines()]

    def result(self) -> str | None:
        """The edited text; None where nothing changed, edits overlap, or the result does not parse."""
        text = self.source.text
        edits = sorted(self._edits, key=lambda e: (e[0], e[1]))
        for (_, end, _), (start, _, _) in pairwise(edits):
            if start < end:
                return None
        for start, end, new in reversed(edits):
            text = text[:start] + new + text[end:]
        if text == self.source.text:
            return None
        try:
            ast.parse(text)
        except SyntaxError:
            return None
        return text

    def _insert(self, line: int, indent: str, lines: tuple[str, ...]) -> None:
        s = self.source
        at = s.offset(line)
        open_end = at == len(s.text) and s.text and not s.text.endswith(("\n", "\r"))
        body = "".join((indent + x if x else x) + s.newline for x in lines)
        self.cut(at, at, s.newline + body if open_end else body)


def last_name(node: cst.CSTNode) -> str:
    """The last name of a dotted expression: `step` of `self.optimizer.step`."""
    if isinstance(node, cst.Name):
        return node.value
    return node.attr.value if isinstance(node, cst.Attribute) else ""


def receiver(call: cst.Call) -> cst.BaseExpression | None:
    """What a method is called on: `optimizer` of `optimizer.step()`."""
    return call.func.value if isinstance(call.func, cst.Attribute) else None


def keyword(call: cst.Call, name: str) -> cst.Arg | None:
    """The argument given by that keyword."""
    return next((a for a in call.args if a.keyword is not None and a.keyword.value == name), None)


def positional(call: cst.Call) -> list[cst.Arg]:
    """The arguments given by place."""
    return [a for a in call.args if a.keyword is None and not a.star]


def argument(call: cst.Call, place: int, *names: str) -> cst.BaseExpression | None:
    """What is given at that place, or by one of these keywords."""
    given = [a.value for a in call.args if a.keyword is not None and a.keyword.value in names]
    at = [a.value for a in positional(call)][place : place + 1]
    return next(iter([*given, *at]), None)


def number(node: cst.CSTNode) -> float | None:
    """The value of a numeric literal, or of arithmetic on literals such as `32 * 4 * 4`."""
    try:
        return _value(ast.parse(cst.Module([]).code_for_node(node).strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError, ValueError, RecursionError):
        return None


ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip
"""What dimensions are written with; no powers, whose values can be of any size."""


def _value(node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant):
        plain = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
        return float(node.value) if plain else None  # type: ignore[arg-type]  # a number, as just tested
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _value(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = _value(node.left), _value(node.right)
        return None if left is None or right is None else float(ARITHMETIC[type(node.op)](left, right))
    return None


def _walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    yield node
    for child in node.children:
        yield from _walk(child)
