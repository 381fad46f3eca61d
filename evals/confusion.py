"""Confusion within the look-alike families, and what would tell two confused causes apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from aitia.engine.causes import CAUSES
from aitia.evals.score import FAMILIES, Case, hit

VERDICTS = frozenset({"healthy", "unknown", "error"})
"""Answers that name no cause."""


def confusion(cases: Sequence[Case], answerer: str) -> dict[str, dict[str, Any]]:
    """Per family: `n`, `right`, the `matrix` {true cause: {first answer: count}} and what was `confused`.

    A right answer counts under the true cause itself, also where it uses another id that is right.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, members in FAMILIES.items():
        matrix: dict[str, Counter[str]] = {}
        for case in cases:
            truth = next((c for c in case.truth.all_causes if c in members), None)
            if case.variant != "faulty" or truth is None:
                continue
            reply = case.replies[answerer]
            row = matrix.setdefault(truth, Counter())
            row[truth if hit(case, reply, 1) else reply.first] += 1
        if matrix:
            n, right = sum(r.total() for r in matrix.values()), sum(r[t] for t, r in matrix.items())
            wrong = [(t, a, k) for t, row in sorted(matrix.items()) for a, k in row.most_common() if a != t]
            found[name] = {
                "n": n,
                "right": right,
                "matrix": {t: dict(row.most_common()) for t, row in sorted(matrix.items())},
                "confused": [{"true": t, "said": a, "n": k, "separated_by": separation(t, a)} for t, a, k in wrong],
            }
    return found


def separation(true: str, said: str) -> str | None:
    """The measurement that separates the two, in the words of the causes themselves; None where none is known."""
    if said in VERDICTS:
        cause = CAUSES.get(true)
        return (cause.next_measurement or None) if cause is not None else None
    for one, other in ((true, said), (said, true)):
        cause = CAUSES.get(one)
        if cause is not None and other in cause.mistaken_for:
            how = cause.mistaken_for[other]
            return f"{one} against {other}: {how}"
    for one, other in ((true, said), (said, true)):
        if one in CAUSES and other in CAUSES[one].explains:
            return f"{other} can be a consequence of {one}: which of the two mechanisms showed first"
    return None


def markdown(families: dict[str, dict[str, Any]]) -> list[str]:
    """A matrix for each family, and a sentence for each confusion in it."""
    parts = ["\n## Within each look-alike family\n", "| family | right | of |", "|---|---|---|"]
    parts += [f"| {name} | {family['right']} | {family['n']} |" for name, family in families.items()]
    for name, family in families.items():
        if not family["confused"]:
            continue
        answers = list(dict.fromkeys(a for row in family["matrix"].values() for a in row))
        parts += [f"\n### {name}\n", "Rows: what is true. Columns: what was answered first.\n"]
        parts += ["| | " + " | ".join(answers) + " |", "|---|" + "---|" * len(answers)]
        for truth, row in family["matrix"].items():
            cells = (f"**{k}**" if (k := row.get(a, 0)) and a == truth else str(k or "") for a in answers)
            parts.append(f"| {truth} | " + " | ".join(cells) + " |")
        parts.append("")
        parts += [f"- {_sentence(one)}" for one in family["confused"]]
    return parts


def _sentence(one: dict[str, Any]) -> str:
    times = f" ({one['n']} times)" if one["n"] > 1 else ""
    how = one["separated_by"]
    if one["said"] in VERDICTS:
        return f"{one['true']} was answered with {one['said']}{times}. " + (
            f"What would show it: {how}." if how else "No measurement that would show it is known."
        )
    shows = CAUSES[one["true"]].next_measurement if one["true"] in CAUSES else ""
    return f"{one['true']} was taken for {one['said']}{times}. " + (
        f"What separates them: {how}."
        if how
        else "No measurement that separates the two is known" + (f"; what shows the former: {shows}." if shows else ".")
    )
