"""Mini programs whose autograd graph is broken, and programs that end in an exception."""

from __future__ import annotations

import warnings
from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, line, mlp, train
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset


class _Two(nn.Module):
    """An encoder and a head, with something between them."""

    def __init__(self, between: object = None, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, 6))
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        if callable(self.between):
            h = self.between(h)
        out: Tensor = self.head(h)
        return out


@mini("graph.no_grad_region")
def encoder_under_no_grad(broken: bool) -> None:
    class Net(_Two):
        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(not broken):
                h = self.encoder(x)
            out: Tensor = self.head(h)
            return out

    train(Net(), blobs(), F.cross_entropy)


@mini("graph.non_differentiable_op", "graph.detached_term")
def through_numpy(broken: bool) -> None:
    """A detour through numpy cuts the graph."""
    train(
        _Two((lambda h: torch.from_numpy(h.detach().numpy().clip(-3, 3))) if broken else (lambda h: h.clamp(-3, 3))),
        blobs(),
        F.cross_entropy,
    )


@mini("graph.non_differentiable_op")
def rounded_features(broken: bool) -> None:
    def quantise(h: Tensor) -> Tensor:
        rounded = torch.round(4 * h) / 4
        return rounded if broken else h + (rounded - h).detach()

    train(_Two(quantise), blobs(), F.cross_entropy)


@lookalike("graph.non_differentiable_op")
def straight_through() -> None:
    """A comparison whose gradient is passed straight through."""
    train(_Two(lambda h: h.sigmoid() + ((h > 0).float() - h.sigmoid()).detach()), blobs(), F.cross_entropy)


@mini("graph.detached_term")
def penalty_as_a_number(broken: bool) -> None:
    x, y = blobs()
    model = mlp(width=64)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for bx, by in list(batches(x, y)) * 4:
        optimizer.zero_grad()
        penalty = sum((p**2).sum() for p in model.parameters())
        penalty = penalty.item() if broken else penalty
        (F.cross_entropy(model(bx), by) + 1e-3 * penalty).backward()
        optimizer.step()


@mini("graph.detached_term")
def second_loss_on_a_detached_output(broken: bool) -> None:
    x, y = blobs()
    model = mlp(out=8)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for bx, by in list(batches(x, y)) * 4:
        optimizer.zero_grad()
        out = model(bx)
        second = out[:, 6:]
        second = second.detach() if broken else second
        (F.cross_entropy(out[:, :6], by) + F.mse_loss(second, bx[:, :2])).backward()
        optimizer.step()


@lookalike("graph.detached_term")
def metric_beside_the_loss() -> None:
    """A second figure is computed for the log, and stays out of the sum."""
    x, y = blobs()
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for bx, by in list(batches(x, y)) * 4:
        optimizer.zero_grad()
        out = model(bx)
        F.cross_entropy(out, by).backward()
        optimizer.step()
        F.mse_loss(out.detach().softmax(1), F.one_hot(by, 6).float())


def _gan(detach_in_generator: bool = False, clear_generator: bool = True, clear_both: bool = True) -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
    g, d = Adam(generator.parameters(), lr=2e-3), Adam(critic.parameters(), lr=2e-3)
    for _ in range(80):
        real, fake = torch.randn(32, 2) * 0.3 + 1.0, generator(torch.randn(32, 4))
        if clear_both:
            d.zero_grad()
        loss = F.binary_cross_entropy_with_logits(critic(real), torch.ones(32, 1))
        (loss + F.binary_cross_entropy_with_logits(critic(fake.detach()), torch.zeros(32, 1))).backward()
        d.step()
        if clear_generator:
            g.zero_grad()
        fake = fake.detach() if detach_in_generator else fake
        F.binary_cross_entropy_with_logits(critic(fake), torch.ones(32, 1)).backward()
        g.step()


@mini("graph.detach_in_generator_step")
def generator_loss_on_a_detached_sample(broken: bool) -> None:
    _gan(detach_in_generator=broken)


@mini("graph.gradient_leak_between_networks")
def critic_never_cleared(broken: bool) -> None:
    _gan(clear_both=not broken)


@mini("graph.target_not_detached")
def bootstrap_with_gradient(broken: bool) -> None:
    """Values of a chain, where the target is a value of the same network."""
    value = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = Adam(value.parameters(), lr=1e-2)
    states = torch.randn(400, 4)
    following, reward = states.roll(-1, 0), states[:, :1]
    for _ in range(80):
        at = torch.randint(0, 400, (24,))
        optimizer.zero_grad()
        with torch.set_grad_enabled(broken):
            target = reward[at] + 0.9 * value(following[at])
        F.mse_loss(value(states[at]), target).backward()
        optimizer.step()


