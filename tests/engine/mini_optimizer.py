"""Mini programs whose optimizer or schedule is wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, mlp
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    StepLR,
)


def _fit(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    epochs: int = 4,
    spread: float = 0.6,
    each_batch: LRScheduler | None = None,
    each_epoch: LRScheduler | None = None,
) -> None:
    x, y = blobs(spread=spread)
    for _ in range(epochs):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
            if each_batch is not None:
                each_batch.step()
        if each_epoch is not None:
            each_epoch.step()


# ---- parameters and the optimizer -----------------------------------------------------------------------------------


@mini("optimizer.stale_param_reference")
def head_replaced_after_the_optimizer(broken: bool) -> None:
    model = mlp(out=10)
    if not broken:
        model[2] = nn.Linear(32, 6)
    optimizer = Adam(model.parameters(), lr=1e-2)
    if broken:
        model[2] = nn.Linear(32, 6)
    _fit(model, optimizer)


@mini("optimizer.stale_param_reference")
def weights_cast_into_new_parameters(broken: bool) -> None:
    """Rebuilding every parameter after the optimizer has been given the old ones."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    if broken:
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight = nn.Parameter(layer.weight.detach().clone())
                layer.bias = nn.Parameter(layer.bias.detach().clone())
    _fit(model, optimizer)


@mini("optimizer.params_missing_from_groups")
def middle_layer_in_no_group(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6))
    groups = [{"params": model[0].parameters()}, {"params": model[4].parameters(), "lr": 2e-2}]
    if not broken:
        groups.append({"params": model[2].parameters()})
    _fit(model, Adam(groups, lr=1e-2))


@mini("optimizer.params_missing_from_groups")
def head_in_no_group(broken: bool) -> None:
    model = mlp(width=64)
    _fit(model, SGD(model[0].parameters() if broken else model.parameters(), lr=0.1))


@lookalike("optimizer.params_missing_from_groups")
def only_the_head_is_trained() -> None:
    """Feature extraction: a network that was trained before, of which only the last layer goes on."""
    model = mlp(width=64)
    _fit(model, Adam(model.parameters(), lr=1e-2), epochs=3)
    torch.nn.init.normal_(model[2].weight, 0, 0.1)
    _fit(model, Adam(model[2].parameters(), lr=1e-2), epochs=3)


@mini("optimizer.frozen_by_mistake")
def everything_but_the_first_layer_frozen(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6))
    if broken:
        for name, p in model.named_parameters():
            p.requires_grad_("bias" in name and name.startswith("0"))
    _fit(model, Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2))


@lookalike("optimizer.frozen_by_mistake")
def frozen_after_pretraining() -> None:
    """The body was trained, then frozen."""
    model = mlp(width=64)
    _fit(model, Adam(model.parameters(), lr=1e-2), epochs=3)
    model[0].requires_grad_(False)
    model[2] = nn.Linear(64, 6)
    _fit(model, Adam(model[2].parameters(), lr=1e-2), epochs=3)


@mini("optimizer.never_stepped")
def step_is_missing(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        for x, y in batches(*blobs()):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if not broken:
                optimizer.step()


@mini("optimizer.never_stepped")
def one_of_two_never_steps(broken: bool) -> None:
    """The discriminator steps; behind the generator's backward the step is missing."""
    make, tell = (
        nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)),
        nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1)),
    )
    maker, teller = Adam(make.parameters(), lr=2e-3), Adam(tell.parameters(), lr=2e-3)
    yes, no = torch.ones(32, 1), torch.zeros(32, 1)
    for _ in range(60):
        fake = make(torch.randn(32, 4))
        teller.zero_grad()
        told = F.binary_cross_entropy_with_logits
        (told(tell(torch.randn(32, 2) + 2), yes) + told(tell(fake.detach()), no)).backward()
        teller.step()
        maker.zero_grad()
        told(tell(make(torch.randn(32, 4))), yes).backward()
        if not broken:
            maker.step()


@lookalike("optimizer.never_stepped")
def updated_by_hand() -> None:
    """Plain gradient descent without an optimizer."""
    model = mlp()
    for _ in range(6):
        for x, y in batches(*blobs()):
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p -= 0.2 * p.grad
                    p.grad = None


