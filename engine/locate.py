"""The accused lines in the user's own source. Reads, never runs, the code; supports an accusation, never makes one.

What was measured often carries a line already (where the loss was called, where the optimizer was built). The line that
is *wrong* may be another: the literal that gave the rate, the slice that shifted the labels. Finders look for it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from aitia.engine.records import SourceLocation
from aitia.engine.store.reader import Run

Finder = Callable[[ast.Module], Iterator[int]]

MAX_LINES = 3
"""More lines than this point nowhere."""


# ---- finders ---------------------------------------------------------------------------------------------------------


def calls(*names: str) -> Finder:
    """Calls whose last name is one of these."""

    def find(tree: ast.Module) -> Iterator[int]:
        yield from (c.lineno for c in _calls(tree) if _last_name(c.func) in names)

    return find


def keyword(name: str, value: object) -> Finder:
    """Calls with this keyword set to this constant."""

    def find(tree: ast.Module) -> Iterator[int]:
        for call in _calls(tree):
            for k in call.keywords:
                if k.arg == name and isinstance(k.value, ast.Constant) and k.value.value == value:
                    yield k.value.lineno

    return find


def rate(tree: ast.Module) -> Iterator[int]:
    """The literal behind the optimizer's `lr`, followed through names, attributes, dict keys and argparse defaults."""
    for call in _calls(tree):
        for k in call.keywords:
            if k.arg != "lr" or _last_name(call.func) in {"add_argument"}:
                continue
            if isinstance(k.value, ast.Constant):
                yield k.value.lineno
            else:
                name = _key(k.value)
                yield from (_literals(tree, name) if name else ())


def backward_value(tree: ast.Module) -> Iterator[int]:
    """Where the value that goes into backward is made: its last assignment before."""
    assigned = _assignments(tree)
    for call in _calls(tree):
        if _last_name(call.func) == "backward" and isinstance(call.func, ast.Attribute):
            target = call.func.value
            if isinstance(target, ast.Name):
                before = [line for name, line, _ in assigned if name == target.id and line < call.lineno]
                yield from before[-1:]
            else:
                yield call.lineno


def negations(tree: ast.Module) -> Iterator[int]:
    """A minus sign in front of what goes into backward or is returned as a loss."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, (ast.Assign, ast.Return)) else None
        if (
            isinstance(value, ast.UnaryOp)
            and isinstance(value.op, ast.USub)
            and not isinstance(value.operand, ast.Constant)
        ):
            yield value.lineno
        if isinstance(node, ast.Call) and _last_name(node.func) == "backward" and isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.USub):
                yield node.lineno


def zero_after_backward(tree: ast.Module) -> Iterator[int]:
    """zero_grad between backward and step in the same block."""
    for block in _blocks(tree):
        seen = False
        for statement in block:
            names = {_last_name(c.func) for c in _calls(statement)}
            if "backward" in names:
                seen = True
            elif seen and "zero_grad" in names:
                yield statement.lineno
            elif "step" in names:
                seen = False


def no_grad_blocks(tree: ast.Module) -> Iterator[int]:
    """`with torch.no_grad()` and its kin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                expr = item.context_expr
                if isinstance(expr, ast.Call) and _last_name(expr.func) in {"no_grad", "inference_mode"}:
                    yield node.lineno


def unshuffled_loaders(tree: ast.Module) -> Iterator[int]:
    """DataLoader calls without shuffle=True, those for training first."""
    found = []
    for name, line, value in _assignments(tree):
        for call in _calls(value):
            shuffled = any(
                k.arg in {"shuffle", "sampler", "batch_sampler"} and not _is_false(k.value) for k in call.keywords
            )
            if _last_name(call.func) == "DataLoader" and not shuffled:
                evaluation = any(w in name.lower() for w in ("val", "test", "eval", "dev"))
                found.append((evaluation, line))
    yield from (line for _, line in sorted(found))


