"""Compiles the diagnosis prompt for a user's own model (GEPA); writes it only if held-back cases are answered better.

Cases are recorded runs with known causes, healthy ones included. The score of an answer is half for the right cause
first, a fifth for its rank, and the rest for being grounded; the feedback that the optimizer reads names the true cause
and the checks that failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.agent import prompt
from aitia.agent.errors import ConfigurationError
from aitia.agent.judge import check, names_of
from aitia.agent.lm import MAX_TOKENS, first_line, patient, quiet_dspy
from aitia.agent.program import DIAGNOSE, Program, Verdict, adapter
from aitia.engine.records import Diagnosis, Record
from aitia.engine.store.reader import Run

if TYPE_CHECKING:
    import dspy

TOP, RANK, GROUNDED = 0.5, 0.2, 0.3
"""Weights of the score: naming the cause first counts most, and an ungrounded answer is worth little."""
FEWEST = 6
"""Cases; with fewer there is nothing to hold back."""
CALLS_PER_REFLECTION = 3
"""The optimizer tries a prompt on a handful of cases before it reflects; a handful is at least three."""
PROMPTS_PER_REFLECTION = 3
"""Cases that are shown to the reflecting model at a time, each as long as a prompt."""


@dataclass(frozen=True)
class LabelledCase:
    """A recorded run, what the rules say about it, and what is true."""

    name: str
    run: Run
    diagnosis: Diagnosis
    right: frozenset[str]
    """Causes on the list of hypotheses that are right; empty for a healthy run, or where the rules missed the cause."""


class Estimate(Record):
    """What an optimization will cost at most."""

    calls: int
    """Of the model the prompt is for."""
    reflections: int
    """Calls of the model that writes prompts."""
    input_tokens: int
    output_tokens: int

    def cost(self, per_million_in: float, per_million_out: float) -> float:
        """In the currency of the prices per million tokens."""
        return (self.input_tokens * per_million_in + self.output_tokens * per_million_out) / 1e6


class Report(Record):
    """What an optimization did."""

    rules: float
    """Mean score of the rules alone on held-back cases: what a model has to beat to be worth asking."""
    before: float
    """Mean score on held-back cases with the prompt as it was."""
    after: float
    n_held_back: int
    written: Path | None
    """The new prompt file; None where held-back cases did not get better."""
    instructions: str


def estimate(cases: Sequence[LabelledCase], budget: int, program: Program = DIAGNOSE) -> Estimate:
    """The most calls and tokens that `optimize` will use; prompts are measured on the cases."""
    calls, reflections = budget + 2 * len(split(cases)[2]), budget // CALLS_PER_REFLECTION
    sizes = [sum(len(str(m["content"])) for m in program.messages(None, _asked(case))) for case in cases]
    tokens = sum(sizes) // len(sizes) // prompt.CHARACTERS_PER_TOKEN
    return Estimate(
        calls=calls, reflections=reflections, output_tokens=(calls + reflections) * MAX_TOKENS,
        input_tokens=tokens * (calls + PROMPTS_PER_REFLECTION * reflections),
    )  # fmt: skip


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

    Raises `ConfigurationError` for too few cases and for a prompt file that drifted from the fields, and
    `LanguageModelError` for a model that refuses.
    """
    dspy = quiet_dspy()
    train, validation, held = split(cases)
    state = random.getstate()
    try:
        # The optimizer talks to standard output, where the caller's answer belongs.
        with dspy.context(lm=lm, adapter=adapter(), disable_history=True), contextlib.redirect_stdout(sys.stderr):
            judge = _judge(program, lm.model)
            before = _mean(judge, held)
            tuned = dspy.GEPA(
                metric=_metric, max_metric_calls=budget, reflection_lm=reflection, num_threads=1, seed=seed
            ).compile(judge, trainset=_examples(train), valset=_examples(validation))
            after = _mean(tuned, held)
    finally:
        random.setstate(state)
    instructions: str = tuned.predict.signature.instructions
    written = None
    if after > before:
        provenance = {
            "optimizer": "GEPA", "dspy": dspy.__version__, "model": lm.model, "reflection_model": reflection.model,
            "seed": seed, "budget": budget, "heldout": {"before": before, "after": after, "n": len(held)},
            "cases": hashlib.sha256("\n".join(sorted(c.name for c in cases)).encode()).hexdigest()[:16],
        }  # fmt: skip
        try:
            program.save(out, instructions, [], provenance)
        except OSError as error:
            raise ConfigurationError(f"{out} cannot be written ({error.strerror}); name another with --out.") from None
        written = out
    return Report(
        rules=rules_score(held), before=before, after=after, n_held_back=len(held), written=written,
        instructions=instructions,
    )  # fmt: skip


