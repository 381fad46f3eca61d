"""`python -m aitia.evals.overhead`: what recording costs, against the bare program and against other tools.

Every figure is a ratio measured in one process: blocks of steps with the recorder on stand between blocks with it off.
Compiled workloads need two processes that take turns, see `apart`.
`--workloads mlp,tiny --recorders "aitia normal,naive .item()"` picks; `--memory` measures peak memory instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aitia.evals.overhead.recorders import RECORDERS, MissingError
from aitia.evals.overhead.workloads import EAGER, WORKLOADS

SKIPPED: Final = "skipped: "
"""Beginning of the line with which a child says why it cannot measure."""
ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""More threads than cores wait for each other, and the ratio shows the waiting."""


def _child(workload: str, recorder: str, seconds: float, memory: bool) -> None:
    from aitia.evals.overhead.apart import measure_apart
    from aitia.evals.overhead.measure import measure
    from aitia.evals.overhead.measure import memory as peak

    timed = measure if workload in EAGER else measure_apart
    try:
        found = peak(workload, recorder) if memory else timed(workload, recorder, seconds)
    except MissingError as why:
        print(f"{SKIPPED}{why}")
        return
    print(json.dumps(found))


def _ask(workload: str, recorder: str, args: argparse.Namespace) -> dict[str, Any] | str:
    """Measure in a process of its own; a string says why not."""
    command = [sys.executable, "-m", "aitia.evals.overhead", "--child", workload, recorder]
    command += ["--seconds", str(args.seconds), *(["--memory"] if args.memory else [])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, check=False)
    last = done.stdout.strip().rsplit("\n", 1)[-1]
    if done.returncode == 0 and last.startswith("{"):
        found: dict[str, Any] = json.loads(last)
        return found
    if last.startswith(SKIPPED):
        return last
    return f"{SKIPPED}failed: {(done.stderr.strip() or 'no output').rsplit(chr(10), 1)[-1]}"


def _cell(found: dict[str, Any] | str) -> str:
    if isinstance(found, str):
        return "-"
    middle, low, high = found["cpu"]
    own = f", own {found['own']:.1%}" if found.get("own") is not None else ""
    return f"**{middle:.3f}** [{low:.3f}, {high:.3f}]; start {found['first']:.2f}{own}"


def _table(results: dict[tuple[str, str], dict[str, Any] | str], rows: Sequence[str], columns: Sequence[str]) -> str:
    steps: dict[str, float] = {}
    for (column, _), found in results.items():
        if isinstance(found, dict):
            steps.setdefault(column, found["step_ms"])
    heads = [f"{c} ({steps[c]:.2f} ms a step)" if c in steps else c for c in columns]
    lines = ["| recorder | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        if all(isinstance(results[c, row], str) for c in columns):
            continue
        lines.append(f"| {row} | " + " | ".join(_cell(results[c, row]) for c in columns) + " |")
    lines += [
        "",
        "Bold: CPU time of a step with the recorder over a step without, median of interleaved blocks, 95 % bootstrap",
        "interval, in the steady state: aitia's allowance for the beginning is spent, its budget rules.",
        "start: the same ratio in the first two seconds, where aitia measures every step in full at every level.",
        "own: the recorder's own clock over the program's time, in the steady state.",
    ]
    return "\n".join(lines + _skipped(results))


def _memory_table(
    results: dict[tuple[str, str], dict[str, Any] | str], rows: Sequence[str], columns: Sequence[str]
) -> str:
    lines = ["| recorder | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = []
        for column in columns:
            found, base = results[column, row], results.get((column, "nothing"))
            if isinstance(found, str) or not isinstance(base, dict):
                cells.append("-")
                continue
            extra, limit = found["peak"] - base["peak"], 0.01 * found["footprint"] + 64e6
            cells.append(f"{extra / 1e6:+.1f} MB of {base['peak'] / 1e6:.0f} MB (1 % + 64 MB: {limit / 1e6:.1f} MB)")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["", "Peak resident memory of a process with the recorder less that of one without, 40 steps each."]
    return "\n".join(lines + _skipped(results))


def _skipped(results: dict[tuple[str, str], dict[str, Any] | str]) -> list[str]:
    told = ((row, found.removeprefix(SKIPPED)) for (_, row), found in results.items() if isinstance(found, str))
    why = sorted({f"- {row}: {reason}" for row, reason in told})
    return ["", "Skipped:", *why] if why else []


def _listed(text: str, known: Sequence[str]) -> list[str]:
    chosen = [x.strip() for x in text.split(",")]
    unknown = [x for x in chosen if x not in known]
    if unknown:
        raise SystemExit(f"no {unknown[0]!r}; known: {', '.join(known)}")
    return chosen


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m aitia.evals.overhead", description=__doc__.split("\n")[0])
    parser.add_argument("--workloads", default=",".join(EAGER), help=", ".join(WORKLOADS))
    parser.add_argument("--recorders", default=None, help=", ".join(RECORDERS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of interleaved blocks, for each pair")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--json", type=Path, help="also write everything that was measured there")
    parser.add_argument("--child", nargs=2, metavar=("WORKLOAD", "RECORDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        workload, recorder = args.child
        _child(workload, recorder, args.seconds, args.memory)
        return
    usual = ["nothing", "aitia normal"] if args.memory else list(RECORDERS)
    columns = _listed(args.workloads, list(WORKLOADS))
    rows = _listed(args.recorders, list(RECORDERS)) if args.recorders else usual
    if args.memory and "nothing" not in rows:
        rows.insert(0, "nothing")
    results: dict[tuple[str, str], dict[str, Any] | str] = {}
    for column in columns:
        for row in rows:
            results[column, row] = _ask(column, row, args)
            print(f"{column} · {row}: {results[column, row]}", file=sys.stderr)
    print((_memory_table if args.memory else _table)(results, rows, columns))
    if args.json:
        listed = [
            found if isinstance(found, dict) else {"workload": c, "recorder": r, "skipped": found.removeprefix(SKIPPED)}
            for (c, r), found in results.items()
        ]
        args.json.write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
