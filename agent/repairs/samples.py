"""Repairs of which samples are trained on, how often, and what is done to them before they reach the model."""

from __future__ import annotations

import re
from itertools import pairwise

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, positional, targets
from aitia.agent.repairs.source import LOOPS, Statement
from aitia.engine.case import Case

HELD_OUT = re.compile(r"(valid(ation)?|val|test|eval|held_?out|dev)", re.IGNORECASE)
DESTROYING = re.compile(
    r"permut|shuffle|flip|rot90|rotate|transpose|swapaxes|\.T\b|noise|normal\(|randn|invert|erase|crop"
)
"""What may change the meaning of a sample; shifts by a pixel do not."""
DECIDES = re.compile(r"argmax|\.max\(|topk|\.round\(|[<>]=? *(0|0?\.\d+|threshold)\b|recall|f1_score|confusion")
"""How a program makes a decision out of its outputs."""
STATISTICS = ("mean", "std", "min", "max", "amin", "amax")


def class_imbalance(accused: Accused) -> Patch | None:
    """Weigh every class by how rare it is among the targets that were seen."""
    if not any(DECIDES.search(s.text) for s in accused.sources):
        return None  # probabilities are what it is after, and weights would spoil them
    counts = Case(accused.run).class_counts(grad=True)
    if counts is None or len(counts) < 2 or min(counts) <= 0:
        return None
    weights = [float(f"{sum(counts) / (len(counts) * c):.3g}") for c in counts]
    for source in accused.sources:
        made = source.calls("CrossEntropyLoss", "NLLLoss") or source.calls("cross_entropy", "nll_loss")
        binary = source.calls("BCEWithLogitsLoss") or source.calls("binary_cross_entropy_with_logits")
        edits = Edits(source)
        for call in [c for c in made if keyword(c, "weight") is None]:
            _append(source, edits, call, f"weight=torch.tensor({weights})")
        for call in [c for c in binary if keyword(c, "pos_weight") is None] if len(counts) == 2 else ():
            _append(source, edits, call, f"pos_weight=torch.tensor({float(f'{counts[0] / counts[1]:.3g}')})")
        patch = accused.patch("weigh each class by how rare it is", edits) if "import torch" in source.text else None
        if patch is not None:
            return patch
    return None


def test_leakage(accused: Accused) -> Patch | None:
    """Split first, then repeat, balance or augment the training part alone; split once."""
    for source in accused.sources:
        for call in source.calls("train_test_split"):
            statement, names = source.statement(call), _unpacked(source, call)
            block = source.block(statement)
            arrays = [source.code(a.value) for a in positional(call)]
            if statement not in block or len(names) != 2 * len(arrays):
                continue
            for earlier in reversed(block[: block.index(statement)]):
                made = _reworked(source, earlier, arrays)
                if made is None:
                    continue
                edits, text = Edits(source), "\n".join(edits_lines(source, earlier))
                for array, name in zip(arrays, names[::2], strict=True):
                    text = re.sub(rf"\b{re.escape(array)}\b", name, text)
                edits.remove(earlier)
                edits.after(statement, *text.split("\n"))
                return accused.patch("split first, then change the training part alone", edits)
    return _one_order(accused)


def bad_augmentation(accused: Accused) -> Patch | None:
    """Leave out the change of the samples that their labels do not survive."""
    for source in accused.sources:
        found: list[Statement] = []
        for function in source.nodes(cst.FunctionDef):
            name = function.name.value
            if name not in {"__getitem__", "__call__", "collate"} and not re.search(r"augment|transform|jitter", name):
                continue
            for line in source.nodes(cst.SimpleStatementLine, function.body):
                small = line.body[0]
                if (
                    isinstance(small, cst.Assign)
                    and _of_itself(source, small)
                    and DESTROYING.search(source.code(small))
                ):
                    found.append(line)
        edits = Edits(source)
        for statement in found[:1]:
            edits.remove(statement)
        patch = accused.patch("leave out the augmentation that destroys what the labels speak of", edits)
        if patch is not None:
            return patch
    return None


def no_augmentation(accused: Accused) -> Patch | None:
    """Train on the samples as they are."""
    for source in accused.sources:
        for function in source.nodes(cst.FunctionDef):
            for test in [i for i in source.nodes(cst.If, function.body) if i.orelse is None]:
                if re.search(r"augment|train|transform", source.code(test.test)):
                    edits = Edits(source)
                    edits.replace(test.test, "False")
                    return accused.patch("train on the samples as they are, without augmentation", edits)
        edits = Edits(source)
        for call in source.nodes(cst.Call):
            given = keyword(call, "augment") or keyword(call, "transform")
            if given is not None and source.code(given.value) not in {"None", "False"}:
                edits.replace(given.value, "False" if source.code(given.value) == "True" else "None")
                return accused.patch("train on the samples as they are, without augmentation", edits)
    return None


def preprocessing_mismatch(accused: Accused) -> Patch | None:
    """Prepare what is evaluated with what training data are prepared with."""
    for source in accused.sources:
        patch = _refitted(accused, source) or _same_expression(accused, source)
        if patch is not None:
            return patch
    return None


def rebuilt_every_step(accused: Accused) -> Patch | None:
    """Build the loader once, before the loop."""
    for source in accused.sources:
        for call in accused.suspects(source.calls("DataLoader"), source):
            loop, statement = source.loop(call), source.statement(call)
            if not isinstance(loop, LOOPS) or not isinstance(statement, cst.SimpleStatementLine):
                continue
            names = [source.code(t) for t in targets(source, call)]
            if len(names) != 1 or not isinstance(statement.body[0], cst.Assign):
                continue
            edits = Edits(source)
            edits.before(loop, *edits.lines(statement))
            edits.remove(statement)
            inner = [
                c for c in source.calls("iter", within=loop.body)
                if positional(c) and source.code(c.args[0].value) == names[0]
            ]  # fmt: skip
            if inner:
                edits.before(
                    loop, f"batches = (batch for _ in iter(int, 1) for batch in {names[0]})  # pass after pass"
                )
                edits.replace(inner[0], "batches")
            return accused.patch("build the loader once, before the loop", edits)
    return None


