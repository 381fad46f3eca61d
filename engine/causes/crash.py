"""What the causes that end in an exception have in common: reading torch's own message, and where it struck."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Weight, supports
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


def struck(case: Case, failure: Failure, what: str) -> Iterator[Weight]:
    """That the run ended in this exception, and what the module that was running had before it."""
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: {what}",
        tool="error_diagnoser",
        subject=failure.module,
        step=case.n_steps + 1,
        where=failure_place(failure),
        phase=failure.phase,
        type=failure.type,
    )
    if failure.module and failure.inputs:
        shapes = ", ".join(f"{k} {v}" for k, v in failure.parameters.items()) or "no parameters"
        yield supports(
            MODERATE,
            f"{failure.module} received {', '.join(failure.inputs)} and holds {shapes}",
            tool="error_diagnoser",
            subject=failure.module,
        )
