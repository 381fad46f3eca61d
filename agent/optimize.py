"""Compiles the diagnosis prompt for a user's own model (GEPA); writes it only if held-back cases are answered better.

Cases are recorded runs with known causes, healthy ones included. The score of an answer is half for the right cause
first, a fifth for its rank, and the rest for being grounded; the feedback that the optimizer reads names the true cause
and the checks that failed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.agent import prompt
from aitia.agent.errors import ConfigurationError
from aitia.agent.judge import check
from aitia.agent.lm import quiet_dspy
from aitia.agent.program import DIAGNOSE, Program, adapter
from aitia.engine.records import Diagnosis, Record
from aitia.engine.store.reader import Run

if TYPE_CHECKING:
    import dspy

TOP, RANK, GROUNDED = 0.5, 0.2, 0.3
"""Weights of the score: naming the cause first counts most, and an ungrounded answer is worth little."""
FEWEST = 6
"""Cases; with fewer there is nothing to hold back."""
TOKENS_PER_CALL = prompt.BUDGET_TOKENS
"""For the estimate: a prompt is at most that long."""


@dataclass(frozen=True)
class LabelledCase:
    """A recorded run, what the rules say about it, and what is true."""

    name: str
    run: Run
    diagnosis: Diagnosis
    right: frozenset[str]
    """Causes that are right; empty for a healthy run."""


class Estimate(Record):
    """What an optimization will cost at most."""

    calls: int
    reflections: int
    tokens: int


class Report(Record):
    """What an optimization did."""

    before: float
    """Mean score on held-back cases with the prompt as it was."""
    after: float
    n_held_back: int
    written: Path | None
    """The new prompt file; None where held-back cases did not get better."""
    instructions: str


def estimate(cases: Sequence[LabelledCase], budget: int) -> Estimate:
    """The most calls and tokens that `optimize` will use."""
    held = len(split(cases)[2])
    calls = budget + 2 * held
    return Estimate(calls=calls, reflections=budget // 3, tokens=calls * TOKENS_PER_CALL)


def split(cases: Sequence[LabelledCase]) -> tuple[list[LabelledCase], list[LabelledCase], list[LabelledCase]]:
    """Train, validation and held-back cases, the same for the same names; healthy ones are spread over all three."""
    if len(cases) < FEWEST:
        raise ConfigurationError(f"{len(cases)} cases are too few to optimize on; {FEWEST} are needed at least.")
    ordered = sorted(cases, key=lambda c: (bool(c.right), hashlib.sha256(c.name.encode()).hexdigest()))
    parts: tuple[list[LabelledCase], list[LabelledCase], list[LabelledCase]] = ([], [], [])
    for place, case in enumerate(ordered):
        parts[place % 3].append(case)
    return parts


def optimize(
    cases: Sequence[LabelledCase],
    lm: dspy.LM,
    reflection: dspy.LM,
    out: Path,
    *,
    budget: int = 120,
    seed: int = 0,
    program: Program = DIAGNOSE,
) -> Report:
    """Search better instructions with at most `budget` answers of the model; write them to `out` if they are better.

    Raises `ConfigurationError` for too few cases and for a prompt file that drifted from the fields.
    """
    dspy = quiet_dspy()
    train, validation, held = split(cases)
    state = random.getstate()
    with dspy.context(lm=lm, adapter=adapter(), disable_history=True):
        judge = _judge(program, lm.model)
        before = _mean(judge, held)
        tuned = dspy.GEPA(
            metric=_metric, max_metric_calls=budget, reflection_lm=reflection, num_threads=1, seed=seed
        ).compile(judge, trainset=_examples(train), valset=_examples(validation))
        after = _mean(tuned, held)
    random.setstate(state)
    instructions: str = tuned.predict.signature.instructions
    written = None
    if after > before:
        provenance = {
            "optimizer": "GEPA", "dspy": dspy.__version__, "model": lm.model, "reflection_model": reflection.model,
            "seed": seed, "budget": budget, "heldout": {"before": before, "after": after, "n": len(held)},
            "cases": hashlib.sha256("\n".join(sorted(c.name for c in cases)).encode()).hexdigest()[:16],
        }  # fmt: skip
        program.save(out, instructions, [], provenance)
        written = out
    return Report(before=before, after=after, n_held_back=len(held), written=written, instructions=instructions)


def score(case: LabelledCase, verdicts: list[Any], reply: str | None) -> tuple[float, str]:
    """The score of an answer from 0 to 1, and in words what was wrong with it."""
    checked = check(verdicts, reply, case.diagnosis, list(case.diagnosis.evidence), "")
    causes = {h.id: h.cause for h in case.diagnosis.hypotheses}
    order = [causes.get(v.hypothesis_id, "") for v in verdicts]
    if case.right:
        place = next((i for i, cause in enumerate(order) if cause in case.right), None)
        points = TOP * (place == 0) + RANK * (0.0 if place is None else 1.0 / (place + 1))
        truth = f"the true cause is {' or '.join(sorted(case.right))}"
    else:
        points, truth = (TOP + RANK) * (not order), "the run is healthy, so the list of verdicts should be empty"
    points += GROUNDED * (not checked.problems)
    words = [f"failed check: {p}" for p in checked.problems]
    if points < 1.0 - 1e-9 and (not order or order[0] not in case.right):
        facts = "; ".join(f"[{e.id}] {e.statement}" for e in case.diagnosis.evidence)
        words.insert(0, f"{truth}; you put {order[0] if order else 'nothing'} first. Evidence: {facts}")
    return points, " ".join(words) or "Right and grounded."


def _judge(program: Program, model: str) -> Any:
    dspy = quiet_dspy()

    class Judge(dspy.Module):  # type: ignore[misc, name-defined]  # dspy is imported when it is needed
        """The one prediction as a module that can be optimized."""

        def __init__(self) -> None:
            super().__init__()
            self.predict = program.predictor(model)

        def forward(self, case: LabelledCase) -> Any:
            shown = prompt.inputs(case.run, case.diagnosis, case.diagnosis.evidence, None)
            return self.predict(**shown, problems_with_last_answer=[])

    return Judge()


def _examples(cases: list[LabelledCase]) -> list[Any]:
    dspy = quiet_dspy()
    return [dspy.Example(case=case).with_inputs("case") for case in cases]


def _metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    points, words = score(gold.case, list(pred.verdicts or []), pred.reply)
    return quiet_dspy().Prediction(score=points, feedback=words)


def _mean(judge: Any, cases: list[LabelledCase]) -> float:
    dspy = quiet_dspy()
    total = 0.0
    for case in cases:
        try:
            answer = judge(case=case)
        except (dspy.LMError, dspy.AdapterParseError):
            continue  # an answer that cannot be read is worth nothing
        total += score(case, list(answer.verdicts or []), answer.reply)[0]
    return round(total / max(1, len(cases)), 4)
