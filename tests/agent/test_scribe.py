"""Where no codemod and no template fits, a language model writes; the proof judges, and tells it once what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from programs import accuse, run_of
from summing import PROGRAM, REPAIRED

from aitia.agent import attempts as room
from aitia.agent.attempts import Attempt
from aitia.agent.incident import close
from aitia.agent.invariants import by_diagnosis
from aitia.agent.proof import Prover, TestProof
from aitia.agent.repairs import Patch
from aitia.agent.replay_lm import scripted
from aitia.agent.scribe import Finding, Model, Nobody
from aitia.engine.records import Diagnosis, Evidence
from aitia.engine.replay.replay import Replays
from aitia.engine.store.reader import Run

pytest.importorskip("dspy")
pytest.importorskip("torch")
CAUSE = "loop.missing_zero_grad"
SLOWER = {"edits": [{"search": "optimizer = torch.optim.SGD(model.parameters(), lr=0.05)",
                     "replace": "optimizer = torch.optim.SGD(model.parameters(), lr=0.0005)"}],
          "summary": "use a smaller rate"}  # fmt: skip
CLEARS = {"edits": [{"search": "    loss.backward()", "replace": "    optimizer.zero_grad()\n    loss.backward()"}],
          "summary": "clear the gradients before backward"}  # fmt: skip
SYMPTOM = {"claim": "The loss is finite.",
           "body": 'last = run.n_steps\nassert last > 0, f"{last} steps"\n'}  # fmt: skip
MECHANISM = {"claim": "Every step starts with cleared gradients.",
             "body": 'left = finite(run.table("step")["carried_grad_norm"]).max(initial=0.0)\n'
                     'assert left < 1e-9, f"gradients of norm {left:.3g} were left over"\n'}  # fmt: skip


def faulty(run: Run) -> Diagnosis:
    """What the engine would say."""
    evidence = Evidence(id="E1", tool="gradient_debugger", statement="zero_grad cleared 0 of 60 steps", values={})
    hypothesis = accuse(CAUSE, 11).model_copy(update={"evidence": ("E1",)})
    return Diagnosis(run=run.id, verdict="faulty", summary="x", hypotheses=(hypothesis,), evidence=(evidence,))


@pytest.fixture
def program(tmp_path: Path, project: Path) -> Run:
    """The project's program, and a recording of it."""
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    return run_of(tmp_path / "runs", PROGRAM, optimizers={"optimizer": 6})


def test_a_refuted_change_is_written_once_more_and_proved(
    program: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first hides the symptom; the second, told so, removes the cause, and is applied because it is proved."""
    monkeypatch.setattr(room, "patches_for", lambda run, hypothesis: [])
    talk = tmp_path / "talk.jsonl"
    talk.write_text("".join(json.dumps({"response": json.dumps(a)}) + "\n" for a in (SLOWER, CLEARS)), encoding="utf-8")

    incident = close(program, faulty(program), project, apply=True, model=f"replay/{talk}")

    assert (incident.fix.kind, incident.verification.status) == ("edit", "proved")
    assert incident.fix.summary == "clear the gradients before backward"
    assert (project / "train.py").read_text("utf-8") == REPAIRED
    assert any("use a smaller rate was tried, but" in r for r in incident.refuted)
    assert incident.test_status == "proved"


@dataclass
class Bench:
    """A proved repair whose test proves nothing, as an attempt."""

    prover: Prover
    attempt: Attempt
    finding: Finding


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The program and its repair, run; the template's test is taken to have failed."""
    folder = tmp_path_factory.mktemp("scribe")
    project = folder / "project"
    project.mkdir()
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    run = run_of(folder / "runs", PROGRAM)
    diagnosis = faulty(run)
    patch = Patch("clear the gradients", {"train.py": REPAIRED}, "codemod")
    with Replays(run, project, preload=("pytest", "aitia.testing")) as replays:
        prover = Prover(replays, run)
        proof, _ = prover.prove(diagnosis.hypotheses[0], patch.files)
        assert proof.status == "proved", proof.verdict.reason
        useless = proof.model_copy(update={"test": TestProof(reason="it passes on the program as it was")})
        attempt = Attempt(diagnosis.hypotheses[0], patch, by_diagnosis(CAUSE), useless)
        yield Bench(prover, attempt, Finding(run, diagnosis, diagnosis.hypotheses[0]))


def test_a_test_is_written_run_and_written_again(bench: Bench) -> None:
    """The first asserts nothing of the fault and passes everywhere; the second is red, green, green and red."""
    lm = scripted(SYMPTOM, MECHANISM)

    done = room._tested(bench.prover, bench.attempt, bench.finding, Model(lm))

    assert done.test_status == "proved", done.test_reason
    assert done.test_reason.endswith("its assertion was written by a language model")
    assert done.check.claim == MECHANISM["claim"]
    assert done.check.name == "every_step_starts_with_cleared_gradients"
    assert done.check.imports == ("finite",)
    first, second = (json.dumps(request) for request in lm.engine.requests)
    assert "it passes on the program as it was" in first
    assert "your test was run: it passes on the program as it was" in second
    assert "+    optimizer.zero_grad()" in first
    assert "carried_grad_norm" in first
    assert "[E1] zero_grad cleared 0 of 60 steps" in first


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([{"claim": "x", "body": "import os\nassert os, 'x'"}] * 2, "a test may not use import"),
        ([{"claim": "", "body": MECHANISM["body"]}] * 2, "the claim is empty"),
        ([SYMPTOM, SYMPTOM], "your test was run: it passes on the program as it was"),
        (["prose"], "AdapterParseError"),
    ],
    ids=["unsafe", "no claim", "useless", "unreadable"],
)
def test_a_test_that_does_not_hold_leaves_it_unproved(bench: Bench, answers: list[Any], words: str) -> None:
    """The template's test stays, and what was refused is told."""
    done = room._tested(bench.prover, bench.attempt, bench.finding, Model(scripted(*answers)))

    assert (done.check, done.test_status) == (bench.attempt.check, "unproved")
    assert any(words in note for note in done.notes)


def test_without_a_model_nothing_is_written(bench: Bench) -> None:
    """Neither a change nor a test."""
    assert room._tested(bench.prover, bench.attempt, bench.finding, Nobody()) == bench.attempt
    assert Nobody().repair(bench.finding) == (None, [])
