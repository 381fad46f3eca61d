"""Checks on what a language model wrote: its citations exist, its numbers are measured, its causes are on the list.

The number check is lexical: a measured number with a wrong meaning passes. That is why numbers have to come from the
evidence that is *cited*, not from anywhere in the ledger.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from aitia.engine.records import CausalHypothesis, Evidence

CITATION = re.compile(r"\[\s*(E\d+(?:\s*[,;]\s*E\d+)*)\s*\]|\b(E\d+)\b")
HANDLE = re.compile(r"\bH\d+\b")
ADDRESS = re.compile(r"(?:https?|ftp|file)://[^\s)>\]]+|\bwww\.[^\s)>\]]+", re.IGNORECASE)
QUOTE = re.compile(r"`([^`]+)`")
CAUSE = re.compile(r"(?<![\w.])[a-z]+\.[a-z]+(?:_[a-z]+)+\b(?!\.\w)")
CODE = re.compile(r"`[^`]*`|[\w.]+(?:\(|\[)")
"""Quoted text, and what is called or indexed."""
ENUMERATED = re.compile(r"(?:^|(?<=[\s;:,]))\d{1,2}\)(?=\s)|^\s*\d{1,2}\.(?=\s)", re.MULTILINE)
"""Numbers that count the items of a list."""
CALLED = frozenset({
    "optimizer.zero_grad", "optimizer.param_groups", "optimizer.load_state_dict", "optimizer.state_dict",
    "model.state_dict", "model.load_state_dict", "model.named_parameters", "model.zero_grad", "scheduler.get_last_lr",
    "scheduler.state_dict", "loss.requires_grad", "data.random_split", "model.requires_grad", "data.data_ptr",
})  # fmt: skip
"""Attributes that are spelled like ids of causes, and are what a repair is made of."""
NUMBER = re.compile(r"(?<![A-Za-z0-9_.])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?(?<=[\d])(\s?%)?")
PART = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)*\.(?:weight|bias|\d+)(?:\.\w+)*(?![\w(])")
"""Names of parameters and numbered layers, as `named_modules` spells them."""
COUNTING = frozenset({0.0, 1.0, 2.0})
"""Numbers that are words ("one of two layers") rather than measurements."""
WHOLE = frozenset({0.0, 100.0})
"""Percentages that are words."""


@dataclass(frozen=True)
class Number:
    """A number as it was written."""

    text: str
    value: float
    digits: int
    """Significant digits."""
    percent: bool


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a text; digits inside of names (`fc1`, `layers.0`) are none."""
    for match in NUMBER.finditer(text):
        raw = match.group(0)
        bare = raw.replace(",", "").replace("%", "").strip()
        mantissa = re.split("[eE]", bare)[0]
        digits = mantissa.replace(".", "").lstrip("0")
        significant = len(digits if "." in mantissa else digits.rstrip("0")) or 1
        try:
            yield Number(raw.strip(), float(bare), significant, match.group(1) is not None)
        except ValueError:
            continue


def violations(
    text: str,
    cited: Collection[str],
    evidence: Sequence[Evidence],
    hypotheses: Sequence[CausalHypothesis] = (),
    script: str = "",
    *,
    names: Collection[str] = (),
) -> list[str]:
    """What is wrong with a text, in words that the model can act on; empty when all of it is grounded.

    `names` are those of the run's layers and parameters; without them names are not checked.
    """
    known = {e.id for e in evidence}
    inline = {i for match in CITATION.finditer(text) for i in re.findall(r"E\d+", match.group(0))}
    used = inline | set(cited)
    problems = [f"cites {i}, which no tool measured" for i in sorted(used - known)]
    if not used:
        problems.append("cites no evidence")
    causes = {h.cause for h in hypotheses}
    told = " ".join(part for h in hypotheses for part in (h.explanation, *h.mistaken_for))
    named = sorted({c for c in CAUSE.findall(text) if _is_cause(c, text) and c not in script + told} - causes)
    problems += [f"names the cause {c}, which is not on the list" for c in named if causes]
    given = script + "\n" + "\n".join(e.statement for e in evidence)
    addresses = [a for a in ADDRESS.findall(text) if a not in given]
    problems += [f"contains the address {a}, which is not in the evidence" for a in addresses]
    parts = sorted(set(PART.findall(text))) if names else []
    problems += [f"names {p}, which is no part of this model" for p in parts if not _exists(p, names, given)]
    quotes = [q for q in QUOTE.findall(text) if any(ch.isdigit() for ch in q)]
    verbatim = [q for q in quotes if q in given]
    plain = ENUMERATED.sub(" ", HANDLE.sub(" ", CITATION.sub(" ", text)))
    for quote in verbatim:
        plain = plain.replace(f"`{quote}`", " ")
    for name in sorted(_names(hypotheses), key=len, reverse=True):
        plain = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", " ", plain)
    pool = list(_measured(e for e in evidence if e.id in used))
    places = {float(h.onset_step) for h in hypotheses if h.onset_step is not None}
    places |= {float(line) for h in hypotheses if h.location for line in h.location.lines}
    unknown = [n for n in numbers(plain) if (n.percent or n.value not in places) and not _supported(n, pool)]
    problems += [f"the number {n.text} is not in the cited evidence" for n in unknown]
    return problems


def _supported(number: Number, pool: Iterable[float]) -> bool:
    if not number.percent and number.value in COUNTING:
        return True
    if number.percent and number.value in WHOLE:
        return True
    scales = (1.0, 100.0) if number.percent else (1.0, 0.01, 100.0)
    return any(_rounds_to(abs(v) * s, number) for v in pool for s in scales)


def _rounds_to(value: float, number: Number) -> bool:
    """Whether `value` written with as many digits as `number` gives that number."""
    if value == number.value:
        return True
    if not math.isfinite(value) or value == 0 or number.value == 0:
        return False
    unit = 10.0 ** (math.floor(math.log10(value)) - number.digits + 1)
    return abs(value - number.value) <= 0.5 * unit * (1 + 1e-9)


def _measured(evidence: Iterable[Evidence]) -> Iterator[float]:
    for item in evidence:
        yield from (n.value for n in numbers(item.statement))
        for value in item.values.values():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield float(value)
            elif isinstance(value, str):
                yield from (n.value for n in numbers(value))


def _exists(part: str, names: Collection[str], given: str) -> bool:
    """Whether a layer or parameter is there, with or without the name of the model before it."""
    ends = (part, part.partition(".")[2] or part)
    return part in given or any(n == e or n.startswith(f"{e}.") for n in names for e in ends)


def _names(hypotheses: Sequence[CausalHypothesis]) -> set[str]:
    return {h.component for h in hypotheses if h.component}


def _is_cause(word: str, text: str) -> bool:
    """Whether a word is an id of the catalogue, or spelled like one where no code stands."""
    from aitia.engine.causes.custom import catalogue

    known = catalogue()
    if word in known:
        return True
    groups = {c.partition(".")[0] for c in known}
    return word not in CALLED and word.partition(".")[0] in groups and word in CODE.sub(" ", text)
