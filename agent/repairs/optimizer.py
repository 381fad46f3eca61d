"""Repairs of what the optimizer holds and how it is configured."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    cleared,
    is_expression,
    keyword,
    last_name,
    optimizer_constructions,
    positional,
    receiver,
    targets,
)
from aitia.agent.repairs.source import LOOPS, Statement

WHOLE = ".parameters()"


def stale_param_reference(accused: Accused) -> Patch | None:
    """Build the optimizer (and what hangs on it) after the model's last change."""
    for source in accused.sources:
        built = holds_orphans(accused, source) or accused.pick(constructions(accused, source), source)
        if built is None:
            continue
        maker = maker_call(source, built)  # an optimizer made by a function: its call is what moves
        statement, names = source.statement(maker), [source.code(t) for t in targets(source, maker)]
        block = source.block(statement)
        if statement not in block or len(names) != 1:
            continue
        models = models_in(source, built) | {source.code(a.value) for a in maker.args if maker is not built}
        change = _last_change(accused, source, block[block.index(statement) + 1 :], models)
        if change is None or (not isinstance(change, cst.SimpleStatementLine) and mentions(source, change, names[0])):
            continue
        between = block[block.index(statement) : block.index(change)]
        moved = [s for s in between if s is statement or _depends(source, s, names[0])]
        if any(not isinstance(s, cst.SimpleStatementLine) for s in moved):
            continue
        edits = Edits(source)
        used = any(s not in moved and mentions(source, s, names[0]) for s in between)
        for s in moved if not used else ():  # an optimizer that has already stepped is built anew, not moved
            edits.remove(s)
        edits.after(change, *[line for s in moved for line in edits.lines(s)])
        return accused.patch(f"build {names[0]} after the model's last change", edits)
    return None


def params_missing_from_groups(accused: Accused) -> Patch | None:
    """Give the optimizer the parameters that no group holds."""
    coverage = accused.run.facts("coverage")
    missing = [str(x) for x in coverage[-1].data.get("trainable_not_held", [])] if coverage else []
    for source in accused.sources:
        built = accused.pick(constructions(accused, source), source)
        names = [source.code(t) for t in targets(source, built)] if built is not None else []
        if built is None or not missing:
            continue
        root, full = _root(accused, source, built)
        if root is None:
            continue
        edits, only_one = Edits(source), len(accused.run.optimizers) == 1
        first = next(iter(positional(built)), None)
        if only_one and full and first is not None:
            edits.replace(first.value, f"{root}{WHOLE}")
            return accused.patch(f"give the optimizer all of {root}'s parameters", edits)
        groups = [f'{names[0]}.add_param_group({{"params": {x}}})' for x in _groups(accused, root, missing)]
        edits.after(source.statement(built), *groups)
        return accused.patch(f"give the optimizer the parameters it misses: {', '.join(missing[:4])}", edits)
    return None


def frozen_by_mistake(accused: Accused) -> Patch | None:
    """Remove the accused line that freezes parameters."""
    for source in accused.sources:
        frozen: list[cst.CSTNode] = [c for c in source.calls("requires_grad_") if _is_false(positional(c))]
        frozen += [
            a
            for a in source.nodes(cst.Assign)
            if last_name(a.targets[0].target) == "requires_grad" and _name(a.value) == "False"
        ]
        node = accused.pick(frozen, source)
        if node is None:
            patch = _held_back(accused, source)
            if patch is not None:
                return patch
            continue
        statement: Statement = source.statement(node)
        block, around = source.block(statement), source.parent(source.parent(statement) or statement)
        if len(block) == 1 and isinstance(around, cst.For):
            statement = around
        edits = Edits(source)
        edits.remove(statement)
        return accused.patch("do not freeze these parameters", edits)
    return None


def _held_back(accused: Accused, source: Source) -> Patch | None:
    """What is made frozen: `from_pretrained(table)`, `requires_grad=False`, and what a condition on names freezes."""
    edits, tables = Edits(source), source.calls("from_pretrained")
    for call in [c for c in tables if "Embedding" in source.code(c.func)]:
        given = keyword(call, "freeze")
        if given is not None and _name(given.value) != "True":
            continue
        if given is not None:
            edits.replace(given.value, "False")
        elif len(positional(call)) == 1:
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, ", freeze=False")
    for call in source.calls("Parameter"):
        given = keyword(call, "requires_grad")
        if given is not None and _name(given.value) == "False":
            edits.replace(given.value, "True")
    for assign in source.nodes(cst.Assign):
        if last_name(assign.targets[0].target) == "requires_grad" and not isinstance(assign.value, cst.Name):
            edits.replace(assign.value, "True")
    return accused.patch("do not make these parameters frozen", edits)


