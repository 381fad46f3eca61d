"""The language model's turn: one typed prediction, checks in code, one retry that carries the violations."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aitia.agent import focus, prompt
from aitia.agent.errors import LanguageModelError
from aitia.agent.grounding import violations
from aitia.agent.lm import TOTAL_SECONDS, first_line, name_of, patient, quiet_dspy, within
from aitia.agent.program import DIAGNOSE, Verdict, adapter
from aitia.agent.redact import redact
from aitia.engine.records import CausalHypothesis, Diagnosis, Evidence
from aitia.engine.store.reader import Run

if TYPE_CHECKING:
    import dspy

ATTEMPTS = 2
"""One answer and one chance to correct it; a model that fails twice fails a third time, too."""
MAX_CALLS = 4
MAX_ROUNDS = 2
"""Rounds of further measurements in deep mode."""
MAX_WANTED = 4
"""Measurements a model may ask for in all."""
MAX_MOVE = 0.05
"""How far the model's order moves a calibrated confidence: less than the gap between neighbouring bins of it."""
UNREADABLE = "your answer could not be read: write one JSON object with verdicts, reply and measurements_wanted"
NOT_USED = "the language model's answer was not used"
MAX_EXPLANATION = 1200
"""Characters: a few sentences. What is longer was asked for by somebody else."""
MAX_NOTES = 12
NOTE_CHARACTERS = 300
"""A note quotes the model, which may have written anything at any length."""
NOTHING_TO_WEIGH = "there is nothing to weigh, so the model was not asked"
FLOOR = 0.15
"""A cause that the engine gives less than this, a mere trace, is not lifted by a model's opinion."""


@dataclass
class Consultation:
    """What was asked and what came of it."""

    diagnosis: Diagnosis
    notes: list[str] = field(default_factory=list)
    """What was refused, dropped or went wrong."""
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    measured: list[str] = field(default_factory=list)
    """Further measurements that were taken."""


@dataclass
class _Checked:
    verdicts: list[Verdict]
    reply: str | None
    problems: list[str]

    @property
    def worth(self) -> tuple[bool, int, bool]:
        """What is left of the answer when the ungrounded parts are dropped."""
        return not self.problems, len(self.verdicts), self.reply is not None


def consult(run: Run, diagnosis: Diagnosis, lm: dspy.LM, words: str | None = None, deep: bool = False) -> Consultation:
    """The diagnosis as the model orders and explains it, every statement checked; the rules' answer where it fails.

    Raises `LanguageModelError` for a model that refuses (key, credit, name); everything else ends in `rules_fallback`.
    """
    if not diagnosis.hypotheses and not (words and diagnosis.evidence):
        told = diagnosis.model_copy(update={"notes": (*diagnosis.notes, NOTHING_TO_WEIGH)})
        return Consultation(told, [NOTHING_TO_WEIGH])
    dspy = quiet_dspy()
    started = time.monotonic()
    state = Consultation(diagnosis)
    try:
        talk = _Talk(run, lm, words, deep, state, started + TOTAL_SECONDS)
        within(TOTAL_SECONDS, talk.run)
    except (dspy.LMError, dspy.AdapterParseError, TimeoutError) as error:
        notes = [*state.notes, f"{NOT_USED}: {type(error).__name__}: {first_line(error)}"]
        state = replace(state, diagnosis=fallback(diagnosis, name_of(lm)), notes=notes)
    state.notes = [_short(note) for note in dict.fromkeys(state.notes)][:MAX_NOTES]
    state.diagnosis = state.diagnosis.model_copy(update={"notes": (*diagnosis.notes, *state.notes)})
    state.seconds = round(time.monotonic() - started, 2)
    return state


def fallback(diagnosis: Diagnosis, model: str) -> Diagnosis:
    """The rules' answer, labelled as what it is."""
    return diagnosis.model_copy(update={"mode": "rules_fallback", "model": model})


def complaint(diagnosis: Diagnosis) -> str:
    """Why a required model's answer could not be used: what ended the talk, then the first refusals."""
    *refused, last = diagnosis.notes or (NOT_USED,)
    return "; ".join([last, *refused[:2]])


@dataclass
class _Talk:
    """One conversation: ask, measure what is wanted, check, ask again with what is wrong."""

    of: Run
    lm: dspy.LM
    words: str | None
    deep: bool
    state: Consultation
    deadline: float

    def run(self) -> None:
        """Talk until an answer stands or the attempts are used up, and leave the diagnosis in the state."""
        dspy = quiet_dspy()
        base, state = self.state.diagnosis, self.state
        evidence, offered = list(base.evidence), dict(focus.OFFERED) if self.deep else {}
        best: _Checked | None = None
        problems, attempts, rounds = list[str](), 0, 0
        with dspy.context(lm=self.lm, adapter=adapter(), disable_history=True), dspy.track_usage() as usage:
            while state.calls < MAX_CALLS and attempts < ATTEMPTS:
                shown = prompt.inputs(self.of, base, evidence, self.words, [f"{n}: {w}" for n, w in offered.items()])
                try:
                    answer = self._ask({**shown, "problems_with_last_answer": problems})
                except dspy.AdapterParseError:
                    attempts, problems = attempts + 1, [UNREADABLE]
                    state.notes.append(f"refused: {UNREADABLE}")
                    continue
                wanted = [name for name in answer.measurements_wanted or [] if name in offered]
                if wanted and rounds < MAX_ROUNDS and state.calls < MAX_CALLS:
                    rounds += 1
                    evidence += _take(self.of, wanted, offered, state)
                    if rounds == MAX_ROUNDS or len(state.measured) >= MAX_WANTED:
                        offered.clear()  # what cannot be had is not offered
                    continue
                attempts += 1
                checked = check(
                    answer.verdicts, answer.reply, base, evidence, shown["training_script"], names=names_of(self.of)
                )
                problems = checked.problems
                state.notes += [f"refused: {p}" for p in problems]
                if best is None or checked.worth >= best.worth:
                    best = checked
                if not problems:
                    break
        state.tokens = sum(int(u.get("total_tokens") or 0) for u in usage.get_total_tokens().values())
        if best is None or (best.problems and not best.verdicts and (base.hypotheses or best.reply is None)):
            state.notes.append(f"{NOT_USED}: it failed the checks twice")
            state.diagnosis = fallback(base, name_of(self.lm))
        else:
            state.diagnosis = merge(base, best.verdicts, best.reply, tuple(evidence), name_of(self.lm))

    def _ask(self, inputs: dict[str, Any]) -> Any:
        predict = DIAGNOSE.predictor(self.lm.model)
        self.state.calls += 1
        return patient(lambda: predict(**inputs), self.deadline)


