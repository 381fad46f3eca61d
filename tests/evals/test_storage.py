"""The made-up run of the storage benchmark is a run like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from aitia.engine.reason import diagnose
from aitia.engine.store import pack
from aitia.engine.store.schema import WIDE
from aitia.evals.storage import measure, write_big


@pytest.mark.parametrize("packed", [True, False])
def test_a_made_up_run_is_whole_and_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Every value that was written is counted, and nothing in it looks like a fault."""
    monkeypatch.setattr(pack, "PAYS_BYTES", 1)
    run = write_big(tmp_path / "big", layers=8, steps=120, packed=packed)

    assert measure(run.path)["values"] == 8 * 120 * (len(WIDE["layer"]) + len(WIDE["param"]))
    assert bool(list((run.path / "series").glob("*.parquet"))) is packed
    assert diagnose(run).verdict == "healthy"
