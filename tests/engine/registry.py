"""Mini programs with a known fault: each says by its decorator which cause it must be convicted of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Program = Callable[[bool], None]


@dataclass(frozen=True)
class Mini:
    """A program that is broken or repaired by its one argument."""

    cause: str
    """Cause that the broken one must be convicted of, and that the repaired one must not raise."""
    program: Program
    also: tuple[str, ...] = ()
    """Causes that are right answers too."""

    @property
    def name(self) -> str:
        """Id of the test."""
        return self.program.__name__


@dataclass(frozen=True)
class Lookalike:
    """A healthy program that resembles one that dies of `cause`."""

    cause: str
    program: Callable[[], None]

    @property
    def name(self) -> str:
        """Id of the test."""
        return self.program.__name__


MINIS: list[Mini] = []
LOOKALIKES: list[Lookalike] = []


def mini(cause: str, *also: str) -> Callable[[Program], Program]:
    """Register `program(broken)`: broken dies of `cause` (or of one of `also`), repaired is healthy."""

    def register(program: Program) -> Program:
        MINIS.append(Mini(cause, program, also))
        return program

    return register


def lookalike(cause: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a healthy program that must not be taken for one that has `cause`."""

    def register(program: Callable[[], None]) -> Callable[[], None]:
        LOOKALIKES.append(Lookalike(cause, program))
        return program

    return register
