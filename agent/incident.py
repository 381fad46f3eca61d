"""From an answer to what stays behind: the repair, its proof, the regression test and the journal entry."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aitia.agent import regression
from aitia.agent.fix import advice, apply, patch_for, unchanged, unified
from aitia.agent.invariants import Invariant, bounded, by_diagnosis, invariant
from aitia.agent.proof import Proof, accused_after, prove
from aitia.agent.repairs import Patch
from aitia.engine.records import CausalHypothesis, Diagnosis, Fix, Record, Verification
from aitia.engine.store.reader import Run
from aitia.journal.entries import Outcome, write

MAX_TRIED = 2
"""Hypotheses that are repaired and proved before the first answer stands; each costs two runs of the program."""
WORTH_TRYING = 0.2
"""Below this confidence a repair that happens to help would prove little."""
NO_CODEMOD = "no mechanical repair fits this cause, so there is nothing to run the test against"
NO_SCRIPT = "the run was recorded inside another program, so there is no script to run again"
NO_PYTEST = "pytest is not installed (pip install pytest)"
UNDECIDED = "nothing to fix yet: no cause is certain enough, and no repair of a suspected one could be proved"
NOT_RUN = "proving was not asked for"


Writer = Callable[[CausalHypothesis], tuple[Patch | None, list[str]]]
"""Writes a change for a hypothesis, and says what was refused on the way."""


class Incident(Record):
    """What `aitia fix` leaves behind."""

    cause: str | None = None
    hypothesis: str | None = None
    """Id of the hypothesis that was repaired."""
    fix: Fix
    verification: Verification = Verification()
    journal: Path | None = None
    """The journal entry that was written."""
    test: Path | None = None
    """The regression test that was written."""
    test_status: Literal["proved", "unproved", "none"] = "none"
    test_reason: str = ""
    """Why the test is proved, or why it is not."""
    applied: tuple[Path, ...] = ()
    """Files of the program that were changed (with --apply); each has a backup beside it."""
    refuted: tuple[str, ...] = ()
    """Repairs that were tried and did not hold."""
    seconds: float = 0.0
    """Time the proof took."""

    @property
    def statuses(self) -> dict[str, str]:
        """Each thing that was left behind, and in what state."""
        return {
            "fix": "applied" if self.applied else ("proposed" if self.fix.diff else "advice"),
            "test": f"{self.test_status}: {self.test_reason}" if self.test else "none",
            "journal": str(self.journal) if self.journal else "none",
        }


def close(
    run: Run,
    diagnosis: Diagnosis,
    root: Path,
    apply: bool = False,
    *,
    proving: bool = True,
    model: str | None = None,
    api_base: str | None = None,
) -> Incident:
    """Repair the accused cause, prove it, and write the test and the journal entry under `root`.

    With a `model`, the model writes the change where no codemod fits; it is proved like any other, and without a proof
    it is shown but neither called a fix nor applied.

    The program itself is changed only with `apply`, and not by a repair whose proof failed. A healthy or undecided run
    leaves nothing behind. Raises `FileChangedError` where `apply` finds a file that is not what was recorded.
    """
    if not diagnosis.hypotheses or diagnosis.verdict == "healthy":
        return Incident(fix=Fix(summary="nothing to fix: no cause is accused"))
    if apply:
        unchanged(run, root, {h.location.file for h in diagnosis.hypotheses if h.location is not None})
    write_edit = _edit_writer(run, diagnosis, model, api_base)
    attempts = list(_attempts(run, diagnosis, root, proving, write_edit))
    best = next((a for a in attempts if a.proof.status == "proved"), attempts[0])
    if diagnosis.verdict == "unknown" and best.proof.status != "proved":
        return Incident(fix=Fix(summary=UNDECIDED), refuted=tuple(a.refuted for a in attempts if a.refuted))
    refuted = tuple(a.refuted for a in attempts if a is not best and a.refuted)
    refuted += tuple(f"a change by the language model was refused: {n}" for a in attempts for n in a.notes)
    holds = best.proof.status == "proved" or (not best.proof.seconds and not best.by_model)
    applied = tuple(_applied(run, best.patch, root)) if apply and holds and best.patch is not None else ()
    incident = Incident(
        cause=best.hypothesis.cause, hypothesis=best.hypothesis.id, fix=best.fix(run),
        verification=_verification(best), test_status=best.proof.status, test_reason=best.proof.reason,
        applied=applied, refuted=refuted, seconds=round(sum(a.proof.seconds for a in attempts), 1),
    )  # fmt: skip
    return _written_down(run, diagnosis, root, best, incident)


def _written_down(run: Run, diagnosis: Diagnosis, root: Path, best: _Attempt, incident: Incident) -> Incident:
    """The incident with its regression test and its journal entry as files of the project."""
    test = None
    if regression.repeatable(run):
        text = regression.compose(run, best.hypothesis, best.check, best.status)
        test = regression.write(root, run, best.hypothesis, text)
    proved = incident.verification.status == "proved"
    hypothesis = best.hypothesis.model_copy(update={
        "fix": incident.fix, "verification": incident.verification,
        "rung": "intervention" if proved else best.hypothesis.rung,
    })  # fmt: skip
    status = "applied" if incident.applied else (best.proof.status if best.patch is not None else "no fix")
    outcome = Outcome(
        fix=incident.fix, status=status, resolution=_resolution(best, incident.applied), refuted=incident.refuted,
        test=test.relative_to(root).as_posix() if test is not None else None,
    )  # fmt: skip
    journal = write(root, run, diagnosis, hypothesis, outcome)
    changes = {"test": test, "journal": journal, "test_status": best.proof.status if test is not None else "none"}
    return incident.model_copy(update=changes)


@dataclass(frozen=True)
class _Attempt:
    """One hypothesis with its repair and the test that was run on it."""

    hypothesis: CausalHypothesis
    patch: Patch | None
    check: Invariant
    proof: Proof
    notes: tuple[str, ...] = ()
    """What was refused of a language model's change."""

    @property
    def by_model(self) -> bool:
        """Whether a language model wrote the change."""
        return self.patch is not None and self.patch.kind == "edit"

    def fix(self, run: Run) -> Fix:
        if self.patch is None:
            return Fix(summary=advice(self.hypothesis), kind="none")
        diff, summary = unified(run.sources, self.patch.files), self.patch.summary
        if self.by_model and self.proof.status != "proved":
            summary = f"{advice(self.hypothesis)} (A change written by a language model, not proved: {summary})"
        return Fix(summary=summary, kind=self.patch.kind, diff=diff)

    @property
    def status(self) -> str:
        return f"{self.proof.status} ({self.proof.reason})"

    @property
    def refuted(self) -> str:
        """In words, where a repair was tried and did not hold."""
        if self.patch is None or self.proof.status == "proved":
            return ""
        return f"`{self.hypothesis.cause}`: {self.patch.summary} was tried, but {self.proof.reason}"


