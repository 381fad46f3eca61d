"""From an answer to what stays behind: the repair, its proof, the regression test and the journal entry."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from aitia.agent import regression
from aitia.agent.attempts import Attempt, attempts, verifications
from aitia.agent.fix import apply as write_files
from aitia.agent.fix import unchanged, unified
from aitia.agent.memory import remember
from aitia.agent.scribe import writer_for
from aitia.engine.records import Diagnosis, Fix, Record, Verification
from aitia.engine.replay.replay import repeatable
from aitia.engine.store.reader import Run
from aitia.journal.entries import Outcome, write

UNDECIDED = "nothing to fix yet: no cause is certain enough, and no repair of a suspected one could be proved"
HEALTHY = "nothing to fix: no cause is accused"


class Repaired(Record):
    """One fault of several, with what became of its repair."""

    cause: str
    summary: str
    """What was changed."""
    verification: Verification = Verification()
    test: Path | None = None
    test_status: Literal["proved", "unproved", "none"] = "none"
    test_reason: str = ""


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
    repaired: tuple[Repaired, ...] = ()
    """Every fault that was repaired, in order; more than one where a second showed once the first was gone."""
    applied: tuple[Path, ...] = ()
    """Files of the program that were changed (with --apply); each has a backup beside it."""
    refuted: tuple[str, ...] = ()
    """Repairs that were tried and did not hold."""
    seconds: float = 0.0
    """Time the proof took, from the first repair that was looked for to the last test."""
    program_seconds: float = 0.0
    """Time the recorded run took."""

    @property
    def took(self) -> str:
        """The proof's time in words, also as a multiple of the program's own; empty where nothing was run."""
        if not self.seconds or self.verification.status == "not_run":
            return ""
        own = f", {self.seconds / self.program_seconds:.1f} times the program's own" if self.program_seconds else ""
        return f"{self.seconds:.1f} s{own}"

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

    With a `model`, the model writes the change where no codemod fits, and the test's assertion where no template shows
    the fault; both are proved like any other. A change without a proof is shown, but neither called a fix nor applied.

    The program itself is changed only with `apply`, and not by a repair whose proof failed. A healthy or undecided run
    leaves nothing behind. Raises `FileChangedError` where `apply` finds a file that is not what was recorded.
    """
    if not diagnosis.hypotheses or diagnosis.verdict == "healthy":
        return Incident(fix=Fix(summary=HEALTHY))
    if apply:
        unchanged(run, root, {h.location.file for h in diagnosis.hypotheses if h.location is not None})
    writer = writer_for(model, api_base)
    started = time.monotonic()
    made = attempts(run, diagnosis, root if proving else None, writer)
    seconds = round(time.monotonic() - started, 1)
    remember(run, made)
    best = next((chain for chain in made if chain[-1].proved), made[0])
    tried = tuple(a.refuted for chain in made for a in chain if a.refuted)
    if diagnosis.verdict == "unknown" and not best[-1].proved:
        return Incident(fix=Fix(summary=UNDECIDED), refuted=tried)
    refuted = tuple(a.refuted for chain in made if chain is not best for a in chain if a.refuted)
    refuted += tuple(f"a change by the language model was refused: {n}" for c in made for a in c for n in a.notes)
    main = best[0]
    holds = best[-1].proved or (not main.proof.seconds and main.proof.status != "refuted" and not main.by_model)
    files = dict(item for a in best if a.patch is not None for item in a.patch.files.items())
    if not best[-1].proved and main.patch is not None:
        files = dict(main.patch.files)
    fix = main.fix(run)
    if len(best) > 1 and best[-1].proved:
        summaries = "; then ".join(a.patch.summary for a in best if a.patch is not None)
        fix = Fix(summary=summaries, kind=fix.kind, diff=unified(run.sources, files))
    applied = tuple(write_files(run, files, root)) if apply and holds and files else ()
    incident = Incident(
        cause=main.hypothesis.cause, hypothesis=main.hypothesis.id, fix=fix, verification=verifications(best)[0],
        test_status=main.test_status, test_reason=main.test_reason, applied=applied, refuted=refuted,
        seconds=seconds, program_seconds=round((run.info.ended or run.info.created) - run.info.created, 1),
    )  # fmt: skip
    return _written_down(run, diagnosis, root, best, incident)


def _written_down(run: Run, diagnosis: Diagnosis, root: Path, chain: list[Attempt], incident: Incident) -> Incident:
    """The incident with its regression tests and its journal entry as files of the project."""
    repaired = []
    for attempt, verification in zip(chain if chain[-1].proved else chain[:1], verifications(chain), strict=False):
        test = None
        if repeatable(run):
            text = regression.compose(run, attempt.hypothesis, attempt.check, attempt.status)
            test = regression.write(root, run, attempt.hypothesis, text)
        repaired.append(Repaired(
            cause=attempt.hypothesis.cause, summary=attempt.fix(run).summary, verification=verification,
            test=test, test_status=attempt.test_status if test is not None else "none", test_reason=attempt.test_reason,
        ))  # fmt: skip
    best = chain[0]
    proved = incident.verification.status == "proved"
    hypothesis = best.hypothesis.model_copy(update={
        "fix": incident.fix, "verification": incident.verification,
        "rung": best.proof.rung if proved else best.hypothesis.rung,
    })  # fmt: skip
    test = repaired[0].test
    status = "applied" if incident.applied else _word(best, proved)
    outcome = Outcome(
        fix=incident.fix, status=status, resolution=_resolution(best, incident), refuted=incident.refuted,
        test=test.relative_to(root).as_posix() if test is not None else None,
    )  # fmt: skip
    journal = write(root, run, diagnosis, hypothesis, outcome)
    done = incident.model_copy(update={
        "test": test, "journal": journal, "test_status": repaired[0].test_status, "repaired": tuple(repaired),
    })  # fmt: skip
    with suppress(OSError):
        (run.path / "incident.json").write_text(done.model_dump_json(indent=1), encoding="utf-8")
    return done


def _word(best: Attempt, proved: bool) -> str:
    if best.patch is None:
        return "no fix"
    return "proved" if proved else "unproved"


def _resolution(attempt: Attempt, incident: Incident) -> str:
    proof = incident.verification
    reason = str(proof.details.get("reason") or attempt.test_reason)
    if attempt.patch is None:
        changed = f" Changed at run time: {reason}." if attempt.proof.readings else ""
        return f"Open: the repair is to be made by hand.{changed} The test is unproved: {attempt.test_reason}."
    made = (
        f"Applied to {', '.join(p.name for p in incident.applied)}." if incident.applied else "Proposed, not applied."
    )
    before = f" Before: {attempt.proof.test.before}." if attempt.proof.test.before else ""
    return f"{made} {'Proved' if proof.status == 'proved' else 'Not proved'}: {reason}.{before}"
