"""Every tool answers from known numbers: what it must find, and where it must stay silent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from runs import STORIES, write_diagnosis, write_run

from aitia.engine.records import Failure
from aitia.engine.store.reader import Run
from aitia.tools.answer import diagnosis_of, stored_diagnosis
from aitia.tools.compare import compare_runs
from aitia.tools.error_diagnoser import diagnose_error, family_of, own_frames
from aitia.tools.gradient_debugger import debug_gradients
from aitia.tools.layer_analyzer import analyze_layers
from aitia.tools.listing import runs_page
from aitia.tools.memory_tracker import track_memory
from aitia.tools.performance_profiler import profile_performance
from aitia.tools.reply import reply_to

MESSAGES = {
    "mat1 and mat2 shapes cannot be multiplied (32x33 and 32x10)": "shape.mismatch",
    "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1": "shape.mismatch",
    "weight of size [8, 3, 3, 3], expected input[2, 1, 8, 8] to have 3 channels, but got 1": "shape.mismatch",
    "Expected all tensors to be on the same device, but found at least two devices": "device.mismatch",
    "Trying to backward through the graph a second time": "graph.backward_twice",
    "a variable needed for gradients has been modified by an inplace operation": "graph.inplace_modification",
    "index out of range in self": "data.index_out_of_range",
    "Target 10 is out of bounds.": "data.index_out_of_range",
    "expected scalar type Long but found Float": "dtype.mismatch",
    "mat1 and mat2 must have the same dtype, but got Double and Float": "dtype.mismatch",
    "CUDA out of memory. Tried to allocate 2.00 GiB": "resource.out_of_memory",
    "DataLoader worker (pid 123) is killed by signal: Killed.": "loop.worker_died",
    "element 0 of tensors does not require grad and does not have a grad_fn": "graph.no_grad_region",
}


def story(root: Path, name: str) -> Run:
    return Run(root / f"20260101-000000-{name}")


@pytest.mark.parametrize("name", STORIES)
def test_every_answer_is_short_cited_and_without_nan(synthetic: Path, name: str) -> None:
    """Summaries stand alone, evidence ids exist and are unique over all tools, and the JSON holds no NaN."""
    run = story(synthetic, name)
    ids: list[str] = []
    for tool in (analyze_layers, debug_gradients, profile_performance, track_memory, diagnose_error):
        result = tool(run).fitted()
        text = json.dumps(result.payload(), allow_nan=False)

        assert result.summary
        assert len(text.encode()) <= 10_000
        known = {e.id for e in result.evidence}
        ids += known
        cited = {v for row in _rows(result.payload()) if (v := row.get("evidence")) is not None}
        assert cited <= known
    assert len(ids) == len(set(ids))


def _rows(payload: dict[str, object]) -> list[dict[str, object]]:
    return [r for k, v in payload.items() if isinstance(v, list) and k != "evidence" for r in v if isinstance(r, dict)]


def test_a_healthy_run_shows_healthy_layers_and_gradients(synthetic: Path) -> None:
    run = story(synthetic, "healthy")

    assert analyze_layers(run).counts == {"healthy": 3}
    assert debug_gradients(run).counts == {"healthy": 4}
    assert debug_gradients(run).evidence == ()


def test_parameters_outside_the_optimizer_come_first(synthetic: Path) -> None:
    report = debug_gradients(story(synthetic, "stale_head"))

    assert [(p.parameter, p.health) for p in report.parameters[:2]] == [
        ("fc2.weight", "not_in_optimizer"),
        ("fc2.bias", "not_in_optimizer"),
    ]
    assert report.parameters[0].update_ratio == 0.0


def test_a_saturated_layer_and_the_gradient_behind_it_are_found(synthetic: Path) -> None:
    run = story(synthetic, "saturated")

    health = {x.layer: x.health for x in analyze_layers(run).layers}
    assert health == {"fc1": "vanishing", "act": "saturated", "fc2": "healthy"}
    assert {p.parameter for p in debug_gradients(run).parameters if p.health == "vanishing"} == {
        "fc1.weight",
        "fc1.bias",
    }


def test_outputs_far_out_of_scale_from_the_start_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path, "healthy", growth=(1.0, 5e3, 2.0))

    layers = {x.layer: x.health for x in analyze_layers(run).layers}
    assert layers == {"fc1": "healthy", "act": "activations_exploding", "fc2": "healthy"}
    assert analyze_layers(run).suggested_actions[0].tool == "diagnose"


def test_the_first_nan_is_dated_and_placed(synthetic: Path) -> None:
    run = story(synthetic, "nan")

    assert {x.since_step for x in analyze_layers(run).layers} == {31}
    first = diagnose_error(run).first_nonfinite
    assert first is not None
    assert (first.step, first.op, first.subject, first.inputs_finite) == (31, "SqrtBackward0", "fc1", True)


def test_growing_memory_is_told_from_noise(synthetic: Path) -> None:
    """2 MB per step is a leak; allocator noise of 0.1 MB is none."""
    leak = track_memory(story(synthetic, "leak")).series[0]
    calm = track_memory(story(synthetic, "healthy")).series[0]

    assert leak.growing
    assert leak.bytes_per_step == pytest.approx(2e6, rel=0.01)
    assert not calm.growing


def test_phase_shares_are_those_that_were_written(synthetic: Path) -> None:
    report = profile_performance(story(synthetic, "healthy"))

    share = {p.phase: p.share for p in report.phases}
    own = 0.008 - 0.0002  # seconds of a step without the recorder's
    assert share["data"] == pytest.approx(0.004 / own, rel=1e-3)
    assert share["backward"] == pytest.approx(0.002 / own, rel=1e-3)
    assert sum(s or 0 for s in share.values()) == pytest.approx(1.0, abs=1e-3)
    assert report.samples_per_second == pytest.approx(32 / own, rel=1e-3)
    assert report.recorder_share == pytest.approx(0.0002 / 0.008, rel=1e-3)


def test_a_crash_names_module_shapes_and_family(synthetic: Path) -> None:
    report = diagnose_error(story(synthetic, "crash"))

    assert (report.exception, report.module, report.family) == ("RuntimeError", "fc2", "shape.mismatch")
    assert (report.input_shapes, report.parameter_shapes) == (("float32[32, 33]",), {"weight": "float32[10, 32]"})
    assert "train.py:5" in report.summary


def test_a_vanished_process_is_no_exception(synthetic: Path) -> None:
    report = diagnose_error(story(synthetic, "killed"))

    assert (report.status, report.exception) == ("killed", None)
    assert "vanished after step 60" in report.summary


@pytest.mark.parametrize(("message", "family"), MESSAGES.items())
def test_known_messages_map_to_their_cause(message: str, family: str) -> None:
    found = family_of(Failure(type="RuntimeError", message=message, traceback=""))

    assert found is not None
    assert found.cause == family


def test_an_unknown_message_maps_to_none() -> None:
    assert family_of(Failure(type="KeyError", message="'labels'", traceback="")) is None


def test_compare_says_what_is_and_what_is_not(synthetic: Path) -> None:
    result = compare_runs(story(synthetic, "stale_head"), story(synthetic, "healthy"))

    found = {d.what: (d.a, d.b) for d in result.differences}
    assert found["parameters in an optimizer"] == (2, 4)
    assert found["parameter fc2.weight"] == ("not_in_optimizer", "healthy")
    assert result.part_at_step is not None
    assert "status: finished" in result.same


def test_a_run_compared_with_itself_does_not_differ(synthetic: Path) -> None:
    run = story(synthetic, "nan")
    result = compare_runs(run, run)

    assert (result.differences, result.part_at_step, result.identical_until_step) == ((), None, 60)


def test_a_changed_source_file_is_shown_as_a_diff(tmp_path: Path) -> None:
    a, b = write_run(tmp_path, name="a"), write_run(tmp_path, name="b")
    (b.path / "source" / "train.py").write_text("import torch\n")
    result = compare_runs(a, b)

    assert result.changed_files == ("train.py",)
    assert "-model = torch.nn.Sequential()" in (result.untrusted_source_diff or "")


def test_runs_are_paged_without_gaps(synthetic: Path) -> None:
    seen: list[str] = []
    cursor = None
    for _ in range(len(STORIES)):
        page = runs_page(synthetic, limit=3, cursor=cursor)
        seen += [r.run for r in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == sorted((f"20260101-000000-{s}" for s in STORIES), reverse=True)


def test_a_run_that_grew_is_diagnosed_anew(tmp_path: Path) -> None:
    """A stored answer counts only while it is newer than the data, and only if rules made it."""
    run = write_run(tmp_path, "stale_head")
    stored = write_diagnosis(run)
    assert stored_diagnosis(run.path) == stored
    assert diagnosis_of(run) == stored

    write_diagnosis(run, mode="llm")
    assert stored_diagnosis(run.path) is None

    write_diagnosis(run)
    later = (run.path / "diagnosis.json").stat().st_mtime + 10
    os.utime(run.path / "run.db", (later, later))
    assert stored_diagnosis(run.path) is None


def test_a_concise_reply_gives_the_first_hypothesis_in_full(tmp_path: Path) -> None:
    run = write_run(tmp_path, "stale_head")
    reply = reply_to(run, write_diagnosis(run))

    best, other = reply.hypotheses
    assert (best.cause, best.file, best.lines, best.fix) == (
        "optimizer.stale_param_reference", "train.py", (3,), "Build the optimizer last. "
    )  # fmt: skip
    assert (other.explanation, other.fix) == (None, None)
    assert [e.id for e in reply.evidence] == ["E1", "E2", "E3", "E4"]
    assert ">   3 optimizer = torch.optim.SGD" in (reply.untrusted_code or "")


def test_a_run_without_a_step_is_answered(tmp_path: Path) -> None:
    """A program that died before its first step has layers and a message, and no series."""
    run = write_run(tmp_path, "crash", steps=0)
    for tool in (analyze_layers, debug_gradients, profile_performance, track_memory, diagnose_error):
        assert tool(run).summary
    assert "before the first optimizer step" in diagnose_error(run).summary


def test_a_layer_can_be_asked_for_and_a_wrong_one_names_those_that_exist(synthetic: Path) -> None:
    run = story(synthetic, "healthy")

    assert [x.layer for x in analyze_layers(run, layer="fc1").layers] == ["fc1"]
    assert [p.parameter for p in debug_gradients(run, parameter="fc2").parameters] == ["fc2.weight", "fc2.bias"]
    with pytest.raises(KeyError, match=r"no layer of that name; there are fc1, act, fc2"):
        analyze_layers(run, layer="nope")


def test_a_traceback_keeps_the_program_and_the_last_frame() -> None:
    """Frames of libraries are folded; they cost tokens and name folders of the machine."""
    library = '  File "/x/site-packages/torch/nn/modules/module.py", line 1, in _call_impl\n    return forward()\n'
    own = '  File "train.py", line 5, in <module>\n    model(x)\n           ^^^\n'
    text = f"Traceback (most recent call last):\n{own}{library}{library}{own}{library}ValueError: no\n"
    folded = own_frames(text)

    assert folded.count('File "train.py"') == 2
    assert folded.count("site-packages") == 1
    assert "[2 frames of libraries]" in folded
    assert folded.endswith("ValueError: no")


def test_a_gradient_that_was_cleared_is_told_from_one_that_never_came(tmp_path: Path) -> None:
    """Both are absent when the optimizer steps; the autograd graph tells them apart."""
    run = write_run(tmp_path, "no_gradient")

    health = {p.parameter: p.health for p in debug_gradients(run).parameters}
    assert health == {"fc1.weight": "absent", "fc1.bias": "absent", "fc2.weight": "cleared", "fc2.bias": "cleared"}
