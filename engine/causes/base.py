"""What a cause is made of, and the scale on which evidence is weighed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aitia.engine.records import Phase, Scalar, SourceLocation

if TYPE_CHECKING:
    from aitia.engine.case import Case

# Log-odds of one piece of evidence. A prior of about one in fifty per cause (PRIOR) means: one decisive measurement
# accuses alone, a strong one needs a moderate companion, weak ones never suffice.
DECISIVE: Final = 7.0
STRONG: Final = 4.5
MODERATE: Final = 2.0
WEAK: Final = 1.0
PRIOR: Final = -4.0


@dataclass(frozen=True, slots=True)
class Weight:
    """One measurement and how far it moves the belief in a cause; negative strength speaks against it."""

    strength: float
    statement: str
    """One sentence with the numbers, rendered here and nowhere else."""
    values: Mapping[str, Scalar] = field(default_factory=dict)
    tool: str = "causal"
    mechanism: bool = False
    """True when the cause's own mechanism was seen, not merely a symptom of it. Without one nothing is accused."""
    subject: str | None = None
    step: int | None = None
    where: SourceLocation | None = None


def supports(
    strength: float,
    statement: str,
    /,
    *,
    mechanism: bool = True,
    tool: str = "causal",
    subject: str | None = None,
    step: int | None = None,
    where: SourceLocation | None = None,
    **values: Scalar,
) -> Weight:
    """Evidence for; `values` are the numbers that the statement speaks of."""
    return Weight(strength, statement, values, tool, mechanism, subject, step, where)


def symptom(
    strength: float, statement: str, /, *, tool: str = "causal", step: int | None = None, **values: Scalar
) -> Weight:
    """Evidence that fits the cause but that others would show too."""
    return Weight(strength, statement, values, tool, False, None, step)


def against(strength: float, statement: str, /, *, tool: str = "causal", **values: Scalar) -> Weight:
    """Evidence against; give the strength as a positive number."""
    return Weight(-strength, statement, values, tool)


@dataclass(frozen=True)
class Cause:
    """One entry of the catalogue: all that is known about one way to fail."""

    id: str
    """Id of the vocabulary, `group.cause`. Never renamed."""
    title: str
    """What is wrong, in one sentence without the run's numbers."""
    phase: Phase
    repair: str
    """What to change, in one sentence."""
    weigh: Callable[[Case], Iterator[Weight]]
    """Evidence for and against, from measurements only. Yields nothing when the run does not touch the subject."""
    mistaken_for: Mapping[str, str] = field(default_factory=dict)
    """Look-alike id → the measurement that separates the two."""
    explains: tuple[str, ...] = ()
    """Causes that are only links in the chain when this one is established."""
    intervention: str = ""
    """The one thing to change at run time to test it."""
    interventions: tuple[str, ...] = ()
    """The same as names of `engine/replay/vocabulary`, all put in place together; empty where no change at run time tests it."""
    next_measurement: str = ""
    """What to measure when this cannot be decided."""
    source: str = ""
