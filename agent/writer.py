"""The language model writes the change where no codemod fits; our code applies it, and the proof judges it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from aitia.agent.edits import EditError, apply_edits
from aitia.agent.lm import TOTAL_SECONDS, first_line, patient, quiet_dspy, within
from aitia.agent.program import REPAIR, adapter
from aitia.agent.prompt import BUDGET_TOKENS, CHARACTERS_PER_TOKEN
from aitia.agent.redact import redact
from aitia.agent.repairs import Patch
from aitia.engine.records import CausalHypothesis, Diagnosis
from aitia.engine.store.reader import Run

if TYPE_CHECKING:
    import dspy

ATTEMPTS = 2
"""One answer and one chance to correct it."""
SUMMARY_CHARACTERS = 200


def write_repair(
    run: Run, diagnosis: Diagnosis, hypothesis: CausalHypothesis, lm: dspy.LM
) -> tuple[Patch | None, list[str]]:
    """The model's change of the accused file, and what went wrong; None where it gave none that can be applied.

    Raises `LanguageModelError` for a model that refuses.
    """
    name = hypothesis.location.file if hypothesis.location is not None else run.info.script
    text = run.sources.get(name or "")
    if name is None or text is None:
        return None, ["the program's source was not recorded"]
    if len(text) > BUDGET_TOKENS * CHARACTERS_PER_TOKEN:
        return None, [f"{name} is too long to be sent ({len(text)} characters)"]
    if redact(text) != text:
        return None, [f"{name} holds something that looks like a secret, so it was not sent"]
    cited = {*hypothesis.evidence, *hypothesis.against}
    inputs = {
        "cause": _cause(hypothesis),
        "evidence": "\n".join(f"[{e.id}] {redact(e.statement)}" for e in diagnosis.evidence if e.id in cited),
        "training_script": text,
    }
    dspy, notes = quiet_dspy(), list[str]()
    try:
        written = within(TOTAL_SECONDS, lambda: _talk(inputs, lm, notes))
    except (dspy.LMError, dspy.AdapterParseError, TimeoutError) as error:
        return None, [*notes, f"{type(error).__name__}: {first_line(error)}"]
    return (Patch(written[1], {name: written[0]}, "edit") if written else None), notes


def _talk(inputs: dict[str, str], lm: dspy.LM, notes: list[str]) -> tuple[str, str] | None:
    """The edited text and what was changed; each refusal is a note, and goes back to the model once."""
    dspy, deadline = quiet_dspy(), time.monotonic() + TOTAL_SECONDS
    predict = REPAIR.predictor(lm.model)
    with dspy.context(lm=lm, adapter=adapter(), disable_history=True):
        for _ in range(ATTEMPTS):
            asked = {**inputs, "problems_with_last_answer": list(notes)}
            answer = patient(partial(predict, **asked), deadline)
            try:
                after = apply_edits(inputs["training_script"], answer.edits)
            except EditError as error:
                notes.append(str(error))
                continue
            return after, redact(" ".join(answer.summary.split()))[:SUMMARY_CHARACTERS]
    return None


def _cause(hypothesis: CausalHypothesis) -> str:
    from aitia.engine.causes.custom import catalogue

    known = catalogue().get(hypothesis.cause)
    where = ""
    if hypothesis.location is not None:
        where = f" at {hypothesis.location.file} line {', '.join(map(str, hypothesis.location.lines))}"
    part = f" in {hypothesis.component}" if hypothesis.component else ""
    repair = f" Repair: {known.repair}" if known is not None else ""
    return f"{hypothesis.cause}{part}{where}: {redact(hypothesis.explanation)}{repair}"
