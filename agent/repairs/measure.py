"""Repairs of how outputs are compared with targets: the loss for one logit, the metric, the mask, the columns."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    applied_to,
    keyword,
    last_name,
    positional,
    receiver,
)
from aitia.agent.repairs.source import number

COLUMN = re.compile(r"(\[:, ?None\]|\.unsqueeze\(-?1\)|\.view\(-1, 1\)|\.reshape\(-1, 1\))$")
"""Endings that make a vector a column, which a comparison with a row spreads over a square."""
WITH_LOGITS = "binary_cross_entropy_with_logits"
ONE_PROBABILITY = re.compile(r"\bBCELoss\b|\bbinary_cross_entropy\b")
HALF = 0.5
ONE_LOGIT = re.compile(r"BCEWithLogitsLoss|binary_cross_entropy_with_logits")


def wrong_for_task(accused: Accused) -> Patch | None:
    """One logit means a yes or no: binary cross entropy instead of a softmax over one value."""
    if not any(e.data.get("n_classes") == 1 for e in accused.run.facts("loss_call")):
        return None
    summary = "use the binary cross entropy: the softmax over one logit is always 1"
    for source in accused.sources:
        edits = Edits(source)
        for call in accused.suspects(source.calls("cross_entropy"), source):
            arguments = positional(call)
            if len(arguments) < 2:
                continue
            _, end = source.span(call.func)
            edits.cut(end - len("cross_entropy"), end, WITH_LOGITS)
            _reshape(source, edits, arguments[0].value, arguments[1].value)
        made = source.calls("CrossEntropyLoss")
        names = {_assigned(source, c) for c in made} - {""}
        for call in made:
            _, end = source.span(call.func)
            edits.cut(end - len("CrossEntropyLoss"), end, "BCEWithLogitsLoss")
        for call in source.nodes(cst.Call):
            if source.code(call.func) in names and len(positional(call)) == 2:
                _reshape(source, edits, positional(call)[0].value, positional(call)[1].value)
        patch = accused.patch(summary, edits)
        if patch is not None:
            return patch
    return None


def several_labels(accused: Accused) -> Patch | None:
    """Labels that can be true at once: a yes or no for each of them instead of one softmax over all."""
    calls = [f for f in accused.run.facts("loss_call") if f.data.get("function") == "cross_entropy"]
    if not any((f.data.get("input_shape") or [0])[1:] == (f.data.get("target_shape") or [1])[1:] for f in calls):
        return None
    summary = (
        "use the binary cross entropy: several labels can be true at once, and softmax makes them share one certainty"
    )
    for source in accused.sources:
        edits = Edits(source)
        for name, other in (("cross_entropy", WITH_LOGITS), ("CrossEntropyLoss", "BCEWithLogitsLoss")):
            for call in accused.suspects(source.calls(name), source) if name == "cross_entropy" else source.calls(name):
                _, end = source.span(call.func)
                edits.cut(end - len(name), end, other)
        patch = accused.patch(summary, edits)
        if patch is not None:
            return patch
    return None


def one_certainty_each(accused: Accused) -> Patch | None:
    """A binary loss gets a probability for each label instead of shares of one."""
    calls = [f for f in accused.run.facts("loss_call") if f.data.get("function") == "binary_cross_entropy"]
    if not any(str(f.data.get("input_by")).startswith("Softmax") for f in calls):
        return None
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("Softmax"):
            edits.replace(call, source.code(call.func).replace("Softmax", "Sigmoid") + "()")
        for call in source.calls("softmax"):
            given = applied_to(source, call)
            if given is not None and given is receiver(call):
                edits.replace(call, f"{source.atom(given)}.sigmoid()")
            elif given is not None:
                edits.replace(call, f"{source.code(call.func).replace('softmax', 'sigmoid')}({source.code(given)})")
        patch = accused.patch("give each label a probability of its own", edits)
        if patch is not None:
            return patch
    return None


def metric_bug(accused: Accused) -> Patch | None:
    """Decide by the sign of one logit, by the largest of several along the classes."""
    for source in accused.sources:
        found = [c for c in source.calls("argmax") if _dimension(source, c) is not None]
        lines = accused.lines(source)
        for call in [c for c in found if source.line(c) in lines] or found:
            inner, edits, axis = _argument(source, call), Edits(source), _dimension(source, call)
            if inner is None or axis is None:
                continue
            if axis in {"1", "-1"} and ONE_LOGIT.search(source.text):
                edits.replace(call, f"({source.atom(inner)}.reshape(-1) > 0)")
                return accused.patch(
                    "decide by the sign of the logit: the largest of one value is always the first", edits
                )
            if axis == "0":
                for node in source.nodes(cst.Integer, call):
                    if number(node) == 0:
                        edits.replace(node, "1")
                return accused.patch("take the largest value along the classes, not along the batch", edits)
    return None


def decided_by_one_value(accused: Accused) -> list[Patch]:
    """One output per sample: above a half for a probability, above zero for a logit, and no largest of one."""
    found: list[Patch] = []
    for source in accused.sources:
        logits, lines = bool(ONE_LOGIT.search(source.text)), accused.lines(source)
        if not logits and not ONE_PROBABILITY.search(source.text):
            continue
        calls = source.calls("argmax", "max", "topk")
        for call in [c for c in calls if source.line(c) in lines] or calls:
            inner, edits, around = _argument(source, call), Edits(source), source.parent(call)
            if inner is None or _dimension(source, call) not in {"1", "-1"}:
                continue
            text = f"({source.atom(inner)}.reshape(-1) > {0 if logits else HALF})"
            outer = around if isinstance(around, (cst.Subscript, cst.Attribute)) and around.value is call else None
            pair = isinstance(around, cst.Assign) and isinstance(around.targets[0].target, cst.Tuple)
            if last_name(call.func) == "argmax":
                edits.replace(call, text)
            elif outer is not None and re.search(r"\[1\]$|\.indices$", source.code(outer)):
                edits.replace(outer, text)
            elif pair:
                edits.replace(call, f"None, {text}")
            patch = accused.patch("decide by the one output: the largest of one value is always the first", edits)
            found += [patch] if patch is not None else []
        edits = Edits(source)
        for comparison in source.nodes(cst.Comparison) if logits else ():
            bound = comparison.comparisons[0].comparator
            squashed = "sigmoid" in source.code(comparison.left) or "prob" in source.code(comparison.left)
            if source.line(comparison) in lines and number(bound) == HALF and not squashed:
                edits.replace(bound, "0")
        patch = accused.patch("decide by the sign of the logit", edits)
        found += [patch] if patch is not None else []
    return found


def along_the_batch(accused: Accused) -> Patch | None:
    """`scores.max(0)` takes the best sample of a class; predictions and targets are compared one by one."""
    for source in accused.sources:
        edits, lines = Edits(source), accused.lines(source)
        functions: list[cst.CSTNode] = [f for f in source.nodes(cst.FunctionDef)
                                        if any(source.line(f) <= n <= source.last_line(f) for n in lines)]  # fmt: skip
        for function in functions or [source.module]:
            for call in source.calls("max", "topk", "argmax", within=function):
                axis = _dimension(source, call)
                if axis == "0" and (function in functions or source.line(call) in lines):
                    zero = next(n for n in source.nodes(cst.Integer, call) if number(n) == 0)
                    edits.replace(zero, "1")
            for comparison in source.nodes(cst.Comparison, function):
                near = function in functions or source.line(comparison) in lines
                if near and isinstance(comparison.comparisons[0].operator, cst.Equal):
                    for side in (comparison.left, comparison.comparisons[0].comparator):
                        plain = COLUMN.sub("", source.code(side))
                        if plain != source.code(side):
                            edits.replace(side, plain)
        patch = accused.patch("take the largest value along the classes, and compare sample by sample", edits)
        if patch is not None:
            return patch
    return None


def causal_leak(accused: Accused) -> Patch | None:
    """Hide every later position: the mask begins right above the diagonal."""
    summary = "hide every later position from each position"
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("triu", "tril"):
            given = keyword(call, "diagonal")
            upper = source.code(call.func).endswith("triu")
            place = 0 if receiver(call) is not None and source.code(receiver(call) or call) != "torch" else 1
            value = given.value if given is not None else next((a.value for a in positional(call)[place:]), None)
            wanted = 1 if upper else 0
            if value is not None and number(value) not in {None, wanted}:
                edits.replace(value, str(wanted))
        for call in source.calls("scaled_dot_product_attention"):
            given = keyword(call, "is_causal")
            if given is not None and source.code(given.value) == "False":
                edits.replace(given.value, "True")
            elif given is None and keyword(call, "attn_mask") is None and len(positional(call)) == 3:
                _, end = source.span(call.args[-1].value)
                edits.cut(end, end, ", is_causal=True")
        patch = accused.patch(summary, edits)
        if patch is not None:
            return patch
    return None


def supervision_field_dropped(accused: Accused) -> Patch | None:
    """Keep the column that holds the targets, where rows are cut down to named columns."""
    for source in accused.sources:
        asked = [c for c in source.calls("get") if len(positional(c)) == 2]
        keys = {source.code(positional(c)[0].value) for c in asked}
        names = {k for k in keys if k[:1] in {"'", '"'}}
        collections: list[cst.Tuple | cst.List | cst.Set] = [
            *source.nodes(cst.Tuple), *source.nodes(cst.List), *source.nodes(cst.Set)
        ]  # fmt: skip
        for listed in collections:
            held = [source.code(e.value) for e in listed.elements]
            missing = sorted(n for n in names if n.strip("'\"") not in {h.strip("'\"") for h in held})
            strings = len(held) > 1 and all(h[:1] in {"'", '"'} for h in held)
            if not strings or not missing or not {h.strip("'\"") for h in held} & {n.strip("'\"") for n in names}:
                continue
            edits = Edits(source)
            _, end = source.span(listed.elements[-1].value)
            edits.cut(end, end, ", " + ", ".join(missing))
            return accused.patch(f"keep {', '.join(missing)}, which the loss needs", edits)
    return None


def _reshape(source: Source, edits: Edits, prediction: cst.BaseExpression, target: cst.BaseExpression) -> None:
    edits.replace(target, f"{source.atom(target)}.float().reshape({source.atom(prediction)}.shape)")


def _assigned(source: Source, call: cst.Call) -> str:
    statement = source.statement(call)
    for assign in source.nodes(cst.Assign, statement):
        if assign.value is call:
            return source.code(assign.targets[0].target)
    return ""


def _argument(source: Source, call: cst.Call) -> cst.BaseExpression | None:
    """`x` of `x.argmax(1)` and of `torch.argmax(x, 1)`."""
    on = receiver(call)
    if on is None or source.code(on) in {"torch", "np"}:
        return next((a.value for a in positional(call)), None)
    return on


def _dimension(source: Source, call: cst.Call) -> str | None:
    given = keyword(call, "dim") or keyword(call, "axis")
    if given is not None:
        return source.code(given.value)
    on = receiver(call)
    place = 1 if on is None or source.code(on) in {"torch", "np"} else 0
    found = positional(call)[place : place + 1]
    return source.code(found[0].value) if found else None
