"""A repair is proved by its mechanism and its test by red and green; what only looks like a repair is refuted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from programs import accuse, run_of
from summing import PROGRAM, REPAIRED

from aitia.agent.invariants import CLEARED, Invariant, by_diagnosis
from aitia.agent.mutants import Mutant, mutants
from aitia.agent.proof import Proof, Prover, hides
from aitia.engine.replay.replay import Played, Replays

SLOWER = PROGRAM.replace("lr=0.05", "lr=0.0005")
HYPOTHESIS = accuse("loop.missing_zero_grad", 11)
CHECK = CLEARED.body


@dataclass
class Bench:
    """A prover, what it found out about the right repair, and the recordings that this rests on."""

    prover: Prover
    proof: Proof
    check: Invariant
    recordings: dict[str, Played]
    mutants: list[Mutant]
    root: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The faulty program, run again as it was and repaired."""
    folder = tmp_path_factory.mktemp("prover")
    project = folder / "project"
    project.mkdir()
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    run = run_of(folder / "runs", PROGRAM)
    with Replays(run, project, preload=("pytest", "aitia.testing")) as replays:
        prover = Prover(replays, run)
        proof, check = prover.prove(HYPOTHESIS, {"train.py": REPAIRED})
        yield Bench(
            prover,
            proof,
            check,
            prover._bounded(prover.recordings(HYPOTHESIS.cause, None), None),
            list(prover._mutants),
            project,
        )


def test_the_mechanism_flips_and_the_test_is_red_green_green_red(bench: Bench) -> None:
    """Placebo, repair, repair with another seed, mutant: each run is told with what it measured."""
    proof, check = bench.proof, bench.check

    assert (proof.status, proof.test.status) == ("proved", "proved"), (proof.verdict.reason, proof.test.reason)
    assert check == CLEARED
    assert "were left over from the step before" in str(proof.test.before)
    assert [(r.label, r.seed, r.seen) for r in proof.readings] == [
        ("placebo", 0, True), ("repaired", 0, False), ("repaired", 1, False), ("mutant", 1, True),
    ]  # fmt: skip


def test_a_smaller_rate_for_a_fault_of_the_loop_is_refuted(bench: Bench) -> None:
    """The loss falls and the gradients are still added up: loss alone proves nothing."""
    proof, _ = bench.prover.prove(HYPOTHESIS, {"train.py": SLOWER})

    placebo, slower = proof.readings[:2]
    assert (slower.loss_last or 0) < (placebo.loss_last or 1e9)
    assert proof.status == "refuted"
    assert "the mechanism is still there" in proof.verdict.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("assert run is not None", "it passes on the program as it was"),
        ("assert run is None, 'no'", "it fails on the repaired program: no"),
        ("import no_such_module", "it could not be run on the program as it was: ModuleNotFoundError"),
        ("raise KeyError('lr')", "it could not be run on the program as it was: KeyError: 'lr'"),
        ("raise SystemExit(7)", "it could not be run on the program as it was"),
    ],
    ids=["tautology", "still red", "import error", "exception", "exit"],
)
def test_an_error_is_no_failed_assertion_and_a_tautology_guards_nothing(bench: Bench, body: str, reason: str) -> None:
    """Anything but red and green leaves the test unproved, and says why."""
    check = Invariant("x", "X.", body, (), None)

    proof = bench.prover._run_test(HYPOTHESIS, check, bench.recordings)

    assert proof.status == "unproved"
    assert reason in proof.reason


def test_a_test_that_passes_on_every_mutant_is_unproved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Green on the repaired program is not enough when it is green without the repair, too."""
    recordings = bench.recordings | {"mutant": bench.recordings["repaired"]}
    monkeypatch.setattr(bench.prover, "_mutants", bench.mutants[:1])

    proof = bench.prover._run_test(HYPOTHESIS, replace(CLEARED, steps=None), recordings)

    assert proof.status == "unproved"
    assert "passes on every mutant" in proof.reason


def test_a_change_that_brings_in_nan_to_num_is_refused_unseen() -> None:
    """A value that is replaced where it appears is not repaired where it came from."""
    masked = {"train.py": PROGRAM.replace("mse_loss(model(x), y)", "mse_loss(model(x).nan_to_num(), y)")}

    assert hides("numerics.log_zero", {"train.py": PROGRAM}, masked) == "nan_to_num"
    assert hides("data.nan_or_inf_input", {"train.py": PROGRAM}, masked) is None
    assert hides("numerics.log_zero", {"train.py": PROGRAM}, {"train.py": REPAIRED}) is None


@pytest.mark.parametrize(
    ("before", "after", "what", "text"),
    [
        ("a = 1\nb = 2\n", "a = 1\nc = 3\nb = 2\n", "its statements never run", "a = 1\nif False:\n    c = 3\nb = 2\n"),
        ("a = 1\nb = 2\nc = 3\n", "a = 4\nb = 2\nc = 5\n", "the change at line 1 taken back", "a = 1\nb = 2\nc = 5\n"),
        ("a = 1\n", "a = 2\n", "the repair taken back", "a = 1\n"),
    ],
    ids=["added", "in two places", "in one place"],
)
def test_a_mutant_takes_a_part_of_the_repair_back(before: str, after: str, what: str, text: str) -> None:
    """The first mutant is the smallest step away from the repair; the last is always the program as it was."""
    first, *_, final = [*mutants({"t.py": before}, {"t.py": after}), *mutants({"t.py": before}, {"t.py": after})]

    assert (first.what, first.files) == (what, {"t.py": text})
    assert final.files == {"t.py": before}


def test_the_diagnosis_can_stand_in_for_a_number(bench: Bench) -> None:
    """The assertion that nothing is accused is red and green on the same recordings."""
    proof = bench.prover._run_test(HYPOTHESIS, by_diagnosis(HYPOTHESIS.cause), bench.recordings)

    assert proof.status == "proved", proof.reason
    assert proof.before == "accused: loop.missing_zero_grad"


def test_the_users_folder_is_not_touched(bench: Bench) -> None:
    """All of it happened in copies."""
    assert {p.name: p.read_text("utf-8") for p in bench.root.iterdir()} == {"train.py": PROGRAM}