def check(
    verdicts: list[Verdict],
    reply: str | None,
    base: Diagnosis,
    evidence: list[Evidence],
    script: str,
    *,
    names: Collection[str] = (),
) -> _Checked:
    """What of an answer is grounded, and in words what is not."""
    known = {h.id: h for h in base.hypotheses}
    kept: list[Verdict] = []
    problems: list[str] = []
    for verdict in verdicts:
        hypothesis = known.get(verdict.hypothesis_id)
        if hypothesis is None:
            problems.append(
                f"{verdict.hypothesis_id} is no hypothesis of the list ({', '.join(known) or 'which is empty'})"
            )
            continue
        if any(v.hypothesis_id == verdict.hypothesis_id for v in kept):
            problems.append(f"{verdict.hypothesis_id} appears twice")
            continue
        verdict.explanation = prompt.harmless(verdict.explanation).strip()[:MAX_EXPLANATION]
        bad = violations(verdict.explanation, verdict.evidence_ids, evidence, base.hypotheses, script, names=names)
        problems += [f"{verdict.hypothesis_id} {b}" for b in bad]
        if not bad:
            kept.append(verdict)
    reply = prompt.harmless(reply).strip()[:MAX_EXPLANATION] if reply else None
    bad = violations(reply, (), evidence, base.hypotheses, script, names=names) if reply else ["is empty"]
    problems += [f"the reply {b}" for b in bad]
    return _Checked(kept, None if bad else reply, problems)


def names_of(run: Run) -> frozenset[str]:
    """Names of the run's layers and parameters."""
    return frozenset((*(x.name for x in run.layers), *(x.name for x in run.parameters)))


def merge(
    base: Diagnosis, verdicts: list[Verdict], reply: str | None, evidence: tuple[Evidence, ...], model: str
) -> Diagnosis:
    """The rules' diagnosis in the model's order and words; confidence moves by at most `MAX_MOVE`."""
    ranks = {v.hypothesis_id: place for place, v in enumerate(verdicts)}
    words = {v.hypothesis_id: v for v in verdicts}
    moved = [_moved(h, ranks, words, alone=len(base.hypotheses) == 1) for h in base.hypotheses]
    summary = reply or base.summary
    if reply and base.verdict != "faulty":  # what is not established stays said as the engine says it
        summary = f"{base.summary} {reply}"
    moved.sort(key=lambda h: (-h.confidence, ranks.get(h.id, len(ranks))))
    return base.model_copy(update={
        "mode": "llm", "model": model, "hypotheses": tuple(moved), "evidence": evidence,
        "summary": summary, "onset_step": moved[0].onset_step if moved else base.onset_step,
    })  # fmt: skip


def _moved(
    hypothesis: CausalHypothesis, ranks: dict[str, int], words: dict[str, Verdict], *, alone: bool
) -> CausalHypothesis:
    """One hypothesis after the model's judgement: first of its list up, last or left out down.

    Agreeing with the only one there is chose nothing, so it moves nothing.
    """
    place = ranks.get(hypothesis.id)
    first = 0.0 if alone else 1.0
    share = -1.0 if place is None else 1.0 - 2.0 * place / max(1, len(ranks) - 1) if len(ranks) > 1 else first
    if share > 0 and hypothesis.confidence < FLOOR:
        share = 0.0
    changes: dict[str, Any] = {"confidence": round(min(1.0, max(0.0, hypothesis.confidence + MAX_MOVE * share)), 3)}
    if place is not None:
        verdict = words[hypothesis.id]
        cited = [i for i in verdict.evidence_ids if i not in hypothesis.evidence and i not in hypothesis.against]
        changes |= {"explanation": verdict.explanation, "evidence": (*hypothesis.evidence, *cited)}
    return hypothesis.model_copy(update=changes)


def _take(run: Run, wanted: list[str], offered: dict[str, str], state: Consultation) -> list[Evidence]:
    """Measurements of the closed list, at most `MAX_WANTED` in all; each is offered once."""
    found: list[Evidence] = []
    for name in dict.fromkeys(wanted):
        if len(state.measured) >= MAX_WANTED:
            break
        offered.pop(name, None)
        result = focus.measure(run, name)
        if result is None:
            continue
        state.measured.append(name)
        known = {e.id for e in found}
        found += [e for e in result.evidence if e.id not in known]
    return found


def _short(note: str) -> str:
    text = redact(" ".join(prompt.harmless(note).split()))
    return text if len(text) <= NOTE_CHARACTERS else text[: NOTE_CHARACTERS - 1] + "…"


__all__ = ["Consultation", "LanguageModelError", "check", "complaint", "consult", "fallback", "merge"]
