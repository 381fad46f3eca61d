"""Mini programs whose loss is wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, line, mlp, train
from torch import Tensor, nn


@mini("loss.double_softmax")
def softmax_then_cross_entropy(broken: bool) -> None:
    x, y = blobs()
    model = nn.Sequential(*mlp(), *([nn.Softmax(1)] if broken else []))
    train(model, (x, y), F.cross_entropy, epochs=6)


@mini("loss.double_softmax")
def sigmoid_then_logits_loss(broken: bool) -> None:
    x, y = blobs(classes=2)
    model = mlp(out=1)

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        out = torch.sigmoid(out) if broken else out
        return F.binary_cross_entropy_with_logits(out[:, 0], target)

    train(model, (x, y.float()), loss_of)


@lookalike("loss.double_softmax")
def log_softmax_then_cross_entropy() -> None:
    train(nn.Sequential(*mlp(), nn.LogSoftmax(1)), blobs(), F.cross_entropy, epochs=6)


@lookalike("loss.double_softmax")
def soft_labels_as_probabilities() -> None:
    """The target of cross_entropy may be a distribution."""
    x, y = blobs()
    train(mlp(), (x, 0.9 * F.one_hot(y, 6) + 0.1 / 6), F.cross_entropy, epochs=6)


@mini("loss.missing_log")
def likelihood_of_probabilities(broken: bool) -> None:
    model = nn.Sequential(*mlp(), nn.Softmax(1) if broken else nn.LogSoftmax(1))
    train(model, blobs(), F.nll_loss, epochs=5)


@mini("loss.missing_log")
def divergence_of_probabilities(broken: bool) -> None:
    x, y = blobs()
    soft = 0.9 * F.one_hot(y, 6) + 0.1 / 6
    model = nn.Sequential(*mlp(), nn.Softmax(1) if broken else nn.LogSoftmax(1))
    train(model, (x, soft), lambda out, t: F.kl_div(out, t, reduction="batchmean"), epochs=5)


@lookalike("loss.missing_log")
def density_below_zero() -> None:
    """The negative logarithm of a density may be negative."""
    x, y = line()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        return F.gaussian_nll_loss(out[:, 0], 0.1 * target, F.softplus(out[:, 1]) + 1e-3)

    train(mlp(6, 2), (x, y), loss_of, epochs=12)


@mini("loss.kl_argument_order")
def distillation_swapped(broken: bool) -> None:
    x, y = blobs()
    teacher, student = mlp(width=64), mlp()
    train(teacher, (x, y), F.cross_entropy, epochs=3)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, _y in batches(x, y):
            with torch.no_grad():
                wanted = teacher(bx)
            said = student(bx)
            optimizer.zero_grad()
            first, second = (wanted, said) if broken else (said, wanted)
            F.kl_div(F.log_softmax(first, 1), F.softmax(second, 1), reduction="batchmean").backward()
            optimizer.step()


@mini("loss.kl_argument_order")
def student_taught_by_itself(broken: bool) -> None:
    x, y = blobs()
    teacher, student = mlp(width=64), mlp()
    train(teacher, (x, y), F.cross_entropy, epochs=3)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, _y in batches(x, y):
            said = student(bx)
            with torch.no_grad():
                wanted = student(bx) if broken else teacher(bx)
            optimizer.zero_grad()
            F.kl_div(F.log_softmax(said, 1), F.softmax(wanted, 1), reduction="batchmean").backward()
            optimizer.step()


@mini("loss.shape_broadcast")
def column_against_row(broken: bool) -> None:
    x, y = line()
    train(mlp(6, 1), (x, y), lambda out, t: F.mse_loss(out if broken else out[:, 0], t), epochs=8)


@mini("loss.shape_broadcast")
def column_against_row_by_hand(broken: bool) -> None:
    x, y = line()
    train(mlp(6, 1), (x, y), lambda out, t: ((out if broken else out[:, 0]) - t).pow(2).mean(), epochs=8)


@lookalike("loss.shape_broadcast")
def weights_broadcast_by_hand() -> None:
    """A scale for each output, and a margin for all, broadcast by intention."""
    x, y = line()
    scale = torch.tensor([1.0, 0.5])
    train(mlp(6, 2), (x, torch.stack([y, -y], 1)), lambda out, t: (scale * (out - t) ** 2).mean() + 0.1, epochs=8)


@lookalike("loss.shape_broadcast")
def contrast_of_all_pairs() -> None:
    """Every sample against every other is what a contrastive loss wants."""
    x, y = blobs()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        z = F.normalize(out, dim=1)
        distance = (z[:, None] - z[None]).pow(2).sum(-1)
        same = (target[:, None] == target[None]).float()
        return (same * distance + (1 - same) * F.relu(1.0 - distance)).mean()

    train(mlp(), (x, y), loss_of, epochs=6)


@mini("loss.wrong_for_task")
def cross_entropy_of_one_logit(broken: bool) -> None:
    x, y = blobs(classes=2)
    if broken:
        train(mlp(out=1), (x, y.float()[:, None]), F.cross_entropy)
    else:
        train(mlp(out=1), (x, y.float()[:, None]), F.binary_cross_entropy_with_logits)


@mini("loss.wrong_for_task")
def squared_error_of_class_ids(broken: bool) -> None:
    x, y = blobs(classes=10, spread=1.0)
    if broken:
        train(mlp(out=1), (x, y.float()), lambda out, t: F.mse_loss(out[:, 0], t))
    else:
        train(mlp(out=10), (x, y), F.cross_entropy)


@lookalike("loss.wrong_for_task")
def squared_error_of_counts() -> None:
    x, y = line()
    counts = (3 + 2 * y).clamp(0).round()
    train(mlp(6, 1), (x, counts), lambda out, t: F.mse_loss(out[:, 0], t), epochs=8)


def _tagged(n: int = 300, length: int = 24) -> tuple[Tensor, Tensor]:
    """Short sentences of words 1..19, each with the tag word % 4 + 1, padded with 0 at the end."""
    words = torch.zeros(n, length, dtype=torch.long)
    for row in words:
        size = int(torch.randint(3, 9, ()))
        row[:size] = torch.randint(1, 20, (size,))
    return words, torch.where(words > 0, words % 4 + 1, 0)


class _Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 16), nn.Linear(16, 5)

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.out(self.embed(words))
        return out


@mini("loss.padding_counted")
def padding_in_flat_targets(broken: bool) -> None:
    ignored = -100 if broken else 0
    data = _tagged()
    train(_Tagger(), data, lambda out, t: F.cross_entropy(out.view(-1, 5), t.view(-1), ignore_index=ignored))


@mini("loss.padding_counted")
def padding_in_rows(broken: bool) -> None:
    ignored = -100 if broken else 0
    train(_Tagger(), _tagged(), lambda out, t: F.cross_entropy(out.transpose(1, 2), t, ignore_index=ignored))


@lookalike("loss.padding_counted")
def rare_tags() -> None:
    """Most words carry the tag 0, and sentences may end with it; nothing is padded."""
    words = torch.randint(1, 20, (300, 24))
    tags = torch.where(words > 16, words % 4 + 1, 0)
    train(_Tagger(), (words, tags), lambda out, t: F.cross_entropy(out.view(-1, 5), t.view(-1)))


@lookalike("loss.padding_counted")
def nearly_all_tags_are_the_same() -> None:
    words = torch.randint(1, 20, (300, 24))
    train(_Tagger(), (words, words * (words > 17) % 5), lambda o, t: F.cross_entropy(o.mT, t))


@mini("loss.ignore_index_hits_real_class")
def class_zero_ignored(broken: bool) -> None:
    train(mlp(), blobs(), lambda out, t: F.cross_entropy(out, t, ignore_index=0 if broken else -100))


@mini("loss.ignore_index_hits_real_class")
def tag_zero_ignored(broken: bool) -> None:
    words = torch.randint(0, 20, (300, 12))
    ignored = 0 if broken else -100
    train(_Tagger(), (words, words % 5), lambda o, t: F.cross_entropy(o.mT, t, ignore_index=ignored))


@lookalike("loss.ignore_index_hits_real_class")
def padding_ignored_on_the_left() -> None:
    words, tags = (t.flip(1) for t in _tagged())
    train(_Tagger(), (words, tags), lambda o, t: F.cross_entropy(o.reshape(-1, 5), t.flatten(), ignore_index=0))


@mini("loss.reduction_scale")
def summed_over_the_batch(broken: bool) -> None:
    x, y = line()
    model, how = mlp(6, 1), "sum" if broken else "mean"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.mse_loss(model(bx)[:, 0], by, reduction=how).backward()
            optimizer.step()


@mini("loss.reduction_scale")
def summed_by_hand(broken: bool) -> None:
    x, y = line()
    model = mlp(6, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        for bx, by in batches(x, y):
            error = (model(bx)[:, 0] - by) ** 2
            optimizer.zero_grad()
            (error.sum() if broken else error.mean()).backward()
            optimizer.step()


@lookalike("loss.reduction_scale")
def summed_with_a_rate_for_it() -> None:
    train(mlp(), blobs(), lambda out, t: F.cross_entropy(out, t, reduction="sum"), epochs=4, rate=3e-3)


@mini("loss.clipped_loss")
def value_of_the_loss_clamped(broken: bool) -> None:
    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(out, target)
        return loss.clamp(max=1.0) if broken else loss

    train(mlp(), blobs(), loss_of)


@mini("loss.clipped_loss")
def samples_of_the_loss_clamped(broken: bool) -> None:
    x, y = line()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        loss = F.mse_loss(out[:, 0], 1.5 * target, reduction="none")
        return (loss.clamp(max=0.5) if broken else loss).mean()

    train(mlp(6, 1), (x, y), loss_of)


@lookalike("loss.clipped_loss")
def flooding() -> None:
    """The loss is kept from falling below a level (Ishida et al., 2020): only at its floor is it turned."""
    train(mlp(), blobs(spread=1.2), lambda out, t: (F.cross_entropy(out, t) - 0.05).abs() + 0.05, epochs=6)


@lookalike("loss.clipped_loss")
def hinge_by_hand() -> None:
    x, y = blobs(classes=2)

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        return (1 - out[:, 0] * (2 * target - 1)).clamp(min=0).mean()

    train(mlp(out=1), (x, y), loss_of)


@mini("loss.sign_flipped")
def maximised(broken: bool) -> None:
    sign = -1 if broken else 1
    train(mlp(), blobs(), lambda out, t: sign * F.cross_entropy(out, t))


@lookalike("loss.sign_flipped")
def entropy_bonus() -> None:
    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        p = out.softmax(1)
        return F.cross_entropy(out, target) - 0.01 * -(p * p.clamp(min=1e-9).log()).sum(1).mean()

    train(mlp(), blobs(), loss_of)


@mini("loss.term_dominates")
def penalty_dominates(broken: bool) -> None:
    x, y = blobs()
    model = mlp()
    weight = 1e3 if broken else 1e-4

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(out, target) + weight * sum(p.pow(2).sum() for p in model.parameters())

    train(model, (x, y), loss_of, epochs=5)


@lookalike("loss.term_dominates")
def small_auxiliary_term() -> None:
    """A term that is small and does not move, beside a task that is learned."""
    model = mlp()

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(out, target) + 1e-3 * F.mse_loss(out.mean(0), torch.full((6,), 3.0))

    train(model, blobs(), loss_of)


def _skewed() -> tuple[Tensor, Tensor]:
    x, y = blobs(720, classes=3, spread=1.2)
    keep = (y == 0) | (torch.rand(720) < torch.tensor([1.0, 0.35, 0.1])[y])
    return x[keep], y[keep]


@mini("loss.class_weight_wrong")
def weights_by_frequency(broken: bool) -> None:
    x, y = _skewed()
    counts = y.bincount().float()
    weight = counts / counts.sum() if broken else counts.sum() / (3 * counts)
    train(mlp(out=3), (x, y), nn.CrossEntropyLoss(weight=weight))


@lookalike("loss.class_weight_wrong")
def mild_weights() -> None:
    x, y = _skewed()
    train(mlp(out=3), (x, y), nn.CrossEntropyLoss(weight=y.bincount().float().rsqrt()))
