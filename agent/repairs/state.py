"""Repairs of what is kept from step to step, and of how a model is evaluated and fed."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.source import LOOPS, Statement

AGAIN = 0.5
"""Share of evaluation forwards with the input of the one before: one pass per batch has none, ten passes 90 %."""

COUNTS = re.compile(r"(?i)(count|seen|num\w*|step\w*|\bn)$")
"""Names of plain numbers, which have no graph."""


def graph_retained_by_history(accused: Accused) -> Patch | None:
    """Keep the value of the loss, not its graph."""
    for source in accused.sources:
        roots = {source.code(r) for c in source.calls("backward") if (r := receiver(c)) is not None}
        kept: list[cst.BaseExpression] = [
            positional(c)[0].value for c in source.calls("append", "update", "add") if len(positional(c)) == 1
        ]
        kept += [a.value for a in source.nodes(cst.AugAssign)
                 if isinstance(a.operator, cst.AddAssign) and not COUNTS.search(source.code(a.target))]  # fmt: skip
        for a in source.nodes(cst.Assign):
            if isinstance(a.value, cst.BinaryOperation) and isinstance(a.value.operator, cst.Add):
                kept += [a.value.right] if source.code(a.targets[0].target) == source.code(a.value.left) else []
        lines = accused.lines(source)
        suspects = [k for k in kept if source.line(k) in lines] or [k for k in kept if _carries(source, k, roots)]
        edits = Edits(source)
        for node in suspects:
            root = next((n for n in source.nodes(cst.Name, node) if n.value in roots), None)
            if source.calls("item", "detach", within=node):
                continue
            edits.replace(root or node, f"{source.code(root) if root is not None else source.atom(node)}.detach()")
        patch = accused.patch("keep the loss's value without its graph", edits)
        if patch is not None:
            return patch
    return None


def mode_not_eval(accused: Accused) -> Patch | None:
    """Evaluate in evaluation mode, and go back to training mode afterwards."""
    if drawn_again(accused):
        return None
    trains = any(s.calls("train") for s in accused.sources)
    for source in accused.sources:
        edits = Edits(source)
        for block in _without_gradients(source):
            inside: cst.CSTNode = block.body
            forward = next(accused.forwards(source, inside), None)
            if forward is None or source.calls("eval", within=source.scope(forward)):
                continue
            name = source.code(forward.func)
            first = block if isinstance(block, cst.With) else _first_statement(block)
            if first is None:
                continue
            edits.before(first, f"{name}.eval()")
            repeated = (
                source.loop(block) is not None
                or isinstance(block, cst.FunctionDef)
                or source.function(block) is not None
            )
            if not trains and repeated:
                _train_before_batches(accused, source, edits)
        patch = accused.patch("evaluate in evaluation mode", edits)
        if patch is not None:
            return patch
    return None


def drawn_again(accused: Accused) -> bool:
    """Whether evaluation runs the same input again and again in training mode: dropout is sampled on purpose there."""
    rows = accused.run.table("batch")
    asked = (rows["grad"] == 0) & (rows["training"] == 1)
    seen, steps = rows["in_hash"][asked], rows["step"][asked]
    again = (seen[1:] == seen[:-1]) & (steps[1:] == steps[:-1])  # a held-out batch comes again, after more training
    return len(seen) > 1 and float(again.mean()) > AGAIN


def freeze_undone_by_train(accused: Accused) -> Patch | None:
    """Put frozen normalization layers back into evaluation mode after each train()."""
    for source in accused.sources:
        edits = Edits(source)
        namespace = "nn" if "from torch import nn" in source.text or "torch.nn as nn" in source.text else "torch.nn"
        for call in source.calls("train"):
            on, statement = receiver(call), source.statement(call)
            if on is None or not isinstance(statement, cst.SimpleStatementLine):
                continue
            edits.after(
                statement,
                f"for m in {source.code(on)}.modules():",
                f"    if isinstance(m, {namespace}.modules.batchnorm._BatchNorm) and not m.weight.requires_grad:",
                "        m.eval()",
            )
        patch = accused.patch("keep frozen normalization layers in evaluation mode", edits)
        if patch is not None:
            return patch
    return None


def functional_dropout_always_on(accused: Accused) -> Patch | None:
    """Let dropout follow the module's mode."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("dropout", "dropout2d", "alpha_dropout"):
            if source.code(call.func).startswith("self.") or keyword(call, "training") is not None:
                continue
            if source.enclosing(call, (cst.ClassDef,)) is not None and positional(call):
                _, end = source.span(call.args[-1].value)
                edits.cut(end, end, ", training=self.training")
        for call in source.calls("scaled_dot_product_attention"):
            rate = keyword(call, "dropout_p")
            if rate is not None and "training" not in source.code(rate):
                edits.replace(rate.value, f"{source.atom(rate.value)} if self.training else 0.0")
        patch = accused.patch("apply dropout in training only", edits)
        if patch is not None:
            return patch
    return None


def eval_with_grad(accused: Accused) -> Patch | None:
    """Evaluate without gradients: decorate the accused function."""
    for source in accused.sources:
        functions = [f for f in source.nodes(cst.FunctionDef) if not source.calls("backward", within=f)]
        evaluating = [f for f in functions if source.calls("eval", within=f) and any(accused.forwards(source, f))]
        function = accused.pick(evaluating, source)
        if function is None or function.decorators:
            continue
        edits = Edits(source)
        edits.before(function, "@torch.no_grad()")
        return accused.patch("evaluate without gradients", edits)
    return None


