"""What a language model is shown of a run: evidence, hypotheses, an excerpt of the script; in a budget, redacted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from aitia.agent.redact import redact
from aitia.engine.records import CausalHypothesis, Diagnosis, Evidence
from aitia.engine.store.reader import Run

BUDGET_TOKENS = 6000
"""Small local models forget beyond this, and Ollama cuts silently at its own context length."""
CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English and code."""
OVERHEAD_TOKENS = 1200
"""Instructions and the output's schema."""
STATEMENT_CHARACTERS = 400
"""One measurement; a longer statement holds a list that a reader would skip, too."""
WORDS_CHARACTERS = 1500
"""The user's own words."""
CONTEXT_LINES = 25
"""Lines of the script kept around an accused line when the whole does not fit."""
MAX_EVIDENCE = 40
"""Lines of evidence; those that a hypothesis cites come first."""
MAX_ALIKE = 2
"""Look-alikes told with a hypothesis; they are ordered by likeness."""
NO_SCRIPT = "(not recorded)"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
FIELD_MARK = re.compile(r"\[\[\s*##")
"""How the adapter marks the fields of a prompt; in text of the user's it could begin a field of its own."""


def inputs(
    run: Run, diagnosis: Diagnosis, evidence: Sequence[Evidence], words: str | None, offered: Iterable[str] = ()
) -> dict[str, str]:
    """The inputs of the prompt; the script gets what evidence and hypotheses leave of the budget.

    Everything in them may hold text of the watched program. It cannot leave its line or its field, and carries no
    control characters; that the model is not persuaded by it is not promised, so `judge` checks what comes back.
    """
    cited = {i for h in diagnosis.hypotheses for i in (*h.evidence, *h.against)}
    first = sorted(evidence, key=lambda e: e.id not in cited)[:MAX_EVIDENCE]
    shown = {
        "question": harmless(redact(words or "Why did this run fail?"))[:WORDS_CHARACTERS],
        "evidence": "\n".join(f"[{e.id}] {e.tool}: {_short(e.statement)}" for e in first),
        "hypotheses": "\n".join(_line(h) for h in diagnosis.hypotheses) or "(none)",
        "measurements_offered": "\n".join(offered) or "(none)",
    }
    left = (BUDGET_TOKENS - OVERHEAD_TOKENS) * CHARACTERS_PER_TOKEN - sum(len(v) for v in shown.values())
    return {**shown, "training_script": harmless(redact(script(run, diagnosis.hypotheses, max(0, left))))}


def script(run: Run, hypotheses: Sequence[CausalHypothesis], characters: int) -> str:
    """The user's script with line numbers; the neighbourhoods of accused lines where the whole is too long."""
    name = run.info.script
    located = next((h.location for h in hypotheses if h.location is not None), None)
    file = located.file if located is not None else name
    text = run.sources.get(file or "")
    if text is None:
        return NO_SCRIPT
    lines = text.splitlines()
    marks = sorted({n for h in hypotheses if h.location and h.location.file == file for n in h.location.lines})
    keep = set(range(1, len(lines) + 1))
    if sum(len(line) + 6 for line in lines) > characters:
        keep = {n for m in marks or [1] for n in range(m - CONTEXT_LINES, m + CONTEXT_LINES + 1)}
    out, last = [f"# {file}"], 0
    for n in sorted(keep & set(range(1, len(lines) + 1))):
        if n != last + 1:
            out.append("…")
        out.append(f"{n:4} {lines[n - 1]}")
        last = n
    shown = "\n".join(out)
    return shown if len(shown) <= characters else shown[:characters].rpartition("\n")[0] + "\n… (cut)"


def _line(hypothesis: CausalHypothesis) -> str:
    where = f" in {_short(hypothesis.component)}" if hypothesis.component else ""
    if hypothesis.location is not None:
        where += f" at {hypothesis.location.file}:{','.join(map(str, hypothesis.location.lines))}"
    return (
        f"{hypothesis.id} {hypothesis.cause}{where} confidence={hypothesis.confidence:.2f} "
        f"for={','.join(hypothesis.evidence) or '-'} against={','.join(hypothesis.against) or '-'}: "
        f"{_short(hypothesis.explanation)}{''.join(f' Not {_short(x)}.' for x in hypothesis.mistaken_for[:MAX_ALIKE])}"
    )


def harmless(text: str) -> str:
    """The text without control, invisible and bidirectional characters, and unable to begin a field of the prompt."""
    kept = "".join(c for c in ESCAPE.sub("", text) if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return FIELD_MARK.sub("[ [##", kept)


def _short(text: str) -> str:
    text = " ".join(harmless(redact(text)).split())
    return text if len(text) <= STATEMENT_CHARACTERS else text[: STATEMENT_CHARACTERS - 1] + "…"
