"""Mini programs whose model is built or initialised wrongly."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, line, mlp, train
from torch import Tensor, nn
from torch.optim import SGD, Adam


@mini("model.submodule_not_registered")
def layers_in_a_list(broken: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2)]
            self.blocks = blocks if broken else nn.ModuleList(blocks)
            self.head = nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            out: Tensor = self.head(x)
            return out

    train(Net(), blobs(), F.cross_entropy)


def _rings(n: int = 480) -> tuple[Tensor, Tensor]:
    y = torch.arange(n) % 2
    angle = 6.283 * torch.rand(n)
    radius = 1.0 + y + 0.1 * torch.randn(n)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y


@mini("model.missing_nonlinearity")
def linear_layers_alone(broken: bool) -> None:
    def layers() -> list[nn.Module]:
        return [nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 2)]

    a, b, c = layers()
    model = nn.Sequential(a, b, c) if broken else nn.Sequential(a, nn.Tanh(), b, nn.Tanh(), c)
    train(model, _rings(), F.cross_entropy, epochs=6)


@lookalike("model.missing_nonlinearity")
def low_rank_regression() -> None:
    """Two linear layers on purpose: a factorised linear map, on a linear task."""
    x = torch.randn(480, 12)
    y = x @ torch.randn(12, 2) @ torch.randn(2, 4) / 3
    train(nn.Sequential(nn.Linear(12, 2, bias=False), nn.Linear(2, 4)), (x, y), F.mse_loss, epochs=12)


@mini("model.output_activation_range")
def sigmoid_for_any_number(broken: bool) -> None:
    x, y = line()
    last: list[nn.Module] = [nn.Sigmoid()] if broken else []
    train(
        nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1), *last),
        (x, 2 * y[:, None]),
        F.mse_loss,
        epochs=8,
    )


@mini("model.output_activation_range")
def relu_at_the_end(broken: bool) -> None:
    x, y = line()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 32), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(torch.tanh(self.body(x)))
            return F.relu(out) if broken else out

    train(Net(), (x, y[:, None]), F.mse_loss, epochs=8)


@lookalike("model.output_activation_range")
def sigmoid_for_shares() -> None:
    """Targets within (0, 1)."""
    x, y = line()
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())
    train(model, (x, torch.sigmoid(2 * y)[:, None]), F.mse_loss, epochs=8)


@mini("model.output_activation_range")
def rectified_output_is_closed(broken: bool) -> None:
    """Amounts are never negative, and neither is what the model says; it says 0 to everything before it has learned."""
    x, y = line()
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU() if broken else nn.Identity())
    with torch.no_grad():
        model[2].bias.fill_(-2.0)
    train(model, (x, y.abs()[:, None]), F.l1_loss, epochs=8)


@mini("model.batch_mixing")
def softmax_over_the_batch(broken: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.body, self.head = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 6)

        def forward(self, x: Tensor) -> Tensor:
            gate = torch.softmax(self.score(x), 0 if broken else 1)
            out: Tensor = self.head(16 * gate * torch.tanh(self.body(x)))
            return out

    train(Net(), blobs(), F.cross_entropy)


@mini("model.batch_mixing")
def recurrence_along_the_batch(broken: bool) -> None:
    """Without batch_first the state runs from sample to sample: the first one sees only itself."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 24, batch_first=not broken), nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1]).squeeze(-1)  # type: ignore[no-any-return]

    x = torch.randn(640, 10, 3)
    y = (x[:, :, 0].sum(1) > 0).float()
    train(Net(), (x, y), F.binary_cross_entropy_with_logits, epochs=6, rate=4e-3)


def _tokens(n: int = 240, length: int = 10, size: int = 12) -> Tensor:
    start, by = torch.randint(0, size, (n, 1)), torch.randint(1, 4, (n, 1))
    return (start + by * torch.arange(length)) % size


