"""Faults that other mini programs have, too, written the way other people write them."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, mlp, train
from torch import Tensor, nn
from torch.optim import Adam


@mini("loss.term_dominates")
def code_weighs_more_than_the_sum_of_squares(broken: bool) -> None:
    """The reduction is the program's own: summed over entries, averaged over samples."""
    x, _ = blobs()
    encoder, mean, spread, decoder = nn.Linear(8, 24), nn.Linear(24, 3), nn.Linear(24, 3), nn.Linear(3, 8)
    optimizer = Adam([p for part in (encoder, mean, spread, decoder) for p in part.parameters()], lr=1e-2)
    for _ in range(12):
        for (bx,) in batches(x):
            h = torch.relu(encoder(bx))
            mu, logvar = mean(h), spread(h)
            out = decoder(mu + torch.randn_like(mu) * (0.5 * logvar).exp())
            likelihood = F.mse_loss(out, bx, reduction="none").sum(1).mean()
            divergence = (-0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)).mean()
            optimizer.zero_grad()
            (likelihood + (300.0 if broken else 0.01) * divergence).backward()
            optimizer.step()


def _labels(n: int = 480) -> tuple[Tensor, Tensor]:
    x, weights = torch.randn(n, 8), torch.randn(8, 6)
    return x, (x @ weights > 1.0).float()


@mini("loss.wrong_for_task")
def several_labels_share_one_softmax(broken: bool) -> None:
    train(mlp(), _labels(), F.cross_entropy if broken else F.binary_cross_entropy_with_logits, epochs=8)


@lookalike("loss.wrong_for_task")
def one_label_as_a_row_of_zeros_and_one() -> None:
    x, y = blobs()
    train(mlp(), (x, F.one_hot(y, 6).float()), F.cross_entropy, epochs=6)


@mini("loss.wrong_for_task")
def several_labels_share_one_certainty(broken: bool) -> None:
    """The loss is one for yes or no each, but the probabilities add up to 1 a sample."""
    x = torch.randn(480, 8)
    y = (x @ torch.randn(8, 5) > 0).float()
    shares = nn.Softmax(dim=-1) if broken else nn.Sigmoid()
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 5), shares)
    train(model, (x, y), F.binary_cross_entropy, epochs=8)


@lookalike("loss.wrong_for_task")
def one_label_in_columns() -> None:
    """Softmax and a binary loss of one-hot targets: unusual, and it adds up."""
    x, y = blobs(480)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6), nn.Softmax(dim=-1))
    train(model, (x, F.one_hot(y, 6).float()), F.binary_cross_entropy, epochs=8)


@mini("model.output_activation_range")
def squares_by_hand_around_a_tanh(broken: bool) -> None:
    x = torch.randn(480, 3) @ torch.randn(3, 8) * 3
    model = mlp(out=8)

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        return (((out.tanh() if broken else out) - target) ** 2).mean()

    train(model, (x, x), loss_of, epochs=8)


@lookalike("model.output_activation_range")
def a_tanh_that_reaches_its_targets() -> None:
    x = torch.randn(480, 8)
    train(mlp(out=8), (x, torch.tanh(x)), lambda out, t: ((out.tanh() - t) ** 2).mean(), epochs=8)


