"""Hypotheses in order, each repaired and proved, until one holds; a second fault is repaired on top of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from aitia.agent.fix import advice, patches_for, unified
from aitia.agent.invariants import Invariant, invariant
from aitia.agent.proof import PRELOAD, Proof, Prover, TestProof, horizon
from aitia.agent.repairs import Patch
from aitia.agent.scribe import Finding, Writer
from aitia.engine.causes import CAUSES
from aitia.engine.reason import diagnose
from aitia.engine.records import CausalHypothesis, Diagnosis, Fix, Verification
from aitia.engine.replay.nursery import NurseryError
from aitia.engine.replay.replay import Replays, repeatable
from aitia.engine.replay.verdict import OTHER_UNITS, Comparison
from aitia.engine.store.reader import Run

MAX_TRIED = 4
"""Repairs that are run for one fault before the first answer stands; each costs several runs of the program."""
MAX_FAULTS = 3
"""Faults that are repaired one on top of the other; a program with more is not trained yet, it is being written."""
WORTH_TRYING = 0.1
"""Below this confidence a repair that happens to help would prove little."""
NO_CODEMOD = "no mechanical repair fits this cause, so there is nothing to run the test against"
NO_SCRIPT = "the run was recorded inside another program, so there is no script to run again"
NOT_RUN = "proving was not asked for"
BY_REPAIR = "the program as it was, the repaired copy and a mutant of the repair, run again under the recorder"
BY_CHANGE = "the program run again under the recorder with one change at run time, next to a placebo"

BY_OUTCOME = frozenset({
    "optimizer.lr_too_high", "optimizer.lr_too_low", "optimizer.never_stepped", "optimizer.weight_decay_excess",
})  # fmt: skip
"""Causes whose repairs differ in one number: more than one removes the mechanism, and not all of them learn."""
AFTER_THE_RACE = 2
"""Of those, what is proved at most: each was run once already, and the second of the best is no worse by much."""
WRITTEN = 2
"""Changes, and assertions, that a language model may write for one fault: the second knows what the run said of the
first."""
BY_MODEL = "its assertion was written by a language model"


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


def attempts(run: Run, diagnosis: Diagnosis, root: Path | None, writer: Writer) -> list[list[Attempt]]:
    """All that was tried: chains of repairs, each on top of the one before; without a `root` nothing is run."""
    if root is None or not repeatable(run):
        reason = NOT_RUN if root is None else NO_SCRIPT
        hypothesis = diagnosis.hypotheses[0]
        patch, notes = next(iter(patches_for(run, hypothesis)), None), list[str]()
        if patch is None:
            patch, notes = writer.repair(Finding(run, diagnosis, hypothesis))
        return [[_unproved(run, hypothesis, patch, reason, notes)]]
    with Replays(run, root, preload=PRELOAD) as replays:
        try:
            return _chains(replays, Prover(replays, run), diagnosis, writer, MAX_FAULTS)
        except NurseryError as error:
            first = diagnosis.hypotheses[0]
            return [[_unproved(run, first, next(iter(patches_for(run, first)), None), str(error))]]


def _unproved(
    run: Run, hypothesis: CausalHypothesis, patch: Patch | None, reason: str, notes: list[str] | None = None
) -> Attempt:
    proof = Proof(verdict=Comparison(status="inconclusive", reason=reason), test=TestProof(reason=reason))
    return Attempt(hypothesis, patch, invariant(run, hypothesis), proof, tuple(notes or ()))


def _chains(replays: Replays, prover: Prover, diagnosis: Diagnosis, writer: Writer, faults: int) -> list[list[Attempt]]:
    """Hypotheses in order until a chain ends proved."""
    run, found, tried = prover.recorded, list[list[Attempt]](), 0
    for number, hypothesis in enumerate(diagnosis.hypotheses):
        if number and (hypothesis.confidence < WORTH_TRYING or tried >= MAX_TRIED):
            break
        finding = Finding(run, diagnosis, hypothesis)
        patches, notes = patches_for(run, hypothesis), list[str]()
        if not patches:
            written, notes = writer.repair(finding)
            patches = [written] if written is not None else []
        if not patches:
            attempt = _intervened(prover, hypothesis, notes)
            found.append([attempt])
            if attempt.proved:
                break
            continue  # a later cause stands in for the first only if, with it repaired, nothing is accused any more
        if hypothesis.cause in BY_OUTCOME and len(patches) > 1:
            patches = prover.best_first(hypothesis, patches)[:AFTER_THE_RACE]
        for patch in patches:
            if tried >= MAX_TRIED:
                break
            tried += 1
            proof, check = prover.prove(hypothesis, patch.files)
            attempt = _tested(prover, Attempt(hypothesis, patch, check, proof, tuple(notes)), finding, writer)
            if attempt.by_model and proof.status == "refuted" and len(patches) < WRITTEN:
                again, notes = writer.repair(finding, [f"the change was run: {proof.verdict.reason}"])
                patches += [again] if again is not None else []
            chain = [attempt, *_rest(replays, prover, attempt, writer, faults)]
            found.append(chain)
            if chain[-1].proved:
                return found
    return found


def _tested(prover: Prover, attempt: Attempt, finding: Finding, writer: Writer) -> Attempt:
    """Where the repair holds and no template's test shows it: with the test that the writer writes, if that does."""
    proof, hypothesis, refused = attempt.proof, attempt.hypothesis, list(attempt.notes)
    holds = proof.status in {"proved", "unfinished"}
    if attempt.patch is None or not holds or proof.test.status == "proved":
        return attempt
    problems = [f"a test that {attempt.check.claim!r} was tried: {proof.test.reason}"]
    for _ in range(WRITTEN):
        written, notes = writer.test(finding, attempt.patch, problems)
        refused += notes
        if written is None:
            break
        steps = horizon(prover.recorded, hypothesis)
        check = replace(written, steps=steps)
        outcome = prover.judge(hypothesis, check, steps)
        if outcome.status == "proved":
            outcome = outcome.model_copy(update={"reason": f"{outcome.reason}; {BY_MODEL}"})
            shown = proof.model_copy(update={"test": outcome})
            return replace(attempt, check=check, proof=shown, notes=tuple(refused))
        problems.append(f"your test was run: {outcome.reason}")
        refused.append(problems[-1])
    return replace(attempt, notes=tuple(refused))


