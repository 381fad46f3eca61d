"""The same fault in other words, and failures whose message says what is wrong."""

from __future__ import annotations

from pathlib import Path

import libcst as cst
import pytest
from programs import accuse, run_of

from aitia.agent.fix import patch_for
from aitia.agent.repairs.source import number
from aitia.engine.records import Failure

VARIANTS = {
    "two optimizers": (
        "loop.missing_zero_grad",
        "for x in data:\n    d_loss.backward()\n    opt_d.step()\n    g_loss.backward()\n    opt_g.step()\n",
        "for x in data:\n    opt_d.zero_grad()\n    d_loss.backward()\n    opt_d.step()\n    opt_g.zero_grad()\n"
        "    g_loss.backward()\n    opt_g.step()\n",
    ),
    "a closure": (
        "loop.missing_zero_grad",
        "def closure():\n    loss = f()\n    loss.backward()\n    return loss\nopt.step(closure)\n",
        "def closure():\n    loss = f()\n    opt.zero_grad()\n    loss.backward()\n    return loss\n"
        "opt.step(closure)\n",
    ),
    "cleared by hand": (
        "loop.zero_grad_after_backward",
        "def train():\n    loss.backward()\n    for p in model.parameters():\n        p.grad = None\n    opt.step()\n",
        "def train():\n    for p in model.parameters():\n        p.grad = None\n    loss.backward()\n    opt.step()\n",
    ),
    "an optimizer from a function": (
        "optimizer.stale_param_reference",
        "import torch\ndef make(m):\n    return torch.optim.Adam(m.parameters())\n"
        "def run(net):\n    opt = make(net)\n    net.fc = Linear(4, 2)\n    fit(net, opt)\n",
        "import torch\ndef make(m):\n    return torch.optim.Adam(m.parameters())\n"
        "def run(net):\n    net.fc = Linear(4, 2)\n    opt = make(net)\n    fit(net, opt)\n",
    ),
    "a head replaced by a function": (
        "optimizer.stale_param_reference",
        "import torch\ndef swap(m):\n    m.fc = Linear(4, 2)\nopt = torch.optim.Adam(net.parameters())\nswap(net)\n",
        "import torch\ndef swap(m):\n    m.fc = Linear(4, 2)\nswap(net)\nopt = torch.optim.Adam(net.parameters())\n",
    ),
    "an activation with a name": (
        "loss.double_softmax",
        "class Net:\n    def forward(self, x):\n        a = softmax(self.q(x))\n        x = self.fc(a @ x)\n"
        "        x = x.softmax(-1)\n        return x\n",
        "class Net:\n    def forward(self, x):\n        a = softmax(self.q(x))\n        x = self.fc(a @ x)\n"
        "        x = x\n        return x\n",
    ),
    "the last of a sequence": (
        "loss.double_softmax",
        "net = nn.Sequential(\n    nn.Linear(4, 8),\n    nn.Linear(8, 2),\n    nn.Softmax(dim=1),\n)\n",
        "net = nn.Sequential(\n    nn.Linear(4, 8),\n    nn.Linear(8, 2),\n)\n",
    ),
    "batches cut by hand": (
        "data.order_not_shuffled",
        "for i in range(0, len(x), 32):\n    loss = f(model(x[i : i + 32]), y[i : i + 32])\n    loss.backward()\n",
        "order = torch.randperm(len(x))\nx, y = x[order], y[order]\n"
        "for i in range(0, len(x), 32):\n    loss = f(model(x[i : i + 32]), y[i : i + 32])\n    loss.backward()\n",
    ),
    "gradient ascent by hand": (
        "loss.sign_flipped",
        "for p in model.parameters():\n    p.data += 0.1 * p.grad\n",
        "for p in model.parameters():\n    p.data -= 0.1 * p.grad\n",
    ),
    "a parameter of zeros": (
        "init.symmetric",
        "w = nn.Parameter(torch.zeros(64, 32))\n",
        "w = nn.Parameter(torch.randn(64, 32) / 64 ** 0.5)\n",
    ),
    "a parameter drawn too large": (
        "init.wrong_scale",
        "w = nn.Parameter(torch.randn(n_in, 32))\n",
        "w = nn.Parameter(torch.randn(n_in, 32) / n_in ** 0.5)\n",
    ),
    "a power of a half": (
        "numerics.sqrt_at_zero_backward",
        "d = (a - b).pow(2).sum(1).pow(0.5)\n",
        "d = ((a - b).pow(2).sum(1) + 1e-12).pow(0.5)\n",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_fault_is_repaired_however_it_is_written(tmp_path: Path, name: str) -> None:
    """Programs of other people put the same fault into other words."""
    cause, source, expected = VARIANTS[name]
    lines = [n for n, line in enumerate(source.splitlines(), 1) if "pow(0.5)" in line]

    patch = patch_for(run_of(tmp_path, source), accuse(cause, *lines))

    assert patch is not None
    assert patch.files["train.py"] == expected


SHAPES = """\
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 32)
        self.head = nn.Linear(33, 4)
    def forward(self, x):
        return self.head(self.body(x))
"""


@pytest.mark.parametrize(
    ("handed", "line", "expected"),
    [
        ("float32[16, 32]", "self.head = nn.Linear(33, 4)", "self.head = nn.Linear(32, 4)"),
        ("float32[16, 3, 11]", "return self.head(self.body(x))", "return self.head(self.body(x).flatten(1))"),
    ],
)
def test_the_dimension_that_disagrees_is_mended(tmp_path: Path, handed: str, line: str, expected: str) -> None:
    """The layer's width, or the missing flatten where the sizes multiply to it."""
    failure = Failure(
        type="RuntimeError", message="mat1 and mat2 shapes cannot be multiplied", traceback="", module="head",
        module_class="Linear", inputs=(handed,), parameters={"weight": "float32[4, 33]"},
    )  # fmt: skip
    run = run_of(tmp_path, SHAPES, failure=failure)

    patch = patch_for(run, accuse("shape.mismatch", 8, component="head"))

    assert patch is not None
    assert patch.files["train.py"] == SHAPES.replace(line, expected)


def test_a_state_follows_the_size_of_the_batch(tmp_path: Path) -> None:
    """The last batch of a pass is smaller than the constant that the state was made with."""
    source = (
        "from torch import nn\nBATCH = 48\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        h = self.start.repeat(1, BATCH, 1)\n        return self.gru(x, h)\n"
    )
    failure = Failure(
        type="RuntimeError", message="Expected hidden size (1, 20, 24), got [1, 48, 24]", traceback="", module="gru",
        module_class="GRU", inputs=("float32[20, 24, 1]",), parameters={"weight_ih_l0": "float32[72, 1]"},
    )  # fmt: skip

    patch = patch_for(run_of(tmp_path, source, failure=failure), accuse("shape.mismatch", 6, component="gru"))

    assert patch is not None
    assert patch.files["train.py"] == source.replace("repeat(1, BATCH", "repeat(1, x.size(0)")


@pytest.mark.parametrize(
    ("text", "value"),
    [("32 * 4 * 4", 512.0), ("1e-3", 0.001), ("-(2 + 3) / 2", -2.5), ("n * 4", None), ("True", None), ("'x'", None),
     ("1 / 0", None), ("2 ** 9", None)],
)  # fmt: skip
def test_arithmetic_of_literals_has_a_value(text: str, value: float | None) -> None:
    """Dimensions are often written as products; names and strings have no value here."""
    assert number(cst.parse_expression(text)) == value
