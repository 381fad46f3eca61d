"""What a sound run of the program has to show, cause by cause: the assertion of the regression test.

Each body sees `run` (an `aitia.engine.store.reader.Run` of the recorded program) and asserts one number that a reader
of the test understands. Causes without an entry are asserted through the diagnosis itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from aitia.engine.records import CausalHypothesis
from aitia.engine.store.reader import Run

SOON = 20
"""Steps after which a fault of the loop or of the optimizer shows."""
LONG_SECONDS = 60.0
"""A program that ran longer than this is not run as a whole by its test."""
LONG_STEPS = 300
"""Steps of such a program that its test runs, unless the fault began later."""
MAX_NAMES = 6
"""Parameters that a test names; those of one layer tell as much as those of ten."""


@dataclass(frozen=True)
class Invariant:
    """One assertion about a recorded run."""

    name: str
    """What holds, as the test's name."""
    claim: str
    """What holds, as a sentence."""
    body: str
    """Python lines that end in the assertion."""
    imports: tuple[str, ...] = ()
    """Names out of `aitia.testing`, `np` for numpy."""
    steps: int | None = SOON
    """Optimizer steps to run; None for the whole program."""


CLEARED = Invariant(
    "gradients_of_earlier_steps_are_cleared",
    "No step starts with gradients that an earlier step left over.",
    """left_over = finite(run.table("step")["carried_grad_norm"]).max(initial=0.0)

assert left_over == 0, f"gradients of norm {left_over:.3g} were left over from the step before\"""",
    ("finite",),
)
REACHES_STEP = Invariant(
    "the_step_gets_a_gradient",
    "The optimizer steps with the gradient that backward computed, not with nothing.",
    """entered = finite(run.table("step")["grad_norm"]).max(initial=0.0)

assert entered > 0, "no optimizer step got a gradient, though backward ran\"""",
    ("finite",),
)
STEPPED = Invariant(
    "the_optimizer_steps",
    "Every batch that goes backward is followed by an optimizer step.",
    """backwards = len(run.table("backward")["step"])

assert run.n_steps > 0, f"backward ran {backwards} times and the optimizer never stepped\"""",
    (),
    None,
)
LOGITS = Invariant(
    "the_loss_gets_logits",
    "What is given to the loss is not normalized already: its rows do not sum to 1.",
    """rows = run.table("loss")
distance = finite(rows["in_rowsum"][rows["grad"] == 1]).min(initial=1.0)

assert distance > 1e-3, f"the rows given to the loss sum to 1 within {distance:.1g}: they are probabilities\"""",
    ("finite",),
)
NOT_NEGATIVE = Invariant(
    "the_negative_log_likelihood_is_not_negative",
    "The loss gets logarithms of probabilities, so it is never below 0.",
    """rows = run.table("loss")
lowest = finite(rows["value"][rows["grad"] == 1]).min(initial=0.0)

assert lowest >= 0, f"the loss went down to {lowest:.3g}; a negative log likelihood of probabilities is at least 0\"""",
    ("finite",),
)
SAME_SHAPE = Invariant(
    "prediction_and_target_have_one_shape",
    "Prediction and target have the same shape, so that nothing is broadcast.",
    """differ = [f.data for f in run.facts("loss_call") if f.data.get("broadcast")]

assert differ == [], f"prediction {differ[0]['input_shape']} against target {differ[0]['target_shape']}\"""",
)
FALLS = Invariant(
    "the_loss_is_minimized",
    "The loss ends no higher than it began.",
    """rows = run.table("loss")
loss = finite(rows["value"][rows["grad"] == 1])
first, last = (np.median(loss[:10]), np.median(loss[-10:])) if len(loss) else (0.0, 0.0)

assert last <= first, f"the loss rose from {first:.4g} to {last:.4g}\"""",
    ("finite", "np"),
    60,
)
SMALL_STEPS = Invariant(
    "a_step_changes_the_weights_by_a_small_part",
    "One optimizer step changes no weight matrix by more than a tenth of its norm, in the median over steps.",
    """ratio = float(np.median(update_ratios(run)))

assert ratio < 0.1, f"a step changes the weights by {100 * ratio:.0f} % of their norm\"""",
    ("np", "update_ratios"),
)
STEPS_SHOW = Invariant(
    "a_step_shows_in_the_weights",
    "One optimizer step changes some weight matrix by more than a hundred thousandth of its norm.",
    """ratio = float(np.median(update_ratios(run)))

assert ratio > 1e-5, f"a step changes the weights by {ratio:.1g} of their norm: nothing can be learned like this\"""",
    ("np", "update_ratios"),
)
PER_EPOCH = Invariant(
    "the_scheduler_steps_per_epoch",
    "The scheduler steps once per epoch, not once per batch.",
    """rates = [f.data.get("steps_per_optimizer_step") or 0.0 for f in run.facts("scheduler_rate")]

assert max(rates, default=0.0) < 0.5, f"the scheduler steps {max(rates):.2f} times per optimizer step\"""",
    (),
    None,
)
EVALUATES = Invariant(
    "evaluation_runs_in_evaluation_mode",
    "Without gradients, the model runs in evaluation mode.",
    """wrong = [f.data for f in run.facts("forward_context") if not f.data["grad"] and f.data["training"]]

assert wrong == [], f"{sum(d.get('n', 1) for d in wrong)} forward passes of the evaluation ran in training mode\"""",
    (),
    None,
)
TRAINS = Invariant(
    "training_runs_in_training_mode",
    "With gradients, the model runs in training mode.",
    """wrong = [f.data for f in run.facts("forward_context") if f.data["grad"] and not f.data["training"]]

assert wrong == [], f"{sum(d.get('n', 1) for d in wrong)} training passes ran in evaluation mode\"""",
    (),
    None,
)
CLIPS_AFTER_BACKWARD = Invariant(
    "gradients_are_clipped_after_backward",
    "Clipping happens when there are gradients to clip.",
    """early = [f for f in run.facts("clip") if f.data.get("before_backward")]

assert early == [], f"gradients were clipped before backward at step {early[0].step}\"""",
)
CLIPS_AFTER_UNSCALE = Invariant(
    "gradients_are_unscaled_before_they_are_clipped",
    "Clipping sees gradients without the loss scale.",
    """scaled = [f.data for f in run.facts("clip") if f.data.get("before_unscale")]

assert scaled == [], f"gradients were clipped while they were multiplied by {scaled[0].get('loss_scale')}\"""",
)
FINITE = Invariant(
    "every_value_is_finite",
    "Loss, gradients and parameters stay finite.",
    """found = run.fact("nonfinite")

assert found is None, f"step {found.step}: the first NaN or Inf is in the {found.data.get('kind')}\"""",
    (),
    None,
)
RELEASED = Invariant(
    "old_graphs_are_released",
    "The graph of a batch is gone when the next ones have been trained.",
    """alive = max((f.data.get("live_graphs") or 0 for f in run.facts("memory")), default=0)

assert alive <= 3, f"{alive} graphs of earlier batches were still alive\"""",
    (),
    60,
)
COPIED = Invariant(
    "the_kept_state_is_a_copy",
    "The state that is kept while training goes on shares no memory with the model.",
    """aliased = [f.data for f in run.facts("state_dict") if f.data.get("aliased")]

assert aliased == [], f"{len(aliased)} kept states change with every optimizer step\"""",
    (),
    None,
)
SHUFFLED = Invariant(
    "training_batches_are_shuffled",
    "The loader of the training batches draws a new order each epoch.",
    """ordered = [f.data for f in run.facts("loader") if f.data.get("training") and f.data.get("shuffle") is False]

assert ordered == [], f"{ordered[0].get('n_samples')} training samples come in the same order in every epoch\"""",
)
AVERAGED = Invariant(
    "the_loss_is_an_average",
    "The loss is averaged over the batch, so that its gradient does not grow with the batch.",
    """summed = [f.data for f in run.facts("loss_call") if f.data.get("reduction") == "sum"]

assert summed == [], f"{summed[0].get('function')} sums over the batch\"""",
)
ENDS_WELL = Invariant(
    "the_program_runs",
    "The program takes its first steps without an exception.",
    """failure = run.info.failure

assert failure is None, f"{failure.type} in {failure.module or failure.file}: {failure.message}\"""",
)
AGREES = Invariant(
    "labels_belong_to_their_features",
    "The nearest neighbour of a sample has the same label more often than chance.",
    """found = run.fact("sample_neighbours")

assert found is not None, "the program shows too few samples to compare neighbours"
agreement, chance = found.data["agreement"], found.data["chance"]
assert agreement > 1.5 * chance, f"neighbours agree in {agreement:.0%} of the cases, chance is {chance:.0%}\"""",
    (),
    None,
)
SCALED = Invariant(
    "the_input_is_scaled",
    "The input has a standard deviation of the order of 1.",
    """rows = run.table("batch")
spread = float(np.median(finite(rows["in_std"][rows["grad"] == 1])))

assert spread < 20, f"the input's standard deviation is {spread:.3g}\"""",
    ("finite", "np"),
)
SUPERVISED = Invariant(
    "every_batch_has_targets",
    "Some targets of every training batch count.",
    """rows = run.table("loss")
share = finite(rows["valid_share"][rows["grad"] == 1])

assert share.min(initial=1.0) > 0, f"{(share == 0).sum()} of {len(share)} losses had no target that counts\"""",
    ("finite",),
)

