"""Mini programs with faults of the architecture, each in another skeleton than the ones in `mini_model`."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import train
from torch import Tensor, nn
from torch.optim import Adam


def _marked(n: int = 600, length: int = 12) -> tuple[Tensor, Tensor]:
    """Sequences of ids 1 … 5; the class is the third one."""
    x = torch.randint(1, 6, (n, length))
    return x, x[:, 2] - 1


@mini("model.no_position_signal")
def positions_made_and_dropped(broken: bool) -> None:
    """A table of positions is looked up, and what comes of it is not used; mean pooling at the end."""
    torch.manual_seed(0)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(6, 24), nn.Embedding(12, 24)
            self.look = nn.MultiheadAttention(24, 2, batch_first=True)
            self.out = nn.Linear(24, 5)

        def forward(self, ids: Tensor) -> Tensor:
            where = self.places(torch.arange(ids.shape[1]))
            h = self.words(ids)
            h = h if broken else h + where
            h = h + self.look(h, h, h, need_weights=False)[0]
            out: Tensor = self.out(torch.relu(h).mean(1))
            return out

    train(Reader(), _marked(), F.cross_entropy, epochs=8, rate=5e-3)


@mini("model.batch_mixing")
def attention_along_the_batch(broken: bool) -> None:
    """A query per sample looks at the frames of its trace; without batch_first it looks at the other samples."""
    torch.manual_seed(0)

    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frame = nn.Linear(3, 16)
            self.ask = nn.Parameter(torch.randn(1, 1, 16))
            self.look = nn.MultiheadAttention(16, 2, batch_first=not broken)
            self.out = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.cat([self.ask.expand(len(x), 1, 16), torch.relu(self.frame(x))], 1)
            out: Tensor = self.out(self.look(h, h, h, need_weights=False)[0][:, 0])
            return out

    kind = torch.randint(3, (480,))
    x = 0.4 * torch.randn(480, 10, 3) + F.one_hot(kind, 3)[:, None]
    train(Pool(), (x, kind), F.cross_entropy, epochs=5)


@mini("model.saturated_units")
def gates_much_too_steep(broken: bool) -> None:
    """Sigmoids of a large multiple of their argument: 0 or 1 for every sample from the first step on."""
    torch.manual_seed(0)
    sharp = 120.0 if broken else 3.0

    class Gates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(torch.sigmoid(sharp * self.b(torch.sigmoid(sharp * self.a(x)))))
            return out

    x = torch.randn(600, 6)
    y = (x[:, :1] * x[:, 1:2] > 0).float()
    train(Gates(), (x, y), F.binary_cross_entropy_with_logits, epochs=16, rate=3e-2)


@mini("model.capacity_bottleneck")
def channels_rounded_down_to_one(broken: bool) -> None:
    """Ten kinds of small pictures through convolutions of one channel, reduced to four numbers."""
    torch.manual_seed(0)
    width = 1 if broken else 16
    model = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(width, width, 3, stride=2),
        nn.Tanh(),
        nn.Conv2d(width, width, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )
    kind = torch.randint(10, (700,))
    pictures = torch.randn(10, 1, 7, 7)[kind] + 0.5 * torch.randn(700, 1, 7, 7)
    train(model, (pictures, kind), F.cross_entropy, epochs=6, rate=5e-3)


def _padded(n: int = 600) -> tuple[Tensor, Tensor, Tensor]:
    """Ids 1 … 8 of 4 to 10 places, padded with 0 to 30; the class is whether the last id is larger than the first."""
    length = torch.randint(4, 11, (n,))
    ids = torch.randint(1, 9, (n, 30)) * (torch.arange(30) < length[:, None])
    return ids, length, (ids[torch.arange(n), length - 1] > ids[:, 0]).long()


@mini("model.wrong_state_used")
def state_after_the_padding(broken: bool) -> None:
    torch.manual_seed(0)

    class Compare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ids = nn.Embedding(9, 12, padding_idx=0)
            self.gru = nn.RNN(12, 24, batch_first=True)
            self.out = nn.Linear(24, 2)

        def forward(self, ids: Tensor, length: Tensor) -> Tensor:
            states, _ = self.gru(self.ids(ids))
            last = states[:, -1] if broken else states[torch.arange(len(ids)), length - 1]
            out: Tensor = self.out(last)
            return out

    ids, length, label = _padded()
    model = Compare()
    optimizer = Adam(model.parameters(), lr=5e-3)
    for _ in range(8):
        for rows in torch.randperm(len(ids)).split(30):
            optimizer.zero_grad()
            F.cross_entropy(model(ids[rows], length[rows]), label[rows]).backward()
            optimizer.step()


@lookalike("model.wrong_state_used")
def answer_long_before_the_end() -> None:
    """Most of every sequence is padding behind the last valid state: what stands there does not matter, rightly."""
    torch.manual_seed(0)
    ids, length, label = _padded()
    table, reader, out = nn.Embedding(9, 12), nn.LSTM(12, 24, batch_first=True), nn.Linear(24, 2)

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.reader, self.out = table, reader, out

        def forward(self, ids: Tensor, length: Tensor) -> Tensor:
            states, _ = self.reader(self.table(ids))
            answer: Tensor = self.out(states[torch.arange(len(ids)), length - 1])
            return answer

    model = Packed()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(8):
        for rows in torch.randperm(len(ids)).split(30):
            optimizer.zero_grad()
            F.cross_entropy(model(ids[rows], length[rows]), label[rows]).backward()
            optimizer.step()


@mini("model.missing_nonlinearity")
def squashed_at_the_end_only(broken: bool) -> None:
    """Linear layers with dropout between them; the one activation stands behind the last layer."""
    torch.manual_seed(0)
    hidden: type[nn.Module] = nn.Identity if broken else nn.SiLU
    x = torch.randn(600, 3)
    y = torch.tanh(torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:])
    layers = [nn.Linear(3, 48), hidden(), nn.Linear(48, 48), hidden(), nn.Dropout(0.05), nn.Linear(48, 1), nn.Tanh()]
    train(nn.Sequential(*layers), (x, y), F.smooth_l1_loss, epochs=10)


@lookalike("model.missing_nonlinearity")
def head_on_features_that_are_cut_off() -> None:
    """Only the linear head is in the graph; the nonlinear part ran before, without gradients, and is no part of it."""
    torch.manual_seed(0)

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()).requires_grad_(False)
            self.head = nn.Linear(64, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                h = self.body(x)
            out: Tensor = self.head(h)
            return out

    x = torch.randn(600, 6)
    train(Frozen(), (x, x[:, :1] - 0.5 * x[:, 1:2]), F.mse_loss, epochs=6)


@mini("graph.bptt_cut_or_grown")
def memory_cut_inside_the_window(broken: bool) -> None:
    """What came first has to be told after eight empty places; the state is detached at each of them."""
    torch.manual_seed(0)
    cell, out = nn.GRUCell(4, 24), nn.Linear(24, 4)
    optimizer = Adam([*cell.parameters(), *out.parameters()], lr=1e-2)
    for _ in range(120):
        kind = torch.randint(4, (32,))
        x, h = F.one_hot(kind, 4).float(), torch.zeros(32, 24)
        for place in range(9):
            h = cell(x if place == 0 else torch.zeros(32, 4), h.detach() if broken else h)
        optimizer.zero_grad()
        F.cross_entropy(out(h), kind).backward()
        optimizer.step()
