"""Rendering, marks and outcomes of zoo programs."""

from __future__ import annotations

import pytest

from aitia.evals.zoo import Outcome, Program, Truth, ZooError, render, satisfies

ONE = """import torch
torch.manual_seed(0)  #% seed
for step in range(3):
    #% if fault
    loss.backward()  #% here
    #% else
    zero()
    loss.backward()
    #% endif
    step()  #% here
"""
TWO = """start()
#% if fault:a
one()  #% here:a
#% else
good_one()
#% if fault:b
nested()  #% here:b
#% endif
#% endif
#% if fault:b
two()  #% here:b
#% endif
end()
"""


def program(text: str, two: bool = False, healthy: bool = False) -> Program:
    """A program around `text`; its truth only decides which faults it has."""
    outcome = {"pattern": r"acc (\S+)", "repaired": "> 0.9"} | ({} if healthy else {"faulty": "< 0.5"})
    truth = Truth.model_validate(
        {
            "cause": "healthy" if healthy else "loss.sign_flipped",
            "causes": ["loss.sign_flipped", "optimizer.lr_too_low"] if two else [],
            "phase": None if healthy else "loss",
            "summary": "s",
            "sources": [] if healthy else ["a source"],
            "outcome": outcome,
        }
    )
    return Program("example", "dev", text, truth)


def test_renders_the_faulty_branch_and_numbers_its_lines() -> None:
    """Line numbers are those of the rendered program, not of the annotated one."""
    rendered = render(program(ONE))
    lines = rendered.source.splitlines()

    assert lines == [
        "import torch",
        "torch.manual_seed(0)",
        "for step in range(3):",
        "    loss.backward()",
        "    step()",
    ]
    assert rendered.lines == (4, 5)
    assert rendered.lines_of == {"fault": (4, 5)}


def test_renders_the_repaired_branch_without_accused_lines() -> None:
    """Without the fault nobody is accused, not even a common line."""
    rendered = render(program(ONE), faults=())

    assert "    zero()\n    loss.backward()\n    step()\n" in rendered.source
    assert rendered.lines == ()


def test_seed_replaces_the_first_integer_only() -> None:
    """Digits inside names stay as they are."""
    text = 'parser.add_argument("--seed", type=int, default=0, nargs=1)  #% seed\nrng2 = make(5)  #% seed\n'
    rendered = render(program(text, healthy=True), seed=3)

    assert rendered.source == 'parser.add_argument("--seed", type=int, default=3, nargs=1)\nrng2 = make(3)\n'


@pytest.mark.parametrize(
    ("faults", "expected", "lines"),
    [
        ({"a", "b"}, ["start()", "one()", "two()", "end()"], {"a": (2,), "b": (3,)}),
        ({"a"}, ["start()", "one()", "end()"], {"a": (2,)}),
        ({"b"}, ["start()", "good_one()", "nested()", "two()", "end()"], {"b": (3, 4)}),
        (set(), ["start()", "good_one()", "end()"], {}),
    ],
)
def test_two_faults_are_switched_one_by_one(
    faults: set[str], expected: list[str], lines: dict[str, tuple[int, ...]]
) -> None:
    """Each fault has its own switch and its own accused lines, also when switches nest."""
    rendered = render(program(TWO, two=True), faults)

    assert rendered.source.splitlines() == expected
    assert rendered.lines_of == lines


@pytest.mark.parametrize(
    "text",
    [
        "#% if fault\nx\n",
        "#% endif\n",
        "#% else\n",
        "#% if fault:c\n#% endif\n",
        "#% if falt\n#% endif\n",
        "x  #% here:b\n",
        "x  #% hear\n",
        "x = seed  #% seed\n",
    ],
)
def test_refuses_malformed_switches_and_marks(text: str) -> None:
    """A typo never ends up in a rendered program."""
    with pytest.raises(ZooError, match="example"):
        render(program(text))


def test_refuses_an_unknown_fault() -> None:
    """Asking for a fault the program does not have names those it has."""
    with pytest.raises(ZooError, match=r"\['fault'\]"):
        render(program(ONE), {"b"})


@pytest.mark.parametrize(
    ("value", "condition", "holds"),
    [
        (0.5, "< 0.6", True),
        (0.6, "< 0.6", False),
        (0.6, ">= 0.6", True),
        (0.3, "> 0.2, < 0.5", True),
        (0.6, "> 0.2, < 0.5", False),
        (float("nan"), "nan", True),
        (float("inf"), "nan", True),
        (1.0, "nan", False),
        (float("nan"), "> 0", False),
    ],
)
def test_conditions(value: float, condition: str, holds: bool) -> None:
    """NaN satisfies no comparison, and `nan` means not finite."""
    assert satisfies(value, condition) is holds


@pytest.mark.parametrize(("take", "expected"), [("last", 2.0), ("first", 3.0), ("min", 1.0), ("max", 3.0)])
def test_outcome_takes_one_number(take: str, expected: float) -> None:
    """The number that counts is chosen among all that match."""
    outcome = Outcome.model_validate({"pattern": r"loss (\S+)", "take": take, "repaired": "< 1"})

    assert outcome.read("loss 3\nloss 1.0\nloss 2e0\n") == expected
    assert outcome.read("nothing") is None


@pytest.mark.parametrize(
    "outcome",
    [
        {},
        {"pattern": "no group", "repaired": "< 1"},
        {"pattern": r"(\S+)"},
        {"pattern": r"(\S+)", "repaired": "smaller than 1"},
        {"pattern": r"(\S+)", "repaired": "< 1", "crash": "RuntimeError"},
    ],
)
def test_refuses_an_outcome_that_cannot_be_judged(outcome: dict[str, str]) -> None:
    """Half an outcome is no outcome."""
    with pytest.raises(ValueError, match=r"pattern|crash|comparisons"):
        Outcome.model_validate(outcome)
