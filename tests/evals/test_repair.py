"""A repair counts when the program is well with seeds that nobody has seen."""

from __future__ import annotations

from aitia.evals.repair import Repair, _reseeded, summary
from aitia.evals.zoo import load_all, render


def test_the_seed_of_a_repaired_program_can_be_changed() -> None:
    """Rendering with another seed and changing the seed afterwards come to the same."""
    program = load_all("dev")[0]
    once = _reseeded(program, program.faults, render(program, program.faults, 0).source, 12)

    assert once == render(program, program.faults, 12).source
    assert once != render(program, program.faults, 0).source


def made(name: str, *, faulty: bool = True, changed: bool = True, holds: int = 3, proved: bool = True) -> Repair:
    """A repair in one line."""
    return Repair(name, faulty, "x.y", changed, holds, proved, proved, 4.0, 2.0)


def test_shares_are_counted_over_the_right_programs() -> None:
    """Wrongly proved is a share of the proved, a change to a sound program a share of the sound."""
    found = summary([
        made("a"), made("b", holds=2), made("c", changed=False, holds=0, proved=False),
        made("d", proved=False), made("e", faulty=False, changed=False, holds=0, proved=False),
    ])  # fmt: skip

    assert found["repaired"]["mean"] == 0.5
    assert found["proved"]["mean"] == 0.5
    assert found["wrongly_proved"]["mean"] == 0.5
    assert found["sound_changed"]["mean"] == 0.0
