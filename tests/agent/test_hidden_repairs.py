"""Repairs of what is written out of sight: the line that fails, or trains, is innocent; another one is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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


FIT = "for i in order:\n    loss = f(net(X[i]), y[i])\n    loss.backward()\n"
NUMBERS = {
    "a spread under a name": ("mu, sd = X.mean(0), X.std(0)\nX = (X - mu) / sd\n" + FIT, "/ sd", "/ (sd + (sd == 0))"),
    "a norm": ("def unit(v):\n    return v / v.norm()\n", "/ v.norm()", "/ (v.norm() + 1e-6)"),
    "a logarithm": ("import numpy as np\nX = np.log(X)\n" + FIT, "np.log(X)", "np.log1p(X)"),
    "a logarithm below minus one": (
        "import numpy as np\nX = np.log(X)\n" + FIT, "np.log(X)", "np.log(np.maximum(X, 1e-6))",
    ),
    "a root": ("import numpy as np\nX = np.sqrt(X)\n" + FIT, "np.sqrt(X)", "np.sign(X) * np.sqrt(np.abs(X))"),
    "a ratio": ("r = X[:, 0] / X[:, 1]\n" + FIT, "/ X[:, 1]", "/ (X[:, 1] + 1e-6)"),
    "a mean of nothing": (
        "def m(v):\n    some = v[v > 0]\n    return some.mean()\n", "some.mean()",
        "(some.mean() if len(some) else 0.0)",
    ),
    "holes in tensors": (
        "import torch\nX = torch.tensor(rows)\n" + FIT, "rows)\n",
        "rows)\nfilling = X.nanmean(0)\nX = torch.where(torch.isnan(X), filling, X)\n",
    ),
    "holes in both parts of an array": (
        "import numpy as np\nX, X_test, y, y_test = train_test_split(a, b)\nfit(*X)\n", "(a, b)\n",
        "(a, b)\nfilling = np.nanmean(X, axis=0)\nX = np.where(np.isnan(X), filling, X)\n"
        "X_test = np.where(np.isnan(X_test), filling, X_test)\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_what_made_no_number_makes_one(tmp_path: Path, name: str) -> None:
    """Divisions, logarithms, roots and means of the data; holes get what the training part has there."""
    source, old, new = NUMBERS[name]
    run, n = run_of(tmp_path, source), np.zeros(4)
    run.table = {"loss": {"target_nonfinite": n}}.__getitem__  # type: ignore[method-assign, assignment]  # as recorded

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.nan_or_inf_input"))]

    assert source.replace(old, new) in found


def test_numpy_says_which_operation_it_was(tmp_path: Path) -> None:
    """Of two the one that numpy warned of comes first; losses and layers are no data."""
    source = (
        "import numpy as np\nX = X / X.std(0)\nX = np.sqrt(X)\nfor i in order:\n    loss = f(net(X[i]), y[i]) / k\n"
        "    loss.backward()\n"
    )
    run, said = run_of(tmp_path, source), "train.py:3: RuntimeWarning: invalid value encountered in sqrt"
    run.table = {"loss": {"target_nonfinite": np.zeros(4)}}.__getitem__  # type: ignore[method-assign, assignment]
    run.log_tail = lambda limit=0: said  # type: ignore[method-assign]

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.nan_or_inf_input"))]

    assert found[0] == source.replace("np.sqrt(X)", "np.sign(X) * np.sqrt(np.abs(X))")
    assert all("/ k" in text for text in found)


def test_samples_without_a_target_are_left_out(tmp_path: Path) -> None:
    """Together with their features."""
    source = "X, y = load()\n" + FIT.replace("f(net", "F.mse_loss(net")
    run = run_of(tmp_path, source)
    run.table = {"loss": {"target_nonfinite": np.ones(4)}}.__getitem__  # type: ignore[method-assign, assignment]

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.nan_or_inf_input"))]

    assert "there = (y == y).reshape(len(y), -1).all(1)" in found[0]
    assert "X, y = X[there], y[there]" in found[0]


MODEL = "import torch.nn as nn\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        {0}\n"
HELD = {
    "made by a function": ("self.experts = made(4)", "made(4)", "nn.ModuleList(made(4))"),
    "an argument": ("self.experts = experts", "= experts", "= nn.ModuleList(experts)"),
    "past the model": (
        "self.__dict__[f'e{i}'] = nn.Linear(2, 2)", "self.__dict__[f'e{i}'] = nn.Linear(2, 2)",
        "setattr(self, f'e{i}', nn.Linear(2, 2))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_the_accused_path_says_what_holds_the_layers(tmp_path: Path, name: str) -> None:
    """Whatever makes the list; several names at once are no list."""
    line, old, new = HELD[name]
    source = MODEL.format(line) + "        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)\n"
    hypothesis = accuse("model.submodule_not_registered").model_copy(update={"component": "experts.0"})

    found = [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), hypothesis)]

    assert found[0] == source.replace(old, new)


def test_layers_are_found_wherever_an_object_keeps_them() -> None:
    """In closures, dictionaries of lists, plain objects and partial functions; tensors and texts hold none."""
    nn = pytest.importorskip("torch.nn")
    import functools

    from aitia.agent.repairs.registered import HELPER

    scope: dict[str, Any] = {"nn": nn}
    exec(HELPER.format("nn.Module"), scope)  # what a repair puts into a program
    a, b, c, d, e = (nn.Linear(1, 1) for _ in range(5))
    plain = type("P", (), {})()
    plain.layer, plain.name = c, "text"
    held = [lambda x, layer=a: layer(x), {"k": [b, 3]}, plain, functools.partial(print, d), (lambda x: e(x)), a.weight]

    found = scope["layers_in"](held)

    assert found == [a, b, c, d, e]


ORDERED = {
    "two generators": (
        "X = a.permutation(X)\ny = b.permutation(y)\n",
        "order = a.permutation(len(X))\nX = X[order]\ny = y[order]\n",
    ),
    "a helper with two seeds": (
        "def split(a, seed):\n    p = rng(seed).permutation(len(a))\n    return a[p[:9]], a[p[9:]]\n"
        "x1, x2 = split(X, 1)\ny1, y2 = split(y, 2)\n",
        "def split(a, seed):\n    p = rng(seed).permutation(len(a))\n    return a[p[:9]], a[p[9:]]\n"
        "x1, x2 = split(X, 1)\ny1, y2 = split(y, 1)\n",
    ),
    "a helper without one": (
        "def mixed(a):\n    return a[torch.randperm(len(a))]\nx, t = mixed(X), mixed(y)\n",
        "def mixed(a):\n    return a[torch.randperm(len(a))]\norder = torch.randperm(len(X))\n"
        "x, t = X[order], y[order]\n",
    ),
    "sorted on one side": (
        "o = np.argsort(d.data.sum(1))\nX = d.data[o] / 16\ny = d.target\n",
        "o = np.argsort(d.data.sum(1))\nX = d.data[o] / 16\ny = d.target[o]\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERED)
def test_features_and_targets_take_one_order(tmp_path: Path, name: str) -> None:
    """However each got its own."""
    source, expected = ORDERED[name]

    found = [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), accuse("data.label_misaligned"))]

    assert expected in found


@pytest.mark.parametrize(
    "numbered", ["w: i + len(EXTRA) for i, w in enumerate(words)", "w: i for i, w in enumerate(words, start=3)"]
)
def test_special_tokens_count(tmp_path: Path, numbered: str) -> None:
    """The size of the model's vocabulary begins where its ids do."""
    source = f"ids = {{{numbered}}}\nnet = LM(len(words))\n"
    failure = Failure(type="IndexError", message="index out of range in self", traceback="", module_class="Embedding")
    run = run_of(tmp_path, source, failure=failure)

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.index_out_of_range"))]

    offset = "len(EXTRA)" if "EXTRA" in numbered else "3"
    assert source.replace("LM(len(words))", f"LM(len(words) + {offset})") in found
