"""From evidence to an answer: causes weighed, links of a chain set apart from their origin, confidence calibrated."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import PRIOR, Cause, Weight
from aitia.engine.causes.custom import broken, catalogue
from aitia.engine.locate import locate
from aitia.engine.records import (
    MAX_HYPOTHESES,
    CausalHypothesis,
    Diagnosis,
    Evidence,
    Fix,
    RunStatus,
    Verdict,
)
from aitia.engine.store.reader import Run
from aitia.engine.symptoms import Symptom, symptoms

LINK_PENALTY = 6.0
"""Log-odds that a link in an established chain loses: it needs evidence of its own to be named beside its origin."""
WORTH_SHOWING = 0.45
"""Suspects that would have less than this if they stood alone are left out of the answer."""
MAX_WEIGHTS = 6
"""Evidence shown per hypothesis; the strongest tell enough."""


@dataclass
class Suspect:
    """One cause with what was found for and against it."""

    cause: Cause
    weights: list[Weight]
    links: list[str] = field(default_factory=list)
    """Origins that explain it."""

    @property
    def raw(self) -> float:
        """Log-odds from its own evidence."""
        return PRIOR + sum(w.strength for w in self.weights)

    @property
    def score(self) -> float:
        """Log-odds after explaining away."""
        return self.raw - (LINK_PENALTY if self.links else 0.0)

    @property
    def seen(self) -> bool:
        """Whether the mechanism itself was observed."""
        return any(w.mechanism and w.strength > 0 for w in self.weights)

    @property
    def onset(self) -> int | None:
        """First step at which the mechanism was seen."""
        return next((w.step for w in self.weights if w.mechanism and w.step is not None), None)

    @property
    def subject(self) -> str | None:
        """Accused component."""
        return next((w.subject for w in self.weights if w.mechanism and w.subject), None)


@dataclass(frozen=True)
class Judgement:
    """All suspects of a run, best first, and the symptoms that they have to explain."""

    suspects: tuple[Suspect, ...]
    symptoms: tuple[Symptom, ...]
    faults: tuple[str, ...]
    """Rules that failed on this run and rule sets that could not be loaded, told in the answer."""


@lru_cache(maxsize=1)
def calibration() -> dict[str, Any]:
    """Slope and offset from log-odds to confidence, and the bar; fitted on the development programs only."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / "calibration.json").read_text("utf-8"))
    return data


def confidence(score: float) -> float:
    """Calibrated probability that a cause with this score is right."""
    table = calibration()
    return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, table["slope"] * score + table["offset"]))))


def judge(case: Case) -> Judgement:
    """Weigh every cause of the catalogue against the run."""
    known = catalogue()
    suspects, faults = [], list(broken())
    with np.errstate(all="ignore"):
        for cause in known.values():
            try:
                weights = _weighed(cause, case)
            except Exception as error:  # noqa: BLE001 - one rule's fault must not cost the whole answer; it is told
                faults.append(f"the rule of {cause.id} failed on this run ({type(error).__name__}: {error})")
                continue
            suspect = Suspect(cause, weights)
            if suspect.seen:
                suspects.append(suspect)
        found = symptoms(case)
    _explain_away(suspects)
    suspects.sort(key=lambda s: (-s.score, -s.raw, s.cause.id))
    return Judgement(tuple(suspects), tuple(found), tuple(faults))


def _weighed(cause: Cause, case: Case) -> list[Weight]:
    weights = list(cause.weigh(case))
    strange = next((w for w in weights if not isinstance(w, Weight)), None)
    if strange is not None:
        raise TypeError(f"expected evidence made by supports, symptom or against, found {type(strange).__name__}")
    return weights


def _explain_away(suspects: list[Suspect]) -> None:
    """Mark links: a cause that an established origin explains, unless it came first."""
    bar = _bar_score()
    for origin in sorted(suspects, key=lambda s: -s.raw):
        if origin.raw < bar or origin.links:
            continue
        for other in suspects:
            if other is not origin and other.cause.id in origin.cause.explains and not _earlier(other, origin):
                other.links.append(origin.cause.id)


def _earlier(link: Suspect, origin: Suspect) -> bool:
    return (
        link.onset is not None and origin.onset is not None and link.onset + 1 < origin.onset and link.raw > origin.raw
    )


def _bar_score() -> float:
    table = calibration()
    odds = math.log(table["bar"] / (1.0 - table["bar"]))
    return float((odds - table["offset"]) / table["slope"])


def diagnose(run: Run) -> Diagnosis:
    """Answer why a run failed, by rules alone. Deterministic; reads the run directory and nothing else."""
    case = Case(run)
    judgement = judge(case)
    bar = calibration()["bar"]
    accused = [s for s in judgement.suspects if confidence(s.score) >= bar]
    shown = [s for s in judgement.suspects if confidence(s.score) >= WORTH_SHOWING][:MAX_HYPOTHESES]
    off, notes = _blind(case)
    verdict: Verdict = "faulty" if accused else ("unknown" if judgement.symptoms or off else "healthy")
    ledger: list[Evidence] = []
    hypotheses = []
    if verdict != "healthy":
        beside = calibration()["beside"] if accused else 1.0
        hypotheses = [
            _hypothesis(case, i + 1, s, ledger, judgement, share=1.0 if s in accused else beside)
            for i, s in enumerate(shown)
        ]
    for sign in judgement.symptoms:
        ledger.append(Evidence(id=f"E{len(ledger) + 1}", tool=sign.tool, statement=sign.statement, values=sign.values))
    onset = hypotheses[0].onset_step if hypotheses else next((s.step for s in judgement.symptoms), None)
    return Diagnosis(
        run=run.id,
        verdict=verdict,
        summary=_summary(case, verdict, accused, judgement),
        onset_step=onset if verdict != "healthy" else None,
        hypotheses=tuple(hypotheses),
        evidence=tuple(ledger),
        next_measurements=_next(verdict, judgement, shown),
        cost=_cost(case),
        notes=notes,
    )


