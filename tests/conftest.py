"""Fixtures of all tests; being here also makes `runs` (the builder of synthetic runs) importable."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import STORIES, write_diagnosis, write_run


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run root that holds one synthetic run of every story."""
    root = tmp_path_factory.mktemp("synthetic")
    for story in STORIES:
        run = write_run(root, story)
        if story == "stale_head":
            write_diagnosis(run)
    return root
