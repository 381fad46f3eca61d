"""What a recording holds, on programs with a known answer."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from aitia.engine.capture import stats, step_reading
from aitia.engine.store.reader import Run


def data(n: int = 32, width: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, width, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def last_signature(run: Run) -> str:
    counts = run.fact("signature_counts").data
    return max(counts, key=lambda k: counts[k])


@pytest.mark.parametrize("where", ["host", "device"])
def test_numbers_are_those_of_a_slow_obvious_reading(record, monkeypatch, where: str) -> None:
    """Loss, gradient norm, weights, updates and layer statistics agree with torch's own operations.

    `device` takes the way of tensors that are not in host memory: torch operations, one transfer per step.
    """
    if where == "device":
        monkeypatch.setattr(stats, "host", lambda x: None)
        monkeypatch.setattr(stats, "host_row", lambda *args: None)
    x, y = data()
    model = net()
    seen: list[dict[str, float]] = []

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            hidden = model[0](x)
            out = model[2](model[1](hidden))
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            before = model[0].weight.detach().clone()
            grads = [p.grad.clone() for p in model.parameters()]
            optimizer.step()
            seen.append(
                {
                    "loss": loss.item(),
                    "norm": torch.cat([g.flatten() for g in grads]).norm().item(),
                    "update": (model[0].weight - before).norm().item(),
                    "weight": model[0].weight.norm().item(),
                    "absmax": grads[0].abs().max().item(),
                    "mean": hidden.mean().item(),
                    "std": out.std(correction=0).item(),
                    "zeros": (model[1](hidden) == 0).float().mean().item(),
                }
            )

    run = record(train)
    table = run.table("step")
    for i, expected in enumerate(seen):
        assert table["loss"][i] == pytest.approx(expected["loss"], rel=1e-6)
        assert table["grad_norm"][i] == pytest.approx(expected["norm"], rel=1e-5)
        assert run.of_parameter("0.weight", "update_norm")[1][i] == pytest.approx(expected["update"], rel=1e-5)
        assert run.of_parameter("0.weight", "weight_norm")[1][i] == pytest.approx(expected["weight"], rel=1e-5)
        assert run.of_parameter("0.weight", "grad_absmax")[1][i] == pytest.approx(expected["absmax"], rel=1e-5)
        assert run.of_layer("0", "out_mean")[1][i] == pytest.approx(expected["mean"], rel=1e-4, abs=1e-6)
        assert run.of_layer("model", "out_std")[1][i] == pytest.approx(expected["std"], rel=1e-4)
        assert run.of_layer("1", "out_zero_share")[1][i] == pytest.approx(expected["zeros"], abs=1e-6)


def test_large_parameters_are_sampled(record, monkeypatch) -> None:
    """The update norm of a thinned-out parameter is that of the whole within a few percent."""
    monkeypatch.setattr(step_reading, "MAX_COPIED", 3_000)
    model = nn.Linear(100, 100)
    start = model.weight.detach().clone()

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.randn(64, 100)).square().mean().backward()
        optimizer.step()

    run = record(train)
    expected = (model.weight - start).norm().item()

    assert run.of_parameter("weight", "update_norm")[1][0] == pytest.approx(expected, rel=0.1)
    assert run.of_parameter("weight", "update_share")[1][0] == pytest.approx(1.0, abs=0.01)


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


def test_two_networks_have_their_own_names_and_share_a_step(record) -> None:
    """A GAN's row holds both optimizers' steps; gradients that the next backward clears first are not carried."""
    x, _ = data()

    def train() -> None:
        generator, critic = nn.Linear(2, 6), nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
        opt_g = torch.optim.Adam(generator.parameters())
        opt_d = torch.optim.Adam(critic.parameters())
        for _ in range(5):
            fake = generator(torch.randn(32, 2))
            opt_d.zero_grad()
            (critic(fake.detach()).mean() - critic(x).mean()).backward()
            opt_d.step()
            opt_g.zero_grad()
            (-critic(fake).mean()).backward()
            opt_g.step()

    run = record(train)
    table = run.table("step")

    assert [o.name for o in run.optimizers] == ["opt_g", "opt_d"]
    assert {p.name for p in run.parameters} >= {"generator.weight", "critic.0.weight"}
    assert table["step"].tolist() == [1, 2, 3, 4, 5]
    assert table["n_backward"].tolist() == [2.0] * 5
    assert run.parameter("generator.weight").optimizers == (0,)
    assert last_signature(run) == "Z0 F1 B S0 F0 Z1 F1*2 B S1"
    assert table["carried_grad_norm"].tolist() == [0.0] * 5


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


def test_a_head_replaced_after_the_optimizer_was_built_is_told(record) -> None:
    """The new head is trainable and held by nobody; the old one is held and in no model."""
    x, y = data()

    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[2] = nn.Linear(8, 3)
        for _ in range(4):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    run = record(train)
    coverage = run.fact("coverage").data

    assert coverage["trainable_not_held"] == ["2.weight", "2.bias"]
    assert coverage["held_not_in_model"] == ["?0", "?1"]
    assert coverage["former_names"] == {"?0": "2.weight", "?1": "2.bias"}
    assert {f.subject for f in run.facts("parameter_replaced")} == {"2.weight", "2.bias"}
    grads = run.of_parameter("2.weight", "grad_norm")[1]
    assert (np.diff(grads) > 0).all()
    assert (run.table("step")["carried_unheld_norm"][1:] > 0).all()
    assert run.table("step")["carried_grad_norm"].tolist() == [0.0] * 4


def test_a_layer_replaced_during_training_gets_a_column(record) -> None:
    """The name goes to the tensor that is used now."""
    x, y = data()

    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(6):
            if step == 3:
                model[2] = nn.Linear(8, 3)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    run = record(train)

    assert run.fact("parameter_replaced", "2.weight").data["old_held"] is True
    assert run.parameter("2.weight").optimizers == ()
    present = run.of_parameter("2.weight", "grad_present")[1]
    assert np.isnan(present[:3]).all()
    assert present[-1] == 1.0


def test_frozen_and_unheld_parameters_are_told_apart(record) -> None:
    """A frozen body and a bias that the groups leave out."""
    x, y = data()

    def train() -> None:
        model = net()
        model[0].requires_grad_(False)
        optimizer = torch.optim.SGD([model[2].weight], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    run = record(train)
    coverage = run.fact("coverage").data

    assert coverage["frozen"] == ["0.weight", "0.bias"]
    assert coverage["trainable_not_held"] == ["2.bias"]
    assert run.of_parameter("0.weight", "grad_present")[1].tolist() == [0.0] * 3
    assert run.of_layer("0", "out_tracked")[1].tolist() == [0.0] * 3


class Listed(nn.Module):
    """Keeps its blocks in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(6, 6), nn.Linear(6, 6)]
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_modules_outside_the_tree_are_named_by_the_list_that_holds_them(record) -> None:
    """They get columns of their own and count as unregistered."""
    x, y = data()

    def train() -> None:
        model = Listed()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    run = record(train)
    last = run.facts("coverage")[-1].data

    assert last["unregistered_modules"] == ["blocks.0", "blocks.1"]
    assert last["unregistered_parameters"] == ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"]
    assert run.layer("blocks.0").config["registered"] is False
    assert (run.of_parameter("blocks.0.weight", "grad_norm")[1][1:] > 0).all()


