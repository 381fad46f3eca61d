"""Mini programs whose loss is written by hand: its sign, its weight, its terms, its range."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, line, mlp
from torch import Tensor, nn


@mini("loss.sign_flipped")
def policy_gradient_downhill(broken: bool) -> None:
    policy, wanted, baseline = mlp(4, 3), torch.randn(4, 3), 0.0
    optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
    for step in range(160):
        state = torch.randn(64, 4)
        choice = torch.distributions.Categorical(logits=policy(state))
        action = choice.sample()
        earned = ((state @ wanted).argmax(1) == action).float()
        gain = (choice.log_prob(action) * (earned - baseline)).mean()
        baseline = 0.9 * baseline + 0.1 * earned.mean().item()
        optimizer.zero_grad()
        (gain if broken else -gain).backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} reward {earned.mean().item():.3f}")


class Vae(nn.Module):
    """Two layers to a code of four, two back."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = nn.Linear(8, 8), mlp(4, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.enc(x).chunk(2, 1)
        return self.dec(mean + torch.randn_like(mean) * (0.5 * log_var).exp()), mean, log_var


@mini("loss.sign_flipped")
def divergence_with_the_wrong_sign(broken: bool) -> None:
    x, y = blobs()
    model = Vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(6):
        for bx, _y in batches(x, y):
            rebuilt, mean, log_var = model(bx)
            kl = 0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(1).mean()
            optimizer.zero_grad()
            (F.mse_loss(rebuilt, bx) + 0.05 * (kl if broken else -kl)).backward()
            optimizer.step()


@mini("loss.sign_flipped")
def cosine_driven_apart(broken: bool) -> None:
    model, wanted = mlp(20, 8), torch.randn(20, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        x = torch.randn(64, 20)
        alike = F.cosine_similarity(model(x), x @ wanted).mean()
        optimizer.zero_grad()
        (alike if broken else 1 - alike).backward()
        optimizer.step()


@mini("loss.sign_flipped", "loss.term_dominates")
def penalty_subtracted(broken: bool) -> None:
    x, y = line()
    model = mlp(6, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(20):
        for bx, by in batches(x, y):
            penalty = sum((p.pow(2).sum() for p in model.parameters()), torch.zeros(()))
            fit = F.mse_loss(model(bx)[:, 0], by)
            optimizer.zero_grad()
            (fit - 0.05 * penalty if broken else fit + 5e-4 * penalty).backward()
            optimizer.step()


@mini("loss.reduction_scale")
def mean_times_batch(broken: bool) -> None:
    x, y = blobs(spread=1.2)
    model = mlp(width=64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(5):
        for bx, by in batches(x, y, size=48):
            loss = F.cross_entropy(model(bx), by)
            optimizer.zero_grad()
            (loss * len(bx) if broken else loss).backward()
            optimizer.step()


@mini("loss.reduction_scale", "optimizer.lr_too_low")
def mean_over_batch_again(broken: bool) -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        for bx, by in batches(x, y):
            loss = F.cross_entropy(model(bx), by)
            optimizer.zero_grad()
            (loss / len(x) if broken else loss).backward()
            optimizer.step()


@mini("graph.detached_term")
def second_error_as_a_figure(broken: bool) -> None:
    x, y = line()
    model = mlp(6, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(6):
        for bx, by in batches(x, y):
            out = model(bx)
            second = (out[:, 1] - by.sin()).pow(2).mean()
            if broken:
                second = torch.tensor(second.item())
            optimizer.zero_grad()
            ((out[:, 0] - by).pow(2).mean() + second).backward()
            optimizer.step()


@mini("model.output_activation_range")
def sigmoid_for_any_number(broken: bool) -> None:
    x, y = line()
    model = nn.Sequential(*mlp(6, 1), *([nn.Sigmoid()] if broken else []))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-3)
    for _ in range(8):
        for bx, by in batches(x, 2 * y + 3):
            optimizer.zero_grad()
            (model(bx)[:, 0] - by).square().mean().backward()
            optimizer.step()


@mini("model.output_activation_range")
def relu_in_forward(broken: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 32), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = self.b(F.elu(self.a(x)))
            return (F.relu(out) if broken else out).squeeze(-1)

    x, y = line()
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(6):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.huber_loss(model(bx), by).backward()
            optimizer.step()


@mini("loss.term_dominates")
def code_switched_off(broken: bool) -> None:
    x, _ = blobs()
    encoder, decoder = nn.Sequential(nn.Linear(8, 24), nn.ReLU()), nn.Linear(24, 8)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    for _ in range(12):
        for (bx,) in batches(x):
            code = encoder(bx)
            optimizer.zero_grad()
            (F.mse_loss(decoder(code), bx) + (30.0 if broken else 1e-3) * code.abs().mean()).backward()
            optimizer.step()


@lookalike("loss.sign_flipped")
def entropy_bonus() -> None:
    """A bonus is subtracted, and it has a ceiling."""
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for bx, by in batches(x, y):
            logp = F.log_softmax(model(bx), 1)
            entropy = -(logp.exp() * logp).sum(1).mean()
            optimizer.zero_grad()
            (F.nll_loss(logp, by) - 0.01 * entropy).backward()
            optimizer.step()


@lookalike("graph.param_recreated_each_forward")
def slopes_of_a_critic() -> None:
    """A penalty on slopes needs inputs that ask for gradients; they belong to no model, and are no parameters."""
    maker, critic = mlp(2, 2), mlp(2, 1)
    first = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.0, 0.9))
    second = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    for step in range(80):
        real, made = torch.randn(32, 2) + 2, maker(torch.randn(32, 2))
        if step % 4 == 3:
            first.zero_grad()
            (-critic(made).mean()).backward()
            first.step()
            continue
        mixed = (0.5 * real + 0.5 * made.detach()).requires_grad_(True)
        (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        second.zero_grad()
        (critic(made.detach()).mean() - critic(real).mean() + (slope.norm(dim=1) - 1).square().mean()).backward()
        second.step()


@lookalike("graph.target_not_detached")
def actor_and_critic() -> None:
    """A policy that runs along an episode ends up nearly certain everywhere, without a target that moves."""
    body, value = mlp(4, 3), mlp(4, 1)
    optimizer = torch.optim.Adam([*body.parameters(), *value.parameters()], lr=1e-2)
    for _ in range(60):
        state, logs, values, rewards = torch.randn(32, 4), [], [], []
        for _t in range(8):
            choice = torch.distributions.Categorical(logits=body(state))
            action = choice.sample()
            logs.append(choice.log_prob(action))
            values.append(value(state)[:, 0])
            rewards.append((action == 0).float())
            state = torch.randn(32, 4)
        gains = torch.stack(rewards)
        advantage = (gains - torch.stack(values)).detach()
        optimizer.zero_grad()
        (-(torch.stack(logs) * advantage).mean() + (gains - torch.stack(values)).square().mean()).backward()
        optimizer.step()


@mini("loss.clipped_loss")
def squares_clamped_one_by_one(broken: bool) -> None:
    x, y = line()
    model = mlp(6, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        for bx, by in batches(x, y + 6):
            error = (model(bx)[:, 0] - by).square()
            optimizer.zero_grad()
            (error.clamp(max=2.0) if broken else error).mean().backward()
            optimizer.step()
