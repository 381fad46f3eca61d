"""Mini programs that compare predictions with labels and print figures without a name, or none at all."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, mlp
from torch import Tensor, nn
from torch.optim import Adam


def _fit(model: nn.Module, x: Tensor, y: Tensor, epochs: int = 8) -> None:
    """Train on the first 600 rows and compare on the others after every epoch."""
    optimizer = Adam(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(600).split(30):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            print(epoch, (model(x[600:]).argmax(1) == y[600:]).float().mean().item())


@mini("eval.preprocessing_mismatch")
def columns_turned_round(broken: bool) -> None:
    """As a whole both sides look alike."""
    x, y = blobs(1200, dim=16)
    x = torch.cat([x[:600], x[600:].flip(1) if broken else x[600:]])
    _fit(mlp(16), x, y)


@lookalike("eval.preprocessing_mismatch")
def held_out_data_that_have_moved_on() -> None:
    """What comes later lies a little elsewhere, in the same order, and is recognised."""
    x, y = blobs(1200, dim=16)
    x[600:] += 0.3 * torch.randn(16)
    _fit(mlp(16), x, y)


@mini("data.label_misaligned")
def labels_of_other_rows(broken: bool) -> None:
    x, y = blobs(900)
    _fit(mlp(width=128), x, y[torch.randperm(900)] if broken else y, epochs=16)


def _decide(broken: bool, count: str) -> None:
    x, y = blobs(480, classes=2)
    wanted = y.float().unsqueeze(1)
    model = mlp(out=1)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for epoch in range(6):
        for rows in torch.randperm(480).split(24):
            loss = F.binary_cross_entropy_with_logits(model(x[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            out = model(x)
        if count == "crossed":
            said = (out > 0).float()
            hits = (said.squeeze(1) if broken else said) == wanted
        else:
            hits = (out.argmax(1) if broken else (out > 0).long().squeeze(1)) == y
        print(epoch, hits.float().mean().item())


@mini("eval.metric_bug")
def every_prediction_with_every_label(broken: bool) -> None:
    _decide(broken, "crossed")


@mini("eval.metric_bug")
def argmax_over_one_output(broken: bool) -> None:
    _decide(broken, "single")


@mini("eval.metric_bug")
def hits_that_are_never_set_back(broken: bool) -> None:
    x, y = blobs(600)
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    hits = 0
    for epoch in range(5):
        for rows in torch.randperm(480).split(24):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        hits = hits if broken else 0
        with torch.no_grad():
            hits += int((model(x[480:]).argmax(1) == y[480:]).sum())
        print(f"epoch {epoch} accuracy {100 * hits / 120:.1f}%")


@lookalike("eval.metric_bug")
def labels_among_each_other() -> None:
    """Which samples share a class: every label with every other one, as contrastive losses need it."""
    x, y = blobs(480)
    model = mlp(out=4)
    optimizer = Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for rows in torch.randperm(480).split(48):
            z = F.normalize(model(x[rows]), dim=1)
            same = (y[rows][:, None] == y[rows][None, :]).float()
            loss = F.binary_cross_entropy_with_logits(4 * z @ z.T, same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            z = F.normalize(model(x), dim=1)
            near = (z @ z.T - 2 * torch.eye(480)).argmax(1)
            print((y[near] == y).float().mean().item(), (y.view(-1, 1) == y).float().mean().item())


@mini("data.supervision_field_dropped")
def two_losses_on_one_line(broken: bool) -> None:
    """The second head's targets are all the ignored value; both terms are called on the same line."""
    x, y = blobs()
    body, first, second = nn.Linear(8, 24), nn.Linear(24, 6), nn.Linear(24, 2)
    optimizer = Adam([p for part in (body, first, second) for p in part.parameters()], lr=1e-2)
    side = torch.full_like(y, -100) if broken else y % 2
    for _ in range(6):
        for rows in torch.randperm(480).split(24):
            h, n = torch.relu(body(x[rows])), (side[rows] != -100).sum().clamp(min=1)
            loss = F.cross_entropy(first(h), y[rows]) + F.cross_entropy(second(h), side[rows], reduction="sum") / n
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@mini("loss.kl_argument_order")
def logarithm_of_the_teacher(broken: bool) -> None:
    x, y = blobs()
    teacher, student = mlp(width=64), mlp()
    for model, rate in ((teacher, 1e-2), (student, 5e-3)):
        optimizer = Adam(model.parameters(), lr=rate)
        for _ in range(6):
            for rows in torch.randperm(480).split(24):
                if model is teacher:
                    loss = F.cross_entropy(model(x[rows]), y[rows])
                else:
                    own, taught = model(x[rows]), teacher(x[rows])
                    pair = (
                        (own.softmax(1), taught.log_softmax(1)) if broken else (own.log_softmax(1), taught.softmax(1))
                    )
                    loss = F.kl_div(*pair, reduction="batchmean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval().requires_grad_(False)


@mini("model.capacity_bottleneck")
def one_number_between_wide_layers(broken: bool) -> None:
    x, y = blobs(960, classes=12, dim=16)
    narrow = 1 if broken else 24
    model = nn.Sequential(
        nn.Linear(16, 64),
        nn.ReLU(),
        nn.Linear(64, narrow),
        nn.ReLU(),
        nn.Linear(narrow, 64),
        nn.ReLU(),
        nn.Linear(64, 12),
    )
    optimizer = Adam(model.parameters(), lr=3e-3)
    for _ in range(8):
        for rows in torch.randperm(960).split(48):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@mini("numerics.masked_branch_nan")
def root_of_negative_numbers_beside_the_model(broken: bool) -> None:
    """The root is taken between the model's output and the loss, of numbers that the mask leaves out."""
    x = torch.rand(480, 1) * 4 - 1
    y = x.clamp(min=0).sqrt()
    model = mlp(1, out=1)
    optimizer = Adam(model.parameters(), lr=5e-3)
    for _ in range(6):
        for rows in torch.randperm(480).split(24):
            h = model(x[rows])
            root = torch.sqrt(h if broken else h.clamp(min=1e-6))
            loss = (
                F.mse_loss(torch.where(h > 0, root, torch.zeros_like(h)), y[rows])
                + 0.1 * h.clamp(max=0).square().mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@mini("data.supervision_field_dropped")
def one_head_of_a_loop_without_targets(broken: bool) -> None:
    """All heads are called at one place, in turn; the targets of one are all the ignored value."""
    x, y = blobs()
    body, heads = nn.Linear(8, 24), nn.ModuleList([nn.Linear(24, 6), nn.Linear(24, 2)])
    optimizer = Adam([*body.parameters(), *heads.parameters()], lr=1e-2)
    targets = (y, torch.full_like(y, -100) if broken else y % 2)
    for _ in range(6):
        for rows in torch.randperm(480).split(24):
            h, loss = torch.relu(body(x[rows])), torch.zeros(())
            for head, target in zip(heads, targets, strict=True):
                n = (target[rows] != -100).sum().clamp(min=1)
                loss = loss + F.cross_entropy(head(h), target[rows], reduction="sum") / n
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Pair(nn.Module):
    """Student and teacher in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = mlp(out=4), mlp(out=4)
        self.teacher.load_state_dict(self.student.state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            wanted = self.teacher(x + 0.05 * torch.randn_like(x))
        return self.student(x), wanted


@lookalike("graph.no_grad_region")
def a_teacher_that_follows_in_the_same_module() -> None:
    """The optimizer was given all parameters; the teacher's have no gradient, and move as an average."""
    x, y = blobs()
    model, head = Pair(), nn.Linear(4, 6)
    optimizer = Adam([*model.parameters(), *head.parameters()], lr=5e-3)
    for _ in range(6):
        for rows in torch.randperm(480).split(24):
            z, wanted = model(x[rows])
            loss = F.cross_entropy(head(z), y[rows]) + F.mse_loss(z, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for a, b in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
                    a.lerp_(b, 0.05)
