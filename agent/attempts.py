"""Hypotheses in order, each repaired and proved, until one holds; a second fault is repaired on top of the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from aitia.agent.fix import advice, patches_for, unified
from aitia.agent.invariants import Invariant, invariant
from aitia.agent.proof import PRELOAD, Proof, Prover, TestProof
from aitia.agent.repairs import Patch
from aitia.engine.causes import CAUSES
from aitia.engine.reason import diagnose
from aitia.engine.records import CausalHypothesis, Diagnosis, Fix, Verification
from aitia.engine.replay.nursery import NurseryError
from aitia.engine.replay.replay import Replays, repeatable
from aitia.engine.replay.verdict import Comparison
from aitia.engine.store.reader import Run

MAX_TRIED = 3
"""Repairs that are run for one fault before the first answer stands; each costs several runs of the program."""
MAX_FAULTS = 3
"""Faults that are repaired one on top of the other; a program with more is not trained yet, it is being written."""
WORTH_TRYING = 0.2
"""Below this confidence a repair that happens to help would prove little."""
NO_CODEMOD = "no mechanical repair fits this cause, so there is nothing to run the test against"
NO_SCRIPT = "the run was recorded inside another program, so there is no script to run again"
NOT_RUN = "proving was not asked for"
BY_REPAIR = "the program as it was, the repaired copy and a mutant of the repair, run again under the recorder"
BY_CHANGE = "the program run again under the recorder with one change at run time, next to a placebo"

Writer = Callable[[CausalHypothesis], tuple[Patch | None, list[str]]]
"""Writes a change for a hypothesis, and says what was refused on the way."""


@dataclass(frozen=True)
class Attempt:
    """One hypothesis with its repair and what came of it."""

    hypothesis: CausalHypothesis
    patch: Patch | None
    check: Invariant
    proof: Proof
    notes: tuple[str, ...] = ()
    """What was refused of a language model's change."""

    @property
    def proved(self) -> bool:
        """Whether the repair, or without one the change at run time, holds."""
        return self.proof.status == "proved"

    @property
    def by_model(self) -> bool:
        """Whether a language model wrote the change."""
        return self.patch is not None and self.patch.kind == "edit"

    @property
    def test_status(self) -> Literal["proved", "unproved"]:
        """Of the regression test."""
        return self.proof.test.status

    @property
    def test_reason(self) -> str:
        """Of the regression test."""
        return self.proof.test.reason or self.proof.verdict.reason

    @property
    def status(self) -> str:
        """For the test's own text."""
        return f"{self.test_status} ({self.test_reason})"

    @property
    def verification(self) -> Verification:
        """For the answer."""
        if not self.proof.readings and self.proof.status != "refuted":
            return Verification()
        return self.proof.verification(BY_CHANGE if self.patch is None else BY_REPAIR)

    @property
    def refuted(self) -> str:
        """In words, where something was tried and did not hold."""
        if self.proved or (self.patch is None and not self.proof.readings):
            return ""
        what = self.patch.summary if self.patch is not None else CAUSES[self.hypothesis.cause].intervention
        return f"`{self.hypothesis.cause}`: {what} was tried, but {self.proof.verdict.reason}"

    def fix(self, run: Run) -> Fix:
        """The fix, with a diff against the program as it was recorded."""
        if self.patch is None:
            return Fix(summary=advice(self.hypothesis), kind="none")
        diff, summary = unified(run.sources, self.patch.files), self.patch.summary
        if self.by_model and not self.proved:
            summary = f"{advice(self.hypothesis)} (A change written by a language model, not proved: {summary})"
        return Fix(summary=summary, kind=self.patch.kind, diff=diff)


def edit_writer(run: Run, diagnosis: Diagnosis, model: str | None, api_base: str | None) -> Writer:
    """Asks the named model for a change; without a model there is none."""
    if model is None:
        return lambda hypothesis: (None, [])
    from aitia.agent.lm import make_lm
    from aitia.agent.writer import write_repair

    lm = make_lm(model, api_base)
    return lambda hypothesis: write_repair(run, diagnosis, hypothesis, lm)


