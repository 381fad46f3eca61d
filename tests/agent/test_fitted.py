"""Evaluation prepares as training does; hooks are registered once; averages are updated as they ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for

PREPARED = {
    "a scaler": (
        "a, b, c, d = train_test_split(x, y)\nscaler = StandardScaler()\na = scaler.fit_transform(a)\n",
        "fit_transform(a)\n", "fit_transform(a)\nb = scaler.transform(b)\n",
    ),
    "statistics of an object": (
        "class M:\n    def fit(self, X):\n        self.mu = X.mean(0)\n        X = torch.tensor(X - self.mu)\n"
        "        f(self.net(X)).backward()\n"
        "    def predict(self, Z):\n        self.net.eval()\n        return self.net(Z)\n",
        "        self.net.eval()", "        Z = Z - self.mu\n        self.net.eval()",
    ),
    "a scale for training only": (
        "class D:\n    def __getitem__(self, i):\n        x = self.x[i]\n"
        "        if self.train:\n            x = x / 255\n"
        "            x = flip(x)\n        return x\n",
        "        if self.train:\n            x = x / 255\n", "        x = x / 255\n        if self.train:\n",
    ),
    "words": (
        "def clean(t):\n    return t.lower().split()\nx = [encode(clean(t)) for t in texts]\n"
        "with torch.no_grad():\n    z = [encode(t.split()) for t in held]\n",
        "encode(t.split())", "encode(clean(t))",
    ),
    "an order of axes": (
        "x = a.transpose(1, 2).reshape(n, -1)\ndef predict(b):\n    return net(b.reshape(len(b), -1))\n",
        "b.reshape(", "b.transpose(1, 2).reshape(",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PREPARED)
def test_evaluation_prepares_as_training_does(tmp_path: Path, name: str) -> None:
    """The first repair does for evaluation what is done for training, with what was fitted there."""
    source, old, new = PREPARED[name]
    run = run_of(tmp_path, source)

    found = [p.files["train.py"] for p in patches_for(run, accuse("eval.preprocessing_mismatch"))]

    assert found[0] == source.replace(old, new)


@pytest.mark.parametrize(
    "source",
    [
        "a, b, c, d = train_test_split(x, y)\na = scaler.fit_transform(a)\nb = scaler.transform(b)\n",
        "class D:\n    def __getitem__(self, i):\n        if self.train:\n"
        "            x = x + torch.randn(3)\n        return x\n",
    ],
)
def test_what_is_prepared_alike_or_drawn_stays(tmp_path: Path, source: str) -> None:
    """Noise for training only is an augmentation."""
    assert patches_for(run_of(tmp_path, source), accuse("eval.preprocessing_mismatch")) == []


HOOKED = {
    "in a forward": (
        "class M(nn.Module):\n    def __init__(self):\n        self.a = nn.Linear(2, 2)\n    def forward(self, x):\n"
        "        self.a.register_forward_hook(self.save)\n        return self.a(x)\n",
        "class M(nn.Module):\n    def __init__(self):\n        self.a = nn.Linear(2, 2)\n"
        "        self.a.register_forward_hook(self.save)\n    def forward(self, x):\n        return self.a(x)\n",
    ),
    "in a context": (
        "@contextmanager\ndef seen(layer):\n    layer.register_forward_hook(f)\n    yield 1\n",
        "@contextmanager\ndef seen(layer):\n    handle = layer.register_forward_hook(f)\n    try:\n        yield 1\n"
        "    finally:\n        handle.remove()\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOOKED)
def test_hooks_are_registered_once_or_taken_away(tmp_path: Path, name: str) -> None:
    """A forward is called in every step, and a context is left after each."""
    source, repaired = HOOKED[name]

    found = [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), accuse("resource.hooks_accumulate"))]

    assert found[0] == repaired


def test_an_average_that_holds_its_model_is_updated_without_one(tmp_path: Path) -> None:
    """The call has the arguments that the method asks for."""
    source = (
        "import torch\nclass EMA:\n    def __init__(self, model):\n        self.model = model\n"
        "        self.shadow = {}\n    def update(self):\n        pass\nnet = nn.Linear(2, 2)\nema = EMA(net)\n"
        "opt = torch.optim.SGD(net.parameters(), lr=0.1)\nfor x in data:\n    net(x).sum().backward()\n    opt.step()\n"
    )
    run = run_of(tmp_path, source, optimizers={"opt": 10})

    found = [p.files["train.py"] for p in patches_for(run, accuse("graph.ema_not_updated"))]

    assert found == [source + "    ema.update()\n"]


MOVED = {
    "a scheduler in a callback": (
        "scheduler.stepped_per_batch",
        "class C:\n    def batch_end(self):\n        n()\n        self.scheduler.step()\n"
        "def fit(cb):\n    for e in range(3):\n"
        "        for x in data:\n            cb.batch_end()\n        print(e)\n",
        "class C:\n    def batch_end(self):\n        n()\ndef fit(cb):\n    for e in range(3):\n"
        "        for x in data:\n            cb.batch_end()\n        cb.scheduler.step()\n        print(e)\n",
    ),
    "a state that is cut at the cell": (
        "graph.bptt_cut_or_grown",
        "for t in range(9):\n    h, c = cell(x[t], (h.detach(), c))\n",
        "for t in range(9):\n    h, c = cell(x[t], (h, c))\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_what_happens_too_often_is_done_where_it_belongs(tmp_path: Path, name: str) -> None:
    """Once per pass, and not at all within a window."""
    cause, source, repaired = MOVED[name]

    assert patches_for(run_of(tmp_path, source), accuse(cause))[0].files["train.py"] == repaired


NET = "class M:\n    def __init__(self):\n        self.head = a()\n        self.parts = [self.body, self.head]\n"
STALE = {
    "a list": (
        NET + "net = M()\nnet.head = b()\n", "net.head = b()\n", "net.head = b()\nnet.parts = [net.body, net.head]\n",
    ),
    "a sequence": (
        "head = a()\nmodel = nn.Sequential(body, head)\nfit(model)\nhead = b()\n", "head = b()\n",
        "head = b()\nmodel = nn.Sequential(body, head)\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STALE)
def test_what_holds_an_old_layer_is_put_together_again(tmp_path: Path, name: str) -> None:
    """Lists, sequences and names keep the object that was there when they were made."""
    source, old, new = STALE[name]

    found = patches_for(run_of(tmp_path, source), accuse("graph.stale_module", component="head"))

    assert [p.files["train.py"] for p in found] == [source.replace(old, new)]


def test_a_layer_that_nothing_calls_is_called(tmp_path: Path) -> None:
    """The outer of two calls of its neighbour was meant for it."""
    source = "class M:\n    def forward(self, x):\n        return self.fc1(f(self.fc1(x)))\n"

    found = patches_for(run_of(tmp_path, source), accuse("graph.stale_module", component="fc2"))

    assert [p.files["train.py"] for p in found] == [source.replace("return self.fc1", "return self.fc2")]