INVARIANTS: Final[dict[str, Invariant]] = {
    "amp.clip_before_unscale": CLIPS_AFTER_UNSCALE,
    "artifact.best_state_aliased": COPIED,
    "data.index_out_of_range": ENDS_WELL,
    "data.label_misaligned": AGREES,
    "data.nan_or_inf_input": FINITE,
    "data.order_not_shuffled": SHUFFLED,
    "data.supervision_field_dropped": SUPERVISED,
    "data.targets_mostly_masked": SUPERVISED,
    "data.unscaled_input": SCALED,
    "device.mismatch": ENDS_WELL,
    "dtype.mismatch": ENDS_WELL,
    "eval.mode_not_eval": EVALUATES,
    "graph.backward_twice": ENDS_WELL,
    "graph.gradient_leak_between_networks": CLEARED,
    "graph.inplace_modification": ENDS_WELL,
    "loop.clip_before_backward": CLIPS_AFTER_BACKWARD,
    "loop.eval_mode_left_on": TRAINS,
    "loop.missing_zero_grad": CLEARED,
    "loop.zero_grad_after_backward": REACHES_STEP,
    "loss.double_softmax": LOGITS,
    "loss.missing_log": NOT_NEGATIVE,
    "loss.reduction_scale": AVERAGED,
    "loss.shape_broadcast": SAME_SHAPE,
    "loss.sign_flipped": FALLS,
    "numerics.divide_by_zero_scale": FINITE,
    "numerics.exp_overflow": FINITE,
    "numerics.exploding_gradient": FINITE,
    "numerics.log_zero": FINITE,
    "numerics.masked_branch_nan": FINITE,
    "numerics.sqrt_at_zero_backward": FINITE,
    "optimizer.eps_underflow": FINITE,
    "optimizer.lr_too_high": SMALL_STEPS,
    "optimizer.lr_too_low": STEPS_SHOW,
    "optimizer.never_stepped": STEPPED,
    "resource.graph_retained_by_history": RELEASED,
    "scheduler.stepped_per_batch": PER_EPOCH,
    "shape.mismatch": ENDS_WELL,
}
"""Cause → what has to hold."""