def guarded_steps(tree: ast.Module) -> Iterator[int]:
    """The condition in front of an optimizer step that was never taken, then the step."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            for call in _calls(node):
                if _last_name(call.func) == "step":
                    yield node.lineno
                    yield call.lineno


def scheduler_steps(tree: ast.Module) -> Iterator[int]:
    """`.step()` on what a scheduler was assigned to."""
    names = {name for name, _, value in _assignments(tree) if any(_is_scheduler(c) for c in _calls(value))}
    for call in _calls(tree):
        if _last_name(call.func) == "step" and isinstance(call.func, ast.Attribute) and _key(call.func.value) in names:
            yield call.lineno


def detached_terms(tree: ast.Module) -> Iterator[int]:
    """Arithmetic with `.item()`, `.detach()` and the like inside a sum."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            for call in _calls(node):
                if _last_name(call.func) in {"item", "detach", "numpy", "tensor", "float", "as_tensor"}:
                    yield call.lineno
            yield from (n.lineno for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr == "data")


def hard_choices(tree: ast.Module) -> Iterator[int]:
    """Operations without a gradient inside a forward method (or any function that is not a metric)."""
    names = {
        "argmax",
        "argmin",
        "round",
        "floor",
        "ceil",
        "sign",
        "one_hot",
        "item",
        "numpy",
        "detach",
        "bernoulli",
        "multinomial",
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (
            node.name == "forward" or "select" in node.name or "route" in node.name
        ):
            yield from (c.lineno for c in _calls(node) if _last_name(c.func) in names)
            yield from (n.lineno for n in ast.walk(node) if isinstance(n, ast.Compare) and _feeds_arithmetic(n))


def shifted_slices(tree: ast.Module) -> Iterator[int]:
    """Slices that drop one end of a sequence: `x[:, 1:]`, `x[:, :-1]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for part in parts:
                if isinstance(part, ast.Slice) and part.step is None and (_small(part.lower) or _small(part.upper)):
                    yield node.lineno


def recurrent_reads(tree: ast.Module) -> Iterator[int]:
    """Subscripts by a constant in the forward method of a class with a recurrent layer."""
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        if not any(_last_name(c.func) in {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"} for c in _calls(cls)):
            continue
        for method in (n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "forward"):
            for node in ast.walk(method):
                if isinstance(node, ast.Subscript) and not isinstance(node.value, ast.Attribute):
                    yield node.lineno


def group_lists(tree: ast.Module) -> Iterator[int]:
    """Hand-written parameter groups, and what else is given to an optimizer instead of model.parameters()."""
    assigned = _assignments(tree)
    for call in _calls(tree):
        if not _is_optimizer(call) or not call.args:
            continue
        first = call.args[0]
        if isinstance(first, ast.Name):
            for name, line, value in assigned:
                if name == first.id:
                    yield from range(line, min(value.end_lineno or line, line + MAX_LINES) + 1)
        yield call.lineno


def whole_numbers(tree: ast.Module) -> Iterator[int]:
    """Places where values become integers: `.long()`, `astype(int)`, `dtype=torch.int64` and the like."""
    kinds = {"int", "long", "int8", "int16", "int32", "int64", "uint8"}
    for call in _calls(tree):
        method = isinstance(call.func, ast.Attribute) and _last_name(call.func) in kinds | {"LongTensor", "IntTensor"}
        given = [k.value for k in call.keywords if k.arg == "dtype"]
        if _last_name(call.func) in {"astype", "to", "type"}:
            given += call.args[:1]
        if method or any(isinstance(v, (ast.Name, ast.Attribute)) and _last_name(v) in kinds for v in given):
            yield call.lineno


def keeping_branches(tree: ast.Module) -> Iterator[int]:
    """Conditions under which a state is kept: the branch takes a state_dict, a copy, or writes a file."""
    kept = {"state_dict", "deepcopy", "save"}
    larger = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    for node in ast.walk(tree):
        if not isinstance(node, ast.If):
            continue
        ordered = any(isinstance(part, ast.Compare) and isinstance(part.ops[0], larger) for part in ast.walk(node.test))
        if ordered and any(_last_name(call.func) in kept for statement in node.body for call in _calls(statement)):
            yield node.lineno


def criteria(*names: str) -> Finder:
    """Constructors of loss modules (all `…Loss` when none is named)."""

    def find(tree: ast.Module) -> Iterator[int]:
        for call in _calls(tree):
            last = _last_name(call.func)
            if last in names or (not names and last.endswith("Loss")):
                yield call.lineno

    return find


FINDERS: dict[str, tuple[Finder, ...]] = {
    "amp.clip_before_unscale": (calls("clip_grad_norm_", "clip_grad_value_"),),
    "artifact.best_state_aliased": (calls("state_dict"),),
    "artifact.ema_or_wrong_copy_saved": (calls("save"),),
    "artifact.load_skips_keys": (calls("load_state_dict"),),
    "data.bad_augmentation": (
        calls("permutation", "randperm", "flip", "rot90", "RandomRotation", "RandomVerticalFlip", "randn_like"),
    ),
    "data.duplicate_randomness": (calls("default_rng", "RandomState", "Random"),),
    "data.eos_masked_as_pad": (calls("masked_fill", "masked_fill_", "where"),),
    "data.label_misaligned": (calls("permutation", "randperm", "shuffle", "sort_values", "argsort", "sample", "roll"),),
    "data.label_shift_error": (shifted_slices,),
    "data.nan_or_inf_input": (calls("as_tensor", "from_numpy", "tensor", "read_csv", "load", "loadtxt"),),
    "data.order_not_shuffled": (unshuffled_loaders, calls("DataLoader", "arange", "range")),
    "data.repeated_batch": (calls("next"),),
    "data.unscaled_input": (calls("TensorDataset", "from_numpy", "as_tensor", "tensor"),),
    "data.unscaled_target": (calls("TensorDataset", "from_numpy", "as_tensor", "tensor"),),
    "eval.mode_not_eval": (no_grad_blocks,),
    "eval.preprocessing_mismatch": (no_grad_blocks,),
    "eval.early_stop_wrong_direction": (keeping_branches,),
    "eval.metric_bug": (calls("argmax", "max", "round"),),
    "eval.test_leakage": (calls("random_split", "train_test_split", "randperm", "permutation", "shuffle", "randint"),),
    "eval.functional_dropout_always_on": (calls("dropout", "Dropout", "scaled_dot_product_attention"),),
    "graph.bptt_cut_or_grown": (calls("detach", "detach_"),),
    "graph.detached_term": (detached_terms, calls("item", "detach")),
    "graph.no_grad_region": (no_grad_blocks,),
    "graph.non_differentiable_op": (hard_choices,),
    "graph.target_not_detached": (calls("cosine_similarity", "mse_loss", "smooth_l1_loss", "huber_loss"),),
    "init.symmetric": (calls("zeros_", "ones_", "constant_", "fill_"),),
    "init.wrong_scale": (calls("normal_", "uniform_", "constant_", "fill_", "mul_", "randn"),),
    "init.uninitialized_memory": (calls("empty", "Tensor", "FloatTensor"),),
    "loop.accumulation_not_normalized": (calls("backward"), backward_value),
    "loop.clip_before_backward": (calls("clip_grad_norm_", "clip_grad_value_"),),
    "loop.eval_mode_left_on": (calls("eval"),),
    "loop.freeze_undone_by_train": (calls("train"),),
    "loop.missing_zero_grad": (calls("backward"),),
    "loop.step_outside_batch_loop": (calls("step"),),
    "loop.zero_grad_after_backward": (zero_after_backward, calls("zero_grad")),
    "loss.double_softmax": (calls("softmax", "Softmax", "sigmoid", "Sigmoid"), criteria()),
    "loss.kl_argument_order": (calls("kl_div", "KLDivLoss"),),
    "loss.missing_log": (calls("softmax", "Softmax"), criteria()),
    "loss.padding_counted": (criteria(),),
    "loss.reduction_scale": (keyword("reduction", "sum"), calls("sum")),
    "loss.sign_flipped": (negations, backward_value),
    "loss.wrong_for_task": (criteria(),),
    "loss.ignore_index_hits_real_class": (criteria(), keyword("ignore_index", 0)),
    "loss.clipped_loss": (calls("clamp", "clip", "minimum", "clamp_max"),),
    "model.wrong_state_used": (recurrent_reads,),
    "optimizer.frozen_by_mistake": (keyword("requires_grad", False), calls("requires_grad_")),
    "optimizer.lr_too_high": (rate,),
    "optimizer.lr_too_low": (rate,),
    "optimizer.never_stepped": (guarded_steps, calls("backward")),
    "optimizer.params_missing_from_groups": (group_lists,),
    "precision.autocast_not_applied": (calls("autocast"),),
    "precision.int_or_dtype_truncation": (whole_numbers,),
    "precision.low_precision_weights": (calls("half", "bfloat16", "to"),),
    "resource.graph_retained_by_history": (calls("append"),),
    "resource.hooks_accumulate": (calls("register_forward_hook"),),
    "resource.loader_bound": (calls("DataLoader"),),
    "resource.retain_graph": (keyword("retain_graph", True), calls("backward")),
    "scheduler.stepped_per_batch": (scheduler_steps,),
    "scheduler.wrong_horizon": (calls("CosineAnnealingLR", "OneCycleLR", "LinearLR", "StepLR"),),
}
"""Cause → ways to find the wrong line, best first; the first that finds something is used."""

SECOND_CHOICE = frozenset({"graph.target_not_detached", "loss.padding_counted", "loss.wrong_for_task"})
"""Causes whose measurement knows the line better than a search: searched lines come after it."""
CRASHES = ("shape.mismatch", "dtype.mismatch", "device.mismatch", "data.index_out_of_range")
"""Causes where the failing line uses a name that was made wrongly elsewhere."""


def locate(run: Run, cause: str, component: str | None, measured: SourceLocation | None) -> SourceLocation | None:
    """The likeliest lines, at most three: the cause's own pattern, what was measured, where the component is made."""
    known = list(measured.lines) if measured is not None else []
    for name, text in _own_files(run):
        if measured is not None and name != measured.file:
            continue
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        searched = _first_found(tree, cause)
        if cause == "graph.no_grad_region" and known:
            searched, known = _around(tree, known), known[:1]
        near = [line for line in searched if line in known]
        if cause in CRASHES and known:
            searched = _made_from(tree, known[0])
            lines = known + searched
        elif cause in SECOND_CHOICE and known:
            lines = known + searched
        else:
            lines = near + searched + known
        if not lines and component:
            lines = sorted(set(_made(tree, component)))
        if lines:
            return SourceLocation(file=name, lines=tuple(dict.fromkeys(lines))[:MAX_LINES])
    return measured


def _around(tree: ast.Module, lines: list[int]) -> list[int]:
    """`with no_grad()` blocks (or functions so decorated) that hold one of these running lines; innermost first."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            heads = [item.context_expr for item in node.items]
        elif isinstance(node, ast.FunctionDef):
            heads = list(node.decorator_list)
        else:
            continue
        off = any(_last_name(h.func if isinstance(h, ast.Call) else h) in {"no_grad", "inference_mode"} for h in heads)
        inside = [line for line in lines if node.lineno <= line <= (node.end_lineno or node.lineno)]
        if off and inside:
            found.append((lines.index(inside[0]), node.lineno, inside[0]))
    return [line for _, head, body in sorted(found) for line in (head, body)]


def _first_found(tree: ast.Module, cause: str) -> list[int]:
    for finder in FINDERS.get(cause, ()):
        lines = list(dict.fromkeys(finder(tree)))
        if lines:
            return lines
    return []


def _own_files(run: Run) -> list[tuple[str, str]]:
    """The user's files, the script first."""
    script = run.info.script
    return sorted(run.sources.items(), key=lambda item: (item[0] != script, item[0]))


# ---- reading a tree --------------------------------------------------------------------------------------------------


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    yield from sorted(found, key=lambda c: (c.lineno, c.col_offset))


def _assignments(tree: ast.AST) -> list[tuple[str, int, ast.expr]]:
    """(name, line, value) of assignments to names, attributes and keys, in order of lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            found += [(key, node.lineno, node.value) for t in node.targets if (key := _key(t))]
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None and (key := _key(node.target)):
            found.append((key, node.lineno, node.value))
    return sorted(found, key=lambda item: item[1])


def _literals(tree: ast.Module, name: str) -> Iterator[int]:
    """Lines where something of this name gets a number: assignment, dict entry, keyword, default, argparse."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name and isinstance(value, ast.Constant):
                    yield value.lineno
        elif isinstance(node, ast.Call):
            options = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if _last_name(node.func) == "add_argument" and any(
                o.lstrip("-").replace("-", "_") == name for o in options
            ):
                yield node.lineno
            yield from (k.value.lineno for k in node.keywords if k.arg == name and isinstance(k.value, ast.Constant))
        elif isinstance(node, ast.arguments):
            positional = node.posonlyargs + node.args
            pairs = list(zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True))
            pairs += [(a, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d is not None]
            yield from (d.lineno for a, d in pairs if a.arg == name and isinstance(d, ast.Constant))
    yield from (line for key, line, value in _assignments(tree) if key == name and isinstance(value, ast.Constant))


def _made(tree: ast.Module, component: str) -> Iterator[int]:
    """Assignments to the component's last attribute name: `self.fc = …`, `model.fc = …`."""
    parts = [p for p in component.split(".") if not p.isdigit() and p not in {"weight", "bias"}]
    for wanted in reversed(parts):
        lines = [line for name, line, _ in _assignments(tree) if name == wanted]
        if lines:
            yield from lines
            return


def _made_from(tree: ast.Module, line: int) -> list[int]:
    """Last assignments, in the same function, of the names that a failing line passes on; nearest first."""
    scope: ast.AST = tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or node.lineno):
            scope = node
    used = {
        a.id
        for node in ast.walk(scope)
        if isinstance(node, ast.Call) and node.lineno == line
        for a in ast.walk(node)
        if isinstance(a, ast.Name)
    }
    found = [at for name, at, _ in _assignments(scope) if name in used and at < line]
    return sorted(found, reverse=True)[:2]


def _key(node: ast.expr) -> str:
    """Last name of a target or value: `lr`, `self.lr`, `config["lr"]` → `lr`."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    return _last_name(node)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_scheduler(call: ast.Call) -> bool:
    last = _last_name(call.func)
    return (
        last.endswith("LR")
        or last in {"ReduceLROnPlateau", "CosineAnnealingWarmRestarts"}
        or "schedule" in last.lower()
    )


def _is_optimizer(call: ast.Call) -> bool:
    names = {
        "SGD",
        "Adam",
        "AdamW",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "NAdam",
        "RAdam",
        "LBFGS",
        "Adamax",
        "Muon",
        "SparseAdam",
    }
    return _last_name(call.func) in names


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in {False, None}


def _small(node: ast.expr | None) -> bool:
    """1, 2, -1, -2."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and node.value in {1, 2}


def _feeds_arithmetic(node: ast.Compare) -> bool:
    """A comparison with a number, as in `(x > 0.5).float()`."""
    return any(isinstance(c, ast.Constant) and isinstance(c.value, float) for c in node.comparators)


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block
