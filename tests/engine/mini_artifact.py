"""Mini programs that keep, load or store the wrong thing, or compute in the wrong precision."""

from __future__ import annotations

import copy
import io

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, evaluate, line, mlp, train
from torch import Tensor, nn


@mini("artifact.best_state_aliased")
def best_state_without_a_copy(broken: bool) -> None:
    x, y = blobs(720, spread=1.2)
    held_out = (x[480:], y[480:])
    model = mlp(width=64)
    best, kept = float("inf"), model.state_dict()
    for _ in range(6):
        train(model, (x[:480], y[:480]), F.cross_entropy, epochs=1)
        value = evaluate(model, held_out, F.cross_entropy)
        if value < best:
            best, kept = value, model.state_dict() if broken else copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    evaluate(model, held_out, F.cross_entropy)


@lookalike("artifact.best_state_aliased")
def state_saved_at_once() -> None:
    x, y = blobs()
    model = mlp()
    for _ in range(3):
        train(model, (x, y), F.cross_entropy, epochs=1)
        state = model.state_dict()
        torch.save(state, io.BytesIO())


@mini("artifact.load_skips_keys")
def prefix_of_a_wrapper(broken: bool) -> None:
    x, y = blobs()
    first = mlp()
    train(first, (x, y), F.cross_entropy, epochs=2)
    state = {("module." if broken else "") + k: v.clone() for k, v in first.state_dict().items()}
    model = mlp()
    model.load_state_dict(state, strict=False)
    evaluate(model, (x, y), F.cross_entropy)
    train(model, (x, y), F.cross_entropy, epochs=2)


@lookalike("artifact.load_skips_keys")
def new_head_on_a_loaded_body() -> None:
    x, y = blobs()
    first, model = nn.Sequential(*mlp(), nn.ReLU(), nn.Linear(6, 6)), nn.Sequential(*mlp(), nn.ReLU(), nn.Linear(6, 2))
    train(first, (x, y), F.cross_entropy, epochs=2)
    state = {k: v.clone() for k, v in first.state_dict().items() if not k.startswith("4.")}
    model.load_state_dict(state, strict=False)
    train(model, (x, y % 2), F.cross_entropy, epochs=3)


