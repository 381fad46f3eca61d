"""Repairs of ranks that train on the same samples: each draws from a part of its own, however samples are drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    keyword,
    last_name,
    positional,
    receiver,
    targets,
)
from aitia.agent.repairs.hooks import trains
from aitia.agent.repairs.source import argument, number

SUMMARY = "give each rank its own part of the data"
DRAWS = "let each rank draw its samples from a seed of its own"
RANK, WORLD = "torch.distributed.get_rank()", "torch.distributed.get_world_size()"
PART = f"[{RANK}::{WORLD}]"
RANKS = re.compile(r"(?i)world(_?size)?|n(um)?_?(ranks|replicas|procs|processes)")
COUNTING = frozenset({"len", "int", "min", "max", "ceil", "floor", "get_world_size"})
EVALUATES = re.compile(r"(?i)test|val|eval|dev|hold|held")


def same_data_on_ranks(accused: Accused) -> Iterator[Patch]:
    """A sampler that knows the rank; else a part of the order, of the arrays, or of what is drawn."""
    for source in accused.sources:
        if not re.search(r"^import torch\b", source.text, re.MULTILINE):
            continue
        for edits in (
            *_samplers(source),
            *_firsts(source),
            *_loaders(accused, source),
            *_orders(source),
            *_arrays(source),
            *_parts(source),
            *_drawn(source),
        ):
            if (patch := accused.patch(SUMMARY, edits)) is not None:
                yield patch
        for edits in _seeded(source):
            if (patch := accused.patch(DRAWS, edits)) is not None:
                yield patch


def _samplers(source: Source) -> Iterator[Edits]:
    """A distributed sampler that is told it were alone, or always the same rank."""
    for call in source.calls("DistributedSampler"):
        wrong = [a for n in ("num_replicas", "rank") if (a := keyword(call, n)) is not None] or positional(call)[1:3]
        edits = Edits(source)
        if any(isinstance(a.value, cst.Integer) for a in wrong):
            for arg, right in zip(wrong, (WORLD, RANK), strict=False):
                by_name = arg.keyword.value if arg.keyword is not None else ""
                edits.replace(arg.value, {"num_replicas": WORLD, "rank": RANK}.get(by_name, right))
            yield edits


def _firsts(source: Source) -> Iterator[Edits]:
    """Shares that are all the first one: `x[:n // world]`, `x[::world]`, `x.chunk(world)[0]`, `range(0, n, world)`."""
    shares, edits = _shares(source), Edits(source)
    for part in source.nodes(cst.Subscript):
        if EVALUATES.search(_named(source, part)):
            continue
        cut = part.slice[0].slice
        if isinstance(cut, cst.Slice) and (cut.lower is None or number(cut.lower) == 0):
            start, end = source.span(cut)
            upper = cut.upper
            if cut.step is not None and _mentions(source, cut.step, shares):
                edits.cut(start, end, f"{RANK}:{'' if upper is None else source.code(upper)}:{source.code(cut.step)}")
            elif cut.step is None and upper is not None and _mentions(source, upper, shares):
                share = source.code(upper) if isinstance(upper, cst.Name) else f"({source.code(upper)})"
                edits.cut(start, end, f"{RANK} * {share}:({RANK} + 1) * {share}")
        elif isinstance(cut, cst.Index) and isinstance(part.value, cst.Call) and number(cut.value) == 0:
            asked = [a.value for a in part.value.args if _mentions(source, a.value, shares)]
            if asked and last_name(part.value.func) in {"chunk", "split", "tensor_split", "array_split"}:
                edits.replace(cut.value, RANK)
    for call in source.calls("range", "islice"):
        given = [a.value for a in call.args]
        first = given[0 if last_name(call.func) == "range" else 1] if len(given) > 2 else None
        if first is not None and number(first) == 0 and _mentions(source, given[-1], shares):
            edits.replace(first, RANK)
    yield edits


def _shares(source: Source) -> set[str]:
    """Names of the number of ranks, and of what is computed with it."""
    found = {n.value for n in source.nodes(cst.Name) if RANKS.fullmatch(n.value)}
    for assign in source.nodes(cst.Assign):
        target, value = assign.targets[0].target, assign.value
        counted = isinstance(value, (cst.Name, cst.BinaryOperation, cst.Call)) and COUNTING.issuperset(
            last_name(c.func) for c in source.nodes(cst.Call, value)
        )
        if counted and isinstance(target, cst.Name) and _mentions(source, value, found):
            found.add(target.value)
    return found


def _mentions(source: Source, node: cst.CSTNode, names: set[str]) -> bool:
    return bool(source.calls("get_world_size", within=node)) or any(
        n.value in names for n in source.nodes(cst.Name, node)
    )


def _named(source: Source, node: cst.CSTNode) -> str:
    """What a value is assigned to."""
    return " ".join(source.code(t) for t in targets(source, node))


def _loaders(accused: Accused, source: Source) -> Iterator[Edits]:
    """The training loader with a distributed sampler in the place of `shuffle`; one function's only if it is asked."""
    loaders = [c for c in source.calls("DataLoader") if argument(c, 0, "dataset") is not None]
    for call in accused.suspects(loaders, source):
        dataset, shuffle, sampler = argument(call, 0, "dataset"), keyword(call, "shuffle"), keyword(call, "sampler")
        if dataset is None or EVALUATES.search(" ".join(source.code(t) for t in targets(source, call))):
            continue
        made = f"torch.utils.data.DistributedSampler({source.code(dataset)})"
        edits, asked = Edits(source), None if shuffle is None else source.code(shuffle.value)
        if asked == "False" and len(loaders) > 1:
            continue
        if sampler is not None and "Distributed" not in source.code(sampler.value):
            edits.replace(sampler.value, made)
        elif shuffle is not None and asked in {"True", "False"}:
            kept = made if asked == "True" else made[:-1] + ", shuffle=False)"
            edits.replace(shuffle, f"sampler={kept}")
        elif shuffle is not None:  # the function is asked for both kinds: what is not shuffled stays whole
            edits.replace(shuffle, f"sampler={made} if {asked} else None")
        elif sampler is None and len(positional(call)) < 3 and keyword(call, "batch_sampler") is None:
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, f", sampler={made[:-1]}, shuffle=False)")
        if not source.calls("set_epoch"):
            for loop, given in _passes(source):
                edits.before(loop, _next_pass(source, given))
        yield edits


