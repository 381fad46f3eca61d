"""Repairs of what is computed with: target scale, class weights, masks, dimensions, terms, epochs, random numbers."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, positional, receiver, targets
from aitia.agent.repairs.source import Statement, number
from aitia.engine.case import Case

LONGER = 4
"""Times as many epochs where a run ended while it was still learning."""
LIGHTER = 100
"""A term that dominates does so by orders of magnitude."""
SKEWED = 2.0
"""Times as many samples of one class as of another from which on weights were meant to make up for it."""
HEAVY = 10.0
"""Factors from here on make a term dominate; smaller ones are taste."""
EPOCHS = re.compile(r"(?i)^(n_?|num_?|max_?)?(epochs?|rounds)$")
LOADERS = ("load_diabetes", "fetch_california_housing", "make_regression", "make_friedman1")


def unscaled_target(accused: Accused) -> Patch | None:
    """Standardize the targets with the statistics of the training part."""
    for source in accused.sources:
        for call in source.calls("train_test_split"):
            names = _names(source, call)
            if len(names) == 4:
                edits, (train, test) = Edits(source), (names[2], names[3])
                edits.after(
                    source.statement(call), f"middle, width = {train}.mean(), {train}.std()",
                    f"{train}, {test} = ({train} - middle) / width, ({test} - middle) / width",
                )  # fmt: skip
                return accused.patch("standardize the targets", edits)
        for call in source.calls(*LOADERS):
            names = _names(source, call)
            if len(names) == 2:
                edits, y = Edits(source), names[1]
                edits.after(source.statement(call), f"{y} = ({y} - {y}.mean()) / {y}.std()")
                return accused.patch("standardize the targets", edits)
    return None


def permuted_alone(accused: Accused) -> Patch | None:
    """Permute the labels by the order that only the features are permuted by (or the other way round)."""
    for source in accused.sources:
        for drawn in source.nodes(cst.Assign):
            order = source.code(drawn.targets[0].target)
            call = drawn.value
            if not isinstance(call, cst.Call) or not re.search(r"(permutation|randperm)$", source.code(call.func)):
                continue
            scope = source.scope(drawn)
            uses = [s for s in source.nodes(cst.Subscript, scope) if source.code(s).endswith(f"[{order}]")]
            indexed = {source.code(s.value) for s in uses}
            partner = _partner(source, next(iter(indexed)), scope) if len(indexed) == 1 else None
            if partner is None:
                continue
            edits, statement = Edits(source), source.statement(uses[0])
            if {source.code(t) for t in targets(source, uses[0])} == indexed:
                edits.after(statement, f"{partner} = {partner}[{order}]")
            else:
                for node in [*source.nodes(cst.Attribute, scope), *source.nodes(cst.Name, scope)]:
                    if source.code(node) == partner and source.line(node) > source.line(drawn):
                        edits.replace(node, f"{partner}[{order}]")
            patch = accused.patch(f"permute {partner} by the same order", edits)
            if patch is not None:
                return patch
    return None


def class_weight_wrong(accused: Accused) -> Patch | None:
    """Weigh the classes by how rare they are; where they are about equally many, let every one count alike."""
    counts = Case(accused.run).class_counts(grad=True)
    skewed = counts is not None and len(counts) > 1 and min(counts) > 0 and max(counts) > SKEWED * min(counts)
    names = ("CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss", "BCEWithLogitsLoss", "BCELoss",
             "binary_cross_entropy_with_logits", "binary_cross_entropy")  # fmt: skip
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls(*names):
            given = keyword(call, "weight")
            if skewed and counts is not None and given is not None and "import torch" in source.text:
                weights = [float(f"{sum(counts) / (len(counts) * c):.3g}") for c in counts]
                edits.replace(given.value, f"torch.tensor({weights})")
                continue
            kept = [a for a in call.args if a.keyword is None or a.keyword.value not in {"weight", "pos_weight"}]
            if source.code(call.func).endswith("CrossEntropyLoss") and kept and kept[0].keyword is None:
                kept = kept[1:]
            if len(kept) != len(call.args):
                inside = ", ".join(source.code(a).rstrip(", ") for a in kept)
                edits.replace(call, f"{source.code(call.func)}({inside})")
        what = "weigh each class by how rare it is" if skewed else "let every class count alike in the loss"
        patch = accused.patch(what, edits)
        if patch is not None:
            return patch
    return None


def mask_inverted(accused: Accused) -> Patch | None:
    """Hide what was shown and show what was hidden."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.nodes(cst.Call):
            for name in ("key_padding_mask", "src_key_padding_mask", "memory_key_padding_mask"):
                given = keyword(call, name)
                if given is not None and source.code(given.value) != "None":
                    edits.replace(given.value, _inverted(source, given.value))
        if edits.result() is None:
            for call in accused.suspects(source.calls("masked_fill", "masked_fill_"), source)[:1]:
                if positional(call):
                    edits.replace(positional(call)[0].value, _inverted(source, positional(call)[0].value))
        patch = accused.patch("invert the mask: True hides a position", edits)
        if patch is not None:
            return patch
    return None