class _Tied(nn.Module):
    """A small language model whose output matrix may be its embedding."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(12, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 12, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.mix(self.embed(tokens))))
        return out


def _language_loss(out: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), target.flatten())


@mini("artifact.tied_weights_lost", "artifact.load_skips_keys")
def head_missing_after_reload(broken: bool) -> None:
    """Each tensor is stored once; the model that reads it back does not tie the two."""
    tokens = (torch.randint(0, 12, (200, 1)) + 5 * torch.arange(9)) % 12
    data = (tokens[:, :-1], tokens[:, 1:])
    model = _Tied(True)
    train(model, data, _language_loss, epochs=4)
    state = {k: v.clone() for k, v in model.state_dict().items() if k != "head.weight"}
    served = _Tied(not broken)
    served.load_state_dict(state, strict=False)
    evaluate(served, data, _language_loss)


@lookalike("artifact.tied_weights_lost")
def tied_all_the_way() -> None:
    tokens = (torch.randint(0, 12, (200, 1)) + 5 * torch.arange(9)) % 12
    data = (tokens[:, :-1], tokens[:, 1:])
    model, served = _Tied(True), _Tied(True)
    train(model, data, _language_loss, epochs=4)
    served.load_state_dict(model.state_dict())
    evaluate(served, data, _language_loss)


class _Scaled(nn.Module):
    """Standardises its own input; what it needs for that belongs to its state, or not."""

    def __init__(self, in_state: bool) -> None:
        super().__init__()
        self.net = mlp()
        if in_state:
            self.register_buffer("mean", torch.zeros(8))
            self.register_buffer("std", torch.ones(8))
        else:
            self.mean, self.std = torch.zeros(8), torch.ones(8)

    def fit(self, x: Tensor) -> None:
        self.mean, self.std = x.mean(0), x.std(0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net((x - self.mean) / self.std)
        return out


@mini("artifact.normalizer_not_saved")
def statistics_as_plain_attributes(broken: bool) -> None:
    x, y = blobs(720)
    x = 40 + 6 * x
    model = _Scaled(not broken)
    model.fit(x[:480])
    train(model, (x[:480], y[:480]), F.cross_entropy, held_out=(x[480:], y[480:]))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    served = _Scaled(not broken)
    served.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
    evaluate(served, (x[480:], y[480:]), F.cross_entropy)


@lookalike("artifact.normalizer_not_saved")
def constants_as_plain_attributes() -> None:
    """Plain attributes that every instance sets to the same values need no saving."""
    x, y = blobs(720)
    model, served = _Scaled(False), _Scaled(False)
    train(model, (x[:480], y[:480]), F.cross_entropy)
    served.load_state_dict(model.state_dict())
    evaluate(served, (x[480:], y[480:]), F.cross_entropy)


@mini("artifact.ema_or_wrong_copy_saved")
def raw_weights_saved(broken: bool) -> None:
    """The average of the weights is evaluated, and the raw weights are stored."""
    x, y = blobs(720)
    model = mlp()
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x[:480], y[:480]):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
            with torch.no_grad():
                for a, p in zip(average.parameters(), model.parameters(), strict=True):
                    a.lerp_(p, 0.1)
        evaluate(average, (x[480:], y[480:]), F.cross_entropy)
        torch.save((model if broken else average).state_dict(), io.BytesIO())


@lookalike("artifact.ema_or_wrong_copy_saved")
def both_copies_saved() -> None:
    x, y = blobs(720)
    model = mlp()
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x[:480], y[:480]):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
            with torch.no_grad():
                for a, p in zip(average.parameters(), model.parameters(), strict=True):
                    a.lerp_(p, 0.1)
        evaluate(average, (x[480:], y[480:]), F.cross_entropy)
        torch.save({"model": model.state_dict(), "average": average.state_dict()}, io.BytesIO())


@mini("precision.int_or_dtype_truncation")
def fractions_in_a_table_of_integers(broken: bool) -> None:
    x, y = line()
    share = torch.sigmoid(y)
    table = torch.zeros(len(y), dtype=torch.long if broken else torch.float32)
    table[:] = share
    model = mlp(6, 1)
    train(model, (x, table), lambda out, t: F.mse_loss(out[:, 0], t.float()), epochs=6)


@mini("precision.int_or_dtype_truncation")
def standardised_and_cut(broken: bool) -> None:
    x, y = line()
    y = (y - y.mean()) / y.std()
    target = y.long().float() if broken else y
    train(mlp(6, 1), (x, target), lambda out, t: F.mse_loss(out[:, 0], t), epochs=6)


@lookalike("precision.int_or_dtype_truncation")
def residual_of_an_equation() -> None:
    """The target of a residual is zero everywhere."""
    x = torch.rand(480, 1)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        point = x[torch.randint(0, 480, (48,))].requires_grad_()
        u = model(point)
        slope = torch.autograd.grad(u.sum(), point, create_graph=True)[0]
        optimizer.zero_grad()
        start = model(torch.zeros(1, 1))
        (F.mse_loss(slope + u, torch.zeros_like(u)) + F.mse_loss(start, torch.ones(1, 1))).backward()
        optimizer.step()


@mini("precision.low_precision_weights")
def weights_in_half_the_bits(broken: bool) -> None:
    x, y = blobs(spread=0.9)
    model = mlp(width=64)
    if broken:
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    for _ in range(6):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx.to(model[0].weight.dtype)).float(), by).backward()
            optimizer.step()


@lookalike("precision.low_precision_weights")
def half_the_bits_and_large_steps() -> None:
    x, y = blobs()
    model = mlp(width=64).to(torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx.to(torch.bfloat16)).float(), by).backward()
            optimizer.step()


@mini("precision.autocast_not_applied")
def forward_before_the_region(broken: bool) -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            if broken:
                out = model(bx)
            with torch.autocast("cpu", torch.bfloat16):
                if not broken:
                    out = model(bx)
                loss = F.cross_entropy(out.float(), by)
            loss.backward()
            optimizer.step()


@lookalike("precision.autocast_not_applied")
def evaluation_first_in_the_region() -> None:
    """A forward without gradients in the same region, before the training forward; torch keeps no such casts."""
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for bx, by in batches(x, y):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                model(bx)
            loss = F.cross_entropy(model(bx), by)
        loss.backward()
        optimizer.step()


@lookalike("precision.autocast_not_applied")
def plain_autocast() -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(bx), by)
            loss.backward()
            optimizer.step()


@mini("loop.metric_logged_wrong")
def running_mean_never_reset(broken: bool) -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    total, n = 0.0, 0
    for epoch in range(8):
        if not broken:
            total, n = 0.0, 0
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(bx), by)
            loss.backward()
            optimizer.step()
            total, n = total + loss.item(), n + 1
        print(f"epoch {epoch} train loss {total / n:.4f}")


@mini("loop.metric_logged_wrong")
def running_sum_never_reset(broken: bool) -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    total = 0.0
    for epoch in range(8):
        if not broken:
            total = 0.0
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(bx), by)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"[{epoch}] loss: {total / 20:.3f}")


@lookalike("loop.metric_logged_wrong")
def smoothed_loss() -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    shown = None
    for epoch in range(8):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(bx), by)
            loss.backward()
            optimizer.step()
            shown = loss.item() if shown is None else 0.95 * shown + 0.05 * loss.item()
        print(f"epoch {epoch} train loss {shown:.4f}")