@lookalike("graph.no_grad_region")
def ready_features_under_no_grad() -> None:
    """A network is trained, then its features serve a new head; the optimizer is simply given everything."""
    x, y = blobs()
    body, first = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 6)
    train(nn.Sequential(body, first), (x, y), F.cross_entropy)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = body, nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                features = self.body(x)
            out: Tensor = self.head(features)
            return out

    train(Net(), (x, y % 3), F.cross_entropy, epochs=8)


@mini("graph.checkpoint_no_input_grad")
def reentrant_checkpoint(broken: bool) -> None:
    class Net(_Two):
        def forward(self, x: Tensor) -> Tensor:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                h = checkpoint(self.encoder, x, use_reentrant=broken)
            out: Tensor = self.head(h)
            return out

    train(Net(), blobs(), F.cross_entropy)


@mini("graph.stale_module")
def fused_copy_in_the_path(broken: bool) -> None:
    """The forward pass runs a copy that was frozen for inference, and training goes on beside it."""

    class Net(_Two):
        def __init__(self) -> None:
            super().__init__()
            if broken:
                self.fused = deepcopy(self.encoder).requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head((self.fused if broken else self.encoder)(x))
            return out

    train(Net(), blobs(spread=2.5), F.cross_entropy)


@mini("graph.param_recreated_each_forward")
def parameter_made_in_forward(broken: bool) -> None:
    class Net(_Two):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(32))
            self.mix = nn.Parameter(torch.randn(32, 32) / 6)

        def forward(self, x: Tensor) -> Tensor:
            h = self.encoder(x)
            if broken:
                self.mix = nn.Parameter(torch.randn(32, 32) / 6)
            out: Tensor = self.head(h @ self.mix + self.shift)
            return out

    train(Net(), blobs(), F.cross_entropy)


@mini("graph.param_recreated_each_forward")
def weight_copied_in_forward(broken: bool) -> None:
    class Net(_Two):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.randn(32, 32) / 6)

        def forward(self, x: Tensor) -> Tensor:
            mix = nn.Parameter(self.mix.data.clone()) if broken else self.mix
            out: Tensor = self.head(self.encoder(x) @ mix)
            return out

    train(Net(), blobs(), F.cross_entropy)


def _rnn(detach_inside: bool, carry: bool, length: int = 8) -> None:
    torch.manual_seed(0)
    cell, head = nn.GRUCell(2, 24), nn.Linear(24, 1)
    optimizer = Adam([*cell.parameters(), *head.parameters()], lr=1e-2)
    h = torch.zeros(16, 24)
    for _ in range(60):
        x = torch.randn(16, length, 2)
        h = h if carry else h.detach()
        optimizer.zero_grad()
        for t in range(length):
            h = cell(x[:, t], h.detach() if detach_inside else h)
        h_used = h.detach() if detach_inside else h
        F.mse_loss(head(h_used), x.sum(1)[:, :1]).backward(retain_graph=carry)
        optimizer.step()


@mini("graph.bptt_cut_or_grown")
def state_detached_at_every_step(broken: bool) -> None:
    _rnn(broken, carry=False)


@mini("graph.bptt_cut_or_grown", "resource.retain_graph")
def state_never_detached(broken: bool) -> None:
    """A frozen memory whose graph reaches back through all earlier steps."""
    memory, model = torch.zeros(24, 6), mlp()
    optimizer = SGD(model.parameters(), lr=0.05)
    gate = nn.Parameter(torch.zeros(1))
    second = SGD([gate], lr=1e-3)
    for x, y in list(batches(*blobs())) * 3:
        optimizer.zero_grad()
        second.zero_grad()
        memory = 0.5 * torch.tanh(memory + gate) if broken else 0.5 * torch.tanh(memory.detach() + gate)
        F.cross_entropy(model(x) + 0.1 * memory[: len(x)], y).backward(retain_graph=broken)
        optimizer.step()
        if not broken:
            second.step()


def _teacher(update: bool, wrong: bool = False) -> None:
    """A student that learns from labels and from a slow average of itself."""
    x, y = blobs()
    student = mlp()
    teacher = deepcopy(student).requires_grad_(False)
    optimizer = Adam(student.parameters(), lr=1e-2)
    for bx, by in list(batches(x, y)) * 4:
        optimizer.zero_grad()
        out = student(bx)
        with torch.no_grad():
            soft = teacher(bx).softmax(1)
        (F.cross_entropy(out, by) + 0.5 * F.kl_div(out.log_softmax(1), soft, reduction="batchmean")).backward()
        optimizer.step()
        if update:
            with torch.no_grad():
                for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
                    if wrong:
                        a = a * 0.95 + 0.05 * b
                    else:
                        a.mul_(0.95).add_(0.05 * b)


