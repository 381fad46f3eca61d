"""Packing a run into Parquet: the same numbers afterwards, whatever interrupts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aitia.engine.records import LayerInfo, RunInfo
from aitia.engine.store import pack as packing
from aitia.engine.store import segments
from aitia.engine.store.errors import RunUnreadable
from aitia.engine.store.pack import pack
from aitia.engine.store.reader import Run
from aitia.engine.store.schema import NARROW, WIDE
from aitia.engine.store.writer import RunWriter

SECONDS = 60.0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of many small segments in which a layer comes later; packing it counts as worth while."""
    monkeypatch.setattr(packing, "PAYS_BYTES", 1)
    monkeypatch.setattr(packing, "GROUP_ROWS", 100)  # two subjects of 40 steps in a row group
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 20_000)
    path = tmp_path / "run"
    path.mkdir()
    write(path, range(1, 41))
    return Run(path)


def write(path: Path, steps: range) -> None:
    writer = RunWriter(path, RunInfo(id="run"))
    for i in range(5):
        writer.subject("layer", i, LayerInfo(index=i, name=f"l{i}", cls="Linear", kind="linear", root="m"))
    for step in steps:
        rng = np.random.default_rng(step)
        width = 3 if step < 15 else 5
        block = rng.normal(size=(len(WIDE["layer"]), width)).astype(np.float32)
        block[2] = np.nan
        writer.wide("layer", step, block)
        writer.narrow("step", {"step": step, "loss": rng.random()})
        if step % 4 == 0:
            writer.flush()
    writer.close()


def numbers(run: Run) -> dict[str, np.ndarray]:
    found = {f"layer.{stat}": np.array(matrix) for stat, matrix in run.wide("layer").values.items()}
    found["layer.steps"] = run.wide("layer").steps
    return found | {f"step.{name}": column for name, column in run.table("step").items()}


def files(run: Run, suffix: str) -> list[str]:
    return sorted(p.name for p in (run.path / "series").glob(f"*{suffix}"))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_a_packed_run_holds_the_same_numbers_in_fewer_files(run: Run) -> None:
    """Every value bit for bit, NaN included; one Parquet file per table, no Arrow file left."""
    before, many = numbers(run), len(files(run, ".arrow"))

    assert many > 4
    assert pack(run.path, SECONDS) is True
    assert [name.split("-")[0] for name in files(run, ".parquet")] == ["layer", "step"]
    assert files(run, ".arrow") == []
    assert_same(numbers(Run(run.path)), before)


@pytest.mark.parametrize("packed", [False, True])
def test_one_series_is_the_column_of_its_matrix(run: Run, packed: bool) -> None:
    """Read alone or with all others, from segments or from Parquet, also of a layer that came later."""
    if packed:
        pack(run.path, SECONDS)
    whole = Run(run.path).wide("layer").values["out_mean"]
    for index in range(5):
        alone = Run(run.path).of_layer(f"l{index}", "out_mean")[1]
        np.testing.assert_array_equal(alone, whole[:, index].astype(np.float64))

    assert np.isnan(whole[:14, 4]).all()
    assert np.isfinite(whole[14:, 4]).all()


def test_a_reader_that_was_there_before_reads_on(run: Run) -> None:
    """Its rows stay the same when the files beneath it change their form."""
    expected = numbers(Run(run.path))
    early = Run(run.path).wide("layer")
    first = np.array(early.values["out_std"])
    pack(run.path, SECONDS)

    np.testing.assert_array_equal(first, expected["layer.out_std"])
    np.testing.assert_array_equal(early.values["in_mean"], expected["layer.in_mean"])
    np.testing.assert_array_equal(early.column("in_std", 1), expected["layer.in_std"][:, 1])


def test_rows_that_come_later_do_not_reach_an_open_view(run: Run) -> None:
    """All statistics of one view have the same rows, though the run goes on growing."""
    view = run.wide("layer")
    before = view.values["out_mean"].shape
    write(run.path, range(41, 61))

    assert view.values["out_std"].shape == before == (40, 5)
    assert len(Run(run.path).wide("layer").steps) == 60