def _blind(case: Case) -> tuple[bool, tuple[str, ...]]:
    """Whether the recorder switched itself off, and what has to be said of its own faults."""
    told = [f for f in case.run.facts("recorder") if str(f.data.get("what")).endswith((" failed", "switched off"))]
    if not told:
        return False, ()
    off = next((f for f in told if f.data.get("what") == "switched off"), None)
    if off is not None:
        return True, (
            f"the recorder switched itself off at step {off.step} after {off.data.get('detail')} of its own: nothing "
            "was measured after that (please report it)",
        )
    places = ", ".join(dict.fromkeys(str(f.subject) for f in told))
    return False, (f"the recorder failed in {places}, and what it would have measured is missing (please report it)",)


def _cost(case: Case) -> dict[str, float]:
    """What the recording cost the program."""
    fact = case.run.fact("probes")
    recorder = case.run.table("step")["recorder_s"]
    found = {"recorder_s": round(float(np.nansum(recorder)), 4)} if len(recorder) else {}
    if fact is not None:
        names = {"run_s": "run_s", "experiments_s": "took_s", "budget_s": "budget_s"}
        found |= {name: round(float(fact.data[key]), 4) for name, key in names.items()}
    return found


def _hypothesis(
    case: Case, n: int, suspect: Suspect, ledger: list[Evidence], judgement: Judgement, *, share: float
) -> CausalHypothesis:
    """`share`: what is left of its confidence beside others that are accused."""
    pro: list[str] = []
    contra: list[str] = []
    ordered = sorted(suspect.weights, key=lambda w: -abs(w.strength))[:MAX_WEIGHTS]
    for weight in ordered:
        evidence = Evidence(
            id=f"E{len(ledger) + 1}", tool=weight.tool, statement=weight.statement, values=dict(weight.values)
        )
        ledger.append(evidence)
        (pro if weight.strength > 0 else contra).append(evidence.id)
    cause = suspect.cause
    measured = next((w.where for w in suspect.weights if w.where is not None), None)
    where = locate(case.run, cause.id, suspect.subject, measured)
    links = [s.cause.id for s in judgement.suspects if cause.id in s.links]
    main = next(w for w in ordered if w.strength > 0)
    explanation = f"{cause.title}. {_sentence(main.statement)}"
    if links:
        explanation += f" Consequences, not causes of their own: {', '.join(links)}."
    if suspect.links:
        explanation += f" It may be only a link in the chain that begins with {suspect.links[0]}."
    return CausalHypothesis(
        id=f"H{n}",
        cause=cause.id,
        confidence=round(confidence(suspect.score) * share, 3),
        phase=cause.phase,
        component=suspect.subject,
        location=where,
        onset_step=suspect.onset,
        evidence=tuple(pro),
        against=tuple(contra),
        explanation=explanation,
        mistaken_for=tuple(f"{other}: {how}" for other, how in cause.mistaken_for.items()),
        fix=Fix(summary=cause.repair),
    )


def _sentence(text: str) -> str:
    head = text.partition(" ")[0]
    if head.isalpha() and head.islower():  # a name such as `fc.weight` keeps its spelling
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith(".") else ".")


def _summary(case: Case, verdict: Verdict, accused: list[Suspect], judgement: Judgement) -> str:
    info = case.run.info
    length = (
        f"{case.n_steps} optimizer steps" if case.n_steps else f"{case.n_backward} backward passes, no optimizer step"
    )
    ended = {RunStatus.RUNNING: "still running", RunStatus.KILLED: "killed"}.get(info.status, str(info.status))
    if verdict == "faulty":
        first = accused[0]
        text = f"{first.cause.title}"
        if first.subject:
            text += f" ({first.subject})"
        text += f". {_sentence(max(first.weights, key=lambda w: w.strength).statement)}"
        rest = [s for s in accused[1:] if not s.links]
        if rest:
            text += f" Also: {'; '.join(s.cause.title for s in rest)}."
        return text
    if verdict == "unknown":
        if not judgement.symptoms:
            return f"The recorder switched itself off: too little was measured to call it healthy ({length}, {ended})."
        signs = "; ".join(s.statement for s in judgement.symptoms)
        return f"Something is wrong, and no cause clears the bar: {signs} ({length}, {ended})."
    if case.n_steps == 0 and case.n_backward == 0:
        return f"Nothing speaks against this run, but it holds no training: no backward pass was recorded ({ended})."
    loss = f"loss {case.loss.first:.4g} to {case.loss.last:.4g}"
    return f"Nothing in the measurements speaks for a fault ({length}, {ended}; {loss})."


def _next(verdict: Verdict, judgement: Judgement, shown: list[Suspect]) -> tuple[str, ...]:
    steps = []
    if verdict == "unknown":
        steps = [f"{s.cause.next_measurement} (for {s.cause.id})" for s in shown if s.cause.next_measurement]
        steps += [s.next_step for s in judgement.symptoms if s.next_step]
    steps += [f"{fault}: please report it to its author" for fault in judgement.faults]
    return tuple(dict.fromkeys(steps))[:6]