class _Attention(nn.Module):
    """A small language model with attention; what is wrong is chosen by arguments."""

    def __init__(self, size: int = 12, width: int = 16, *, causal: bool = True, positions: bool = True) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(size, width), nn.Embedding(32, width)
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width))
        self.head = nn.Linear(width, size)
        self.causal, self.positions = causal, positions

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        h = self.embed(tokens)
        if self.positions:
            h = h + self.place(torch.arange(length))
        mask = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        h = h + self.attend(h, h, h, attn_mask=mask, need_weights=False)[0]
        out: Tensor = self.head(h + self.mlp(h))
        return out


def _next_token(out: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), target.flatten())


@mini("model.causal_leak")
def attention_without_a_mask(broken: bool) -> None:
    tokens = _tokens()
    train(_Attention(causal=not broken), (tokens[:, :-1], tokens[:, 1:]), _next_token, epochs=5)


@lookalike("model.causal_leak")
def tagger_that_sees_all() -> None:
    """One output for each position, and the whole sentence may be seen."""
    tokens = _tokens()
    tags = (tokens.roll(1, 1) + tokens) % 12
    train(_Attention(causal=False), (tokens, tags), _next_token, epochs=6)


class _Pooled(nn.Module):
    """Attention, pooled to one answer; padding is token 0."""

    def __init__(self, *, positions: bool = True, inverted: bool = False, size: int = 12, width: int = 16) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(size, width), nn.Embedding(32, width)
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 4))
        self.positions, self.inverted = positions, inverted
        self.query = nn.Parameter(torch.randn(1, 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.embed(tokens)
        if self.positions:
            h = h + self.place(torch.arange(tokens.shape[1]))
        pad = tokens == 0
        query = self.query.expand(len(tokens), -1, -1)
        pooled = self.attend(query, h, h, key_padding_mask=~pad if self.inverted else pad, need_weights=False)[0]
        out: Tensor = self.head(self.norm(pooled[:, 0]))
        return out


@mini("model.no_position_signal")
def order_without_positions(broken: bool) -> None:
    """Which of two tokens comes first: the same tokens in both orders."""
    x = torch.full((480, 8), 3)
    y = torch.arange(480) % 2
    first = torch.randint(0, 4, (480,))
    second = torch.randint(4, 8, (480,))
    x[torch.arange(480), first] = 1 + y
    x[torch.arange(480), second] = 2 - y
    train(_Pooled(positions=not broken), (x, y), F.cross_entropy, epochs=6)


@lookalike("model.no_position_signal")
def bag_of_words() -> None:
    """A task for which the order is nothing."""
    x = torch.randint(1, 12, (480, 8))
    train(_Pooled(positions=False), (x, (x > 6).sum(1).clamp(2, 5) - 2), F.cross_entropy, epochs=6)


def _padded(n: int = 480, length: int = 10) -> tuple[Tensor, Tensor]:
    x = torch.randint(5, 12, (n, length))
    y = torch.arange(n) % 4
    x[torch.arange(n), torch.randint(0, 3, (n,))] = 1 + y
    used = torch.randint(3, length - 1, (n, 1))
    return torch.where(torch.arange(length) < used, x, 0), y


@mini("model.mask_inverted")
def padding_attended_instead_of_words(broken: bool) -> None:
    train(_Pooled(inverted=broken), _padded(), F.cross_entropy, epochs=6)


@lookalike("model.mask_inverted")
def padding_masked_as_it_should() -> None:
    """Most keys of most rows are padding and masked."""
    x, y = _padded()
    x = torch.cat([x, torch.zeros(len(x), 12, dtype=torch.long)], 1)
    train(_Pooled(), (x, y), F.cross_entropy, epochs=8)


@mini("model.wrong_state_used")
def first_output_of_the_recurrence(broken: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(2, 24, batch_first=True), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            out: Tensor = self.head(states[:, 0 if broken else -1])
            return out

    x = torch.randn(480, 8, 2)
    train(Net(), (x, (x[:, :, 0].sum(1) > 0).long()), F.cross_entropy, epochs=6)


@mini("model.capacity_bottleneck")
def one_unit_in_the_middle(broken: bool) -> None:
    width = 1 if broken else 16
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, width), nn.ReLU(), nn.Linear(width, 6))
    train(model, blobs(spread=1.0), F.cross_entropy, epochs=6)


@lookalike("model.capacity_bottleneck")
def autoencoder_with_two_codes() -> None:
    """Data of two dimensions need no more."""
    code = torch.randn(480, 2)
    x = torch.tanh(code @ torch.randn(2, 10))
    model = nn.Sequential(
        nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 2), nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 10)
    )
    train(model, (x, x), F.mse_loss, epochs=8)


