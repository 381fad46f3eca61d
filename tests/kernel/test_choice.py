"""Which path measures is a choice that is made once, told by `aitia doctor`, and never a reason to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aitia.engine import kernel

ASK = (
    "from aitia.engine import kernel; import sys; print(kernel.PATH, kernel.measure.__module__, 'torch' in sys.modules)"
)


def asked(**env: str) -> list[str]:
    """Path, module, and whether torch was imported, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_numpy_path_can_be_chosen() -> None:
    """For comparisons, or should the compiled one ever misbehave; neither imports torch."""
    assert asked(AITIA_KERNEL="0") == ["numpy", "aitia.engine.kernel.pure", "False"]
    assert asked(AITIA_KERNEL="")[::2] == [kernel.PATH, "False"]


@pytest.mark.parametrize(
    ("env", "report", "expected"),
    [
        ("0", {}, "AITIA_KERNEL=0 is set"),
        ("", {"failed": "not built: no C++ compiler"}, "no C++ compiler"),
        ("", None, "pip install"),
    ],
)
def test_the_reason_for_the_numpy_path_is_told(
    env: str, report: dict[str, str] | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Switched off, no compiler, or never built: each says what to do or why."""
    monkeypatch.setenv(kernel.SWITCH, env)
    monkeypatch.setattr(kernel, "PATH", "numpy")
    monkeypatch.setattr(kernel, "REPORT", tmp_path / "build.json")
    if report is not None:
        kernel.REPORT.write_text(json.dumps(report))

    path, reason = kernel.why()

    assert path == "numpy"
    assert expected in reason


def test_doctor_tells_which_path_is_taken() -> None:
    """`aitia doctor` is where one looks when recording feels slow."""
    done = subprocess.run(
        [sys.executable, "-m", "aitia", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    found = {c["name"]: c["found"] for c in json.loads(done.stdout)["checks"]}

    assert found["recorder"].startswith(f"{kernel.PATH} statistics, ")
