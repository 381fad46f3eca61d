"""Recordings answered again with a language model on, beside the rules: what it gains, makes up, and costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.agent.judge import consult
from aitia.agent.lm import make_lm
from aitia.agent.program import DIAGNOSE, family
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run
from aitia.evals.recordings import Recording
from aitia.evals.score import Case, Reply, hit, reply_of

if TYPE_CHECKING:
    import dspy


@dataclass(frozen=True)
class Opinion:
    """One answer with the model on."""

    diagnosis: dict[str, Any]
    calls: int
    tokens: int
    refused: int
    """Statements of the model that failed a check."""


class Panel:
    """One model, asked about many recordings; its answers are kept beside them, since they cost money."""

    def __init__(self, model: str, api_base: str | None, label: str) -> None:
        self.model = model
        self.lm: dspy.LM = make_lm(model, api_base)
        self.label = label
        """Name of the row in the tables."""
        self._version = hashlib.sha256(
            f"{model}\0{api_base}\0{DIAGNOSE.file(model).read_text('utf-8')}".encode()
        ).hexdigest()[:16]
        self.opinions: list[Opinion] = []

    def ask(self, recording: Recording, rules: Diagnosis, key: str) -> Reply:
        """What the model makes of the rules' answer. Raises `LanguageModelError` for a model that refuses."""
        path = recording.folder / f"opinion-{family(self.model)}.json"
        key = f"{key}-{self._version}"
        opinion = _kept(path, key)
        if opinion is None and recording.path is not None:
            done = consult(Run(recording.path), rules, self.lm)
            refused = sum(note.startswith("refused: ") for note in done.notes)
            opinion = Opinion(done.diagnosis.model_dump(mode="json"), done.calls, done.tokens, refused)
            path.write_text(json.dumps({"key": key, **asdict(opinion)}, indent=1), encoding="utf-8")
        if opinion is None:
            return Reply("unknown", error="nothing was recorded")
        self.opinions.append(opinion)
        return reply_of(Diagnosis.model_validate(opinion.diagnosis))

    def summary(self, cases: Sequence[Case], rules: str) -> dict[str, Any]:
        """How often the model was asked and used, what it changed for better or worse, and what it cost."""
        faulty = [c for c in cases if c.variant == "faulty"]
        pairs = [(hit(c, c.replies[rules], 1), hit(c, c.replies[self.label], 1)) for c in faulty]
        modes = [o.diagnosis["mode"] for o in self.opinions]
        return {
            "model": self.model, "asked": sum(o.calls > 0 for o in self.opinions), "used": modes.count("llm"),
            "fell_back": modes.count("rules_fallback"), "refused": sum(o.refused for o in self.opinions),
            "righted": pairs.count((False, True)), "spoiled": pairs.count((True, False)),
            "calls": sum(o.calls for o in self.opinions), "tokens": sum(o.tokens for o in self.opinions),
        }  # fmt: skip


def told(summary: dict[str, Any] | None) -> list[str]:
    """The summary as lines of the report."""
    if not summary:
        return []
    return [
        "\n## With a language model\n",
        "{model}: asked about {asked} recordings, used for {used}, fell back to the rules for {fell_back}; {refused} "
        "statements failed a check. First cause put right {righted} times, put wrong {spoiled} times. {calls} calls, "
        "{tokens} tokens.".format(**summary),
    ]


def announce(recordings: int, say: Callable[[str], None]) -> None:
    """What it may cost, before anything is asked."""
    say(f"asking the language model about up to {recordings} recordings, at most {2 * recordings} calls")


def _kept(path: Path, key: str) -> Opinion | None:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return Opinion(**{k: v for k, v in data.items() if k != "key"}) if data.pop("key", None) == key else None
