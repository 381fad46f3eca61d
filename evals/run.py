"""The evaluation: record the zoo's programs, ask why, score. `python -m aitia.evals.run --split dev --jobs 2`.

Recordings and answers are cached by content (program, recorder, torch; and the engine for answers), so that an
evaluation that was interrupted goes on where it was, and one after a change to a rule records nothing again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia import __version__
from aitia.engine.reason import diagnose
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run
from aitia.evals import exact, kill
from aitia.evals import peers as peers_room
from aitia.evals.again import compared
from aitia.evals.baselines import BASELINES
from aitia.evals.latency import first_right
from aitia.evals.opinions import Panel, announce
from aitia.evals.recordings import (
    Job,
    Recording,
    job_for,
    kept,
    preload,
    reasoning_digest,
    record,
    repairing_digest,
)
from aitia.evals.report import OURS, Report, build
from aitia.evals.score import Case, Reply, hit, reply_of
from aitia.evals.zoo import HEALTHY, PROGRAMS, SPLITS, Program, ZooError, load, load_all, render

CACHE = Path(os.environ.get("AITIA_EVAL_CACHE") or ".aitia-evals").absolute()
"""Where recordings are kept; can be deleted at any time. Not inside the package: a build would ship it."""


def evaluate(
    names: Sequence[str] = (),
    *,
    split: str = "dev",
    jobs: int = 1,
    seeds: int = 1,
    out: Path | None = None,
    quiet: bool = False,
    stale_ok: bool = False,
    executor: Executor | None = None,
    peers: Path | None = None,
    latency: bool = False,
    fix: bool = False,
    model: str | None = None,
    api_base: str | None = None,
    bit_exact: bool = False,
    again: bool = False,
) -> Report:
    """Record what is missing, ask about everything, write `report.md` and `report.json`, and return the report.

    `executor` is any `concurrent.futures` executor whose workers share this file system; default: `jobs` processes.
    `stale_ok` accepts recordings that an older recorder or program made, to look at rules alone. `peers` is a folder of
    environments of other tools (`aitia.evals.peers`), which are then asked, too.
    With `latency` every right answer is asked for again over cut-off recordings, to find out how soon it was right.
    With `model` a language model is asked about everything, too, and stands beside the rules.
    With `bit_exact` every program also runs alone, and what it prints is compared with what it printed when recorded.
    With `fix` the repair of every faulty program and every look-alike is written, proved, and tried with unseen seeds.
    With `again` everything is recorded a second time with the same seed, and the two answers are compared.
    """
    programs = [load(name, split) for name in names] or [p for p in load_all(split) if admitted(p)]
    plan = [(p, v, s, job_for(p, v, s, CACHE)) for p in programs for v in variants(p) for s in range(seeds)]

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    done = recorded([job for *_, job in plan], say, jobs=jobs, executor=executor, stale_ok=stale_ok)
    others = _ask_peers([(p, done[job.folder]) for p, _, _, job in plan], peers, say) if peers else {}
    panel = Panel(model, api_base, f"{OURS} + {model}") if model else None
    if panel:
        announce(len(plan), say)
    cases, notes = [], []
    for program, variant, seed, job in plan:
        recording = done[job.folder]
        if variant != "repaired" and not kill.shows(program, recording.result, repaired=variant == HEALTHY):
            notes.append(f"left out: {program.name}/{variant}-{seed} did not behave as its truth says when recorded")
            continue
        if variant == "repaired" and not kill.shows(program, recording.result, repaired=True):
            notes.append(f"left out: {program.name}/{variant}-{seed} did not recover when recorded")
            continue
        case = ask(program, variant, seed, recording)
        case.replies.update(others.get(recording.folder, {}))
        if panel:
            case.replies[panel.label] = _opinion(panel, recording, case.replies[OURS])
        if latency and variant == "faulty":
            case = replace(case, latency=_latency(case, recording))
        cases.append(case)
    meta: dict[str, Any] = {
        "split": split,
        "seeds": seeds,
        "versions": {"aitia": __version__, "torch": importlib.metadata.version("torch")},
        "engine": reasoning_digest(),
        "notes": notes,
    } | {v: len({c.program for c in cases if c.variant == v}) for v in ("faulty", "healthy", "repaired")}
    if panel:
        meta["model"] = panel.summary(cases, OURS)
    if fix:
        meta["fix"] = _repairs([(p, v, done[job.folder]) for p, v, s, job in plan if s == 0 and v != "repaired"], say)
    if bit_exact:
        meta["bit_exact"] = exact.summary(exact.compare([(p, v, s, done[j.folder]) for p, v, s, j in plan], jobs, say))
    if again:
        second = [(job_for(p, v, s, CACHE / "again"), p, v, s) for p, v, s, _ in plan if s == 0]
        twins = recorded([job for job, *_ in second], say, jobs=jobs, executor=executor, stale_ok=stale_ok)
        meta["again"] = compared(_pairs(cases, [(p, v, s, twins[job.folder]) for job, p, v, s in second]))
    report = build(cases, meta)
    folder = out or CACHE / ("partial" if names else split)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report.markdown, encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report.data, indent=1), encoding="utf-8")
    (folder / "misses.txt").write_text(report.misses, encoding="utf-8")
    say(f"written: {folder / 'report.md'}, report.json, misses.txt")
    return report


def _pairs(cases: list[Case], twins: list[tuple[Program, str, int, Recording]]) -> Iterator[tuple[str, Reply, Reply]]:
    """Name and both answers of every case that was recorded twice."""
    first = {(c.program, c.variant, c.seed): c.replies[OURS] for c in cases}
    for program, variant, seed, recording in twins:
        known = first.get((program.name, variant, seed))
        if known is not None and recording.path is not None:
            yield f"{program.name}/{variant}", known, _ours(Run(recording.path), recording)[0]


def recorded(
    wanted: Sequence[Job],
    say: Callable[[str], None],
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    stale_ok: bool = False,
) -> dict[str, Recording]:
    """Folder → recording of every job: those that were kept, and those that are made now."""
    done: dict[str, Recording] = {}
    missing: list[Job] = []
    for job in wanted:
        recording = kept(job, stale_ok=stale_ok)
        if recording is None:
            missing.append(job)
        else:
            done[job.folder] = recording
    say(f"{len(wanted)} recordings: {len(done)} kept, {len(missing)} to make")
    for number, recording in enumerate(_record(missing, jobs, executor), start=1):
        done[str(recording.folder)] = recording
        place = "/".join(recording.folder.parts[-3:])
        say(f"[{number}/{len(missing)}] {place}: exit {recording.code}, {recording.seconds:.1f} s")
    return done


def _ask_peers(
    programs: list[tuple[Program, Recording]], folder: Path, say: Callable[[str], None]
) -> dict[Path, dict[str, Reply]]:
    """Replies of every tool that is there: folder of the recording → {tool and version: reply}."""
    replies: dict[Path, dict[str, Reply]] = {recording.folder: {} for _, recording in programs}
    for name, python in peers_room.present(folder).items():
        label = peers_room.version(name, python)
        say(f"asking {label}")
        for place, reply in peers_room.ask(label, python, programs, CACHE).items():
            replies[place][label] = reply
    return replies


def _repairs(programs: list[tuple[Program, str, Recording]], say: Callable[[str], None]) -> dict[str, Any]:
    """What `aitia fix` does to every program, kept like the answers."""
    from aitia.evals.repair import Repair, repair, summary

    found: list[Repair] = []
    for program, variant, recording in programs:
        known = _known(recording, "repair.json")
        if known is not None and known.get("repairing") == repairing_digest():
            found.append(Repair(**{k: v for k, v in known.items() if k not in {"key", "repairing"}}))
            continue
        made = repair(program, variant, recording)
        if made is None:
            continue
        _remember(recording, "repair.json", asdict(made) | {"repairing": repairing_digest()})
        found.append(made)
        say(f"fix {program.name}: {made.cause}, changed {made.changed}, holds {made.holds}/3, proved {made.proved}, "
            f"{made.seconds} s")  # fmt: skip
    return summary(found)


def admitted(program: Program) -> bool:
    """Whether the kill test let the program in as it is now: an untested one would be no evidence."""
    book = PROGRAMS / program.split / "kill.json"
    entries = json.loads(book.read_text("utf-8")) if book.is_file() else {}
    entry = entries.get(program.name, {})
    return bool(entry.get("admitted")) and entry.get("digest") == program.digest


def variants(program: Program) -> tuple[str, ...]:
    """A faulty program and its repaired twin, or a look-alike alone."""
    return ("faulty", "repaired") if program.faults else (HEALTHY,)


def _record(missing: Sequence[Job], jobs: int, executor: Executor | None) -> Iterator[Recording]:
    if not missing:
        return
    if executor is not None:
        yield from (future.result() for future in as_completed([executor.submit(record, job) for job in missing]))
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(missing)), mp_context=context, initializer=preload) as pool:
        yield from (future.result() for future in as_completed([pool.submit(record, job) for job in missing]))


def ask(program: Program, variant: str, seed: int, recording: Recording) -> Case:
    """One case with the replies of all answerers."""
    accused = render(program, program.faults, seed).lines if variant == "faulty" else ()
    if recording.path is None:
        lost = Reply("unknown", error="nothing was recorded")
        replies = {OURS: lost} | dict.fromkeys(BASELINES, Reply("unknown"))
        return Case(program.name, variant, seed, program.truth, accused, replies)
    run = Run(recording.path)
    reply, seconds = _ours(run, recording)
    replies = {OURS: reply} | {name: rule(run) for name, rule in BASELINES.items()}
    return Case(program.name, variant, seed, program.truth, accused, replies, seconds, run.n_steps, _overhead(run))


def _ours(run: Run, recording: Recording) -> tuple[Reply, float]:
    """Our answer and the time it took, kept beside the recording until either changes."""
    known = _known(recording, "answer.json")
    if known is not None:
        return reply_of(Diagnosis.model_validate(known["diagnosis"])), float(known["seconds"])
    started = time.perf_counter()
    try:
        diagnosis = diagnose(run)
    except Exception as error:  # noqa: BLE001 - a rule that fails is a finding of the evaluation, not its end
        return Reply("unknown", error=f"{type(error).__name__}: {error}"), time.perf_counter() - started
    seconds = time.perf_counter() - started
    _remember(recording, "answer.json", {"seconds": seconds, "diagnosis": diagnosis.model_dump(mode="json")})
    return reply_of(diagnosis), seconds


def _opinion(panel: Panel, recording: Recording, ours: Reply) -> Reply:
    """What the model makes of the rules' answer; where they failed, there is nothing to weigh."""
    known = _known(recording, "answer.json")
    return panel.ask(recording, Diagnosis.model_validate(known["diagnosis"]), _key(recording)) if known else ours


