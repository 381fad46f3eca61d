"""Repairs of what is written out of sight: the line that fails, or trains, is innocent; another one is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for
from aitia.engine.records import Failure

TRAINS = "    loss = f(net(x), y)\n    loss.backward()\n"
ENDLESS = "(batch for _ in iter(int, 1) for batch in {0})"
LOADER = "loader = DataLoader(data, 32)\n"

BATCHES = {
    "kept behind a guard": (
        "class T:\n    def get(self):\n        if self.b is None:\n            self.b = next(iter(self.loader))\n"
        "        return self.b\n",
        "        if self.b is None:\n            self.b = next(iter(self.loader))\n",
        '        if not hasattr(self, "_batches"):\n'
        f"            self._batches = {ENDLESS.format('self.loader')}  # pass after pass\n"
        "        self.b = next(self._batches)\n",
    ),
    "kept by a cache": (
        "@lru_cache\ndef get():\n    return next(iter(loader))\n",
        "@lru_cache\ndef get():\n    return next(iter(loader))\n",
        'def get():\n    if not hasattr(get, "batches"):\n'
        f"        get.batches = {ENDLESS.format('loader')}  # pass after pass\n    return next(get.batches)\n",
    ),
    "a generator made anew": (
        "def gen(l):\n    while True:\n        yield from l\nfor i in range(9):\n    x, y = next(gen(loader))\n"
        + TRAINS,
        "for i in range(9):\n    x, y = next(gen(loader))\n",
        f"batches = {ENDLESS.format('gen(loader)')}  # pass after pass\nfor i in range(9):\n    x, y = next(batches)\n",
    ),
    "a place that stays": (
        "bs = list(loader)\nat = 0\nfor i in range(9):\n    x, y = bs[at]\n" + TRAINS, "bs[at]", "bs[i % len(bs)]",
    ),
    "a list of one": (
        "some = list(islice(loader, 1))\nfor x, y in some:\n" + TRAINS, "list(islice(loader, 1))", "loader",
    ),
    "rows that stay": (
        "def __iter__(self):\n    for start in range(0, n, k):\n        yield list(range(k))\n",
        "range(k)", "range(start, start + k)",
    ),
    "a place taken modulo": (
        "class D:\n    def __getitem__(self, i):\n        return self.x[i % 8], self.y[i % 8]\n", "i % 8", "i",
    ),
    "a batch of another name": (
        LOADER + "first, *_ = list(loader)\nfor i in range(9):\n    x, y = first\n" + TRAINS,
        "for i in range(9):\n    x, y = first\n",
        f"stream = {ENDLESS.format('loader')}  # pass after pass\nfor i in range(9):\n    x, y = next(stream)\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCHES)
def test_the_next_batch_is_taken_wherever_the_first_one_is_kept(tmp_path: Path, name: str) -> None:
    """In guards, caches, generators, lists, samplers and data sets."""
    source, old, new = BATCHES[name]
    run = run_of(tmp_path, source)

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.repeated_batch"))]

    assert source.replace(old, new) in found


DOUBLE = "expected scalar type Float but found Double"
TYPES = {
    "a mask in float64": (
        "a, _ = att(h, h, h, attn_mask=torch.from_numpy(m))\n", 1, "Input dtypes must be the same, got: input double",
        "torch.from_numpy(m)", "torch.from_numpy(m).float()",
    ),
    "a mask of whole numbers": (
        "h = enc(x, src_key_padding_mask=pad)\n", 1,
        "only bool and floating types of src_key_padding_mask are supported",
        "=pad", "=pad.bool()",
    ),
    "weights of a loss": (
        "w = torch.tensor(share)\nf = nn.CrossEntropyLoss(weight=w)\nloss = f(out, y)\n", 3, DOUBLE,
        "torch.tensor(share)", "torch.tensor(share).float()",
    ),
    "a constant of the model": (
        "class M:\n    def __init__(self):\n        self.b = torch.from_numpy(np.eye(3))\n"
        "    def forward(self, x):\n        w = x + self.b\n        return w @ x\n", 6, DOUBLE,
        "torch.from_numpy(np.eye(3))", "torch.from_numpy(np.eye(3)).float()",
    ),
    "a type of its own": (
        "t = torch.randn(3, 3, dtype=torch.float16)\nz = torch.mm(x, t)\n", 2,
        "same dtype, but got: float != c10::Half",
        "torch.float16", "torch.float32",
    ),
    "input and target": (
        "model = nn.LSTM(1, 2)\nloss = F.mse_loss(model(x), y)\n", 2, "RNN input dtype (torch.float64) does not match",
        "model(x), y", "model(x.float()), y.float()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_changed_where_the_tensor_is_made(tmp_path: Path, name: str) -> None:
    """The innermost line of the failure is followed back to numpy, to an option, or to the data."""
    source, line, message, old, new = TYPES[name]
    place = f'File "/home/train.py", line {line}, in <module>\n{message}'
    failure = Failure(type="RuntimeError", message=message, traceback=place, file="train.py", line=line)

    found = [
        p.files["train.py"] for p in patches_for(run_of(tmp_path, source, failure=failure), accuse("dtype.mismatch"))
    ]

    assert source.replace(old, new) in found


def test_all_tables_of_a_forward_are_asked_for_whole_numbers(tmp_path: Path) -> None:
    """Where one was given numbers with a fraction, the next one is, too."""
    source = (
        "class M(nn.Module):\n    def __init__(self):\n"
        "        self.u, self.v = nn.Embedding(9, 2), nn.Embedding(8, 2)\n"
        "    def forward(self, p):\n        return self.u(p[:, 0]) * self.v(p[:, 1])\n"
    )
    message = "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int"
    failure = Failure(
        type="RuntimeError", message=message, traceback='File "/home/train.py", line 5', file="train.py", line=5,
        module="u", module_class="Embedding", phase="forward",
    )  # fmt: skip

    found = [
        p.files["train.py"] for p in patches_for(run_of(tmp_path, source, failure=failure), accuse("dtype.mismatch"))
    ]

    assert source.replace("p[:, 0]", "p[:, 0].long()").replace("p[:, 1]", "p[:, 1].long()") in found


STEP = "for x, y in loader:\n    loss = f(net(x), y) + {0}\n    loss.backward()\n    opt.step()\n"
TERMS = {
    "an array": (
        "def term(a, b):\n    d = a.detach().numpy() - b.numpy()\n    return torch.tensor(np.mean(d ** 2))\n"
        + STEP.format("term(net(x), x)"),
        (("a.detach().numpy() - b.numpy()", "a - b"), ("torch.tensor(np.mean(d ** 2))", "(torch.mean(d ** 2))")),
    ),
    "axes": (
        "def term(z):\n    z = (z - z.mean(0)).detach().numpy()\n    return float(np.square(z).sum(axis=0).mean())\n"
        + STEP.format("term(net(x))"),
        ((".detach().numpy()", ""), ("float(np.square(z).sum(axis=0).mean())", "(torch.square(z).sum(dim=0).mean())")),
    ),
    "a list of numbers": (
        "def term(p, q):\n    each = [abs(a.item() - b.item()) for a, b in zip(p, q)]\n"
        "    return torch.tensor(each).mean()\n" + STEP.format("term(net(x), y)"),
        ((".item()", ""), ("torch.tensor(each)", "torch.stack(each)")),
    ),
    "an attribute of the model": (
        "class M(nn.Module):\n    def forward(self, x):\n        self.pen = float(self.a(x).abs().mean())\n"
        "        return self.b(x)\n" + STEP.format("net.pen"),
        (("float(self.a(x).abs().mean())", "(self.a(x).abs().mean())"),),
    ),
    "a part of a dictionary": (
        "def parts(x, y):\n    k = torch.randint(0, 4, (1,)).item()\n    out = {}\n"
        "    out['a'] = g(turned(x, k), y).item()\n    return out\n" + STEP.format("sum(parts(x, y).values())"),
        (("y).item()", "y)"),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TERMS)
def test_a_term_that_leaves_torch_is_computed_with_tensors(tmp_path: Path, name: str) -> None:
    """All of it at once: of an array without its graph nothing can be kept."""
    source, changes = TERMS[name]
    expected = source
    for old, new in changes:
        expected = expected.replace(old, new)

    found = [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), accuse("graph.detached_term"))]

    assert found[0] == expected


SUMS = {
    "several terms": (
        "for x, y in loader:\n    a = F.mse_loss(net(x), y, reduction='sum')\n    b = torch.sum(z ** 2)\n"
        "    loss = a + b\n    loss.backward()\n",
        "= a + b", "= (a + b) / len(x)",
    ),
    "along axes": (
        "def f(e):\n    return e.flatten(1).sum(-1).mean()\nfor x, y in loader:\n    loss = f(net(x))\n"
        "    loss.backward()\n",
        "sum(-1)", "mean(-1)",
    ),
    "a setting of another name": (
        "c = dict(agg='sum')\nf = nn.MSELoss(reduction=c['agg'])\nfor x, y in loader:\n    f(net(x), y).backward()\n",
        "agg='sum'", "agg='mean'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_averaged_together(tmp_path: Path, name: str) -> None:
    """The whole is divided where several sums make it; axes and settings count, too."""
    source, old, new = SUMS[name]

    found = [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), accuse("loss.reduction_scale"))]

    assert found[0] == source.replace(old, new)