def wrong_optimizer_stepped(accused: Accused) -> Patch | None:
    """Step the optimizer whose gradients were just computed: the one that was cleared before this backward."""
    for source in accused.sources:
        for call, name in accused.suspects_with(accused.steps(source), source):
            statement = source.statement(call)
            block = source.block(statement)
            before = block[: block.index(statement)] if statement in block else []
            own = [o for s in before for c in source.calls("zero_grad", within=s) if (o := cleared(source, c))]
            if own and own[-1] != name and is_expression(statement):
                edits = Edits(source)
                where = receiver(call) if not positional(call) else positional(call)[0].value
                if where is not None:
                    edits.replace(where, own[-1])
                return accused.patch(f"step {own[-1]}, whose gradients this backward computed", edits)
    return None


def maximize(accused: Accused) -> Patch | None:
    """Drop `maximize=True`."""
    for source in accused.sources:
        for built in optimizer_constructions(source):
            argument = keyword(built, "maximize")
            if argument is not None and _name(argument.value) == "True":
                edits = Edits(source)
                edits.replace(argument.value, "False")
                return accused.patch("minimize the loss", edits)
    return None


def constructions(accused: Accused, source: Source) -> list[cst.Call]:
    """Where the run's optimizers were built; all constructions where the recorder did not see the place."""
    found = optimizer_constructions(source)
    lines = {o.line for o in accused.run.optimizers if o.file == source.name}
    seen = [c for c in found if any(source.line(c) <= n <= source.range(c).end.line for n in lines if n is not None)]
    return seen or found


def holds_orphans(accused: Accused, source: Source) -> cst.Call | None:
    """Where the optimizer was built that went on stepping with tensors that no model uses; the last, if several."""
    replaced = max((f.step for f in accused.run.facts("parameter_replaced")), default=1)
    rows = accused.run.table("group")
    stepping = {int(i) for i in rows["optimizer"][rows["step"] >= replaced]} if len(rows["step"]) else set()
    held = {i for p in accused.run.parameters if not p.in_model for i in p.optimizers}
    lines = [o.line for o in accused.run.optimizers if o.file == source.name and o.index in stepping & held]
    found = [c for c in optimizer_constructions(source) if source.line(c) in lines]
    return found[-1] if found else None


def maker_call(source: Source, built: cst.Call) -> cst.Call:
    """The call of the function that returns this optimizer, where there is one such call; else the construction."""
    function = source.function(built)
    if function is None or targets(source, built):
        return built
    calls = [c for c in source.calls(function.name.value) if targets(source, c)]
    return calls[0] if len(calls) == 1 else built


def reshapers(source: Source) -> set[str]:
    """Functions and methods that put new layers into a model that exists already."""
    found = set()
    for function in source.nodes(cst.FunctionDef):
        made = [a for a in source.nodes(cst.Assign, function.body) if isinstance(a.targets[0].target, cst.Attribute)]
        layers = [a for a in made if isinstance(a.value, cst.Call) and last_name(a.value.func)[:1].isupper()]
        if layers and function.name.value != "__init__":
            found.add(function.name.value)
    return found


def models_in(source: Source, built: cst.Call) -> set[str]:
    """First names of what the optimizer's parameters come from: `model` of `model.fc.parameters()`."""
    calls = source.calls("parameters", "named_parameters", within=built)
    texts = [source.code(r) for c in calls if (r := receiver(c)) is not None]
    return {m.group(0) for t in texts if (m := re.match(r"(self\.)?\w+", t))}


