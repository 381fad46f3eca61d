"""Signs, targets and teachers in the wrong role are put right, however they are written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.fix import patches_for

SIGN, TARGET, KL = "loss.sign_flipped", "graph.target_not_detached", "loss.kl_argument_order"
CASES = {
    "a likelihood as it is": (SIGN, "loss = flow(x).mean(); loss.backward()\n", "flow(x).mean()", "-flow(x).mean()"),
    "one of two terms": (
        SIGN, "loss = (lp * adv).mean() + 0.5 * mse(v, r)\nloss.backward()\n", "(lp * adv)", "-(lp * adv)",
    ),
    "put into backward": (SIGN, "(a * b).mean().backward()\n", "(a * b).mean().b", "(-(a * b).mean()).b"),
    "what a function gives back": (
        SIGN, "def objective(p, w):\n    return (p * w).sum()\nloss = objective(p, w)\nloss.backward()\n",
        "return (p", "return -(p",
    ),
    "both halves of a sum": (
        TARGET, "loss = cosine_similarity(a, d) + cosine_similarity(b, c)\n",
        "(a, d) + cosine_similarity(b, c)", "(a, d.detach()) + cosine_similarity(b, c.detach())",
    ),
    "the first is the target": (
        TARGET, "loss = mse_loss(a, d) + mse_loss(b, c)\n",
        "(a, d) + mse_loss(b, c)", "(a.detach(), d) + mse_loss(b.detach(), c)",
    ),
    "student and teacher by methods": (
        KL, "loss = kl_div(t.log_softmax(-1), s.softmax(-1))\n",
        "t.log_softmax(-1), s.softmax", "s.log_softmax(-1), t.softmax",
    ),
    "student and teacher by name": (
        KL, "p = F.log_softmax(t / 2, -1)\nq = F.softmax(s / 2, -1)\nloss = F.kl_div(p, target=q)\n",
        "kl_div(p, target=q)", "kl_div(F.log_softmax(s / 2, -1), target=F.softmax(t / 2, -1))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_role_is_put_right(tmp_path: Path, name: str) -> None:
    """One of the proposed texts is the one that a reader would write; all of them parse."""
    cause, source, old, new = CASES[name]
    assert source.count(old) == 1

    found = [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), accuse(cause, 1, 2, 3, 4))]

    assert source.replace(old, new) in found
    for text in found:
        ast.parse(text)


def test_targets_that_do_not_learn_stay(tmp_path: Path) -> None:
    """What is detached already is not detached again."""
    source = "loss = mse_loss(a, d.detach())\n"

    assert patches_for(run_of(tmp_path, source), accuse(TARGET, 1)) == []
