"""What the causes that end in an exception have in common: reading torch's own message, and where it struck."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aitia.engine.records import Failure, SourceLocation


def same_failure(failure: Failure, patterns: Iterable[str], types: Iterable[str] = ()) -> bool:
    """True when the exception has one of the types (if given) and its message one of the patterns."""
    names = tuple(types)
    if names and failure.type.rpartition(".")[2] not in names:
        return False
    return any(re.search(p, failure.message, re.IGNORECASE) for p in patterns)


def failure_place(failure: Failure) -> SourceLocation | None:
    """The user's line that was running."""
    if failure.file is None or failure.line is None:
        return None
    return SourceLocation(file=failure.file, lines=(failure.line,))