class Trainer:
    """A training loop as a class."""

    def __init__(self) -> None:
        self.encoder, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.optim = torch.optim.Adam([*self.encoder.parameters(), *self.head.parameters()])

    def fit(self, x: Tensor, y: Tensor) -> None:
        for _ in range(3):
            self.optim.zero_grad()
            functional.cross_entropy(self.head(self.encoder(x)), y).backward()
            self.optim.step()


class Whole(nn.Module):
    """Called part by part from its own method."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def training_step(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self.head(self.encoder(x)), y)


def test_names_come_from_attributes_and_from_the_larger_model(record) -> None:
    """Separate networks of a trainer are models; parts of a module are parts of it."""
    x, y = data()
    run = record(lambda: Trainer().fit(x, y))
    assert [f.data["name"] for f in run.facts("model_seen")] == ["encoder", "head"]
    assert run.optimizers[0].name == "optim"

    def train() -> None:
        system = Whole()
        optimizer = torch.optim.SGD(system.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            system.training_step(x, y).backward()
            optimizer.step()

    run = record(train)
    assert [f.data["name"] for f in run.facts("model_seen")] == ["system"]
    assert {p.name for p in run.parameters} == {"encoder.weight", "encoder.bias", "head.weight", "head.bias"}


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


class Odd(nn.Module):
    """Keyword arguments, an LSTM's nested output, a dictionary, sparse gradients, a tied weight, an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6, sparse=True)
        self.rnn = nn.LSTM(6, 6, batch_first=True)
        self.act = nn.ReLU(inplace=True)
        self.inner, self.again = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.again.weight = self.inner.weight
        self.complex = nn.Parameter(torch.ones(6, dtype=torch.complex64))

    def forward(self, *, ids: Tensor) -> dict[str, Tensor]:
        out, (h, _) = self.rnn(self.embed(ids))
        out = self.act(self.inner(out)) + self.again(out)
        return {"out": out, "extra": (h[0] * self.complex).abs()}


def test_odd_outputs_and_gradients_are_measured(record) -> None:
    """Nothing in the recorder fails on them, and the numbers are there."""
    ids = torch.arange(12).reshape(3, 4) % 10

    def train() -> None:
        model = Odd()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            out = model(ids=ids)
            (out["out"].square().mean() + out["extra"].mean()).backward()
            optimizer.step()

    run = record(train)

    assert (run.of_parameter("embed.weight", "grad_norm")[1] > 0).all()
    assert (run.of_parameter("complex", "grad_norm")[1] > 0).all()
    assert run.parameter("again.weight").tied_to == "inner.weight"
    assert run.table("batch")["n"].tolist() == [3.0] * 3
    assert (run.of_layer("rnn", "gout_norm")[1] > 0).all()
    assert (run.of_layer("act", "out_min")[1] >= 0).all()


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