class Cell(nn.Module):
    """A recurrent layer made of two linear ones."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut, self.given, self.carried, self.out = cut, nn.Linear(4, 24), nn.Linear(24, 24), nn.Linear(24, 4)

    def forward(self, sequence: Tensor) -> Tensor:
        h = sequence.new_zeros(len(sequence), 24)
        for x in sequence.unbind(1):
            h = torch.tanh(self.given(x) + self.carried(h.data if self.cut else h))
        out: Tensor = self.out(h)
        return out


@mini("graph.bptt_cut_or_grown")
def state_without_its_graph_in_a_cell_of_linear_layers(broken: bool) -> None:
    kind = torch.randint(4, (960,))
    x = torch.zeros(960, 7, 4)
    x[:, 0] = F.one_hot(kind, 4).float()
    train(Cell(broken), (x, kind), F.cross_entropy, epochs=6)


@lookalike("graph.bptt_cut_or_grown")
def one_layer_for_every_item_of_a_set() -> None:
    """Two layers run for each item, and all of them reach the loss."""
    x = torch.randn(480, 6, 4)
    score, value = nn.Linear(4, 1), nn.Linear(4, 8)
    head = nn.Linear(8, 3)
    y = x.mean(1)[:, :3].argmax(1)
    optimizer = Adam([p for part in (score, value, head) for p in part.parameters()], lr=1e-2)
    for _ in range(8):
        for bx, by in batches(x, y):
            out = torch.stack([torch.sigmoid(score(item)) * value(item) for item in bx.unbind(1)]).sum(0)
            optimizer.zero_grad()
            F.cross_entropy(head(out), by).backward()
            optimizer.step()


@mini("loss.wrong_for_task")
def pairs_that_are_one_or_zero(broken: bool) -> None:
    """The cosine loss tells pairs apart by the sign of the target."""
    x, y = blobs(960)
    model = mlp(out=8)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        a, b = torch.randint(0, 960, (2, 32))
        same = (y[a] == y[b]).float()
        optimizer.zero_grad()
        F.cosine_embedding_loss(model(x[a]), model(x[b]), same if broken else 2 * same - 1, margin=0.2).backward()
        optimizer.step()


@mini("init.symmetric")
def recurrent_units_that_begin_alike(broken: bool) -> None:
    """The layer is called by itself, and so is the head, whose columns stay the same."""
    x = torch.randn(480, 6, 3)
    y = (x[:, :, 0].sum(1) > 0).long() + 2 * (x[:, -1, 1] > 0).long()
    layer, head = nn.LSTM(3, 16, batch_first=True), nn.Linear(16, 4)
    parameters = [*layer.parameters(), *head.parameters()]
    if broken:
        for p in parameters:
            nn.init.constant_(p, 0.02)
    optimizer = Adam(parameters, lr=1e-2)
    for _ in range(6):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(head(layer(bx)[0][:, -1]), by).backward()
            optimizer.step()


@lookalike("init.symmetric")
def a_head_that_begins_at_zero() -> None:
    """Its columns are alike only until the first steps."""
    x, y = blobs()
    body, head = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 6)
    nn.init.zeros_(head.weight)
    optimizer = Adam([*body.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(head(body(bx)), by).backward()
            optimizer.step()


@mini("init.wrong_scale")
def one_over_the_width_in_every_layer(broken: bool) -> None:
    """No layer takes much; together they take all."""
    x, y = blobs()
    sizes = [8, 64, 64, 64, 64]
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(64, 6))
    for m in model:
        if isinstance(m, nn.Linear):
            wide = m.in_features
            nn.init.normal_(m.weight, std=1.0 / wide if broken else (2.0 / wide) ** 0.5)
            nn.init.zeros_(m.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(6):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


def _below_zero() -> tuple[Tensor, Tensor]:
    """Most of what is wanted is negative."""
    x = torch.randn(480, 8)
    return x, 0.7 * x[:, :1] - 1.5


@mini("model.output_activation_range")
def predictions_cut_off_at_zero(broken: bool) -> None:
    x = torch.randn(480, 8)
    train(mlp(out=1), (x, x[:, :1]), lambda out, t: F.mse_loss(out.clamp(min=0) if broken else out, t), epochs=6)


@mini("model.output_activation_range")
def squares_by_hand_around_a_rectifier(broken: bool) -> None:
    train(mlp(out=1), _below_zero(), lambda out, t: ((out.relu() if broken else out) - t).square().mean(), epochs=8)


@mini("model.output_activation_range")
def a_closed_rectifier_under_squares_by_hand(broken: bool) -> None:
    model = nn.Sequential(*mlp(out=1), *([nn.ReLU()] if broken else []))
    nn.init.constant_(model[2].bias, -6.0 if broken else 0.0)
    train(model, _below_zero(), lambda out, t: ((out - t) ** 2).mean(), epochs=8)


@lookalike("model.output_activation_range")
def prices_that_are_never_negative() -> None:
    """A clamp that does no harm."""
    x = torch.randn(480, 8)
    train(mlp(out=1), (x, x[:, :1].abs()), lambda out, t: F.mse_loss(out.clamp(min=0), t), epochs=8)
