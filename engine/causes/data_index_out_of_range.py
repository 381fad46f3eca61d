"""An id that the table does not have: a token beyond the vocabulary, a label beyond the classes.

Source: PyTorch FAQ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

_PATTERNS = (
    r"index out of range in self",
    r"Target -?\d+ is out of bounds",
    r"device-side assert",
    r"index -?\d+ is out of bounds",
    r"indices should be",
    r"Class values must be smaller than num_classes",
    r"out of bounds for dimension",
)


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of torch's own exception, and the table it struck."""
    failure = case.run.info.failure
    if failure is None or not same_failure(failure, _PATTERNS, ("IndexError", "RuntimeError", "AcceleratorError")):
        return
    target = re.search(r"Target (-?\d+) is out of bounds", failure.message)
    layer = case.run.layer(failure.module) if failure.module else None
    table = (layer.config if layer else {}).get("num_embeddings")
    what = (
        f"target {target[1]} for {case.n_classes} classes"
        if target and case.n_classes
        else f"an id beyond the {table} rows of {failure.module}"
        if table
        else "an index beyond its table"
    )
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}: {what}",
        tool="error_diagnoser",
        subject=failure.module,
        step=case.n_steps + 1,
        where=failure_place(failure),
        phase=failure.phase,
    )
    if layer is not None and layer.kind == "embedding":
        yield supports(
            MODERATE,
            f"{layer.name} (Embedding) was running, with inputs {', '.join(failure.inputs)}",
            tool="error_diagnoser",
            subject=layer.name,
        )


CAUSE = Cause(
    id="data.index_out_of_range",
    title="An index in the data is larger than the table it points into",
    phase="data",
    repair="Make the table as large as the largest id + 1 (num_embeddings, n_classes), or repair ids, labels or the padding id.",
    weigh=weigh,
    mistaken_for={"shape.mismatch": "there sizes disagree, not values"},
    intervention="clamp the ids",
    next_measurement="largest id against the table's size",
    source="PyTorch FAQ",
)
