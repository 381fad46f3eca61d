"""What belongs to a step: the calls of loops of every shape, on programs with a known answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from toys import data, fit, last_signature, net


def test_a_plain_loop_reads_as_its_calls(record) -> None:
    """Signature, counts, modes and coverage of an ordinary loop."""
    x, y = data()

    def train() -> None:
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(4):
            model.train()
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                model(x)

    run = record(train)

    assert last_signature(run) == "M E0 T Z0 F0 L0 B S0"
    assert run.fact("model_seen").data["name"] == "model"
    assert run.optimizers[0].name == "optimizer"
    assert [p.name for p in run.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert run.fact("coverage").data["trainable_not_held"] == []
    assert run.table("step")["carried_grad_norm"].tolist() == [0.0] * 4
    assert {(f.data["training"], f.data["grad"]) for f in run.facts("forward_context")} == {
        (True, True),
        (False, False),
    }
    assert run.table("batch")["n"].tolist() == [32.0] * 8
    assert len(set(run.table("batch")["in_hash"].tolist())) == 1


def test_gradients_of_an_earlier_step_are_seen_when_nobody_clears_them(record) -> None:
    """carried_grad_norm is what was there, fresh_grad_norm what this step added."""
    x, y = data()
    model = net()
    expected: list[tuple[float, float]] = []

    def norm(parts: list[Tensor]) -> float:
        return torch.cat([p.flatten() for p in parts]).norm().item()

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            functional.cross_entropy(model(x), y).backward()
            after = [p.grad.clone() for p in model.parameters()]
            added = [a - b for a, b in zip(after, before, strict=True)] if before else after
            expected.append((norm(before) if before else 0.0, norm(added)))
            optimizer.step()

    table = record(train).table("step")

    assert table["carried_grad_norm"] == pytest.approx([c for c, _ in expected], rel=1e-5)
    assert table["fresh_grad_norm"] == pytest.approx([f for _, f in expected], rel=1e-4)
    assert table["n_zero_grad"].tolist() == [0.0] * 3


@pytest.mark.parametrize("to_none", [True, False])
def test_cleared_gradients_are_not_carried(record, to_none: bool) -> None:
    """Zeroed and removed gradients are both clear."""
    x, y = data()

    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=to_none)

    assert record(train).table("step")["carried_grad_norm"].tolist() == [0.0] * 3


def test_a_second_phase_goes_on_counting(record) -> None:
    """A new optimizer after a first training continues the steps."""
    x, y = data()

    def train() -> None:
        model = net()
        for _ in range(2):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(4):
                optimizer.zero_grad()
                functional.cross_entropy(model(x), y).backward()
                optimizer.step()

    run = record(train)

    assert run.n_steps in {7, 8}
    assert len(run.optimizers) == 2


def test_a_program_that_never_steps_still_shows_its_gradients(record) -> None:
    """Backward rows and parameter rows without any optimizer step."""
    x, y = data()
    model = net()

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(9):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()

    run = record(train)

    assert run.n_steps == 0
    assert len(run.table("backward")["loss"]) == 9
    assert run.wide("param").steps.tolist() == [0, 0]
    assert (run.of_parameter("0.weight", "grad_norm")[1] > 0).all()
    assert "S" not in last_signature(run)


def test_micro_batches_belong_to_one_step(record) -> None:
    """Accumulated backward passes are counted, and their losses add up."""
    x, y = data()

    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            for part in range(4):
                rows = slice(8 * part, 8 * part + 8)
                (functional.cross_entropy(model(x[rows]), y[rows]) / 4).backward()
            optimizer.step()
            optimizer.zero_grad()

    run = record(train)
    table = run.table("step")

    assert table["n_backward"].tolist() == [4.0] * 3
    assert table["loss"][0] == pytest.approx(run.table("backward")["loss"][:4].sum(), rel=1e-6)
    assert table["carried_grad_norm"].tolist() == [0.0] * 3
    assert run.of_layer("0", "calls")[1].tolist() == [4.0] * 3
    assert last_signature(run) == "Z0 F0 L0 B F0 L0 B F0 L0 B F0 L0 B S0"


def test_a_closure_is_one_step(record) -> None:
    """LBFGS runs forward and backward several times inside its step."""
    x, y = data()

    def train() -> None:
        model = net()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)

    run = record(train)

    assert run.n_steps == 2
    assert (run.table("step")["n_backward"] >= 2).all()
    assert (run.table("step")["grad_norm"] > 0).all()


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_forwards_are_not_counted(record, reentrant: bool) -> None:
    """Activation checkpointing runs parts of the forward again inside backward."""
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.block, self.last = (
                nn.Linear(6, 6),
                nn.Sequential(nn.Linear(6, 6), nn.Tanh()),
                nn.Linear(6, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.last(checkpoint(self.block, self.first(x), use_reentrant=reentrant))

    x, y = data()
    run = record(lambda: fit(Checkpointed(), x, y))

    assert run.table("step")["n_forward"].tolist() == [1.0] * 3
    assert run.of_layer("block.0", "calls")[1].tolist() == [1.0] * 3
    assert run.table("step")["n_backward"].tolist() == [1.0] * 3
