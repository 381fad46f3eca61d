"""The accused line in the user's own source, for causes whose measurement does not carry one. Reads, never runs, the code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from aitia.engine.records import SourceLocation
from aitia.engine.store.reader import Run

Finder = Callable[[ast.Module], Iterator[int]]


def calls(*names: str) -> Finder:
    """Lines of calls whose last name is one of these."""

    def find(tree: ast.Module) -> Iterator[int]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _last_name(node.func) in names:
                yield node.lineno

    return find


def zero_after_backward(tree: ast.Module) -> Iterator[int]:
    """zero_grad between backward and step in the same block."""
    for block in _blocks(tree):
        seen = False
        for statement in block:
            names = {_last_name(n.func) for n in ast.walk(statement) if isinstance(n, ast.Call)}
            if "backward" in names:
                seen = True
            elif seen and "zero_grad" in names:
                yield statement.lineno
            elif "step" in names:
                seen = False


def negated_backward(tree: ast.Module) -> Iterator[int]:
    """A minus sign in what goes into backward, or in the assignment of the loss."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.UnaryOp) and isinstance(node.value.op, ast.USub):
            yield node.lineno
        if isinstance(node, ast.Call) and _last_name(node.func) == "backward" and isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.USub):
                yield node.lineno


def no_grad_blocks(tree: ast.Module) -> Iterator[int]:
    """`with torch.no_grad()` and its kin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                expr = item.context_expr
                if isinstance(expr, ast.Call) and _last_name(expr.func) in {"no_grad", "inference_mode"}:
                    yield node.lineno


FINDERS: dict[str, tuple[Finder, ...]] = {
    "loop.missing_zero_grad": (calls("backward"),),
    "loop.zero_grad_after_backward": (zero_after_backward, calls("zero_grad")),
    "loop.step_outside_batch_loop": (calls("step"),),
    "loop.accumulation_not_normalized": (calls("backward"),),
    "loop.clip_before_backward": (calls("clip_grad_norm_", "clip_grad_value_"),),
    "amp.clip_before_unscale": (calls("clip_grad_norm_", "clip_grad_value_"),),
    "loop.eval_mode_left_on": (calls("eval"),),
    "eval.mode_not_eval": (no_grad_blocks,),
    "eval.preprocessing_mismatch": (no_grad_blocks,),
    "loss.sign_flipped": (negated_backward, calls("backward")),
    "graph.no_grad_region": (no_grad_blocks,),
    "optimizer.never_stepped": (calls("backward"),),
    "scheduler.stepped_per_batch": (calls("step"),),
    "optimizer.frozen_by_mistake": (calls("requires_grad_"),),
    "artifact.best_state_aliased": (calls("state_dict"),),
    "artifact.load_skips_keys": (calls("load_state_dict"),),
    "init.symmetric": (calls("zeros_", "ones_", "constant_", "fill_"),),
    "init.wrong_scale": (calls("normal_", "uniform_", "constant_", "fill_", "mul_"),),
    "data.order_not_shuffled": (calls("DataLoader"),),
    "data.repeated_batch": (calls("next"),),
    "resource.loader_bound": (calls("DataLoader"),),
    "resource.hooks_accumulate": (calls("register_forward_hook"),),
    "resource.retain_graph": (calls("backward"),),
    "resource.graph_retained_by_history": (calls("append"),),
}
"""Cause → ways to find its line, best first."""


def locate(run: Run, cause: str, component: str | None) -> SourceLocation | None:
    """The likeliest line: by the cause's own pattern, else where the accused component is made."""
    for name, text in _own_files(run):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for finder in FINDERS.get(cause, ()):
            lines = sorted(set(finder(tree)))
            if lines:
                return SourceLocation(file=name, lines=tuple(lines[:3]))
        if component:
            lines = sorted(set(_made(tree, component)))
            if lines:
                return SourceLocation(file=name, lines=tuple(lines[:2]))
    return None


def _own_files(run: Run) -> list[tuple[str, str]]:
    """The user's files, the script first."""
    files = run.sources
    script = run.info.script
    return sorted(files.items(), key=lambda item: (item[0] != script, item[0]))


def _made(tree: ast.Module, component: str) -> Iterator[int]:
    """Assignments to the component's last attribute name: `self.fc = …`, `model.fc = …`."""
    parts = [p for p in component.split(".") if not p.isdigit() and p not in {"weight", "bias"}]
    for wanted in reversed(parts):
        found = False
        for node in ast.walk(tree):
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(t, ast.Attribute) and t.attr == wanted for t in targets):
                    found = True
                    yield node.lineno
        if found:
            return


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block
