"""A change at run time takes the accused mechanism away, and a placebo does not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from programs import run_of
from registry import MINIS, Mini

from aitia.engine.causes import CAUSES
from aitia.engine.causes.base import PRIOR, Weight
from aitia.engine.reason import Judgement, Suspect
from aitia.engine.replay.bench import BENEATH, ON_TOP
from aitia.engine.replay.child import TABLES
from aitia.engine.replay.reading import Reading, accused, read, same_losses
from aitia.engine.replay.replay import Replays, Trial
from aitia.engine.replay.verdict import compare, present_from
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
        "import torch\ntorch.manual_seed(0)\nmodel = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
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
    assert "train.py:8" in verdict.reason


FILLED = """\
import torch
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 2)
x[0, 0] = float("nan")
for step in range(5):
    model(x).mean().backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("old", "new", "hidden"),
    [
        ('float("nan")\n', 'float("nan")\nx = x.nan_to_num(0.0)\n', ()),
        ("model(x).mean()", "model(x).nan_to_num().mean()", ("train.py:7",)),
    ],
    ids=["in the data", "behind a layer"],
)
def test_missing_values_may_be_filled_in_the_data_and_nowhere_else(
    replays: Replays, old: str, new: str, hidden: tuple[str, ...]
) -> None:
    """The honest repair of missing values looks for them; what a layer puts out is no data any more."""
    [played] = replays.play([Trial("repaired", {"train.py": FILLED.replace(old, new)})])

    assert read(played, "data.nan_or_inf_input", replays.run).hidden == hidden
    assert len(read(played, "numerics.log_zero", replays.run).hidden) == 1


def test_rare_classes_are_judged_by_recall() -> None:
    """Accuracy falls when a rare class is said at last; for any other cause that still refutes."""
    seen = {
        "status": "finished",
        "log_odds": 3.0,
        "seen": True,
        "steps": 10,
        "accuracy": 0.97,
        "recall": 0.5,
        "learned": False,
    }
    gone = {"status": "finished", "steps": 10, "accuracy": 0.84, "recall": 0.8}

    def verdict(cause: str, **other: float) -> str:
        before = Reading(label="placebo", cause=cause, **seen)
        return compare([before], [Reading(label="repaired", cause=cause, **(gone | other))], 0.0).status

    assert verdict("data.class_imbalance") == "proved"
    assert verdict("data.class_imbalance", recall=0.4) == "refuted"
    assert verdict("data.class_imbalance", learned=False) == "proved"
    assert verdict("loss.class_weight_wrong", recall=0.52) == "unfinished"
    assert verdict("data.class_imbalance", learned=False, recall=0.5) == "unfinished"
    assert verdict("optimizer.lr_too_high") == "refuted"


def test_an_accuracy_that_was_given_away_may_fall_as_long_as_something_is_learned() -> None:
    """A leak flatters; a repair after which nothing is learned any more is still refused."""
    before = Reading(label="placebo", status="finished", log_odds=3.0, seen=True, steps=10, accuracy=0.99)
    after = Reading(label="repaired", cause="model.causal_leak", status="finished", steps=10, accuracy=0.8)

    assert compare([before], [after], 0.0).status == "proved"
    assert compare([before], [after.model_copy(update={"learned": False})], 0.0).status == "refuted"
    assert compare([before], [after.model_copy(update={"cause": "loop.missing_zero_grad"})], 0.0).status == "refuted"


@pytest.mark.parametrize(
    ("cause", "changed", "status"),
    [
        ("data.unscaled_target", {"loss_first": 1.1, "loss_last": 1.0, "explained": 0.02}, "unfinished"),
        ("data.unscaled_target", {"loss_first": 1.1, "loss_last": 0.3, "explained": 0.7, "told": 30.0}, "proved"),
        ("data.unscaled_target", {"loss_first": 1.1, "loss_last": 0.3, "told": 30.0}, "proved"),
        ("data.unscaled_target", {"loss_first": 1.1, "loss_last": 0.3, "explained": 0.7}, "unfinished"),
        ("data.unscaled_target", {"loss_first": 1.1, "loss_last": 1.0}, "unfinished"),
        ("data.unscaled_target", {"explained": 0.7, "scored": 0.5}, "proved"),
        ("data.unscaled_target", {"explained": 0.7, "scored": -3.0}, "unfinished"),
        ("data.unscaled_target", {"explained": 0.7, "evaluates": False}, "proved"),
        ("optimizer.never_stepped", {"loss_first": 0.2, "loss_last": 0.11}, "refuted"),
        ("optimizer.never_stepped", {"loss_first": 0.2, "loss_last": 0.11, "optimizers": 2}, "unfinished"),
        ("optimizer.never_stepped", {"loss_first": 0.2, "loss_last": 0.01}, "proved"),
        ("optimizer.never_stepped", {"loss_last": 0.3, "losses": (0.013, 0.01, 0.01)}, "proved"),
        ("loss.padding_counted", {"accuracy": 0.7, "loss_first": 2.0, "loss_last": 1.0, "learned": False}, "proved"),
    ],
)
def test_a_loss_is_compared_where_its_unit_stays(cause: str, changed: dict[str, Any], status: str) -> None:
    """Standardized targets must be learned; an optimizer that steps at last must not make the same loss larger."""
    before = Reading(
        label="placebo", status="finished", log_odds=3.0, seen=True, steps=10, accuracy=0.9, loss_last=0.013, told=250.0
    )
    after = Reading(label="repaired", cause=cause, status="finished", steps=10, **({"accuracy": 0.9} | changed))

    assert compare([before], [after], 0.0).status == status