def test_no_time_to_pack_changes_nothing(run: Run) -> None:
    """The deadline passed: False, the segments stay, nothing half-written lies around."""
    before = numbers(run)

    assert pack(run.path, -1.0) is False
    assert files(run, ".parquet") == files(run, ".part") == []
    assert_same(numbers(Run(run.path)), before)


@pytest.mark.parametrize("moment", ["writing", "renaming", "removing"])
def test_a_crash_while_packing_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Wherever it is cut, all rows are there once; the next packing tidies up."""
    before = numbers(run)
    cut = {"writing": (packing, "_turned"), "renaming": (Path, "replace"), "removing": (Path, "unlink")}[moment]

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*cut, broken)
        with pytest.raises(KeyboardInterrupt):
            pack(run.path, SECONDS)
    assert_same(numbers(Run(run.path)), before)
    assert pack(run.path, SECONDS) is True
    assert (files(run, ".arrow"), files(run, ".part")) == ([], [])
    assert_same(numbers(Run(run.path)), before)


def test_a_run_that_goes_on_after_packing_keeps_both(run: Run) -> None:
    """New segments are numbered after the packed ones, and packed beside them."""
    pack(run.path, SECONDS)
    write(run.path, range(41, 51))

    assert Run(run.path).wide("layer").steps.tolist() == list(range(1, 51))
    pack(run.path, SECONDS)
    assert Run(run.path).table("step")["step"].tolist() == list(range(1, 51))
    assert len(files(run, ".parquet")) == 4


def test_a_small_run_is_left_as_it_is(tmp_path: Path) -> None:
    """Packing costs an import and gains nothing there."""
    path = tmp_path / "run"
    path.mkdir()
    write(path, range(1, 10))

    assert pack(path, SECONDS) is True
    assert not list((path / "series").glob("*.parquet"))


@pytest.mark.parametrize("room", [True, False])
def test_many_small_batches_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: bool) -> None:
    """A slow program writes a batch for every step; a closed segment holds them in one, unless there is no room."""
    monkeypatch.setattr(segments, "SEGMENT_BATCHES", 20)
    if not room:
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    path = tmp_path / "run"
    path.mkdir()
    writer = RunWriter(path, RunInfo(id="run"))
    for step in range(1, 51):
        writer.narrow("step", {"step": step})
        writer.wide("layer", step, np.full((len(WIDE["layer"]), 2), step, np.float32))
        writer.flush()
    writer.close()
    run = Run(path)
    counts = [sum(1 for _ in segments.batches(file)) for _, file in segments.files_of(path / "series", "layer")]

    assert counts == ([1, 1, 10] if room else [20, 20, 10])
    assert run.table("step")["step"].tolist() == list(range(1, 51))
    assert run.wide("layer").values["out_std"][:, 1].tolist() == list(range(1, 51))
    assert files(run, ".part") == []


def test_a_damaged_parquet_file_is_told(run: Run) -> None:
    """A copy that was cut short is no reason for a traceback."""
    pack(run.path, SECONDS)
    packed = next((run.path / "series").glob("layer-*.parquet"))
    packed.write_bytes(packed.read_bytes()[:-50])

    with pytest.raises(RunUnreadable, match="damaged"):
        Run(run.path).wide("layer")


def test_a_statistic_that_is_the_same_everywhere_takes_no_memory(tmp_path: Path) -> None:
    """It reads like any other."""
    path = tmp_path / "calm"
    path.mkdir()
    writer = RunWriter(path, RunInfo(id="calm"))
    for step in range(1, 4):
        writer.wide("layer", step, np.zeros((len(WIDE["layer"]), 2), np.float32))
    writer.close()
    matrix = Run(path).wide("layer").values["out_nonfinite"]

    assert matrix.tolist() == [[0.0, 0.0]] * 3
    assert matrix.strides == (0, 0)


def test_other_tools_find_plain_columns(run: Run) -> None:
    """The Parquet file is a table of subject, step and one column per statistic: no need to know us."""
    from pyarrow import parquet

    pack(run.path, SECONDS)
    table = parquet.read_table(next((run.path / "series").glob("layer-*.parquet")))

    assert table.column_names == ["subject", "step", *WIDE["layer"]]
    assert table.num_rows == 5 * 40
    assert parquet.read_table(next((run.path / "series").glob("step-*.parquet"))).column_names == list(NARROW["step"])
