"""Every number a model writes has to stand in the evidence it cites, up to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import STORIES, Story, write_run
from talk import EVIDENCE, HYPOTHESES

from aitia.agent.diagnosis import by_rules
from aitia.agent.focus import MEASUREMENTS, measure
from aitia.agent.grounding import numbers, violations
from aitia.agent.judge import names_of
from aitia.engine.records import Evidence


@pytest.mark.parametrize(
    "text",
    [
        "grew to 4.3e8 [E2]", "grew to 431,270,000 [E2]", "430,000,000 [E2]", "rose from 1.8 to 4.3127e8 [E2]",
        "between steps 10-57 [E2]", "0.83 of it [E1]", "83% [E1]", "12 percent [E3]", "fc1 and conv2d, 2 layers [E1]",
        "from step 2 on, at line 6 [E1]", "layers.12.weight moved [E1]", "both [E1, E2]: 57", "E1 says 83 %.",
        "Call optimizer.zero_grad() before each backward [E1].", "optimizer.zero_grad is never called [E1]",
        "Use `model.load_state_dict(state)` [E1].", "scheduler.last_epoch[0] of it [E1]",
        "Do 1) this, 2) that, 3) the rest [E1]",
        "one of 2 [E1]", "H1 rather than H2 [E1]",
    ],
)  # fmt: skip
def test_what_was_measured_passes(text: str) -> None:
    """Rounding, per cent, thousands separators, names and places are no violations."""
    assert violations(text, (), EVIDENCE, HYPOTHESES) == []


@pytest.mark.parametrize(
    "text",
    ["grew to 4.2e8 [E2]", "431 million [E2]", "a factor of 240 [E2]", "3% [E1]", "lr=0.5 [E1]", "90% sure [E1]",
     "step 58 [E2]", "1% [E1]", "84 % [E1]"],
)  # fmt: skip
def test_what_was_not_measured_does_not(text: str) -> None:
    """Numbers that were computed, guessed or misread are named."""
    assert any("is not in the cited evidence" in v for v in violations(text, (), EVIDENCE, HYPOTHESES))


@pytest.mark.parametrize(
    "text", ["It is loop.eval_mode_left_on.", "`loop.eval_mode_left_on` [E1]", "it is optimizer.bad_momentum [E1]"]
)
def test_a_cause_beyond_the_list_is_named(text: str) -> None:
    """Also in quotes, and also when there is no such cause at all."""
    assert any("which is not on the list" in v for v in violations(text, ("E1",), EVIDENCE, HYPOTHESES))


@pytest.mark.parametrize("story", STORIES)
def test_what_the_engine_says_passes_its_own_checks(story: Story, tmp_path: Path) -> None:
    """Every explanation and every statement, cited rightly, is grounded: the checks refuse no true sentence."""
    run = write_run(tmp_path, story)
    found = by_rules(run)
    results = [measure(run, name) for name in MEASUREMENTS]
    evidence = [*found.evidence, *(e for r in results if r is not None for e in r.evidence)]

    said = [(h.explanation, (*h.evidence, *h.against)) for h in found.hypotheses]
    said += [(e.statement, (e.id,)) for e in evidence]
    refused = {text: v for text, ids in said if (v := violations(text, ids, evidence, found.hypotheses,
                                                                names=names_of(run)))}  # fmt: skip
    assert refused == {}


def test_what_the_hypotheses_say_themselves_may_be_repeated() -> None:
    """Causes that the engine's own explanation names are no inventions; a layer's number eats no digit of another."""
    told = HYPOTHESES[0].model_copy(update={
        "explanation": "Consequences: model.dead_units.", "mistaken_for": ("data.unscaled_input: there …",),
        "component": "0",
    })  # fmt: skip
    evidence = (Evidence(id="E1", tool="t", statement="deviation 2.2e-07 in layer 0", values={}),)

    assert violations("model.dead_units follow, not data.unscaled_input [E1]", (), evidence, (told,)) == []
    assert violations("a deviation of 2.2e-07 in layer 0 [E1]", (), evidence, (told,)) == []


def test_a_number_of_evidence_that_is_not_cited_does_not_count() -> None:
    """57 stands in E2, and the text cites E1."""
    assert violations("until step 57 [E1]", (), EVIDENCE) == ["the number 57 is not in the cited evidence"]


def test_code_may_be_quoted_where_it_is_the_users() -> None:
    """A quotation that stands in the script needs no measurement; one that does not is checked like any text."""
    script = "opt = SGD(model.parameters(), lr=0.5)"

    assert violations("`lr=0.5` [E1]", (), EVIDENCE, HYPOTHESES, script) == []
    assert violations("`lr=0.7` [E1]", (), EVIDENCE, HYPOTHESES, script) != []


def test_parts_of_the_model_must_exist() -> None:
    """Names of the run pass, with the model's name before them or not; invented ones do not."""
    names = {"fc1", "fc1.weight", "layers.0.attn", "layers.0.attn.weight"}
    text = "fc1.weight and model.fc1.weight, then layers.0 [E1]; torch.float32 and F.conv2d(x) are none of them"

    assert violations(text, (), EVIDENCE, HYPOTHESES, names=names) == []
    assert violations("layers.3.attn moves [E1]", (), EVIDENCE, HYPOTHESES, names=names) == [
        "names layers.3.attn, which is no part of this model"
    ]


@given(st.floats(min_value=1e-9, max_value=1e12), st.integers(min_value=1, max_value=6))
def test_a_measurement_rounded_to_any_length_is_recognized(value: float, digits: int) -> None:
    """The slow and obvious way to round agrees with the check."""
    evidence = [Evidence(id="E1", tool="t", statement="measured", values={"v": value})]

    assert violations(f"{value:.{digits}g} [E1]", (), evidence) == []


def test_numbers_are_read_as_written() -> None:
    """Value, significant digits and per cent."""
    found = [(n.value, n.digits, n.percent) for n in numbers("1.50 then 4e-3, 12 %, 430,000 and x86")]

    assert found == [(1.5, 3, False), (0.004, 1, False), (12.0, 2, True), (430000.0, 2, False)]
