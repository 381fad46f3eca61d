"""Repairs of targets that are masked out: samples cut later, templates that are found, masks the right way round."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver
from aitia.agent.repairs.source import argument, number

LONGER = 4
"""Times as long as samples were cut; a model that reads sequences takes what there is."""
CHOSEN = 0.15
"""Share of tokens that masked language models are asked for (BERT, section 3.1)."""
RARE = 0.1
"""Shares below leave most short sequences without any target."""
SHARE = re.compile(
    r"(?i)(mask|mlm|corrupt|drop|target|select|keep)\w*(prob|rate|ratio|share|frac|p$)|^p_?mask|prob_?mask"
)
LIMIT = re.compile(
    r"(?i)^(max_?(seq(uence)?_?|input_?|token_?|source_?)?(len|length|tokens|size)?|block_size|context(_length|_size|_len)?"
    r"|seq_?len(gth)?|cutoff(_len)?|truncate(_at|_to)?|trunc(ation)?(_len|_length)?|limit|window)$"
)
IGNORED = -100
ALIKE = 0.6
"""Two markers that agree in so much of their text are the same one, spelled in two ways."""


def targets_mostly_masked(accused: Accused) -> list[Patch]:
    """Cut later, choose more positions, look for the marker as it is written, keep the end, turn the mask round."""
    found: list[Patch] = []
    for source in accused.sources:
        for finder, summary in ((_longer, f"keep samples {LONGER} times as long"),
                                (_more, f"choose {CHOSEN:.0%} of the positions as targets"),
                                (_marker, "look for the marker as the samples have it"),
                                (_end, "cut samples at their beginning: their end holds the targets")):  # fmt: skip
            found += [p for e in finder(accused, source) if (p := accused.patch(summary, e)) is not None]
    for source in accused.sources if not found else ():  # where there is another reason, the mask is meant as it is
        found += [p for e in _turned(source) if (p := accused.patch("ignore what is no target", e)) is not None]
    return found


def _numbers(source: Source, name: re.Pattern[str]) -> Iterator[cst.BaseExpression]:
    """Literals that are given to a name: assigned, as a default, as an argument, in a dict, for a command line."""
    for assign in source.nodes(cst.Assign):
        if name.search(last_name(assign.targets[0].target)):
            yield assign.value
    for annotated in source.nodes(cst.AnnAssign):
        if annotated.value is not None and name.search(last_name(annotated.target)):
            yield annotated.value
    yield from (p.default for p in source.nodes(cst.Param) if p.default is not None and name.search(p.name.value))
    for call in source.nodes(cst.Call):
        yield from (a.value for a in call.args if a.keyword is not None and name.search(a.keyword.value))
        options = [source.code(a.value).strip("'\"").lstrip("-").replace("-", "_") for a in positional(call)[:2]]
        default = argument(call, 9, "default")
        if last_name(call.func) == "add_argument" and default is not None and any(name.search(o) for o in options):
            yield default
    for entry in source.nodes(cst.DictElement):
        if name.search(source.code(entry.key).strip("'\"")):
            yield entry.value


def _longer(accused: Accused, source: Source) -> Iterator[Edits]:
    values = [v for v in _numbers(source, LIMIT) if (n := number(v)) is not None and n > 1]
    for node in source.nodes(cst.Subscript):
        cut = node.slice[0].slice if node.slice else None
        here = source.line(node) in accused.lines(source)
        if (
            here
            and isinstance(cut, cst.Slice)
            and cut.lower is None
            and cut.upper is not None
            and (number(cut.upper) or 0) > 1
        ):
            values.append(cut.upper)
    values.sort(key=lambda v: source.line(v) not in accused.lines(source))
    for value in values[:1]:
        edits = Edits(source)
        for same in [v for v in values if number(v) == number(value)]:
            edits.replace(same, f"{LONGER * (number(same) or 0):.0f}")
        yield edits


def _more(accused: Accused, source: Source) -> Iterator[Edits]:
    for value in _numbers(source, SHARE):
        share = number(value)
        if share is not None and 0 < share < RARE:
            edits = Edits(source)
            edits.replace(value, str(CHOSEN))
            yield edits
    for comparison in source.nodes(cst.Comparison):
        drawn = source.calls("rand", "random", "rand_like", "random_sample", within=comparison.left)
        bound = comparison.comparisons[0].comparator
        if drawn and 0 < (number(bound) or 0) < RARE:
            edits = Edits(source)
            edits.replace(bound, str(CHOSEN))
            yield edits


def _marker(accused: Accused, source: Source) -> Iterator[Edits]:
    """A string that is looked for and stands in no sample, where one that is almost the same does."""
    strings = [s for s in source.nodes(cst.SimpleString) if len(source.code(s)) > 4]
    parts = [p.value for p in source.nodes(cst.FormattedStringText)]
    written = [source.code(s).strip("'\"") for s in strings] + parts
    for string in strings:
        text = source.code(string).strip("'\"")
        core = text.strip().replace("\\n", "")
        others = [w for w in written if w != text]
        if not core or any(core in o for o in others) or not _looked_for(source, string):
            continue
        pieces = {p for o in others for p in re.findall(r"[#<\[]*[ ]?[\w ]+[>\]:]+", o) if p.strip()}
        best = max(pieces, key=lambda p: difflib.SequenceMatcher(None, p, core).ratio(), default="")
        if best and best != core and difflib.SequenceMatcher(None, best, core).ratio() > ALIKE:
            edits = Edits(source)
            edits.replace(string, source.code(string).replace(core, best.strip()))
            yield edits


def _looked_for(source: Source, string: cst.SimpleString) -> bool:
    names = {"find", "index", "split", "partition", "rfind", "rindex", "search", "startswith", "encode", "tokenize"}
    around = source.enclosing(string, (cst.Call,))
    if isinstance(around, cst.Call) and last_name(around.func) in names:
        return True
    statement = source.statement(string)
    return bool(
        re.match(
            r"(?i)\s*(\w*\.)?\w*(template|marker|sep|prefix|response|answer|tag|token)\w*\s*[=:]",
            source.code(statement),
        )
    )


def _end(accused: Accused, source: Source) -> Iterator[Edits]:
    """`ids[:n]` and `labels[:n]` become `ids[-n:]` and `labels[-n:]`."""
    for function in [*source.nodes(cst.FunctionDef), source.module]:
        edits, cuts = Edits(source), list[str]()
        for node in source.nodes(cst.Subscript, function):
            cut = node.slice[0].slice if len(node.slice) == 1 else None
            if source.scope(node) is not function or not isinstance(cut, cst.Slice) or cut.lower is not None:
                continue
            upper = cut.upper
            limit = isinstance(upper, (cst.Name, cst.Attribute)) and LIMIT.search(last_name(upper))
            if upper is not None and limit:
                edits.replace(node, f"{source.code(node.value)}[-{source.code(upper)} :]")
                cuts.append(source.code(upper))
        if len(cuts) > 1 and len(set(cuts)) == 1:
            yield edits


def _turned(source: Source) -> Iterator[Edits]:
    """What is set to the ignored value becomes what was kept, and the other way round."""
    for assign in source.nodes(cst.Assign):
        target = assign.targets[0].target
        index = target.slice[0].slice if isinstance(target, cst.Subscript) and len(target.slice) == 1 else None
        if number(assign.value) == IGNORED and isinstance(index, cst.Index):
            yield _opposite(source, index.value)
    for call in source.calls("where"):
        one, other = argument(call, 1, "input"), argument(call, 2, "other")
        if one is not None and other is not None and IGNORED in {number(one), number(other)}:
            edits = Edits(source)
            edits.replace(one, source.code(other))
            edits.replace(other, source.code(one))
            yield edits
    for call in source.calls("masked_fill", "masked_fill_"):
        mask = argument(call, 0, "mask")
        if mask is not None and receiver(call) is not None and number(argument(call, 1, "value") or mask) == IGNORED:
            yield _opposite(source, mask)


def _opposite(source: Source, mask: cst.BaseExpression) -> Edits:
    edits = Edits(source)
    if isinstance(mask, cst.UnaryOperation) and isinstance(mask.operator, cst.BitInvert):
        edits.replace(mask, source.code(mask.expression))
    else:
        edits.replace(mask, f"~{source.atom(mask)}")
    return edits
