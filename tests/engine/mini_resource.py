"""Mini programs that waste memory or time."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, evaluate, mlp
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader, Dataset, TensorDataset


@mini("resource.graph_retained_by_history")
def losses_kept_with_their_graphs(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    history = []
    for x, y in list(batches(*blobs())) * 5:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        history.append(loss if broken else loss.item())


@mini("resource.graph_retained_by_history")
def running_sum_with_its_graph(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    total = torch.zeros(())
    for x, y in list(batches(*blobs())) * 5:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total = total + (loss if broken else loss.detach())


@lookalike("resource.graph_retained_by_history")
def losses_of_one_epoch() -> None:
    """Detached losses are kept in a list, and the last loss in a variable."""
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    kept: list[Tensor] = []
    for x, y in list(batches(*blobs())) * 5:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        kept.append(loss.detach())


@mini("resource.eval_with_grad")
def validation_with_graphs(broken: bool) -> None:
    """Outputs of the whole validation are gathered with their graphs."""
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    x, y = blobs()
    for _ in range(4):
        model.train()
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        model.eval()
        with torch.set_grad_enabled(broken):
            outputs = [model(bx) for bx, _ in batches(x, y, shuffle=False)]
            F.cross_entropy(torch.cat(outputs), y)


@mini("resource.hooks_accumulate")
def hook_in_every_epoch(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    seen: list[float] = []

    def look(module: nn.Module, args: object, out: Tensor) -> None:
        seen.append(float(out.detach().mean()))

    for x, y in list(batches(*blobs())) * 5:
        handle = model[0].register_forward_hook(look)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if not broken:
            handle.remove()


class _Slow(Dataset[tuple[Tensor, Tensor]]):
    """Samples that are decoded one by one."""

    def __init__(self, pause: float) -> None:
        self.x, self.y = blobs(240)
        self.pause = pause

    def __len__(self) -> int:
        return 240

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.pause:
            time.sleep(self.pause)
        return self.x[index], self.y[index]


@mini("resource.loader_bound")
def decoding_in_the_loop(broken: bool) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=2e-2)
    for _ in range(3):
        for x, y in DataLoader(_Slow(0.0015 if broken else 0.0), batch_size=12, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@mini("resource.retain_graph", "resource.graph_retained_by_history")
def outputs_kept_with_retained_graphs(broken: bool) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    outputs = []
    for x, y in list(batches(*blobs())) * 4:
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward(retain_graph=broken)
        optimizer.step()
        outputs.append((out, loss) if broken else (out.detach(), loss.detach()))


@mini("resource.oversized_input")
def images_far_too_large(broken: bool) -> None:
    """Images that were blown up before a network that pools them away at once."""
    x, y = blobs(36, dim=64)
    size = 128 if broken else 8
    images = F.interpolate(x.view(-1, 1, 8, 8), size=size, mode="nearest")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6)
    )
    optimizer = Adam(model.parameters(), lr=2e-2)
    for bx, by in list(batches(images, y, size=6)) * (2 if broken else 10):
        optimizer.zero_grad()
        F.cross_entropy(model(bx), by).backward()
        optimizer.step()


@lookalike("resource.oversized_input")
def small_network_on_detailed_images() -> None:
    """Large inputs with detail in every pixel: few parameters, many activations, as in any convolution."""
    y = torch.arange(36) % 6
    images = 0.5 * torch.randn(36, 1, 96, 96)
    images += torch.sin(torch.arange(96) * (0.2 + 0.3 * y[:, None])).view(36, 1, 1, 96)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 5), nn.ReLU(), nn.AdaptiveMaxPool2d(2)
    )
    model.append(nn.Flatten())
    model.append(nn.Linear(32, 6))
    optimizer = Adam(model.parameters(), lr=1e-2)
    for bx, by in list(batches(images, y, size=12)) * 10:
        optimizer.zero_grad()
        F.cross_entropy(model(bx), by).backward()
        optimizer.step()


# ---- throughput -----------------------------------------------------------------------------------------------------


@mini("perf.rebuilt_every_step")
def loader_restarted_for_each_batch(broken: bool) -> None:
    data = TensorDataset(*blobs(480))
    loader = DataLoader(data, batch_size=24, shuffle=True)
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    batches_ = iter(loader)
    for _ in range(60):
        if broken:
            x, y = next(iter(DataLoader(data, batch_size=24, shuffle=True)))
        else:
            try:
                x, y = next(batches_)
            except StopIteration:
                batches_ = iter(loader)
                x, y = next(batches_)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


class _Elementwise(Optimizer):
    """Adam that goes over rows one by one."""

    def __init__(self, params: object, lr: float) -> None:
        super().__init__(params, {"lr": lr})  # type: ignore[arg-type]  # as users write it

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                for row, grad in zip(p.view(-1, p.shape[-1]), p.grad.view(-1, p.shape[-1]), strict=True):
                    for i in range(0, len(row), 2):
                        row[i : i + 2] -= group["lr"] * grad[i : i + 2]


@mini("perf.slow_optimizer")
def update_in_a_python_loop(broken: bool) -> None:
    model = mlp(width=64)
    optimizer = _Elementwise(model.parameters(), 0.2) if broken else SGD(model.parameters(), lr=0.2)
    for x, y in list(batches(*blobs())) * (2 if broken else 4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@lookalike("perf.slow_optimizer")
def tiny_model_with_adam() -> None:
    """With so small a model the step is a large share of the time, and nothing can be won."""
    model = nn.Linear(8, 6)
    optimizer = Adam(model.parameters(), lr=3e-2)
    for x, y in list(batches(*blobs(), size=6)) * 2:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@lookalike("resource.eval_with_grad")
def trained_in_eval_mode_with_input_gradients() -> None:
    """Saliency after training: gradients of the input in evaluation mode are what is wanted."""
    model = mlp()
    optimizer = Adam(model.parameters(), lr=1e-2)
    x, y = blobs()
    for bx, by in list(batches(x, y)) * 4:
        optimizer.zero_grad()
        F.cross_entropy(model(bx), by).backward()
        optimizer.step()
    model.eval()
    for bx, by in list(batches(x, y))[:5]:
        inputs = bx.clone().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(inputs), by), inputs)
    evaluate(model, (x, y), F.cross_entropy)


@lookalike("optimizer.silent_no_update")
def backward_timed_again_and_again() -> None:
    """A benchmark runs the same forward and backward, and nothing should change."""
    layer, x = torch.nn.Linear(32, 32), torch.randn(64, 32)
    for _ in range(40):
        layer(x).square().mean().backward()
        layer.zero_grad()