def eos_masked_as_pad(accused: Accused) -> Patch | None:
    """Give padding an id of its own."""
    for source in accused.sources:
        for assign in source.nodes(cst.Assign):
            name, value = source.code(assign.targets[0].target), source.code(assign.value)
            if re.fullmatch(r"(?i)(\w+\.)?pad(ding)?(_?(id|idx|index|token))?(_id)?", name) and re.fullmatch(
                r"(?i)(\w+\.)?(eos|end|stop)(_?(id|idx|index|token))?(_id)?", value
            ):
                edits = Edits(source)
                edits.replace(assign.value, f"{value} + 1")
                return accused.patch("give padding an id of its own", edits)
    return None


def _append(source: Source, edits: Edits, call: cst.Call, argument: str) -> None:
    if call.args:
        _, end = source.span(call.args[-1].value)
        edits.cut(end, end, f", {argument}")
    else:
        edits.replace(call, f"{source.code(call.func)}({argument})")


def _unpacked(source: Source, call: cst.Call) -> list[str]:
    found = targets(source, call)
    tuples = len(found) == 1 and isinstance(found[0], cst.Tuple)
    return [source.code(e.value) for e in found[0].elements] if tuples and isinstance(found[0], cst.Tuple) else []


def edits_lines(source: Source, statement: Statement) -> list[str]:
    """A statement's lines without its indentation."""
    return Edits(source).lines(statement)


def _reworked(source: Source, statement: Statement, arrays: list[str]) -> cst.Assign | None:
    """`x, y = repeated(x, y, …)`: a statement that makes the arrays out of themselves, and longer ones."""
    small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    if not isinstance(small, cst.Assign):
        return None
    target = small.targets[0].target
    names = [source.code(e.value) for e in target.elements] if isinstance(target, cst.Tuple) else [source.code(target)]
    used = {source.code(n) for n in source.nodes(cst.Name, small.value)}
    grows = isinstance(small.value, cst.Call) or re.search(r"repeat|concat|tile|vstack|cat\(", source.code(small.value))
    plain = re.search(r"astype|standard|scale|tensor|float", source.code(small.value))
    return small if names == arrays and set(arrays) <= used and grows and not plain else None


def _one_order(accused: Accused) -> Patch | None:
    """Training and evaluation samples are cut from two different orders: cut both from one."""
    for source in accused.sources:
        drawn = [a for a in source.nodes(cst.Assign) if re.search(r"(permutation|randperm)\(", source.code(a.value))]
        for first, second in pairwise(drawn):
            if source.scope(first) is not source.scope(second) or source.loop(first) is not source.loop(second):
                continue
            same = source.code(first.value) == source.code(second.value)
            one, other = (source.code(a.targets[0].target) for a in (first, second))
            if same and one != other and source.loop(second) is None:
                edits = Edits(source)
                edits.replace(second.value, one)
                return accused.patch("cut training and evaluation samples from one order", edits)
    return None


def _of_itself(source: Source, assign: cst.Assign) -> bool:
    name = source.code(assign.targets[0].target)
    return any(n.value == name for n in source.nodes(cst.Name, assign.value))


def _refitted(accused: Accused, source: Source) -> Patch | None:
    """A scaler that is fitted again on what is evaluated only transforms it."""
    fitted = source.calls("fit_transform")
    training = [c for c in fitted if "train" in source.code(source.statement(c))]
    again = [c for c in fitted if c not in training and HELD_OUT.search(source.code(source.statement(c)))]
    if len(training) != 1 or len(again) != 1:
        return None
    scaler, own = (c.func.value if isinstance(c.func, cst.Attribute) else None for c in (training[0], again[0]))
    if scaler is None or own is None:
        return None
    edits, name = Edits(source), source.code(scaler)
    if isinstance(scaler, cst.Call):
        edits.before(source.statement(training[0]), f"scaler = {name}")
        edits.replace(scaler, "scaler")
        name = "scaler"
    edits.replace(again[0].func, f"{name}.transform")
    return accused.patch("transform what is evaluated with the scaler of the training part", edits)


def _same_expression(accused: Accused, source: Source) -> Patch | None:
    """Arithmetic on one variable in a function of the evaluation becomes that of the training."""
    functions = list(source.nodes(cst.FunctionDef))
    ours, theirs = list[tuple[str, cst.BinaryOperation]](), list[tuple[str, cst.BinaryOperation]]()
    for operation in source.nodes(cst.BinaryOperation):
        around = source.parent(operation)
        if isinstance(around, cst.BinaryOperation) or not isinstance(
            operation.operator, (cst.Divide, cst.Subtract, cst.Multiply)
        ):
            continue
        variable = next((n.value for n in source.nodes(cst.Name, operation) if n.value.islower()), None)
        function = source.function(operation)
        if variable is None or function is None:
            continue
        evaluates = source.line(operation) in accused.lines(source) or HELD_OUT.search(function.name.value)
        (ours if evaluates else theirs).append((variable, operation))
    for variable, operation in ours:
        known = {source.code(o) for v, o in theirs if v == variable and o.operator.__class__ is cst.Divide}
        if len(known) == 1 and len(functions) > 1 and source.code(operation) not in known:
            edits = Edits(source)
            edits.replace(operation, known.pop())
            return accused.patch("prepare what is evaluated as the training data are prepared", edits)
    return None
