"""The accused line in the user's source: found by pattern, ordered by likelihood, never more than three."""

from __future__ import annotations

from pathlib import Path

import pytest

from aitia.engine.causes import CAUSES
from aitia.engine.locate import FINDERS, MAX_LINES, locate
from aitia.engine.records import RunInfo, SourceLocation
from aitia.engine.store.reader import Run
from aitia.engine.store.writer import RunWriter

PROGRAM = """import torch
from torch.utils.data import DataLoader
config = {"lr": 30.0, "epochs": 3}
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
        self.fc = torch.nn.Linear(4, 2)
    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, 0])
model = Net()
opt = torch.optim.SGD(model.parameters(), lr=config["lr"])
sched = torch.optim.lr_scheduler.StepLR(opt, 1)
train = DataLoader([], batch_size=8)
test = DataLoader([], batch_size=8)
for x, y in train:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    opt.zero_grad()
    opt.step()
    sched.step()
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = tmp_path / "run"
    path.mkdir()
    writer = RunWriter(path, RunInfo(id="run", script="train.py"))
    writer.source("train.py", PROGRAM.encode())
    writer.source("broken.py", b"def f(:\n")
    writer.close()
    return Run(path)


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        ("optimizer.lr_too_high", 3),
        ("loop.zero_grad_after_backward", 20),
        ("scheduler.stepped_per_batch", 22),
        ("data.order_not_shuffled", 15),
        ("model.wrong_state_used", 11),
        ("loop.missing_zero_grad", 19),
    ],
)
def test_the_line_that_is_wrong_comes_first(run: Run, cause: str, line: int) -> None:
    """Literal behind the rate, misplaced call, unshuffled loader, wrong state: the pattern's own line."""
    found = locate(run, cause, None, None)

    assert found is not None
    assert (found.file, found.lines[0]) == ("train.py", line)


def test_a_component_is_found_where_it_is_made(run: Run) -> None:
    """Without a pattern the accused module's assignment is named."""
    found = locate(run, "model.dead_units", "fc", None)

    assert found is not None
    assert found.lines == (8,)


def test_what_was_measured_is_kept(run: Run) -> None:
    """A measured line is never lost to a search that finds nothing."""
    measured = SourceLocation(file="train.py", lines=(18,))

    assert locate(run, "loss.kl_argument_order", None, measured) == measured
    assert locate(run, "loss.kl_argument_order", None, None) is None


def test_never_more_than_a_few_lines(run: Run) -> None:
    """Every pattern stays within the limit on a whole program."""
    for cause in FINDERS:
        found = locate(run, cause, "fc", SourceLocation(file="train.py", lines=(19,)))

        assert found is not None
        assert 1 <= len(found.lines) <= MAX_LINES


def test_patterns_belong_to_known_causes() -> None:
    """No pattern for an id that the catalogue does not have."""
    assert set(FINDERS) <= set(CAUSES)
