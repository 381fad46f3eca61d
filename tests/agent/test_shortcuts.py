"""Ways around blocks are put where a block gives out or is called; norms lose an epsilon that is too large."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for
from aitia.engine.records import LayerInfo
from aitia.engine.store.reader import Run

CAUSE = "model.residual_or_norm_misplaced"
BLOCK = "class Block(nn.Module):\n    def forward(self, x):\n"
CASES = {
    "what the block computes is returned": (BLOCK + "        return self.b(self.a(x))\n", "Block",
        "return self.b", "return x + self.b"),
    "a value of several terms": (BLOCK + "        return self.a(x) if self.on else self.b(x)\n", "Block",
        "return self.a(x) if self.on else self.b(x)", "return x + (self.a(x) if self.on else self.b(x))"),
    "the name of the input is used again": (BLOCK + "        x = self.a(x)\n        return x\n", "Block",
        "        x = self.a(x)\n        return x\n",
        "        shortcut = x\n        x = self.a(x)\n        return shortcut + x\n"),
    "blocks of a library's class": ("for block in self.blocks:\n    h = block(h)\n", "Sequential",
        "h = block(h)", "h = h + block(h)"),
    "an epsilon by name": ("norm = nn.BatchNorm1d(8, eps=1e3)\n", "BatchNorm1d", "1e3", "1e-5"),
    "an epsilon by place": ("norm = nn.LayerNorm(8, 100.0)\n", "LayerNorm", "100.0", "1e-5"),
    "an epsilon among the settings": ("EPS = 50.0\nnorm = nn.LayerNorm(8, EPS)\n", "LayerNorm", "50.0", "1e-5"),
}  # fmt: skip


def _run(folder: Path, source: str, cls: str) -> Run:
    run = run_of(folder, source)
    kind = "norm" if "Norm" in cls else "container"
    run.__dict__["layers"] = [LayerInfo(index=0, name="blocks.0", cls=cls, kind=kind, root="net")]
    return run


@pytest.mark.parametrize("name", CASES)
def test_depth_gets_what_it_needs(tmp_path: Path, name: str) -> None:
    """One edit per spelling, and the program parses afterwards."""
    source, cls, old, new = CASES[name]
    run = _run(tmp_path, source, cls)

    found = [p.files["train.py"] for p in patches_for(run, accuse(CAUSE, 1, component="blocks.0"))]

    assert found == [source.replace(old, new)]
    for text in found:
        ast.parse(text)


@pytest.mark.parametrize(
    "source",
    [
        "norm = nn.LayerNorm(8, eps=1e-6)\n",
        "norm = nn.GroupNorm(4, 32)\n",
        "eps = 1e-3\nnorm = nn.BatchNorm2d(8, eps)\n",
    ],
)
def test_usual_norms_are_left_alone(tmp_path: Path, source: str) -> None:
    """Small epsilons stay, and the channels of a group norm are no epsilon."""
    assert patches_for(_run(tmp_path, source, "LayerNorm"), accuse(CAUSE, 1, component="blocks.0")) == []