def _training(source: Source) -> Iterator[cst.For]:
    """Loops that train, directly or through a function."""
    for loop in source.nodes(cst.For):
        if source.calls("backward", "step", within=loop) or trains(source, loop.body) is loop:
            yield loop


def _orders(source: Source) -> Iterator[Edits]:
    """`order.split(n)` → `order[rank::world].split(n)`; of `order[i:i + n]` the order is cut where it is made."""
    for loop in _training(source):
        for call in source.calls("split", "chunk", within=loop.iter):
            on = receiver(call)
            one = not source.calls("zip", within=loop.iter)
            if on is not None and one and not EVALUATES.search(source.code(on)):
                edits = Edits(source)
                edits.replace(on, f"{source.atom(on)}{PART}")
                yield edits
        made = [
            a
            for a in source.nodes(cst.Assign, source.scope(loop))
            if isinstance(a.value, cst.Call) and last_name(a.value.func) in {"randperm", "permutation", "arange"}
        ]
        for assign in made:
            name = source.code(assign.targets[0].target)
            sliced = [s for s in source.nodes(cst.Subscript, loop.body) if source.code(s.value) == name]
            counted = (
                isinstance(loop.iter, cst.Call) and last_name(loop.iter.func) == "range" and len(loop.iter.args) == 3
            )
            if not sliced or not counted or not isinstance(loop.iter, cst.Call):
                continue
            edits = Edits(source)
            edits.replace(assign.value, f"{source.code(assign.value)}{PART}")
            edits.replace(loop.iter.args[1].value, f"len({name})")
            yield edits


def set_epoch_missing(accused: Accused) -> Iterator[Patch]:
    """Wherever a loader is run through: its sampler counts one on before each pass."""
    for source in accused.sources:
        for loop, given in _passes(source):
            edits = Edits(source)
            edits.before(loop, _next_pass(source, given))
            patch = accused.patch("tell the sampler that a new pass begins, so that it has an order of its own", edits)
            if patch is not None:
                yield patch


def _passes(source: Source) -> Iterator[tuple[cst.For, cst.BaseExpression]]:
    """Loops over the batches of a training loader, and the loader."""
    for loop in _training(source):
        given: cst.BaseExpression = loop.iter
        while isinstance(given, cst.Call) and positional(given):  # enumerate, tqdm
            given = positional(given)[0].value
        bare = isinstance(given, (cst.Name, cst.Attribute, cst.Subscript))
        inner = not any(True for _ in source.nodes(cst.For, loop.body))
        if bare and inner and (source.calls("backward", within=loop.body) or _asks(source, loop)):
            yield loop, given


def _next_pass(source: Source, loader: cst.BaseExpression) -> str:
    sampler = f"{source.code(loader)}.sampler"
    return f"{sampler}.set_epoch({sampler}.epoch + 1)"