def _edit_writer(run: Run, diagnosis: Diagnosis, model: str | None, api_base: str | None) -> Writer:
    """Asks the named model for a change; without a model there is none."""
    if model is None:
        return lambda hypothesis: (None, [])
    from aitia.agent.lm import make_lm
    from aitia.agent.writer import write_repair

    lm = make_lm(model, api_base)
    return lambda hypothesis: write_repair(run, diagnosis, hypothesis, lm)


def _attempts(run: Run, diagnosis: Diagnosis, root: Path, proving: bool, write_edit: Writer) -> Iterator[_Attempt]:
    """Hypotheses in order, each with its proof, until one is proved."""
    tried = 0
    for number, hypothesis in enumerate(diagnosis.hypotheses):
        if number and (hypothesis.confidence < WORTH_TRYING or tried >= MAX_TRIED):
            return
        patch, notes = patch_for(run, hypothesis), list[str]()
        if patch is None:
            patch, notes = write_edit(hypothesis)
        if number and patch is None:
            continue
        check, proof = _prove(run, diagnosis, hypothesis, patch, root if proving else None)
        tried += patch is not None
        yield _Attempt(hypothesis=hypothesis, patch=patch, check=check, proof=proof, notes=tuple(notes))
        if proof.status == "proved" or patch is None:
            return  # a later cause that happens to be repairable must not stand in for the first