@pytest.mark.parametrize(
    ("seed", "accuracy", "status"), [(0, 0.93, "refuted"), (1, 0.93, "proved"), (1, 0.88, "refuted")]
)
def test_another_seed_may_do_a_little_worse(seed: int, accuracy: float, status: str) -> None:
    """The same seed is held to the noise of one epoch, another one to twice as much."""
    before = Reading(label="placebo", status="finished", log_odds=3.0, seen=True, steps=10, accuracy=1.0)
    after = Reading(label="repaired", seed=seed, status="finished", steps=10, accuracy=accuracy)

    assert compare([before], [after], 0.0).status == status


@pytest.mark.parametrize(
    ("cause", "changed", "status"),
    [
        ("graph.target_not_detached", {"loss_first": 0.1, "loss_last": 0.3}, "proved"),
        ("graph.detached_term", {"loss_first": 0.1, "loss_last": 0.3}, "refuted"),
        ("loop.eval_mode_left_on", {"accuracy": 0.5}, "refuted"),
        ("loop.missing_zero_grad", {"accuracy": 0.5}, "refuted"),
    ],
)
def test_an_outcome_counts_where_the_repair_leaves_its_meaning(
    cause: str, changed: dict[str, float], status: str
) -> None:
    """The loss against a target that moves may rise; accuracy may not fall, whatever mode the repair changes."""
    before = Reading(label="placebo", status="finished", log_odds=3.0, seen=True, steps=10, accuracy=0.63)
    after = Reading(label="repaired", cause=cause, status="finished", steps=10, **({"accuracy": 0.63} | changed))

    assert compare([before], [after], 0.0).status == status


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


@pytest.mark.parametrize(
    ("accused_before", "sure_after", "status"),
    [((), ("eval.metric_bug",), "unfinished"), ((), (), "proved"), (("eval.metric_bug",), (), "unfinished")],
)
def test_a_second_fault_takes_more_than_a_suspicion(
    accused_before: tuple[str, ...], sure_after: tuple[str, ...], status: str
) -> None:
    """What only the repaired run shows must be sure; what was accused all along only has to clear the bar."""
    before = Reading(label="placebo", status="finished", log_odds=3.0, seen=True, steps=10, accused=accused_before)
    after = Reading(label="repaired", status="finished", steps=10, accused=("eval.metric_bug",), surely=sure_after)

    assert compare([before], [after], 0.0).status == status


def test_a_second_fault_is_sure_from_a_higher_bar_on() -> None:
    """The margin is taken off the belief, not off the confidence."""
    weights = [Weight(3.0 - PRIOR, "seen", mechanism=True)]
    judgement = Judgement((Suspect(CAUSES["eval.metric_bug"], weights),), (), ())

    assert accused(judgement) == accused(judgement, 2.0) == ("eval.metric_bug",)
    assert accused(judgement, 4.0) == ()


@pytest.mark.parametrize(("learned", "status"), [(True, "proved"), (False, "unfinished")])
def test_what_stood_still_has_to_learn_once_it_moves(learned: bool, status: str) -> None:
    """Steps alone are no repair of an optimizer that was never stepped."""
    before = Reading(label="placebo", status="finished", log_odds=3.0, seen=True, steps=10, learned=False)
    after = Reading(label="repaired", cause="optimizer.never_stepped", status="finished", steps=10, learned=learned)

    assert compare([before], [after], 0.0).status == status


@pytest.mark.parametrize(
    ("cause", "reading", "status"),
    [
        ("model.causal_leak", {"sees_past": False}, "unfinished"),
        ("model.causal_leak", {"sees_past": True}, "proved"),
        ("optimizer.never_stepped", {"loss_last": 1.1}, "unfinished"),
        ("optimizer.never_stepped", {"loss_last": 0.5}, "proved"),
        ("data.unscaled_target", {"explained": 0.9, "told": 240.0}, "unfinished"),
        ("data.unscaled_target", {"explained": 0.9, "told": 30.0}, "proved"),
        ("graph.target_not_detached", {"surely": ("graph.non_differentiable_op",)}, "proved"),
        ("graph.detached_term", {"surely": ("graph.non_differentiable_op",)}, "unfinished"),
    ],
)
def test_what_a_repair_must_still_do_depends_on_the_cause(cause: str, reading: dict[str, Any], status: str) -> None:
    """A mask that hides the past too, steps that do harm, and figures in another unit are no repair."""
    before = Reading(
        label="placebo", cause=cause, status="finished", log_odds=3.0, seen=True, steps=10, loss_last=1.0, told=250.0
    )
    after = Reading(label="repaired", cause=cause, status="finished", steps=10, loss_last=0.4, told=200.0)

    assert compare([before], [after.model_copy(update=reading)], 0.0).status == status