class _Adversaries(nn.Module):
    """Two networks of one program."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(x))
        return out


@mini("optimizer.wrong_optimizer_stepped")
def one_of_two_steps_twice(broken: bool) -> None:
    """`head.step()` stands where `body.step()` was meant."""
    model = _Adversaries()
    body, head = Adam(model.encoder.parameters(), lr=5e-3), Adam(model.head.parameters(), lr=5e-3)
    for _ in range(4):
        for x, y in batches(*blobs()):
            body.zero_grad()
            head.zero_grad()
            F.cross_entropy(model(x), y).backward()
            (head if broken else body).step()
            head.step()


@mini("optimizer.silent_no_update")
def step_writes_into_a_copy(broken: bool) -> None:
    """A hand-written optimizer: `flatten` of a transposed weight is a copy, and the copy is updated."""

    class Descent(Optimizer):
        def __init__(self, params: object, lr: float) -> None:
            super().__init__(params, {"lr": lr})  # type: ignore[arg-type]  # as users write it

        @torch.no_grad()
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        (p.t().flatten() if broken and p.dim() > 1 else p).sub_(
                            group["lr"] * (p.grad.t().flatten() if broken and p.dim() > 1 else p.grad)
                        )

    model = mlp()
    _fit(model, Descent(model.parameters(), 0.2))


@lookalike("optimizer.silent_no_update")
def bias_in_front_of_a_norm_layer() -> None:
    """Its gradient is rounding errors, and the update is less than the bias can hold."""
    x, y = blobs()
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 6))
    optimizer = SGD(model.parameters(), lr=0.05)
    for _ in range(5):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@mini("optimizer.silent_no_update", "optimizer.lr_too_low")
def update_below_the_resolution(broken: bool) -> None:
    """Steps so small that float32 cannot add them."""
    x, y = blobs()
    model = mlp()
    optimizer = SGD(model.parameters(), lr=1e-12 if broken else 0.2)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


# ---- rates ----------------------------------------------------------------------------------------------------------


@mini("optimizer.lr_too_high")
def adam_at_one(broken: bool) -> None:
    """Classes that overlap: no width of margin makes up for steps that overshoot."""
    model = mlp()
    _fit(model, Adam(model.parameters(), lr=3.0 if broken else 1e-2), spread=3.0)


@mini("optimizer.lr_too_high")
def descent_at_fifty(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 6))
    _fit(model, SGD(model.parameters(), lr=50.0 if broken else 0.2), spread=2.0)


@mini("optimizer.lr_too_high")
def nothing_but_the_mean(broken: bool) -> None:
    """The first steps make a large error; it falls, and ends as that of a constant."""
    net = nn.GRU(1, 16, batch_first=True)
    head = nn.Linear(16, 1)
    model = nn.ModuleDict({"net": net, "head": head})
    optimizer = Adam(model.parameters(), lr=3.0 if broken else 1e-2)
    for _ in range(120):
        x = (torch.rand(32, 8, 1) > 0.5).float()
        optimizer.zero_grad()
        F.mse_loss(head(net(x)[0][:, -1]).squeeze(1), x.mean((1, 2))).backward()
        optimizer.step()


@lookalike("optimizer.lr_too_high")
def large_steps_at_first() -> None:
    """A high rate that is taken down, and a loss that falls."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=1.0)
    _fit(model, optimizer, epochs=6, each_epoch=StepLR(optimizer, 1, 0.6))


@mini("optimizer.lr_too_low")
def rate_of_a_millionth(broken: bool) -> None:
    model = mlp()
    _fit(model, Adam(model.parameters(), lr=1e-6 if broken else 1e-2))


@lookalike("optimizer.lr_too_low")
def fine_tuned_gently() -> None:
    """A model that is good already, at a small rate."""
    model = mlp()
    _fit(model, Adam(model.parameters(), lr=2e-2), epochs=4)
    _fit(model, Adam(model.parameters(), lr=1e-5), epochs=2)


@mini("optimizer.weight_decay_excess")
def decay_of_one(broken: bool) -> None:
    model = mlp()
    _fit(model, SGD(model.parameters(), lr=0.1, weight_decay=1.0 if broken else 1e-4), epochs=5)


