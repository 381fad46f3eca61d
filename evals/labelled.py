"""Labelled cases for optimizing prompts: recorded programs of `dev` with what the rules say and what is true.

Where the true cause is not among the rules' hypotheses, the right answer is to leave all of them out. Left out are
faulty programs and repaired twins that are accused of nothing, since nothing would be asked about them. Look-alikes all
stay: a model that makes up a cause for one of them is worse than none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from aitia.agent.optimize import LabelledCase
from aitia.engine.reason import diagnose
from aitia.engine.store.reader import Run
from aitia.evals import kill
from aitia.evals import run as runner
from aitia.evals.recordings import Recording, job_for
from aitia.evals.zoo import HEALTHY, Program, load, load_all

SPLIT = "dev"
"""Prompts may learn from `dev` only; `test` is for the figures."""


def labelled(
    names: Sequence[str] = (), *, jobs: int = 1, quiet: bool = False, stale_ok: bool = False
) -> list[LabelledCase]:
    """Cases of these programs (default: all that the kill test admitted), recorded where they are not yet."""
    programs = [load(n, SPLIT) for n in names] or [p for p in load_all(SPLIT) if runner.admitted(p)]
    plan = [(p, v, job_for(p, v, 0, runner.CACHE)) for p in programs for v in runner.variants(p)]

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    done = runner.recorded([job for *_, job in plan], say, jobs=jobs, stale_ok=stale_ok)
    return [case for p, v, job in plan for case in _case(p, v, done[job.folder])]


def _case(program: Program, variant: str, recording: Recording) -> Iterator[LabelledCase]:
    """The case, where it can teach anything."""
    if recording.path is None or not kill.shows(program, recording.result, repaired=variant != "faulty"):
        return
    run = Run(recording.path)
    diagnosis = diagnose(run)
    right = frozenset((*program.truth.all_causes, *program.truth.also_right)) - {HEALTHY}
    named = frozenset(h.cause for h in diagnosis.hypotheses)
    if named or variant == HEALTHY:
        found = right & named if variant == "faulty" else frozenset()
        yield LabelledCase(f"{program.name}/{variant}", run, diagnosis, found)
