"""More patterns of wrong code: what an output goes through, what is summed up, averaged, masked. Reads, never runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from aitia.engine.syntax import all_calls, assignments, key, last_name, literals

ACTIVATIONS = frozenset(
    {"relu", "sigmoid", "tanh", "softplus", "softmax", "elu", "hardtanh", "hardsigmoid", "relu6", "exp"}
)
LAYERS = frozenset({"Linear", "LazyLinear", "Conv1d", "Conv2d", "Conv3d", "LSTM", "GRU", "RNN"})


def forwards(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Methods called `forward`, and `__call__`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in {"forward", "__call__"}:
            yield node


def last_activations(tree: ast.Module) -> Iterator[int]:
    """The activation at the end of a model: the last entry of a `Sequential`, the last one that `forward` applies."""
    for call in all_calls(tree):
        if last_name(call.func) == "Sequential" and call.args:
            last = call.args[-1]
            if isinstance(last, ast.Call) and last_name(last.func).lower() in ACTIVATIONS:
                yield last.lineno
    for method in forwards(tree):
        used = [c.lineno for c in all_calls(method) if last_name(c.func).lower() in ACTIVATIONS]
        yield from used[-1:]


def bare_layers(tree: ast.Module) -> Iterator[int]:
    """Layers that feed layers: neighbours in a `Sequential`, an `Identity`, bare lines of `forward`."""
    for call in all_calls(tree):
        if last_name(call.func) == "Identity" or any(last_name(k.value) == "Identity" for k in call.keywords):
            yield call.lineno
        if last_name(call.func) == "Sequential":
            kinds = [last_name(a.func) if isinstance(a, ast.Call) else "" for a in call.args]
            bare = [i for i in range(1, len(kinds)) if kinds[i] in LAYERS and kinds[i - 1] in LAYERS]
            yield from (call.args[i].lineno for i in bare)
    for method in forwards(tree):
        for statement in method.body:
            names = {last_name(c.func).lower() for c in all_calls(statement)}
            applied = any(isinstance(c.func, (ast.Attribute, ast.Subscript)) for c in all_calls(statement))
            if applied and not names & (ACTIVATIONS | {"gelu", "silu", "leaky_relu"}):
                yield statement.lineno


def embedded(tree: ast.Module) -> Iterator[int]:
    """Where embeddings are looked up: statements that call what an `Embedding` was assigned to."""
    tables = {n for n, _, v in assignments(tree) if any(last_name(c.func) == "Embedding" for c in all_calls(v))}
    yield from (c.lineno for c in all_calls(tree) if last_name(c.func) in tables)


def running_figures(tree: ast.Module) -> Iterator[int]:
    """Sums that grow in a loop and are set to zero outside of it: where they start, where they grow."""
    loops = [n for n in ast.walk(tree) if isinstance(n, (ast.For, ast.While))]
    grown = [n for n in ast.walk(tree) if isinstance(n, ast.AugAssign) and isinstance(n.op, ast.Add)]
    depth = {id(n): sum(_within(n, loop) for loop in loops) for n in grown}
    starts = assignments(tree)
    for node in sorted(grown, key=lambda n: (-depth[id(n)], n.lineno)):
        name = key(node.target)
        same = [line for other, line, _ in starts if other == name and line != node.lineno]
        outside = [line for line in same if not any(_holds(loop, line) for loop in loops)]
        if outside and len(outside) == len(same) and depth[id(node)] > 1:
            yield from outside[-1:]
            yield node.lineno
    yield from (n.lineno for n in grown if depth[id(n)] > 1)


def _within(node: ast.AST, loop: ast.For | ast.While) -> bool:
    return _holds(loop, getattr(node, "lineno", 0)) and node is not loop


def _holds(loop: ast.For | ast.While, line: int) -> bool:
    return loop.lineno < line <= (loop.end_lineno or loop.lineno)


def paired_updates(tree: ast.Module) -> Iterator[int]:
    """What is done to two sets of parameters side by side: the body of `for a, b in zip(….parameters(), …)`."""
    sources = {"parameters", "named_parameters", "buffers", "state_dict", "items", "values"}
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and any(last_name(c.func) in sources for c in all_calls(node.iter)):
            writes = {"copy_", "lerp_", "mul_", "add_"}
            for statement in node.body:
                written = any(last_name(c.func) in writes for c in all_calls(statement))
                if written or isinstance(statement, (ast.Assign, ast.AugAssign)):
                    yield statement.lineno


def judged(tree: ast.Module) -> Iterator[int]:
    """Lines that turn outputs into hits, those in blocks without gradients first."""
    off = [n for n in ast.walk(tree) if isinstance(n, ast.With) and _is_off(n)]
    off_functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and _decorated_off(n)]
    spans = [(n.lineno, n.end_lineno or n.lineno) for n in (*off, *off_functions)]
    found = [c.lineno for c in all_calls(tree) if last_name(c.func) in {"argmax", "max", "round", "topk"}]
    found += [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Compare) and _is_tensor_like(n)]
    inside = [line for line in found if any(a <= line <= b for a, b in spans)]
    yield from sorted(set(inside or found))
    yield from _compared(tree, inside)


def _compared(tree: ast.Module, lines: list[int]) -> Iterator[int]:
    """In the function of these lines: where the values are taken that are compared, if they are compared as a whole."""
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        if not any(function.lineno <= line <= (function.end_lineno or 0) for line in lines):
            continue
        compared = [n for n in ast.walk(function) if isinstance(n, ast.Compare) and _is_tensor_like(n)]
        names = {m.id for n in compared for m in ast.walk(n) if isinstance(m, ast.Name)}
        yield from (line for name, line, value in assignments(function) if name in names and _whole(value))


def _whole(value: ast.expr) -> bool:
    """An attribute or a call: something that was there as a whole, and not gathered."""
    return isinstance(value, (ast.Attribute, ast.Call))


def _is_off(node: ast.With) -> bool:
    heads = [i.context_expr for i in node.items]
    return any(last_name(h.func if isinstance(h, ast.Call) else h) in {"no_grad", "inference_mode"} for h in heads)


def _decorated_off(node: ast.FunctionDef) -> bool:
    heads = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(last_name(h) in {"no_grad", "inference_mode"} for h in heads)


def _is_tensor_like(node: ast.Compare) -> bool:
    """A comparison that is used as values, `(p > 0.5)` or `(p == y).sum()`, not as a condition on a number."""
    return isinstance(node.ops[0], (ast.Eq, ast.Gt, ast.Lt, ast.GtE, ast.LtE)) and any(
        isinstance(part, (ast.Call, ast.Name, ast.Subscript)) for part in (node.left, *node.comparators)
    )


def held_out(tree: ast.Module) -> Iterator[int]:
    """Where held-out data become tensors: assignments to names that say so."""
    words = ("test", "val", "valid", "eval", "dev", "held")
    for name, line, value in assignments(tree):
        made = any(
            last_name(c.func) in {"tensor", "as_tensor", "from_numpy", "TensorDataset"} for c in all_calls(value)
        )
        if made and any(part.startswith(words) for part in name.lower().split("_")):
            yield line


def weights_of_terms(tree: ast.Module) -> Iterator[int]:
    """Where the numbers come from that terms of a loss are multiplied by."""
    made: list[ast.expr] = []
    for call in all_calls(tree):
        if last_name(call.func) == "backward" and isinstance(call.func, ast.Attribute):
            target = call.func.value
            made += [v for n, _, v in assignments(tree) if isinstance(target, ast.Name) and n == target.id] or [target]
    for value in made:
        for node in ast.walk(value):
            if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
                continue
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant):
                    yield node.lineno
                elif isinstance(side, (ast.Name, ast.Attribute, ast.Subscript)) and (name := key(side)):
                    yield from literals(tree, name)


def attention_masks(tree: ast.Module) -> Iterator[int]:
    """Masks of attention: where they are made and where they are given."""
    given = []
    for call in all_calls(tree):
        for k in call.keywords:
            if k.arg in {"key_padding_mask", "src_key_padding_mask", "attn_mask", "mask", "src_mask"}:
                name = key(k.value)
                yield from (line for n, line, _ in assignments(tree) if name and n == name)
                given.append(k.value.lineno)
    yield from given
    fills = {"masked_fill", "masked_fill_", "scaled_dot_product_attention"}
    yield from (c.lineno for c in all_calls(tree) if last_name(c.func) in fills)


def rearranged_entries(tree: ast.Module) -> Iterator[int]:
    """Entries of a state made of others by cutting, joining, turning: `state["qkv"] = torch.cat([q, k, v])`."""
    turns = {"cat", "concat", "stack", "vstack", "hstack", "chunk", "split", "view", "reshape", "permute", "transpose"}
    turns |= {"t", "flip", "roll", "unflatten", "movedim", "swapaxes", "rearrange"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        entries = [t for t in ast.walk(node.targets[0]) if isinstance(t, ast.Subscript)]
        turned = any(last_name(c.func) in turns for c in all_calls(node.value))
        turned = turned or any(isinstance(n, ast.Attribute) and n.attr in {"T", "mT"} for n in ast.walk(node.value))
        if (
            entries
            and turned
            and any(isinstance(e.slice, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.Name)) for e in entries)
        ):
            yield node.lineno


def weight_files(tree: ast.Module) -> Iterator[int]:
    """Names of files with weights, other than where they are written: `folder / "best.pt"`."""
    endings = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".safetensors", ".npz", ".npy", ".tar")
    written = {
        id(part)
        for call in all_calls(tree)
        if last_name(call.func) in {"save", "save_file", "dump", "savez"}
        for part in ast.walk(call)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and str(node.value).endswith(endings) and id(node) not in written:
            yield node.lineno


def own_generators(tree: ast.Module) -> Iterator[int]:
    """Where a data set draws from a generator that it keeps: the lines that use it, then the one that makes it."""
    makers = {"default_rng", "RandomState", "Random", "Generator"}
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        kept = {
            name: line
            for name, line, value in assignments(cls)
            if any(last_name(c.func) in makers for c in all_calls(value))
        }
        for method in (n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name in {"__iter__", "__getitem__"}):
            used = [n for n in ast.walk(method) if isinstance(n, ast.Attribute) and n.attr in kept]
            yield from sorted({n.lineno for n in used})[:1]
            yield from (kept[n.attr] for n in used[:1])


def cut_to_length(tree: ast.Module) -> Iterator[int]:
    """Tensors that are cut to the length of another one, instead of being filtered with it: `y = y[: len(x)]`."""
    for _, line, value in assignments(tree):
        if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice):
            for bound in (value.slice.lower, value.slice.upper):
                inner = bound.operand if isinstance(bound, ast.UnaryOp) else bound
                if isinstance(inner, ast.Call) and last_name(inner.func) == "len":
                    yield line


def in_place(tree: ast.Module) -> Iterator[int]:
    """Values that are changed where they stand, in `forward` first: `x *= y`, `x.relu_()`, `x[i] = y`."""
    inside = [(m.lineno, m.end_lineno or m.lineno) for m in forwards(tree)]
    setters = {"requires_grad_", "zero_grad", "manual_seed_"}
    found = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.AugAssign) and not isinstance(n.value, ast.Constant)]
    found += [c.lineno for c in all_calls(tree) if last_name(c.func).endswith("_") and last_name(c.func) not in setters]
    found += [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Subscript)]
    yield from sorted(found, key=lambda line: (not any(a <= line <= b for a, b in inside), line))


def kept_tensors(tree: ast.Module) -> Iterator[int]:
    """Sums and lists that take what a call returned without `.item()` or `.detach()`."""
    plain = {"item", "detach", "float", "tolist", "numpy", "len", "sum", "time"}
    for node in ast.walk(tree):
        value: ast.expr | None = None
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            value = node.value
        elif isinstance(node, ast.Call) and last_name(node.func) == "append" and node.args:
            value = node.args[0]
        if value is None or isinstance(value, ast.Constant):
            continue
        if not any(last_name(c.func) in plain for c in ast.walk(value) if isinstance(c, ast.Call)):
            yield value.lineno


def scalings(tree: ast.Module) -> Iterator[int]:
    """Lines that scale data: a division by a number, a difference to a mean, a fitted transform."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            number = isinstance(node.right, ast.Constant) and isinstance(node.right.value, (int, float))
            if number or "std" in key(node.right) or last_name(getattr(node.right, "func", node.right)) == "std":
                yield node.lineno
        if isinstance(node, ast.Call) and last_name(node.func) in {
            "transform",
            "fit_transform",
            "Normalize",
            "normalize",
        }:
            yield node.lineno
