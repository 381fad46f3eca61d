"""The judge: catalogue, explaining away, verdicts, the chain's picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from runs import HOSTILE, STORIES

from aitia.engine.case import Case
from aitia.engine.causes import CAUSES
from aitia.engine.causes.base import DECISIVE, PRIOR, Cause, Weight
from aitia.engine.events import MAX_EVENTS, events
from aitia.engine.graph import mermaid
from aitia.engine.reason import Suspect, _explain_away, calibration, confidence, diagnose, judge
from aitia.engine.records import MAX_HYPOTHESES, Diagnosis
from aitia.engine.store.reader import open_run

VOCABULARY = set((Path(__file__).parents[2] / "evals" / "causes.txt").read_text().split())


def suspect(cause: str, strength: float, explains: tuple[str, ...] = (), step: int | None = 1) -> Suspect:
    entry = Cause(id=cause, title="t", phase="loop", repair="r", weigh=lambda case: iter(()), explains=explains)
    return Suspect(entry, [Weight(strength, "seen", mechanism=True, step=step)])


@pytest.mark.parametrize("cause", CAUSES.values(), ids=lambda c: c.id)
def test_each_cause_is_told_completely(cause: Cause) -> None:
    """Title, repair, look-alikes, intervention and next measurement are there, and every id they name exists."""
    assert cause.id in VOCABULARY
    assert cause.title
    assert cause.repair.endswith(".")
    assert cause.intervention
    assert cause.next_measurement
    assert set(cause.explains) <= VOCABULARY - {cause.id}
    assert set(cause.mistaken_for) <= VOCABULARY - {cause.id}


def test_the_catalogue_is_one_file_a_cause() -> None:
    """File name and id agree, and no file is left out of the table."""
    folder = Path(__file__).parents[2] / "engine" / "causes"
    files = {p.stem for p in folder.glob("*.py")} - {"__init__", "base", "crash", "custom", "origin"}

    assert files == {cause.replace(".", "_") for cause in CAUSES}


def test_a_link_of_an_established_chain_is_not_accused() -> None:
    """What the origin explains loses its accusation, though its own evidence is as strong."""
    origin = suspect("optimizer.lr_too_high", DECISIVE + 2, explains=("model.dead_units",))
    link = suspect("model.dead_units", DECISIVE + 2, step=17)
    _explain_away([origin, link])

    assert link.links == ["optimizer.lr_too_high"]
    assert confidence(link.score) < calibration()["bar"] < confidence(origin.score)


def test_a_weak_origin_explains_nothing_away() -> None:
    """Only a cause that clears the bar itself may absorb others."""
    origin = suspect("optimizer.lr_too_high", 1.0, explains=("model.dead_units",))
    link = suspect("model.dead_units", DECISIVE)
    _explain_away([origin, link])

    assert link.links == []


def test_what_came_first_is_no_link() -> None:
    """A stronger cause that began earlier is not explained by what followed it."""
    late = suspect("optimizer.lr_too_high", DECISIVE, explains=("model.dead_units",), step=50)
    early = suspect("model.dead_units", DECISIVE + 3, step=1)
    _explain_away([late, early])

    assert early.links == []


def test_confidence_grows_with_evidence_and_one_decisive_measurement_accuses() -> None:
    """Prior plus one decisive measurement clears the bar; the prior alone is far below it."""
    assert confidence(PRIOR) < 0.25
    assert confidence(PRIOR + DECISIVE) > 0.5
    assert confidence(1.0) < confidence(2.0) < confidence(3.0)


@pytest.mark.parametrize("story", STORIES)
def test_every_answer_is_whole_and_repeatable(synthetic: Path, story: str) -> None:
    """The JSON validates, citations exist, no rule failed, and asking twice gives the same answer."""
    run = open_run(f"20260101-000000-{story}", synthetic)
    answer = diagnose(run)
    ids = {e.id for e in answer.evidence}
    text = answer.model_dump_json()

    jsonschema.validate(answer.model_dump(mode="json"), Diagnosis.model_json_schema(by_alias=True))
    assert judge(Case(run)).faults == ()
    assert all(set(h.evidence) | set(h.against) <= ids for h in answer.hypotheses)
    assert len(answer.hypotheses) <= MAX_HYPOTHESES
    assert (answer.hypotheses == ()) or answer.verdict != "healthy"
    assert diagnose(open_run(run.id, synthetic)).model_dump_json() == text


def test_the_synthetic_stories_are_understood(synthetic: Path) -> None:
    """The known stories get their verdicts."""
    expected = {"healthy": "healthy", "stale_head": "faulty", "crash": "faulty"}
    found = {s: diagnose(open_run(f"20260101-000000-{s}", synthetic)) for s in expected}

    assert {s: d.verdict for s, d in found.items()} == expected
    assert found["stale_head"].hypotheses[0].cause == "optimizer.stale_param_reference"
    assert found["stale_head"].hypotheses[0].component == "fc2"


@pytest.mark.parametrize("story", STORIES)
def test_the_story_is_short_and_in_order(synthetic: Path, story: str) -> None:
    """Events are few, numbered, sorted by step, each with a sentence."""
    told = events(open_run(f"20260101-000000-{story}", synthetic))

    assert len(told) <= MAX_EVENTS
    assert [e.step for e in told] == sorted(e.step for e in told)
    assert all(e.statement and e.id == f"V{i + 1}" for i, e in enumerate(told))


@pytest.mark.parametrize("story", STORIES)
def test_the_picture_is_mermaid_and_cannot_be_broken_out_of(synthetic: Path, story: str) -> None:
    """Labels hold no quote, tag or control character, whatever the program named its layers."""
    run = open_run(f"20260101-000000-{story}", synthetic)
    lines = mermaid(run, diagnose(run)).splitlines()
    labels = [m[1] for line in lines if (m := re.search(r'"(.*)"', line))]

    assert lines[0] == "flowchart TD"
    assert all(not re.search(r'["<>`\x00-\x1f]', label) for label in labels)
    assert not any(HOSTILE[1] in line for line in lines)


def test_confidence_was_fitted_on_the_development_programs_only() -> None:
    """The calibration says where it comes from, and nothing in the engine knows of the held-out programs."""
    folder = Path(__file__).parents[2] / "engine"
    table = json.loads((folder / "calibration.json").read_text("utf-8"))
    held_out = {p.stem for p in (folder.parent / "evals" / "programs" / "test").glob("*.py")}
    texts = [p.read_text("utf-8") for p in folder.rglob("*.py")]

    assert table["split"] == "dev"
    assert held_out
    assert [name for name in held_out for text in texts if name in text] == []