def _last_change(accused: Accused, source: Source, after: list[Statement], models: set[str]) -> Statement | None:
    """The last statement that changes a model: the accused or recorded one, else an assignment to its parts."""
    recorded = {f.line for f in accused.run.facts("parameter_replaced") if f.file == source.name}
    recorded |= accused.lines(source)
    found: Statement | None = None
    for s in after:
        if isinstance(s, LOOPS) and source.calls("backward", "step", within=s):
            continue  # it trains: behind it an optimizer would come too late
        span = range(source.line(s), source.last_line(s) + 1)
        assigned = [source.code(t.target) for a in source.nodes(cst.Assign, s) for t in a.targets]
        parts = any(a == m or a.startswith((f"{m}.", f"{m}[")) for a in assigned for m in models)
        if isinstance(s, cst.SimpleStatementLine) and source.calls(*reshapers(source), within=s):
            found = s
            continue
        handed = isinstance(s, cst.SimpleStatementLine) and any(
            last_name(c.func) not in {"train", "eval", "print"}
            and (source.code(c.func).startswith(tuple(f"{m}.re" for m in models)) or _takes(source, c, models))
            for c in source.nodes(cst.Call, s)
        )
        if any(n in recorded for n in span if n is not None) or parts or (handed and found is None and not recorded):
            found = s
    return found


def _takes(source: Source, call: cst.Call, models: set[str]) -> bool:
    return any(source.code(a.value) in models for a in call.args) and "." not in source.code(call.func)


def _depends(source: Source, statement: Statement, name: str) -> bool:
    """Whether a statement builds something on the optimizer, such as a scheduler."""
    return mentions(source, statement, name) and any(
        isinstance(n, cst.Assign) for n in source.nodes(cst.Assign, statement)
    )


def mentions(source: Source, statement: Statement, name: str) -> bool:
    return any(
        source.code(n) == name for n in (*source.nodes(cst.Name, statement), *source.nodes(cst.Attribute, statement))
    )


def _root(accused: Accused, source: Source, built: cst.Call) -> tuple[str | None, bool]:
    """The expression of the whole model at the optimizer, and whether the argument is a plain `part.parameters()`."""
    first = next(iter(positional(built)), keyword(built, "params"))
    if first is None:
        return None, False
    calls = source.calls("parameters", "named_parameters", within=first.value)
    if not calls and isinstance(first.value, cst.Name):
        made = [a for a in source.nodes(cst.Assign) if source.code(a.targets[0].target) == first.value.value]
        calls = [c for a in made for c in source.calls("parameters", "named_parameters", within=a)]
    texts = [source.code(r) for c in calls if (r := receiver(c)) is not None]
    if not texts:
        inside = {n.value for n in source.nodes(cst.Name, source.scope(built))} & accused.models
        return (next(iter(inside)), False) if len(inside) == 1 else (None, False)
    text, layers = texts[0], {layer.name for layer in accused.run.layers}
    several = len({layer.root for layer in accused.run.layers}) > 1
    plain = first.value is calls[0] and last_name(calls[0].func) == "parameters"
    parts = text.split(".")
    for at in range(1, len(parts)):
        path = ".".join(parts[at:])
        if path in layers or (several and any(x.endswith(f".{path}") for x in layers)):
            return ".".join(parts[:at]), plain
    return text, False


def _groups(accused: Accused, model: str, missing: list[str]) -> list[str]:
    """`model.fc.parameters()` for a layer that is missing whole, `[model.fc.bias]` for a single parameter."""
    roots = {layer.root for layer in accused.run.layers}
    prefix = {f"{root}." for root in roots} if len(roots) > 1 else set()
    found: list[str] = []
    covered: set[str] = set()
    for name in missing:
        info = accused.run.parameter(name)
        owner = accused.run.layer(info.layer) if info is not None and info.layer else None
        short = next((name.removeprefix(p) for p in prefix if name.startswith(p)), name)
        if owner is not None and owner.parameters and set(owner.parameters) <= set(missing):
            if owner.name not in covered:
                covered.add(owner.name)
                found.append(f"{_path(model, short.rpartition('.')[0])}{WHOLE}")
        else:
            found.append(f"[{_path(model, short)}]")
    return found


def _path(root: str, dotted: str) -> str:
    """`model.layers[0]` for `layers.0`."""
    text = root
    for part in filter(None, dotted.split(".")):
        text += f"[{part}]" if part.isdigit() else f".{part}"
    return text


def _is_false(arguments: list[cst.Arg]) -> bool:
    return bool(arguments) and _name(arguments[0].value) == "False"


def _name(node: cst.CSTNode) -> str:
    return node.value if isinstance(node, cst.Name) else ""
