"""A live model and one batch as a run: some training steps on a copy, under the recorder."""

from __future__ import annotations

import copy
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aitia.agent.errors import AnalysisError
from aitia.agent.request import DebuggingRequest, Level
from aitia.engine.case import Case
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run
from aitia.engine.symptoms import symptoms

STEPS: Final[dict[Level, int]] = {"basic": 8, "detailed": 30, "comprehensive": 60}
"""8 show the order of calls and the updates, 30 a direction of the loss, 60 what builds up; the user waits for them."""
SECONDS = 20.0
"""A large model takes fewer steps: a question is not a training."""
RATE = 1e-3
"""Rate of the plain SGD that moves the copy where no optimizer is given: too small to hide what is wrong."""
OURS: Final = frozenset({
    "data.repeated_batch", "data.order_not_shuffled", "eval.underfit_stopped_early", "eval.overfit",
    "data.class_imbalance", "loop.eval_mode_left_on", "optimizer.frozen_by_mistake",
})  # fmt: skip
"""Causes that this experiment itself would show: it has one batch, no end, no evaluation, and no past in which
frozen layers could have been loaded."""
OUR_OPTIMIZER: Final = frozenset({"optimizer.lr_too_low", "optimizer.lr_too_high", "optimizer.silent_no_update"})
"""And those of a rate that is ours."""


@contextmanager
def recorded(request: DebuggingRequest, level: Level, root: Path | None) -> Iterator[Run]:
    """A run of a copy of the model on the batch; kept under `root`, or deleted when it was read.

    The model, its gradients, its optimizer and the random state stay as they were. Raises `AnalysisError` where there
    is nothing to train.
    """
    torch, model, optimizer = _copied(request)
    from aitia.engine.capture.recorder import current
    from aitia.engine.capture.watch import watch

    running = current()
    if running is not None:
        raise AnalysisError("a recording is under way in this process: ask about that run instead of its model.")
    runs = root or Path(tempfile.mkdtemp(prefix="aitia-live-"))
    try:
        with _random_kept(torch, model), torch.enable_grad():
            # The copy's own faults are what is looked for: an exception becomes part of the run.
            try:
                with watch(model, optimizer, name="live", runs=runs) as recorder:
                    _train(model, optimizer, request, STEPS[level])
            except AnalysisError:
                raise
            except Exception as error:  # noqa: BLE001 - the recorder has it; without one it is the answer itself
                if recorder.path is None:
                    raise AnalysisError(f"the model fails on this batch: {type(error).__name__}: {error}") from None
        if recorder.path is None:
            raise AnalysisError("nothing was recorded: AITIA=0 switches the recorder off.")
        yield Run(recorder.path)
    finally:
        if root is None:
            shutil.rmtree(runs, ignore_errors=True)


def without_ours(diagnosis: Diagnosis, request: DebuggingRequest, run: Run) -> Diagnosis:
    """The diagnosis without what the experiment itself causes."""
    own_rate = request.optimizer is None
    ours = OURS | OUR_OPTIMIZER if own_rate else OURS
    kept = tuple(h for h in diagnosis.hypotheses if h.cause not in ours)
    # that the loss hardly moves in so few steps is no sign of anything, where their length was our choice
    ours_only = own_rate and not kept and {s.name for s in symptoms(Case(run))} == {"flat"}
    if len(kept) == len(diagnosis.hypotheses) and not ours_only:
        return diagnosis
    if kept:
        return diagnosis.model_copy(update={"hypotheses": kept})
    text = f"Nothing wrong was seen in {run.n_steps} steps on this batch."
    return diagnosis.model_copy(update={"hypotheses": (), "verdict": "healthy", "summary": text, "onset_step": None})


def _copied(request: DebuggingRequest) -> tuple[Any, Any, Any]:
    """torch, and copies of model and optimizer that belong together as the originals do."""
    import torch

    if not isinstance(request.model, torch.nn.Module):
        raise AnalysisError(f"expected a torch.nn.Module as model, found {type(request.model).__name__}.")
    if request.batch is None:
        raise AnalysisError("a live model is examined on a batch: give batch=(inputs, targets).")
    given = request.optimizer
    if given is not None and not isinstance(given, torch.optim.Optimizer):
        raise AnalysisError(f"expected a torch.optim.Optimizer as optimizer, found {type(given).__name__}.")
    try:
        model, optimizer = copy.deepcopy((request.model, given))  # at once: the copies share their tensors
    except Exception as error:  # noqa: BLE001 - whatever the user's module raises when it is copied
        raise AnalysisError(
            f"the model cannot be copied ({error}): record it with `with aitia.watch(model):`."
        ) from None
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained and optimizer is None:
        raise AnalysisError("no parameter of the model requires a gradient, so nothing of it can be trained.")
    return torch, model, optimizer if optimizer is not None else torch.optim.SGD(trained, lr=RATE)


@contextmanager
def _random_kept(torch: Any, model: Any) -> Iterator[None]:
    """Leave the random state of Python, numpy, torch and the model's own devices as it was."""
    import numpy as np

    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


def _train(model: Any, optimizer: Any, request: DebuggingRequest, steps: int) -> None:
    inputs, targets = request.batch or ((), None)
    started = time.monotonic()
    for _ in range(steps):
        optimizer.zero_grad()
        if isinstance(inputs, Mapping):
            output = model(**inputs)
        else:
            output = model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
        _loss(request.loss, output, targets).backward()
        optimizer.step()
        if time.monotonic() - started > SECONDS:
            return


def _loss(given: Callable[[Any, Any], Any] | None, output: Any, targets: Any) -> Any:
    """The user's loss, else the one in the output, else the usual one for such targets."""
    if given is not None:
        return given(output, targets)
    own = getattr(output, "loss", None)
    if own is not None:
        return own
    if targets is None:
        raise AnalysisError("without targets a loss is needed: give loss=function of (output, targets).")
    from torch.nn import functional

    return (functional.mse_loss if targets.is_floating_point() else functional.cross_entropy)(output, targets)
