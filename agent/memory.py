"""What proofs have found out about a run: kept beside it, and told with every later answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import RootModel

from aitia.engine.records import CausalHypothesis, Diagnosis, Record, Rung, Verification
from aitia.engine.store.reader import Run

if TYPE_CHECKING:
    from aitia.agent.attempts import Attempt

FILE = "proof.json"
ORDER = {"proved": 0, "not_run": 1, "inconclusive": 1, "refuted": 2}
"""A cause that was proved comes first, one that was refuted last."""


class Known(Record):
    """What was found out about one cause."""

    cause: str
    rung: Rung
    verification: Verification


class _File(RootModel[tuple[Known, ...]]):
    """The file's content."""


def remember(run: Run, chains: Sequence[Sequence[Attempt]]) -> None:
    """Keep what was run; a run directory that cannot be written is left as it is."""
    from aitia.agent.attempts import verifications

    known = {k.cause: k for k in recall(run)}
    for attempt, verification in (pair for c in chains for pair in zip(c, verifications(c), strict=True)):
        before = known.get(attempt.hypothesis.cause)
        if verification.status == "not_run" or (before is not None and before.verification.status == "proved"):
            continue
        known[attempt.hypothesis.cause] = Known(
            cause=attempt.hypothesis.cause, rung=attempt.proof.rung, verification=verification
        )
    if known:
        with suppress(OSError):
            text = _File(tuple(known.values())).model_dump_json(indent=1)
            (run.path / FILE).write_text(text, encoding="utf-8")


def recall(run: Run) -> tuple[Known, ...]:
    """What earlier proofs found out about this run."""
    try:
        return _File.model_validate_json((run.path / FILE).read_bytes()).root
    except (OSError, ValueError):
        return ()


def with_proofs(run: Run, diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis with the rung and the verification that each hypothesis has reached."""
    known = {k.cause: k for k in recall(run)}
    if not known:
        return diagnosis

    def told(hypothesis: CausalHypothesis) -> CausalHypothesis:
        found = known.get(hypothesis.cause)
        if found is None:
            return hypothesis
        return hypothesis.model_copy(update={"rung": found.rung, "verification": found.verification})

    hypotheses = sorted((told(h) for h in diagnosis.hypotheses), key=lambda h: ORDER[h.verification.status])
    return diagnosis.model_copy(update={"hypotheses": tuple(hypotheses)})
