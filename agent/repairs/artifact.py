"""Repairs of what is saved, kept as best, and loaded again."""

from __future__ import annotations

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
    unpacked,
)
from aitia.agent.repairs.modules import makes_tensor


def best_state_aliased(accused: Accused) -> Patch | None:
    """Copy the tensors of the state that is kept."""
    for source in accused.sources:
        found = []
        for call in source.calls("state_dict"):
            around = source.parent(call)
            copied = (
                isinstance(around, cst.Arg)
                and isinstance(outer := source.parent(around), cst.Call)
                and last_name(outer.func)
            )
            on = receiver(call)
            if copied in {"deepcopy", "save", "load_state_dict"} or on is None or last_name(on) in accused.optimizers:
                continue
            if not isinstance(around, (cst.CompFor, cst.Attribute)) or last_name(around) == "copy":
                found.append(call)
        edits = Edits(source)
        for call in accused.suspects(found, source):
            node: cst.CSTNode = call
            around = source.parent(call)
            if isinstance(around, cst.Attribute):  # `.copy()` copies the dictionary, not the tensors
                node = source.parent(around) or call
            edits.replace(node, f"{{k: v.clone() for k, v in {source.code(call)}.items()}}")
        patch = accused.patch("copy the tensors of the best state; state_dict() only refers to the live ones", edits)
        if patch is not None:
            return patch
    return None


def load_skips_keys(accused: Accused) -> Patch | None:
    """Load strictly after taking the prefix off, so that a name that does not fit is an error."""
    facts = [f for f in accused.run.facts("load_state_dict") if f.data.get("unexpected")]
    missing = [str(x) for f in facts for x in f.data.get("missing", [])]
    given = [str(x) for f in facts for x in f.data.get("unexpected", [])]
    prefix = next((g.removesuffix(m) for g in given for m in missing if g.endswith(m) and g != m), None)
    for source in accused.sources:
        call = accused.pick([c for c in source.calls("load_state_dict") if keyword(c, "strict") is not None], source)
        if call is None or not prefix or not positional(call):
            continue
        state, edits = positional(call)[0].value, Edits(source)
        new = f"{{k.removeprefix({prefix!r}): v for k, v in {source.code(state)}.items()}}"
        edits.replace(call, f"{source.code(call.func)}({new})")
        return accused.patch(f"take the prefix {prefix!r} off the names and load strictly", edits)
    return None


def reset_on_resume(accused: Accused) -> Patch | None:
    """Restore everything that was saved: optimizer and scheduler beside the model."""
    kept = [
        (key, last_name(on))
        for source in accused.sources
        for call in source.calls("save")
        for entry in source.nodes(cst.DictElement, call)
        for state in source.calls("state_dict", within=entry)
        if isinstance(key := entry.key, cst.SimpleString) and (on := receiver(state)) is not None
    ]
    for source in accused.sources:
        for call in source.calls("load_state_dict"):
            given = positional(call)[0].value if positional(call) else None
            if not isinstance(given, cst.Subscript):
                continue
            scope, restored = (
                source.scope(call),
                {last_name(r) for c in source.calls("load_state_dict") if (r := receiver(c))},
            )
            known = {n.value for n in source.nodes(cst.Name, scope)}
            missing = [(key, name) for key, name in kept if name in known and name not in restored]
            edits, state = Edits(source), source.code(given.value)
            edits.after(
                source.statement(call), *[f"{name}.load_state_dict({state}[{key.value}])" for key, name in missing]
            )
            patch = accused.patch("restore optimizer and scheduler beside the model", edits)
            if patch is not None:
                return patch
    return None


def normalizer_not_saved(accused: Accused) -> Patch | None:
    """Register the statistics as buffers, which are saved with the model."""
    for source in accused.sources:
        edits = Edits(source)
        for assign in source.nodes(cst.Assign):
            target = assign.targets[0].target
            if (
                source.line(assign) in accused.lines(source)
                and isinstance(target, cst.Attribute)
                and len(assign.targets) == 1
            ):
                edits.replace(assign, f'self.register_buffer("{target.attr.value}", {source.code(assign.value)})')
        patch = accused.patch("register the statistics as buffers", edits) or _all_constants(accused, source)
        if patch is not None:
            return patch
    return None


def _all_constants(accused: Accused, source: Source) -> Patch | None:
    """Where the place is not known: every tensor that a module's __init__ keeps as a plain attribute."""
    edits = Edits(source)
    for function in source.nodes(cst.FunctionDef):
        if function.name.value != "__init__" or source.enclosing(function, (cst.ClassDef,)) is None:
            continue
        for assign in source.nodes(cst.Assign, function.body):
            pairs = unpacked(assign)
            own = [t for t, v in pairs if source.code(t).startswith("self.") and makes_tensor(source, v)]
            if pairs and len(own) == len(pairs):
                lines = [f'self.register_buffer("{last_name(t)}", {source.code(v)})' for t, v in pairs]
                edits.replace(assign, f"{source.newline}{source.indent(source.statement(assign))}".join(lines))
    return accused.patch("register the statistics as buffers", edits)
