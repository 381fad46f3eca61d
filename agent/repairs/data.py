"""Repairs of the data on its way to the loss, and of how layers take it up."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, targets

PAD = re.compile(r"^(PAD|PAD_ID|PAD_IDX|PAD_TOKEN_ID|pad|pad_id|pad_idx|pad_index|pad_token_id|padding_idx)$")


def nan_or_inf_input(accused: Accused) -> Patch | None:
    """Fill the missing values where the tensor is made."""
    for source in accused.sources:
        made = [
            c
            for c in source.calls("tensor", "as_tensor", "from_numpy", "FloatTensor")
            if not source.calls("nan_to_num", within=c)
        ]
        made = [c for c in made if source.line(c) in accused.lines(source)]
        floating = [c for c in made if "float" in source.code(c)]
        call = accused.pick(made if len(made) == 1 else floating, source)
        if call is None:
            continue
        edits = Edits(source)
        edits.replace(call, f"{source.code(call)}.nan_to_num(0.0)")
        return accused.patch("fill the missing values", edits)
    return None


def unscaled_input(accused: Accused) -> Patch | None:
    """Standardize the features with the statistics of the training part."""
    for source in accused.sources:
        for call in source.calls("train_test_split"):
            names = _names(source, call)
            if len(names) == 4 and not source.calls("StandardScaler", "scale", "standardize"):
                train, test = names[0], names[1]
                edits = Edits(source)
                edits.after(
                    source.statement(call),
                    f"center, spread = {train}.mean(0), {train}.std(0) + 1e-8",
                    f"{train}, {test} = ({train} - center) / spread, ({test} - center) / spread",
                )
                return accused.patch("standardize the features", edits)
        for call in source.calls("load_breast_cancer", "load_wine", "load_iris", "load_diabetes", "load_digits"):
            names = _names(source, call)
            if len(names) == 2:
                edits = Edits(source)
                edits.after(
                    source.statement(call),
                    f"{names[0]} = ({names[0]} - {names[0]}.mean(0)) / ({names[0]}.std(0) + 1e-8)",
                )
                return accused.patch("standardize the features", edits)
    return None


def ignore_index_hits_real_class(accused: Accused) -> Patch | None:
    """Ignore an id that no class has."""
    for source in accused.sources:
        argument = accused.pick(
            [a for c in source.nodes(cst.Call) if (a := keyword(c, "ignore_index")) is not None], source
        )
        if argument is not None:
            edits = Edits(source)
            edits.replace(argument.value, "-100")
            return accused.patch("ignore an id that no class has", edits)
    return None


def kl_argument_order(accused: Accused) -> Patch | None:
    """kl_div takes the logarithms of the prediction first, then the target."""
    for source in accused.sources:
        call = accused.pick(source.calls("kl_div"), source)
        if call is None or len(positional(call)) < 2:
            continue
        first, second = positional(call)[0].value, positional(call)[1].value
        edits = Edits(source)
        edits.replace(first, source.code(second))
        edits.replace(second, source.code(first))
        return accused.patch("give kl_div the prediction's logarithms first and the target second", edits)
    return None


def int_truncation(accused: Accused) -> Patch | None:
    """Keep the target's fraction."""
    swaps = {"LongTensor": "FloatTensor", "IntTensor": "FloatTensor", "long": "float", "int": "float"}
    for source in accused.sources:
        found = [c for c in source.calls(*swaps) if source.code(c.func) != "int"]
        typed = [a for c in source.nodes(cst.Call) if (a := keyword(c, "dtype")) is not None]
        typed = [a for a in typed if re.search(r"\b(long|int\d*|uint8)\b", source.code(a.value))]
        nodes: list[cst.CSTNode] = [*found, *typed]
        node = accused.pick(nodes, source)
        if node is None:
            continue
        edits = Edits(source)
        if isinstance(node, cst.Arg):
            edits.replace(node.value, "torch.float32" if "torch" in source.code(node.value) else "float")
        elif isinstance(node, cst.Call):
            _, end = source.span(node.func)
            edits.cut(end - len(last_name(node.func)), end, swaps[last_name(node.func)])
        return accused.patch("keep the fraction of the target", edits)
    return None


def divided_exactly(accused: Accused) -> Iterator[Patch]:
    """`x // 255` → `x / 255` on the accused lines."""
    for source in accused.sources:
        lines, edits = accused.lines(source), Edits(source)
        for division in source.nodes(cst.BinaryOperation):
            if isinstance(division.operator, cst.FloorDivide) and source.line(division) in lines:
                edits.replace(division, f"{source.code(division.left)} / {source.code(division.right)}")
        if (patch := accused.patch("keep the fractions of what is divided", edits)) is not None:
            yield patch


def _names(source: Source, call: cst.Call) -> list[str]:
    """Names a call's result is unpacked into."""
    found = targets(source, call)
    if len(found) != 1 or not isinstance(found[0], cst.Tuple):
        return []
    return [source.code(e.value) for e in found[0].elements]
