"""Training programs whose step is timed: what people train, from a network of three layers to a small transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

CLASSES: Final = 10
VOCABULARY: Final = 256


@dataclass
class Workload:
    """A model with its optimizer, and `step`: one training step as a user would write it."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], Tensor]
    """Returns the loss of the step it took."""


class _Block(nn.Module):
    """Two convolutions with a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        same = before == after and stride == 1
        self.short: nn.Module = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out: Tensor = self.relu(inner + self.short(x))
        return out


class _Attention(nn.Module):
    """A transformer block: causal attention, then a feed-forward network, each with norm before and shortcut around."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, c))
        out: Tensor = x + self.down(self.act(self.up(self.norm2(x))))
        return out


class _Gpt(nn.Module):
    def __init__(self, layers: int, width: int, length: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(_Attention(width, 4) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def _layers(width: int, hidden: int, depth: int) -> nn.Sequential:
    sizes = [width] + [hidden] * (depth - 1)
    parts = [p for a, b in pairwise(sizes) for p in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], CLASSES))


def _batches(make: Callable[[], tuple[Tensor, Tensor]], n: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    """The same few batches again and again: what is timed is the step, not the data."""
    kept = [make() for _ in range(n)]
    while True:
        yield from kept


def _assemble(
    name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    make: Callable[[], tuple[Tensor, Tensor]],
    called: nn.Module | None = None,
) -> Workload:
    batches, run = _batches(make), called if called is not None else model

    def step() -> Tensor:
        x, y = next(batches)
        optimizer.zero_grad()
        out = run(x)
        loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss

    return Workload(name, model, optimizer, step)


def _classes(n: int, *shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(n, *shape), torch.randint(0, CLASSES, (n,)))


def mlp(compiled: bool = False) -> Workload:
    """Twelve linear layers of 512, batch 64, Adam: few large matrices, much memory for the work done on it."""
    model = _layers(512, 512, 12)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    called: nn.Module | None = torch.compile(model) if compiled else None  # type: ignore[assignment]  # a module, too
    return _assemble("mlp-compiled" if compiled else "mlp", model, optimizer, _classes(64, 512), called)


def resnet() -> Workload:
    """Three stages of two residual blocks on 32 x 32 images, batch 32, SGD with momentum: large activations."""
    widths, parts = (32, 64, 128), [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    before = 32
    for i, width in enumerate(widths):
        parts += [_Block(before, width, 1 if i == 0 else 2), _Block(width, width, 1)]
        before = width
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return _assemble("resnet", model, optimizer, _classes(32, 3, 32, 32))


def gpt(compiled: bool = False) -> Workload:
    """Six transformer blocks of width 256 on 8 sequences of 128 tokens, AdamW."""
    model = _Gpt(6, 256, 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

    def make() -> tuple[Tensor, Tensor]:
        tokens = torch.randint(0, VOCABULARY, (8, 129))
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    called: nn.Module | None = torch.compile(model) if compiled else None  # type: ignore[assignment]  # a module, too
    return _assemble("gpt-compiled" if compiled else "gpt", model, optimizer, make, called)


def tiny() -> Workload:
    """Three linear layers of 64, batch 32, Adam: a step of a quarter of a millisecond, nearly all of it Python."""
    model = _layers(64, 64, 3)
    return _assemble("tiny", model, torch.optim.Adam(model.parameters(), lr=1e-3), _classes(32, 64))


WORKLOADS: Final[dict[str, Callable[[], Workload]]] = {
    "mlp": mlp,
    "resnet": resnet,
    "gpt": gpt,
    "tiny": tiny,
    "mlp-compiled": lambda: mlp(compiled=True),
    "gpt-compiled": lambda: gpt(compiled=True),
}
"""Every workload by name; the compiled ones are asked for by name."""
EAGER: Final = ("mlp", "resnet", "gpt", "tiny")
