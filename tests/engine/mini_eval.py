"""Mini programs whose evaluation is wrong, or tells that training was."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, evaluate, line, mlp, train
from torch import Tensor, nn


class _Dropping(nn.Module):
    def __init__(self, always: bool) -> None:
        super().__init__()
        self.first, self.second, self.always = nn.Linear(8, 32), nn.Linear(32, 6), always

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        h = F.dropout(h, 0.4) if self.always else F.dropout(h, 0.4, training=self.training)
        out: Tensor = self.second(h)
        return out


@mini("eval.functional_dropout_always_on")
def dropout_without_training_flag(broken: bool) -> None:
    x, y = blobs(720, spread=0.9)
    train(_Dropping(broken), (x[:480], y[:480]), F.cross_entropy, held_out=(x[480:], y[480:]))


@lookalike("eval.functional_dropout_always_on")
def noise_asked_for() -> None:
    """A generator draws its own noise in every mode."""

    class Sampler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(10, 8)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(torch.cat([x, torch.randn(len(x), 2)], 1))
            return out

    x, _ = blobs()
    train(Sampler(), (x, x), F.mse_loss, epochs=6)


@mini("eval.metric_bug")
def argmax_over_the_batch(broken: bool) -> None:
    x, y = blobs(720)
    model = mlp()
    for epoch in range(5):
        train(model, (x[:480], y[:480]), F.cross_entropy, epochs=1)
        model.eval()
        with torch.no_grad():
            hits, n = 0, 0
            for bx, by in batches(x[480:], y[480:], size=60, shuffle=False):
                out = model(bx)
                F.cross_entropy(out, by)
                guess = out.argmax(0)[:6].repeat(10) % 6 if broken else out.argmax(1)
                hits, n = hits + int((guess == by).sum()), n + len(by)
        print(f"epoch {epoch} val accuracy {hits / n:.3f}")


@mini("eval.metric_bug")
def one_logit_rounded(broken: bool) -> None:
    """A logit is compared as if it were a probability that argmax had chosen from."""
    x, y = blobs(720, classes=2)
    model = mlp(out=1)
    for epoch in range(5):
        train(model, (x[:480], y[:480].float()[:, None]), F.binary_cross_entropy_with_logits, epochs=1)
        model.eval()
        with torch.no_grad():
            out, target = model(x[480:]), y[480:]
            F.binary_cross_entropy_with_logits(out[:, 0], target.float())
            guess = out.argmax(1) if broken else (out[:, 0] > 0).long()
            print(f"epoch {epoch} test accuracy: {100 * (guess == target).float().mean():.1f}%")


@mini("eval.mode_not_eval")
def batch_statistics_in_evaluation(broken: bool) -> None:
    x, y = blobs(720, spread=0.9)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 6))
    for _ in range(4):
        model.train()
        train(model, (x[:480], y[:480]), F.cross_entropy, epochs=1)
        if not broken:
            model.eval()
        with torch.no_grad():
            for bx, by in batches(x[480:], y[480:], size=20):
                F.cross_entropy(model(bx), by)


@lookalike("eval.mode_not_eval")
def dropout_asked_for_in_evaluation() -> None:
    """Monte Carlo dropout: several answers in training mode, on purpose, beside an evaluation in eval mode."""
    x, y = blobs(720)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 6))
    train(model, (x[:480], y[:480]), F.cross_entropy, held_out=(x[480:], y[480:]))
    evaluate(model, (x[480:], y[480:]), F.cross_entropy)
    model.train()
    with torch.no_grad():
        torch.stack([model(x[480:]) for _ in range(3)]).std(0)


@mini("eval.overfit")
def few_samples_and_a_wide_model(broken: bool) -> None:
    x, y = blobs(1200, spread=2.2)
    n = 48 if broken else 900
    held_out = (x[900:], y[900:])
    train(mlp(width=128), (x[:n], y[:n]), F.cross_entropy, epochs=40 if broken else 4, rate=1e-2, held_out=held_out)


@lookalike("eval.overfit")
def surer_but_not_worse() -> None:
    """Evaluation loss creeps up while its accuracy stays: over-confidence."""
    x, y = blobs(720, spread=1.0)
    train(mlp(width=64), (x[:480], y[:480]), F.cross_entropy, epochs=15, rate=1e-2, held_out=(x[480:], y[480:]))


@mini("eval.preprocessing_mismatch")
def only_training_is_standardised(broken: bool) -> None:
    x, y = blobs(720)
    x = 4 + 3 * x
    mean, std = x[:480].mean(0), x[:480].std(0)
    held_out = x[480:] if broken else (x[480:] - mean) / std
    train(mlp(), ((x[:480] - mean) / std, y[:480]), F.cross_entropy, held_out=(held_out, y[480:]))


@mini("eval.preprocessing_mismatch")
def columns_in_another_order(broken: bool) -> None:
    x, y = blobs(720)
    x = x * torch.tensor([1, 3, 0.3, 1, 2, 1, 0.5, 1]) + torch.arange(8)
    held_out = x[480:].flip(1) if broken else x[480:]
    train(mlp(), (x[:480], y[:480]), F.cross_entropy, held_out=(held_out, y[480:]))


@lookalike("eval.preprocessing_mismatch")
def evaluation_is_a_little_different() -> None:
    """Noise is added to training samples alone, and evaluation goes well."""
    x, y = blobs(720, spread=0.4)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        model.train()
        for bx, by in batches(x[:480], y[:480]):
            optimizer.zero_grad()
            F.cross_entropy(model(bx + 0.8 * torch.randn_like(bx)), by).backward()
            optimizer.step()
        evaluate(model, (x[480:], y[480:]), F.cross_entropy)


@mini("eval.underfit_stopped_early")
def one_epoch_only(broken: bool) -> None:
    x, y = blobs(960, spread=0.8)
    train(mlp(width=16), (x, y), F.cross_entropy, epochs=1 if broken else 12, rate=2e-3)


@mini("eval.test_leakage")
def new_split_every_epoch(broken: bool) -> None:
    x, y = blobs(600)
    model = mlp()
    order = torch.randperm(600)
    for _ in range(4):
        if broken:
            order = torch.randperm(600)
        kept, left = order[:450], order[450:]
        train(model, (x[kept], y[kept]), F.cross_entropy, epochs=1)
        evaluate(model, (x[left], y[left]), F.cross_entropy)


@mini("eval.test_leakage")
def oversampled_before_the_split(broken: bool) -> None:
    x, y = blobs(600)
    if broken:
        more = torch.cat([torch.arange(600), torch.randint(0, 600, (600,))])[torch.randperm(1200)]
        x, y = x[more], y[more]
    n = 3 * len(x) // 4
    train(mlp(), (x[:n], y[:n]), F.cross_entropy, held_out=(x[n:], y[n:]), epochs=3)


@lookalike("eval.test_leakage")
def training_set_evaluated_too() -> None:
    x, y = blobs(600)
    model = mlp()
    for _ in range(3):
        train(model, (x[:450], y[:450]), F.cross_entropy, epochs=1)
        evaluate(model, (x[:450], y[:450]), F.cross_entropy)
        evaluate(model, (x[450:], y[450:]), F.cross_entropy)


@lookalike("eval.test_leakage")
def folds_with_models_of_their_own() -> None:
    x, y = blobs(600)
    for fold in range(3):
        left = torch.arange(600) % 3 == fold
        train(mlp(), (x[~left], y[~left]), F.cross_entropy, epochs=2, held_out=(x[left], y[left]))


def _keep_best(falls: bool, *, by_accuracy: bool = False, rate: float = 3e-3) -> None:
    """Early stopping by validation loss with a patience of 3."""
    x, y = blobs(720, spread=0.9)
    held_out = (x[480:], y[480:])
    model = mlp()
    best, kept, waited = None, None, 0
    for _ in range(10):
        train(model, (x[:480], y[:480]), F.cross_entropy, epochs=1, rate=rate)
        value = evaluate(model, held_out, F.cross_entropy)
        if by_accuracy:
            with torch.no_grad():
                value = -float((model(held_out[0]).argmax(1) == held_out[1]).float().mean())
        if best is None or (value < best if falls else value > best):
            best, kept, waited = value, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
        if waited == 3:
            break
    assert kept is not None
    model.load_state_dict(kept)
    evaluate(model, held_out, F.cross_entropy)


@mini("eval.early_stop_wrong_direction")
def largest_loss_is_kept(broken: bool) -> None:
    _keep_best(falls=not broken)


@mini("eval.early_stop_wrong_direction")
def stopped_before_it_gained_much(broken: bool) -> None:
    """A best value that starts at zero, or a comparison the wrong way: the first state wins, a few per cent worse."""
    x = torch.randn(800, 10)
    y = (x[:, :3].pow(2).sum(1) > 2.4).long()
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
    best, kept, waited = 0.0 if broken else float("inf"), None, 0
    for _ in range(25):
        train(model, (x[:600], y[:600]), F.cross_entropy, epochs=1, rate=2e-3)
        value = evaluate(model, (x[600:], y[600:]), F.cross_entropy)
        if value > best if broken else value < best:
            best, kept, waited = value, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
        if waited == 4:
            break
    assert kept is not None
    model.load_state_dict(kept)


@lookalike("eval.early_stop_wrong_direction")
def best_accuracy_is_kept() -> None:
    _keep_best(falls=True, by_accuracy=True)


@lookalike("eval.early_stop_wrong_direction")
def first_weights_are_kept_for_a_restart() -> None:
    x, y = line()
    model = mlp(6, 1)
    start = copy.deepcopy(model.state_dict())
    for _ in range(2):
        model.load_state_dict(start)
        train(model, (x[:400], y[:400, None]), F.mse_loss, held_out=(x[400:], y[400:, None]), epochs=5)


@lookalike("eval.metric_bug")
def whole_sequences_counted() -> None:
    """Every token is hit nine times in ten, a whole sequence one time in three: the log prints sequences."""
    x = torch.randint(0, 9, (400, 10))
    y = torch.where(torch.rand(400, 10) < 0.08, torch.randint(0, 9, (400, 10)), (x * 2 + 1) % 9)
    model = nn.Sequential(nn.Embedding(9, 24), nn.ReLU(), nn.Linear(24, 9))
    for _ in range(6):
        train(model, (x[:300], y[:300]), lambda out, t: F.cross_entropy(out.flatten(0, 1), t.flatten()), epochs=1)
        model.eval()
        with torch.no_grad():
            out = model(x[300:])
            F.cross_entropy(out.flatten(0, 1), y[300:].flatten())
            hit = (out.argmax(-1) == y[300:]).all(1).float().mean().item()
        print(f"val accuracy {hit:.3f}")