@mini("model.dead_units")
def bias_far_below_zero(broken: bool) -> None:
    model = mlp()
    if broken:
        nn.init.constant_(model[0].bias, -30.0)
    train(model, blobs(), F.cross_entropy)


@lookalike("model.dead_units")
def sparse_by_design() -> None:
    """Most units are off for most inputs, and each is on for some."""
    model = mlp(width=256)
    nn.init.constant_(model[0].bias, -2.0)
    train(model, blobs(spread=1.0), F.cross_entropy, epochs=6)


@mini("model.saturated_units", "init.wrong_scale")
def tanh_with_large_biases(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 6))
    if broken:
        for layer in (model[0], model[2]):
            nn.init.normal_(layer.bias, 0, 60.0)
    train(model, blobs(), F.cross_entropy)


# ---- initialisation -------------------------------------------------------------------------------------------------


@mini("init.symmetric")
def constant_weights(broken: bool) -> None:
    model = mlp()
    if broken:
        for layer in (model[0], model[2]):
            nn.init.constant_(layer.weight, 0.1)
            nn.init.zeros_(layer.bias)
    train(model, blobs(), F.cross_entropy)


@lookalike("init.symmetric")
def last_layer_of_zeros() -> None:
    """A head that starts at zero is common practice."""
    model = mlp()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    train(model, blobs(), F.cross_entropy)


@mini("init.wrong_scale")
def weights_ten_times_too_large(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 6))
    if broken:
        for p in model.parameters():
            nn.init.normal_(p, 0, 3.0)
    train(model, blobs(), F.cross_entropy)


@mini("init.wrong_scale")
def weights_far_too_small(broken: bool) -> None:
    model = nn.Sequential(
        nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 6)
    )
    if broken:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, 1e-3)
    optimizer = SGD(model.parameters(), lr=0.1)
    for x, y in list(batches(*blobs())) * 4:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@mini("init.uninitialized_memory")
def parameter_of_empty_memory(broken: bool) -> None:
    """Memory that somebody used before: the pattern is written so that the test does not depend on luck."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.empty(8))
            self.scale.data.fill_(3.2e31 if broken else 1.0)
            self.body = mlp()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body(self.scale * x)
            return out

    train(Net(), blobs(), F.cross_entropy)


def _pretrained() -> dict[str, Tensor]:
    model = mlp()
    train(model, blobs(), F.cross_entropy, epochs=3)
    return {k: v.clone() for k, v in model.state_dict().items()}


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.05)
        nn.init.zeros_(module.bias)


@mini("init.overwritten")
def initialised_after_loading(broken: bool) -> None:
    state = _pretrained()
    model = mlp()
    if not broken:
        model.apply(_reset)
    model.load_state_dict(state)
    if broken:
        model.apply(_reset)
    optimizer = Adam(model.parameters(), lr=1e-3)
    for x, y in list(batches(*blobs())) * 2:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@lookalike("init.overwritten")
def new_head_after_loading() -> None:
    """The body is as loaded, the head is new on purpose."""
    model = mlp()
    model.load_state_dict(_pretrained())
    model[2].reset_parameters()
    train(model, blobs(), F.cross_entropy, epochs=3)


@lookalike("init.overwritten")
def loaded_weights_cast_and_pruned() -> None:
    """What was loaded is rounded to bfloat16 and back: another value, the same weights."""
    model = mlp()
    model.load_state_dict(_pretrained())
    model.bfloat16().float()
    train(model, blobs(), F.cross_entropy, epochs=3)
