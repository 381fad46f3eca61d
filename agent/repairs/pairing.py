"""Repairs of features and targets that no longer belong together: one order, one index, one split for both."""

from __future__ import annotations

import re
from itertools import combinations

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    is_expression,
    keyword,
    last_name,
    positional,
    receiver,
    targets,
)
from aitia.agent.repairs.flow import definitions
from aitia.agent.repairs.source import number

SUMMARY = "keep features and targets in one order"
DRAWS = frozenset({"permutation", "randperm", "randint", "choice", "sample", "multinomial", "integers", "rand_like"})
LABEL = re.compile(r"(?i)(^|[._])(y\w{0,2}|t|labels?\w*|targets?\w*|tgt|classes)($|[._\d])")
MOVED = ("roll", "flip", "flipud", "sort", "sorted", "msort")
SEEDS = ("random_state", "generator", "seed")


def label_misaligned(accused: Accused) -> list[Patch]:
    """Every place where one of the two is moved without the other, those on accused lines first."""
    found: list[Patch] = []
    for source in accused.sources:
        edits: list[tuple[bool, Edits]] = []
        for finder in (_two_draws, _shuffled_in_place, _two_splits, _two_loaders, _two_indices, _cut_to_length, _moved):
            for nodes, edit in finder(source):
                edits.append((not any(source.line(n) in accused.lines(source) for n in nodes), edit))
        edits.sort(key=lambda e: e[0])
        found += [p for _, e in edits if (p := accused.patch(SUMMARY, e)) is not None]
    return found


Found = list[tuple[list[cst.CSTNode], Edits]]


def _two_draws(source: Source) -> Found:
    """`x[randperm(n)]` and `y[randperm(n)]`, drawn in place or under two names: the first draw serves both."""
    drawn = [(s, d) for s in source.nodes(cst.Subscript) if (d := _draw(source, s)) is not None]
    found: Found = []
    for (one, first), (other, second) in combinations(drawn, 2):
        near = source.scope(one) is source.scope(other) and source.loop(one) is source.loop(other)
        if not near or first is second or source.code(one.value) == source.code(other.value):
            continue
        inner, outer = _index(one), _index(other)
        if inner is None or outer is None or not _of_one_size(source, first, second):
            continue
        edits = Edits(source)
        if isinstance(inner, cst.Name):
            edits.replace(outer, inner.value)
            made = [a for a in definitions(source, inner) if source.line(a) < source.line(other)]
            if not made:
                continue
        else:
            edits.before(source.statement(one), f"order = {source.code(first)}")
            edits.replace(inner, "order")
            edits.replace(outer, "order")
        found.append(([one, other], edits))
    return found


def _index(subscript: cst.Subscript) -> cst.BaseExpression | None:
    inner = subscript.slice[0].slice if len(subscript.slice) == 1 else None
    return inner.value if isinstance(inner, cst.Index) else None


def _draw(source: Source, subscript: cst.Subscript) -> cst.Call | None:
    """The random order that a subscript takes its samples by."""
    index = _index(subscript)
    if isinstance(index, cst.Name):
        made = [a.value for a in definitions(source, index)]
        index = made[-1] if len(made) == 1 else None
    drawn = isinstance(index, cst.Call) and last_name(index.func) in DRAWS
    return index if drawn and isinstance(index, cst.Call) else None


def _of_one_size(source: Source, one: cst.Call, other: cst.Call) -> bool:
    """Whether both draws are of the same kind, so that one can stand for the other."""
    return last_name(one.func) == last_name(other.func)


