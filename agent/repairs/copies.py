"""Repairs of copies: averages that never move, the wrong one saved, ties that came apart, and numbers of classes."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver, targets

SAVED = re.compile(r"\.(pt|pth|bin|ckpt|safetensors|npz|npy|pkl|pickle|json|csv|parquet)$")
"""Endings of files that one stage of a program hands to the next."""
DECAY = 0.99
"""Of an average that is to be updated and never was: it follows within a hundred steps."""


def tied_weights_lost(accused: Accused) -> Patch | None:
    """Tie the weights before the load, which then fills both names at once."""
    groups = [
        ([str(n) for n in group], {str(n) for n in fact.data.get("missing") or []})
        for fact in accused.run.facts("load_state_dict")
        for group in fact.data.get("untied") or []
    ]
    for source in accused.sources:
        call = accused.pick(source.calls("load_state_dict"), source)
        on = receiver(call) if call is not None else None
        if call is None or on is None:
            continue
        model, edits = source.code(on), Edits(source)
        methods = [f.name.value for f in source.nodes(cst.FunctionDef) if "tie" in f.name.value.lower().split("_")]
        lines = [f"{model}.{methods[0]}()"] if len(methods) == 1 else []
        for names, missing in groups if not lines else ():
            filled = [n for n in names if n not in missing]
            empty = [n for n in names if n in missing] or names[1:]
            lines += [f"{_path(model, n)} = {_path(model, (filled or names)[0])}" for n in empty]
        edits.before(source.statement(call), *lines)
        patch = accused.patch("tie the weights again before they are loaded", edits)
        if patch is not None:
            return patch
    return None


def wrong_copy_saved(accused: Accused) -> Patch | None:
    """Save the copy that was evaluated."""
    for source in accused.sources:
        averages = _averages(source)
        for call in accused.suspects(source.calls("state_dict"), source):
            on, around = receiver(call), source.enclosing(call, (cst.Call,))
            if on is None or last_name(on) in accused.optimizers or not isinstance(around, cst.Call):
                continue
            for name, inner in averages:
                if source.code(on) in {name, inner} or not _saves(source, call):
                    continue
                edits = Edits(source)
                edits.replace(on, inner)
                return accused.patch(f"save {inner}, the copy that was evaluated", edits)
    return None


def label_order_changed(accused: Accused) -> Patch | None:
    """Number the classes by their sorted names, wherever they are numbered."""
    unordered = re.compile(r"^(list\()?(set|dict\.fromkeys|OrderedDict\.fromkeys|os\.listdir)\(.*\)$", re.DOTALL)
    for source in accused.sources:
        edits, done = Edits(source), list[cst.CSTNode]()
        for call in source.nodes(cst.Call):
            text = source.code(call)
            if not unordered.match(text) or any(call in list(source.nodes(cst.Call, d)) for d in done):
                continue
            around = source.enclosing(call, (cst.Call,))
            if isinstance(around, cst.Call) and source.code(around.func) in {"sorted", "len", "sum", "max", "min"}:
                continue
            if isinstance(source.parent(call), (cst.ComparisonTarget, cst.Comparison)):
                continue
            inner = call.args[0].value if text.startswith("list(") and call.args else call
            done.append(call)
            edits.replace(call, f"sorted({source.code(inner)})")
        for method in source.calls("unique"):
            if receiver(method) is not None and source.code(method.func).startswith(("pd.", "df", "frame")):
                edits.replace(method, f"sorted({source.code(method)})")
        patch = accused.patch("number the classes by their sorted names", edits)
        if patch is not None:
            return patch
    return None


def stage_output_unused(accused: Accused) -> Patch | None:
    """Load the file that was saved, not one that nobody writes."""
    for source in accused.sources:
        names = [n for n in source.nodes(cst.SimpleString) if SAVED.search(n.value.strip("'\""))]
        written = {n.value.strip("'\"") for c in source.calls("save", "savez", "dump", "save_file", "to_csv", "open")
                   for n in source.nodes(cst.SimpleString, c) if n in names}  # fmt: skip
        read = [n for n in names if n.value.strip("'\"") not in written]
        ends = {n.value.strip("'\"").rpartition(".")[2] for n in read}
        unread = [w for w in written if sum(n.value.strip("'\"") == w for n in names) == 1]
        fitting = [w for w in unread if w.rpartition(".")[2] in ends]
        if len(fitting) != 1 or len({n.value.strip("'\"") for n in read}) != 1:
            continue
        edits = Edits(source)
        for node in read:
            edits.replace(node, f'"{fitting[0]}"')
        return accused.patch(f"load {fitting[0]}, which the earlier stage saved", edits)
    return None


def ema_not_updated(accused: Accused) -> Patch | None:
    """Move the copy's own tensors, after every step."""
    return _into_the_copy(accused) or _called_after_the_step(accused) or _moved_by_us(accused)