def _asks(source: Source, loop: cst.For) -> bool:
    """Whether a loop trains through a function of the program."""
    functions = {f.name.value for f in source.nodes(cst.FunctionDef) if source.calls("backward", within=f)}
    return bool(source.calls(*functions, within=loop.body))


def _arrays(source: Source) -> Iterator[Edits]:
    """`zip(x.split(n), y.split(n))`, and samples that are taken in their order: the arrays themselves are parted."""
    for loop in _training(source):
        calls = source.calls("split", "chunk", within=loop.iter) if source.calls("zip", within=loop.iter) else []
        arrays = [on for c in calls if (on := receiver(c)) is not None]
        if len(arrays) > 1:
            edits = Edits(source)
            for on in arrays:
                edits.replace(on, f"{source.atom(on)}{PART}")
            yield edits


def _parts(source: Source) -> Iterator[Edits]:
    """`x[i:i + n]` of a training loop: before it, the arrays become the rank's part of them."""
    for loop in _outermost(source):
        around = {n.value for f in source.nodes(cst.For, loop) for n in source.nodes(cst.Name, f.target)}
        names = [
            source.code(s.value)
            for s in source.nodes(cst.Subscript, loop)
            if isinstance(s.value, cst.Name)
            and any(isinstance(e.slice, cst.Slice) for e in s.slice[:1])
            and around & {n.value for n in source.nodes(cst.Name, s.slice[0])}
        ]
        arrays, after = list(dict.fromkeys(names)), source.range(loop).end.line
        later = {n.value for n in source.nodes(cst.Name, source.scope(loop)) if source.line(n) > after}
        if arrays and not later & set(arrays) and not any(EVALUATES.search(a) for a in arrays):
            edits = Edits(source)
            edits.before(loop, f"{', '.join(arrays)} = {', '.join(a + PART for a in arrays)}")
            yield edits


def _drawn(source: Source) -> Iterator[Edits]:
    """Indices drawn at random while it trains become those of the rank's part."""
    for call in source.calls("randint"):
        used = targets(source, call)
        if len(used) == 1 and _while_training(source, call) and _reaches(source, call):
            edits, name = Edits(source), source.code(used[0])
            edits.after(source.statement(call), f"{name} = {name} // {WORLD} * {WORLD} + {RANK}  # of this rank's part")
            yield edits


def _seeded(source: Source) -> Iterator[Edits]:
    """From where training begins each rank draws from a seed of its own: the data and the model stay the same."""
    for loop in _outermost(source):
        known = {n.value for n in source.nodes(cst.Name, source.scope(loop))}
        lines = [
            f"{on}.manual_seed({on}.initial_seed() + {RANK})"
            if kind == "torch"
            else f"{on} = {on}.spawn({WORLD})[{RANK}]"
            for kind, on in _generators(source)
            if on.partition(".")[0] in known
        ]
        edits = Edits(source)
        edits.before(loop, *(lines or [f"torch.manual_seed(torch.initial_seed() + {RANK})"]))
        yield edits


def _generators(source: Source) -> Iterator[tuple[str, str]]:
    """The random generators that are asked while it trains: whose kind each is, and its name."""
    made = {
        source.code(t): kind
        for kind, name in (("torch", "Generator"), ("numpy", "default_rng"))
        for call in source.calls(name)
        for t in targets(source, call)
    }
    calls = [c for c in source.nodes(cst.Call) if _while_training(source, c)]
    used = [*map(receiver, calls), *(a.value for c in calls if (a := keyword(c, "generator")) is not None)]
    asked = dict.fromkeys(source.code(on) for on in used if on is not None)
    yield from ((made[name], name) for name in asked if name in made)


def _outermost(source: Source) -> Iterator[cst.For]:
    """Loops that train and stand in no other that does, nor in a function that is called in one."""
    yield from (loop for loop in _training(source) if not _while_training(source, loop))


def _while_training(source: Source, node: cst.CSTNode) -> bool:
    """Whether a node stands in a training loop, or in a function that is called in one."""
    if trains(source, node) is not None:
        return True
    function = source.function(node)
    return function is not None and any(trains(source, c) is not None for c in source.calls(function.name.value))


def _reaches(source: Source, call: cst.Call) -> bool:
    """Whether what is drawn picks samples: it stands in the brackets of an array."""
    names = {source.code(t) for t in targets(source, call)}
    return any(
        source.code(i.value) in names
        for s in source.nodes(cst.Subscript, source.scope(call))
        for i in source.nodes(cst.Index, s)
    )
