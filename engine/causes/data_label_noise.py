"""Labels of particular classes are swapped or merged.

Source: TheDeepChecker; DeepCrime TCL.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Errors that sit in one or two cells of the confusion table, while all other classes are learned."""
    for fact in case.run.facts("confusion"):
        table = np.asarray(fact.data.get("table") or [], dtype=float)
        if fact.data.get("grad") is not True or table.ndim != 2 or len(table) < 3:
            continue
        total, errors = table.sum(), table.copy()
        np.fill_diagonal(errors, 0.0)
        if total < 200 or errors.sum() < 0.03 * total:
            continue
        a, b = (int(i) for i in np.unravel_index(int(errors.argmax()), errors.shape))
        pair = errors[a, b] + errors[b, a]
        share = float(pair / errors.sum())
        mixed = float(errors[a, b] / max(table[a].sum(), 1e-9))
        others = [i for i in range(len(table)) if i not in {a, b} and table[i].sum() > 0]
        good = float(np.mean([table[i, i] / table[i].sum() for i in others])) if others else 0.0
        chance_share = 2.0 / (len(table) * (len(table) - 1))
        if share > max(0.6, 4 * chance_share) and mixed > 0.15 and good > 0.9:
            yield supports(
                STRONG,
                f"{100 * share:.0f} % of the training errors are between classes {a} and {b} ({100 * mixed:.0f} % of class "
                f"{a} is taken for {b}), while the other classes reach {100 * good:.0f} %: their labels are mixed up",
                tool="layer_analyzer",
                step=1,
                share=share,
                mixed=mixed,
                others=good,
            )
            return


CAUSE = Cause(
    id="data.label_noise",
    title="Labels of particular classes are swapped, merged or clipped",
    phase="data",
    repair="Repair the map from raw labels to class ids (1-based labels, merged names).",
    mistaken_for={
        "data.label_misaligned": "there all classes are affected",
        "eval.underfit_stopped_early": "there errors are spread",
    },
    explains=("eval.underfit_stopped_early",),
    intervention="none at run time",
    next_measurement="confusion table on hand-checked samples",
    weigh=weigh,
    source="DeepCrime TCL",
)
