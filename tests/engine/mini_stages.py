"""Mini programs in which what one part made does not reach the next, or reaches it in another order."""

from __future__ import annotations

import copy
import io

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, mlp, train
from torch import Tensor, nn


class Gates(nn.Module):
    """A classifier whose hidden layer is gated: half of its outputs are gates, in either order."""

    def __init__(self, gates_first: bool) -> None:
        super().__init__()
        self.both, self.out, self.gates_first = nn.Linear(8, 48), nn.Linear(24, 6), gates_first

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both(x).chunk(2, -1)
        gate, value = (a, b) if self.gates_first else (b, a)
        return self.out(torch.sigmoid(gate) * torch.tanh(value))


@mini("artifact.weight_layout_wrong")
def gates_in_another_order(broken: bool) -> None:
    """The receiving model reads its gates first, the trained one last."""
    x, y = blobs()
    trained = Gates(gates_first=False)
    train(trained, (x, y), F.cross_entropy)
    served = Gates(gates_first=True)
    state = dict(trained.state_dict())
    for name in ("both.weight", "both.bias"):
        value, gate = state[name].chunk(2)
        state[name] = torch.stack([gate, value], 1).flatten(0, 1) if broken else torch.cat([gate, value])
    served.load_state_dict(state)
    served.eval()
    with torch.no_grad():
        served(x).argmax(1).eq(y).float().mean()


@mini("artifact.weight_layout_wrong")
def square_matrix_turned(broken: bool) -> None:
    """Weights as rows and columns of another library: of a square matrix nobody sees that it is turned."""
    x, y = blobs()
    trained = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6))
    train(trained, (x, y), F.cross_entropy)
    kernels = [(layer.weight.detach().T, layer.bias.detach()) for layer in trained if isinstance(layer, nn.Linear)]
    other = mlp()
    other.insert(2, nn.Linear(32, 32)).insert(3, nn.ReLU())
    layers = [layer for layer in other if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (kernel, bias) in zip(layers, kernels, strict=True):
            layer.weight.copy_(kernel if broken and kernel.shape == layer.weight.shape else kernel.T)
            layer.bias.copy_(bias)
        other(x).argmax(1).eq(y).float().mean()


@lookalike("artifact.weight_layout_wrong")
def pruned_copy() -> None:
    """A copy with its smallest weights removed answers a little differently."""
    x, y = blobs()
    model = mlp()
    train(model, (x, y), F.cross_entropy)
    small = copy.deepcopy(model)
    with torch.no_grad():
        for p in small.parameters():
            p[p.abs() < 0.1] = 0
        small(x).argmax(1).eq(y).float().mean()


def encoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 4))


def pretrained(x: Tensor) -> nn.Sequential:
    """The first stage: an encoder that learned to describe inputs in four numbers."""
    body, decoder = encoder(), nn.Linear(4, 8)
    optimizer = torch.optim.Adam([*body.parameters(), *decoder.parameters()], lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.mse_loss(decoder(body(x)), x).backward()
        optimizer.step()
    return body


@mini("pipeline.stage_output_unused")
def state_left_in_the_file(broken: bool) -> None:
    """The second stage never reads what the first one wrote, and trains a head on a random, frozen body."""
    x, y = blobs()
    file = io.BytesIO()
    torch.save(pretrained(x).state_dict(), file)
    body, head = encoder(), nn.Linear(4, 6)
    if not broken:
        file.seek(0)
        body.load_state_dict(torch.load(file))
    for p in body.parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-2)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(head(body(x)), y).backward()
        optimizer.step()


class Labelled(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@mini("pipeline.stage_output_unused")
def new_body_in_the_second_model(broken: bool) -> None:
    """The classifier builds an encoder of its own, with the pre-trained one at hand, and keeps it as it was drawn."""
    x, y = blobs()
    body = pretrained(x)
    torch.save(body.state_dict(), io.BytesIO())
    model = Labelled(encoder() if broken else body)
    model.body.requires_grad_(False)
    train(model.eval(), (x, y), F.cross_entropy)


@lookalike("pipeline.stage_output_unused")
def folds() -> None:
    """The same model is trained anew on other parts of the data, and each state is kept."""
    x, y = blobs()
    kept = []
    for fold in range(3):
        model = mlp()
        held_out = torch.arange(len(y)) % 3 == fold
        train(model, (x[~held_out], y[~held_out]), F.cross_entropy, held_out=(x[held_out], y[held_out]))
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        kept.append(file)


@lookalike("pipeline.stage_output_unused")
def random_features() -> None:
    """A frozen random body is meant, and nothing of its form was trained before."""
    x, y = blobs()
    train(mlp(), (x, y), F.cross_entropy)
    body, head = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64)), nn.Linear(64, 6)
    body.requires_grad_(False)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(head(body(x)), y).backward()
        optimizer.step()


@lookalike("loop.step_outside_batch_loop")
@lookalike("perf.slow_optimizer")
def curvature_from_many_evaluations() -> None:
    """L-BFGS computes loss and gradient several times within each of its steps."""
    x = torch.linspace(-3, 3, 120)[:, None]
    y, model = torch.sin(x), nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=10)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(20):
        optimizer.step(closure)  # type: ignore[arg-type]  # torch says float, and takes a tensor
