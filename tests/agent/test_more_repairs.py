"""Repairs of what is carried, compared and computed: the whole text before and after."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for
from aitia.engine.records import Failure

ONE_LOGIT = ("loss_call", 1, {"n_classes": 1}, None)
FLOAT64 = Failure(type="RuntimeError", message="expected m1 and m2 to have the same dtype", traceback="",
                  parameters={"prior": "float64[3, 3]"})  # fmt: skip

CASES = {
    "hooks closed each round": (
        "resource.hooks_accumulate",
        "class Log:\n    def watch(self, m):\n        self.h = m.register_forward_hook(f)\n    def close(self):\n"
        "        self.h.remove()\nfor epoch in range(3):\n    log.watch(model)\n    loss.backward()\n",
        "    loss.backward()\n", "    loss.backward()\n    log.close()\n",
    ),
    "a hook in the loop": (
        "resource.hooks_accumulate",
        "for epoch in range(3):\n    model.register_forward_hook(f)\n    loss.backward()\n",
        "for epoch in range(3):\n    model.register_forward_hook(f)\n",
        "model.register_forward_hook(f)\nfor epoch in range(3):\n",
    ),
    "a hook with a handle": (
        "resource.hooks_accumulate",
        "for epoch in range(3):\n    h = model.register_forward_hook(f)\n    loss.backward()\n",
        "    loss.backward()\n", "    loss.backward()\n    h.remove()\n",
    ),
    "a state in a module": (
        "graph.backward_twice",
        "class M:\n    def forward(self, x):\n        y, self.h = self.gru(x, self.h)\n        return y\n",
        "        y, self.h", "        if self.h is not None:\n            self.h = self.h.detach()\n        y, self.h",
    ),
    "the first batch of an object": (
        "data.repeated_batch",
        "class T:\n    def batch(self):\n        return next(iter(self.loader))\n",
        "        return next(iter(self.loader))",
        '        if not hasattr(self, "_batches"):\n'
        "            self._batches = (batch for _ in iter(int, 1) for batch in self.loader)  # pass after pass\n"
        "        return next(self._batches)",
    ),
    "in place, somewhere in forward": (
        "graph.inplace_modification",
        "class M:\n    def forward(self, x):\n        g = torch.sigmoid(x)\n        g *= x\n        g.relu_()\n"
        "        return g\n",
        "        g *= x\n        g.relu_()\n", "        g = g * x\n        g = g.relu()\n",
    ),
    "a parameter from numpy": (
        "dtype.mismatch", "self.prior = nn.Parameter(torch.from_numpy(p))\n",
        "torch.from_numpy(p)", "torch.from_numpy(p).float()",
    ),
    "a softmax over one logit": (
        "loss.wrong_for_task", "loss = F.cross_entropy(model(x), y)\n",
        "F.cross_entropy(model(x), y)",
        "F.binary_cross_entropy_with_logits(model(x), y.float().reshape(model(x).shape))",
    ),
    "a criterion over one logit": (
        "loss.wrong_for_task", "f = nn.CrossEntropyLoss()\nloss = f(out, y)\n",
        "f = nn.CrossEntropyLoss()\nloss = f(out, y)",
        "f = nn.BCEWithLogitsLoss()\nloss = f(out, y.float().reshape(out.shape))",
    ),
    "the largest of one logit": (
        "eval.metric_bug", "f = nn.BCEWithLogitsLoss()\nhit = out.argmax(dim=1) == y\n",
        "out.argmax(dim=1)", "(out.reshape(-1) > 0)",
    ),
    "the largest of the batch": (
        "eval.metric_bug", "hit = torch.argmax(out, 0) == y\n", "out, 0", "out, 1",
    ),
    "a mask one too far": ("model.causal_leak", "m = torch.triu(ones, diagonal=2)\n", "=2", "=1"),
    "attention without a mask": (
        "model.causal_leak", "y = F.scaled_dot_product_attention(q, k, v)\n", "k, v)", "k, v, is_causal=True)",
    ),
    "a column that is cut away": (
        "data.supervision_field_dropped",
        'KEEP = ("x", "a")\nr = {k: row[k] for k in KEEP}\nt = r.get("a", -1), r.get("b", -1)\n',
        '("x", "a")', '("x", "a", "b")',
    ),
    "an activation that is none": (
        "model.missing_nonlinearity", "net = stack([2, 64, 1], activation=nn.Identity)\n", "nn.Identity", "nn.ReLU",
    ),
    "layers called in each other": (
        "model.missing_nonlinearity",
        "import torch\nclass M:\n    def __init__(self):\n        self.a = nn.Linear(2, 3)\n"
        "        self.b = nn.Linear(3, 1)\n"
        "    def forward(self, x):\n        return self.b(self.a(x))\n",
        "self.b(self.a(x))", "self.b(torch.relu(self.a(x)))",
    ),
    "layers called one after the other": (
        "model.missing_nonlinearity",
        "import torch\nclass M:\n    def __init__(self):\n        self.a = nn.Linear(2, 3)\n"
        "        self.b = nn.Linear(3, 1)\n"
        "    def forward(self, x):\n        x = self.a(x)\n        return self.b(x)\n",
        "x = self.a(x)", "x = torch.relu(self.a(x))",
    ),
    "a target in other units": (
        "data.unscaled_target", "x, y = load_diabetes(return_X_y=True)\n",
        "True)\n", "True)\ny = (y - y.mean()) / y.std()\n",
    ),
    "features permuted alone": (
        "data.label_misaligned",
        "d = load_digits()\norder = rng.permutation(len(d.target))\nsave(d.data[order])\nsave(d.target)\n",
        "save(d.target)", "save(d.target[order])",
    ),
    "features permuted alone, by name": (
        "data.label_misaligned",
        "x, y = load(return_X_y=True)\norder = torch.randperm(len(x))\nx = x[order]\nfit(x, y)\n",
        "x = x[order]\n", "x = x[order]\ny = y[order]\n",
    ),
    "a class weight": (
        "loss.class_weight_wrong", "f = nn.CrossEntropyLoss(weight=w, reduction='mean')\n",
        "(weight=w, reduction='mean')", "(reduction='mean')",
    ),
    "a padding mask": (
        "model.mask_inverted", "y = self.encoder(x, src_key_padding_mask=ids != PAD)\n", "ids != PAD", "ids == PAD",
    ),
    "a softmax over the batch": ("model.batch_mixing", "w = torch.softmax(s, dim=0)\n", "dim=0", "dim=-1"),
    "a heavy term": ("loss.term_dominates", "loss = fit + 1000 * size\nloss.backward()\n", "1000", "10"),
    "a heavy term by name": (
        "loss.term_dominates", "WEIGHT = 500.0\nloss = fit + WEIGHT * size\nloss.backward()\n",
        "WEIGHT * size", "(WEIGHT / 100) * size",
    ),
    "too few epochs": (
        "eval.underfit_stopped_early", "for e in range(5):\n    loss.backward()\n", "range(5)", "range(20)",
    ),
    "too few epochs by name": (
        "eval.underfit_stopped_early", "EPOCHS = 5\nfor e in range(EPOCHS):\n    loss.backward()\n", "= 5", "= 20",
    ),
    "initialized after loading": (
        "init.overwritten", "net.load_state_dict(state)\nprint(1)\nnet.apply(init)\n",
        "net.load_state_dict(state)\nprint(1)\nnet.apply(init)\n",
        "net.apply(init)\nnet.load_state_dict(state)\nprint(1)\n",
    ),
    "workers with one generator": (
        "data.duplicate_randomness", "import numpy as np\nloader = DataLoader(data, num_workers=2)\n",
        "num_workers=2",
        "num_workers=2, worker_init_fn=lambda worker: np.random.seed(torch.initial_seed() % 2**32)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_only_the_wrong_part_of_the_text_changes(tmp_path: Path, name: str) -> None:
    """One of the proposed changes is exactly this."""
    cause, source, old, new = CASES[name]
    run = run_of(tmp_path, source, facts=(ONE_LOGIT,), failure=FLOAT64 if cause == "dtype.mismatch" else None)
    assert source.count(old) == 1

    found = [p.files["train.py"] for p in patches_for(run, accuse(cause, *range(1, source.count("\n") + 1)))]

    assert source.replace(old, new) in found
    for text in found:
        ast.parse(text)


@pytest.mark.parametrize("cause", sorted({case[0] for case in CASES.values()}))
def test_a_program_without_the_pattern_is_left_alone(tmp_path: Path, cause: str) -> None:
    """Nothing fits, so nothing is proposed."""
    run = run_of(tmp_path, "import torch\nx = torch.ones(2)\nprint(x)\n", facts=(ONE_LOGIT,))

    assert patches_for(run, accuse(cause, 2)) == []


def test_the_loss_of_an_optimizer_without_gradients_is_attached(tmp_path: Path) -> None:
    """The optimizer's line is accused; its own loss is found through its step."""
    source = (
        "import torch\ng_opt = torch.optim.Adam(g.parameters())\n"
        "def critic(fake):\n    loss = d(fake.detach()).mean()\n    loss.backward()\n    c_opt.step()\n"
        "def generator(fake):\n    loss = -d(fake.detach()).mean()\n    loss.backward()\n    g_opt.step()\n"
    )
    run = run_of(tmp_path, source, optimizers={"g_opt": 2})

    found = patches_for(run, accuse("graph.detach_in_generator_step", 2))

    assert source.replace("-d(fake.detach())", "-d(fake)") in [p.files["train.py"] for p in found]