def silent_no_update(accused: Accused) -> Patch | None:
    """A hand-written optimizer writes its update into the parameter, not into a copy of it."""
    for source in accused.sources:
        for function in source.nodes(cst.FunctionDef):
            if function.name.value != "step":
                continue
            edits = Edits(source)
            for loop in source.nodes(cst.For, function.body):
                if not isinstance(loop.target, cst.Name):
                    continue
                parameter = loop.target.value
                for assign in source.nodes(cst.Assign, loop.body):
                    if source.code(assign.targets[0].target) == parameter:
                        edits.replace(assign, f"{parameter}.data.copy_({source.code(assign.value)})")
                edits = _written_back(source, edits, loop, parameter)
            patch = accused.patch("write the update into the parameter itself", edits)
            if patch is not None:
                return patch
    return None


def updated_in_place(accused: Accused) -> Patch | None:
    """`p = p - rate * p.grad` → `p -= rate * p.grad`: the parameter changes, where a new tensor took its name."""
    for source in accused.sources:
        edits = Edits(source)
        for assign in source.nodes(cst.Assign):
            name, value = source.code(assign.targets[0].target), assign.value
            own = f"{name}.grad" in {source.code(a) for a in source.nodes(cst.Attribute, value)}
            if not own or not isinstance(value, cst.BinaryOperation):
                continue
            sign = {cst.Subtract: "-", cst.Add: "+"}.get(type(value.operator))
            if sign and source.code(value.left) == name:
                edits.replace(assign, f"{name} {sign}= {source.code(value.right)}")
            else:
                edits.replace(assign, f"{name}.copy_({source.code(value)})")
        if (patch := accused.patch("change the parameter in place", edits)) is not None:
            return patch
    return None


def _written_back(source: Source, edits: Edits, loop: cst.For, parameter: str) -> Edits:
    """`w = p.data.reshape(-1)` may be a copy: what is written into it goes back to the parameter."""
    copies = re.compile(rf"^{parameter}(\.data|\.detach\(\))?\.(reshape|clone|contiguous|flatten|float|double|cpu)\(")
    for assign in source.nodes(cst.Assign, loop.body):
        target = assign.targets[0].target
        if not isinstance(target, cst.Name) or not copies.match(source.code(assign.value)):
            continue
        name = target.value
        writing = [
            s for s in source.nodes(cst.SimpleStatementLine, loop.body)
            if re.match(rf"{name}(\.\w+_\(| ?[-+*/]=|\[.*\] ?[-+*/]?=)", source.code(s))
        ]  # fmt: skip
        if writing:
            edits.after(writing[-1], f"{parameter}.data.copy_({name}.view_as({parameter}))")
    return edits


def _into_the_copy(accused: Accused) -> Patch | None:
    """`ours = decay * ours + …` gives a name another tensor: copy into the old one instead."""
    for source in accused.sources:
        edits = Edits(source)
        for loop in source.nodes(cst.For):
            names = [source.code(e.value) for e in loop.target.elements] if isinstance(loop.target, cst.Tuple) else []
            for assign in source.nodes(cst.Assign, loop.body):
                target, text = source.code(assign.targets[0].target), source.code(assign.value)
                name = target.removesuffix(".data")
                mixes = isinstance(assign.value, (cst.BinaryOperation, cst.Call)) and name in text
                if name in names and target == name and mixes and any(n in text for n in names if n != name):
                    edits.replace(assign, f"{name}.data.copy_({text})")
            for call in source.nodes(cst.Call, loop.body):
                on, method = receiver(call), last_name(call.func)
                bare = isinstance(source.parent(call), cst.Expr)
                if (
                    bare
                    and on is not None
                    and method in {"lerp", "mul", "add"}
                    and source.code(on).split(".")[0] in names
                ):
                    _, end = source.span(call.func)
                    edits.cut(end, end, "_")
        patch = accused.patch("write the average into the copy's own tensors", edits)
        if patch is not None:
            return patch
    return None


