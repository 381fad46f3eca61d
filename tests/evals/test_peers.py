"""Other tools' words are read generously, and only as causes that exist."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aitia.evals import peers
from aitia.evals.recordings import Recording
from aitia.evals.score import FAMILIES
from aitia.evals.zoo import causes

TOOLS = (*peers.ATTACHED, *peers.LOG_READERS)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_word_stands_for_causes_of_the_vocabulary(tool: str) -> None:
    """No typing mistake may make a tool look worse than it is."""
    meaning = peers.meaning(tool)

    assert meaning
    assert all(meaning.values())
    assert frozenset().union(*meaning.values()) <= causes()


def test_a_family_is_all_of_its_members() -> None:
    """`@divergence` is right for every cause of divergence."""
    assert peers.meaning("trainproof")["TP-DIVERGE"] == frozenset(FAMILIES["divergence"])


def test_hints_accuse_nobody() -> None:
    """A remark on tensor cores is neither a hit nor a false alarm."""
    found = {"words": ["TA200", "TA401"], "error": ""}

    assert peers._reply("torch-audit", found).verdict == "healthy"
    assert peers._reply("torch-audit", {**found, "words": ["TA200", "TA100"]}).verdict == "faulty"


def test_an_answer_is_kept_until_what_it_rests_on_changes(tmp_path: Path) -> None:
    """Tools are slow: one that runs the program depends on its text alone, a log reader on our recording, too."""
    (tmp_path / "train.py").write_text("print()\n")
    recording = Recording(tmp_path, "k1", 0, 1.0, None)
    other = replace(recording, key="k2")  # another recorder, or another program
    for label in ("neuraldbg 1.0", "trainproof 1.0"):
        peers._keep(recording, tmp_path, label, {"words": ["x"], "error": ""})

    assert peers._kept(recording, tmp_path, "neuraldbg 1.0") == {"words": ["x"], "error": ""}
    assert peers._kept(other, tmp_path, "neuraldbg 1.0") == {"words": ["x"], "error": ""}
    assert peers._kept(other, tmp_path, "trainproof 1.0") is None
    assert peers._kept(recording, tmp_path, "neuraldbg 1.1") is None
    (tmp_path / "train.py").write_text("print(1)\n")
    assert peers._kept(recording, tmp_path, "neuraldbg 1.0") is None


def test_the_mapping_names_the_tools_that_are_asked() -> None:
    """Neither a tool without a reading nor a reading without a tool."""
    assert set(json.loads((peers.HERE / "mapping.json").read_text("utf-8"))) == set(TOOLS)


def test_only_environments_that_are_there_are_asked(tmp_path: Path) -> None:
    """A folder without environments asks nobody."""
    assert peers.present(tmp_path) == {}
    python = tmp_path / "trainproof" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    assert peers.present(tmp_path) == {"trainproof": python}
