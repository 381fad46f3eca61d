"""The agent in the user's process: a run or a live model in, issues, recommendations and cost out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import write_run

from aitia.agent.errors import (
    AgentError,
    AnalysisError,
    ConfigurationError,
    LanguageModelError,
    MonitoringError,
    ProfilingError,
)
from aitia.agent.focus import MEASUREMENTS
from aitia.agent.model_debugging import ModelDebuggingAgent
from aitia.agent.request import DebuggingConfig, DebuggingRequest, Threshold
from aitia.engine.store.errors import AitiaError, RunNotFound


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one faulty and one healthy run."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root, "stale_head")
    write_run(root, "healthy")
    return root


def ask(runs: Path, request: DebuggingRequest, **config: Any) -> Any:
    """One request under one configuration."""
    return ModelDebuggingAgent(DebuggingConfig(runs=runs, **config)).debug_model(request)


def test_a_faulty_run_gets_issues_and_recommendations(runs: Path) -> None:
    """The gravest issue names the cause, its place and its evidence; the cost of the answer is told."""
    response = ask(runs, DebuggingRequest(run="stale_head", words="not converging", context={"epoch": 3}))

    first = response.issues[0]
    assert (first.type, first.severity, first.component) == ("optimizer.stale_param_reference", "critical", "fc2")
    assert set(first.evidence) <= {e.id for e in response.diagnosis.evidence}
    assert response.recommendations
    assert response.visualizations["causal_graph"].startswith("flowchart")
    assert response.visualizations["causal_graph.svg"].startswith("<svg ")
    assert response.visualizations["plot.loss"].startswith("data:image/png;base64,")
    assert response.metrics["loss"].n == 60
    assert response.cost.issues_found == len(response.issues)
    assert response.cost.analysis_seconds > 0
    assert json.loads(response.model_dump_json())["cost"]["model_calls"] == 0


def test_a_healthy_run_has_no_issues(runs: Path) -> None:
    """Silence is an answer, too."""
    response = ask(runs, DebuggingRequest(run="healthy"))

    assert (response.issues, response.diagnosis.verdict) == ((), "healthy")


def test_the_level_decides_how_much_is_examined(runs: Path) -> None:
    """basic: the diagnosis alone; detailed: layers, gradients and what the words ask for; comprehensive: all."""
    request = DebuggingRequest(run="healthy", words="why so slow?")

    examined = {
        level: set(ask(runs, request, level=level).measurements) for level in ("basic", "detailed", "comprehensive")
    }

    assert examined == {
        "basic": set(), "detailed": {"layers", "gradients", "performance"}, "comprehensive": set(MEASUREMENTS),
    }  # fmt: skip


def test_what_is_monitored_is_measured_whatever_the_words_say(runs: Path) -> None:
    """Also at the lowest level; target metrics are told with their course."""
    config: dict[str, Any] = {"level": "basic", "monitor": ("memory",), "target_metrics": ("loss", "lr", "rss_bytes")}

    response = ask(runs, DebuggingRequest(run="healthy", words="my loss"), **config)

    assert set(response.measurements) == {"memory"}
    assert {e.tool for e in response.diagnosis.evidence} >= {"memory_tracker"}
    assert set(response.metrics) == {"loss", "lr", "rss_bytes"}
    assert (response.metrics["lr"].first, response.metrics["lr"].last) == (0.1, 0.1)
    assert response.visualizations == {}


def test_thresholds_raise_alerts(runs: Path) -> None:
    """A metric beyond its threshold is an issue with the step where it began."""
    limits = {"lr": Threshold(above=0.05), "update_ratio": Threshold(below=-1.0)}

    response = ask(runs, DebuggingRequest(run="healthy"), alert_thresholds=limits)

    assert [(i.type, i.severity) for i in response.issues] == [("alert.lr", "major")]
    assert "0.1 at step 1, above 0.05 (60 of 60 steps)" in response.issues[0].message


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"monitor": ("colour",)}, MonitoringError),
        ({"target_metrics": ("happiness",)}, MonitoringError),
        ({"alert_thresholds": {"loss": Threshold()}}, MonitoringError),
        ({"require_llm": True}, ConfigurationError),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(config: dict[str, Any], error: type[AgentError]) -> None:
    """At once, and with the names that exist."""
    with pytest.raises(error):
        ModelDebuggingAgent(DebuggingConfig(**config))


def test_what_cannot_be_analyzed_is_an_error(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name, both a run and a model, a measurement that fails: one class each, all of one tree."""
    with pytest.raises(RunNotFound):
        ask(runs, DebuggingRequest(run="no-such-run"))
    with pytest.raises(AnalysisError, match="not both"):
        ask(runs, DebuggingRequest(run="healthy", model=object()))
    with pytest.raises(AnalysisError, match=r"expected a torch\.nn\.Module"):
        ask(runs, DebuggingRequest(model=object()))
    monkeypatch.setitem(MEASUREMENTS, "layers", lambda run: 1 / 0)
    with pytest.raises(ProfilingError, match="layers could not be measured"):
        ask(runs, DebuggingRequest(run="healthy"))
    assert issubclass(AgentError, AitiaError)


def test_a_language_model_is_asked_and_checked(runs: Path, tmp_path: Path) -> None:
    """What it made up is in the notes; what it was required for and could not give is an error."""
    verdict = {"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "No optimizer holds fc2 [E1]."}
    good = {"verdicts": [verdict], "reply": "Build the optimizer last [E1].", "measurements_wanted": []}
    bad = {**good, "reply": "It is 77% broken [E1]."}
    talk = tmp_path / "talk.jsonl"
    talk.write_text("".join(json.dumps({"response": json.dumps(a)}) + "\n" for a in (bad, good)), encoding="utf-8")

    response = ask(runs, DebuggingRequest(run="stale_head"), model=f"replay/{talk}", require_llm=True)

    assert (response.diagnosis.mode, response.cost.model_calls) == ("llm", 2)
    assert response.notes == ("refused: the reply the number 77% is not in the cited evidence",)
    talk.write_text('{"response": "?"}\n', encoding="utf-8")
    with pytest.raises(LanguageModelError):
        ask(runs, DebuggingRequest(run="stale_head"), model=f"replay/{talk}", require_llm=True)
