"""Repairs of evaluation data that are prepared otherwise than training data: the same steps for both."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst
import numpy as np

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, only, positional, targets
from aitia.agent.repairs.arrays import untracked
from aitia.agent.repairs.flow import definitions
from aitia.agent.repairs.source import number

SUMMARY = "prepare what is evaluated as the training data are prepared"
TRAIN = r"(?:train(?:ing)?|tr|trn)"
HELD = r"(?:test(?:ing)?|te|tst|valid(?:ation)?|val|va|dev|eval|hold_?out|held_?out)"
RANDOM = re.compile(r"(?i)random|augment|jitter|flip|noise|crop|rotat|mixup|cutout")
"""What is done to training samples on purpose and to no others."""
OWN = frozenset({
    "shuffle", "batch_size", "sampler", "drop_last", "train", "augment", "num_workers", "collate_fn", "generator",
    "batch_sampler", "training", "split", "subset", "mode", "seed", "random_state",
})  # fmt: skip
"""Arguments that differ between training and evaluation on purpose."""
STATISTIC = r"(?!\s*\.(?:mean|std|min|max|amin|amax|var|median|quantile)\()"
CLOSE = 0.05
"""Relative difference up to which two measured scales are the same one."""
UNITS = (cst.Name, cst.Attribute, cst.Subscript)


def preprocessing_mismatch(accused: Accused) -> list[Patch]:
    """Where the data are made, where the model is called, before it is called; else by the factor that was measured."""
    found: list[Patch] = []
    for source in accused.sources:
        edits = [*_where_made(source), *_at_the_calls(accused, source), *_before_the_calls(accused, source)]
        found += [p for e in [*edits, *_by_factor(accused, source)] if (p := accused.patch(SUMMARY, e)) is not None]
    return found


# ---- where the data are made ----------------------------------------------------------------------------------------


def _where_made(source: Source) -> Iterator[Edits]:
    """`test = f(b)` beside `train = f(a, scale)`: the same call, of its own data."""
    assigns = [(source.code(a.targets[0].target), a) for a in source.nodes(cst.Assign) if len(a.targets) == 1]
    for name, theirs in assigns:
        for other, ours in assigns:
            if not _pair(name, other) or source.scope(theirs) is not source.scope(ours):
                continue
            edits = Edits(source)
            _align(source, edits, theirs.value, ours.value)
            if edits.result() is not None:
                yield edits


def _pair(one: str, other: str) -> bool:
    """Whether two names differ by what says training in one and evaluation in the other."""
    parts = re.split(rf"(?i)(?<![a-z]){TRAIN}(?![a-z])|(?<=[a-z]){TRAIN}$|^{TRAIN}(?=[A-Z_])", one)
    if len(parts) != 2 or one == other:
        return False
    return re.fullmatch(rf"(?i){re.escape(parts[0])}{HELD}{re.escape(parts[1])}", other) is not None


def counterpart(source: Source, theirs: cst.BaseExpression) -> str | None:
    """The held-out part that belongs to a training part: named alike, or beside it where both were split off."""
    mine = source.code(theirs)
    for assign in source.nodes(cst.Assign):
        target = assign.targets[0].target
        names = [source.code(e.value) for e in target.elements] if isinstance(target, cst.Tuple) else []
        if mine in names and len(names) % 2 == 0:
            place = names.index(mine)
            split = isinstance(assign.value, cst.Call) and "split" in source.code(assign.value.func)
            if split and place % 2 == 0:
                return names[place + 1]
    known = {source.code(a.targets[0].target) for a in source.nodes(cst.Assign)}
    return next((n for n in sorted(known) if _pair(mine, n)), None)


def _align(source: Source, edits: Edits, theirs: cst.BaseExpression, ours: cst.BaseExpression) -> None:
    if source.code(theirs) == source.code(ours):
        return
    if (
        isinstance(theirs, cst.Call)
        and isinstance(ours, cst.Call)
        and source.code(theirs.func) == source.code(ours.func)
    ):
        _align_arguments(source, edits, theirs, ours)
        return
    if isinstance(theirs, cst.List) and isinstance(ours, cst.List) and ours.elements:
        known = {source.code(e.value) for e in ours.elements}
        steps = [t for e in theirs.elements if (t := source.code(e.value)) not in known and not RANDOM.search(t)]
        _, end = source.span(ours.elements[-1].value)
        edits.cut(end, end, "".join(f", {t}" for t in steps))
        return
    data = [u for u in operands(source, ours) if number(u) is None]
    kept = [u for u in operands(source, theirs) if any(_corresponds(source, u, d) for d in data)]
    pairs = {(source.code(t), source.code(next(d for d in data if _corresponds(source, t, d)))) for t in kept}
    if len(pairs) != 1 or (isinstance(theirs, UNITS) and isinstance(ours, UNITS)) or RANDOM.search(source.code(theirs)):
        return
    (old, new), text = next(iter(pairs)), source.code(theirs)
    swapped = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w){STATISTIC}", lambda _: new, text)
    statement = source.statement(theirs)
    again = old in {source.code(t) for t in targets(source, theirs)}
    own = re.findall(rf"(?<![\w.]){re.escape(old)}\.\w+\([^()]*\)", swapped) if again else []
    for place, statistic in enumerate(dict.fromkeys(own)):  # of the training part as it was before this statement
        edits.before(statement, f"statistic_{place} = {statistic}")
        swapped = swapped.replace(statistic, f"statistic_{place}")
    if new in swapped and (swapped != source.code(ours) or own):
        edits.replace(ours, swapped)


def _align_arguments(source: Source, edits: Edits, theirs: cst.Call, ours: cst.Call) -> None:
    extra = []
    for place, arg in enumerate(theirs.args):
        name = arg.keyword.value if arg.keyword is not None else None
        if name in OWN or arg.star:
            continue
        mine = next((a for a in ours.args if a.keyword is not None and a.keyword.value == name), None) if name else None
        if name is None and place < len(ours.args) and ours.args[place].keyword is None:
            mine = ours.args[place]
        text = source.code(arg).rstrip(", ")
        if mine is not None:
            _align(source, edits, arg.value, mine.value)
        elif not RANDOM.search(text) and not re.search(r"(?i)train", text.partition("=")[2] or text):
            extra.append(text)
    if extra and ours.args:
        _, end = source.span(ours.args[-1].value)
        edits.cut(end, end, ", " + ", ".join(extra))


def operands(source: Source, node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """Names, attributes and subscripts that stand for themselves."""
    if isinstance(node, UNITS):
        return [node]
    found: list[cst.BaseExpression] = []
    for child in node.children:
        if isinstance(child, cst.BaseExpression):
            skip = isinstance(node, cst.Call) and child is node.func
            if skip and isinstance(child, cst.Attribute):
                found += operands(source, child.value)
            elif not skip:
                found += operands(source, child)
        elif isinstance(child, (cst.Arg, cst.Element)):
            found += operands(source, child.value)
    return found


def _corresponds(source: Source, theirs: cst.BaseExpression, ours: cst.BaseExpression) -> bool:
    one, other = source.code(theirs), source.code(ours)
    if one == other:
        return False
    if _pair(one, other):
        return True
    if isinstance(theirs, cst.Subscript) and isinstance(ours, cst.Subscript):
        return source.code(theirs.value) == source.code(ours.value)
    made = [definitions(source, n) for n in (theirs, ours)]
    if not made[0] or not made[1] or made[0][-1] is not made[1][-1] or not isinstance(made[0][-1], cst.Assign):
        return False
    target = made[0][-1].targets[0].target
    names = [source.code(e.value) for e in target.elements] if isinstance(target, cst.Tuple) else []
    return one in names and other in names and names.index(other) - names.index(one) == 1 and names.index(one) % 2 == 0


# ---- where the model is called --------------------------------------------------------------------------------------


def _calls(accused: Accused, source: Source) -> tuple[list[cst.Call], list[cst.Call]]:
    calls = [c for c in accused.forwards(source, source.module) if positional(c) and source.code(c.func) != "self"]
    return [c for c in calls if not untracked(source, c)], [c for c in calls if untracked(source, c)]


def _at_the_calls(accused: Accused, source: Source) -> Iterator[Edits]:
    """`model(x / 16)` in training and `model(x)` in evaluation, or the other way round."""
    training, evaluating = _calls(accused, source)
    for theirs, ours in ((training, evaluating), (evaluating, training)):
        made = [(v, operands(source, v)) for c in theirs if not isinstance(v := positional(c)[0].value, UNITS)]
        made = [(v, u) for v, u in made if len({source.code(x) for x in u}) == 1 and not RANDOM.search(source.code(v))]
        if len({source.code(v) for v, _ in made}) != 1:
            continue
        (value, units), edits = made[0], Edits(source)
        for call in ours:
            plain = positional(call)[0].value
            if isinstance(plain, UNITS):
                edits.replace(plain, _renamed(source.code(value), source.code(units[0]), source.code(plain)))
        if edits.result() is not None:
            yield edits


def _renamed(text: str, old: str, new: str) -> str:
    """An expression with another name in the place of one of its own."""
    return re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new.replace("\\", r"\\"), text)


def _before_the_calls(accused: Accused, source: Source) -> Iterator[Edits]:
    """`x = x / 16` before the forward of training and not before that of evaluation, or the other way round."""
    training, evaluating = _calls(accused, source)
    for theirs, ours in ((training, evaluating), (evaluating, training)):
        steps = [s for c in theirs for s in _steps(source, c)]
        missing = [c for c in ours if not _steps(source, c) and isinstance(positional(c)[0].value, cst.Name)]
        if not steps or not missing:
            continue
        edits = Edits(source)
        for call in missing:
            name = source.code(positional(call)[0].value)
            statement = source.statement(call)
            if only(statement) is None and isinstance(statement, cst.BaseCompoundStatement):
                continue
            old = source.code(steps[0].targets[0].target)
            edits.before(statement, _renamed(source.code(steps[0]), old, name))
        if edits.result() is not None:
            yield edits


def _steps(source: Source, call: cst.Call) -> list[cst.Assign]:
    """Statements of the same block that change the numbers of what the model is then given."""
    name, statement = source.code(positional(call)[0].value), source.statement(call)
    found = []
    for earlier in source.block(statement):
        small = only(earlier)
        if source.line(earlier) >= source.line(statement) or not isinstance(small, cst.Assign):
            continue
        itself = any(n.value == name for n in source.nodes(cst.Name, small.value))
        arithmetic = any(source.nodes(cst.BinaryOperation, small.value))
        if (
            source.code(small.targets[0].target) == name
            and itself
            and arithmetic
            and not RANDOM.search(source.code(small))
        ):
            found.append(small)
    return found


def _by_factor(accused: Accused, source: Source) -> Iterator[Edits]:
    """Inputs of evaluation that are those of training times a whole number, or not yet standardized."""
    rows = accused.run.table("batch")
    train, held = rows["grad"] == 1, rows["grad"] == 0
    if not train.any() or not held.any():
        return
    means, widths = ([float(np.nanmedian(rows[n][part])) for part in (train, held)] for n in ("in_mean", "in_std"))
    if not all(np.isfinite([*means, *widths])) or min(widths) <= 0:
        return
    factor = widths[1] / widths[0]
    whole = round(factor) if factor > 1 else round(1 / factor)
    same = abs(means[0]) > CLOSE * widths[0] and abs(means[1] / means[0] / factor - 1) < CLOSE
    exact = whole > 1 and abs(max(factor, 1 / factor) / whole - 1) < CLOSE
    standard = abs(means[0]) < CLOSE and abs(widths[0] - 1) < 2 * CLOSE
    _, evaluating = _calls(accused, source)
    edits = Edits(source)
    for call in evaluating:
        given = positional(call)[0].value
        if same and exact:
            edits.replace(given, f"{source.atom(given)} {'/' if factor > 1 else '*'} {whole}")
        elif standard and len(np.unique(rows["root"][held])) == 1:
            edits.replace(given, f"({source.atom(given)} - {means[1]:.3g}) / {widths[1]:.3g}")
    if edits.result() is not None:
        yield edits
