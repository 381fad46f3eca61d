"""Repairs of what is saved, kept as best, and loaded again."""

from __future__ import annotations

from collections import Counter
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


def load_skips_keys(accused: Accused) -> Iterator[Patch]:
    """Give the names the prefix that the model expects: strictly where all fit then, else what fits."""
    facts = [f for f in accused.run.facts("load_state_dict") if f.data.get("unexpected")]
    missing = [str(x) for f in facts for x in f.data.get("missing", [])]
    given = [str(x) for f in facts for x in f.data.get("unexpected", [])]
    pairs = _prefixes(missing, given)
    if not pairs:
        return
    (old, new), fitting = pairs[0]
    complete = fitting == len(missing) == len(given)
    renamed = f"k.removeprefix({old!r})" if old else "k"
    renamed = f"{new!r} + {renamed}" if new else renamed
    if new and old:
        renamed = f"({renamed} if k.startswith({old!r}) else k)"
    for source in accused.sources:
        calls = [c for c in source.calls("load_state_dict") if positional(c)]
        call = accused.pick([c for c in calls if keyword(c, "strict") is not None or len(positional(c)) > 1], source)
        if call is None:
            continue
        state = positional(call)[0].value
        text = f"{{{renamed}: v for k, v in {source.atom(state)}.items()}}"
        for strict in (True, False) if complete else (False,):
            edits = Edits(source)
            if strict:
                edits.replace(call, f"{source.code(call.func)}({text})")
            else:
                edits.replace(state, text)
            what = f"take the prefix {old!r} off the names" if not new else f"name {old or 'all'!r} {new!r}"
            patch = accused.patch(what + (" and load strictly" if strict else ""), edits)
            if patch is not None:
                yield patch


def _prefixes(missing: list[str], given: list[str]) -> list[tuple[tuple[str, str], int]]:
    """Pairs of a prefix in the file and one in the model, and how many names each lets fit; the best first."""
    counts = Counter[tuple[str, str]]()
    for m in missing:
        for g in given:
            mine, theirs = m.split("."), g.split(".")
            same = 0
            while same < min(len(mine), len(theirs)) and mine[-1 - same] == theirs[-1 - same]:
                same += 1
            for n in range(same, 0, -1):
                old, new = ".".join(theirs[:-n]), ".".join(mine[:-n])
                if n == same and old != new:
                    counts[f"{old}." if old else "", f"{new}." if new else ""] += 1
    found = [(pair, sum(pair[1] + g.removeprefix(pair[0]) in missing for g in given if g.startswith(pair[0])))
             for pair in counts]  # fmt: skip
    return sorted(found, key=lambda f: (-f[1], len(f[0][0]) + len(f[0][1])))


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
