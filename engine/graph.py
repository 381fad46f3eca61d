"""The causal chain of an answer: cause → links → what was seen. As Mermaid text here, as a picture in `drawing`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from aitia.engine.case import Case
from aitia.engine.events import events
from aitia.engine.reason import Suspect, calibration, confidence, judge
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

MAX_LINKS: Final = 6
"""More boxes than this are not read."""
MAX_CAUSES: Final = 3
MAX_TOLD: Final = 2
"""Changes of a layer's or parameter's state that are drawn into the chain of the first cause."""
Kind = Literal["cause", "link", "symptom", "healthy"]


@dataclass(frozen=True)
class Node:
    """One box."""

    id: str
    kind: Kind
    headline: str
    """Untrusted: holds names out of the program."""
    detail: str = ""


@dataclass
class Chain:
    """Boxes and arrows; every arrow points from what came first to what followed."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, node: Node, after: str | None = None) -> str:
        """Add a box, and an arrow to it."""
        self.nodes.append(node)
        if after is not None:
            self.edges.append((after, node.id))
        return node.id


def chain(run: Run, diagnosis: Diagnosis) -> Chain:
    """The chain behind a diagnosis: accused causes, what they explain, the states that changed, the symptoms."""
    found = Chain()
    if diagnosis.verdict == "healthy":
        found.add(Node("H", "healthy", "healthy: nothing speaks for a fault"))
        return found
    judgement = judge(Case(run))
    bar = calibration()["bar"]
    accused = [s for s in judgement.suspects if confidence(s.score) >= bar][:MAX_CAUSES]
    ends = [f"S{i}" for i, _ in enumerate(judgement.symptoms)]
    for i, suspect in enumerate(accused):
        sure = f"{suspect.cause.title} ({confidence(suspect.score):.0%} sure)"
        last = found.add(Node(f"C{i}", "cause", _headline(suspect), sure))
        links = [s for s in judgement.suspects if suspect.cause.id in s.links][:MAX_LINKS]
        for j, link in enumerate(sorted(links, key=lambda s: s.onset or 1)):
            last = found.add(Node(f"L{i}_{j}", "link", _headline(link), link.cause.title), last)
        told = [e for e in events(run) if e.after not in {"", "healthy"} and e.type.value.endswith("_health")]
        for j, event in enumerate(told[:MAX_TOLD] if i == 0 else []):
            found.add(Node(f"V{j}", "link", event.statement), last)
        found.edges += [(last, end) for end in ends]
    for end, sign in zip(ends, judgement.symptoms, strict=True):
        found.add(Node(end, "symptom", sign.statement))
    return found


def mermaid(run: Run, diagnosis: Diagnosis) -> str:
    """Mermaid flowchart of the chain behind a diagnosis: `flowchart TD …`. Text only, safe to paste."""
    drawn = chain(run, diagnosis)
    lines = ["flowchart TD"]
    for node in drawn.nodes:
        if node.kind == "healthy":
            return "\n".join([*lines, f'  {node.id}["{_text(node.headline)}"]'])
        opening, closing = ("([", "])") if node.kind == "symptom" else ("[", "]")
        lines.append(f'  {node.id}{opening}"{_text(node.headline)}"{closing}:::{node.kind}')
        lines += [f"  {a} --> {b}" for a, b in drawn.edges if a == node.id]
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
