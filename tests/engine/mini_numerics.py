"""Mini programs that meet NaN, and networks through which no gradient comes."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, line, mlp, train
from torch import Tensor, nn
from torch.optim import SGD, Adam


@mini("numerics.log_zero")
def cross_entropy_by_hand(broken: bool) -> None:
    x, y = blobs()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        p = (out * 150).softmax(1)
        p = p if broken else p.clamp_min(1e-6)
        return -torch.log(p[torch.arange(len(target)), target]).mean()

    train(mlp(), (x, y), loss_of, epochs=3)


@mini("numerics.exp_overflow")
def softmax_by_hand(broken: bool) -> None:
    """Scores divided by a small temperature."""
    x, y = blobs()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        out = out / 0.01
        out = out if broken else out - out.max(1, keepdim=True).values.detach()
        p = out.exp() / out.exp().sum(1, keepdim=True)
        return F.nll_loss((p + 1e-6).log(), target)

    train(mlp(width=64), (x, y), loss_of, epochs=3, rate=1e-3)


@mini("numerics.exp_overflow")
def log_variance_without_bounds(broken: bool) -> None:
    """A density whose inverse variance is exp of a free output."""
    x, y = line()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        mean, log_precision = out[:, 0], 250 * out[:, 1]
        if not broken:
            log_precision = 4 * torch.tanh(log_precision / 500)
        return (log_precision.exp() * (target - mean) ** 2).mean() - log_precision.mean()

    train(mlp(dim=6, out=2), (x, y), loss_of, epochs=6)


@mini("numerics.sqrt_at_zero_backward")
def distance_of_equal_points(broken: bool) -> None:
    x, y = blobs()
    model = mlp(out=4)
    optimizer = SGD(model.parameters(), lr=0.05)
    for step, (bx, by) in enumerate(list(batches(x, y)) * 2):
        optimizer.zero_grad()
        left, right = model(bx), model(bx.roll(1, 0) if step < 15 else torch.cat([bx[:1], bx[:-1]]))
        squares = ((left - right) ** 2).sum(1)
        root = torch.sqrt(squares if broken else squares + 1e-6)
        same = (by == by.roll(1, 0)).float()
        (same * root + (1 - same) * F.relu(1 - root)).mean().backward()
        optimizer.step()


@mini("numerics.masked_branch_nan")
def where_hides_a_division(broken: bool) -> None:
    x, y = line()
    x[:, 5] = (x[:, 5]).clamp_min(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    scale = nn.Parameter(torch.ones(1))
    optimizer = Adam([*model.parameters(), scale], lr=1e-2)
    for bx, by in list(batches(x, y)) * 3:
        optimizer.zero_grad()
        gate = scale * bx[:, 5]
        safe = gate if broken else torch.where(gate > 0, gate, torch.ones_like(gate))
        root = torch.where(gate > 0, torch.sqrt(safe), torch.zeros_like(gate))
        F.mse_loss(model(bx)[:, 0] + root, by + bx[:, 5]).backward()
        optimizer.step()


@mini("numerics.divide_by_zero_scale")
def silent_recording(broken: bool) -> None:
    """Each sample is divided by its own standard deviation, and one of them is silence."""
    x, y = blobs()
    x[250] = 0.0

    class Standardise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spread = x.std(1, keepdim=True)
            return (x - x.mean(1, keepdim=True)) / (spread if broken else spread + 1e-5)

    model = nn.Sequential(Standardise(), mlp())
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        for bx, by in batches(x, y, shuffle=False):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@mini("numerics.divide_by_zero_scale")
def mean_over_an_empty_mask(broken: bool) -> None:
    x, y = line()
    mask = (torch.rand(len(y)) < 0.5).float()
    mask[200:230] = 0

    def loss_of(out: Tensor, both: Tensor) -> Tensor:
        target, counted = both[:, 0], both[:, 1]
        total = counted.sum()
        return (counted * (out[:, 0] - target) ** 2).sum() / (total if broken else total.clamp_min(1))

    model = mlp(dim=6, out=1)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, torch.stack([y, mask], 1), size=10, shuffle=False):
            optimizer.zero_grad()
            loss_of(model(bx), by).backward()
            optimizer.step()


class _Recurrent(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.cell, self.head = nn.RNN(4, 24, nonlinearity="relu", batch_first=True), nn.Linear(24, 1)
        nn.init.eye_(self.cell.weight_hh_l0)
        self.cell.weight_hh_l0.data.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x)[0][:, -1])
        return out


class _Block(nn.Module):
    """Two layers, with or without the way around them."""

    def __init__(self, width: int, skip: bool) -> None:
        super().__init__()
        self.norm, self.skip = nn.LayerNorm(width) if skip else nn.Identity(), skip
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.inner(self.norm(x))
        return x + inner if self.skip else inner


@mini("numerics.vanishing_gradient", "model.residual_or_norm_misplaced")
def deep_blocks_without_their_skip(broken: bool) -> None:
    blocks = [_Block(24, not broken) for _ in range(14)]
    train(nn.Sequential(nn.Linear(8, 24), *blocks, nn.Linear(24, 6)), blobs(360), F.cross_entropy, epochs=3, rate=3e-3)


@mini("numerics.exploding_gradient", "init.wrong_scale", "optimizer.lr_too_high")
def long_recurrence_unclipped(broken: bool) -> None:
    x = torch.randn(240, 60, 4)
    y = x[:, :, 0].mean(1, keepdim=True)
    model = _Recurrent(1.0)
    optimizer = SGD(model.parameters(), lr=0.02)
    for bx, by in list(batches(x, y)) * 5:
        optimizer.zero_grad()
        F.mse_loss(model(bx), by).backward()
        if not broken:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()


def _deep(layer: type[nn.Module], depth: int = 14, width: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(8, width), layer()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), layer()]
    return nn.Sequential(*layers, nn.Linear(width, 6))


@mini("numerics.vanishing_gradient")
def deep_sigmoid_stack(broken: bool) -> None:
    x, y = blobs(360)
    model = _deep(nn.Sigmoid, 8) if broken else _deep(nn.ReLU, 3)
    train(model, (x, y), F.cross_entropy, epochs=4, rate=3e-3)


@lookalike("numerics.vanishing_gradient")
def shallow_sigmoid_net() -> None:
    """Two sigmoid layers learn well enough."""
    train(_deep(nn.Sigmoid, 1), blobs(), F.cross_entropy, epochs=6)


@lookalike("numerics.exploding_gradient")
def one_spike() -> None:
    """One odd batch makes one large gradient; the clip takes care of it."""
    x, y = line()
    y[100:104] = 40.0
    model = mlp(dim=6, out=1)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for bx, by in list(batches(x, y)) * 4:
        optimizer.zero_grad()
        F.smooth_l1_loss(model(bx)[:, 0], by).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@lookalike("numerics.masked_branch_nan")
def minus_infinity_for_masked_scores() -> None:
    """Masked attention scores are -inf by design, and every row keeps one."""
    x, y = blobs()
    model = mlp()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        banned = (torch.arange(6) - target[:, None]) % 6 == 3
        return F.cross_entropy(out.masked_fill(banned, float("-inf")), target)

    train(model, (x, y), loss_of, epochs=3)
