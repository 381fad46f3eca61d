"""Where text of a watched program is made harmless before a language model or a terminal sees it.

Layer names, messages, logs and file names are written by whoever wrote the program or its data. Trusted fields carry
only our sentences, numbers, and names that match a strict grammar; everything else goes into fields named
`untrusted_*`, cleaned and shortened. This lowers the risk of injected instructions; it is no authorization boundary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from aitia.engine.store.reader import Run

NAME: Final = re.compile(r"[A-Za-z0-9_.?\-]{1,120}( \(replaced\))?")
"""Dotted paths of modules and parameters as Python makes them; `?N` names a tensor only the optimizer holds,
and the recorder marks what was exchanged during the run."""
FILE: Final = re.compile(r"[A-Za-z0-9_./\\:+\-]{1,200}")
"""File names without blanks: a path cannot carry a sentence."""
RUN_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Run names; no separator, no colon (a drive on Windows), no blank."""
WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}")
"""Class and function names."""
MAX_TEXT: Final = 2_000
"""Characters of one untrusted field; the end of a traceback or log tells most."""
MIN_QUOTED: Final = 8
"""Shorter strings of a run (`fc1`) are no carrier for instructions and may appear anywhere by chance."""
REMOVED: Final = "[text of the program removed]"
_MARKUP: Final = re.compile(r"(!?\[[^\]\n]{0,200}\])\([^)\n]{0,500}\)")
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def untrusted(text: str, limit: int = MAX_TEXT, *, tail: bool = False) -> str:
    """Text of the program without control, invisible or bidirectional characters and links, at most `limit` long."""
    if len(text) > 4 * limit:  # cleaning a whole log to show its end would be wasted work
        text = text[-4 * limit :] if tail else text[: 4 * limit]
    text = _MARKUP.sub(r"\1", _ESCAPE.sub("", text))
    kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    if len(kept) <= limit:
        return kept
    return f"… {kept[-limit:]}" if tail else f"{kept[:limit]} …"


def safe_name(name: str | None, index: int | None = None, kind: str = "layer") -> str:
    """The name itself where it obeys the grammar, else a stand-in such as `layer#3`."""
    if name is not None and NAME.fullmatch(name):
        return name
    return f"{kind}#{index}" if index is not None else f"{kind} with an unusual name"


def safe_word(word: str | None, default: str = "unknown") -> str:
    """A class or function name, or the default."""
    return word if word is not None and WORD.fullmatch(word) else default


def safe_file(name: str | None) -> str | None:
    """A file name that cannot carry a sentence, or None."""
    return name if name is not None and FILE.fullmatch(name) else None


class Scrubber:
    """Removes the raw strings of one run from sentences that were made elsewhere (engine, catalogue)."""

    def __init__(self, run: Run) -> None:
        raw = {t for t in _strings(run) if len(t) >= MIN_QUOTED and not NAME.fullmatch(t)}
        parts = {line.strip() for t in raw for line in t.splitlines() if len(line.strip()) >= MIN_QUOTED}
        self._raw = sorted(raw | parts, key=len, reverse=True)

    def __call__(self, text: str, limit: int = MAX_TEXT) -> str:
        """The sentence without any string of the program, cleaned and capped."""
        for raw in self._raw:
            if raw in text:
                text = text.replace(raw, REMOVED)
        return untrusted(text, limit)


def _strings(run: Run) -> Iterable[str]:
    yield from (x.name for x in run.layers)
    yield from (x.cls for x in run.layers)
    yield from (p.name for p in run.parameters)
    yield from (s.function for s in run.losses)
    failure = run.info.failure
    if failure is not None:
        yield failure.message
        yield failure.traceback
        yield failure.module or ""
        yield failure.module_class or ""
    for fact in run.facts("warning"):
        yield str(fact.data.get("message", ""))
        yield str(fact.data.get("category", ""))
    for file in run.sources:
        if not FILE.fullmatch(file):
            yield file
    yield from (a for a in run.info.command if not FILE.fullmatch(a))
