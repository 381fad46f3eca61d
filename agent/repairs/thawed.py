"""Repairs of parameters that are frozen for a part of each round, and never freed again."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, only
from aitia.agent.repairs.hooks import trains
from aitia.agent.repairs.source import Statement

SUMMARY = "free at the start of each round what is frozen later in it"


def thawed(accused: Accused) -> Iterator[Patch]:
    """What a training loop freezes, as is done with one of two opponents, is freed where the next round begins."""
    for source in accused.sources:
        edits = Edits(source)
        for statement in _freezing(source):
            loop = trains(source, statement)
            lines = [line.replace("False", "True") for line in edits.lines(statement)]
            if loop is None or not isinstance(loop.body, cst.IndentedBlock) or lines[-1].strip() in source.code(loop):
                continue
            first = loop.body.body[0]
            if first is not statement and isinstance(first, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                edits.before(first, *lines)
        if (patch := accused.patch(SUMMARY, edits)) is not None:
            yield patch


def _freezing(source: Source) -> Iterator[Statement]:
    """Statements that freeze: `net.requires_grad_(False)`, `freeze(net, False)`, and loops over parameters."""
    functions = [
        f.name.value
        for f in source.nodes(cst.FunctionDef)
        if _sets(source, f) or source.calls("requires_grad_", within=f)
    ]
    for call in source.calls("requires_grad_", *functions):
        statement = source.statement(call)
        if isinstance(only(statement), cst.Expr) and sum(_false(a.value) for a in call.args) == 1:
            yield _whole(source, statement)
    for assign in _sets(source, source.module):
        if _false(assign.value):
            yield _whole(source, source.statement(assign))


def _sets(source: Source, within: cst.CSTNode) -> list[cst.Assign]:
    """Assignments to `requires_grad`."""
    return [a for a in source.nodes(cst.Assign, within) if last_name(a.targets[0].target) == "requires_grad"]


def _whole(source: Source, statement: Statement) -> Statement:
    """The loop over the parameters where a statement is all that it does."""
    around = source.parent(source.parent(statement) or statement)
    alone = len(source.block(statement)) == 1 and isinstance(around, cst.For)
    return around if alone and isinstance(around, cst.For) else statement


def _false(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "False"