def rules_score(cases: Sequence[LabelledCase]) -> float:
    """Mean score of the rules' own order; their words are measured, so they count as grounded."""
    total = 0.0
    for case in cases:
        accused = case.diagnosis.hypotheses if case.diagnosis.verdict == "faulty" else ()
        total += _placed(case, [h.cause for h in accused]) + GROUNDED
    return round(total / max(1, len(cases)), 4)


def score(case: LabelledCase, verdicts: list[Verdict], reply: str | None) -> tuple[float, str]:
    """The score of an answer from 0 to 1, and in words what was wrong with it."""
    script, names = _asked(case)["training_script"], names_of(case.run)
    checked = check(verdicts, reply, case.diagnosis, list(case.diagnosis.evidence), script, names=names)
    causes = {h.id: h.cause for h in case.diagnosis.hypotheses}
    order = [causes.get(v.hypothesis_id, "") for v in verdicts]
    points = _placed(case, order) + GROUNDED * (not checked.problems)
    words = [f"failed check: {p}" for p in checked.problems]
    if _placed(case, order) < TOP + RANK - 1e-9:
        truth = f"the true cause is {' or '.join(sorted(case.right))}"
        if not case.right:
            truth = "none of the hypotheses is right, so the list of verdicts should be empty"
        facts = "; ".join(f"[{e.id}] {e.statement}" for e in case.diagnosis.evidence)
        words.insert(0, f"{truth}; you put {order[0] if order else 'nothing'} first. Evidence: {facts}")
    return points, " ".join(words) or "Right and grounded."


def _placed(case: LabelledCase, order: list[str]) -> float:
    """What the order of causes is worth."""
    if not case.right:
        return (TOP + RANK) * (not order)
    place = next((i for i, cause in enumerate(order) if cause in case.right), None)
    return TOP * (place == 0) + RANK * (0.0 if place is None else 1.0 / (place + 1))


def _asked(case: LabelledCase) -> dict[str, Any]:
    """The inputs of the first question about a case."""
    shown = prompt.inputs(case.run, case.diagnosis, case.diagnosis.evidence, None)
    return {**shown, "problems_with_last_answer": list[str]()}


def _judge(program: Program, model: str) -> Any:
    dspy = quiet_dspy()

    class Judge(dspy.Module):  # type: ignore[misc, name-defined]  # dspy is imported when it is needed
        """The one prediction as a module that can be optimized."""

        def __init__(self) -> None:
            super().__init__()
            self.predict = program.predictor(model)

        def forward(self, case: LabelledCase) -> Any:
            return patient(lambda: self.predict(**_asked(case)))

    return Judge()


def _examples(cases: list[LabelledCase]) -> list[Any]:
    dspy = quiet_dspy()
    return [dspy.Example(case=case).with_inputs("case") for case in cases]


def _metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    points, words = score(gold.case, list(pred.verdicts or []), pred.reply)
    return quiet_dspy().Prediction(score=points, feedback=words)


def _mean(judge: Any, cases: list[LabelledCase]) -> float:
    """Mean score; an answer that cannot be read is worth nothing, but a model that never answers is an error."""
    dspy = quiet_dspy()
    total, failures = 0.0, list[str]()
    for case in cases:
        try:
            answer = judge(case=case)
        except (dspy.LMError, dspy.AdapterParseError) as error:
            failures.append(first_line(error))
            if len(failures) == len(cases) and isinstance(error, dspy.LMError):
                raise ConfigurationError(f"the model answered none of {len(cases)} cases: {failures[-1]}") from None
            continue
        total += score(case, list(answer.verdicts or []), answer.reply)[0]
    return round(total / max(1, len(cases)), 4)
