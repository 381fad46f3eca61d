"""A test that a language model wrote is read before it is run: it may look at the recording, and at nothing else."""

from __future__ import annotations

import pytest

from aitia.agent.assertions import helpers_of, problems_of
from aitia.agent.invariants import INVARIANTS, by_diagnosis

GOOD = """left = finite(run.table("step")["carried_grad_norm"]).max(initial=0.0)
assert left == 0, f"gradients of norm {left:.3g} were left over"
"""


@pytest.mark.parametrize("check", [*INVARIANTS.values(), by_diagnosis("loss.sign_flipped")], ids=lambda c: c.name)
def test_the_templates_of_ours_would_pass(check: object) -> None:
    """The rules do not ask more of a model than of us."""
    assert problems_of(str(check.body)) == []  # type: ignore[attr-defined]


def test_a_plain_assertion_passes_and_its_imports_are_known() -> None:
    """The helpers it uses become the test's imports."""
    body = GOOD + 'spread = np.std([f.step for f in run.facts("clip")])\nassert spread >= 0, f"{spread}"\n'

    assert problems_of(body) == []
    assert helpers_of(body) == ("finite", "np")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("assert (", "the test does not parse"),
        ("import os\n" + GOOD, "a test may not use import"),
        ("def f():\n    return 1\n" + GOOD, "a test may not use functiondef"),
        ("while True:\n    x = 1\n" + GOOD, "a test may not use while"),
        ("try:\n    x = 1\nexcept ValueError:\n    x = 2\n" + GOOD, "a test may not use try"),
        ("f = lambda: 1\n" + GOOD, "a test may not use lambda"),
        ("x = open('/etc/passwd')\n" + GOOD, "a test may not use open"),
        ("x = eval('1')\n" + GOOD, "a test may not use eval"),
        ("x = run.__class__\n" + GOOD, "a test may not use __class__"),
        ("x = getattr(run, 'path')\n" + GOOD, "a test may not use getattr"),
        ("x = run.path\n" + GOOD, "a test may not use run.path"),
        ("r = run\nx = r.path\n" + GOOD, "a test may use run only as"),
        ("n = np\nx = n.load('x')\n" + GOOD, "a test may use np only as"),
        ("x = [run][0].path\n" + GOOD, "a test may use run only as"),
        ("x = np.load('x')\n" + GOOD, "a test may not use np.load"),
        ("x = np.zeros\n" + GOOD, "a test may not use np.zeros"),
        ("x = run.scalar('loss')[1].tofile('x')\n" + GOOD, "a test may not use tofile"),
        ("x = '{0.__class__}'.format(1)\n" + GOOD, "a test may not use format"),
        ("max = 3\n" + GOOD, "a test may not give max another meaning"),
        ("run = 3\nassert run == 3, 'x'", "a test may not give run another meaning"),
        ("x = run.n_steps", "a test has to assert something"),
        ("assert True, 'fine'", "does not depend on the recording"),
        ("x = 3\nassert x == 3, 'fine'", "does not depend on the recording"),
        ("x = run.n_steps\nassert x == x, 'fine'", "compares a value with itself"),
        ("assert run.n_steps > 0", "needs a message"),
        ("x = 1\n" * 30 + GOOD, "the test has 32 lines"),
    ],
)
def test_what_a_test_may_not_do_is_refused_in_words(body: str, words: str) -> None:
    """Before anything is run, and so that the writer can correct it."""
    assert any(words in problem for problem in problems_of(body)), problems_of(body)
