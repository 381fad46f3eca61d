"""Repair of evaluation data that miss what was fitted to training data: a scaler, or stored statistics."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver, targets
from aitia.agent.repairs.arrays import untracked
from aitia.agent.repairs.prepared import HELD, RANDOM, SUMMARY, counterpart, operands
from aitia.agent.repairs.source import Statement

DRAWN = re.compile(rf"{RANDOM.pattern}|rand|shuffle|permut")
MOST = 2
"""Places that are tried; each costs runs."""
KEPT = re.compile(r"\bself\.\w+")


def preprocessing_mismatch(accused: Accused) -> Iterator[Patch]:
    """The fitted scaler is applied to the held-out part, too; what `fit` does with its statistics, `predict` does."""
    for source in accused.sources:
        for edits in (*_scaled(source), *_as_fitted(source), *_for_training_only(source), *_same_steps(source)):
            if (patch := accused.patch(SUMMARY, edits)) is not None:
                yield patch


def _scaled(source: Source) -> Iterator[Edits]:
    """`a = scaler.fit_transform(a)`, and nothing of its kind for the other part of the split."""
    for call in source.calls("fit_transform"):
        on, given, made = receiver(call), positional(call)[:1], targets(source, call)
        if on is None or not given or len(made) != 1:
            continue
        other = counterpart(source, given[0].value)
        named = source.code(on)
        used = [source.code(positional(c)[0].value) for c in source.calls("transform")
                if (r := receiver(c)) is not None and source.code(r) == named and positional(c)]  # fmt: skip
        if other is None or other in used or not re.fullmatch(r"[\w.]+", named):
            continue
        edits, held = Edits(source), source.code(made[0])
        target = other if held == source.code(given[0].value) else None
        if target is not None:
            edits.after(source.statement(call), f"{target} = {named}.transform({other})")
            yield edits


def _as_fitted(source: Source) -> Iterator[Edits]:
    """In one class: arithmetic on the data with attributes, where it learns, and none where it is asked."""
    for owner in source.nodes(cst.ClassDef):
        methods = list(source.nodes(cst.FunctionDef, owner.body))
        learning = [m for m in methods if source.calls("backward", within=m)]
        for method in learning:
            for assign in source.nodes(cst.Assign, method):
                for part in source.nodes(cst.BinaryOperation, assign.value):
                    names = {n.value for n in source.nodes(cst.Name, part)} - {"self"}
                    data = names & {p.name.value for p in method.params.params}
                    text = source.code(part)
                    if len(data) == 1 and KEPT.search(text) and not RANDOM.search(text):
                        yield from _in_the_others(source, methods, method, next(iter(data)), text)
                        return


def _in_the_others(
    source: Source, methods: list[cst.FunctionDef], learns: cst.FunctionDef, name: str, text: str
) -> Iterator[Edits]:
    kept = set(KEPT.findall(text))
    for method in methods:
        own = [p.name.value for p in method.params.params if p.name.value != "self"]
        asks = any(source.code(c.func).startswith("self.") for c in source.nodes(cst.Call, method.body))
        if method is learns or not own or not asks or method.name.value in {"__init__", "forward", learns.name.value}:
            continue
        if kept & set(KEPT.findall(source.code(method))) or not source.calls(
            "no_grad", "inference_mode", "eval", within=method
        ):
            continue
        given = name if name in own else own[0]
        changed = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", given, text)
        first = _first(method)
        if first is not None:
            edits = Edits(source)
            edits.before(first, f"{given} = {changed}")
            yield edits


def _for_training_only(source: Source) -> Iterator[Edits]:
    """`if self.train: x = x / 255`: what is no augmentation is done to all samples."""
    for test in source.nodes(cst.If):
        if not re.search(r"(?i)\b(is_)?(train|training|augment)\b", source.code(test.test)) or test.orelse is not None:
            continue
        body = test.body.body if isinstance(test.body, cst.IndentedBlock) else ()
        scaled = [
            s
            for s in body
            if isinstance(s, cst.SimpleStatementLine)
            and isinstance(s.body[0], cst.Assign)
            and any(source.nodes(cst.BinaryOperation, s))
            and not DRAWN.search(source.code(s))
            and source.code(s.body[0].targets[0].target) in {n.value for n in source.nodes(cst.Name, s.body[0].value)}
        ]
        if scaled and not source.calls("backward", within=test):
            edits = Edits(source)
            for s in scaled:
                edits.before(test, *edits.lines(s))
                edits.remove(s)
            yield edits


def _same_steps(source: Source) -> Iterator[Edits]:
    """`encode(clean(t))` in training and `encode(t.split())` in evaluation; `x.mT.reshape(n)` and `x.reshape(n)`."""
    calls = [c for c in source.nodes(cst.Call) if last_name(c.func)]
    held = [c for c in calls if _evaluates(source, c)]
    own = {f.name.value for f in source.nodes(cst.FunctionDef)}
    found = 0
    for ours in held:
        for theirs in calls:
            if last_name(theirs.func) != last_name(ours.func) or any(theirs is c for c in held):
                continue
            given = zip(positional(theirs), positional(ours), strict=False)
            pairs = [(receiver(theirs), receiver(ours)), *((a.value, b.value) for a, b in given)]
            for a, b in pairs:
                text = None if a is None or b is None else _as_theirs(source, a, b, own)
                if text is not None and b is not None and found < MOST:
                    edits, found = Edits(source), found + 1
                    edits.replace(b, text)
                    yield edits


def _as_theirs(source: Source, theirs: cst.BaseExpression, ours: cst.BaseExpression, own: set[str]) -> str | None:
    """Our expression made as theirs is, where theirs does more with the one thing it is made of."""
    mine, other = ({source.code(u) for u in operands(source, e)} for e in (ours, theirs))
    if len(mine) != 1 or len(other) != 1 or DRAWN.search(source.code(theirs)):
        return None
    steps, fewer = (sum(1 for _ in source.nodes(cst.Call, e)) for e in (theirs, ours))
    named = isinstance(theirs, cst.Call) and last_name(theirs.func) in own
    plain = isinstance(ours, cst.Call) and last_name(ours.func) in own
    if not (steps > fewer or (named and not plain and steps == fewer)):
        return None
    old, new = other.pop(), mine.pop()
    text = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", lambda _: new, source.code(theirs))
    return text if text != source.code(ours) else None


def _evaluates(source: Source, call: cst.Call) -> bool:
    """Whether an expression prepares what is only asked: without gradients, in a function of that name, or so named."""
    function = source.function(call)
    named = function is not None and re.search(r"(?i)predict|eval|test|valid|infer|score|classif", function.name.value)
    into = any(re.search(rf"(?i)(^|_|\b){HELD}(_|\b|$)", source.code(t)) for t in targets(source, call))
    return bool(named) or into or untracked(source, call)


def _first(method: cst.FunctionDef) -> Statement | None:
    body = method.body.body if isinstance(method.body, cst.IndentedBlock) else ()
    found = [s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]
    return found[1 if method.get_docstring() is not None and len(found) > 1 else 0] if found else None
