"""Repair of a sequence of linear layers whose making is spread out: it is built again with activations in between.

What the recorder saw says which elements have weights, so it does not matter how the list came about.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name
from aitia.agent.repairs.optimizer import mentions
from aitia.agent.repairs.sequences import module
from aitia.agent.repairs.source import Statement
from aitia.engine.records import LayerInfo

WEIGHTED = frozenset({"linear", "conv"})


def with_activations(accused: Accused) -> Iterator[Patch]:
    """An activation behind every element with weights but the last, in each recorded sequence, outermost first."""
    done = set[str]()
    for layer in accused.run.layers:
        children = _children(accused, layer) if layer.cls == "Sequential" else []
        hidden = [i for i, c in enumerate(children) if _weighted(accused, c)]
        inside = any(layer.name.startswith(f"{name}.") for name in done)
        if len(hidden) < 2 or inside or any(c.kind == "activation" for c in children):
            continue
        done.add(layer.name)
        behind = len(children) - hidden[-1]
        for source in accused.sources:
            for target, statement in _made(accused, source, layer):
                edits, name = Edits(source), source.code(target)
                relu = module(source, "ReLU()")
                edits.after(
                    statement,
                    f"{name} = {module(source, 'Sequential')}(",
                    f"    *[part for layer in {name}[:-{behind}] for part in (layer, {relu})], *{name}[-{behind}:]",
                    ")",
                )
                patch = accused.patch("put an activation after every hidden layer", edits)
                if patch is not None:
                    yield patch


def _children(accused: Accused, layer: LayerInfo) -> list[LayerInfo]:
    prefix = f"{layer.name}." if layer.name else ""
    return [x for x in accused.run.layers if x.name.startswith(prefix) and x.root == layer.root
            and x is not layer and "." not in x.name.removeprefix(prefix)]  # fmt: skip


def _weighted(accused: Accused, layer: LayerInfo) -> bool:
    within = [x for x in accused.run.layers if x.root == layer.root and x.name.startswith(f"{layer.name}.")]
    return layer.kind in WEIGHTED or any(x.kind in WEIGHTED for x in within)


def _made(accused: Accused, source: Source, layer: LayerInfo) -> Iterator[tuple[cst.BaseExpression, Statement]]:
    """Where the sequence gets its name, and the last statement of that block that still puts something into it."""
    attribute = layer.name.rpartition(".")[2]
    whole = layer.name in {"", layer.root}
    found = []
    for assign in source.nodes(cst.Assign):
        target = assign.targets[0].target
        fits = last_name(target) in ({layer.root.split(".")[-1]} if whole else {attribute})
        if fits and isinstance(assign.value, cst.Call) and last_name(assign.value.func) not in accused.optimizers:
            found.append((target, source.statement(assign)))
    if len(found) != 1:
        return
    target, statement = found[0]
    block = source.block(statement)
    last = statement
    for s in block[block.index(statement) + 1 :] if statement in block else []:
        filled = [c for c in source.calls("add_module", "append", "extend", "insert", within=s)
                  if source.code(c.func).startswith(f"{source.code(target)}.")]  # fmt: skip
        if filled:
            last = s
        elif mentions(source, s, source.code(target)):
            break
    yield target, last
