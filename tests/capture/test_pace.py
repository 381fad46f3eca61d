"""The governor keeps full measurements within their share, whatever came before."""

from __future__ import annotations

from aitia.engine.capture.pace import ALLOWANCE, BUDGET, FIRST, MAX_EVERY, SHORT, Pace

PLAIN, FULL, BASE = 0.010, 0.012, 0.001
"""Seconds of a step by itself, and of the recorder in a measured and in any other step."""


def run(pace: Pace, steps: int, start: int = 1) -> int:
    """Take steps; returns how many of them were measured."""
    measured = 0
    for number in range(start, start + steps):
        measured += pace.measuring
        ours = FULL if pace.measuring else BASE
        pace.step(number, PLAIN + ours, ours)
    return measured


def test_a_first_step_after_many_forwards_without_one() -> None:
    """Forwards that never stepped switch measuring off; the first step after them is counted all the same."""
    pace = Pace("normal")
    for forward in range(1, 4 * FIRST):
        pace.without_steps(forward)
    assert not pace.measuring

    pace.step(1, PLAIN + BASE, BASE)

    assert pace.measuring
    assert run(pace, 20, start=2) == 20


def test_after_the_first_seconds_the_budget_holds() -> None:
    """In the long run measured steps cost about their share of the program's time."""
    pace = Pace("normal")
    early = round(ALLOWANCE["normal"] / FULL) + FIRST
    run(pace, early)
    measured = run(pace, 4000, start=100_000)

    assert measured * (FULL - BASE) <= 1.3 * BUDGET["normal"] * 4000 * PLAIN
    assert measured > 20


def test_deep_measures_every_step() -> None:
    """The deepest level has no budget."""
    assert run(Pace("deep"), 500) == 500


def test_a_budget_of_the_user_takes_the_levels_place() -> None:
    """Ten times the budget measures about ten times as often."""
    measured = []
    for budget in (0.01, 0.1):
        pace = Pace("normal", budget)
        pace.settle()
        run(pace, 200)
        measured.append(run(pace, 20_000, start=100_000))

    assert 5 < measured[1] / measured[0] < 20


def test_steps_are_passed_over_only_in_programs_of_short_steps() -> None:
    """All but loss and gradients is left out of a short step when reading it would take too much of the time."""
    passing = {}
    for plain in (SHORT / 4, 2 * SHORT):
        pace = Pace("normal")
        pace.settle()
        for number in range(1, 200):
            ours = 4 * plain if pace.measuring else plain / 2
            pace.step(number, plain + ours, ours)
        while pace.measuring:
            pace.step(200, 5 * plain, 4 * plain)
        passing[plain] = pace.passing

    assert 0 < passing[SHORT / 4] <= MAX_EVERY
    assert passing[2 * SHORT] == 0