def _prove(
    run: Run, diagnosis: Diagnosis, hypothesis: CausalHypothesis, patch: Patch | None, root: Path | None
) -> tuple[Invariant, Proof]:
    """What the test asserts, and whether it was proved; without a `root` nothing is run."""
    check = invariant(run, hypothesis)
    for reason, applies in ((NOT_RUN, root is None), (NO_CODEMOD, patch is None), (NO_PYTEST, not _has_pytest()),
                            (NO_SCRIPT, not regression.repeatable(run))):  # fmt: skip
        if applies:
            return check, Proof(status="unproved", reason=reason)
    if root is None or patch is None:
        raise AssertionError("unreachable: both were just ruled out")
    files = patch.files
    proof = prove(regression.compose(run, hypothesis, check), root, run.sources, files)
    fallback = bounded(run, hypothesis, by_diagnosis(hypothesis.cause))
    if proof.before is None and check != fallback:  # the number did not show the fault: let the diagnosis judge
        second = prove(regression.compose(run, hypothesis, fallback), root, run.sources, files)
        second = second.model_copy(update={"seconds": proof.seconds + second.seconds})
        return (fallback, second) if second.status == "proved" else (check, proof)
    if proof.status == "proved" and check != fallback:
        started = time.monotonic()
        objection = _objection(run, diagnosis, hypothesis, root, files)
        proof = proof.model_copy(update={"seconds": round(proof.seconds + time.monotonic() - started, 1)})
        if objection is not None:
            proof = proof.model_copy(update={"status": "unproved", "reason": objection})
    return check, proof


def _objection(
    run: Run, diagnosis: Diagnosis, hypothesis: CausalHypothesis, root: Path, files: dict[str, str]
) -> str | None:
    """Why a test that passes proves nothing: the whole repaired program is accused of this, or of something new."""
    after = accused_after(run, root, {**run.sources, **files})
    if after is None:
        return "the test passes on the repaired program, but the whole of it left no recording"
    wrong = sorted((after - {h.cause for h in diagnosis.hypotheses}) | (after & {hypothesis.cause}))
    return f"the test passes on the repaired program, but that is accused of {', '.join(wrong)}" if wrong else None


def _verification(attempt: _Attempt) -> Verification:
    if attempt.patch is None or not attempt.proof.seconds:
        return Verification()
    method = "the program as it was and the repaired copy, run again under the recorder"
    status: Literal["proved", "inconclusive"] = "proved" if attempt.proof.status == "proved" else "inconclusive"
    details = {"before": attempt.proof.before, "reason": attempt.proof.reason, "seconds": attempt.proof.seconds}
    return Verification(status=status, method=method, details=details)


def _resolution(attempt: _Attempt, applied: tuple[Path, ...]) -> str:
    if attempt.patch is None:
        return f"Open: the repair is to be made by hand. The test is unproved: {attempt.proof.reason}."
    made = f"Applied to {', '.join(p.name for p in applied)}." if applied else "Proposed, not applied."
    before = f" Before: {attempt.proof.before}." if attempt.proof.before else ""
    verdict = "Proved" if attempt.proof.status == "proved" else "Not proved"
    return f"{made} {verdict}: {attempt.proof.reason}.{before}"


def _applied(run: Run, patch: Patch, root: Path) -> list[Path]:
    return apply(run, patch.files, root)


def _has_pytest() -> bool:
    return importlib.util.find_spec("pytest") is not None
