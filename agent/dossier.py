"""All that is known of an incident, gathered for a report: answer, proof, repair, test. Its texts are untrusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aitia.agent.diagnosis import answer
from aitia.agent.incident import Incident
from aitia.engine.drawing import svg
from aitia.engine.records import CausalHypothesis, Diagnosis, Evidence, Fix
from aitia.engine.replay.reading import Reading
from aitia.engine.store.reader import Run

CONTEXT_LINES = 3
"""Lines of the user's code around an accused one."""
MAX_LINES = 40
TEST_CHARACTERS = 8000
RUNGS = {
    "association": "seen together in this run; not proved by running it again",
    "intervention": "proved by intervention: changed, and gone",
    "replay": "proved by replay: the same run with this one difference does not fail",
}


@dataclass(frozen=True)
class Dossier:
    """One incident."""

    run: Run
    diagnosis: Diagnosis
    incident: Incident | None
    """What `aitia fix` left, if it was run."""
    test: str | None
    """Text of the regression test."""
    picture: str
    """The causal chain as SVG, with its texts escaped."""

    @property
    def main(self) -> CausalHypothesis | None:
        """The first hypothesis, or that which was repaired."""
        found = self.diagnosis.hypotheses
        repaired = self.incident.cause if self.incident is not None else None
        return next((h for h in found if h.cause == repaired), found[0] if found else None)

    @property
    def fix(self) -> Fix | None:
        """The repair as it was proved, else as it is proposed."""
        if self.incident is not None and self.incident.cause is not None:
            return self.incident.fix
        return self.main.fix if self.main is not None else None

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The trials of the proof."""
        trials = self.main.verification.details.get("trials", ()) if self.main is not None else ()
        return tuple(Reading.model_validate(t) for t in trials)

    def evidence(self, ids: tuple[str, ...]) -> list[Evidence]:
        """The statements behind these ids."""
        known = {e.id: e for e in self.diagnosis.evidence}
        return [known[i] for i in ids if i in known]

    def lines(self) -> list[tuple[int, str, bool]]:
        """The accused lines with their neighbours: number, text, accused."""
        main = self.main
        if main is None or main.location is None or main.location.file not in self.run.sources:
            return []
        text = self.run.sources[main.location.file].splitlines()
        wanted = {n for n in main.location.lines if 1 <= n <= len(text)}
        shown = sorted(
            {k for n in wanted for k in range(n - CONTEXT_LINES, n + CONTEXT_LINES + 1) if 1 <= k <= len(text)}
        )
        return [(n, text[n - 1], n in wanted) for n in shown[:MAX_LINES]]


def gather(run: Run) -> Dossier:
    """Read what is kept beside the run; nothing is run."""
    diagnosis, incident, test = answer(run), None, None
    try:
        incident = Incident.model_validate_json((run.path / "incident.json").read_bytes())
        if incident.test is not None:
            test = Path(incident.test).read_text("utf-8", "replace")[:TEST_CHARACTERS]
    except (OSError, ValueError):
        pass
    return Dossier(run, diagnosis, incident, test, svg(run, diagnosis))
