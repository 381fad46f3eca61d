"""The regression test of an incident: a plain pytest file for the user's own tests/."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from aitia.agent.invariants import Invariant
from aitia.engine.records import CausalHypothesis
from aitia.engine.replay.replay import is_module
from aitia.engine.store.reader import Run
from aitia.journal.entries import slug

FOLDER = "tests"
MARK = "Written by aitia"
"""In the first lines of every generated test; a file without it is never overwritten."""
UNPROVED = "unproved (it has not been run)"


def compose(run: Run, hypothesis: CausalHypothesis, check: Invariant, status: str = UNPROVED) -> str:
    """The text of the test; `status` says whether it was proved, and if not, why."""
    names = sorted({"record", *(n for n in check.imports if n != "np")})
    numpy = "import numpy as np\n\n" if "np" in check.imports else ""
    arguments = f", {json.dumps(run.info.command[1:])}" if len(run.info.command) > 1 else ""
    script = '"-m"' if is_module(run) else f"ROOT / {json.dumps(run.info.script)}"
    return (
        f'"""{check.claim}\n\n{MARK} after run {run.id}, which suffered from {hypothesis.cause}.\n'
        f'Status: {status}.\n"""\n\n'
        f"from pathlib import Path\n\n{numpy}from aitia.testing import {', '.join(names)}\n\n"
        f"ROOT = Path(__file__).resolve().parents[1]\n\n\n"
        f"def test_{check.name}() -> None:\n"
        f'    """{check.claim}"""\n'
        f"    run = record({script}{arguments}, steps={check.steps}, cwd=ROOT)\n\n"
        f"{textwrap.indent(check.body, '    ')}\n"
    )


def place(root: Path, run: Run, hypothesis: CausalHypothesis) -> Path:
    """Where the test belongs: `tests/test_<script>_<cause>.py`, or beside a file of that name that is not ours."""
    name = run.info.command[1].rpartition(".")[2] if is_module(run) else Path(run.info.script or "train").stem
    stem = slug(name).replace("-", "_")
    name = f"test_{stem}_{slug(hypothesis.cause).replace('-', '_')}"
    path = root / FOLDER / f"{name}.py"
    ours = not path.exists() or MARK in path.read_text("utf-8", "replace")[:400]
    return path if ours else path.with_name(f"{name}_{re.sub(r'[^a-z0-9]+', '_', run.id.lower())}.py")


def write(root: Path, run: Run, hypothesis: CausalHypothesis, text: str) -> Path:
    """Write the test into the project's tests folder."""
    path = place(root, run, hypothesis)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
