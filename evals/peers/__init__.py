"""Other tools on the same programs: published packages that look at training runs, each in its own environment.

`python -m aitia.evals.peers FOLDER` makes the environments; `aitia eval --peers FOLDER` then runs every program under
every tool that is there. What a tool says in its own words counts as right for every cause those words may stand for:
`mapping.json` is that reading, generous on purpose (`@name` is a whole look-alike family). Words that are hints about
style or hardware stand for nothing and accuse nobody.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from aitia.engine.store.reader import Run
from aitia.evals.recordings import SCRIPT, Recording
from aitia.evals.score import FAMILIES, Reply
from aitia.evals.zoo import Program

HERE = Path(__file__).resolve().parent
ATTACHED = ("neuraldbg", "torchmortem", "torch-audit")
"""Tools that hook into the program: it is run again under each."""
LOG_READERS = ("trainproof",)
"""Tools that read a log of losses: they get the one we recorded."""
LOG_COLUMNS = {"loss": "loss", "lr": "lr", "grad_norm": "grad_norm", "step_time": "step_s", "loader_time": "data_s"}
"""Their column names, and ours in the `step` table."""


def present(folder: Path) -> dict[str, Path]:
    """Tools whose environment is there: name → its Python."""
    found = {name: folder / name / "bin" / "python" for name in (*ATTACHED, *LOG_READERS)}
    return {name: python for name, python in found.items() if python.exists()}


def version(name: str, python: Path) -> str:
    """Version of the tool, as its environment knows it."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return f"{name} {done.stdout.strip()}"


def ask(label: str, python: Path, programs: Iterable[tuple[Program, Recording]], cache: Path) -> dict[Path, Reply]:
    """What one tool (`name version`) says about each recorded program: folder of the recording → reply."""
    name = label.split(maxsplit=1)[0]
    replies: dict[Path, Reply] = {}
    waiting: list[tuple[Program, Recording]] = []
    for program, recording in programs:
        known = _kept(recording, cache, label)
        if known is None:
            waiting.append((program, recording))
        else:
            replies[recording.folder] = _reply(name, known)
    if waiting and name in ATTACHED:
        for recording, found in _attached(name, python, waiting):
            _keep(recording, cache, label, found)
            replies[recording.folder] = _reply(name, found)
    elif waiting:
        for _, recording in waiting:
            found = _from_log(python, recording)
            _keep(recording, cache, label, found)
            replies[recording.folder] = _reply(name, found)
    return replies


def _attached(
    name: str, python: Path, programs: list[tuple[Program, Recording]]
) -> Iterable[tuple[Recording, dict[str, Any]]]:
    """Run every program under the tool, one after the other, in forks of one process."""
    with subprocess.Popen(
        [str(python), str(HERE / "drive.py"), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for program, recording in programs:
            work = Path(tempfile.mkdtemp(prefix="work-"))
            shutil.copy(recording.folder / SCRIPT, work / SCRIPT)
            job = {"folder": str(work), "args": program.truth.args, "limit_s": program.truth.timeout_s * 2}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            server.stdout.readline()
            try:
                found = json.loads((work / "findings.json").read_text("utf-8"))
            except (OSError, ValueError):
                found = {"words": [], "error": "no findings: ended or timed out", "attached": False}
            shutil.rmtree(work, ignore_errors=True)
            yield recording, found


def _from_log(python: Path, recording: Recording) -> dict[str, Any]:
    """Give a log reader the loss, rate, gradient norm and times that we recorded per step."""
    if recording.path is None:
        return {"words": [], "error": "nothing was recorded"}
    table = Run(recording.path).table("step")
    rows = []
    for i, step in enumerate(table["step"]):
        values = {theirs: float(table[ours][i]) for theirs, ours in LOG_COLUMNS.items()}
        # A loss that is not finite is what the tool looks for; other columns are left out where nothing was measured.
        rows.append({"step": int(step)} | {k: v for k, v in values.items() if k == "loss" or math.isfinite(v)})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        command = [str(python), "-m", "trainproof", "epoch", str(log), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        reports = json.loads(done.stdout)["reports"]
    except (ValueError, KeyError):
        return {"words": [], "error": done.stderr[-500:] or "no report"}
    findings = [f for report in reports for f in report["findings"] if f["level"] in {"FAIL", "WARN"}]
    findings.sort(key=lambda f: f["level"] != "FAIL")
    return {"words": [f["id"] for f in findings], "error": ""}


def _reply(name: str, found: dict[str, Any]) -> Reply:
    ranked = tuple(causes for word in found["words"] if (causes := meaning(name).get(word)))
    if ranked:
        return Reply("faulty", ranked)
    return Reply("healthy", error=found["error"] or None)


@cache
def meaning(name: str) -> dict[str, frozenset[str]]:
    """A tool's words → the causes they may stand for."""
    words = json.loads((HERE / "mapping.json").read_text("utf-8"))[name]
    return {
        word: frozenset(c for item in items for c in (FAMILIES[item[1:]] if item.startswith("@") else (item,)))
        for word, items in words.items()
    }


def _kept(recording: Recording, cache: Path, label: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(_file(recording, cache, label).read_text("utf-8")))
    except (OSError, ValueError):
        return None


def _keep(recording: Recording, cache: Path, label: str, found: dict[str, Any]) -> None:
    path = _file(recording, cache, label)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")


def _file(recording: Recording, cache: Path, label: str) -> Path:
    """By the program's text for tools that run it, so that a change to our recorder asks no one again."""
    text = (recording.folder / SCRIPT).read_bytes()
    if label.split(maxsplit=1)[0] in LOG_READERS:
        text += recording.key.encode()
    return cache / "peers" / label.replace(" ", "-") / f"{hashlib.sha256(text).hexdigest()[:16]}.json"