def test_scaled_gradients_are_told_unscaled(record) -> None:
    """Under a GradScaler loss and gradients have their own size, and a skipped step is no step."""
    x, y = data()
    model = net()
    truth = torch.autograd.grad(functional.cross_entropy(model(x), y), list(model.parameters()))
    expected = torch.cat([g.flatten() for g in truth]).norm().item()

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            scaler.scale(loss * math.inf if step == 1 else loss).backward()
            scaler.step(optimizer)
            scaler.update()

    run = record(train)
    table = run.table("step")

    assert run.n_steps == 3
    assert table["grad_norm"] == pytest.approx([expected] * 3, rel=1e-4)
    assert table["loss"][0] == pytest.approx(math.log(3), rel=0.5)
    root = run.of_layer("model", "gout_norm")[1]
    assert root[0] == pytest.approx(root[-1], rel=1e-4)
    assert root[0] < 1.0


def test_nothing_of_the_program_is_kept_alive(record) -> None:
    """Graphs and optimizers go when the program lets them go; the last model is needed for experiments at the end."""
    kept: list[weakref.ref[object]] = []

    def train() -> None:
        x, y = data()
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        kept.extend([weakref.ref(loss), weakref.ref(optimizer)])
        del model, loss, optimizer, x, y
        gc.collect()
        kept[:] = [k for k in kept if k() is not None]

    record(train)

    assert kept == []


def test_an_exception_inside_watch_is_kept_and_goes_on(tmp_path) -> None:
    """The block's exception reaches the program; the recording names where it struck."""
    from aitia.engine.capture.watch import watch

    watched = watch(runs=tmp_path, name="mine")
    with pytest.raises(RuntimeError, match="shapes"), watched:
        net()(torch.randn(2, 7))
    failure = watched.run().info.failure

    assert watched.path.name.endswith("-mine")
    assert failure.module_class == "Linear"
    assert failure.phase == "forward"


def test_watch_leaves_torch_as_it_was(record) -> None:
    """After the block every patched name is the original again."""
    names = [
        (torch.autograd, "backward"),
        (torch.autograd, "grad"),
        (nn.Module, "train"),
        (torch.optim.Optimizer, "__init__"),
        (functional, "cross_entropy"),
        (torch.nn.utils, "clip_grad_norm_"),
    ]
    before = [getattr(owner, name) for owner, name in names]

    record(lambda: net()(torch.randn(2, 6)))

    assert [getattr(owner, name) for owner, name in names] == before
    assert not nn.modules.module._global_forward_hooks


def test_switched_off_records_nothing(tmp_path, monkeypatch) -> None:
    """AITIA=0."""
    from aitia.engine.capture.watch import watch

    monkeypatch.setenv("AITIA", "0")
    with watch(runs=tmp_path) as watched:
        net()(torch.randn(2, 6))

    assert watched.path is None
    assert not list(tmp_path.iterdir())


def test_a_compiled_model_is_not_broken_into_pieces(record) -> None:
    """Dynamo sees hooks that return at once: one graph, and the recording still has steps and gradients."""
    x, y = data()
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(1)
        return graph.forward

    def train() -> None:
        model = net()
        fast = torch.compile(model, backend=backend)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            functional.cross_entropy(fast(x), y).backward()
            optimizer.step()
        graphs.append(-len(graphs))

    run = record(train)

    assert graphs[:2] == [1, -1]
    assert run.n_steps == 4
    assert [p.name for p in run.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]
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

    def train() -> None:
        model = Checkpointed()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    run = record(train)

    assert run.table("step")["n_forward"].tolist() == [1.0] * 3
    assert run.of_layer("block.0", "calls")[1].tolist() == [1.0] * 3
    assert run.table("step")["n_backward"].tolist() == [1.0] * 3


def test_lazy_modules_are_registered_once_they_have_shapes(record) -> None:
    """A LazyLinear has no shape before its first forward."""
    x, y = data()

    def train() -> None:
        model = nn.Sequential(nn.LazyLinear(3))
        with torch.no_grad():
            model(x)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    assert record(train).parameter("0.weight").shape == (3, 6)


def test_a_block_inside_a_recorded_block_joins_it(record, tmp_path) -> None:
    """One recording, one directory."""
    from aitia.engine.capture.watch import watch

    paths = []

    def train() -> None:
        with watch(runs=tmp_path / "other") as inner:
            net()(torch.randn(2, 6))
        paths.append(inner.path)

    run = record(train)

    assert paths == [run.path]
    assert not (tmp_path / "other").exists()


def test_a_fault_of_the_recorder_stays_inside(tmp_path, monkeypatch) -> None:
    """It is written down, and the training neither sees it nor is slowed by more of the same."""
    from aitia.engine.capture.layers import Layers
    from aitia.engine.capture.watch import watch

    def broken(*_: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr(Layers, "see", broken)
    x, y = data()
    with watch(runs=tmp_path) as watched:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    told = [f.data["what"] for f in watched.run().facts("recorder")]

    assert sum("failed" in what for what in told) == 5
    assert "switched off" in told
