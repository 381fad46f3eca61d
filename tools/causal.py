"""The causal tools: the chain from cause to symptoms as events and as a graph, and what the catalogue says of it."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from aitia.engine.records import CausalHypothesis, Diagnosis, Evidence, Record
from aitia.engine.store.reader import Run
from aitia.tools.answer import diagnosis_of
from aitia.tools.compare import Comparison, compare_runs
from aitia.tools.result import Action, ToolResult, shown
from aitia.tools.trust import Scrubber, safe_name

__all__ = ["Comparison", "Explanation", "compare_runs", "explain_cause"]

MAX_EVENTS: Final = 12
"""A chain longer than this is a log, not an explanation."""


View = Literal["summary", "graph", "svg"]
"""What `explain_cause` adds to its words: nothing, Mermaid text, or a picture."""


class Link(Record):
    """One event of the chain."""

    event: str
    step: int
    last_step: int | None = None
    kind: str
    subject: str
    change: str
    """State before → state after."""
    statement: str


class LookAlike(Record):
    """Another cause with the same symptoms, and the measurement that separates the two."""

    cause: str
    told_apart_by: str


class Explanation(ToolResult):
    """How a cause works, how it showed in this run, and what it is mistaken for."""

    shrinkable: ClassVar[tuple[str, ...]] = ("svg", "graph", "look_alikes", "events", "evidence")
    hypothesis: str | None = None
    cause: str | None = None
    title: str | None = None
    confidence: float | None = None
    rung: str | None = None
    """association (seen together), intervention (changed and gone) or replay."""
    explanation: str | None = None
    repair: str | None = None
    events: tuple[Link, ...] = ()
    """Oldest first."""
    explains: tuple[str, ...] = ()
    """Causes that are mere consequences when this one holds."""
    look_alikes: tuple[LookAlike, ...] = ()
    against: tuple[str, ...] = ()
    """Ids of evidence that speaks against it."""
    next_measurement: str | None = None
    source: str | None = None
    graph: str | None = None
    """Mermaid text of the chain."""
    svg: str | None = None
    """The chain as a picture, to be written to a file."""


def explain_cause(
    run: Run, hypothesis: str = "H1", *, view: View = "summary", diagnosis: Diagnosis | None = None
) -> Explanation:
    """The chain behind one hypothesis of a run's diagnosis, given by its id (`H1`) or by its cause id.

    Raises:
        KeyError: the diagnosis has no such hypothesis; the message names those it has.
    """
    from aitia.engine.causes.custom import catalogue
    from aitia.engine.drawing import svg
    from aitia.engine.events import events
    from aitia.engine.graph import mermaid

    diagnosis = diagnosis or diagnosis_of(run)
    clean = Scrubber(run)
    links = tuple(
        Link(
            event=e.id,
            step=e.step,
            last_step=e.last_step,
            kind=e.type.value,
            subject=safe_name(e.subject, None, "subject"),
            change=clean(f"{e.before or '-'} → {e.after or '-'}"),
            statement=clean(e.statement, 400),
        )
        for e in events(run)[:MAX_EVENTS]
    )
    drawn = clean(mermaid(run, diagnosis), 6_000) if view == "graph" else None
    picture = svg(run, diagnosis, lambda text: clean(text, 300)) if view == "svg" else None
    if not diagnosis.hypotheses:
        return Explanation(
            run=run.id,
            summary=f"Nothing is accused in this run (verdict {diagnosis.verdict}). {clean(diagnosis.summary)}",
            suggested_actions=_actions(run.id, None),
            events=links,
            graph=drawn,
            svg=picture,
        )
    chosen = _find(diagnosis, hypothesis)
    cause = catalogue().get(chosen.cause)
    cited = set(chosen.evidence) | set(chosen.against)
    told = "; ".join(clean(e.statement, 300) for e in diagnosis.evidence if e.id in chosen.evidence[:2])
    title = cause.title if cause else chosen.cause
    return Explanation(
        run=run.id,
        summary=f"{chosen.cause} (confidence {chosen.confidence:.2f}): {title.rstrip('.')}. Seen: {told or 'nothing'}.",
        evidence=tuple(_cleaned(e, clean) for e in diagnosis.evidence if e.id in cited),
        suggested_actions=_actions(run.id, chosen),
        hypothesis=chosen.id,
        cause=chosen.cause,
        title=title,
        confidence=chosen.confidence,
        rung=chosen.rung,
        explanation=clean(chosen.explanation, 1_500) or None,
        repair=cause.repair if cause else None,
        events=links,
        explains=cause.explains if cause else (),
        look_alikes=tuple(
            LookAlike(cause=k, told_apart_by=v) for k, v in (cause.mistaken_for if cause else {}).items()
        ),
        against=chosen.against,
        next_measurement=(cause.next_measurement or None) if cause else None,
        source=(cause.source or None) if cause else None,
        graph=drawn,
        svg=picture,
    )


def _find(diagnosis: Diagnosis, wanted: str) -> CausalHypothesis:
    for one in diagnosis.hypotheses:
        if wanted in {one.id, one.cause}:
            return one
    known = ", ".join(f"{h.id} ({h.cause})" for h in diagnosis.hypotheses)
    raise KeyError(f"the diagnosis has no such hypothesis; it has {known}")


def _cleaned(evidence: Evidence, clean: Scrubber) -> Evidence:
    values = {k: shown(v, clean) for k, v in evidence.values.items()}
    return evidence.model_copy(update={"statement": clean(evidence.statement, 500), "values": values})


def _actions(run: str, chosen: CausalHypothesis | None) -> tuple[Action, ...]:
    if chosen is None:
        return (Action(tool="debug_gradients", arguments={"run": run}, reason="shows the raw measurements"),)
    group = chosen.cause.partition(".")[0]
    by_group = {
        "model": "analyze_layers", "init": "analyze_layers", "perf": "profile_performance", "resource": "track_memory",
        "shape": "diagnose_error", "dtype": "diagnose_error", "device": "diagnose_error",
    }  # fmt: skip
    tool = by_group.get(group, "debug_gradients")
    return (Action(tool=tool, arguments={"run": run}, reason="shows the measurements behind it in full"),)
