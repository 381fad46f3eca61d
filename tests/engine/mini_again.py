"""Mini programs in other styles than those that the causes were first met in."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, mlp
from torch import nn


@mini("scheduler.stepped_per_batch")
def milestones_in_batches(broken: bool) -> None:
    x, y = blobs(spread=1.5)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[5, 9], gamma=0.1)
    for _ in range(12):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
            if broken:
                schedule.step()
        if not broken:
            schedule.step()


@mini("graph.ema_not_updated")
def average_of_itself(broken: bool) -> None:
    x, y = blobs()
    model = mlp()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
            for a, b in zip(average.parameters(), model.parameters(), strict=True):
                a.data = 0.95 * a.data + 0.05 * (a if broken else b).data
        with torch.no_grad():
            average(x)


@mini("graph.ema_not_updated")
def shadow_of_the_start(broken: bool) -> None:
    """Weights in a dictionary, swapped in for evaluation; nothing moves them."""
    x, y = blobs()
    model = mlp()
    shadow = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
            if not broken:
                shadow = {k: 0.9 * shadow[k] + 0.1 * v.detach() for k, v in model.state_dict().items()}
        own = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(shadow)
        with torch.no_grad():
            print("val acc", (model(x).argmax(1) == y).float().mean().item())
        model.load_state_dict(own)


@lookalike("graph.ema_not_updated")
def looked_at_before_it_goes_on() -> None:
    """The model's own weights are loaded and loaded back: evaluations differ, since training goes on."""
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        own = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict({k: v.round(decimals=2) for k, v in own.items()})
        with torch.no_grad():
            print("val acc", (model(x).argmax(1) == y).float().mean().item())
        model.load_state_dict(own)


@mini("optimizer.frozen_by_mistake")
def head_frozen_with_the_loaded_part(broken: bool) -> None:
    x, y = blobs()

    def fit(model: nn.Module, target: torch.Tensor, epochs: int) -> None:
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
        for _ in range(epochs):
            for bx, by in batches(x, target):
                optimizer.zero_grad()
                F.cross_entropy(model(bx), by).backward()
                optimizer.step()

    first = mlp()
    fit(first, y, 3)
    second = mlp()
    second[0].load_state_dict(first[0].state_dict())
    for name, parameter in second.named_parameters():
        parameter.requires_grad = not (name.startswith("0.") or (broken and name.endswith("weight")))
    fit(second, (y + 2) % 6, 6)


@mini("loop.metric_logged_wrong", "eval.metric_bug")
def hits_never_reset(broken: bool) -> None:
    x, y = blobs(spread=1.0)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    hits = n = 0
    for epoch in range(8):
        hits, n = (hits, n) if broken else (0, 0)
        for bx, by in batches(x, y):
            out = model(bx)
            optimizer.zero_grad()
            F.cross_entropy(out, by).backward()
            optimizer.step()
            hits += int((out.argmax(1) == by).sum())
            n += len(bx)
        print(f"epoch {epoch} train acc {hits / n:.4f}")


@mini("eval.metric_bug")
def labels_in_another_order(broken: bool) -> None:
    """No loss in evaluation: what is ruled out speaks."""
    x, y = blobs()
    held, truth = x[360:], y[360:]
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(6):
        model.train()
        for bx, by in batches(x[:360], y[:360]):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            said = torch.cat([model(bx).argmax(1) for (bx,) in batches(held, shuffle=broken)])
        print(f"epoch {epoch} test accuracy {(said == truth).float().mean().item():.3f}")


@mini("data.label_noise")
def two_pairs_of_names(broken: bool) -> None:
    x, y = blobs(n=720)
    swapped = torch.tensor([1, 0, 3, 2, 4, 5])
    half = torch.rand(len(y), generator=torch.Generator().manual_seed(3)) < 0.5
    labels = torch.where(half, swapped[y], y) if broken else y
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(8):
        for bx, by in batches(x, labels):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@mini("loss.ignore_index_hits_real_class")
def padding_shares_a_class(broken: bool) -> None:
    """Most of what is ignored is padding at the ends, and the rest is a class."""
    model = nn.Sequential(nn.Embedding(21, 16), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        words = torch.randint(1, 21, (24, 10))
        tags = words % 4
        pad = torch.arange(10) >= torch.randint(3, 11, (24, 1))
        ignored = 0 if broken else -100
        tags = tags.masked_fill(pad, ignored)
        optimizer.zero_grad()
        out = model(words.masked_fill(pad, 0))
        F.cross_entropy(out.flatten(0, 1), tags.flatten(), ignore_index=ignored).backward()
        optimizer.step()


@lookalike("eval.preprocessing_mismatch")
def head_on_frozen_features() -> None:
    """An extractor runs without gradients in training, on other numbers than the head behind it."""
    x, y = blobs()
    extractor, head = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 6)
    for parts, epochs in (((extractor, head), 2), ((head,), 5)):
        optimizer = torch.optim.Adam([p for part in parts for p in part.parameters()], lr=1e-2)
        for _ in range(epochs):
            for bx, by in batches(x[:360], y[:360]):
                with torch.set_grad_enabled(len(parts) > 1):
                    features = extractor(5 * bx + 3)
                optimizer.zero_grad()
                F.cross_entropy(head(features), by).backward()
                optimizer.step()
            with torch.no_grad():
                head(extractor(5 * x[360:] + 3))


@lookalike("loop.freeze_undone_by_train")
def teacher_with_batch_norm() -> None:
    """The average of a network asks for no gradients and normalises with its own batches, as designed."""
    x, _ = blobs()
    student = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 8))
    parts = nn.ModuleDict({"student": student, "teacher": copy.deepcopy(student).requires_grad_(False)})
    guess = mlp(8, 8)
    optimizer = torch.optim.Adam([*student.parameters(), *guess.parameters()], lr=3e-3)
    for _ in range(5):
        parts.train()
        for (bx,) in batches(x):
            with torch.no_grad():
                wanted = parts["teacher"](bx + 0.1 * torch.randn_like(bx))
            optimizer.zero_grad()
            (-F.cosine_similarity(guess(student(bx)), wanted).mean()).backward()
            optimizer.step()
            for a, b in zip(parts["teacher"].parameters(), student.parameters(), strict=True):
                a.data.lerp_(b.data, 0.05)
        parts.eval()
        with torch.no_grad():
            student(x)