def _shuffled_in_place(source: Source) -> Found:
    """`shuffle(x)` and `shuffle(y)` one after the other, in place or as a value."""
    found: Found = []
    calls = [c for c in source.calls("shuffle") if len(positional(c)) == 1]
    for one, other in combinations(calls, 2):
        block, places = source.block(source.statement(one)), [source.statement(one), source.statement(other)]
        x, y = (source.code(positional(c)[0].value) for c in (one, other))
        if places[1] not in block or x == y or source.code(one.func) != source.code(other.func):
            continue
        edits, on = Edits(source), source.code(receiver(one) or one.func)
        if is_expression(places[0]) and is_expression(places[1]):
            edits.before(places[0], *_joint_order(source, one, x, y))
            edits.remove(places[0])
            edits.remove(places[1])
        else:  # scikit-learn's: takes both at once
            names = [targets(source, c) for c in (one, other)]
            if not all(len(n) == 1 for n in names) or on == "random":
                continue
            options = [source.code(a).rstrip(", ") for a in one.args if a.keyword is not None]
            left, right = (source.code(n[0]) for n in names)
            inside = ", ".join([x, y, *options])
            edits.before(places[0], f"{left}, {right} = {source.code(one.func)}({inside})")
            edits.remove(places[0])
            edits.remove(places[1])
        found.append(([one, other], edits))
    for call in calls if len(calls) == 1 else ():  # one alone is shuffled: its partner must follow
        name, statement = source.code(positional(call)[0].value), source.statement(call)
        if not is_expression(statement) or not re.search(r"random|rng|generator", source.code(call.func)):
            continue
        assigns = source.nodes(cst.Assign, source.scope(call))
        pairs = [a.targets[0].target for a in assigns if source.line(a) < source.line(call)]
        paired = [[source.code(e.value) for e in p.elements] for p in pairs if isinstance(p, cst.Tuple)]
        partner = next((n[1 - n.index(name)] for n in paired if len(n) == 2 and name in n), None)
        plain = next((a for a in definitions(source, positional(call)[0].value) if isinstance(a, cst.Assign)), None)
        if partner is None and plain is None:
            continue
        edits = Edits(source)
        if partner is not None:
            edits.before(statement, *_joint_order(source, call, name, partner))
        edits.remove(statement)
        found.append(([call], edits))
    return found


def _joint_order(source: Source, call: cst.Call, x: str, y: str) -> list[str]:
    """Lines that bring both into one random order, drawn by what `shuffle` was called on."""
    on = source.code(receiver(call) or call.func)
    if on == "random" or isinstance(call.func, cst.Name):
        draw = f"random.sample(range(len({x})), len({x}))" if on == "random" else f"torch.randperm(len({x})).tolist()"
        return [f"order = {draw}", f"{x}[:], {y}[:] = [{x}[i] for i in order], [{y}[i] for i in order]"]
    return [f"order = {on}.permutation(len({x}))", f"{x}[:], {y}[:] = {x}[order], {y}[order]"]


def _two_splits(source: Source) -> Found:
    """`train_test_split(x)` and `train_test_split(y)`, `random_split` twice: split by one random state."""
    found: Found = []
    calls = [c for c in source.calls("train_test_split", "random_split") if len(positional(c)) <= 2]
    for one, other in combinations(calls, 2):
        if source.scope(one) is not source.scope(other) or last_name(one.func) != last_name(other.func):
            continue
        word = "random_state" if last_name(one.func) == "train_test_split" else "generator"
        seeds, edits = [keyword(c, word) for c in (one, other)], Edits(source)
        state = "0" if word == "random_state" else "torch.Generator().manual_seed(0)"
        if seeds[0] is not None and seeds[1] is not None and word == "random_state":
            edits.replace(seeds[1].value, source.code(seeds[0].value))
        elif word == "random_state" or "import torch" in source.text:
            for call, given in zip((one, other), seeds, strict=True):
                if given is not None:
                    edits.replace(given.value, state)
                else:
                    _, end = source.span(call.args[-1].value)
                    edits.cut(end, end, f", {word}={state}")
        found.append(([one, other], edits))
    return found


def _two_loaders(source: Source) -> Found:
    """`zip(loader_of_x, loader_of_y)`, each shuffled by itself: one loader of pairs."""
    found: Found = []
    made = {source.code(t): c for c in source.calls("DataLoader") for t in targets(source, c)}
    for call in source.calls("zip"):
        names = [source.code(a.value) for a in positional(call)]
        if len(names) != 2 or not set(names) <= set(made):
            continue
        one, other = (made[n] for n in names)
        data = [positional(c)[0].value for c in (one, other) if positional(c)]
        shuffles = [keyword(c, "shuffle") for c in (one, other)]
        if len(data) != 2 or not any(s is not None and source.code(s.value) != "False" for s in shuffles):
            continue
        edits = Edits(source)
        edits.replace(data[0], f"list(zip({source.code(data[0])}, {source.code(data[1])}))")
        edits.replace(call, names[0])
        if list(source.nodes(cst.Name)) and source.text.count(names[1]) == 2:
            edits.remove(source.statement(other))
        found.append(([one, other, call], edits))
    return found


