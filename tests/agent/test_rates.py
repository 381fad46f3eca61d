"""Repairs of a number: found however it reaches the optimizer, and chosen by what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for
from aitia.agent.race import Entry, beyond, order
from aitia.engine.replay.job import Job
from aitia.engine.replay.nursery import Outcome
from aitia.engine.replay.reading import Reading
from aitia.engine.replay.replay import Replays, Trial
from aitia.engine.replay.verdict import compare

RATES = {
    "by place through a class": (
        "import torch\nclass T:\n    def __init__(self, net, rate):\n"
        "        self.opt = torch.optim.SGD(net.parameters(), rate)\nT(net, 2.0)\n", 4, "2.0",
    ),
    "groups from a dictionary": (
        "import torch\nhp = {'enc': 2.0}\nopt = torch.optim.SGD([dict(params=a.parameters(), lr=hp['enc']),\n"
        "    dict(params=b.parameters(), lr=hp['enc'])])\n", 3, "2.0",
    ),
    "a configuration in a text": (
        "import json, torch\nC = json.loads('{\"opt\": {\"lr\": 2.0}}')\n"
        "opt = torch.optim.SGD(net.parameters(), **C['opt'])\n", 3, "2.0",
    ),
    "unpacked names": (
        "import torch\nrate, n = 2.0, 3\nopt = torch.optim.SGD(net.parameters(), lr=rate)\n", 3, "2.0",
    ),
    "fields in their order": (
        "import torch\nclass C:\n    size: int\n    rate: float\nc = C(4, 2.0)\n"
        "opt = torch.optim.SGD(net.parameters(), lr=c.rate)\n", 6, "2.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_changed_where_it_is_written(tmp_path: Path, name: str) -> None:
    """The literal changes, whatever hands it went through."""
    source, line, literal = RATES[name]
    run = run_of(tmp_path, source, optimizers={"opt": line}, groups={"lr": 2.0})

    found = [(p.number, p.files["train.py"]) for p in patches_for(run, accuse("optimizer.lr_too_high", line))]

    assert found[:2] == [(0.2, source.replace(literal, "0.2")), (0.06, source.replace(literal, "0.06"))]


def test_a_cycle_is_lowered_at_its_top(tmp_path: Path) -> None:
    """What the optimizer was built with no longer counts."""
    source = (
        "import torch\nTOP = 8.0\nopt = torch.optim.SGD(net.parameters(), lr=0.01)\n"
        "s = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=TOP, total_steps=9)\n"
    )
    run = run_of(tmp_path, source, optimizers={"opt": 3}, groups={"lr": 0.32, "max_lr": 8.0})

    found = [p.files["train.py"] for p in patches_for(run, accuse("optimizer.lr_too_high", 3))]

    assert found[0] == source.replace("8.0", "0.8")


def test_a_decay_reaches_the_groups_through_a_function(tmp_path: Path) -> None:
    """A parameter of a function is followed to what it is called with."""
    source = (
        "import torch\nWD = 40.0\ndef groups(net, d):\n    return [{'params': net.parameters(), 'weight_decay': d}]\n"
        "opt = torch.optim.AdamW(groups(net, WD), lr=1e-3)\n"
    )
    run = run_of(tmp_path, source, optimizers={"opt": 5}, groups={"weight_decay": 40.0})

    found = [p.files["train.py"] for p in patches_for(run, accuse("optimizer.weight_decay_excess", 5))]

    assert found == [source.replace("40.0", x) for x in ("0.4", "0.04", "4")]


def _entry(number: float, status: str = "proved", **measured: float) -> Entry:
    return Entry(number, Reading(label="repaired", **measured), status)  # type: ignore[arg-type]  # fields by name


ORDERS = [
    ([_entry(1.0, accuracy=0.8), _entry(0.1, accuracy=0.96), _entry(0.01, accuracy=0.7)], 0.1),
    ([_entry(1.0, accuracy=0.95), _entry(0.1, accuracy=0.96), _entry(0.01, accuracy=0.95)], 0.1),
    ([_entry(1.0, accuracy=0.96), _entry(0.1, accuracy=0.95)], 0.1),
    ([_entry(1.0, "refuted", accuracy=0.99), _entry(0.1, accuracy=0.9)], 0.1),
    ([_entry(0.1, loss_last=0.5), _entry(0.3, loss_last=0.05)], 0.3),
    ([_entry(0.0, loss_first=0.1, loss_last=0.05), _entry(1.0, loss_first=6.4, loss_last=0.3)], 1.0),
    ([_entry(0.1, loss_last=0.05, told=0.9), _entry(0.3, loss_last=0.5, told=0.1)], 0.3),
]


@pytest.mark.parametrize(("entries", "best"), ORDERS)
def test_the_best_outcome_leads_with_a_margin(entries: list[Entry], best: float) -> None:
    """What is proved first, then what is learned, then the middle of those that are as good."""
    assert entries[order(entries)[0]].number == best


def test_a_search_goes_on_beyond_its_edge() -> None:
    """Only on the side of the best."""
    assert beyond(0.01, 0.1, [0.1, 1.0])
    assert not beyond(10.0, 0.1, [0.1, 1.0])


STILL = {"label": "placebo", "cause": "optimizer.never_stepped", "status": "finished", "seen": True, "log_odds": 7.0}
MOVED = STILL | {"label": "repaired", "seen": False, "log_odds": -4.0, "steps": 50}
OUTCOMES = [
    ({"losses": (1.0,)}, {"losses": (0.2,)}, "proved"),
    ({"losses": (1.0,)}, {"losses": (1.2,)}, "unfinished"),
    ({"losses": (2.0,)}, {"losses": (1.4,), "learned": False, "loss_first": 1.0, "loss_last": 1.6}, "proved"),
    ({"losses": (1.0,)}, {"losses": (1.2,), "fixed_target": False}, "proved"),
    ({"losses": (0.1,) * 12}, {"losses": (1.6, *(0.5,) * 11)}, "proved"),
    ({"losses": (0.1,) * 12}, {"losses": (1.6, *(1.6,) * 11), "learned": False}, "unfinished"),
    ({"losses": (0.1,) * 12}, {"losses": (1.6, *(3.0,) * 11)}, "refuted"),
    ({"losses": (0.0,), "reward": 0.2}, {"losses": (0.1,), "reward": 0.9}, "proved"),
    ({"losses": (0.0,), "reward": 0.2}, {"losses": (-0.1,), "reward": 0.2}, "unfinished"),
    ({"losses": (1.0,), "accuracy": 0.9, "optimizers": 2},
     {"losses": (1.2,), "accuracy": 0.5, "optimizers": 2, "fixed_target": False, "learned": False}, "proved"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "status"), OUTCOMES)
def test_what_stood_still_is_judged_by_what_can_be_compared(
    before: dict[str, object], after: dict[str, object], status: str
) -> None:
    """A loss against an opponent, or on harder and harder samples, is no outcome; what a policy earns is one."""
    readings = Reading(**(STILL | before)), Reading(**(MOVED | after))  # type: ignore[arg-type]  # fields by name

    assert compare([readings[0]], [readings[1]], 1.0).status == status


@pytest.mark.parametrize(("source", "at_once"), [("os.environ['MASTER_PORT'] = '29500'\n", 1), ("print(1)\n", 2)])
def test_programs_whose_ranks_meet_at_a_port_run_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, at_once: int
) -> None:
    """Two runs at the same port would meet each other."""
    asked: list[int] = []

    class Idle:
        """Runs nothing, and tells how much at once it was asked for."""

        def run(self, jobs: Sequence[Job], n: int) -> list[Outcome]:
            asked.append(n)
            return [Outcome(0, 0.0) for _ in jobs]

    replays = Replays(run_of(tmp_path, source), tmp_path)
    monkeypatch.setattr(replays, "_start", Idle)

    replays.play([Trial("placebo", {}), Trial("repaired", {})])

    assert asked == [at_once]
