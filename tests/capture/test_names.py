"""Which models, layers and parameters there are, what they are called and which optimizer holds them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from toys import data, fit, last_signature, net


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
    run = record(lambda: fit(Listed(), x, y))
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
