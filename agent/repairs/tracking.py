"""Repairs of gradients that are switched off around what is to be trained."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver, targets

SWITCHES = ("no_grad", "inference_mode")
JUDGING = re.compile(r"(?i)eval|valid|test|accura|score|predict|measure|check|sample|generate")
"""Names of what looks at a model and does not train it."""
ON = "track gradients in this region: its parameters are to be trained"

Switch = cst.With | cst.Decorator | cst.Call


def no_grad_region(accused: Accused) -> Iterator[Patch]:
    """Regions that hold accused lines first, with what is cut behind them; then those that call into the layers."""
    for source in accused.sources:
        found = switches(source)
        lines = accused.lines(source)
        own = [s for s in found if any(n in reach(source, s) for n in lines)]
        names = called(accused, source)
        near = [s for s in found if s not in own and not judges(source, s)
                and any(last_name(c.func) in names for c in calls_in(source, s))]  # fmt: skip
        for group in (own, near, [*own, *near]):
            for cut in (False, True):
                edits = Edits(source)
                for switch in group:
                    turn_on(source, edits, switch)
                if cut and not uncut(source, edits, group):
                    continue
                patch = accused.patch(ON, edits)
                if patch is not None:
                    yield patch


def switches(source: Source) -> list[Switch]:
    """What turns gradients off: `with` blocks, decorators, and calls that nobody takes back."""
    found: list[Switch] = [w for w in source.nodes(cst.With) if any(_off(source, i.item) for i in w.items)]
    found += [d for d in source.nodes(cst.Decorator) if _off(source, d.decorator)]
    found += [
        c for c in source.calls("set_grad_enabled", "_set_grad_enabled")
        if isinstance(source.parent(c), cst.Expr) and _off(source, c)
    ]  # fmt: skip
    return found


def reach(source: Source, switch: Switch) -> range:
    """Lines that a switch governs: of a call without a block, the rest of its function."""
    if isinstance(switch, cst.With):
        return range(source.line(switch), source.last_line(switch) + 1)
    around = source.parent(switch) if isinstance(switch, cst.Decorator) else source.scope(switch)
    if around is None:
        return range(0)
    first = source.line(switch)
    return range(first, source.last_line(around) + 1)


def calls_in(source: Source, switch: Switch) -> list[cst.Call]:
    """Calls on the lines that a switch governs."""
    lines = reach(source, switch)
    return [c for c in source.nodes(cst.Call) if source.line(c) in lines]


def called(accused: Accused, source: Source) -> set[str]:
    """By which names the accused layers are asked: their own path, and functions that hold accused lines."""
    names = set((accused.hypothesis.component or "").split(".")) - {""}
    for function in source.nodes(cst.FunctionDef):
        if any(source.line(function) <= n <= source.last_line(function) for n in accused.lines(source)):
            names.add(function.name.value)
    return names - {"forward"}


def judges(source: Source, switch: Switch) -> bool:
    """Whether a region only looks at the model: evaluation, or a loop without training that prints."""
    function = source.parent(switch) if isinstance(switch, cst.Decorator) else source.function(switch)
    name = function.name.value if isinstance(function, cst.FunctionDef) else ""
    return bool(JUDGING.search(name)) or any(last_name(c.func) in {"argmax", "item"} for c in calls_in(source, switch))


def turn_on(source: Source, edits: Edits, switch: Switch) -> None:
    """Write a switch the other way round."""
    if isinstance(switch, cst.Decorator):
        line = source.line(switch)
        edits.cut(source.offset(line), source.offset(line + 1))
        return
    items = [i.item for i in switch.items] if isinstance(switch, cst.With) else [switch]
    for item in items:
        if not _off(source, item) or not isinstance(item, cst.Call):
            continue
        if last_name(item.func) in SWITCHES:
            on = receiver(item)
            edits.replace(item, f"{source.code(on)}.enable_grad()" if on is not None else "torch.enable_grad()")
        else:
            edits.replace(item.args[0].value, "True")


def uncut(source: Source, edits: Edits, group: list[Switch]) -> bool:
    """Take `.detach()`, `.data` and `.numpy()` away from what comes out of the regions; whether there was any."""
    lines = {n for s in group for n in reach(source, s)}
    made = {
        t.value for s in group for c in calls_in(source, s) for t in targets(source, c) if isinstance(t, cst.Name)
    }  # fmt: skip
    changed = False
    for call in source.calls("detach"):
        on = receiver(call)
        if on is None or (source.line(call) not in lines and source.code(on) not in made):
            continue
        _, end = source.span(on)
        edits.cut(end, source.span(call)[1])
        changed = True
    return changed


def _off(source: Source, node: cst.BaseExpression) -> bool:
    """`no_grad()`, `torch.no_grad` as a decorator, `set_grad_enabled(x)` where x is not plainly True."""
    if not isinstance(node, cst.Call):
        return last_name(node) in SWITCHES
    if last_name(node.func) in SWITCHES:
        return True
    first = next(iter(positional(node)), None)
    wanted = last_name(node.func) in {"set_grad_enabled", "_set_grad_enabled"} and first is not None
    return wanted and first is not None and source.code(first.value) not in {"True", "self.training", "prev", "was"}