MUST_MOVE = frozenset({
    "graph.checkpoint_no_input_grad", "graph.detach_in_generator_step", "graph.no_grad_region", "graph.stale_module",
    "model.submodule_not_registered", "optimizer.frozen_by_mistake", "optimizer.params_missing_from_groups",
    "optimizer.silent_no_update", "optimizer.stale_param_reference",
})  # fmt: skip
"""Causes whose sign is a parameter that stands still."""


def invariant(run: Run, hypothesis: CausalHypothesis) -> Invariant:
    """What the regression test of this hypothesis asserts."""
    if hypothesis.cause in MUST_MOVE and (names := _accused_parameters(run, hypothesis)):
        return _moves(names, _since(run, hypothesis))
    return bounded(run, hypothesis, INVARIANTS.get(hypothesis.cause) or by_diagnosis(hypothesis.cause))


def bounded(run: Run, hypothesis: CausalHypothesis, check: Invariant) -> Invariant:
    """The same assertion on a part of the program, where the whole of it takes longer than a test may."""
    info = run.info
    seconds = (info.ended or info.created) - info.created
    if check.steps is not None or seconds <= LONG_SECONDS:
        return check
    return replace(check, steps=max(LONG_STEPS, 2 * (hypothesis.onset_step or 0)))


NOTHING_ACCUSED = "assert accused == [], f\"accused: {', '.join(accused)}\""
"""The last line of a test by diagnosis."""


def by_diagnosis(cause: str) -> Invariant:
    """The assertion that nothing is accused any more: the whole program is run and judged.

    A repair that only trades one accusation for another has proved nothing.
    """
    return Invariant(
        f"is_free_of_{cause.partition('.')[2]}",
        f"aitia no longer accuses {cause}, nor surely anything else in its place.",
        f'accused = sorted(causes(run, suspected="{cause}"))\n\n{NOTHING_ACCUSED}',
        ("causes",),
        None,
    )


def _moves(names: list[str], since: int) -> Invariant:
    return Invariant(
        "the_accused_parameters_are_trained",
        "Optimizer steps change these parameters.",
        f"parameters = {json.dumps(names)}\n"
        f"still = [name for name in parameters if largest_update(run, name, since={since}) == 0]\n\n"
        'assert still == [], f"not changed by any optimizer step: {still}"',
        ("largest_update",),
        since + SOON,
    )


def _since(run: Run, hypothesis: CausalHypothesis) -> int:
    """The step from which the accused parameters stood still: the last replacement, or the onset."""
    replaced = [f.step for f in run.facts("parameter_replaced")]
    return max([1, hypothesis.onset_step or 1, *replaced])


def _accused_parameters(run: Run, hypothesis: CausalHypothesis) -> list[str]:
    """Parameters of the accused component, else those that no optimizer holds, that never moved."""
    part = hypothesis.component
    own = [p.name for p in run.parameters if part and (p.name == part or p.name.startswith(f"{part}."))]
    coverage = run.facts("coverage")
    missed = [str(n) for n in coverage[-1].data.get("trainable_not_held", [])] if coverage else []
    known = {p.name for p in run.parameters if p.in_model}
    return [n for n in (own or missed) if n in known][:MAX_NAMES]
