"""The language model writes a change or a test's assertion where none of ours fits; our code checks, proofs judge."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from aitia.agent.assertions import HELPERS, helpers_of, problems_of
from aitia.agent.edits import EditError, apply_edits
from aitia.agent.fix import unified
from aitia.agent.invariants import Invariant
from aitia.agent.lm import TOTAL_SECONDS, first_line, patient, quiet_dspy, within
from aitia.agent.program import REPAIR, TEST, Program, adapter
from aitia.agent.prompt import BUDGET_TOKENS, CHARACTERS_PER_TOKEN, harmless
from aitia.agent.redact import redact
from aitia.agent.repairs import Patch
from aitia.agent.scribe import Finding
from aitia.engine.records import CausalHypothesis
from aitia.engine.store.reader import Run
from aitia.engine.store.schema import NARROW
from aitia.tools.trust import safe_name

if TYPE_CHECKING:
    import dspy

T = TypeVar("T")
ATTEMPTS = 2
"""One answer and one chance to correct it."""
SUMMARY_CHARACTERS = 200
MAX_PARAMETERS = 40
"""Names of parameters that a test may need; those of a large model repeat themselves."""


class NotSentError(ValueError):
    """Why a program's text stays on this machine."""


def write_repair(finding: Finding, lm: dspy.LM, problems: Sequence[str] = ()) -> tuple[Patch | None, list[str]]:
    """The model's change of the accused file, and what went wrong; None where it gave none that can be applied.

    Raises `LanguageModelError` for a model that refuses.
    """
    try:
        name, inputs = _asked(finding)
    except NotSentError as error:
        return None, [str(error)]

    def read(answer: Any) -> Patch:
        after = apply_edits(inputs["training_script"], answer.edits)
        return Patch(redact(" ".join(answer.summary.split()))[:SUMMARY_CHARACTERS], {name: after}, "edit")

    return _written(REPAIR, inputs, lm, problems, read)


def repair_messages(finding: Finding, model: str | None) -> list[dict[str, Any]]:
    """Exactly what would be sent to have a change written; raises `NotSentError` where nothing would."""
    return REPAIR.messages(model, {**_asked(finding)[1], "problems_with_last_answer": list[str]()})


def _asked(finding: Finding) -> tuple[str, dict[str, str]]:
    """The accused file's name, and the inputs of the question for its change."""
    run, hypothesis = finding.run, finding.hypothesis
    name = hypothesis.location.file if hypothesis.location is not None else run.info.script
    text = run.sources.get(name or "")
    if name is None or text is None:
        raise NotSentError("the program's source was not recorded")
    if len(text) > BUDGET_TOKENS * CHARACTERS_PER_TOKEN:
        raise NotSentError(f"{name} is too long to be sent ({len(text)} characters)")
    if redact(text) != text:
        raise NotSentError(f"{name} holds something that looks like a secret, so it was not sent")
    if harmless(text) != text:
        raise NotSentError(f"{name} holds control characters or marks of a prompt, so it was not sent")
    return name, {"cause": _cause(hypothesis), "evidence": _evidence(finding), "training_script": text}


def write_test(
    finding: Finding, patch: Patch, lm: dspy.LM, problems: Sequence[str] = ()
) -> tuple[Invariant | None, list[str]]:
    """The model's assertion about recordings of this program, and what went wrong.

    Raises `LanguageModelError` for a model that refuses.
    """
    inputs = {
        "cause": _cause(finding.hypothesis),
        "evidence": _evidence(finding),
        "change": harmless(redact(unified(finding.run.sources, patch.files))),
        "recording": _offered(finding.run),
    }

    def read(answer: Any) -> Invariant:
        body = answer.body.strip("\n") + "\n"
        wrong = problems_of(body)
        claim = redact(" ".join(answer.claim.split()))[:SUMMARY_CHARACTERS].replace('"', "'").replace("\\", "/")
        if not claim:
            wrong.append("the claim is empty")
        if wrong:
            raise EditError("; ".join(wrong))
        name = re.sub(r"[^a-z0-9]+", "_", claim.lower()).strip("_")[:60].strip("_") or "the_cause_is_gone"
        return Invariant(name, claim, body.rstrip(), helpers_of(body), None)

    return _written(TEST, inputs, lm, problems, read)


def _written(
    program: Program, inputs: dict[str, str], lm: dspy.LM, problems: Sequence[str], read: Callable[[Any], T]
) -> tuple[T | None, list[str]]:
    """What the model wrote, as `read` makes it of an answer; each refusal is a note, and goes back to it once."""
    dspy, notes, deadline = quiet_dspy(), list[str](), time.monotonic() + TOTAL_SECONDS

    def talk() -> T | None:
        predict = program.predictor(lm.model)
        with dspy.context(lm=lm, adapter=adapter(), disable_history=True):
            for _ in range(ATTEMPTS):
                asked = {**inputs, "problems_with_last_answer": [*problems, *notes]}
                try:
                    return read(patient(partial(predict, **asked), deadline))
                except EditError as error:
                    notes.append(str(error))
        return None

    try:
        return within(TOTAL_SECONDS, talk), notes
    except (dspy.LMError, dspy.AdapterParseError, TimeoutError) as error:
        return None, [*notes, f"{type(error).__name__}: {first_line(error)}"]


def _evidence(finding: Finding) -> str:
    cited = {*finding.hypothesis.evidence, *finding.hypothesis.against}
    found = [e for e in finding.diagnosis.evidence if e.id in cited]
    lines = (f"[{e.id}] {harmless(redact(' '.join(e.statement.split())))}" for e in found)
    return "\n".join(lines)


def _offered(run: Run) -> str:
    """What a test can read of the recording."""
    kinds = sorted({fact.kind for fact in run.facts()})
    names = [safe_name(p.name, p.index, "parameter") for p in run.parameters if p.in_model][:MAX_PARAMETERS]
    return "\n".join((
        f"helpers from aitia.testing: {', '.join(sorted(HELPERS))}; numpy is np",
        "finite(values): those that are not NaN · largest_update(run, parameter, since=1): largest update norm · "
        "update_ratios(run): per step, update over weight norm · causes(run): set of accused causes",
        f'run.table("step")[column]: one value per optimizer step; columns {", ".join(NARROW["step"])}',
        f'run.table("loss")[column]: one value per call of a loss; columns {", ".join(NARROW["loss"])}',
        'run.of_parameter(name, "grad_norm" | "update_norm" | "weight_norm"): steps, values',
        f"run.facts(kind): list of facts with .step, .subject, .data (a dict); kinds here {', '.join(kinds)}",
        f"run.n_steps: number of optimizer steps; parameters: {', '.join(names)}",
    ))  # fmt: skip


def _cause(hypothesis: CausalHypothesis) -> str:
    from aitia.engine.causes.custom import catalogue

    known = catalogue().get(hypothesis.cause)
    where = ""
    if hypothesis.location is not None:
        where = f" at {hypothesis.location.file} line {', '.join(map(str, hypothesis.location.lines))}"
    part = f" in {hypothesis.component}" if hypothesis.component else ""
    repair = f" Repair: {known.repair}" if known is not None else ""
    return harmless(f"{hypothesis.cause}{part}{where}: {redact(hypothesis.explanation)}{repair}")
