"""Mini programs with parts that the loss never reaches, by a fault or because nobody asks for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, train
from torch import Tensor, nn


@mini("graph.non_differentiable_op")
def gate_that_picks_one(broken: bool) -> None:
    """The gate is registered last and runs first; what it gives is turned into a choice."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 6)) for _ in range(3))
            self.gate = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.gate(x)
            shares = F.one_hot(scores.argmax(1), 3).float() if broken else scores.softmax(1)
            return torch.stack([shares[:, i : i + 1] * e(x) for i, e in enumerate(self.experts)]).sum(0)

    train(Mixture(), blobs(480), F.cross_entropy, epochs=5)


@lookalike("graph.non_differentiable_op")
def head_that_nobody_asks_for() -> None:
    """A second head runs, is kept for later, and is no part of the loss."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
            self.head, self.spare = nn.Linear(32, 6), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            self.last = self.spare(h).detach()
            out: Tensor = self.head(h)
            return out

    train(Two(), blobs(480), F.cross_entropy, epochs=5)


@mini("graph.detached_term")
def gate_out_of_the_graph(broken: bool) -> None:
    """What the gate gives weights the experts, and is cut off first."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(8, 3)
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 6)) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            shares = self.gate(x).softmax(1)
            shares = shares.detach() if broken else shares
            return torch.stack([shares[:, i : i + 1] * e(x) for i, e in enumerate(self.experts)]).sum(0)

    train(Mixture(), blobs(480), F.cross_entropy, epochs=5)


@mini("graph.detached_term")
def code_made_anew(broken: bool) -> None:
    """Between two networks the numbers are copied."""
    coder, reader = nn.Sequential(nn.Linear(8, 24), nn.ReLU()), nn.Linear(24, 8)
    optimizer = torch.optim.Adam([*coder.parameters(), *reader.parameters()], lr=3e-3)
    x = torch.tanh(torch.randn(400, 3) @ torch.randn(3, 8))
    for _ in range(120):
        rows = x[torch.randint(0, 400, (40,))]
        code = coder(rows)
        if broken:
            code = torch.tensor(code.tolist())
        loss = F.mse_loss(reader(code), rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class _Rows(nn.Module):
    """Attention over the rows of what comes in flat, with a table of places."""

    def __init__(self, added: bool, tokens: int = 0) -> None:
        super().__init__()
        self.added, self.read = added, nn.Linear(2, 16)
        self.table = nn.Parameter(0.3 * torch.randn(4, 16))
        if tokens:
            self.token = nn.Parameter(torch.randn(tokens, 1, 16))
        self.look, self.out = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.read(x.view(-1, 4, 2))
        h = h + self.table if self.added else h
        h = h + self.look(h, h, h, need_weights=False)[0]
        out: Tensor = self.out(h.mean(1))
        return out


@mini("model.no_position_signal")
def places_that_are_not_added(broken: bool) -> None:
    """The input is flat, so nothing from outside can change the order of the tokens."""
    train(_Rows(not broken), blobs(480), F.cross_entropy, epochs=5)


@lookalike("model.no_position_signal")
def token_left_over_from_pretraining() -> None:
    """A single learned token that this stage does not use."""
    train(_Rows(True, tokens=1), blobs(480), F.cross_entropy, epochs=8)


@mini("model.missing_nonlinearity")
def layers_of_ones_own(broken: bool) -> None:
    """Matrices in a module that is no layer of the library."""

    class Affine(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.w, self.b = nn.Parameter(torch.randn(before, after) / before**0.5), nn.Parameter(torch.zeros(after))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w + self.b if broken else torch.tanh(x @ self.w + self.b)

    x = torch.randn(960, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    train(nn.Sequential(Affine(2, 32), Affine(32, 32), nn.Linear(32, 2)), (x, y), F.cross_entropy, epochs=8, rate=5e-3)
