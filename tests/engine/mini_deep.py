"""Mini programs of deep networks: ways around blocks that are missing, norms that do not normalise."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, train
from torch import Tensor, nn


class _Reader(nn.Module):
    """Attention and a small network, each behind its norm, with or without what came in."""

    def __init__(self, width: int, skip: bool) -> None:
        super().__init__()
        self.first, self.second, self.skip = nn.LayerNorm(width), nn.LayerNorm(width), skip
        self.look = nn.MultiheadAttention(width, 2, batch_first=True)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        seen: Tensor = self.look(h, h, h, need_weights=False)[0]
        seen = x + seen if self.skip else seen
        thought: Tensor = self.think(self.second(seen))
        return seen + thought if self.skip else thought


@mini("model.residual_or_norm_misplaced")
def readers_without_their_skip(broken: bool) -> None:
    """Norms keep the gradient's size, and yet nothing is learned."""
    blocks = [_Reader(16, not broken) for _ in range(16)]
    pooled = nn.Sequential(nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 6))
    model = nn.Sequential(nn.Unflatten(1, (4, 2)), nn.Linear(2, 16), *blocks, pooled)
    train(model, blobs(480), F.cross_entropy, epochs=4, rate=1e-3)


@mini("model.residual_or_norm_misplaced")
def norms_with_an_epsilon_of_their_own(broken: bool) -> None:
    """Two orders of magnitude above the variance that comes in."""
    eps = 300.0 if broken else 1e-6
    layers: list[nn.Module] = []
    for width in (8, 32, 32):
        layers += [nn.Linear(width, 32), nn.LayerNorm(32, eps=eps), nn.ReLU()]
    train(nn.Sequential(*layers, nn.Linear(32, 6)), blobs(480), F.cross_entropy, epochs=4, rate=1e-3)


@mini("model.residual_or_norm_misplaced")
def norm_over_an_axis_of_one(broken: bool) -> None:
    """Every entry is its own mean: what comes out is the norm's bias."""
    axes = [nn.Unflatten(1, (32, 1)), nn.LayerNorm(1), nn.Flatten()] if broken else [nn.LayerNorm(32)]
    model = nn.Sequential(nn.Linear(8, 32), *axes, nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6))
    train(model, blobs(480), F.cross_entropy, epochs=4, rate=1e-3)


@lookalike("model.residual_or_norm_misplaced")
def plain_blocks_that_learn() -> None:
    """Seven blocks of two layers without a way around them: deep, plain, and fine with the right weights."""
    blocks = [nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()) for _ in range(7)]
    model = nn.Sequential(nn.Linear(8, 32), *blocks, nn.Linear(32, 6))
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.kaiming_normal_(p, nonlinearity="relu")
    train(model, blobs(480), F.cross_entropy, epochs=8, rate=1e-3)


@mini("optimizer.lr_too_low")
def rectified_after_the_sum(broken: bool) -> None:
    """The older order: the rectifier comes after the addition, so a block's last module is not its last layer."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.act, self.norm = nn.Linear(24, 24), nn.Linear(24, 24), nn.ReLU(), nn.LayerNorm(24)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.act(self.norm(x + self.b(F.relu(self.a(x)))))
            return out

    model = nn.Sequential(nn.Linear(8, 24), *[Block() for _ in range(8)], nn.Linear(24, 6))
    train(model, blobs(480), F.cross_entropy, epochs=4, rate=1e-5 if broken else 3e-3)