@mini("optimizer.weight_decay_excess")
def decoupled_decay(broken: bool) -> None:
    model = mlp()
    _fit(model, AdamW(model.parameters(), lr=1e-2, weight_decay=20.0 if broken else 0.01), epochs=5)


@mini("optimizer.lr_too_high")
def usual_decay_at_an_unusual_rate(broken: bool) -> None:
    """Rate times decay is large because of the rate."""
    model = mlp()
    _fit(model, AdamW(model.parameters(), lr=5.0 if broken else 1e-2), spread=3.0)


@lookalike("optimizer.weight_decay_excess")
def a_decay_that_helps() -> None:
    """Weights shrink, and the loss falls."""
    model = mlp(width=64)
    _fit(model, SGD(model.parameters(), lr=0.3, weight_decay=2e-2), epochs=8)


@mini("optimizer.eps_underflow", "amp.no_scaler_underflow")
def adam_on_half_weights(broken: bool) -> None:
    torch.manual_seed(0)
    model = mlp()
    x, y = blobs()
    if broken:
        model, x = model.half(), x.half()
    optimizer = Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx).float(), by).backward()
            optimizer.step()


# ---- schedules ------------------------------------------------------------------------------------------------------


@mini("scheduler.stepped_per_batch")
def decay_for_epochs_each_batch(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = ExponentialLR(optimizer, 0.7)
    _fit(model, optimizer, epochs=5, **{"each_batch" if broken else "each_epoch": schedule})


@mini("scheduler.stepped_per_batch")
def stairs_each_batch(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.05)
    schedule = StepLR(optimizer, 2, 0.1 if broken else 0.8)
    _fit(model, optimizer, epochs=5, **{"each_batch" if broken else "each_epoch": schedule})


@lookalike("scheduler.stepped_per_batch")
def one_cycle_each_batch() -> None:
    """A schedule whose horizon is in batches."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    _fit(model, optimizer, epochs=5, each_batch=OneCycleLR(optimizer, max_lr=0.5, total_steps=101))


@mini("scheduler.wrong_horizon")
def cosine_that_climbs_again(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.2)
    _fit(model, optimizer, epochs=6, each_batch=CosineAnnealingLR(optimizer, T_max=60 if broken else 120))


@mini("scheduler.wrong_horizon")
def warm_up_longer_than_the_run(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.05)
    schedule = LinearLR(optimizer, start_factor=1e-3, total_iters=20000 if broken else 20)
    _fit(model, optimizer, epochs=5, each_batch=schedule)


@mini("scheduler.wrong_horizon")
def scheduler_never_stepped(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.5)
    schedule = LambdaLR(optimizer, lambda e: 0.6**e)
    _fit(model, optimizer, epochs=5, each_epoch=None if broken else schedule)


@lookalike("scheduler.wrong_horizon")
def restarts_on_purpose() -> None:
    """Warm restarts are meant to climb again."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.2)
    _fit(model, optimizer, epochs=6, each_batch=CosineAnnealingWarmRestarts(optimizer, T_0=40))


@mini("scheduler.reset_on_resume")
def weights_restored_alone(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.5)
    schedule = ExponentialLR(optimizer, 0.95)
    _fit(model, optimizer, epochs=3, each_batch=schedule)
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    states = optimizer.state_dict(), schedule.state_dict()
    again = mlp()
    again.load_state_dict(saved)
    optimizer = SGD(again.parameters(), lr=0.5)
    schedule = ExponentialLR(optimizer, 0.95)
    if not broken:
        optimizer.load_state_dict(states[0])
        schedule.load_state_dict(states[1])
    _fit(again, optimizer, epochs=3, each_batch=schedule)


@lookalike("scheduler.reset_on_resume")
def fine_tuned_at_a_higher_rate() -> None:
    """Two phases on purpose: another head, a rate of its own, no resume."""
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.2)
    _fit(model, optimizer, epochs=3, each_epoch=ExponentialLR(optimizer, 0.5))
    model[2] = nn.Linear(32, 6)
    _fit(model, Adam(model.parameters(), lr=1e-2), epochs=3)
