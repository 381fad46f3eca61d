"""Mini programs whose classes have another order in evaluation than in training."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, mlp, train

NAMES = ["swan", "heron", "crane", "egret", "stork", "ibis"]


@mini("artifact.label_order_changed")
def names_numbered_twice(broken: bool) -> None:
    """Training numbers the names in the order of the file, evaluation in that of the alphabet."""
    x, y = blobs(720)
    known = NAMES
    other = sorted(NAMES) if broken else known
    renumbered = torch.tensor([other.index(name) for name in known])
    train(mlp(), (x[:480], y[:480]), F.cross_entropy, held_out=(x[480:], renumbered[y[480:]]), epochs=6)


@lookalike("artifact.label_order_changed")
def two_classes_that_look_alike() -> None:
    """Held-out samples of one class are often taken for its neighbour, and the model is right about the others."""
    x, y = blobs(720)
    close = y == 1
    x[close] = x[close] * 0.6 + 0.4 * x[y == 0][: int(close.sum())]
    train(mlp(), (x[:480], y[:480]), F.cross_entropy, held_out=(x[480:], y[480:]), epochs=6)
