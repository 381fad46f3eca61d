"""A change at run time takes the accused mechanism away, and a placebo does not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from programs import run_of
from registry import MINIS, Mini

from aitia.engine.causes import CAUSES
from aitia.engine.replay.bench import BENEATH, ON_TOP
from aitia.engine.replay.child import TABLES
from aitia.engine.replay.replay import Replays, Trial
from aitia.engine.replay.verdict import compare, present_from, read, same_losses
from aitia.engine.replay.vocabulary import CHANGES, Change, dump, load, parse

HERE = Path(__file__).parent
for module in sorted(HERE.glob("mini_*.py")):
    import_module(module.stem)

PROGRAM = """\
import random, warnings
import numpy as np, torch
warnings.simplefilter("ignore")
torch.manual_seed(0); np.random.seed(0); random.seed(0)
import {module}
from registry import MINIS
next(m for m in MINIS if m.name == "{name}").program(True)
"""
CHANGED = (
    "head_replaced_after_the_optimizer", "raw_pixels", "sorted_by_class", "softmax_then_cross_entropy",
    "batch_statistics_in_evaluation", "never_back_in_training_mode", "best_state_without_a_copy", "missing_values",
    "cleared_before_the_step", "dropout_without_training_flag", "weights_in_half_the_bits",
)  # fmt: skip
"""Minis whose cause names a change: of the rate and the order of calls, of modes, data, losses, states, precision."""


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """The folder of mini programs, as a project."""
    folder = tmp_path_factory.mktemp("interventions")
    project = folder / "project"
    project.mkdir()
    for path in [*HERE.glob("mini_*.py"), HERE / "tiny.py", HERE / "registry.py"]:
        (project / path.name).write_text(path.read_text("utf-8"), encoding="utf-8")
    with Replays(run_of(folder / "runs", "pass\n"), project, seconds=120.0) as made:
        yield made


def source(mini: Mini) -> dict[str, str]:
    """A script that runs the broken mini."""
    return {"train.py": PROGRAM.format(module=mini.program.__module__, name=mini.name)}


@pytest.mark.parametrize("name", CHANGED)
def test_the_causes_own_change_takes_its_mechanism_away(replays: Replays, name: str) -> None:
    """Without the change the mechanism is measured, with it it is not, and nothing gets worse."""
    mini = next(m for m in MINIS if m.name == name)
    changes = tuple(parse(c) for c in CAUSES[mini.cause].interventions)

    played = replays.play([Trial("placebo", source(mini)), Trial("changed", source(mini), changes)])
    before, after = (read(p, mini.cause, replays.run) for p in played)

    verdict = compare([before], [after], present_from(before.log_odds))
    assert verdict.status == "proved", verdict.reason


def test_a_placebo_repeats_the_run_bit_for_bit_and_another_seed_does_not(replays: Replays) -> None:
    """The recorder and the copy change nothing, so that the one change is the only difference."""
    mini = next(m for m in MINIS if m.name == "raw_pixels")

    once, again, other = replays.play([
        Trial("placebo", source(mini)), Trial("placebo", source(mini)), Trial("placebo", source(mini), seed=1),
    ])  # fmt: skip

    assert once.run is not None
    assert again.run is not None
    assert other.run is not None
    assert same_losses(again.run, once.run)
    assert not same_losses(other.run, once.run)


def test_a_value_that_is_hidden_refutes_the_change(replays: Replays) -> None:
    """`nan_to_num` in the loss makes it finite; the place where it does so is told, and the repair refused."""
    broken = (
        "import torch\nmodel = torch.nn.Linear(2, 1)\noptimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for step in range(30):\n    optimizer.zero_grad()\n    p = torch.relu(model(torch.randn(8, 2))).clamp(max=1)\n"
        "    loss = -torch.log(p).mean()\n    loss.backward()\n    optimizer.step()\n"
    )
    masked = broken.replace("torch.log(p)", "torch.log(p).nan_to_num(neginf=-1.0)")

    played = replays.play([Trial("placebo", {"train.py": broken}), Trial("repaired", {"train.py": masked})])
    before, after = (read(p, "numerics.log_zero", replays.run) for p in played)

    verdict = compare([before], [after], present_from(before.log_odds))
    assert before.seen
    assert verdict.status == "refuted"
    assert "hides what is wrong" in verdict.reason
    assert "train.py:7" in verdict.reason


def test_every_change_has_an_implementation_and_every_cause_names_known_ones() -> None:
    """The list is closed on both sides."""
    assert TABLES
    assert set(CHANGES) == set(BENEATH) | set(ON_TOP)
    assert {parse(c).name for cause in CAUSES.values() for c in cause.interventions} <= set(CHANGES)


def test_changes_travel_as_text_and_unknown_names_are_refused() -> None:
    """What is dumped is loaded; anything else never reaches a process."""
    changes = (parse("scale_rate:0.1"), Change(name="unfreeze", subjects=("fc",)))

    assert load(dump(changes)) == changes
    assert changes[0].sentence == "the learning rate times 0.1"
    with pytest.raises(ValueError, match="no change 'rm'"):
        parse("rm:1")
