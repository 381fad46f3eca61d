"""load_state_dict(strict=False) matched nothing: the model keeps its random weights.

Source: pytorch/examples#1029; simple-HRNet#79.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the model's tensors that a non-strict load filled."""
    for fact in case.run.facts("load_state_dict"):
        matched, total = float(fact.data.get("matched") or 0), float(fact.data.get("n_model") or 0)
        given = float(fact.data.get("n_given") or 0)
        if fact.data.get("strict") is not False or total < 2 or given < 1:
            continue
        share = matched / max(1.0, min(total, given))
        if share < 0.5:
            yield supports(
                DECISIVE if matched == 0 or share < 0.2 else STRONG,
                f"load_state_dict(strict=False) matched {matched:.0f} of {given:.0f} given tensors ({total:.0f} in the model): the "
                "rest kept its initial values",
                tool="layer_analyzer",
                step=max(1, fact.step),
                where=case.place(fact),
                matched=matched,
                given=given,
                total=total,
            )
            return


CAUSE = Cause(
    id="artifact.load_skips_keys",
    title="A non-strict load skipped nearly all keys, so the model is still random",
    phase="save",
    repair="Strip the prefix of the keys (module., _orig_mod., model.) and load with strict=True.",
    mistaken_for={"init.overwritten": "there the load succeeds and is undone later"},
    explains=("eval.underfit_stopped_early", "optimizer.frozen_by_mistake"),
    intervention="strict=True",
    next_measurement="missing and unexpected keys of the load",
    weigh=weigh,
    source="simple-HRNet#79",
)
