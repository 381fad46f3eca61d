"""Small doomed programs on real data, written as their users would have written them: what `aitia demo` trains."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Demo:
    """One doomed program."""

    name: str
    """What `aitia demo NAME` calls it."""
    cause: str
    """The id of what is wrong with it."""
    story: str
    """What its user sees."""

    @property
    def source(self) -> str:
        """The program's text."""
        return resources.files(__name__).joinpath("programs", f"{self.name}.py.txt").read_text("utf-8")


DEMOS = (
    Demo("flat", "optimizer.stale_param_reference", "fine-tuning does not learn at all, and nothing complains"),
    Demo("diverging", "loop.missing_zero_grad", "the loss falls, then climbs, whatever the learning rate"),
    Demo("nan", "numerics.sqrt_at_zero_backward", "the loss is fine, and suddenly it is NaN"),
    Demo("freezing", "scheduler.stepped_per_batch", "training starts well and stops improving after a moment"),
    Demo("mean", "loss.shape_broadcast", "a regression that predicts the mean for everyone"),
    Demo("crash", "shape.mismatch", "the first batch ends in a RuntimeError"),
)
"""In the order in which they are listed; the first is the default."""
