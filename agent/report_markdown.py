"""The report of an incident as Markdown, for an issue or a pull request. Texts of the program cannot become markup."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aitia.agent.dossier import RUNGS, Dossier
from aitia.engine.replay.reading import Reading
from aitia.tools.trust import untrusted

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>~@-])")


def markdown(dossier: Dossier) -> str:
    """The whole report."""
    return "\n".join(_lines(dossier)) + "\n"


def _lines(d: Dossier) -> Iterator[str]:
    info, main, incident = d.run.info, d.main, d.incident
    yield f"# {d.diagnosis.verdict.upper()}: {_text(main.cause) if main is not None else 'no cause accused'}\n"
    yield f"{_text(d.diagnosis.summary)}\n"
    yield f"- Run: {_text(d.run.id)}, {_text(' '.join(info.command))}, {info.status.value} after {d.run.n_steps} steps"
    if main is not None:
        yield f"- Certainty: {main.confidence:.0%}, {RUNGS[main.rung]}"
        if main.location is not None:
            yield f"- Where: {_text(main.location.file)}, line {', '.join(map(str, main.location.lines))}"
        yield "\n## Evidence\n"
        for e in d.evidence(main.evidence):
            yield f"- {e.id}: {_text(e.statement)}"
        for e in d.evidence(main.against):
            yield f"- against, {e.id}: {_text(e.statement)}"
    if d.fix is not None:
        yield f"\n## Repair\n\n{_text(d.fix.summary)}"
        if d.fix.diff:
            yield _fence(d.fix.diff, "diff")
    if main is not None and main.verification.status != "not_run":
        yield f"\n## Proof\n\n{main.verification.status}: {_text(str(main.verification.details.get('reason', '')))}\n"
        if incident is not None and incident.took:
            yield f"It took {incident.took}.\n"
        yield "| run | mechanism | accused | steps | loss | accuracy |\n|---|---|---|---|---|---|"
        yield from (_row(r) for r in d.readings)
    if incident is not None and incident.test is not None:
        told = f"{incident.test.name}: {incident.test_status}, {incident.test_reason}"
        yield f"\n## Regression test\n\n{_text(told)}"
        if d.test is not None:
            yield _fence(d.test, "python")
    if incident is not None and incident.refuted:
        yield "\n## Tried in vain\n"
        yield from (f"- {_text(line)}" for line in incident.refuted)


def _row(r: Reading) -> str:
    name = f"{r.label}, seed +{r.seed}" if r.seed else r.label
    mechanism = f"there: {_text(r.statement)}" if r.seen else "gone"
    wrong = ", ".join([*r.accused, *r.symptoms]) or "nothing"
    accuracy = "-" if r.accuracy is None else f"{r.accuracy:.3g}"
    return f"| {name} | {mechanism} | {_text(wrong)} | {r.steps} | {_loss(r)} | {accuracy} |"


def _loss(r: Reading) -> str:
    first, last = ("-" if v is None else f"{v:.4g}" for v in (r.loss_first, r.loss_last))
    return f"{first} → {last}"


def _fence(text: str, language: str) -> str:
    """A code block that its content cannot end."""
    text = untrusted(text, 20_000).rstrip()
    longest = max((len(m) for m in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}{language}\n{text}\n{fence}"


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(untrusted(text, 4000).split()))
