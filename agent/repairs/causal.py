"""Repairs of a model that sees the positions it is to predict, where no mask is merely off by one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.sequences import module

MASKED = {
    "TransformerEncoder": "mask", "TransformerEncoderLayer": "src_mask", "TransformerDecoder": "tgt_mask",
    "TransformerDecoderLayer": "tgt_mask", "Transformer": "tgt_mask", "MultiheadAttention": "attn_mask",
}  # fmt: skip
"""Layer of torch → the argument of its call that hides positions."""
SCORES = frozenset({"matmul", "bmm", "einsum", "baddbmm"})
SUMMARY = "hide every later position from each position"


def causal_leak(accused: Accused) -> Iterator[Patch]:
    """A mask for layers of torch, for scores by hand; padding on the left; one direction; the mask turned round."""
    for source in accused.sources:
        for write in (_given_to_layers, _before_softmax, _left_padding, _one_direction, _turned):
            edits = Edits(source)
            write(source, edits)
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                yield patch


def _given_to_layers(source: Source, edits: Edits) -> None:
    """`self.encoder(x)` gets a mask."""
    kinds = _made(source, tuple(MASKED))
    first = "shape[1]" if re.search(r"batch_first\s*=\s*True", source.text) else "shape[0]"
    done = set[int]()
    for call in source.nodes(cst.Call):
        name = MASKED.get(kinds.get(_called(source, call), ""))
        given = positional(call)
        if name is None or not given:
            continue
        attention = name == "attn_mask"
        if attention and len({source.code(a.value) for a in given[:3]}) > 1:
            continue  # queries that ask another sequence
        place = given[1].value if kinds[_called(source, call)] == "Transformer" and len(given) > 1 else given[0].value
        if isinstance(place, (cst.Name, cst.Attribute)):
            tensor = source.code(place)
        else:
            statement, tensor = source.statement(call), "hidden"
            if source.line(statement) in done:
                continue
            done.add(source.line(statement))
            edits.before(statement, f"hidden = {source.code(place)}")
            edits.replace(place, "hidden")
        size = f"{tensor}.{first}"
        mask = f"torch.ones({size}, {size}, dtype=torch.bool, device={tensor}.device).triu(1)"
        old = keyword(call, name)
        if old is not None:
            edits.replace(old.value, mask)
        elif len(given) == (3 if attention else 1) or name == "tgt_mask":
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, f", {name}={mask}")


def _before_softmax(source: Source, edits: Edits) -> None:
    """`softmax(q @ k)`: scores of later positions become minus infinity."""
    for call in source.calls("softmax", "Softmax"):
        on = receiver(call)
        by_name = on is None or source.code(on) in {"torch", "F", "nn.functional", "torch.nn.functional"}
        given = next((a.value for a in positional(call)), None)
        scores = given if by_name else on
        if scores is None or not _compares(source, scores, call):
            continue
        statement, name = source.statement(call), "scores"
        if isinstance(scores, cst.Name):
            name = scores.value
        else:
            edits.before(statement, f"scores = {source.code(scores)}")
        later = f"torch.ones({name}.shape[-2:], dtype=torch.bool, device={name}.device).triu(1)"
        edits.before(statement, f'{name} = {name}.masked_fill({later}, float("-inf"))')
        if name == "scores" and not isinstance(scores, cst.Name):
            edits.replace(scores, "scores")


def _compares(source: Source, scores: cst.BaseExpression, call: cst.Call) -> bool:
    """Whether these are scores between positions: a product of two tensors, scaled or masked on the way."""
    function = source.function(call)
    if function is None:
        return False
    texts, seen = [scores], set[str]()
    while texts:
        node = texts.pop()
        if any(isinstance(b.operator, cst.MatrixMultiply) for b in source.nodes(cst.BinaryOperation, node)):
            return True
        if any(last_name(c.func) in SCORES for c in source.nodes(cst.Call, node)):
            return True
        for n in source.nodes(cst.Name, node):
            if n.value in seen:
                continue
            seen.add(n.value)
            before = [a for a in source.nodes(cst.Assign, function.body) if source.line(a) <= source.line(call)]
            texts += [a.value for a in before if source.code(a.targets[0].target) == n.value]
    return False


def _left_padding(source: Source, edits: Edits) -> None:
    """A convolution over time gets its padding on the left alone."""
    pad = module(source, "functional.pad")
    for conv in source.calls("Conv1d"):
        padding = keyword(conv, "padding") or next(iter(positional(conv)[4:5]), None)
        if padding is None or source.code(padding.value) == "0":
            continue
        holder = _target(source, conv)
        size = keyword(conv, "kernel_size") or next(iter(positional(conv)[2:3]), None)
        if holder is not None:
            calls = [c for c in source.nodes(cst.Call) if source.code(c.func) == holder and positional(c)]
            for call in calls:
                given = positional(call)[0].value
                wide = f"({holder}.kernel_size[0] - 1) * {holder}.dilation[0]"
                edits.replace(given, f"{pad}({source.code(given)}, ({wide}, 0))")
            if calls:
                edits.replace(padding.value, "0")
        elif size is not None and isinstance(source.parent(conv), (cst.Arg, cst.Element)):
            spread = keyword(conv, "dilation")
            times = f" * {source.atom(spread.value)}" if spread is not None else ""
            wide = f"({source.code(size.value)} - 1){times}"
            edits.replace(padding.value, "0")
            start, _ = source.span(conv)
            edits.cut(start, start, f"{module(source, 'ConstantPad1d')}(({wide}, 0), 0.0), ")


def _one_direction(source: Source, edits: Edits) -> None:
    """A recurrent layer of two directions becomes one of the same width."""
    for rnn in source.calls("LSTM", "GRU", "RNN"):
        both = keyword(rnn, "bidirectional")
        width = keyword(rnn, "hidden_size") or next(iter(positional(rnn)[1:2]), None)
        if both is None or source.code(both.value) == "False" or width is None:
            continue
        edits.replace(width.value, f"2 * {source.atom(width.value)}")
        edits.replace(both.value, "False")


def _turned(source: Source, edits: Edits) -> None:
    """A mask that hides the past hides the future instead."""
    for call in source.calls("triu", "tril"):
        name = last_name(call.func)
        upper = name == "triu"
        _, end = source.span(call.func)
        edits.cut(end - len(name), end, "tril" if upper else "triu")
        on = receiver(call)
        place = 1 if on is not None and source.code(on) == "torch" else 0
        given = keyword(call, "diagonal") or next(iter(positional(call)[place:]), None)
        wanted = "0" if upper else "1"
        if given is not None:
            edits.replace(given.value, wanted)
        elif not upper:
            last = source.span(call)[1] - 1
            edits.cut(last, last, ", diagonal=1" if call.args else "diagonal=1")


def _made(source: Source, names: tuple[str, ...]) -> dict[str, str]:
    """Attribute or name → the kind of layer of torch that it holds."""
    found: dict[str, str] = {}
    for kind in names:
        for call in source.calls(kind):
            holder = _target(source, call) or _holder(source, call)
            outer = source.enclosing(call, (cst.Call,))
            if holder is not None and not (isinstance(outer, cst.Call) and last_name(outer.func) in MASKED):
                found[holder] = kind
    return found


def _target(source: Source, call: cst.Call) -> str | None:
    """`self.c1` of `self.c1 = nn.Conv1d(…)`."""
    around = source.parent(call)
    return source.code(around.targets[0].target) if isinstance(around, cst.Assign) else None


def _holder(source: Source, call: cst.Call) -> str | None:
    """`self.layers` of `self.layers = nn.ModuleList([Layer() …])`."""
    around = source.enclosing(call, (cst.Assign,))
    listed = isinstance(around, cst.Assign) and source.calls("ModuleList", within=around.value)
    return source.code(around.targets[0].target) if isinstance(around, cst.Assign) and listed else None


def _called(source: Source, call: cst.Call) -> str:
    """What is called: `self.enc`, or `self.layers` where a name runs over it."""
    loop = source.loop(call)
    if isinstance(call.func, cst.Name) and isinstance(loop, cst.For):
        names = {n.value for n in source.nodes(cst.Name, loop.target)}
        held = [a for a in source.nodes(cst.Attribute, loop.iter) if source.code(a.value) == "self"]
        if call.func.value in names and held:
            return source.code(held[0])
    return source.code(call.func)
