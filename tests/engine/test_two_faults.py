"""Two faults in one program that have nothing to do with each other are both named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from tiny import batches, blobs, evaluate, line, mlp
from torch import Tensor, nn

from aitia.engine.capture.watch import watch
from aitia.engine.reason import diagnose

pytestmark = pytest.mark.filterwarnings("ignore")  # the programs are faulty, and torch says so


def class_probabilities_and_a_decay_per_batch() -> None:
    """Softmax before cross entropy, and a scheduler that decays at every batch."""
    model = nn.Sequential(mlp(), nn.Softmax(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)
    for _ in range(5):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            decay.step()


def new_head_and_dropout_in_evaluation() -> None:
    """The head is replaced after the optimizer was built, and evaluation runs in training mode."""
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 9))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model[3] = nn.Linear(32, 6)
    x, y = blobs()
    for _ in range(5):
        for bx, by in batches(x[:360], y[:360]):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        with torch.no_grad():
            for bx, by in batches(x[360:], y[360:], shuffle=False):
                F.cross_entropy(model(bx), by)


def column_targets_and_old_gradients() -> None:
    """(n, 1) against (n) in the loss, and nobody clears the gradients."""
    x, y = line()
    model = mlp(dim=6, out=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(5):
        for bx, by in batches(x, y):
            F.mse_loss(model(bx), by).backward()
            optimizer.step()


class FirstState(nn.Module):
    """Classifies a sequence by its first state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x)[0][:, 0])
        return out


def first_state_and_no_step() -> None:
    """A recurrent classifier that reads its first state, and is never stepped."""
    x = torch.randn(240, 10, 3)
    y = (x[:, 5:, 0].sum(1) > 0).long() + 2 * (x[:, 5:, 1].sum(1) > 0).long()
    model = FirstState()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
        evaluate(model, (x, y), F.cross_entropy)


PAIRS = [
    (class_probabilities_and_a_decay_per_batch, {"loss.double_softmax", "scheduler.stepped_per_batch"}),
    (new_head_and_dropout_in_evaluation, {"optimizer.stale_param_reference", "eval.mode_not_eval"}),
    (column_targets_and_old_gradients, {"loss.shape_broadcast", "loop.missing_zero_grad"}),
    (first_state_and_no_step, {"model.wrong_state_used", "optimizer.never_stepped"}),
]


@pytest.mark.parametrize(("program", "causes"), PAIRS, ids=[p.__name__ for p, _ in PAIRS])
def test_both_faults_are_named(program: Callable[[], None], causes: set[str], tmp_path: Path) -> None:
    """Neither hides the other."""
    torch.manual_seed(0)
    with watch(runs=tmp_path, name="two") as watched:
        program()
    found = diagnose(watched.run())

    assert causes <= {h.cause for h in found.hypotheses}
