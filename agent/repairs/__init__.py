"""Repairs of the program's text, one function per cause; each touches only the lines that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aitia.agent.repairs import config, crash, data, graph, layers, loop, loss, numerics, optimizer, state
from aitia.agent.repairs.accused import Accused, Patch

Repair = Callable[[Accused], Patch | None]

REPAIRS: Final[dict[str, Repair]] = {
    "amp.clip_before_unscale": loop.clip_before_unscale,
    "artifact.best_state_aliased": state.best_state_aliased,
    "artifact.load_skips_keys": state.load_skips_keys,
    "data.index_out_of_range": crash.index_out_of_range,
    "data.label_misaligned": data.label_misaligned,
    "data.label_shift_error": data.label_shift_error,
    "data.nan_or_inf_input": data.nan_or_inf_input,
    "data.order_not_shuffled": state.order_not_shuffled,
    "data.unscaled_input": data.unscaled_input,
    "dtype.mismatch": crash.dtype_mismatch,
    "eval.early_stop_wrong_direction": state.early_stop_wrong_direction,
    "eval.functional_dropout_always_on": state.functional_dropout_always_on,
    "eval.mode_not_eval": state.mode_not_eval,
    "graph.backward_twice": graph.backward_twice,
    "graph.bptt_cut_or_grown": graph.bptt_cut_or_grown,
    "graph.checkpoint_no_input_grad": graph.checkpoint_no_input_grad,
    "graph.detach_in_generator_step": graph.detach_in_generator_step,
    "graph.detached_term": graph.detached_term,
    "graph.gradient_leak_between_networks": loop.missing_zero_grad,
    "graph.inplace_modification": graph.inplace_modification,
    "graph.no_grad_region": graph.no_grad_region,
    "graph.target_not_detached": graph.target_not_detached,
    "init.symmetric": graph.symmetric,
    "init.uninitialized_memory": graph.uninitialized_memory,
    "init.wrong_scale": layers.wrong_scale,
    "loop.accumulation_not_normalized": loop.accumulation_not_normalized,
    "loop.clip_before_backward": loop.clip_before_backward,
    "loop.eval_mode_left_on": loop.eval_mode_left_on,
    "loop.freeze_undone_by_train": state.freeze_undone_by_train,
    "loop.missing_zero_grad": loop.missing_zero_grad,
    "loop.step_outside_batch_loop": loop.step_outside_batch_loop,
    "loop.zero_grad_after_backward": loop.zero_grad_after_backward,
    "loss.clipped_loss": loss.clipped_loss,
    "loss.double_softmax": loss.double_softmax,
    "loss.ignore_index_hits_real_class": data.ignore_index_hits_real_class,
    "loss.kl_argument_order": data.kl_argument_order,
    "loss.missing_log": loss.missing_log,
    "loss.padding_counted": data.padding_counted,
    "loss.reduction_scale": loss.reduction_scale,
    "loss.shape_broadcast": loss.shape_broadcast,
    "loss.sign_flipped": lambda accused: loss.sign_flipped(accused) or optimizer.maximize(accused),
    "model.dead_units": layers.dead_units,
    "model.missing_nonlinearity": layers.missing_nonlinearity,
    "model.output_activation_range": graph.output_activation_range,
    "model.saturated_units": layers.saturated,
    "model.submodule_not_registered": graph.submodule_not_registered,
    "model.wrong_state_used": layers.wrong_state_used,
    "numerics.divide_by_zero_scale": numerics.divide_by_zero_scale,
    "numerics.exp_overflow": numerics.exp_overflow,
    "numerics.exploding_gradient": config.exploding_gradient,
    "numerics.log_zero": numerics.log_zero,
    "numerics.masked_branch_nan": data.masked_branch_nan,
    "numerics.sqrt_at_zero_backward": numerics.sqrt_at_zero_backward,
    "numerics.vanishing_gradient": layers.saturated,
    "optimizer.eps_underflow": config.eps_underflow,
    "optimizer.frozen_by_mistake": optimizer.frozen_by_mistake,
    "optimizer.lr_too_high": config.lr_too_high,
    "optimizer.lr_too_low": config.lr_too_low,
    "optimizer.never_stepped": loop.never_stepped,
    "optimizer.params_missing_from_groups": optimizer.params_missing_from_groups,
    "optimizer.stale_param_reference": optimizer.stale_param_reference,
    "optimizer.weight_decay_excess": config.weight_decay_excess,
    "optimizer.wrong_optimizer_stepped": optimizer.wrong_optimizer_stepped,
    "precision.int_or_dtype_truncation": data.int_truncation,
    "resource.eval_with_grad": state.eval_with_grad,
    "resource.graph_retained_by_history": state.graph_retained_by_history,
    "resource.retain_graph": loop.retain_graph,
    "scheduler.stepped_per_batch": loop.stepped_per_batch,
    "scheduler.wrong_horizon": config.wrong_horizon,
    "shape.mismatch": crash.shape_mismatch,
}
"""Cause → the repair of the text. A cause that is missing has no mechanical repair: see its catalogue entry."""

__all__ = ["REPAIRS", "Accused", "Patch", "Repair"]
