"""What the causes of a sudden NaN have in common: the operation at the origin of the first non-finite value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.records import Fact, SourceLocation


@dataclass(frozen=True)
class Origin:
    """The first non-finite value of a run."""

    fact: Fact
    op: str
    """Name of the operation in lower case, e.g. `log`, `sqrtbackward0`."""
    where: str
    """forward, backward or step."""
    kind: str
    """input, activation, loss, gradient, parameter, optimizer_state, target."""
    place: SourceLocation | None
    module: str | None

    @property
    def step(self) -> int:
        """Step in which it appeared."""
        return self.fact.step

    @property
    def sentence(self) -> str:
        """Where it came from, in words made of our own enums and numbers."""
        place = f" at {self.place.file}:{self.place.lines[0]}" if self.place else ""
        inside = f" in {self.module}" if self.module else ""
        return f"the first non-finite value is the {self.kind} of {self.op or 'an operation'}{inside}{place}, step {self.step}, {self.where}"


def origin(case: Case) -> Origin | None:
    """The origin as the recorder saw it, or None."""
    fact = case.run.fact("nonfinite")
    if fact is None:
        return None
    op = str(fact.data.get("op") or "").lower().replace("aten.", "").removesuffix(".default")
    module = fact.subject or str(fact.data.get("module") or "") or None
    return Origin(
        fact,
        op,
        str(fact.data.get("where") or "forward"),
        str(fact.data.get("kind") or "activation"),
        case.place(fact),
        module,
    )


def calm_before(case: Case, step: int) -> bool:
    """True when the gradient norm did not grow in the ten steps before: the event was sudden."""
    steps, norm = case.run.scalar("grad_norm")
    before = norm[(steps < step) & np.isfinite(norm)]
    if len(before) < 4:
        return True
    recent, earlier = before[-3:], before[:-3]
    return bool(np.max(recent) < 20 * max(nanmedian(earlier), 1e-12))
