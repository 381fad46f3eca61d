"""Proof of a regression test: red on the program as it was, green on the repaired copy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from aitia.agent import sandbox
from aitia.engine.reason import diagnose
from aitia.engine.records import Record
from aitia.engine.store.reader import Run, list_runs

TIMEOUT_S = 180.0
"""For one run of the test: it starts Python twice and loads torch."""
FAILED, PASSED = 1, 0
"""Exit codes of pytest: tests failed, all passed. Anything else is an error of the test itself."""
TEST = "test_proof.py"
ACCUSED = 0.5
"""Confidence from which a cause counts as accused: more likely than not."""


class Proof(Record):
    """What became of a test on the two programs."""

    status: Literal["proved", "unproved"]
    reason: str
    """Why it is proved, or why not."""
    before: str | None = None
    """What the assertion said about the program as it was."""
    seconds: float = 0.0


def prove(
    test: str, root: Path, before: Mapping[str, str], after: Mapping[str, str], *, timeout: float = TIMEOUT_S
) -> Proof:
    """Run the test on a copy of the project with the sources before, then with those after the repair."""
    red = _once(test, root, before, timeout)
    said = _assertion(red.output)
    if red.code is None:
        return Proof(
            status="unproved", reason=f"the program as it was did not end within {timeout:g} s", seconds=red.seconds
        )
    if red.code == PASSED:
        return Proof(status="unproved", reason="it passes on the program as it was, too", seconds=red.seconds)
    if red.code != FAILED or said is None:
        return Proof(
            status="unproved",
            reason=f"it could not be run on the program as it was: {_last(red.output)}",
            seconds=red.seconds,
        )
    green = _once(test, root, {**before, **after}, timeout)
    seconds = round(red.seconds + green.seconds, 1)
    if green.code == PASSED:
        reason = "it fails on the program as it was and passes on the repaired one"
        return Proof(status="proved", reason=reason, before=said, seconds=seconds)
    if green.code is None:
        reason = f"the repaired program did not end within {timeout:g} s"
    else:
        reason = f"it fails on the repaired program, too: {_assertion(green.output) or _last(green.output)}"
    return Proof(status="unproved", reason=reason, before=said, seconds=seconds)


def accused_after(run: Run, root: Path, sources: Mapping[str, str], *, timeout: float = TIMEOUT_S) -> set[str] | None:
    """What aitia accuses in the whole program with these sources; None where it left nothing to judge."""
    program = run.info.command if run.info.script is None else (run.info.script, *run.info.command[1:])
    with sandbox.copied(root, sources) as copy:
        runs = copy.parent / "runs"
        command = [sys.executable, "-m", "aitia.testing", "-1", str(runs), *program]
        sandbox.run(command, cwd=copy, timeout=timeout)
        found = list_runs(runs)
        if not found:
            return None
        repaired = diagnose(Run(found[0]))
    return {h.cause for h in repaired.hypotheses if repaired.verdict == "faulty" and h.confidence >= ACCUSED}


def _once(test: str, root: Path, sources: Mapping[str, str], timeout: float) -> sandbox.Outcome:
    with sandbox.copied(root, sources) as copy:
        path = copy / "tests" / TEST
        path.parent.mkdir(exist_ok=True)
        path.write_text(test, encoding="utf-8")
        (copy.parent / "empty.ini").write_text("[pytest]\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist",
                   "--noconftest", "-c", str(copy.parent / "empty.ini"), "--rootdir", str(copy), str(path)]  # fmt: skip
        return sandbox.run(command, cwd=copy, timeout=timeout)


def _assertion(output: str) -> str | None:
    """The message of the assertion that failed; None where the test ended in any other way."""
    lines = [line[2:].strip() for line in output.splitlines() if line.startswith("E ")]
    if not lines or not lines[0].startswith("AssertionError"):
        return None
    return lines[0].removeprefix("AssertionError:").strip()


def _last(output: str) -> str:
    errors = [line[2:].strip() for line in output.splitlines() if line.startswith("E ")]
    lines = errors[:1] or [line for line in output.splitlines() if line.strip()][-1:]
    return lines[0][:300] if lines else "no output"
