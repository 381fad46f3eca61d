"""What a language model writes for a repair: the change, and the assertion of its test, where nothing of ours fits.

Without a model named, nothing is written. Whatever is written is run and judged like the work of a codemod.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aitia.agent.invariants import Invariant
from aitia.agent.repairs import Patch
from aitia.engine.records import CausalHypothesis, Diagnosis
from aitia.engine.store.reader import Run

if TYPE_CHECKING:
    import dspy


@dataclass(frozen=True)
class Finding:
    """One accused cause of one run."""

    run: Run
    """The user's, or that of a program whose first fault is repaired."""
    diagnosis: Diagnosis
    hypothesis: CausalHypothesis


class Writer(Protocol):
    """Writes what is missing, and says what was refused on the way; `problems` are those of what it wrote before."""

    def repair(self, finding: Finding, problems: Sequence[str] = ()) -> tuple[Patch | None, list[str]]:
        """A change of the program."""

    def test(self, finding: Finding, patch: Patch, problems: Sequence[str] = ()) -> tuple[Invariant | None, list[str]]:
        """What a recording of the sound program shows and one of the faulty program does not."""


class Nobody:
    """Writes nothing: no model was named."""

    def repair(self, finding: Finding, problems: Sequence[str] = ()) -> tuple[Patch | None, list[str]]:
        """None."""
        return None, []

    def test(self, finding: Finding, patch: Patch, problems: Sequence[str] = ()) -> tuple[Invariant | None, list[str]]:
        """None."""
        return None, []


class Model:
    """Asks a language model."""

    def __init__(self, lm: dspy.LM) -> None:
        self._lm = lm

    def repair(self, finding: Finding, problems: Sequence[str] = ()) -> tuple[Patch | None, list[str]]:
        """Search/replace edits of the accused file, applied by us."""
        from aitia.agent.writer import write_repair

        return write_repair(finding, self._lm, problems)

    def test(self, finding: Finding, patch: Patch, problems: Sequence[str] = ()) -> tuple[Invariant | None, list[str]]:
        """A claim and its assertion, checked by us."""
        from aitia.agent.writer import write_test

        return write_test(finding, patch, self._lm, problems)


def writer_for(model: str | None, api_base: str | None) -> Writer:
    """The named model, or nobody."""
    if model is None:
        return Nobody()
    from aitia.agent.lm import make_lm

    return Model(make_lm(model, api_base))
