"""The causal chain as a picture: cause → links → what was seen, in Mermaid."""

from __future__ import annotations

import re

from aitia.engine.case import Case
from aitia.engine.events import events
from aitia.engine.reason import Suspect, calibration, confidence, judge
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

MAX_LINKS = 6
"""More boxes than this are not read."""


def mermaid(run: Run, diagnosis: Diagnosis) -> str:
    """Mermaid flowchart of the chain behind a diagnosis: `flowchart TD …`. Text only, safe to paste."""
    lines = ["flowchart TD"]
    if diagnosis.verdict == "healthy":
        lines.append('  H["healthy: nothing speaks for a fault"]')
        return "\n".join(lines)
    judgement = judge(Case(run))
    bar = calibration()["bar"]
    accused = [s for s in judgement.suspects if confidence(s.score) >= bar][:3]
    ends = [f"S{i}" for i, _ in enumerate(judgement.symptoms)]
    for i, suspect in enumerate(accused):
        node = f"C{i}"
        lines.append(f'  {node}["{_text(_headline(suspect))}"]:::cause')
        links = [s for s in judgement.suspects if suspect.cause.id in s.links][:MAX_LINKS]
        last = node
        for j, link in enumerate(sorted(links, key=lambda s: s.onset or 1)):
            lines.append(f'  L{i}_{j}["{_text(_headline(link))}"]:::link')
            lines.append(f"  {last} --> L{i}_{j}")
            last = f"L{i}_{j}"
        told = [e for e in events(run) if e.after not in {"", "healthy"} and e.type.value.endswith("_health")][:2]
        for j, event in enumerate(told if i == 0 else []):
            lines.append(f'  V{j}["{_text(event.statement)}"]:::link')
            lines.append(f"  {last} --> V{j}")
        lines += [f"  {last} --> {end}" for end in ends]
    for end, sign in zip(ends, judgement.symptoms, strict=True):
        lines.append(f'  {end}(["{_text(sign.statement)}"]):::symptom')
    lines += [
        "  classDef cause fill:#fde2e1,stroke:#c0392b,color:#000",
        "  classDef link fill:#fff4d6,stroke:#b8860b,color:#000",
        "  classDef symptom fill:#e8eaf6,stroke:#3949ab,color:#000",
    ]
    return "\n".join(lines)


def _headline(suspect: Suspect) -> str:
    where = f" at {suspect.subject}" if suspect.subject else ""
    when = f", step {suspect.onset}" if suspect.onset is not None else ""
    return f"{suspect.cause.id}{where}{when}"


def _text(raw: str) -> str:
    """Words that cannot break out of a Mermaid label: quotes and markup are spelled as entities or dropped."""
    cleaned = re.sub(r"[\x00-\x1f\x7f]", " ", raw)[:160]
    return (
        cleaned.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
    )
