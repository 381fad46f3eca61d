"""Mini programs and healthy twins that once were judged wrongly: each has a mechanism of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, line, mlp, train
from torch import Tensor, nn


@lookalike("eval.mode_not_eval")
def answers_sampled_with_dropout() -> None:
    """Uncertainty from dropout: the same inputs, twenty forwards in training mode."""
    x, y = line()
    model = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.mse_loss(model(bx)[:, 0], by).backward()
            optimizer.step()
        with torch.no_grad():
            torch.stack([model(x[:60]) for _ in range(20)]).std(0)


@lookalike("loss.sign_flipped")
def density_of_a_mixture() -> None:
    """Minus the log-sum-exp of weighted densities is a likelihood, and may fall below zero."""
    x = torch.randn(480, 2)
    y = 0.05 * torch.randn(480) + x[:, 0].sign()
    model = mlp(2, 6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(8):
        for bx, by in batches(x, y):
            weight, mean, scale = model(bx).chunk(3, 1)
            density = torch.distributions.Normal(mean, scale.clamp(-4, 2).exp()).log_prob(by[:, None])
            optimizer.zero_grad()
            (-(density + weight.log_softmax(1)).logsumexp(1).mean()).backward()
            optimizer.step()


class Code(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Sequential(nn.Linear(40, 32), nn.Tanh()), mlp(4, 40)
        self.mean, self.spread = nn.Linear(32, 4), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, torch.distributions.Normal]:
        hidden = self.encoder(x)
        code = torch.distributions.Normal(self.mean(hidden), F.softplus(self.spread(hidden)) + 1e-3)
        return self.decoder(code.rsample()), code


@mini("loss.term_dominates", "loss.reduction_scale")
def divergence_against_a_mean(broken: bool) -> None:
    """The error is a mean over 40 entries, the divergence a sum over the code."""
    x = torch.randn(480, 3) @ torch.randn(3, 40)
    model, prior = Code(), torch.distributions.Normal(0.0, 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(12):
        for (bx,) in batches(x):
            rebuilt, code = model(bx)
            error = F.mse_loss(rebuilt, bx) if broken else F.mse_loss(rebuilt, bx, reduction="sum") / len(bx)
            divergence = torch.distributions.kl_divergence(code, prior).sum(1).mean()
            optimizer.zero_grad()
            (error + (6 if broken else 1) * divergence).backward()
            optimizer.step()


@lookalike("data.targets_mostly_masked")
def one_answer_for_every_prompt() -> None:
    """Only the last of thirty positions is scored, in every sequence."""
    ids = torch.randint(2, 12, (480, 30))
    target = torch.full_like(ids, -100)
    target[:, -1] = 13 - ids[:, -1]
    model = nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 12))
    train(model, (ids, target), lambda out, t: F.cross_entropy(out.transpose(1, 2), t))


def _answers() -> tuple[Tensor, Tensor]:
    """Tokens, and targets that count at the one place where the answer stands."""
    ids = torch.randint(2, 12, (480, 30))
    target = torch.full_like(ids, -100)
    ends = torch.randint(9, 30, (480,))
    target[torch.arange(480), ends] = 13 - ids[torch.arange(480), ends]
    return ids, target


@mini("data.targets_mostly_masked")
def answers_cut_away(broken: bool) -> None:
    """Of long sequences the end, where the answer stands, is cut off; the loss takes them flat."""
    ids, target = _answers()
    kept = 16 if broken else 30
    model = nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 12))

    def loss_of(out: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(out.reshape(-1, 12), t.view(-1))

    train(model, (ids[:, :kept].contiguous(), target[:, :kept].contiguous()), loss_of)


@lookalike("data.class_imbalance")
def rare_events_as_probabilities() -> None:
    """One in fifty, and hardly foreseeable: the share itself is what a model can know at first."""
    x = torch.randn(1500, 8)
    y = (torch.rand(1500) < 0.02).float()
    model = mlp(out=1)
    with torch.no_grad():
        model[2].bias.fill_(-3.9)
    train(model, (x, y), lambda out, t: F.binary_cross_entropy_with_logits(out[:, 0], t), epochs=2, rate=1e-3)


@lookalike("amp.no_scaler_underflow")
def half_precision_on_sparse_inputs() -> None:
    """Inputs that are zero in whole batches have a gradient of zero, whatever the precision."""
    x = torch.zeros(480, 40)
    x[:, :16] = torch.randn(480, 16)
    y = (x[:, 0] > 0).long()
    model = mlp(40, 2).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(4):
        for bx, by in batches(x.half(), y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx).float(), by).backward()
            optimizer.step()


@mini("precision.autocast_not_applied")
def autocast_for_another_device(broken: bool) -> None:
    """The region is for a device that the model is not on; torch says so once and goes on in full precision."""
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    region = {"device_type": "cuda" if broken else "cpu", "dtype": torch.bfloat16}
    for _ in range(4):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            with torch.amp.autocast(**region):
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()


@lookalike("precision.autocast_not_applied")
def autocast_switched_off() -> None:
    """Mixed precision is an option, and it is off."""
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(4):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            with torch.autocast("cuda", enabled=False):
                F.cross_entropy(model(x), y).backward()
            optimizer.step()


@mini("data.label_misaligned")
def targets_of_other_rows(broken: bool) -> None:
    """Inputs are sorted, their values are not."""
    x, y = line(600)
    order = x[:, 0].argsort()
    x = x[order]
    y = y if broken else y[order]
    mixed = torch.randperm(600)
    x, y = x[mixed], y[mixed]
    train(mlp(6, 1), (x[:480], y[:480]), lambda o, t: F.mse_loss(o[:, 0], t), held_out=(x[480:], y[480:]))


@lookalike("data.label_misaligned")
def values_that_are_mostly_noise() -> None:
    """Less than half of the variance can be foretold, and is."""
    x, y = line(900)
    y = y / y.std() + 1.2 * torch.randn(900)
    train(mlp(6, 1), (x[:700], y[:700]), lambda o, t: F.mse_loss(o[:, 0], t), held_out=(x[700:], y[700:]))


@mini("perf.small_kernels")
def one_sample_at_a_time(broken: bool) -> None:
    """A batch of the loader is taken apart, and each sample goes through the model alone."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for x, y in (pair for _ in range(2) for pair in batches(*blobs())):
        logits = torch.cat([model(row.unsqueeze(0)) for row in x]) if broken else model(x)
        optimizer.zero_grad()
        F.cross_entropy(logits, y).backward()
        optimizer.step()


