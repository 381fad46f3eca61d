"""A live model with a batch: examined on a copy, found out where it is ill, left as it was."""

from __future__ import annotations

import copy
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aitia.agent.errors import AnalysisError
from aitia.agent.model_debugging import ModelDebuggingAgent
from aitia.agent.request import DebuggingConfig, DebuggingRequest, DebuggingResponse
from aitia.engine.store.reader import list_runs

torch = pytest.importorskip("torch")
nn = torch.nn


def debug(config: dict[str, Any] | None = None, **request: Any) -> DebuggingResponse:
    """One request."""
    return ModelDebuggingAgent(DebuggingConfig(**(config or {}))).debug_model(DebuggingRequest(**request))


def classes(n: int = 32, width: int = 8, ways: int = 4) -> tuple[Any, Any]:
    """A batch whose classes can be told apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % ways
    return torch.randn(n, width, generator=generator) + 2.0 * nn.functional.one_hot(labels, width), labels


def mlp(*last: Any) -> Any:
    """A small classifier."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), *last)


def test_a_faulty_model_is_found_out_and_left_as_it_was(tmp_path: Path) -> None:
    """Probabilities go into cross entropy; weights, gradients, optimizer and all random states stay."""
    model, batch = mlp(nn.Dropout(0.1), nn.Softmax(dim=1)), classes()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    weights, held = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()

    response = debug({"runs": tmp_path}, model=model, batch=batch, optimizer=optimizer, words="not converging")

    assert response.issues[0].type == "loss.double_softmax"
    assert response.issues[0].severity == "critical"
    assert response.recommendations
    assert response.visualizations["plot.loss"].startswith("data:image/png;base64,")
    assert response.visualizations["causal_graph"].startswith("flowchart")
    assert response.cost.analysis_seconds > 0
    assert response.cost.issues_found == len(response.issues)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert optimizer.state_dict() == held
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_the_users_optimizer_is_part_of_the_question() -> None:
    """It was built for a head that is gone: only with the optimizer can that be seen."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[2] = nn.Linear(16, 4)

    found = debug(model=model, batch=classes(), optimizer=optimizer)
    without = debug(model=model, batch=classes())

    assert found.issues[0].type == "optimizer.stale_param_reference"
    assert without.diagnosis.verdict != "faulty"


def test_a_rate_that_is_far_too_high_is_the_users() -> None:
    """The loss explodes on the copy."""
    model = mlp()

    found = debug({"level": "comprehensive"}, model=model, batch=classes(),
                  optimizer=torch.optim.SGD(model.parameters(), lr=300.0))  # fmt: skip

    assert "optimizer.lr_too_high" in {i.type for i in found.issues}


def _regression() -> dict[str, Any]:
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    return {"model": nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)), "batch": (x, x[:, :1] * 2)}


def _convolutions() -> dict[str, Any]:
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * 36, 4)
    return {"model": nn.Sequential(*layers), "batch": (torch.randn(32, 1, 8, 8), torch.arange(32) % 4)}


def _frozen() -> dict[str, Any]:
    model = mlp()
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    return {"model": model, "batch": classes(), "optimizer": optimizer}


class _Named(nn.Module):  # type: ignore[name-defined, misc]  # torch is imported by pytest
    """Takes arguments by name and brings its own loss, as models of libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, features: Any, labels: Any) -> Any:
        return SimpleNamespace(loss=nn.functional.cross_entropy(self.body(features), labels))


def _by_name() -> dict[str, Any]:
    x, y = classes()
    return {"model": _Named(), "batch": ({"features": x, "labels": y}, None)}


@pytest.mark.parametrize("case", [_regression, _convolutions, _frozen, _by_name])
@pytest.mark.parametrize("level", ["basic", "comprehensive"])
def test_a_healthy_model_is_accused_of_nothing(case: Any, level: str) -> None:
    """Neither one batch nor the few steps nor our own rate count against it."""
    torch.manual_seed(0)

    response = debug({"level": level}, **case())

    assert [(i.type, i.message) for i in response.issues] == []
    assert response.diagnosis.verdict == "healthy"


def test_a_live_model_that_fails_is_diagnosed() -> None:
    """The exception is part of the answer, not the end of it."""
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(17, 4))

    response = debug(model=model, batch=(torch.randn(4, 8), torch.tensor([0, 1, 2, 3])))

    assert response.issues[0].type == "shape.mismatch"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"model": mlp()}, r"give batch=\(inputs, targets\)"),
        ({"model": mlp(), "batch": classes(), "optimizer": "SGD"}, r"expected a torch\.optim\.Optimizer"),
        ({"model": mlp().requires_grad_(False), "batch": classes()}, "no parameter of the model requires"),
        ({"model": mlp(), "batch": (classes()[0], None)}, "without targets a loss is needed"),
        ({"model": mlp(), "batch": classes(), "run": "x"}, "not both"),
    ],
)
def test_what_cannot_be_trained_is_an_error(request_: dict[str, Any], words: str) -> None:
    """In one line that says what to give."""
    with pytest.raises(AnalysisError, match=words):
        debug(**request_)


def test_a_recording_that_is_under_way_is_not_disturbed(tmp_path: Path) -> None:
    """The copy's steps would stand in the user's run."""
    import aitia

    model = mlp()
    with aitia.watch(model, runs=tmp_path), pytest.raises(AnalysisError, match="a recording is under way"):
        debug(model=model, batch=classes())


def test_its_run_is_kept_only_where_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `runs` it can be looked at later; else nothing is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    debug({"level": "basic"}, model=mlp(), batch=classes())
    assert list((tmp_path / "temporary").iterdir()) == []

    kept = debug({"level": "basic", "runs": tmp_path / "runs"}, model=mlp(), batch=classes())
    assert [p.name for p in list_runs(tmp_path / "runs")] == [kept.run]
