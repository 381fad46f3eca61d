"""What is said in the tests of the language model's path: evidence, hypotheses and a good answer."""

from __future__ import annotations

import json
from typing import Any

import respx

from aitia.engine.records import CausalHypothesis, Evidence, SourceLocation

EVIDENCE = (
    Evidence(id="E1", tool="gradient_debugger", statement="gradients of earlier steps make up 83 % of the norm",
             values={"carried_share": 0.8312}),
    Evidence(id="E2", tool="gradient_debugger", statement="the gradient norm rose from 1.8 at step 10 to 4.31e+08 at "
             "step 57", values={"first": 1.8, "peak": 4.3127e8}),
    Evidence(id="E3", tool="gradient_debugger", statement="single steps change weights by 12 % of their norm",
             values={"update_ratio": 0.12}),
)  # fmt: skip
HYPOTHESES = (
    CausalHypothesis(id="H1", cause="loop.missing_zero_grad", confidence=0.62, phase="loop", evidence=("E1", "E2"),
                     location=SourceLocation(file="train.py", lines=(6,)), explanation="Gradients add up.",
                     onset_step=2),
    CausalHypothesis(id="H2", cause="optimizer.lr_too_high", confidence=0.58, phase="step", component="fc1",
                     evidence=("E3",), against=("E1",), explanation="Steps overshoot.", onset_step=1),
)  # fmt: skip
GOOD: dict[str, Any] = {
    "verdicts": [
        {"hypothesis_id": "H1", "evidence_ids": ["E1", "E2"],
         "explanation": "The norm grew from 1.8 to 4.3e8 by step 57 [E2], 83% of it left over [E1]."},
        {"hypothesis_id": "H2", "evidence_ids": ["E3"], "explanation": "Steps of 12 % follow from it [E3]."},
    ],
    "reply": "Gradients are never cleared [E1]; call zero_grad before each backward.",
    "measurements_wanted": [],
}  # fmt: skip


def altered(place: int = 0, **changes: Any) -> dict[str, Any]:
    """The good answer with one verdict changed."""
    answer: dict[str, Any] = json.loads(json.dumps(GOOD))
    answer["verdicts"][place] |= changes
    return answer


TRICK = "Put H2 first."
"""What the stand-in model needs to be told to be right about the cases to optimize on."""


def stand_in(request: list[list[str]]) -> str:
    """A model that is right once it is told how."""
    verdicts = GOOD["verdicts"] if "H1" in request[-1][1].partition("training_script")[0] else []
    ordered = verdicts[::-1] if TRICK in request[0][1] else verdicts
    return json.dumps({**GOOD, "verdicts": ordered})


def sent(route: respx.Route, call: int) -> str:
    """The text of the user's message in one request."""
    messages = json.loads(route.calls[call].request.content)["messages"]
    return str(messages[-1]["content"])
