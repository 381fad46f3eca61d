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
from aitia.agent.repairs.source import argument

SUMMARY = "give each rank its own part of the data"
RANK, WORLD = "torch.distributed.get_rank()", "torch.distributed.get_world_size()"
PART = f"[{RANK}::{WORLD}]"
EVALUATES = re.compile(r"(?i)test|val|eval|dev|hold|held")


def same_data_on_ranks(accused: Accused) -> Iterator[Patch]:
    """A sampler that knows the rank; else a part of the order, of the arrays, or of what is drawn."""
    for source in accused.sources:
        if not re.search(r"^import torch\b", source.text, re.MULTILINE):
            continue
        for edits in (
            *_samplers(source),
            *_loaders(accused, source),
            *_orders(source),
            *_arrays(source),
            *_drawn(source),
        ):
            if (patch := accused.patch(SUMMARY, edits)) is not None:
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


def _drawn(source: Source) -> Iterator[Edits]:
    """Indices drawn at random become those of the rank's part; else each rank draws from a seed of its own."""
    for call in source.calls("randint", "randperm"):
        used = targets(source, call)
        if last_name(call.func) != "randint" or len(used) != 1:
            continue
        edits = Edits(source)
        name = source.code(used[0])
        edits.after(source.statement(call), f"{name} = {name} // {WORLD} * {WORLD} + {RANK}  # of this rank's part")
        if not _reaches(source, call):
            continue
        yield edits
    for call in source.calls("manual_seed"):
        given, scope = argument(call, 0, "seed"), source.function(call)
        apart = [c for c in source.calls("randperm", "random_split", "permutation") if trains(source, c) is None]
        if source.code(call.func) == "torch.manual_seed" and given is not None and scope is not None and not apart:
            edits = Edits(source)
            edits.replace(given, f"{source.atom(given)} + {RANK}")
            yield edits


def _reaches(source: Source, call: cst.Call) -> bool:
    """Whether what is drawn picks samples: it stands in the brackets of an array."""
    names = {source.code(t) for t in targets(source, call)}
    return any(
        source.code(i.value) in names
        for s in source.nodes(cst.Subscript, source.scope(call))
        for i in source.nodes(cst.Index, s)
    )