def _two_indices(source: Source) -> Found:
    """A sample whose features and target are looked up by different indices."""
    found: Found = []
    for function in source.nodes(cst.FunctionDef):
        params = [p.name.value for p in function.params.params if p.name.value != "self"]
        if function.name.value not in {"__getitem__", "get", "sample", "fetch"} or not params:
            continue
        subscripts = [(s, i) for s in source.nodes(cst.Subscript, function.body) if (i := _index(s)) is not None]
        subscripts = [(s, i) for s, i in subscripts if params[0] in {n.value for n in source.nodes(cst.Name, i)}]
        outer = [
            (s, i) for s, i in subscripts if not any(s in list(source.nodes(cst.Subscript, j)) for _, j in subscripts)
        ]
        for (one, first), (other, second) in combinations(outer, 2):
            if source.code(first) == source.code(second) or source.code(one.value) == source.code(other.value):
                continue
            looked_up = [i for i in (first, second) if isinstance(i, cst.Subscript)]
            wanted = source.code(looked_up[0]) if len(looked_up) == 1 else params[0]
            edits = Edits(source)
            for index in (first, second):
                if source.code(index) != wanted:
                    edits.replace(index, wanted)
            found.append(([one, other], edits))
    return found


def _cut_to_length(source: Source) -> Found:
    """`y = y[: len(x)]` after `x = x[kept]`: the target is filtered by the same."""
    found: Found = []
    for assign in source.nodes(cst.Assign):
        value, name = assign.value, source.code(assign.targets[0].target)
        cut = value.slice[0].slice if isinstance(value, cst.Subscript) and len(value.slice) == 1 else None
        if not isinstance(value, cst.Subscript) or not isinstance(cut, cst.Slice) or cut.lower is not None:
            continue
        upper = cut.upper
        size = positional(upper)[0].value if isinstance(upper, cst.Call) and source.code(upper.func) == "len" else None
        if isinstance(upper, cst.Subscript) and source.code(upper).endswith(".shape[0]"):
            size = upper.value.value if isinstance(upper.value, cst.Attribute) else None
        if size is None:
            continue
        for earlier in reversed(definitions(source, size)):
            index = _index(earlier.value) if isinstance(earlier.value, cst.Subscript) else None
            if source.line(earlier) < source.line(assign) and index is not None:
                edits = Edits(source)
                edits.replace(value, f"{source.code(value.value)}[{source.code(index)}]")
                found.append(([assign], edits))
                break
        else:
            if source.code(value.value) != name:
                continue
    return found


def _moved(source: Source) -> Found:
    """Targets that are rolled, sorted or turned round by themselves stay as they are."""
    found: Found = []
    for call in source.calls(*MOVED):
        on = receiver(call)
        method = on is not None and source.code(on) not in {"torch", "np", "numpy"}
        inner = on if method else next((a.value for a in positional(call)), None)
        statement = source.statement(call)
        if inner is None or not LABEL.search(source.code(inner)):
            continue
        edits, whole = Edits(source), source.parent(call)
        if is_expression(statement):
            edits.remove(statement)
        elif isinstance(whole, (cst.Attribute, cst.Subscript)) and whole.value is call:
            edits.replace(whole, source.code(inner))
        else:
            edits.replace(call, source.code(inner))
        found.append(([call], edits))
    for subscript in source.nodes(cst.Subscript):
        index, text = _index(subscript), source.code(subscript.value)
        argsort = isinstance(index, cst.Call) and last_name(index.func) == "argsort"
        if (argsort or source.code(subscript).endswith("[::-1]")) and LABEL.search(text) and number(subscript) is None:
            edits = Edits(source)
            edits.replace(subscript, text)
            found.append(([subscript], edits))
    return found
