"""Repairs of layers: their initial scale, their activations, and which of their outputs is read."""

from __future__ import annotations

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