def batch_mixing(accused: Accused) -> Patch | None:
    """Normalize each sample by itself instead of over the batch."""
    for source in accused.sources:
        edits = Edits(source)
        for call in source.calls("softmax", "log_softmax", "normalize", "Softmax", "LogSoftmax"):
            given = keyword(call, "dim")
            module = source.code(call.func).endswith(("Softmax", "LogSoftmax"))
            on = receiver(call)
            place = 0 if module or (on is not None and source.code(on) not in {"torch", "F", "nn.functional"}) else 1
            value = given.value if given is not None else next((a.value for a in positional(call)[place:]), None)
            if value is not None and number(value) == 0:
                edits.replace(value, "-1")
        patch = accused.patch("normalize each sample by itself, not over the batch", edits)
        if patch is not None:
            return patch
    return None


def term_dominates(accused: Accused) -> Patch | None:
    """Weigh the dominating term a hundredth of what it was."""
    return _lighter(accused, LIGHTER)


def term_dominates_by_far(accused: Accused) -> Patch | None:
    """The same by a further order of magnitude: where the first guess still dominates."""
    return _lighter(accused, 10 * LIGHTER)


def term_dominates_by_most(accused: Accused) -> Patch | None:
    """The same by as much again: sums over all weights are larger than means over samples by thousands."""
    return _lighter(accused, 1000 * LIGHTER)


def _lighter(accused: Accused, times: int) -> Patch | None:
    for source in accused.sources:
        roots = {source.code(r) for c in source.calls("backward") if (r := receiver(c)) is not None}
        heavy = []
        for node in source.nodes(cst.BinaryOperation):
            if not isinstance(node.operator, cst.Multiply):
                continue
            for side in (node.left, node.right):
                value = _value(source, side)
                names = {source.code(t) for t in targets(source, node)}
                function = source.function(node)
                inside = function is not None and re.search(r"loss|objective|criterion", function.name.value)
                summed = inside or names & roots or any("loss" in n for n in names)
                here = source.line(node) in accused.lines(source) and value is not None and value > 0
                if summed and value is not None and (value >= HEAVY or here):
                    heavy.append((value, side))
        if heavy:
            value, side = max(heavy, key=lambda item: item[0])
            edits = Edits(source)
            edits.replace(side, f"({source.code(side)} / {times})" if number(side) is None else f"{value / times:g}")
            return accused.patch(f"weigh the dominating term 1/{times} of what it was", edits, "config")
    return None


def underfit_stopped_early(accused: Accused) -> Patch | None:
    """Train longer."""
    for source in accused.sources:
        for loop in source.nodes(cst.For):
            ranged = isinstance(loop.iter, cst.Call) and source.code(loop.iter.func) == "range"
            if not ranged or not source.calls("backward", "step", within=loop) or not isinstance(loop.iter, cst.Call):
                continue
            last = loop.iter.args[min(1, len(loop.iter.args) - 1)].value
            if (count := number(last)) is not None:
                edits = Edits(source)
                edits.replace(last, f"{int(count * LONGER)}")
                return accused.patch(f"train {LONGER} times as long", edits, "config")
        found: list[cst.BaseExpression] = [a.value for a in source.nodes(cst.Assign)
                                           if EPOCHS.match(source.code(a.targets[0].target))]  # fmt: skip
        found += [a.value for c in source.nodes(cst.Call) for a in c.args
                  if a.keyword is not None and EPOCHS.match(a.keyword.value)]  # fmt: skip
        found += [p.default for p in source.nodes(cst.Param) if p.default is not None and EPOCHS.match(p.name.value)]
        counts = [(n, v) for v in found if (n := number(v)) is not None]
        if counts:
            edits = Edits(source)
            edits.replace(counts[0][1], f"{int(counts[0][0] * LONGER)}")
            return accused.patch(f"train {LONGER} times as long", edits, "config")
    return None


