"""Activations come between layers, and steps behind the backward they belong to, however the program is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for
from aitia.engine.records import LayerInfo
from aitia.engine.store.reader import Run

FILLED = (
    "from torch import nn\nclass M(nn.Module):\n    def __init__(self, arch):\n        super().__init__()\n"
    "        self.stack = nn.Sequential()\n        for i, (kind, a, b) in enumerate(arch):\n"
    "            self.stack.add_module(kind, KINDS[kind](a, b))\n"
)


def test_a_sequence_that_is_filled_in_a_loop_is_built_again(tmp_path: Path) -> None:
    """The recorder knows what the loop put in; the layers behind the last one with weights stay behind it."""
    run = run_of(tmp_path, FILLED)
    kinds = ("container", "linear", "linear", "other")
    names = ("stack", "stack.a", "stack.b", "stack.c")
    layers = tuple(LayerInfo(index=i, name=n, cls="Sequential" if not i else "X", kind=k, root="model", leaf=bool(i))
                   for i, (n, k) in enumerate(zip(names, kinds, strict=True)))  # fmt: skip
    run.__dict__["layers"] = layers

    found = [p.files["train.py"] for p in patches_for(run, accuse("model.missing_nonlinearity"))]

    assert found == [
        FILLED + "        self.stack = nn.Sequential(\n"
        "            *[part for layer in self.stack[:-2] for part in (layer, nn.ReLU())], *self.stack[-2:]\n        )\n"
    ]


STEPS = {
    "behind its own backward": (
        "for x in data:\n    d.zero_grad()\n    a.backward()\n    d.step()\n    g.zero_grad()\n    b.backward()\n",
        "b.backward()\n", "b.backward()\n    g.step()\n",
    ),
    "before another one's": (
        "for x in data:\n    g.zero_grad()\n    b.backward()\n    d.zero_grad()\n    a.backward()\n    d.step()\n",
        "b.backward()\n", "b.backward()\n    g.step()\n",
    ),
    "behind what clips": (
        "for x in data:\n    g.zero_grad()\n    b.backward()\n    nn.utils.clip_grad_norm_(net.parameters(), 1.0)\n",
        "1.0)\n", "1.0)\n    g.step()\n",
    ),
    "where a network clears its own gradients": (
        "g = torch.optim.Adam(net.parameters())\nfor x in data:\n    net.zero_grad()\n    b.backward()\n",
        "b.backward()\n", "b.backward()\n    g.step()\n",
    ),
    "through the scaler": (
        "for x in data:\n    g.zero_grad()\n    scaler.scale(b).backward()\n    scaler.update()\n",
        ".backward()\n", ".backward()\n    scaler.step(g)\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_missing_step_stands_where_its_gradients_are_ready(tmp_path: Path, name: str) -> None:
    """Of several optimizers, it is that of the one which never steps."""
    source, old, new = STEPS[name]
    run: Run = run_of(tmp_path, source, optimizers={"g": 1, **({"d": 1} if "d.step" in source else {})})

    found = [p.files["train.py"] for p in patches_for(run, accuse("optimizer.never_stepped"))]

    assert found == [source.replace(old, new)]


WAITS = (
    "for i, x in enumerate(loader):\n    (net(x).sum() / k).backward()\n    if (i + 1) % k == 0:\n"
    "        opt.step()\n        opt.zero_grad()\n"
)


def test_a_step_that_waits_too_long_is_taken_at_the_end_or_each_time(tmp_path: Path) -> None:
    """The first keeps what was gathered, the other takes each loss whole; what they come to decides."""
    run = run_of(tmp_path, WAITS, optimizers={"opt": 1})

    patches = patches_for(run, accuse("optimizer.never_stepped"))

    assert [p.number for p in patches] == [0.0, 1.0]
    assert patches[0].files["train.py"] == WAITS.replace("k == 0:", "k == 0 or i + 1 == len(loader):")
    assert patches[1].files["train.py"] == (
        "for i, x in enumerate(loader):\n    (net(x).sum()).backward()\n    opt.step()\n    opt.zero_grad()\n"
    )


def test_the_other_optimizer_is_that_of_the_network_that_was_cleared(tmp_path: Path) -> None:
    """Adversarial training clears networks rather than optimizers."""
    source = (
        "import torch\nopt_g, opt_d = [], []\nopt_g = torch.optim.Adam(gen.parameters())\n"
        "opt_d = torch.optim.Adam(dis.parameters())\nfor x in data:\n    gen.zero_grad()\n    b.backward()\n"
        "    opt_d.step()\n"
    )
    run = run_of(tmp_path, source, optimizers={"opt_g": 3, "opt_d": 4})

    found = [p.files["train.py"] for p in patches_for(run, accuse("optimizer.wrong_optimizer_stepped", 8))]

    assert found[0] == source.replace("opt_d.step", "opt_g.step")


THAWED = {
    "by a function": (
        "def turn(net, on):\n    for p in net.parameters():\n        p.requires_grad = on\n",
        "turn(dis, {})",
    ),
    "by the network": ("", "dis.requires_grad_({})"),
    "by a loop": ("", "for p in dis.parameters():\n        p.requires_grad = {}"),
}


@pytest.mark.parametrize("name", THAWED)
def test_what_each_round_freezes_is_freed_in_the_next(tmp_path: Path, name: str) -> None:
    """Where the round begins, with the statement that froze it."""
    start, freeze = THAWED[name]
    loop = "for x in data:\n{}    dis(x).backward()\n    {}\n    dis(gen(x)).backward()\n"
    run = run_of(tmp_path, start + loop.format("", freeze.format("False")))

    found = [p.files["train.py"] for p in patches_for(run, accuse("optimizer.frozen_by_mistake"))]

    freed = f"    {freeze.format('True')}\n"
    assert start + loop.format(freed, freeze.format("False")) in found


PASSES = "for epoch in range(3):\n    for x in loader:\n        net(x).sum().backward()\n"
PART = "[torch.distributed.get_rank()::torch.distributed.get_world_size()]"
SHARED = {
    "a loader of a helper": (
        "import torch\ndef make(data, mixed):\n    return DataLoader(dataset=data, shuffle=mixed)\n", "shuffle=mixed",
        "sampler=torch.utils.data.DistributedSampler(data) if mixed else None",
    ),
    "an order in parts": (
        "import torch\nfor rows in torch.randperm(n).split(9):\n    net(x[rows]).sum().backward()\n",
        "torch.randperm(n)", f"torch.randperm(n){PART}",
    ),
    "arrays in parts": (
        "import torch\nfor a, b in zip(x.split(9), y.split(9)):\n    f(net(a), b).backward()\n",
        "zip(x.split(9), y.split(9))", f"zip(x{PART}.split(9), y{PART}.split(9))",
    ),
    "a sampler that thinks it is alone": (
        "import torch\ns = DistributedSampler(data, num_replicas=1, rank=0)\n", "num_replicas=1, rank=0",
        "num_replicas=torch.distributed.get_world_size(), rank=torch.distributed.get_rank()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_each_rank_gets_a_part_however_samples_are_drawn(tmp_path: Path, name: str) -> None:
    """The first of the repairs is at the place where samples are chosen."""
    source, old, new = SHARED[name]
    run = run_of(tmp_path, source)

    found = [p.files["train.py"] for p in patches_for(run, accuse("ddp.same_data_on_ranks"))]

    assert found[0] == source.replace(old, new)


FIRSTS = {
    "a part by its size": ("size = len(x) // world\nmine = x[:size]\n", "x[:size]", "x[{r} * size:({r} + 1) * size]"),
    "a part as it is counted": ("mine = x[0:len(x) // world]\n", "0:len(x) // world",
                                "{r} * (len(x) // world):({r} + 1) * (len(x) // world)"),
    "every so manyth": ("mine = x[::world]\n", "::world", "{r}::world"),
    "a chunk": ("mine = np.array_split(x, world)[0]\n", "[0]", "[{r}]"),
    "a range": ("mine = [x[i] for i in range(0, n, world)]\n", "(0, n", "({r}, n"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRSTS)
def test_a_share_that_is_always_the_first_becomes_the_rank_s(tmp_path: Path, name: str) -> None:
    """Another seed would never show the samples that nobody takes."""
    source, old, new = FIRSTS[name]
    source = f"import torch\n{source}for i in range(9):\n    net(mine).sum().backward()\n"
    run = run_of(tmp_path, source)

    found = [p.files["train.py"] for p in patches_for(run, accuse("ddp.same_data_on_ranks"))]

    assert found[0] == source.replace(old, new.format(r=RANK))


RANK, WORLD = "torch.distributed.get_rank()", "torch.distributed.get_world_size()"
DRAWN = {
    "by the generator of all": ("", "torch.randperm(n)[:9]", f"torch.manual_seed(torch.initial_seed() + {RANK})"),
    "by one of its own": (
        "g = torch.Generator()\n", "torch.randperm(n, generator=g)[:9]", f"g.manual_seed(g.initial_seed() + {RANK})",
    ),
    "by one of numpy": ("g = np.random.default_rng(0)\n", "g.choice(n, 9)", f"g = g.spawn({WORLD})[{RANK}]"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_ranks_draw_samples_of_their_own_from_the_same_data(tmp_path: Path, name: str) -> None:
    """The seed changes where training begins: before, the data are made and split, and weights are drawn."""
    made, drawn, line = DRAWN[name]
    start = f"import torch\n{made}torch.manual_seed(0)\norder = torch.randperm(n)\n"
    drawing = f"        rows = {drawn}\n        net(x[rows]).sum().backward()\n"
    loop = f"for e in range(9):\n    for s in range(9):\n{drawing}"
    run = run_of(tmp_path, start + loop)

    found = [p.files["train.py"] for p in patches_for(run, accuse("ddp.same_data_on_ranks"))]

    assert found == [f"{start}{line}\n{loop}"]


def test_an_epoch_that_is_a_function_is_not_seeded_again_and_again(tmp_path: Path) -> None:
    """The loop over the epochs is where training begins."""
    epoch = "import torch\ndef epoch():\n    for s in range(9):\n        net(torch.randn(9)).sum().backward()\n"
    loop = "for e in range(9):\n    epoch()\n"
    run = run_of(tmp_path, epoch + loop)

    found = [p.files["train.py"] for p in patches_for(run, accuse("ddp.same_data_on_ranks"))]

    assert found == [f"{epoch}torch.manual_seed(torch.initial_seed() + {RANK})\n{loop}"]


def test_arrays_that_are_run_through_become_the_part_of_the_rank(tmp_path: Path) -> None:
    """Only where nobody asks for the whole of them later."""
    start = "import torch\nfor i in range(0, len(x), 9):\n    f(net(x[i:i + 9]), y[i:i + 9]).backward()\n"
    run, used = run_of(tmp_path / "a", start), run_of(tmp_path / "b", start + "print(net(x))\n")

    found, other = (patches_for(r, accuse("ddp.same_data_on_ranks")) for r in (run, used))

    assert found[0].files["train.py"] == start.replace("for i", f"x, y = x{PART}, y{PART}\nfor i")
    assert [p.summary for p in other] == ["let each rank draw its samples from a seed of its own"]


def test_a_sampler_counts_passes_wherever_its_loader_is_run_through(tmp_path: Path) -> None:
    """Also where no loop over epochs is in sight."""
    source = "def fit(batches):\n    for i, x in enumerate(batches):\n        net(x).sum().backward()\n"
    run = run_of(tmp_path, source)

    found = [p.files["train.py"] for p in patches_for(run, accuse("ddp.set_epoch_missing"))]

    assert found == [source.replace("    for i", "    batches.sampler.set_epoch(batches.sampler.epoch + 1)\n    for i")]


def test_every_network_is_switched_in_every_stage(tmp_path: Path) -> None:
    """Two loops learn, two places judge; each loop trains what it asks, and each place judges what it asks."""
    source = (
        "import torch\nfor x in a:\n    decoder(encoder(x)).sum().backward()\nwith torch.no_grad():\n"
        "    print(decoder(encoder(y)))\ndef accuracy(m):\n    return m(y)\nmodel = head\nfor e in range(2):\n"
        "    for x in b:\n        model(x).sum().backward()\n    print(accuracy(model))\n"
    )
    run = run_of(tmp_path, source)
    expected = (
        source.replace("for x in a", "decoder.train()\nencoder.train()\nfor x in a")
        .replace("with torch", "decoder.eval()\nencoder.eval()\nwith torch")
        .replace("    return m", "    m.eval()\n    return m")
        .replace("    for x in b", "    model.train()\n    for x in b")
    )

    assert patches_for(run, accuse("eval.mode_not_eval"))[0].files["train.py"] == expected
