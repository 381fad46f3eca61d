"""Bad input anywhere gets one clear line and exit code 2, never a traceback."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from runs import write_run

from aitia.cli import main
from aitia.engine.store.schema import SCHEMA_VERSION


def call(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """Run the command line in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["aitia", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code if isinstance(stop.value.code, int) else int(stop.value.code is not None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every kind of thing that is not a good run or script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AITIA_RUNS", raising=False)
    (tmp_path / "broken.py").write_text("def f(:\n    pass\n")
    (tmp_path / "nul.py").write_bytes(b"x = 1\0\n")
    (tmp_path / "latin.py").write_bytes(b"x = '\xe4'\n")
    (tmp_path / "train.py").write_text("print('ok')\n")
    (tmp_path / "folder").mkdir()
    root = tmp_path / ".aitia"
    (root / "empty").mkdir(parents=True)
    (root / "noise").mkdir()
    (root / "noise" / "run.db").write_bytes(b"this is no database" * 100)
    (root / "bare").mkdir()
    sqlite3.connect(root / "bare" / "run.db").close()
    write_run(root, "healthy", name="20260101-000000-alpha")
    write_run(root, "healthy", name="20260101-000001-alpha")
    newer = write_run(root, "healthy", name="newer")
    with sqlite3.connect(newer.path / "run.db") as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (json.dumps(SCHEMA_VERSION + 1),))
    return tmp_path


BAD = [
    (("run", "nope.py"), "no script at nope.py"),
    (("run", "train"), "Did you mean train.py?"),
    (("run", "python", "train.py"), "Leave the word python out"),
    (("run", "folder"), "without __main__.py"),
    (("run", "broken.py"), "broken.py:1: invalid syntax"),
    (("run", "nul.py"), "null bytes"),
    (("run", "latin.py"), "latin.py"),
    (("run", "-m", "no_such_module_anywhere"), "no module named 'no_such_module_anywhere'"),
    (("run", "--runs", "train.py", "train.py"), "runs cannot be kept in"),
    (("why", "nope"), "run 'nope' is not known"),
    (("why", "alpha"), "is ambiguous"),
    (("why", "empty"), "has no run.db"),
    (("why", "noise"), "cannot be read"),
    (("why", "bare"), "cannot be read"),
    (("why", "newer"), "Upgrade"),
    (("why", "--runs", "nowhere"), "no runs under nowhere"),
    (("fix", "nope"), "run 'nope' is not known"),
    (("fix", "000000-alpha", "--project", "nowhere"), "no folder nowhere"),
    (("show", "nope", "layers"), "run 'nope' is not known"),
    (("show", "000000-alpha", "layers", "--only", "fc9"), "there are fc1, act, fc2"),
    (("compare", "nope", "nope"), "run 'nope' is not known"),
    (("demo", "nope"), "no demo 'nope'"),
    (("causes", "nope.nope"), "no cause 'nope.nope'"),
    (("eval", "--split", "nope"), "no split 'nope'"),
    (("eval", "no_such_program"), "no_such_program.py does not exist"),
]


@pytest.mark.parametrize(("args", "words"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    args: tuple[str, ...],
    words: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line says what was wrong; nothing goes to stdout."""
    code = call(monkeypatch, *args)
    out, err = capsys.readouterr()

    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert err.startswith("aitia: ")
    assert out == ""


def test_for_programs_the_error_is_json_too(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json a caller can read the reason."""
    code = call(monkeypatch, "why", "nope", "--json")

    assert code == 2
    assert "is not known" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("args", [("why", "--no-such-option"), ("nonsense",), ("show", "latest", "colours")])
def test_usage_errors_end_with_code_2(
    args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser's own errors name what is accepted and leave no traceback."""
    assert call(monkeypatch, *args) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_damaged_run_does_not_hide_the_others(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`aitia runs` lists what it can and says what it cannot."""
    code = call(monkeypatch, "runs", "--json")
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}

    assert code == 0
    assert rows["20260101-000000-alpha"]["status"] == "finished"
    assert {rows[name]["status"] for name in ("noise", "bare", "newer")} == {"unreadable"}
    assert all(rows[name]["error"] for name in ("noise", "bare", "newer"))