def order_not_shuffled(accused: Accused) -> Patch | None:
    """Draw the training batches in a new order each epoch."""
    for source in accused.sources:
        loaders = [c for c in source.calls("DataLoader") if keyword(c, "sampler") is None]
        still = [c for c in loaders if (a := keyword(c, "shuffle")) is None or source.code(a.value) == "False"]
        call = accused.pick(still, source)
        if call is None:
            training = [c for c in still if "train" in source.code(source.statement(c)).lower()]
            call = training[0] if len(training) == 1 else None
        if call is None:
            by_hand = _permute_by_hand(accused, source)
            if by_hand is not None:
                return by_hand
            continue
        edits, given = Edits(source), keyword(call, "shuffle")
        if given is not None:
            edits.replace(given.value, "True")
        else:
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, ", shuffle=True")
        return accused.patch("shuffle the training batches", edits)
    return None


def repeated_batch(accused: Accused) -> Patch | None:
    """Go on to the next batch instead of beginning anew each time."""
    for source in accused.sources:
        for call in source.calls("next"):
            first = positional(call)[0].value if positional(call) else None
            loop = source.loop(call)
            if not isinstance(first, cst.Call) or last_name(first.func) != "iter" or loop is None or not first.args:
                continue
            while (outer := source.loop(loop)) is not None:
                loop = outer
            edits, loader = Edits(source), source.code(first.args[0].value)
            edits.before(loop, f"batches = (batch for _ in iter(int, 1) for batch in {loader})  # pass after pass")
            edits.replace(first, "batches")
            return accused.patch("take the next batch instead of the first one again", edits)
    return None


def early_stop_wrong_direction(accused: Accused) -> Patch | None:
    """Keep the smallest loss, not the largest."""
    for source in accused.sources:
        arguments = [a for c in source.nodes(cst.Call) if (a := keyword(c, "mode")) is not None]
        values = [a.value for a in arguments]
        if not values:
            values = [p.default for p in source.nodes(cst.Param) if p.name.value == "mode" and p.default is not None]
        mode = accused.pick([v for v in values if source.code(v).strip("'\"") == "max"], source)
        edits = Edits(source)
        if mode is not None:
            edits.replace(mode, source.code(mode).replace("max", "min"))
            return accused.patch("a loss is better when it is smaller", edits)
        for comparison in source.nodes(cst.Comparison):
            first = comparison.comparisons[0]
            if source.line(comparison) in accused.lines(source) and isinstance(
                first.operator, (cst.GreaterThan, cst.GreaterThanEqual)
            ):
                start, end = source.span(first.operator)
                edits.cut(start, end, source.text[start:end].replace(">", "<"))
                return accused.patch("a loss is better when it is smaller", edits)
    return None


def _permute_by_hand(accused: Accused, source: Source) -> Patch | None:
    """`for i in range(0, n, k): x[i:i + k]`: permute the arrays before each pass."""
    for loop in source.nodes(cst.For):
        stepped = isinstance(loop.iter, cst.Call) and last_name(loop.iter.func) == "range" and len(loop.iter.args) == 3
        if not stepped or not source.calls("backward", within=loop) or not isinstance(loop.target, cst.Name):
            continue
        start = rf"\[\s*{loop.target.value}\s*:"
        cut = [s for s in source.nodes(cst.Subscript, loop.body) if re.search(start, source.code(s))]
        names = list(dict.fromkeys(source.code(s.value) for s in cut if isinstance(s.value, cst.Name)))
        if not names:
            continue
        edits, shuffled = Edits(source), ", ".join(f"{n}[order]" for n in names)
        edits.before(loop, f"order = torch.randperm(len({names[0]}))", f"{', '.join(names)} = {shuffled}")
        return accused.patch("shuffle the training samples before each pass", edits)
    return None


def _carries(source: Source, node: cst.CSTNode, roots: set[str]) -> bool:
    if source.calls("item", "detach", "float", within=node):
        return False
    return any(n.value in roots for n in source.nodes(cst.Name, node))


def _without_gradients(source: Source) -> list[cst.With | cst.FunctionDef]:
    """Blocks and functions that run under no_grad or inference_mode."""
    names = ("no_grad", "inference_mode", "set_grad_enabled")
    regions = [w for w in source.nodes(cst.With) if any(source.calls(*names, within=i) for i in w.items)]
    functions = [
        f for f in source.nodes(cst.FunctionDef) if any(n in source.code(d) for d in f.decorators for n in names)
    ]
    return [*regions, *functions]


def _first_statement(function: cst.FunctionDef) -> Statement | None:
    if not isinstance(function.body, cst.IndentedBlock):
        return None
    body = [s for s in function.body.body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]
    doc = function.get_docstring() is not None
    return next(iter(body[1:] if doc else body), None)


def _train_before_batches(accused: Accused, source: Source, edits: Edits) -> None:
    for call in source.calls("backward"):
        around = source.loop(call)
        forward = next(accused.forwards(source, around), None) if isinstance(around, LOOPS) else None
        if around is not None and forward is not None:
            edits.before(around, f"{source.code(forward.func)}.train()")
            return
