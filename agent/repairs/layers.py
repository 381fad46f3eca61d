"""Repairs of layers: their initial scale, their activations, and which of their outputs is read."""

from __future__ import annotations

from itertools import pairwise

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, targets

BOUNDED = ("Sigmoid", "Tanh", "Hardtanh", "Softsign")


def wrong_state_used(accused: Accused) -> Patch | None:
    """Read the last step of the sequence."""
    for source in accused.sources:
        recurrent = {last_name(t) for c in source.calls("LSTM", "GRU", "RNN") for t in targets(source, c)}
        states = {
            name for c in source.calls(*recurrent) for t in targets(source, c) for name in (_first(source, t),) if name
        }
        found = [s for s in source.nodes(cst.Subscript) if source.code(s.value) in states]
        found = [s for s in found if source.line(s) in accused.lines(source)] or found
        swaps = {
            "[0]": "[-1]",
            "[:, 0]": "[:, -1]",
            "[:,0]": "[:,-1]",
            "[:, 0, :]": "[:, -1, :]",
            "[0, :, :]": "[-1, :, :]",
        }
        hits = [(s, new) for s in found for old, new in swaps.items() if source.code(s) == source.code(s.value) + old]
        if len(hits) != 1:
            continue
        node, new = hits[0]
        edits = Edits(source)
        edits.replace(node, source.code(node.value) + new)
        return accused.patch("read the state after the last step", edits)
    return None


def missing_nonlinearity(accused: Accused) -> Patch | None:
    """Put an activation between linear layers that follow each other."""
    linear = ("Linear", "Conv2d", "Conv1d")
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("Sequential"):
            values = [a.value for a in call.args]
            for first, second in pairwise(values):
                if all(isinstance(v, cst.Call) and last_name(v.func) in linear for v in (first, second)):
                    _, end = source.span(first)
                    edits.cut(
                        end, end, ", torch.nn.ReLU()" if "from torch import nn" not in source.text else ", nn.ReLU()"
                    )
        patch = accused.patch("put an activation between the linear layers", edits)
        if patch is not None:
            return patch
    return _instead_of_identity(accused) or _between_calls(accused)


def _instead_of_identity(accused: Accused) -> Patch | None:
    """An activation that does nothing is replaced by one that does."""
    for source in accused.sources:
        edits = Edits(source)
        for node in source.nodes(cst.Attribute):
            if source.code(node) in {"nn.Identity", "torch.nn.Identity"}:
                edits.replace(node, source.code(node).replace("Identity", "ReLU"))
        patch = accused.patch("use an activation that is not the identity", edits)
        if patch is not None:
            return patch
    return None


def _between_calls(accused: Accused) -> Patch | None:
    """`self.b(self.a(x))` and `x = self.a(x); x = self.b(x)`: an activation around the first."""
    for source in accused.sources:
        linear = {source.code(t) for c in source.calls("Linear", "Conv1d", "Conv2d") for t in targets(source, c)}
        edits = Edits(source)
        for function in [f for f in source.nodes(cst.FunctionDef) if f.name.value == "forward"]:
            calls = [c for c in source.nodes(cst.Call, function) if source.code(c.func) in linear]
            inner = [c for c in calls if any(c in list(source.nodes(cst.Call, o)) and c is not o for o in calls)]
            ordered = sorted((c for c in calls if c not in inner), key=source.line)
            for call in [*inner, *ordered[:-1]]:
                edits.replace(call, f"torch.relu({source.code(call)})") if not _nested(source, call, inner) else None
        patch = accused.patch("put an activation between the linear layers", edits)
        if patch is not None and "import torch\n" in source.text:
            return patch
    return None


def _nested(source: Source, call: cst.Call, others: list[cst.Call]) -> bool:
    """Whether a call stands inside another one that is replaced as a whole."""
    return any(o is not call and call in list(source.nodes(cst.Call, o)) for o in others)


def saturated(accused: Accused) -> Patch | None:
    """Use an activation that does not saturate in the hidden layers."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls(*BOUNDED):
            around = source.parent(call)
            sequence = source.parent(around) if isinstance(around, cst.Arg) else None
            if isinstance(sequence, cst.Call) and sequence.args[-1] is around:
                continue
            _, end = source.span(call.func)
            edits.cut(end - len(last_name(call.func)), end, "ReLU")
        patch = accused.patch("use ReLU in the hidden layers, which does not saturate", edits)
        if patch is not None:
            return patch
    return None


def dead_units(accused: Accused) -> Patch | None:
    """Use an activation that lets a gradient through on both sides."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("ReLU"):
            edits.replace(call, source.code(call.func).removesuffix("ReLU") + "LeakyReLU(0.01)")
        for call in source.calls("relu") if edits.result() is None else ():
            where = source.code(call.func).rpartition(".")[0]
            if where in {"F", "nn.functional", "torch.nn.functional", "torch"}:
                where = "torch.nn.functional" if where == "torch" else where
                edits.replace(call.func, f"{where}.leaky_relu")
        patch = accused.patch("use LeakyReLU, whose units cannot die", edits)
        if patch is not None:
            return patch
    return None


def _first(source: Source, target: cst.BaseExpression) -> str:
    """`outputs` of `outputs, (h, c) = self.lstm(x)`."""
    return source.code(target.elements[0].value if isinstance(target, cst.Tuple) else target)
