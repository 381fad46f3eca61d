"""The answer to: why did this run fail? By rules, or with a language model whose every statement is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aitia.agent.errors import LanguageModelError
from aitia.agent.focus import OF_A_SUBJECT, focus, measure, subject
from aitia.agent.memory import with_proofs
from aitia.agent.suspicion import addressed
from aitia.engine.reason import diagnose
from aitia.engine.records import Diagnosis, Evidence
from aitia.engine.store.reader import Run
from aitia.journal.entries import seen_before

MAX_ASKED = 2
"""Measurements that the user's words add to an answer; more would bury it."""


def answer(
    run: Run,
    *,
    model: str | None = None,
    api_base: str | None = None,
    words: str | None = None,
    deep: bool = False,
    require_llm: bool = False,
    talk: Path | None = None,
) -> Diagnosis:
    """Why the run failed, with a fix for each hypothesis.

    `words` are the user's own: they decide what else is looked at, and the answer addresses them. With `model` the
    model orders and explains (`mode` is `llm`), or fails and the rules answer (`rules_fallback`); with `require_llm`
    that failure is a `LanguageModelError` instead. The conversation is kept in `talk`, to be replayed. Without `model`
    nothing of dspy is imported.
    """
    if model is None and require_llm:
        raise LanguageModelError("--require-llm needs a model: add --model provider/name.")
    diagnosis = by_rules(run, words)
    if model is not None:
        from aitia.agent.judge import complaint, consult
        from aitia.agent.lm import make_lm

        lm = make_lm(model, api_base)
        if talk is not None:
            from aitia.agent.replay_lm import recording

            lm = recording(lm, talk)
        diagnosis = consult(run, diagnosis, lm, words, deep).diagnosis
        if require_llm and diagnosis.mode == "rules_fallback":
            raise LanguageModelError(complaint(diagnosis))
    return again(run, with_proofs(run, with_fixes(run, diagnosis)))


def with_fixes(run: Run, diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis with a fix at each hypothesis."""
    if not diagnosis.hypotheses:
        return diagnosis
    from aitia.agent.fix import propose  # loads libcst, which a healthy run does not need

    hypotheses = tuple(h.model_copy(update={"fix": propose(run, h)}) for h in diagnosis.hypotheses)
    return diagnosis.model_copy(update={"hypotheses": hypotheses})


def by_rules(run: Run, words: str | None = None) -> Diagnosis:
    """The rules' diagnosis, with what the user's words ask for: measurements, a layer they name, a suspicion."""
    diagnosis = diagnose(run)
    evidence, replies, of = list(diagnosis.evidence), addressed(diagnosis, words), subject(run, words)
    asked = focus(words) or (tuple(OF_A_SUBJECT) if of else ())
    for name in asked[:MAX_ASKED]:
        result = measure(run, name, of)
        if result is None:
            continue
        place = f"{name} of {of}" if of and name in OF_A_SUBJECT else name
        replies.append(f"On {place}: {result.summary}")
        evidence += _new(result.evidence, evidence)
    if not replies:
        return diagnosis
    summary = " ".join([diagnosis.summary, *replies])
    return diagnosis.model_copy(update={"summary": summary, "evidence": tuple(evidence)})


def prompt(run: Run, *, model: str | None = None, words: str | None = None) -> str:
    """Exactly what would be sent to a model, and nothing is sent."""
    from aitia.agent.lm import quiet_dspy
    from aitia.agent.program import DIAGNOSE
    from aitia.agent.prompt import inputs

    quiet_dspy()
    diagnosis = by_rules(run, words)
    shown = {**inputs(run, diagnosis, diagnosis.evidence, words), "problems_with_last_answer": list[str]()}
    return _spoken(DIAGNOSE.messages(model, shown))


def repair_prompt(run: Run, *, model: str | None = None) -> str:
    """What would be sent to have the first cause repaired, or why nothing would be; and nothing is sent."""
    from aitia.agent.fix import patches_for
    from aitia.agent.lm import quiet_dspy
    from aitia.agent.scribe import Finding
    from aitia.agent.writer import NotSentError, repair_messages

    quiet_dspy()
    diagnosis = by_rules(run)
    if not diagnosis.hypotheses:
        return "No cause is accused, so no change would be asked for."
    first = diagnosis.hypotheses[0]
    if patches_for(run, first):
        return f"For {first.cause} there is a codemod, so no change would be asked for."
    try:
        return _spoken(repair_messages(Finding(run, diagnosis, first), model))
    except NotSentError as error:
        return f"No change would be asked for: {error}."


def _spoken(messages: list[dict[str, Any]]) -> str:
    return "\n\n".join(f"--- {m['role']} ---\n{m['content']}" for m in messages)


def _new(found: tuple[Evidence, ...], known: list[Evidence]) -> list[Evidence]:
    ids = {e.id for e in known}
    return [e for e in found if e.id not in ids]


def again(run: Run, diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis, with a sentence when the project's journal knows this cause from another run."""
    root = Path(run.info.cwd) if run.info.cwd else None
    if root is None or not diagnosis.hypotheses:
        return diagnosis
    first = diagnosis.hypotheses[0]
    past = [e for e in seen_before(root, first.cause, first.component) if e.run != run.id]
    if not past:
        return diagnosis
    text = f"{diagnosis.summary} Seen before: {past[0].run} ({past[0].date}, {past[0].status})."
    return diagnosis.model_copy(update={"summary": text})