@lookalike("perf.small_kernels")
def samples_of_different_lengths() -> None:
    """Sequences that do not stack, in batches that the program draws itself."""
    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        y = torch.randint(0, 2, (int(torch.randint(9, 15, (1,))),))
        rows = [torch.randn(1, 4) + 3 * t for t in y]
        F.cross_entropy(torch.cat([model(r) for r in rows]), y).backward()
        optimizer.step()


@mini("eval.metric_bug")
def tags_counted_along_the_wrong_axis(broken: bool) -> None:
    """Tags of tokens: the largest score is looked for among positions, and positions are as many as tags."""
    tokens = torch.randint(0, 6, (480, 6))
    tags = 5 - tokens
    wanted = F.one_hot(tags, 6).float()
    model = nn.Sequential(nn.Embedding(6, 16), nn.ReLU(), nn.Linear(16, 6))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(5):
        for rows in torch.randperm(480).split(40):
            scores = model(tokens[rows])
            optimizer.zero_grad()
            F.mse_loss(scores, wanted[rows]).backward()
            optimizer.step()
        guess = scores.argmax(1 if broken else 2)
        right = (guess == tags[rows]).all(0) if broken else guess == tags[rows]
        print(f"epoch {epoch} accuracy {right.float().mean():.3f}")


@mini("data.targets_mostly_masked")
def answers_cut_away_and_made_flat(broken: bool) -> None:
    """As above, with labels shifted by one place and copied into one row of numbers."""
    ids, target = _answers()
    kept = 16 if broken else 30
    model = nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 12))
    flat = (ids[:, 1:kept], target[:, 1:kept])
    train(model, flat, lambda out, t: F.cross_entropy(out.reshape(-1, 12), t.reshape(-1)))


@mini("loss.clipped_loss")
def errors_cut_one_by_one(broken: bool) -> None:
    """A sixth of the targets is far out; a clamp on each error leaves them unlearned, a Huber loss does not."""
    x, y = line()
    y = torch.where(x[:, 4] > 1.0, 6.0, y)

    def loss_of(out: Tensor, t: Tensor) -> Tensor:
        error = out[:, 0] - t
        return (error**2).clamp(max=1.0).mean() if broken else F.huber_loss(out[:, 0], t)

    train(mlp(6, 1), (x, y), loss_of, epochs=6)


@lookalike("loss.clipped_loss")
def clamp_that_is_never_reached() -> None:
    train(mlp(6, 1), line(), lambda out, t: ((out[:, 0] - t) ** 2).clamp(max=100.0).mean(), epochs=6)
