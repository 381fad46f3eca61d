"""The recorder as a guest: what it leaves alone, how it comes and goes, and what becomes of its own faults."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from toys import data, net


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
