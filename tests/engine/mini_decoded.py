"""Mini programs that read one sequence and write another, and of networks over a whole graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from torch import Tensor, nn

TOKENS, LENGTH, START = 12, 8, 0


class _Translator(nn.Module):
    """A recurrent encoder, and a decoder that is told what was said so far."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.said = nn.Embedding(TOKENS, 32), nn.Embedding(TOKENS, 32)
        self.encoder, self.decoder = nn.GRU(32, 32, batch_first=True), nn.GRU(32, 32, batch_first=True)
        self.out = nn.Linear(32, TOKENS)

    def forward(self, source: Tensor, said: Tensor) -> Tensor:
        _, state = self.encoder(self.source(source))
        out: Tensor = self.out(self.decoder(self.said(said), state)[0])
        return out


def _translate(said_of: bool) -> None:
    """Turn sequences round; what the decoder is told is what it said before, or what it should say."""
    source = torch.randint(1, TOKENS, (800, LENGTH))
    wanted = source.flip(1)
    said = torch.cat([torch.full((800, 1), START), wanted[:, :-1]], 1) if said_of else wanted.clone()
    model = _Translator()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        rows = torch.randint(0, 800, (40,))
        loss = F.cross_entropy(model(source[rows], said[rows]).flatten(0, 1), wanted[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@mini("data.label_shift_error")
def decoder_that_is_told_the_answer(broken: bool) -> None:
    """Teacher forcing without the shift by one."""
    _translate(said_of=not broken)


@lookalike("model.causal_leak")
def encoder_that_reads_the_whole_source() -> None:
    """Every word that is said may depend on every word that was read."""
    _translate(said_of=True)


@lookalike("data.eos_masked_as_pad")
def padded_sequences_that_have_no_last_word() -> None:
    """Padding is ignored, no sequence fills its row, and no word says that one is over."""
    sizes = torch.randint(4, LENGTH + 6, (400, 1))
    words = (torch.randint(0, 11, (400, 1)) + 3 * torch.arange(LENGTH + 7)) % 11 + 1
    words[torch.arange(LENGTH + 7) >= sizes] = 0
    table, reader, out = nn.Embedding(TOKENS, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, TOKENS)
    model = nn.ModuleDict({"table": table, "reader": reader, "out": out})
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(120):
        rows = words[torch.randint(0, 400, (40,))]
        logits = out(reader(table(rows[:, :-1]))[0])
        loss = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@mini("eval.functional_dropout_always_on")
def graph_with_dropout_of_its_own(broken: bool) -> None:
    """The model takes all nodes at once."""
    kinds = torch.arange(90) % 3
    links = (torch.rand(90, 90) < torch.where(kinds[:, None] == kinds, 0.2, 0.03)).float() + torch.eye(90)
    links = links / links.sum(1, keepdim=True)
    nodes = torch.randn(90, 12) + F.one_hot(kinds, 3).float() @ torch.randn(3, 12)

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(12, 24), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = F.dropout(F.relu(links @ self.first(x)), 0.5, training=self.training or broken)
            return links @ self.last(h)

    model, known = Graph(), torch.randperm(90)[:60]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        model.train()
        loss = F.cross_entropy(model(nodes)[known], kinds[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            model(nodes)
