"""A recorded program prints what it prints alone, to the last digit, and ends the same way."""

from __future__ import annotations

import math
import re

import pytest

from aitia.evals import exact, recordings
from aitia.evals.kill import Result
from aitia.evals.recordings import job_for, record
from aitia.evals.zoo import load

SAMPLE = (
    "iris_fit_function",
    "ring_gan",  # two optimizers, noise drawn at every step
    "digits_deep_trainer",  # dropout and batch norm
    "waves_gru",  # ends with an exception
    "tumour_logistic",  # ends in NaN
    "digits_siamese",  # two forwards a step, NaN in backward
    "digits_cosine",  # a schedule
    "digits_transfer",  # layers replaced after the optimizer was built
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[exact.Comparison], dict[str, Result]]:
    """The sample, recorded and alone; both are forks of this process with libraries already loaded."""
    forked = recordings._forks
    recordings.preload()
    try:
        plan = []
        for name in SAMPLE:
            program = load(name, "dev")
            variant = "faulty" if program.faults else "healthy"
            plan.append((program, variant, 0, record(job_for(program, variant, 0, tmp_path_factory.mktemp("exact")))))
        return exact.compare(plan), {program.name: recording.result for program, _, _, recording in plan}
    finally:
        recordings._forks = forked


@pytest.mark.parametrize("name", SAMPLE)
def test_recording_changes_nothing_that_is_printed(
    name: str, compared: tuple[list[exact.Comparison], dict[str, Result]]
) -> None:
    """Losses, accuracies and exit status are those of the program alone."""
    one = next(c for c in compared[0] if c.program == name)

    assert (one.outcome, one.difference) == ("same", "")
    assert compared[1][name].code == (1 if name == "waves_gru" else 0)
    assert name == "waves_gru" or re.search(r"\d\.\d", compared[1][name].stdout), "figures were printed"


@pytest.mark.parametrize(
    ("again", "recorded", "outcome"),
    [
        (None, Result(0, "loss 0.5\n", "", 1.0), "same"),
        (Result(0, "loss 0.5\n", "", 1.0), Result(0, "loss 0.50000001\n", "", 1.0), "differs"),
        (Result(0, "loss 0.5\n", "", 1.0), Result(1, "loss 0.5\n", "", 1.0), "differs"),
        (Result(0, "loss 0.7\n", "", 1.0), Result(0, "loss 0.6\n", "", 1.0), "unsteady"),
        (None, Result(None, "", "", math.inf), "timeout"),
    ],
)
def test_only_programs_that_repeat_themselves_count(again: Result | None, recorded: Result, outcome: str) -> None:
    """A difference counts where two runs alone agree."""
    assert exact._judge(Result(0, "loss 0.5\n", "", 1.0), again, recorded)[0] == outcome
