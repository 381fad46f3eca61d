"""Repairs of tables that are asked for rows they do not have: embeddings, positions, classes."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, targets
from aitia.agent.repairs.crash import sizes
from aitia.agent.repairs.flow import definitions
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import argument, number
from aitia.engine.records import Failure

TARGET = re.compile(r"Target (-?\d+) is out of bounds")
SIZE = re.compile(r"(?i)vocab|size|^n_?\w|num|count|total|max|len|classes|entities|buckets")
MANY = 1000
"""A table that is too small by a larger factor was not meant to hold these rows at all."""
WORD = re.compile(r"[A-Za-z][a-z]*")
COMMON = frozenset({
    "emb", "embed", "embedding", "embeddings", "n", "num", "size", "self", "table", "layer", "count", "c", "cfg",
    "config", "args", "max", "len", "vocab", "dim",
})  # fmt: skip
"""Words that say nothing of what a table is of."""


def index_out_of_range(accused: Accused) -> list[Patch]:
    """Give the table that failed the rows it is asked for: a size the program knows, one more, or a larger one."""
    failure = accused.run.info.failure
    if failure is None:
        return []
    found: list[Patch] = []
    wrong = TARGET.search(failure.message)
    for source in accused.sources:
        edits = _classes(accused, source, int(wrong.group(1))) if wrong else _rows(accused, source, failure)
        summary = "let model and targets agree on the classes" if wrong else "make room for every id that comes"
        found += [p for e in edits if (p := accused.patch(summary, e)) is not None]
    return found


def _rows(accused: Accused, source: Source, failure: Failure) -> list[Edits]:
    rows = next(iter(sizes(failure.parameters.get("weight", ""))), 0)
    call = _made(accused, source, failure)
    size = argument(call, 0, "num_embeddings") if call is not None else None
    if call is None or size is None or not rows:
        return []
    fact = accused.run.fact("exception")
    known = (fact.data.get("max_index") if fact is not None else None) or _largest_id(accused)
    shape = sizes(next(iter(failure.inputs), ""))
    wanted: list[str] = [*_siblings(source, call, size, (failure.module or "").rpartition(".")[2])]
    if "pos" in (failure.module or "").lower() and shape and shape[-1] > rows:
        wanted.append(str(shape[-1]))
    more = max(int(known) + 1 - rows, 1) if known is not None else 1
    wanted.append(str(rows + more) if number(size) is not None else f"{source.atom(size)} + {more}")
    wanted += [text for value, text in _constants(source) if rows + more < value < MANY * rows]
    found = []
    for text in dict.fromkeys(wanted):
        edits = Edits(source)
        edits.replace(size, text)
        found.append(edits)
    return found


def _made(accused: Accused, source: Source, failure: Failure) -> cst.Call | None:
    """Where the table that failed is made: by its path in the model, else the only one, else the one of its size."""
    calls, path = source.calls("Embedding", "EmbeddingBag"), (failure.module or "").split(".")
    named = [c for c in calls if any(last_name(t) == path[-1] for t in targets(source, c))]
    for call in calls:
        entry = source.enclosing(call, (cst.DictElement,))
        if isinstance(entry, cst.DictElement) and source.code(entry.key).strip("'\"") == path[-1]:
            named.append(call)
        around = source.parent(call)
        if isinstance(around, cst.Arg) and around.keyword is not None and around.keyword.value == path[-1]:
            named.append(call)
    if len(named) == 1:
        return named[0]
    rows = next(iter(sizes(failure.parameters.get("weight", ""))), 0)
    sized = [c for c in calls if (s := argument(c, 0, "num_embeddings")) is not None and _value(source, s) == rows]
    return sized[0] if len(sized) == 1 else accused.pick(calls, source)


def _value(source: Source, node: cst.BaseExpression) -> float | None:
    known = number(node)
    if known is None and isinstance(node, cst.Name):
        made = definitions(source, node)
        known = number(made[0].value) if len(made) == 1 and made[0].value is not None else None
    return known


def _siblings(source: Source, call: cst.Call, size: cst.BaseExpression, table: str) -> list[str]:
    """Sizes within reach that are named like the table: `n_items` for `item`, where it was given `n_users`."""
    function, words = source.function(call), _words(table)
    names = [p.name.value for p in function.params.params] if function is not None else []
    others = [argument(c, 0, "num_embeddings") for c in source.calls("Embedding", within=source.scope(call))]
    names += [source.code(o) for o in others if o is not None]
    for assign in source.nodes(cst.Assign):
        if source.function(assign) is None and source.enclosing(assign, (cst.ClassDef,)) is None:
            target = assign.targets[0].target
            elements = [e.value for e in target.elements] if isinstance(target, cst.Tuple) else [target]
            names += [source.code(e) for e in elements]
    fitting = [n for n in dict.fromkeys(names) if words & _words(n) and n != source.code(size) and SIZE.search(n)]
    return [] if words & _words(source.code(size)) else fitting


def _words(name: str) -> set[str]:
    return {w.lower().removesuffix("s") for w in WORD.findall(name.replace("_", " "))} - COMMON


def _constants(source: Source) -> list[tuple[float, str]]:
    """Numbers that bound ids elsewhere: `% 500`, `randint(0, 500)`, constants that are called a size."""
    found: dict[float, str] = {}
    for node in source.nodes(cst.BinaryOperation):
        if isinstance(node.operator, cst.Modulo) and (value := _value(source, node.right)) is not None:
            found.setdefault(value, f"{value:.0f}")
    for call in source.calls("randint", "integers", "choice", "randrange", "arange"):
        for given in positional(call)[:2]:
            if (value := _value(source, given.value)) is not None:
                found.setdefault(value, f"{value:.0f}")
    for assign in source.nodes(cst.Assign):
        value = number(assign.value)
        if value is not None and SIZE.search(last_name(assign.targets[0].target)):
            found.setdefault(value, f"{value:.0f}")
    return sorted(found.items())


def _classes(accused: Accused, source: Source, target: int) -> list[Edits]:
    """A last layer that is wider, where its width is a number; targets that begin at one begin at zero."""
    found: list[Edits] = []
    last = next((x for x in reversed(accused.run.layers) if x.kind == "linear"), None)
    weight = f"{last.name}.weight" if last is not None else ""
    wide = next((p.shape[0] for p in accused.run.parameters if p.name == weight), None)
    nodes: list[cst.BaseExpression] = [a.value for a in source.nodes(cst.Assign) if SIZE.search(_name(a))]
    nodes += [a.value for a in source.nodes(cst.AnnAssign) if a.value is not None and SIZE.search(last_name(a.target))]
    nodes += [p.default for p in source.nodes(cst.Param) if p.default is not None and SIZE.search(p.name.value)]
    nodes += [a.value for c in source.nodes(cst.Call) for a in c.args if a.keyword and SIZE.search(a.keyword.value)]
    nodes += [w for c in source.calls("Linear", "LazyLinear") if (w := argument(c, 1, "out_features")) is not None]
    fitting = [n for n in nodes if number(n) == (wide if wide is not None else target)]
    for node in fitting:
        edits = Edits(source)
        edits.replace(node, str(target + 1))
        found.append(edits)
    edits = Edits(source)
    for call in loss_calls(accused, source):
        given = argument(call, 1, "target")
        if given is not None and keyword(call, "ignore_index") is None:
            edits.replace(given, f"{source.atom(given)} - 1")
    return [*found, edits] if target == wide else found


def _name(assign: cst.Assign) -> str:
    return last_name(assign.targets[0].target)


def _largest_id(accused: Accused) -> float | None:
    rows = accused.run.table("batch")["in_max"]
    return float(rows[-1]) if len(rows) else None