def initialized_after_loading(accused: Accused) -> Patch | None:
    """Initialize first, then load."""
    for source in accused.sources:
        for load in source.calls("load_state_dict"):
            statement, on = source.statement(load), receiver(load)
            if on is None or not isinstance(statement, cst.SimpleStatementLine):
                continue
            name = source.code(on)
            later = [c for c in source.nodes(cst.Call, source.scope(load)) if source.line(c) > source.line(load)]
            again = [c for c in later if source.code(c.func) in {f"{name}.apply", f"{name}.reset_parameters",
                                                                 f"{name}.init_weights"}]  # fmt: skip
            again += [c for c in later if re.search(r"init|reset", source.code(c.func)) and len(positional(c)) == 1
                      and source.code(positional(c)[0].value) == name]  # fmt: skip
            moved = source.statement(again[0]) if again else None
            around: Statement | None = statement  # the load may stand in an `if`, and what undoes it behind that
            while around is not None and moved not in source.block(around):
                outer = source.enclosing(around, (cst.BaseCompoundStatement,))
                inside = isinstance(outer, cst.BaseCompoundStatement) and not isinstance(outer, cst.FunctionDef)
                around = outer if inside and isinstance(outer, cst.BaseCompoundStatement) else None
            if isinstance(moved, cst.SimpleStatementLine) and around is not None:
                edits = Edits(source)
                edits.before(around, *edits.lines(moved))
                edits.remove(moved)
                return accused.patch("initialize the weights before they are loaded, not after", edits)
    return None


def duplicate_randomness(accused: Accused) -> Patch | None:
    """Give every worker random numbers of its own."""
    for source in accused.sources:
        own = [source.code(a.targets[0].target).removeprefix("self.") for a in source.nodes(cst.Assign)
               if re.match(r"np\.random\.(default_rng|RandomState)\(", source.code(a.value))
               and source.code(a.targets[0].target).startswith("self.")]  # fmt: skip
        edits, seed = Edits(source), "torch.initial_seed() % 2**32"
        for call in source.calls("DataLoader"):
            workers = keyword(call, "num_workers")
            if workers is None or number(workers.value) == 0 or keyword(call, "worker_init_fn") is not None:
                continue
            renew = f"np.random.seed({seed})"
            if own:
                renew = (
                    f'setattr(torch.utils.data.get_worker_info().dataset, "{own[0]}", np.random.default_rng({seed}))'
                )
            _, end = source.span(call.args[-1].value)
            edits.cut(end, end, f", worker_init_fn=lambda worker: {renew}")
        patch = accused.patch("seed the random numbers of each worker by itself", edits)
        if patch is not None and re.search(r"^import numpy as np$", source.text, re.MULTILINE):
            return patch
    return None


def _partner(source: Source, array: str, scope: cst.CSTNode) -> str | None:
    """What belongs to an array: `d.target` to `d.data`, `y` to the `x` that it was unpacked with."""
    base, dot, _ = array.rpartition(".")
    if dot:
        near = {source.code(a) for a in source.nodes(cst.Attribute, scope)} - {array}
        found = [n for n in sorted(near) if re.fullmatch(rf"{re.escape(base)}\.(targets?|labels?|y|data|images|x)", n)]
        return found[0] if len(found) == 1 else None
    for assign in source.nodes(cst.Assign, scope):
        target = assign.targets[0].target
        names = [source.code(e.value) for e in target.elements] if isinstance(target, cst.Tuple) else []
        if len(names) == 2 and array in names:
            return names[1 - names.index(array)]
    return None


def _names(source: Source, call: cst.Call) -> list[str]:
    found = targets(source, call)
    if len(found) != 1 or not isinstance(found[0], cst.Tuple):
        return []
    return [source.code(e.value) for e in found[0].elements]


def _inverted(source: Source, node: cst.BaseExpression) -> str:
    """The opposite of a mask, written as the program would."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.BitInvert):
        return source.code(node.expression)
    if isinstance(node, cst.Comparison) and len(node.comparisons) == 1:
        left, right = source.code(node.left), source.code(node.comparisons[0].comparator)
        swaps = {"Equal": "!=", "NotEqual": "==", "LessThan": ">=", "GreaterThan": "<=", "LessThanEqual": ">",
                 "GreaterThanEqual": "<"}  # fmt: skip
        sign = swaps.get(type(node.comparisons[0].operator).__name__)
        if sign is not None:
            return f"{left} {sign} {right}"
    return f"~{source.atom(node)}"


def _value(source: Source, node: cst.BaseExpression) -> float | None:
    """A number, or the number that a name is set to in the same file."""
    direct = number(node)
    if direct is not None or not isinstance(node, (cst.Name, cst.Attribute)):
        return direct
    name = source.code(node).rpartition(".")[2]
    set_to = [number(a.value) for a in source.nodes(cst.Assign) if source.code(a.targets[0].target) == name]
    set_to += [number(a.value) for a in source.nodes(cst.AnnAssign)
               if a.value is not None and source.code(a.target) == name]  # fmt: skip
    set_to += [number(p.default) for p in source.nodes(cst.Param) if p.default is not None and p.name.value == name]
    known = [v for v in set_to if v is not None]
    return known[0] if len(known) == 1 else None