def _rest(replays: Replays, prover: Prover, attempt: Attempt, writer: Writer, faults: int) -> list[Attempt]:
    """The repairs of what is still wrong when the first fault is gone."""
    played = prover.repaired.get(attempt.hypothesis.cause)
    if attempt.proof.status != "unfinished" or faults <= 1 or played is None or played.run is None:
        return []
    if attempt.hypothesis.cause in OTHER_UNITS:
        return []  # what comes after is measured in the new unit, and cannot tell whether this one did any good
    left = diagnose(played.run)
    others = tuple(h for h in left.hypotheses if h.cause != attempt.hypothesis.cause)
    if not others:
        return []
    run = Run(played.run.path)
    following = Prover(replays, run, replace(played, trial=replace(played.trial, label="placebo")))
    chains = _chains(replays, following, left.model_copy(update={"hypotheses": others[:1]}), writer, faults - 1)
    return next((chain for chain in chains if chain[-1].proved and chain[-1].patch is not None), [])


def _intervened(prover: Prover, hypothesis: CausalHypothesis, notes: list[str]) -> Attempt:
    """Without a repair of the text: the cause's own change at run time."""
    run, cause = prover.recorded, CAUSES.get(hypothesis.cause)
    if cause is None or not cause.interventions:
        return _unproved(run, hypothesis, None, NO_CODEMOD, notes)
    proof = prover.intervene(hypothesis, cause.interventions)
    proof = proof.model_copy(update={"test": TestProof(reason=NO_CODEMOD)})
    return Attempt(hypothesis, None, invariant(run, hypothesis), proof, tuple(notes))


def verifications(chain: Sequence[Attempt]) -> list[Verification]:
    """Of each fault of a chain: those that only the last repair made whole are proved together with it."""
    end = chain[-1]
    if not end.proved or len(chain) < 2:
        return [a.verification for a in chain]
    found = []
    for attempt in chain[:-1]:
        others = ", ".join(a.hypothesis.cause for a in chain if a is not attempt)
        reason = f"the mechanism is gone, and with {others} repaired as well nothing is accused any more"
        own = attempt.verification
        details = own.details | {"reason": reason, "together_with": others}
        found.append(own.model_copy(update={"status": "proved", "details": details}))
    return [*found, end.verification]
