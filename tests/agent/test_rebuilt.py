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
