"""Mini programs that go wrong before the first step or between two networks."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, line, mlp, train
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop


class _Standardise(nn.Module):
    """Brings its input to spread one, by the first batch it sees."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        if not self.spread.any():
            self.mean.copy_(x.mean(0))
            self.spread.copy_(x.std(0) + 1e-3)
        return (x - self.mean) / self.spread


@mini("init.stale_normalizer")
def sizes_printed_by_a_dry_run(broken: bool) -> None:
    """One forward pass on zeros, to see the shapes, sets the normaliser for good."""
    torch.manual_seed(0)
    x, y = line()
    model = nn.Sequential(_Standardise(6), nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        model(torch.zeros(2, 6) if broken else 40 * x[:200])
    train(model, (40 * x, y[:, None]), F.mse_loss)


@lookalike("init.stale_normalizer")
def dry_run_without_consequences() -> None:
    """The same dry run before layers that keep nothing of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6))
    with torch.no_grad():
        model.eval()(torch.zeros(2, 8))
    train(model, blobs(), F.cross_entropy)


@mini("init.uninitialized_memory")
def parameter_without_values(broken: bool) -> None:
    torch.manual_seed(0)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()
            self.gain = nn.Parameter(torch.full((6,), float("nan")) if broken else torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x) * self.gain
            return out

    train(Scaled(), blobs(), F.cross_entropy)


@mini("optimizer.frozen_by_mistake")
def fresh_output_frozen_with_the_rest(broken: bool) -> None:
    """After pre-training the output is drawn anew, and then everything but the first layer is frozen."""
    torch.manual_seed(0)
    model = mlp(out=4)
    train(model, blobs(classes=4), F.cross_entropy, epochs=3)
    model[2] = nn.Linear(32, 6)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("0") or (not broken and name.startswith("2")))
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    x, y = blobs(spread=0.9)
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(24):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


@mini("optimizer.frozen_by_mistake", "optimizer.never_stepped")
def predictor_off_since_the_first_turn(broken: bool) -> None:
    """An encoder that hides a nuisance from a predictor; the predictor is switched off for the encoder's turn."""
    torch.manual_seed(0)
    x, y = blobs()
    encoder, predictor = nn.Sequential(nn.Linear(8, 16), nn.Tanh()), mlp(dim=16)
    enc, pred = Adam(encoder.parameters(), lr=1e-3), Adam(predictor.parameters(), lr=3e-3)
    for step in range(90):
        rows = torch.randint(len(x), (32,))
        if not broken or step == 0:
            predictor.requires_grad_(True)
        loss = F.cross_entropy(predictor(encoder(x[rows]).detach()), y[rows])
        if loss.requires_grad:
            pred.zero_grad()
            loss.backward()
            pred.step()
        predictor.requires_grad_(False)
        code = encoder(x[rows])
        enc.zero_grad()
        (F.mse_loss(code[:, :8], x[rows].tanh()) - 0.01 * F.cross_entropy(predictor(code), y[rows])).backward()
        enc.step()


def _control(clear_between: bool, adversarial: bool) -> None:
    torch.manual_seed(0)
    policy, value = mlp(dim=3, out=1, width=16), mlp(dim=4, out=1)
    move, judge = RMSprop(policy.parameters(), lr=1e-3), RMSprop(value.parameters(), lr=2e-3)
    for _ in range(150):
        state = torch.randn(32, 3)
        tried = policy(state).detach() + 0.3 * torch.randn(32, 1)
        gained = 1 - (tried - state[:, :1]) ** 2
        move.zero_grad()
        judge.zero_grad()
        if adversarial:
            (-value(torch.cat([state, policy(state)], 1))).mean().backward()
        else:  # both learn to tell what the first state was
            F.mse_loss(value(torch.cat([state, policy(state)], 1)), state[:, :1]).backward()
        if clear_between:
            judge.zero_grad()
        F.mse_loss(value(torch.cat([state, tried], 1)), gained).backward()
        judge.step()
        move.step()


@mini("graph.gradient_leak_between_networks")
def score_left_in_the_judge(broken: bool) -> None:
    _control(clear_between=not broken, adversarial=True)


@lookalike("graph.gradient_leak_between_networks")
def two_networks_with_both_losses() -> None:
    """Two losses on data, both meant for the second network: their sum in its gradients is no leak."""
    _control(clear_between=False, adversarial=False)


@mini("graph.stale_module")
def adapters_beside_the_path(broken: bool) -> None:
    """After pre-training each layer gets an adapter; the forward pass goes through a list made before."""
    torch.manual_seed(0)

    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base, self.extra = base, nn.Linear(base.in_features, base.out_features, bias=False)
            nn.init.zeros_(self.extra.weight)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.base(x) + self.extra(x)
            return out

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(24, 6)
            self.path = nn.ModuleList([self.one, self.two])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.path:
                x = torch.relu(layer(x))
            out: Tensor = self.head(x)
            return out

    net = Net()
    train(net, blobs(), F.cross_entropy, epochs=3)
    net.requires_grad_(False)
    if broken:
        net.one, net.two = Adapted(net.one), Adapted(net.two)
    else:
        net.path[0], net.path[1] = Adapted(net.one), Adapted(net.two)
    net.head.requires_grad_(True)
    x, y = blobs()
    optimizer = Adam([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(24):
            optimizer.zero_grad()
            F.cross_entropy(net(-x[rows]), y[rows]).backward()
            optimizer.step()


@lookalike("amp.no_scaler_underflow")
def half_precision_with_units_that_are_off() -> None:
    """Zeros in the gradient of units and inputs that are off for the whole batch are no underflow."""
    torch.manual_seed(0)
    x, y = blobs()
    x = torch.cat([x, torch.zeros(len(x), 4)], 1).half()
    model = nn.Sequential(nn.Linear(12, 96), nn.ReLU(), nn.Linear(96, 6))
    with torch.no_grad():
        model[0].bias[:40] = -30.0
    model = model.half()
    optimizer = SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(48):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]).float(), y[rows]).backward()
            optimizer.step()


@mini("artifact.ema_or_wrong_copy_saved")
def smoothed_copy_judged_and_raw_one_kept(broken: bool) -> None:
    """An average of the weights by hand is what is evaluated, and the raw model goes into the file."""
    import io

    torch.manual_seed(0)
    x, y = blobs()
    model = mlp()
    smooth = copy.deepcopy(model).requires_grad_(False)
    optimizer = SGD(model.parameters(), lr=0.3)
    for step in range(120):
        rows = torch.randint(len(x), (16,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(smooth.parameters(), model.parameters(), strict=True):
                a.lerp_(b, 0.1)
            if step % 20 == 19:
                F.cross_entropy(smooth(x), y)
    torch.save((model if broken else smooth).state_dict(), io.BytesIO())