def _called_after_the_step(accused: Accused) -> Patch | None:
    """A function or method that updates the average exists, and nobody calls it."""
    for source in accused.sources:
        steps = accused.steps(source)
        if not steps:
            continue
        statement, edits = source.statement(steps[-1][0]), Edits(source)
        for name, _ in _averages(source):
            if re.search(rf"\b{re.escape(name)}\.update\w*\(", source.text):
                continue
            trained = _trained(accused, source)
            kind = _class_of(source, name)
            methods = [f for f in source.nodes(cst.FunctionDef, kind) if "update" in f.name.value] if kind else []
            method = methods[0].name.value if methods else "update_parameters" if "AveragedModel" in source.text else ""
            wanted = (
                [p.name.value for p in methods[0].params.params if p.default is None] if methods else ["self", "model"]
            )
            if method and (trained or len(wanted) < 2):  # one that holds its model needs none
                edits.after(statement, f"{name}.{method}({trained if len(wanted) > 1 else ''})")
                return accused.patch(f"update {name} after every step", edits)
        for function in source.nodes(cst.FunctionDef):
            name = function.name.value
            given = [p.name.value for p in function.params.params]
            owned = source.enclosing(function, (cst.ClassDef,)) is not None
            called = len(source.calls(name)) > 0
            if re.search(r"ema|update_(teacher|target|average)|average|momentum", name) and not called and not owned:
                known = {n.value for n in source.nodes(cst.Name, source.scope(statement))}
                if given and all(p in known for p in given):
                    edits.after(statement, f"{name}({', '.join(given)})")
                    return accused.patch(f"call {name} after every step", edits)
    return None


def _moved_by_us(accused: Accused) -> Patch | None:
    """Nothing in the program updates the copy: move it towards the original after every step."""
    for source in accused.sources:
        steps = accused.steps(source)
        copies = [c for c in source.calls("deepcopy") if positional(c) and targets(source, c)]
        if not steps or len(copies) != 1:
            continue
        teacher, student = source.code(targets(source, copies[0])[0]), source.code(positional(copies[0])[0].value)
        statement = source.statement(steps[-1][0])
        if teacher.startswith("self.") != student.startswith("self.") or "import torch" not in source.text:
            continue
        edits = Edits(source)
        edits.after(
            statement, "with torch.no_grad():",
            f"    for ours, theirs in zip({teacher}.parameters(), {student}.parameters()):",
            f"        ours.lerp_(theirs, {1 - DECAY:.2g})",
        )  # fmt: skip
        return accused.patch(f"move {teacher} towards {student} after every step", edits)
    return None


def _averages(source: Source) -> list[tuple[str, str]]:
    """Variables that hold an averaged copy, with the expression of the model inside."""
    found = []
    for call in source.nodes(cst.Call):
        made = last_name(call.func)
        names = [source.code(t) for t in targets(source, call)]
        if len(names) != 1 or source.enclosing(call, (cst.Call,)) is not None:
            continue
        if made == "AveragedModel":
            found.append((names[0], f"{names[0]}.module"))
        elif re.search(r"(?i)ema|average|teacher|shadow", made) and made[:1].isupper():
            kind = next((c for c in source.nodes(cst.ClassDef) if c.name.value == made), None)
            inner = _inner(source, kind) if kind is not None else None
            found.append((names[0], f"{names[0]}.{inner}" if inner else names[0]))
        elif made == "deepcopy" and re.search(r"(?i)ema|average|avg|teacher|shadow|target|swa|best", names[0]):
            found.append((names[0], names[0]))
    return found


def _inner(source: Source, kind: cst.ClassDef) -> str | None:
    """`module` of `self.module = copy.deepcopy(model)`."""
    for call in source.calls("deepcopy", within=kind):
        for target in targets(source, call) or _chained(source, call):
            if source.code(target).startswith("self."):
                return last_name(target)
    return None


def _chained(source: Source, call: cst.Call) -> list[cst.BaseExpression]:
    return targets(source, source.statement(call))


def _class_of(source: Source, name: str) -> cst.ClassDef | None:
    for assign in source.nodes(cst.Assign):
        if source.code(assign.targets[0].target) == name and isinstance(assign.value, cst.Call):
            made = last_name(assign.value.func)
            return next((c for c in source.nodes(cst.ClassDef) if c.name.value == made), None)
    return None


def _trained(accused: Accused, source: Source) -> str | None:
    """The model whose parameters the optimizer was given."""
    for call in source.calls("parameters"):
        on = receiver(call)
        if on is not None and source.enclosing(call, (cst.Call,)) is not None:
            return source.code(on)
    return None


def _saves(source: Source, call: cst.Call) -> bool:
    around = source.enclosing(call, (cst.Call,))
    while isinstance(around, cst.Call):
        if last_name(around.func) in {"save", "save_file", "dump"}:
            return True
        around = source.enclosing(around, (cst.Call,))
    return False


def _path(root: str, dotted: str) -> str:
    text = root
    for part in dotted.split("."):
        text += f"[{part}]" if part.isdigit() else f".{part}"
    return text