@mini("graph.ema_not_updated")
def average_never_taken(broken: bool) -> None:
    _teacher(update=not broken)


@mini("graph.ema_not_updated")
def average_into_a_new_tensor(broken: bool) -> None:
    _teacher(update=True, wrong=broken)


@lookalike("graph.ema_not_updated")
def distilled_from_a_trained_teacher() -> None:
    """The teacher is another network, trained before and constant on purpose."""
    x, y = blobs()
    teacher = mlp(width=64)
    train(teacher, (x, y), F.cross_entropy, epochs=3)
    teacher.requires_grad_(False)
    student = mlp(width=16)

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            soft = teacher(target).softmax(1)
        return F.kl_div(out.log_softmax(1), soft, reduction="batchmean")

    train(student, (x, x), loss_of, epochs=6)


# ---- exceptions -----------------------------------------------------------------------------------------------------


@mini("graph.backward_twice")
def state_of_the_last_batch(broken: bool) -> None:
    cell, head = nn.GRUCell(8, 16), nn.Linear(16, 6)
    optimizer = Adam([*cell.parameters(), *head.parameters()], lr=1e-2)
    h = torch.zeros(24, 16)
    for x, y in list(batches(*blobs())) * 3:
        optimizer.zero_grad()
        h = cell(x, h if broken else h.detach())
        F.cross_entropy(head(h), y).backward()
        optimizer.step()


@mini("graph.inplace_modification")
def overwritten_after_sigmoid(broken: bool) -> None:
    class Net(_Two):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.sigmoid(self.encoder(x))
            if broken:
                h += 1
            else:
                h = h + 1
            out: Tensor = self.head(h)
            return out

    train(Net(), blobs(), F.cross_entropy)


@mini("shape.mismatch")
def head_of_another_width(broken: bool) -> None:
    train(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(16 if broken else 32, 6)), blobs(), F.cross_entropy)


@mini("shape.mismatch")
def batch_without_a_flatten(broken: bool) -> None:
    x, y = blobs()
    body: list[nn.Module] = [] if broken else [nn.Flatten()]
    train(nn.Sequential(*body, nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6)), (x.view(-1, 2, 4), y), F.cross_entropy)


@mini("shape.mismatch")
def targets_one_short(broken: bool) -> None:
    train(mlp(), blobs(), lambda out, y: F.cross_entropy(out, y[:-1] if broken else y))


@mini("dtype.mismatch")
def targets_as_floats(broken: bool) -> None:
    x, y = line()
    train(mlp(dim=6, out=1), (x.double() if broken else x, y), lambda out, y: F.mse_loss(out[:, 0], y))


@mini("dtype.mismatch")
def classes_as_floats(broken: bool) -> None:
    x, y = blobs()
    train(mlp(), (x, y.float() if broken else y), F.cross_entropy)


@mini("device.mismatch")
def constant_on_another_device(broken: bool) -> None:
    """The meta device stands in for an accelerator."""
    scale = torch.ones(6, device="meta" if broken else "cpu")
    train(mlp(), blobs(), lambda out, y: F.cross_entropy(out * scale, y))


@mini("data.index_out_of_range")
def token_beyond_the_table(broken: bool) -> None:
    tokens = torch.randint(0, 20, (240, 6))
    tokens[130, 2] = 20 if broken else 19
    model = nn.Sequential(nn.Embedding(20, 8), nn.Flatten(), nn.Linear(48, 4))
    train(model, (tokens, tokens[:, 0] % 4), F.cross_entropy)


@mini("data.index_out_of_range")
def label_beyond_the_classes(broken: bool) -> None:
    x, y = blobs()
    y = y + 1 if broken else y
    train(mlp(), (x, y), F.cross_entropy)


class _Files(Dataset[tuple[Tensor, Tensor]]):
    """Samples of which one cannot be read."""

    def __init__(self, broken: bool) -> None:
        self.x, self.y = blobs(120)
        self.broken = broken

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.broken and index == 70:
            raise OSError("sample 70 is not readable")
        return self.x[index], self.y[index]


@mini("loop.worker_died")
def sample_that_a_worker_cannot_read(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=2e-2)
    for _ in range(2):
        for x, y in DataLoader(_Files(broken), batch_size=12, num_workers=1):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@mini("resource.out_of_memory")
def activation_of_terabytes(broken: bool) -> None:
    train(mlp(), blobs(), lambda out, y: F.cross_entropy(out + torch.zeros(1 << 44 if broken else 1)[:1], y))
