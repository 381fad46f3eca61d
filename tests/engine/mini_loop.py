"""Mini programs whose training loop calls the right things in the wrong order."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, evaluate, mlp
from torch import nn
from torch.optim import SGD, Adam

GradScaler = torch.amp.GradScaler


def _regular(width: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 6))


@mini("loop.missing_zero_grad")
def gradients_pile_up(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        for x, y in batches(*blobs()):
            if not broken:
                optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@mini("loop.missing_zero_grad")
def one_of_two_optimizers_is_never_cleared(broken: bool) -> None:
    """Body and head have a rate each and one loss: what piles up in the body comes from no other network."""
    body, head = nn.Sequential(nn.Linear(8, 32), nn.Tanh()), nn.Linear(32, 6)
    slow, fast = SGD(body.parameters(), lr=0.2), Adam(head.parameters(), lr=1e-2)
    for _ in range(5):
        for x, y in batches(*blobs()):
            fast.zero_grad()
            if not broken:
                slow.zero_grad()
            F.cross_entropy(head(body(x)), y).backward()
            slow.step()
            fast.step()


@mini("loop.missing_zero_grad")
def gradients_of_an_epoch_pile_up(broken: bool) -> None:
    """Cleared once per epoch where it should be once per batch."""
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        if broken:
            optimizer.zero_grad()
        for x, y in batches(*blobs()):
            if not broken:
                optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@mini("loop.zero_grad_after_backward")
def cleared_before_the_step(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for x, y in batches(*blobs()):
            loss = F.cross_entropy(model(x), y)
            if not broken:
                optimizer.zero_grad()
            loss.backward()
            if broken:
                model.zero_grad()
            optimizer.step()


@mini("loop.accumulation_not_normalized")
def sixteen_batches_summed(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 6))
    optimizer = SGD(model.parameters(), lr=1.0)
    k = 16
    for _ in range(7):
        for i, (x, y) in enumerate(batches(*blobs(spread=1.5), size=6)):
            loss = F.cross_entropy(model(x), y)
            (loss if broken else loss / k).backward()
            if (i + 1) % k == 0:
                optimizer.step()
                optimizer.zero_grad()


@mini("loop.accumulation_not_normalized")
def sixteen_batches_thrown_far(broken: bool) -> None:
    """The first steps throw the weights far off; the loss then falls from there, and looks like learning."""
    model = nn.Sequential(nn.Linear(8, 96), nn.ReLU(), nn.Linear(96, 6))
    optimizer = SGD(model.parameters(), lr=0.3)
    for _ in range(6):
        for i, (x, y) in enumerate(batches(*blobs(960, spread=1.0), size=10)):
            loss = F.cross_entropy(model(3 * x), y)
            (loss if broken else loss / 16).backward()
            if i % 16 == 15:
                optimizer.step()
                optimizer.zero_grad()


@lookalike("loop.accumulation_not_normalized")
def summed_at_a_rate_that_suits() -> None:
    """Gradients are summed, and the rate was chosen for it."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.05)
    for _ in range(8):
        for i, (x, y) in enumerate(batches(*blobs(), size=12)):
            F.cross_entropy(model(x), y).backward()
            if (i + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()


@mini("loop.clip_before_backward")
def clipped_too_early(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        for x, y in batches(*blobs()):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            if broken:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            loss.backward()
            if not broken:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()


@mini("loop.eval_mode_left_on")
def never_back_in_training_mode(broken: bool) -> None:
    model = _regular()
    optimizer = Adam(model.parameters(), lr=1e-2)
    data, held_out = blobs(), blobs(120)
    model.train()
    for _ in range(5):
        if not broken:
            model.train()
        for x, y in batches(*data):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        evaluate(model, held_out, F.cross_entropy)


@mini("loop.freeze_undone_by_train")
def frozen_norms_go_on(broken: bool) -> None:
    """The body was trained elsewhere and is frozen; `train()` puts its batch norm back to training."""
    body = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU())
    x, y = blobs()
    first = nn.Sequential(body, nn.Linear(32, 6))
    optimizer = Adam(first.parameters(), lr=1e-2)
    for bx, by in batches(x, y):
        optimizer.zero_grad()
        F.cross_entropy(first(bx), by).backward()
        optimizer.step()
    model = nn.Sequential(body, nn.Linear(32, 6))
    body.requires_grad_(False)
    body.eval()
    optimizer = Adam(model[1].parameters(), lr=1e-2)
    for _ in range(4):
        model.train()
        if not broken:
            body.eval()
        for bx, by in batches(x + 2.0, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        evaluate(model, (x + 2.0, y), F.cross_entropy)


@mini("loop.step_outside_batch_loop")
def one_step_per_epoch(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(6):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if not broken:
                optimizer.step()
        if broken:
            optimizer.step()


@mini("loop.step_outside_batch_loop")
def too_few_steps_to_learn(broken: bool) -> None:
    """Many backward passes make one step, and the loss hardly moves: nothing is summed for all that."""
    x = torch.randn(800, 12)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = mlp(12, 2, 64)
    optimizer = Adam(model.parameters(), lr=5e-3)
    for _ in range(30):
        for bx, by in batches(x, y, size=40):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            if not broken:
                optimizer.step()
        if broken:
            optimizer.step()


@lookalike("loop.step_outside_batch_loop")
def full_batch_by_accumulation() -> None:
    """One step per epoch with the mean over all batches."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=1.0)
    loader = batches(*blobs(), size=120)
    for _ in range(40):
        optimizer.zero_grad()
        for x, y in loader:
            (F.cross_entropy(model(x), y) / len(loader)).backward()
        optimizer.step()


# ---- mixed precision ------------------------------------------------------------------------------------------------


@mini("amp.clip_before_unscale")
def clipped_while_scaled(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    scaler = GradScaler("cpu", init_scale=4096.0)
    for _ in range(4):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            if not broken:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()


@mini("amp.no_scaler_underflow")
def half_without_a_scaler(broken: bool) -> None:
    """Gradients of a mean over many outputs are below what float16 can hold; Adam would not mind their size."""
    x, y = blobs()
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 512))
    target = torch.randn(6, 512)[y]
    optimizer = Adam(model.parameters(), lr=1e-3, eps=1e-14)
    scaler = GradScaler("cpu", init_scale=65536.0, enabled=not broken)
    for _ in range(4):
        for bx, by in batches(x, target):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                out = model(bx)
                loss = F.mse_loss(out, by.half()).float() * 2e-4
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


@lookalike("amp.no_scaler_underflow")
def bfloat_without_a_scaler() -> None:
    """bfloat16 has the range of float32 and needs no scaler."""
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()


@lookalike("amp.clip_before_unscale")
def scaler_that_calibrates() -> None:
    """The first scales overflow and steps are skipped until the scale fits."""
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    scaler = GradScaler("cpu", init_scale=2.0**40)
    for _ in range(5):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
