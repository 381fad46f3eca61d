"""A live model and one batch as a run: a few training steps on a copy, under the recorder."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any, Final

from aitia.agent.errors import AnalysisError
from aitia.agent.request import DebuggingRequest
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

STEPS = 8
"""Enough for the order of calls, update norms and a direction of the loss; the user waits for them."""
RATE = 1e-3
"""Rate of the plain SGD that moves the copy: small enough to leave what is wrong as it is."""
OURS: Final = frozenset({
    "data.repeated_batch", "data.order_not_shuffled", "optimizer.lr_too_low", "eval.underfit_stopped_early",
    "data.class_imbalance",
})  # fmt: skip
"""Causes that this experiment itself would show: it has one batch, and a rate of ours."""


def record(request: DebuggingRequest) -> Run:
    """Train a copy of the model on the batch for a few steps. The model, its gradients and the random state stay."""
    import torch

    if not isinstance(request.model, torch.nn.Module):
        raise AnalysisError(f"expected a torch.nn.Module as model, found {type(request.model).__name__}.")
    if request.batch is None:
        raise AnalysisError("a live model is examined on a batch: give batch=(inputs, targets).")
    inputs, targets = request.batch
    try:
        model = copy.deepcopy(request.model)
    except Exception as error:  # noqa: BLE001 - whatever the user's module raises when it is copied
        raise AnalysisError(
            f"the model cannot be copied ({error}): record it with `with aitia.watch(model):`."
        ) from None
    from aitia.engine.capture.watch import watch

    runs = Path(tempfile.mkdtemp(prefix="aitia-live-"))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        # The copy's own faults are what is looked for: an exception becomes part of the run.
        try:
            with watch(model, name="live", runs=runs) as recorder:
                _train(torch, model, inputs, targets, request.loss)
        except Exception as error:  # noqa: BLE001 - the recorder has it; without a recording it is the answer itself
            if recorder.path is None:
                raise AnalysisError(f"the model fails on this batch: {type(error).__name__}: {error}") from None
    if recorder.path is None:
        raise AnalysisError("nothing was recorded: AITIA=0 switches the recorder off.")
    return Run(recorder.path)


def without_ours(diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis without what the experiment itself causes."""
    kept = tuple(h for h in diagnosis.hypotheses if h.cause not in OURS)
    if len(kept) == len(diagnosis.hypotheses):
        return diagnosis
    if kept:
        return diagnosis.model_copy(update={"hypotheses": kept})
    text = f"Nothing wrong was seen in {STEPS} steps on this batch."
    return diagnosis.model_copy(update={"hypotheses": (), "verdict": "healthy", "summary": text, "onset_step": None})


def _train(torch: Any, model: Any, inputs: Any, targets: Any, loss: Any) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
        value = (loss or _default_loss(torch, targets))(output, targets)
        value.backward()
        optimizer.step()


def _default_loss(torch: Any, targets: Any) -> Any:
    functional = torch.nn.functional
    return functional.mse_loss if targets.is_floating_point() else functional.cross_entropy
