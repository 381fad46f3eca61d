"""Within a family the report says what was taken for what, and what would tell the two apart."""

from __future__ import annotations

from aitia.engine.causes import CAUSES
from aitia.evals.confusion import confusion, markdown, separation
from aitia.evals.score import FAMILIES, Case, Reply
from aitia.evals.zoo import Outcome, Truth


def case(cause: str, said: str, number: int) -> Case:
    """A faulty program that was answered with one cause, or with a verdict."""
    truth = Truth.model_construct(cause=cause, outcome=Outcome.model_construct(), also_causes=(), also_right=())
    named = said in CAUSES
    reply = Reply("faulty" if named else said, (frozenset({said}),) if named else ())
    return Case(f"p{number}", "faulty", 0, truth, (), {"aitia": reply})


CASES = [
    case(true, said, i)
    for i, (true, said) in enumerate([
        ("optimizer.lr_too_low", "optimizer.lr_too_low"),
        ("optimizer.lr_too_low", "optimizer.frozen_by_mistake"),
        ("model.dead_units", "optimizer.lr_too_low"),
        ("model.dead_units", "healthy"),
        ("numerics.sqrt_at_zero_backward", "numerics.sqrt_at_zero_backward"),
        ("data.nan_or_inf_input", "numerics.log_zero"),
    ])
]  # fmt: skip


def test_matrix_counts_every_answer_once() -> None:
    """Rows are true causes, columns first answers, right ones on the diagonal."""
    found = confusion(CASES, "aitia")
    flat = found["flat loss"]

    assert (flat["n"], flat["right"]) == (4, 1)
    assert flat["matrix"]["optimizer.lr_too_low"] == {"optimizer.lr_too_low": 1, "optimizer.frozen_by_mistake": 1}
    assert flat["matrix"]["model.dead_units"] == {"optimizer.lr_too_low": 1, "healthy": 1}
    assert found["sudden NaN"]["matrix"]["numerics.sqrt_at_zero_backward"] == {"numerics.sqrt_at_zero_backward": 1}
    assert [c["true"] for c in found["sudden NaN"]["confused"]] == ["data.nan_or_inf_input"]


def test_every_confusion_carries_what_would_separate_it() -> None:
    """The sentence is the causes' own; where they have none it says so."""
    text = "\n".join(markdown(confusion(CASES, "aitia")))

    how = CAUSES["data.nan_or_inf_input"].mistaken_for["numerics.log_zero"]
    assert (
        f"data.nan_or_inf_input was taken for numerics.log_zero. What separates them: data.nan_or_inf_input against \
numerics.log_zero: {how}."
        in text
    )
    assert "model.dead_units was answered with healthy." in text
    assert text.count("\n- ") == 4
    assert "No measurement that separates" in "\n".join(
        markdown(confusion([case("model.dead_units", "artifact.tied_weights_lost", 9)], "aitia"))
    )


def test_separation_is_looked_up_in_both_directions() -> None:
    """`mistaken_for` of either cause will do."""
    one = next(c for c in CAUSES.values() if c.mistaken_for)
    other, how = next(iter(one.mistaken_for.items()))

    assert how in str(separation(one.id, other))
    assert separation(other, one.id) is not None


def test_families_hold_known_causes() -> None:
    """A family's member is in the catalogue, but for what one processor cannot show."""
    unknown = {m for members in FAMILIES.values() for m in members if m not in CAUSES}

    assert unknown <= {"ddp.forward_bypasses_wrapper"}
