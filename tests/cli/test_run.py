"""`aitia run` is python with a memory: same arguments, output and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aitia.engine.store.reader import list_runs


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Plain python in `folder`."""
    env = {k: v for k, v in os.environ.items() if k not in {"AITIA_RUNS", "AITIA"}}
    return subprocess.run([sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, check=False)


def aitia(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command line in `folder`."""
    return python(folder, "-m", "aitia", *args)


SEE = """import os, sys
print(sys.argv, __name__, __file__ == sys.argv[0] or os.path.samefile(__file__, sys.argv[0]))
print(os.path.samefile(sys.path[0], os.path.dirname(os.path.abspath(__file__))))
print("to stderr", file=sys.stderr)
"""


def test_every_argument_reaches_the_program_untouched(tmp_path: Path) -> None:
    """Also those that aitia itself would understand."""
    (tmp_path / "see.py").write_text(SEE)
    args = ["see.py", "--help", "--json", "--runs", "x", "-m", "--", "--level=deep", "a b"]
    plain, recorded = python(tmp_path, *args), aitia(tmp_path, "run", *args)

    assert recorded.stdout == plain.stdout
    assert recorded.stderr == plain.stderr
    assert recorded.returncode == 0
    assert len(list_runs(tmp_path / ".aitia")) == 1


def test_a_module_runs_as_with_python_dash_m(tmp_path: Path) -> None:
    """`aitia run -m package.train --lr 1` is `python -m package.train --lr 1`."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "helper.py").write_text("WORD = 'helped'\n")
    (tmp_path / "package" / "train.py").write_text(
        "import sys\nfrom .helper import WORD\nprint(WORD, sys.argv[1:], __name__, __package__)\n"
    )
    args = ["-m", "package.train", "--lr", "1", "-m"]
    plain, recorded = python(tmp_path, *args), aitia(tmp_path, "run", *args)

    assert recorded.stdout == plain.stdout
    assert (recorded.returncode, recorded.stderr) == (0, plain.stderr)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("import sys; sys.exit(0)", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('bad words')", 1),
        ("raise SystemExit", 0),
        ("raise ValueError('broken')", 1),
        ("import os; os.abort", 0),
    ],
)
def test_the_exit_code_is_the_programs_and_one_line_says_how_to_ask(tmp_path: Path, body: str, code: int) -> None:
    """Nothing is added to a success; a failure gets exactly one more line on stderr."""
    (tmp_path / "end.py").write_text(body + "\n")
    plain, recorded = python(tmp_path, "end.py"), aitia(tmp_path, "run", "end.py")

    assert recorded.returncode == plain.returncode == code
    assert recorded.stdout == plain.stdout
    added = recorded.stderr.removeprefix(plain.stderr)
    expected = f"aitia: the program ended with exit code {code}. Ask why: aitia why\n" if code else ""
    assert added == expected


def test_the_line_names_the_folder_where_runs_are_kept(tmp_path: Path) -> None:
    """What is printed can be copied and works."""
    (tmp_path / "end.py").write_text("raise SystemExit(1)\n")
    recorded = aitia(tmp_path, "run", "--runs", "my runs", "end.py")

    assert recorded.stderr.endswith("aitia why --runs 'my runs'\n")
    assert len(list_runs(tmp_path / "my runs")) == 1


def test_switched_off_it_is_python_alone(tmp_path: Path) -> None:
    """AITIA=0 records nothing and changes nothing."""
    (tmp_path / "end.py").write_text("raise SystemExit(4)\n")
    env = {**os.environ, "AITIA": "0"}
    done = subprocess.run([sys.executable, "-m", "aitia", "run", "end.py"], cwd=tmp_path, env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip

    assert (done.returncode, done.stderr) == (4, "")
    assert list_runs(tmp_path / ".aitia") == []
