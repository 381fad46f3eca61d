"""The kill test: a program enters the zoo only if its fault shows, and is gone after the repair, over several seeds.

`python -m aitia.evals.kill [names…] [--split dev] [--jobs 2]` runs every changed program with seeds 0 to 4, faulty and
repaired, and writes what it measured to `programs/<split>/kill.json`. Heavy libraries are imported once, then each run
is a fork of this process.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.evals.zoo import PROGRAMS, SPLITS, Program, load, load_all, render, satisfies

SEEDS = range(5)
FAULTY_NEEDED = 4
"""Of five seeds; a real fault may now and then be survived by luck."""
REPAIRED_NEEDED = 5
"""A repair that fails once is not the repair."""
POLL_S = 0.02
PRELOADED = (
    "numpy", "sklearn.datasets", "sklearn.model_selection", "sklearn.preprocessing", "torch", "torch.nn.functional",
    "torch.utils.data", "torch.multiprocessing", "torch.distributed",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One execution of a rendered program."""

    program: Program
    faults: frozenset[str]
    seed: int


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    code: int | None
    """Exit status; None after a timeout."""
    stdout: str
    stderr: str
    seconds: float


@dataclass
class _Job:
    run: Run
    folder: Path
    started: float


def execute(runs: Iterable[Run], jobs: int = 1) -> Iterator[tuple[Run, Result]]:
    """Fork one process per run, at most `jobs` at a time, and yield results as they end."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads: its thread count is fixed at import
    for module in PRELOADED:
        importlib.import_module(module)
    waiting, active = iter(list(runs)), dict[int, _Job]()
    exhausted = False
    while active or not exhausted:
        while len(active) < jobs and not exhausted:
            run = next(waiting, None)
            if run is None:
                exhausted = True
            else:
                pid, job = _start(run)
                active[pid] = job
        for pid in list(active):
            ended, status = os.waitpid(pid, os.WNOHANG)
            late = time.monotonic() - active[pid].started > active[pid].run.program.truth.timeout_s
            if not ended and not late:
                continue
            if not ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            job = active.pop(pid)
            yield job.run, _finish(job, os.waitstatus_to_exitcode(status) if ended else None)
        if active:
            time.sleep(POLL_S)


def _start(run: Run) -> tuple[int, _Job]:
    folder = Path(tempfile.mkdtemp(prefix="zoo-"))
    script = folder / f"{run.program.name}.py"
    script.write_text(render(run.program, run.faults, run.seed).source, encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(script, run.program.truth.args)
    return pid, _Job(run, folder, started)


def _become(script: Path, args: tuple[str, ...]) -> None:
    """In the child: turn into `python script args…` and never return."""
    code = 1
    try:
        os.setsid()  # a timeout then takes the program's own children with it
        os.chdir(script.parent)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), number)
        own_streams()
        sys.argv = [script.name, *args]
        sys.path[0] = str(script.parent)
        runpy.run_path(str(script), run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - whatever the program dies of is its outcome
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def own_streams() -> None:
    """In a fork: print to descriptors 1 and 2, whatever the parent has put into their places (as pytest does)."""
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _finish(job: _Job, code: int | None) -> Result:
    texts = []
    for name in ("stdout", "stderr"):
        path = job.folder / name
        texts.append(path.read_text(encoding="utf-8", errors="replace") if path.exists() else "")
    shutil.rmtree(job.folder, ignore_errors=True)
    return Result(code, texts[0], texts[1], time.monotonic() - job.started)


def shows(program: Program, result: Result, repaired: bool) -> bool:
    """Whether the run ended as the truth says a faulty (or repaired) one does."""
    outcome = program.truth.outcome
    if outcome.crash is not None:
        if repaired:
            return result.code == 0
        return result.code not in (0, None) and outcome.crash in result.stderr
    condition = outcome.repaired if repaired else outcome.faulty
    value = outcome.read(result.stdout)
    return result.code == 0 and value is not None and condition is not None and satisfies(value, condition)


def measured(program: Program, result: Result) -> float | str | None:
    """What the verdict on one run rests on, for the record: the number, or how the process ended."""
    if result.code is None:
        return "timeout"
    if result.code != 0:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        return f"exit {result.code}: {last[0][:120]}"
    value = program.truth.outcome.read(result.stdout)
    if value is None:
        return "exit 0" if program.truth.outcome.crash else "no match"
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)  # JSON knows no NaN


def variants(program: Program) -> dict[str, frozenset[str]]:
    """Which faults are in, by the name under which the record keeps the variant."""
    named = {"repaired": frozenset[str]()}
    if program.faults:
        named["faulty"] = frozenset(program.faults)
    if len(program.faults) > 1:
        named |= {f"only_{fault}": frozenset({fault}) for fault in program.faults}
    return named


def verdict(program: Program, results: dict[str, dict[int, Result]]) -> dict[str, Any]:
    """The record of one program: values per variant and seed, and whether it is admitted."""
    record: dict[str, Any] = {"digest": program.digest}
    admitted = True
    for variant, by_seed in results.items():
        ordered = [by_seed[seed] for seed in sorted(by_seed)]
        healed = sum(shows(program, result, repaired=True) for result in ordered)
        if variant == "repaired":
            admitted &= healed >= REPAIRED_NEEDED
        elif variant == "faulty":
            admitted &= sum(shows(program, result, repaired=False) for result in ordered) >= FAULTY_NEEDED
        else:  # one of two faults left in: the program must still not be well
            admitted &= len(ordered) - healed >= FAULTY_NEEDED
        record[variant] = [measured(program, result) for result in ordered]
    every = [result.seconds for by_seed in results.values() for result in by_seed.values()]
    record["seconds"] = round(sum(every) / len(every), 1)
    return {"admitted": admitted, **record}


def examine(
    programs: list[Program], jobs: int
) -> Iterator[tuple[Program, dict[str, Any], dict[str, dict[int, Result]]]]:
    """Run every variant and seed of the programs; yields each program's record as soon as it is complete."""
    runs = [Run(p, faults, seed) for p in programs for faults in variants(p).values() for seed in SEEDS]
    collected: dict[str, dict[str, dict[int, Result]]] = {p.name: {v: {} for v in variants(p)} for p in programs}
    for run, result in execute(runs, jobs):
        results = collected[run.program.name]
        name = next(v for v, faults in variants(run.program).items() if faults == run.faults)
        results[name][run.seed] = result
        if all(len(by_seed) == len(SEEDS) for by_seed in results.values()):
            yield run.program, verdict(run.program, results), results


