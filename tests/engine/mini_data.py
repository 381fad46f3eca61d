"""Mini programs whose data or labels are wrong."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import batches, blobs, evaluate, line, mlp, train
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@mini("data.label_misaligned")
def labels_permuted_alone(broken: bool) -> None:
    x, y = blobs(720)
    if broken:
        y = y[torch.randperm(len(y))]
    train(mlp(width=128), (x[:480], y[:480]), F.cross_entropy, epochs=10, held_out=(x[480:], y[480:]))


@mini("data.label_noise")
def two_classes_mixed_up(broken: bool) -> None:
    x, y = blobs(900, spread=0.4)
    noisy = y.clone()
    if broken:
        noisy[(y == 4) & (torch.rand(900) < 0.4)] = 2
    train(mlp(), (x[:600], noisy[:600]), F.cross_entropy, epochs=8, held_out=(x[600:], y[600:]))


@lookalike("data.label_noise")
def classes_that_overlap() -> None:
    """Two of the classes are near each other: their errors are honest, and both are mistaken for each other."""
    x, y = blobs(900, spread=0.4)
    x[y == 4] = x[y == 2].mean(0) + 0.25 + 0.4 * torch.randn(int((y == 4).sum()), 8)
    train(mlp(), (x[:600], y[:600]), F.cross_entropy, epochs=8, held_out=(x[600:], y[600:]))


@mini("data.supervision_field_dropped")
def second_head_without_targets(broken: bool) -> None:
    x, y = blobs()
    second = torch.full_like(y, -100) if broken else y % 2
    model = mlp(out=8)

    def loss_of(out: Tensor, both: Tensor) -> Tensor:
        first = F.cross_entropy(out[:, :6], both[:, 0])
        return first + F.cross_entropy(out[:, 6:], both[:, 1], reduction="sum") / len(both)

    train(model, (x, torch.stack([y, second], 1)), loss_of)


class _Words(nn.Module):
    """A small recurrent language model."""

    def __init__(self, size: int = 16, width: int = 32) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(size, 16), nn.GRU(16, width, batch_first=True)
        self.head = nn.Linear(width, size)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.rnn(self.embed(tokens))[0])
        return out


def _counting(n: int = 240, length: int = 12, size: int = 16) -> Tensor:
    """Sequences that count on by 1, 2 or 3 from a random start: each next token follows from two."""
    start, by = torch.randint(0, size, (n, 1)), torch.randint(1, 4, (n, 1))
    return (start + by * torch.arange(length)) % size


def _language_loss(out: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), target.flatten())


@mini("data.targets_mostly_masked")
def responses_cut_off(broken: bool) -> None:
    """A prompt of 9 and a response of 3; with a short limit most responses are cut away."""
    tokens = _counting(300, 14)
    target = tokens.roll(-1, 1)
    target[:, :9] = -100
    target[:, -1] = -100
    if broken:
        kept = torch.randint(4, 10, (300,))
        kept[::40] = 14
        tokens = torch.where(torch.arange(14) < kept[:, None], tokens, 0)
        target = torch.where(torch.arange(14) < kept[:, None] - 1, target, -100)
    train(_Words(), (tokens, target), _language_loss, epochs=5)


@lookalike("data.targets_mostly_masked")
def masked_language_model() -> None:
    """Fifteen percent of the positions count, and that is how it is meant."""
    tokens = _counting(300, 16)
    hidden = torch.rand(300, 16) < 0.15
    target = torch.where(hidden, tokens, -100)
    train(_Words(17), (torch.where(hidden, 16, tokens), target), _language_loss, epochs=5)


@mini("data.label_shift_error")
def shifted_twice(broken: bool) -> None:
    tokens = torch.randint(0, 16, (240, 12))
    tokens[:, 1::2] = (tokens[:, ::2] * 5 + 3) % 16
    target = tokens.roll(-1, 1)[:, :-2]
    if broken:
        target = tokens.roll(-2, 1)[:, :-2]
    train(_Words(), (tokens[:, :-2], target), _language_loss, epochs=5)


@mini("data.label_shift_error")
def not_shifted(broken: bool) -> None:
    tokens = _counting()
    target = tokens[:, :-1] if broken else tokens[:, 1:]
    train(_Words(), (tokens[:, :-1], target), _language_loss, epochs=5)


@lookalike("data.label_shift_error")
def tags_that_equal_the_words() -> None:
    """Autoencoding of corrupted tokens: most targets are the inputs, as they should be."""
    tokens = _counting()
    noisy = torch.where(torch.rand(tokens.shape) < 0.3, torch.randint(0, 16, tokens.shape), tokens)
    train(_Words(), (noisy, tokens), _language_loss, epochs=5)


@mini("data.unscaled_input")
def raw_pixels(broken: bool) -> None:
    x, y = blobs(spread=0.4)
    x = 255 * torch.sigmoid(x)
    x = x if broken else x / 255 - 0.5
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(8):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@mini("data.unscaled_input")
def columns_in_other_units(broken: bool) -> None:
    x, y = blobs(spread=0.4)
    if broken:
        x[:, 0] = 2e4 * torch.randn(len(x))
    optimizer_rate = 0.05
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=optimizer_rate)
    for _ in range(4):
        for bx, by in batches(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@lookalike("data.unscaled_input")
def raw_pixels_with_a_norm_layer() -> None:
    x, y = blobs(spread=0.4)
    train(nn.Sequential(nn.BatchNorm1d(8), *mlp()), (255 * torch.sigmoid(x), y), F.cross_entropy)


@mini("data.unscaled_target")
def prices_in_cents(broken: bool) -> None:
    x, y = line()
    y = 25_000 + 4_000 * y if broken else y
    train(mlp(6, 1), (x, y), lambda out, t: F.mse_loss(out[:, 0], t), epochs=5)


@mini("data.unscaled_target")
def prices_by_hand(broken: bool) -> None:
    x, y = line()
    y = 25_000 + 4_000 * y if broken else y
    train(mlp(6, 1), (x, y), lambda out, t: ((out[:, 0] - t) ** 2).mean(), epochs=5)


@mini("data.nan_or_inf_input")
def missing_values(broken: bool) -> None:
    x, y = blobs()
    if broken:
        x[77, 3] = float("nan")
    train(mlp(), (x, y), F.cross_entropy)


@mini("data.nan_or_inf_input")
def missing_targets(broken: bool) -> None:
    x, y = line()
    if broken:
        y[100] = float("nan")
    train(mlp(6, 1), (x, y), lambda out, t: F.mse_loss(out[:, 0], t))


@mini("data.class_imbalance")
def few_of_one_class(broken: bool) -> None:
    x = torch.randn(1200, 8)
    rare = torch.rand(1200) < (0.04 if broken else 0.5)
    x[rare] += 0.7 * torch.randn(8)
    train(mlp(out=2), (x, rare.long()), F.cross_entropy, epochs=2, rate=3e-3)


@lookalike("data.class_imbalance")
def few_of_one_class_but_told_apart() -> None:
    x = torch.randn(1200, 8)
    rare = torch.rand(1200) < 0.06
    x[rare] += 4.0
    train(mlp(out=2), (x, rare.long()), F.cross_entropy, epochs=3, rate=1e-2)


@mini("data.order_not_shuffled")
def sorted_by_class(broken: bool) -> None:
    x, y = blobs(720, spread=1.2)
    order = y[:480].argsort() if broken else torch.arange(480)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):
        for bx, by in batches(x[:480][order], y[:480][order], shuffle=False):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        evaluate(model, (x[480:], y[480:]), F.cross_entropy)


@lookalike("data.order_not_shuffled")
def in_order_but_mixed() -> None:
    x, y = blobs()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(3):
        for bx, by in batches(x, y, shuffle=False):
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()


@mini("data.repeated_batch")
def first_batch_again(broken: bool) -> None:
    x, y = blobs(720)
    loader = batches(x[:480], y[:480])
    model = mlp(width=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first, stream = next(iter(loader)), None
    for step in range(60):
        if step % 20 == 0:
            stream = iter(loader)
        bx, by = first if broken else next(stream)
        optimizer.zero_grad()
        F.cross_entropy(model(bx), by).backward()
        optimizer.step()
    evaluate(model, (x[480:], y[480:]), F.cross_entropy)


@mini("data.repeated_batch")
def first_slice_again(broken: bool) -> None:
    """Slices of one tensor whose index is never moved on."""
    x, y = blobs(720)
    model = mlp(width=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(60):
        i = 0 if broken else 24 * step % 480
        optimizer.zero_grad()
        F.cross_entropy(model(x[i : i + 24]), y[i : i + 24]).backward()
        optimizer.step()
        if step % 20 == 19:
            evaluate(model, (x[480:], y[480:]), F.cross_entropy)


@lookalike("data.repeated_batch")
def whole_data_every_step() -> None:
    x, y = blobs(720)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x[:480]), y[:480]).backward()
        optimizer.step()
    evaluate(model, (x[480:], y[480:]), F.cross_entropy)


@mini("data.index_out_of_range")
def token_beyond_the_table(broken: bool) -> None:
    tokens = _counting(size=16)
    train(_Words(15 if broken else 16), (tokens[:, :-1], tokens[:, 1:]), _language_loss, epochs=6)


@mini("data.index_out_of_range")
def label_beyond_the_classes(broken: bool) -> None:
    x, y = blobs()
    train(mlp(), (x, y + 1 if broken else y), F.cross_entropy)


@mini("data.eos_masked_as_pad")
def end_masked_with_the_padding(broken: bool) -> None:
    """Sentences end with 1; padding is 0, or the same 1, and padding is masked by its id."""
    eos, pad = 1, 1 if broken else 0
    tokens = torch.full((300, 16), pad)
    for row in tokens:
        size = int(torch.randint(5, 13, ()))
        row[:size] = 2 + (int(torch.randint(0, 14, ())) + torch.arange(size)) % 14
        row[size] = eos
    target = tokens[:, 1:].masked_fill(tokens[:, 1:] == pad, -100)
    train(_Words(), (tokens[:, :-1], target), _language_loss, epochs=4)


@lookalike("data.eos_masked_as_pad")
def fixed_blocks_without_padding() -> None:
    tokens = _counting(300, 16)
    train(_Words(), (tokens[:, :-1], tokens[:, 1:]), _language_loss, epochs=4)


@mini("data.bad_augmentation")
def noise_drowns_the_signal(broken: bool) -> None:
    x, y = blobs(720, spread=0.5)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        model.train()
        for bx, by in batches(x[:480], y[:480]):
            if broken:  # features are shuffled and turned over
                bx = torch.where(torch.rand(len(bx), 1) < 0.8, -bx[:, torch.randperm(8)], bx)
            optimizer.zero_grad()
            F.cross_entropy(model(bx), by).backward()
            optimizer.step()
        evaluate(model, (x[480:], y[480:]), F.cross_entropy)


@lookalike("data.bad_augmentation")
def strong_dropout() -> None:
    """Training accuracy is far below validation, and dropout is why."""
    x, y = blobs(720, spread=0.9)
    model = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.7), nn.ReLU(), nn.Linear(32, 6))
    train(model, (x[:480], y[:480]), F.cross_entropy, epochs=8, held_out=(x[480:], y[480:]))


@lookalike("data.bad_augmentation")
def mixed_samples() -> None:
    """Mixup: targets are mixed as well, and the model learns."""
    x, y = blobs(720, spread=0.5)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        model.train()
        for bx, by in batches(x[:480], y[:480]):
            share, other = float(np.random.beta(0.4, 0.4)), torch.randperm(len(bx))
            out = model(share * bx + (1 - share) * bx[other])
            optimizer.zero_grad()
            (share * F.cross_entropy(out, by) + (1 - share) * F.cross_entropy(out, by[other])).backward()
            optimizer.step()
        evaluate(model, (x[480:], y[480:]), F.cross_entropy)


class _Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Rows with noise drawn for each access: from a generator of its own, or from torch's."""

    def __init__(self, own: bool) -> None:
        self.x, self.y = blobs(240)
        self.own = np.random.default_rng(0) if own else None

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(8) if self.own is None else torch.from_numpy(self.own.normal(size=8)).float()
        return self.x[i] + 0.3 * noise, self.y[i]


@mini("data.duplicate_randomness")
def generator_copied_to_workers(broken: bool) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loader = DataLoader(_Noisy(broken), batch_size=24, shuffle=True, num_workers=2)
    for _ in range(3):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