def attempts(run: Run, diagnosis: Diagnosis, root: Path | None, write_edit: Writer) -> list[list[Attempt]]:
    """All that was tried: chains of repairs, each on top of the one before; without a `root` nothing is run."""
    if root is None or not repeatable(run):
        reason = NOT_RUN if root is None else NO_SCRIPT
        hypothesis = diagnosis.hypotheses[0]
        patch, notes = next(iter(patches_for(run, hypothesis)), None), list[str]()
        if patch is None:
            patch, notes = write_edit(hypothesis)
        return [[_unproved(run, hypothesis, patch, reason, notes)]]
    with Replays(run, root, preload=PRELOAD) as replays:
        try:
            return _chains(replays, Prover(replays, run), diagnosis, write_edit, MAX_FAULTS)
        except NurseryError as error:
            first = diagnosis.hypotheses[0]
            return [[_unproved(run, first, next(iter(patches_for(run, first)), None), str(error))]]


def _unproved(
    run: Run, hypothesis: CausalHypothesis, patch: Patch | None, reason: str, notes: list[str] | None = None
) -> Attempt:
    proof = Proof(verdict=Comparison(status="inconclusive", reason=reason), test=TestProof(reason=reason))
    return Attempt(hypothesis, patch, invariant(run, hypothesis), proof, tuple(notes or ()))


def _chains(
    replays: Replays, prover: Prover, diagnosis: Diagnosis, write_edit: Writer, faults: int
) -> list[list[Attempt]]:
    """Hypotheses in order until a chain ends proved."""
    run, found, tried = prover.recorded, list[list[Attempt]](), 0
    for number, hypothesis in enumerate(diagnosis.hypotheses):
        if number and (hypothesis.confidence < WORTH_TRYING or tried >= MAX_TRIED):
            break
        patches, notes = patches_for(run, hypothesis), list[str]()
        if not patches:
            written, notes = write_edit(hypothesis)
            patches = [written] if written is not None else []
        if not patches:
            attempt = _intervened(prover, hypothesis, notes)
            found.append([attempt])
            if attempt.proof.status == "refuted":
                continue
            break  # a later cause that happens to be repairable must not stand in for the first
        for patch in patches:
            if tried >= MAX_TRIED:
                break
            tried += 1
            proof, check = prover.prove(hypothesis, patch.files)
            attempt = Attempt(hypothesis, patch, check, proof, tuple(notes))
            chain = [attempt, *_rest(replays, prover, attempt, write_edit, faults)]
            found.append(chain)
            if chain[-1].proved:
                return found
    return found


def _rest(replays: Replays, prover: Prover, attempt: Attempt, write_edit: Writer, faults: int) -> list[Attempt]:
    """The repairs of what is still wrong when the first fault is gone."""
    played = prover.repaired.get(attempt.hypothesis.cause)
    if attempt.proof.status != "unfinished" or faults <= 1 or played is None or played.run is None:
        return []
    left = diagnose(played.run)
    others = tuple(h for h in left.hypotheses if h.cause != attempt.hypothesis.cause)
    if not others:
        return []
    run = Run(played.run.path)
    following = Prover(replays, run, replace(played, trial=replace(played.trial, label="placebo")))
    chains = _chains(replays, following, left.model_copy(update={"hypotheses": others[:1]}), write_edit, faults - 1)
    return next((chain for chain in chains if chain[-1].proved and chain[-1].patch is not None), [])


def _intervened(prover: Prover, hypothesis: CausalHypothesis, notes: list[str]) -> Attempt:
    """Without a repair of the text: the cause's own change at run time."""
    run, cause = prover.recorded, CAUSES.get(hypothesis.cause)
    if cause is None or not cause.interventions:
        return _unproved(run, hypothesis, None, NO_CODEMOD, notes)
    proof = prover.intervene(hypothesis, cause.interventions)
    proof = proof.model_copy(update={"test": TestProof(reason=NO_CODEMOD)})
    return Attempt(hypothesis, None, invariant(run, hypothesis), proof, tuple(notes))
