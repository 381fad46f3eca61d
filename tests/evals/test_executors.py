"""Recordings can be made elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from aitia.engine.store.errors import AitiaError
from aitia.evals.executors import executor_at
from aitia.evals.recordings import Job, kept, record


def test_an_unknown_address_says_what_is_expected() -> None:
    """One line, no traceback."""
    with pytest.raises(AitiaError, match="expected dask://"), executor_at("ray://x"):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_records(tmp_path: Path) -> None:
    """A worker process runs the program and leaves the recording in the shared folder."""
    pytest.importorskip("distributed")
    job = Job("print('hello')\n", (), 60.0, str(tmp_path / "x"), "k")
    with executor_at("dask://") as executor:
        recording = executor.submit(record, job).result(timeout=120)

    assert recording.result.stdout == "hello\n"
    assert kept(job) == recording