def main(argv: list[str] | None = None) -> int:
    """Test what changed; exit 1 if a program is not admitted."""
    parser = argparse.ArgumentParser(prog="python -m aitia.evals.kill", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="programs to test (default: every one that changed)")
    parser.add_argument("--split", choices=SPLITS, default="dev")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--show", action="store_true", help="print the output of seed 0 of every variant")
    options = parser.parse_args(argv)

    book = PROGRAMS / options.split / "kill.json"
    programs = [load(n, options.split) for n in options.names] or load_all(options.split)
    known = _read(book)
    changed = [p for p in programs if options.show or known.get(p.name, {}).get("digest") != p.digest]
    refused = [p.name for p in programs if p not in changed and not known[p.name]["admitted"]]
    for program, record, results in examine(changed, options.jobs):
        print(f"{'admitted' if record['admitted'] else 'REFUSED '} {program.name}  {program.truth.cause}", flush=True)
        for variant in variants(program):
            print(f"    {variant:9} {record[variant]}")
            if options.show:
                print(results[variant][0].stdout[-1500:], results[variant][0].stderr[-800:], sep="\n")
        print(f"    {record['seconds']} s per run", flush=True)
        if not record["admitted"]:
            refused.append(program.name)
        entries = _read(book) | {program.name: record}
        present = {path.stem for path in book.parent.glob("*.py")}
        entries = {name: entries[name] for name in sorted(entries) if name in present}
        book.write_text(_pretty(entries), encoding="utf-8")
    print(f"{len(changed)} tested, {len(programs) - len(changed)} unchanged, refused: {', '.join(refused) or 'none'}")
    return int(bool(refused))


def _read(book: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads(book.read_text(encoding="utf-8"))) if book.exists() else {}


def _pretty(entries: dict[str, dict[str, Any]]) -> str:
    """One line per program, so that a diff shows which one changed."""
    return "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items()) + "\n}\n"


if __name__ == "__main__":
    raise SystemExit(main())
