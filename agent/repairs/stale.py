"""Repairs of an optimizer that holds old tensors, where it cannot simply be built later."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, targets
from aitia.agent.repairs.optimizer import constructions, holds_orphans, maker_call, mentions, models_in, reshapers
from aitia.agent.repairs.source import Statement

BUILTIN = frozenset({"self", "dict", "list", "filter", "lambda", "p", "True", "False", "None"})


def built_again(accused: Accused) -> Iterator[Patch]:
    """Behind what changes the model the optimizer is built anew, or handed the new tensors; else before training."""
    for source in accused.sources:
        found = constructions(accused, source)
        built = holds_orphans(accused, source) or (found[0] if len(found) == 1 else None)
        if built is None:
            continue
        maker = maker_call(source, built)
        names = [source.code(t) for t in targets(source, maker)]
        pair = [source.code(e.value) for t in targets(source, maker) if isinstance(t, cst.Tuple) for e in t.elements]
        name = next((n for n in (pair or names) if n.rpartition(".")[2] in accused.optimizers), None)
        name = name or (names[0] if len(names) == 1 else None)
        models = models_in(source, built)
        if name is None or not models:
            continue
        for change in changes(accused, source, built, models):
            yield from _behind(accused, source, built, (name, sorted(models)), change)
        yield from _before_training(accused, source, name)


def changes(accused: Accused, source: Source, built: cst.Call, models: set[str]) -> list[Statement]:
    """Statements that put new tensors into the model: layers assigned to it, calls of what does so, another model."""
    missing = {str(n) for f in accused.run.facts("coverage") for n in f.data.get("trainable_not_held", [])}
    parts = {part for n in missing for part in n.split(".")[:-1]}
    makers, found = reshapers(source), list[Statement]()
    for call in source.calls(*makers):
        function = source.function(call)
        if function is None or function.name.value not in makers:
            found.append(source.statement(call))
    for assign in source.nodes(cst.Assign):
        target, function = assign.targets[0].target, source.function(assign)
        if function is not None and function.name.value == "__init__" and function is not source.function(built):
            continue
        later = source.scope(assign) is not source.scope(built) or source.line(assign) > source.line(built)
        new = source.code(target) in models and isinstance(assign.value, cst.Call)
        part = isinstance(target, cst.Attribute) and last_name(target) in parts
        if later and (new or part):
            found.append(source.statement(assign))
    return list(dict.fromkeys(found))


def _behind(
    accused: Accused, source: Source, built: cst.Call, named: tuple[str, list[str]], change: Statement
) -> Iterator[Patch]:
    (name, models), scope = named, source.scope(change)
    if not isinstance(change, cst.SimpleStatementLine) or not mentions_any(source, change, scope, name):
        return
    text, home = source.code(built), source.statement(built)
    same = scope is source.scope(built)
    needed = {n.value for n in source.nodes(cst.Name, built)} - BUILTIN
    known = {n.value for n in source.nodes(cst.Name, scope)} | _globals(source)
    edits = Edits(source)
    if same or needed <= known:
        lines = edits.lines(home) if same else [f"{name} = {text}"]
        edits.after(change, *lines, *(_dependents(source, home, name) if same else ()))
    elif len(accused.run.optimizers) == 1 and all(len(o.groups) == 1 for o in accused.run.optimizers):
        edits.after(change, f'{name}.param_groups[0]["params"] = list({models[0]}.parameters())')
    patch = accused.patch(f"give {name} the model's present parameters", edits)
    if patch is not None:
        yield patch


def _before_training(accused: Accused, source: Source, name: str) -> Iterator[Patch]:
    """Before the innermost loop that steps, the optimizer gets what the model has now."""
    if len(accused.run.optimizers) != 1 or any(len(o.groups) != 1 for o in accused.run.optimizers):
        return
    for step, held in accused.steps(source):
        loop = source.loop(step)
        if loop is None or last_name(cst.parse_expression(held)) != name.rpartition(".")[2]:
            continue
        around: cst.CSTNode = loop
        model = next((source.code(c.func) for c in accused.forwards(source, around)), None)
        if model is None or model == "self":
            continue
        edits = Edits(source)
        edits.before(loop, f'{held}.param_groups[0]["params"] = list({model}.parameters())')
        patch = accused.patch(f"give {held} the model's present parameters before training", edits)
        if patch is not None:
            yield patch


def mentions_any(source: Source, change: Statement, scope: cst.CSTNode, name: str) -> bool:
    """Whether the optimizer is known where the model is changed."""
    body = scope.body if isinstance(scope, cst.FunctionDef) else scope
    if name.startswith("self."):
        owner = source.enclosing(change, (cst.ClassDef,))
        return owner is not None and re.search(rf"\b{re.escape(name)}\b", source.code(owner)) is not None
    found = {n.value for n in source.nodes(cst.Name, body)}
    return name in found


def _dependents(source: Source, built: Statement, name: str) -> list[str]:
    """Lines that build a scheduler on the optimizer, to be repeated with it."""
    edits, found = Edits(source), list[str]()
    block = source.block(built)
    for s in block[block.index(built) + 1 :] if built in block else []:
        made = any(True for _ in source.nodes(cst.Assign, s)) and isinstance(s, cst.SimpleStatementLine)
        if made and mentions(source, s, name) and "lr_scheduler" in source.code(s):
            found += edits.lines(s)
    return found


def _globals(source: Source) -> set[str]:
    """Names that a file defines or imports at its top."""
    found = set[str]()
    for s in source.module.body:
        if isinstance(s, (cst.FunctionDef, cst.ClassDef)):
            found.add(s.name.value)
        elif isinstance(s, cst.SimpleStatementLine):
            kinds = (cst.Import, cst.ImportFrom, cst.Assign)
            found |= {n.value for k in s.body if isinstance(k, kinds) for n in source.nodes(cst.Name, k)}
    return found


__all__ = ["built_again", "changes"]
