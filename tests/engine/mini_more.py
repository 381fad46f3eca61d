"""Mini programs with the faults of `mini_loss` and `mini_data` in other clothes."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, evaluate, line, mlp, train
from torch import Tensor, nn


@mini("loss.missing_log")
def likelihood_of_logits(broken: bool) -> None:
    train(mlp(), blobs(), lambda out, t: F.nll_loss(out if broken else F.log_softmax(out, 1), t), epochs=4)


@mini("loss.wrong_for_task")
def class_ids_as_probabilities(broken: bool) -> None:
    """A loss for yes and no is given class ids up to 5."""
    x, y = blobs()
    if broken:
        train(mlp(out=1), (x, y.float()), lambda out, t: F.binary_cross_entropy_with_logits(out[:, 0], t))
    else:
        train(mlp(), (x, y), F.cross_entropy)


@mini("loss.class_weight_wrong")
def positives_weighed_down(broken: bool) -> None:
    """One in ten is positive; pos_weight is the wrong way up."""
    x = torch.randn(1200, 8)
    y = (torch.rand(1200) < 0.1).float()
    x[y == 1] += 0.9
    weight = torch.tensor([0.11 if broken else 9.0])
    train(mlp(out=1), (x, y), lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t, pos_weight=weight), epochs=3)


@mini("loss.sign_flipped")
def optimizer_told_to_maximise(broken: bool) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, maximize=broken)
    for _ in range(4):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@mini("loss.sign_flipped")
def likelihood_without_its_minus(broken: bool) -> None:
    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        mean = out.log_softmax(1).gather(1, target[:, None]).mean()
        return mean if broken else -mean

    train(mlp(), blobs(), loss_of)


@lookalike("loss.sign_flipped")
def policy_gradient() -> None:
    """A surrogate that falls and rises around zero: minus the log-probability times an advantage."""
    model = mlp(4, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        state = torch.randn(32, 4)
        chosen = torch.distributions.Categorical(logits=model(state))
        action = chosen.sample()
        reward = (action == (state[:, 0] > 0)).float()
        optimizer.zero_grad()
        (-(chosen.log_prob(action) * (reward - reward.mean())).mean()).backward()
        optimizer.step()


@mini("data.supervision_field_dropped", "numerics.divide_by_zero_scale")
def every_target_masked(broken: bool) -> None:
    """The mean over no targets is NaN."""
    x, y = blobs()
    train(mlp(), (x, torch.full_like(y, -100) if broken else y), F.cross_entropy, epochs=2)


@mini("data.unscaled_input")
def pixels_into_a_convolution(broken: bool) -> None:
    y = torch.arange(240) % 4
    x = 40 + 60 * torch.rand(240, 1, 8, 8)
    for k in range(4):
        x[y == k, :, 2 * k : 2 * k + 2] += 100
    x = x if broken else x / 255 - 0.4
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(288, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(5):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@mini("data.nan_or_inf_input")
def infinite_ratio(broken: bool) -> None:
    x, y = blobs()
    x[:, 2] = x[:, 2] / torch.where(torch.rand(480) < 0.02, 0.0 if broken else 1.0, 1.0)
    train(mlp(), (x, y), F.cross_entropy)


@mini("data.label_misaligned")
def rows_off_by_one(broken: bool) -> None:
    """The label file has a header that the feature file has not."""
    x, y = blobs(720)
    y = y[torch.randperm(720)].roll(1) if broken else y
    train(mlp(width=96), (x[:480], y[:480]), F.cross_entropy, epochs=8, held_out=(x[480:], y[480:]))


@mini("data.class_imbalance")
def few_positives(broken: bool) -> None:
    x = torch.randn(1600, 8)
    y = (torch.rand(1600) < (0.03 if broken else 0.4)).float()
    x[y == 1] += 0.4
    train(mlp(out=1), (x, y), lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t), epochs=2, rate=3e-3)


@mini("loss.double_softmax")
def softmax_inside_the_loss_line(broken: bool) -> None:
    train(mlp(), blobs(), lambda out, t: F.cross_entropy(F.softmax(out, 1) if broken else out, t), epochs=5)


@mini("loss.reduction_scale")
def summed_entropy(broken: bool) -> None:
    x, y = blobs(960, spread=1.2)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(3):
        for bx, by in batches(x, y, size=96):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by, reduction="sum" if broken else "mean").backward()
            optimizer.step()


@mini("loss.ignore_index_hits_real_class")
def background_ignored(broken: bool) -> None:
    """Segmentation in which the background is a class to be learned."""
    x = torch.randn(160, 3, 8, 8)
    y = (x[:, 0] > 0.3).long() + (x[:, 1] > 0.8).long()
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 3, 1))
    train(model, (x, y), lambda out, t: F.cross_entropy(out, t, ignore_index=0 if broken else -100))


@lookalike("loss.ignore_index_hits_real_class")
def border_ignored() -> None:
    """255 marks pixels that nobody labelled."""
    x = torch.randn(160, 3, 8, 8)
    y = (x[:, 0] > 0.3).long() + (x[:, 1] > 0.8).long()
    y[torch.rand(y.shape) < 0.1] = 255
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 3, 1))
    train(model, (x, y), lambda out, t: F.cross_entropy(out, t, ignore_index=255))


@mini("eval.preprocessing_mismatch")
def evaluation_without_dividing(broken: bool) -> None:
    x, y = blobs(720)
    x = 128 + 40 * x
    held_out = x[480:] if broken else x[480:] / 128 - 1
    train(mlp(), (x[:480] / 128 - 1, y[:480]), F.cross_entropy, held_out=(held_out, y[480:]), epochs=6)


@lookalike("eval.overfit")
def noisy_evaluation() -> None:
    """A small evaluation set, whose loss goes up and down."""
    x, y = blobs(520, spread=1.0)
    train(mlp(), (x[:480], y[:480]), F.cross_entropy, held_out=(x[480:], y[480:]), epochs=8)


@lookalike("data.order_not_shuffled")
def time_series_in_order() -> None:
    """A slow wave is read in order, and learned."""
    t = torch.arange(600) / 60
    wave = torch.sin(t)
    x = torch.stack([wave[i : i + 500] for i in range(8)], 1)
    model = mlp(8, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(8):
        for bx, by in batches(x, wave[8:508, None], shuffle=False):
            optimizer.zero_grad()
            F.mse_loss(model(bx), by).backward()
            optimizer.step()


@lookalike("data.unscaled_target")
def counts_in_the_tens() -> None:
    x, y = line()
    train(mlp(6, 1), (x, 30 + 10 * y), lambda out, t: F.mse_loss(out[:, 0], t), epochs=12, rate=0.05)


@lookalike("eval.mode_not_eval")
def no_layer_cares() -> None:
    x, y = blobs(720)
    model = mlp()
    for _ in range(3):
        train(model, (x[:480], y[:480]), F.cross_entropy, epochs=1)
        with torch.no_grad():
            F.cross_entropy(model(x[480:]), y[480:])
    evaluate(model, (x[480:], y[480:]), F.cross_entropy)