def _latency(case: Case, recording: Recording) -> int | None:
    """Steps from the onset to the first right answer, kept like the answer."""
    if recording.path is None or not hit(case, case.replies[OURS], 1):
        return None
    known = _known(recording, "latency.json")
    if known is None:
        try:
            first = first_right(recording.path, case, lambda run: reply_of(diagnose(run)))
        except Exception:  # noqa: BLE001 - as above; a rule that fails on half a run is not right there
            return None
        known = {"first": first}
        _remember(recording, "latency.json", known)
    if known["first"] is None:
        return None
    return max(0, int(known["first"]) - (case.truth.onset_step or 1))


def _key(recording: Recording) -> str:
    return f"{recording.key}-{reasoning_digest()}"


def _known(recording: Recording, name: str) -> dict[str, Any] | None:
    """What was kept beside the recording, if recording and engine are still the same."""
    try:
        data = json.loads((recording.folder / name).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return dict(data) if data.get("key") == _key(recording) else None


def _remember(recording: Recording, name: str, data: dict[str, Any]) -> None:
    text = json.dumps({"key": _key(recording), **data}, indent=1)
    (recording.folder / name).write_text(text, encoding="utf-8")


def _overhead(run: Run) -> float | None:
    """The recorder's own time as a share of what the steps would have taken without it."""
    table = run.table("step")
    ours, total = float(np.nansum(table["recorder_s"])), float(np.nansum(table["step_s"]))
    return ours / (total - ours) if total > ours > 0 else None


def main(argv: list[str] | None = None) -> int:
    """Evaluate and print the report."""
    parser = argparse.ArgumentParser(prog="python -m aitia.evals.run", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="only these programs (default: all of the split that the kill test admitted)"
    )
    parser.add_argument("--split", choices=SPLITS, default="dev")
    parser.add_argument("--jobs", type=int, default=1, help="recordings at the same time")
    parser.add_argument("--seeds", type=int, default=1, help="seeds per program, to measure stability")
    parser.add_argument("--out", type=Path, help="folder of the report (default: the cache)")
    parser.add_argument("--peers", type=Path, help="folder of environments of other tools, to be asked, too")
    parser.add_argument("--latency", action="store_true", help="also measure how soon each answer is right")
    parser.add_argument("--bit-exact", action="store_true", help="also run every program alone and compare its output")
    parser.add_argument("--fix", action="store_true", help="also repair every program and try the repair")
    parser.add_argument("--again", action="store_true", help="also record everything twice and compare the answers")
    parser.add_argument("--misses", action="store_true", help="also list every wrong answer")
    parser.add_argument("--stale-ok", action="store_true", help="accept recordings made by older code")
    options = parser.parse_args(argv)
    try:
        for name in options.names:
            load(name, options.split)
    except ZooError as error:
        parser.error(str(error))
    report = evaluate(
        options.names, split=options.split, jobs=options.jobs, seeds=options.seeds, out=options.out,
        stale_ok=options.stale_ok, peers=options.peers, latency=options.latency, fix=options.fix,
        bit_exact=options.bit_exact, again=options.again,
    )  # fmt: skip
    print(report.markdown)
    if options.misses:
        print(report.misses)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
