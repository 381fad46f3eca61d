"""What a run directory holds: the tables, their columns, and the kinds of facts.

```
<root>/<run id>/
  run.db      SQLite (WAL): meta (run info, heartbeat), subjects (layers, parameters …), facts
  series/     Arrow IPC streams, one or more segments per table: <table>-<n>.arrow; of a large run that is over, Parquet
  log.txt     what the program printed (stdout and stderr)
  source/     the user's own source files as they were
  samples/    small raw arrays (.npy, never pickled)
```
A table is either *narrow* (a row of scalars each time) or *wide* (a row per step; every statistic is a vector with one
entry per subject, in the order of the subject's `index`). A value that was not measured is NaN.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1
"""Written into every run; a reader refuses a newer one and says so."""

RANKS: Final = "ranks"
"""Folder under the root for the runs of ranks 1, 2 … of distributed programs."""

WIDE: Final[dict[str, dict[str, str]]] = {
    "param": {
        "grad_present": "1 if the parameter had a gradient when the optimizer stepped (or at backward, if none steps)",
        "grad_norm": "L2 norm of the gradient that entered the step (unscaled under a GradScaler)",
        "grad_absmax": "largest absolute gradient entry",
        "grad_zero_share": "share of gradient entries that are exactly 0",
        "grad_nonfinite": "count of NaN or Inf gradient entries",
        "weight_norm": "L2 norm of the parameter after the step",
        "weight_absmax": "largest absolute entry after the step",
        "weight_nonfinite": "count of NaN or Inf entries after the step",
        "update_norm": "L2 norm of (after - before) of this optimizer step",
        "update_share": "share of entries that the step changed at all",
    },
    "layer": {
        "calls": "forward calls in training since the last step",
        "training": "share of the step's gradient-tracked forwards with module.training set",
        "in_mean": "first floating input: mean",
        "in_std": "… standard deviation",
        "in_absmax": "… largest absolute value",
        "in_zero_share": "… share of exact zeros",
        "in_sat_share": "… share beyond 0.99 of a bounded range (only when all values lie in [-1, 1], else NaN)",
        "in_dead_share": "… share of features that are exactly 0 for every sample of the batch",
        "in_nonfinite": "… count of NaN or Inf",
        "out_mean": "first floating output: mean",
        "out_std": "… standard deviation",
        "out_min": "… minimum",
        "out_max": "… maximum",
        "out_absmax": "… largest absolute value",
        "out_zero_share": "… share of exact zeros",
        "out_sat_share": "… share beyond 0.99 of the range of a bounded activation (sigmoid, tanh, softmax), else NaN",
        "out_dead_share": "… share of features that are exactly 0 for every sample of the batch",
        "out_sample_std": "… mean over features of the standard deviation over samples (0: same output for every sample)",
        "out_nonfinite": "… count of NaN or Inf",
        "out_tracked": "… 1 if it requires a gradient, 0 if not (cut off by no_grad, detach, frozen parts)",
        "gout_norm": "gradient with respect to the output: L2 norm",
        "gout_absmax": "… largest absolute value",
        "gout_zero_share": "… share of exact zeros",
        "gout_nonfinite": "… count of NaN or Inf",
    },
}

NARROW: Final[dict[str, dict[str, str]]] = {
    "step": {
        "step": "number of the optimizer step, from 1; with several optimizers a step ends when one that stepped steps again",
        "time": "seconds since the run began, when the step ended",
        "loss": "sum of the roots of backward since the last step (NaN: none)",
        "n_backward": "backward calls since the last step",
        "n_forward": "gradient-tracked root forwards since the last step",
        "n_zero_grad": "zero_grad calls (or hand-made clearing) since the last step",
        "n_clip": "gradient-clipping calls since the last step",
        "grad_norm": "global L2 norm of the gradients that entered the step",
        "fresh_grad_norm": "global norm of what this step's backward passes added (NaN: not separable)",
        "carried_grad_norm": "global norm of gradients of an earlier step that were added to and are part of what this step used",
        "carried_unheld_norm": "the same for parameters that no optimizer holds (carried_grad_norm counts held ones only)",
        "clip_norm": "norm returned by the last clipping call (before clipping)",
        "clip_max": "its max_norm or clip value",
        "loss_scale": "GradScaler's scale (NaN: no scaler)",
        "lr": "largest learning rate over all groups of all optimizers",
        "update_ratio": "global ||dW|| / ||W||",
        "batch_size": "first dimension of the batch",
        "data_s": "seconds waiting for the data loader since the last step",
        "forward_s": "seconds in gradient-tracked root forwards",
        "backward_s": "seconds in backward",
        "optimizer_s": "seconds in optimizer.step",
        "eval_s": "seconds in root forwards without gradients",
        "recorder_s": "seconds the recorder itself took",
        "step_s": "seconds since the last step ended",
        "rss_bytes": "resident memory of the process",
        "device_bytes": "memory allocated on the accelerator (NaN: none)",
        "syncs": "synchronizing calls (.item() and the like) by the program since the last step (NaN: not counted)",
    },
    "group": {
        "step": "step that is about to end",
        "optimizer": "index of the optimizer",
        "group": "index of the parameter group",
        "lr": "learning rate used in the step",
        "weight_decay": "weight decay (NaN: none)",
        "momentum": "momentum or beta1 (NaN: none)",
    },
    "backward": {
        "step": "step to which the call contributes (last finished step + 1)",
        "time": "seconds since the run began",
        "loss": "value of the root (unscaled under a GradScaler)",
        "site": "index of the loss site that made it, -1 when unknown",
        "retain_graph": "1 if retain_graph or create_graph was set",
        "carried": "1 if the call added to gradients of an earlier step (harmless if these are cleared before they are used)",
    },
    "loss": {
        "step": "step to which the call contributes (last finished step + 1)",
        "time": "seconds since the run began",
        "site": "index of the loss site",
        "grad": "1 when gradients were tracked (training), 0 in evaluation",
        "training": "1 when the model that ran last was in training mode",
        "value": "value returned (mean if it is not a scalar)",
        "n": "samples: first dimension of the input",
        "in_mean": "prediction: mean",
        "in_std": "… standard deviation",
        "in_min": "… minimum",
        "in_max": "… maximum",
        "in_rowsum": "… mean of |row sum - 1| over the class dimension (0: rows are probabilities)",
        "in_sample_std": "… mean over outputs of the standard deviation over samples (0: constant prediction)",
        "target_mean": "target: mean (class ids as numbers)",
        "target_std": "… standard deviation",
        "target_min": "… minimum over counted targets",
        "target_max": "… maximum over counted targets",
        "valid_share": "share of targets that count (not ignore_index)",
        "accuracy": "share of counted targets hit by argmax (or sign/0.5 for binary); NaN for regression",
        "majority_share": "share of the most frequent predicted class (NaN for regression)",
        "target_majority": "share of the most frequent target class (NaN for regression)",
        "in_nonfinite": "prediction: count of NaN or Inf",
        "target_nonfinite": "target: count of NaN or Inf",
        "valid_rows": "share of samples with at least one target that counts (sequences of class ids, else NaN)",
    },
    "batch": {
        "step": "step to which the forward contributes",
        "time": "seconds since the run began",
        "root": "index of the model in facts of kind model_seen",
        "grad": "1 when gradients were tracked",
        "training": "1 when the model was in training mode",
        "n": "first dimension of the first tensor input",
        "in_mean": "first tensor input (floating or integer): mean",
        "in_std": "… standard deviation",
        "in_min": "… minimum",
        "in_max": "… maximum",
        "in_nonfinite": "… count of NaN or Inf",
        "in_hash": "fingerprint of the input's content (int64; equal content, equal value)",
        "out_mean": "first floating output: mean",
        "out_std": "… standard deviation",
        "out_nonfinite": "… count of NaN or Inf",
    },
}

INTEGER_COLUMNS: Final = frozenset({"step", "site", "root", "optimizer", "group", "in_hash"})
"""Columns of narrow tables kept as int64; all others are float64."""

FACT_KINDS: Final[dict[str, str]] = {
    "model_seen": "a model was called for the first time. data: index, name, cls, n_parameters, n_trainable, n_layers, "
    "training",
    "optimizer_built": "data: index, name, cls, groups, n_params; location: where it was built",
    "coverage": "at the first step and whenever it changed. data: held_not_in_model [names], trainable_not_held "
    "[names], frozen [names], frozen_numel, trainable_numel, held_frozen [names]",
    "parameter_replaced": "a module's parameter is another tensor than before. data: old_held (bool), built_before "
    "(bool)",
    "signature": "the order of calls between two steps, whenever it changed. data: signature, e.g. 'F0 L0 B Z0 S0'; "
    "count is kept in `signature_counts`. Letters: D batch from a loader, F gradient-tracked root forward (training "
    "mode), f the same in eval mode, E forward without gradients in eval mode, e without gradients in training mode, L "
    "loss call with gradients, l loss without, B backward, A autograd.grad, Z zero_grad, C clip, U unscale_, S "
    "optimizer step, R scheduler step, G scaler update, V state_dict, W load_state_dict, T train(), M eval() of a "
    "root. A number follows F f E e (root), L l (site), Z S (optimizer), R (scheduler); repeats are folded: 'E0*40'.",
    "signature_counts": "at the end (and on crash). data: {signature: times}",
    "mode": "the training flag of a root changed between forwards. data: training, grad, by ('train'|'eval')",
    "forward_context": "first forward of a root in this combination. data: root, training, grad, inference, n (updated "
    "count)",
    "mixed_modes": "submodules whose training flag differs from the root's. data: root, training, names",
    "untracked": "at the end: layers with trainable parameters that only ever ran with gradient tracking off (in training "
    "mode); subject: the first. data: layers [names], lines (of the user's frames that ran the first, innermost first)",
    "clip": "first clip call, and whenever its place or arguments change. data: function, max_norm, returned, "
    "before_backward, before_unscale, loss_scale, order (calls since the last step)",
    "scheduler_built": "data: index, cls, optimizer, config (T_max, step_size, gamma, total_steps …)",
    "scheduler_rate": "data: index, steps_per_optimizer_step, n_steps, lr_first, lr_last, last_epoch",
    "scaler": "GradScaler: data: event ('built','skip','update'), scale, previous",
    "autocast": "first autocast region seen. data: dtype, device, nested_in_no_grad",
    "autocast_use": "at the end, when autocast was asked for with gradients tracked. data: entered, "
    "refused (regions that torch switched off for want of the device or the type), forwards_inside, forwards_outside (training forwards of models after the first entry), losses_inside",
    "closure": "an optimizer's step was given a closure first: backward passes within a step are its own. data: index",
    "loader": "a DataLoader was iterated first. data: index, batch_size, n_samples, n_batches, shuffle, sampler, "
    "drop_last, num_workers, training (whether the next root forward tracked gradients), dataset, dataset_seen_as "
    "(index of the first loader over the same data)",
    "worker_randomness": "at the end, for loaders with workers whose data set owns a random generator. data: generators "
    "[names], workers, epochs, persistent, random (two accesses to one copy differ), repeated (the first access "
    "to two fresh copies is the same)",
    "epoch": "a loader's epoch is over. data: index, epoch, order_hash (of the first batches), same_as_previous, "
    "n_taken (batches that were taken)",
    "loss_call": "first call at a loss site, and whenever shapes' relation or reduction changes. data: function, "
    "input_shape, target_shape, input_dtype, target_dtype, reduction, ignore_index, weight (bool), label_smoothing, "
    "broadcast (bool: shapes differ but broadcast), n_classes, input_is_prob (bool), input_is_logprob (bool), "
    "input_requires_grad, target_requires_grad, target_dist (class counts, up to 32 classes), target_lowest, "
    "target_highest, target_integral (floating targets that are all whole), target_source_dtype "
    "(integer type in which a loader handed out a floating target), weight_values, log_target, input_by "
    "(autograd node that made the prediction), raised (class of the exception, if the call failed)",
    "confusion": "at the end, per loss site with up to 32 classes. data: grad, n_classes, table [target][predicted] "
    "(counts; old ones weigh less, so that it shows the end of the training)",
    "loss_code": "what the program computed outside of modules on the way to a backward root, in the first two steps: "
    "a loss written by hand. subject: site; location: where the root was made. data: site, ops [{op, line, inputs "
    "(shapes), tracked (which of them require a gradient), output (shape), grad, expanding (the shapes broadcast to "
    "more entries than either has), outside}]",
    "graph": "the autograd graph of a backward root was walked (first steps, and after changes). data: site, ops (near "
    "the root, in order), op_counts, reached [parameter names], n_reached, not_reached_trainable [names], "
    "n_not_reached, depth, n_nodes, truncated, sites (all loss sites in this graph), terms [{site (-1: no loss "
    "function), op, factor, weight (how many times the mean over its entries counts: n for a sum over n), below (what it is "
    "made of), cut (share of the entries that a clamp holds down), mixed}] (the summands of the root and what each is multiplied by; op 'constant': a number or a "
    "term without gradient), chains {loss node: operations right before it}, checkpoint [nodes], patterns "
    "{softmax_before_log_softmax, sigmoid_before_bce_logits, softmax_before_nll, relu_before_mse … (bool), sqrt_nodes, "
    "n_matmul, n_nonlinear, singular_near_root [names]}",
    "alignment": "integer targets against integer inputs of a sequence model. data: match_by_offset {offset: share}, "
    "input (which of them: 0 the first), copy_share, best (offset that matches most); where it is 1 and "
    "last targets are ignored: ended_share (sequences of which that is true), last_target_share (of them: with the most "
    "frequent last counted target), width and least_ignored (targets of a sequence, and the fewest ignored at its end), ends "
    "[(the same, batch by batch)], stop_token (most frequent input at the first ignored place), stop_share, "
    "stop_is_target (it is a counted target somewhere)",
    "nonfinite": "the first non-finite value. data: kind "
    "(input|activation|loss|gradient|parameter|optimizer_state|target), where (setup|forward|loss|backward|step), op, "
    "module, row (sample), inputs_finite, values [{shape, dtype, min, max, absmin, zeros, nan, inf}] (that entered; of an "
    "optimizer its state where the parameter is bad), input_min, input_max (of the first of these), result (as values), "
    "replayed (a copy was run again to find it), settings {lr, eps …} (of the optimizer), from_loss (it arose between "
    "the model's output and the loss), counted (targets that count), masked "
    "(a where or mask stands between the operation and the loss), n_singular (entries at the singular place), "
    "parameters [names], states [names], gradient_was_finite (of the step before), loss; location: the line that made "
    "the operation",
    "probes": "the experiments after the end as a whole. data: budget_s (2 % of the run, at least 0.5 s, at most 5 s), "
    "took_s, run_s, made, skipped (for want of time)",
    "compilations": "at the end, where torch.compile was used. data: n_frames, n (compilations), again (of these: "
    "recompilations), seconds, limit (it gave up), reasons [text of the compiler, untrusted]",
    "process_group": "this process joined a group of ranks. data: rank, world",
    "ddp_built": "a model was wrapped for data parallelism. data: cls, n_parameters; location: where",
    "ddp_use": "at the end. data: wrapped, bare (training forwards through the wrapper, and of its inner module directly), "
    "joined (contexts for uneven inputs), gradients, parameters (all_reduce calls on them by the program), ops {sum, avg "
    "…: count} of the former, factor (median size of such a gradient at the step over its size after the collective), "
    "collectives {name: count} (called by the program), sharded (ranks hold parts of the parameters); location: first bare forward, else first reduced gradient",
    "warning": "data: category, message (untrusted)",
    "exception": "data: as `Failure`; oom (bool)",
    "state_dict": "state_dict() of a watched model was kept alive. data: root, aliased (bool: shares storage with the "
    "live parameters), taken (last finished step + 1), alive_after_steps, dropped (it died before the end)",
    "states_taken": "at the end, per model: at which steps (last finished + 1) state_dict() was called. data: root, steps",
    "load_state_dict": "data: root, strict, matched, missing [..], unexpected [..], n_missing, n_unexpected, n_model, "
    "n_given, aliased (bool: it was given the model's own live tensors), untied [[names] of parameters that were one "
    "tensor in an earlier model of this class], raised",
    "weights_given": "at the end. data: names [parameters that a state was loaded into]",
    "loaded_weights": "first use of a model after load_state_dict. data: root, n, changed [parameters that are not as "
    "loaded], plain_differ [tensors that are plain attributes and not as in the model whose state was taken], "
    "n_weights (of n: matrices and kernels), replaced [of these: the ones that are other weights now, not rounded ones], "
    "from_the_first (bool: the model's first weight is among them)",
    "save": "torch.save was called. data: n_tensors, root (which model's tensors they are), roots (all of them), "
    "equals_live (bool)",
    "copy": "at the end: a model that began as an untrained copy of one that is trained. data: root, of, n, changed (bool: "
    "its weights moved), original_changed (bool), written (bool: something was written to them, be it what they held), late "
    "(bool: it first ran when the original had moved already, so whether it began as a copy is not known), untouched (bool: "
    "it held then what torch draws for such layers)",
    "fresh_model": "a model ran for the first time after training had begun, and it or parts of it hold the weights that "
    "torch drew: nothing was loaded or copied. data: root, parts [names of such children; '' is the whole model]",
    "rearranged": "a model that was never trained ran for the first time, and holds exactly the numbers of a trained one in "
    "other places. data: root, of, moved [its parameters that the other one does not have like this], n_moved, difference "
    "(largest, of both outputs on the same samples in evaluation mode, in units of the largest output)",
    "attention_mask": "first attention calls that hide keys, against the input of the model. data: n_hidden, n_visible "
    "(keys), distinct_hidden, distinct_visible (different tokens there), no_key (rows without a visible key), n_rows",
    "input_detail": "first batch of large images. data: shape, factor (they can be shrunk by it and blown up again with "
    "nothing lost; 1: no), residual (share of the variance lost by factor 4)",
    "optimizer_cost": "after the training, when steps of the only optimizer took over a millisecond. data: step_s (median), "
    "reference_s (grouped Adam of torch on tensors of the same shapes), n_tensors, n_numbers",
    "hooks": "forward hooks by the program grew. data: count, per_step",
    "probe": "an experiment on a copy, after the training. data: name, seconds, and by name - two_evals: differ, "
    "difference; unit_symmetry: symmetric [names], zero [names], equal_columns [names], n_weights; batch_mixing: "
    "mixing, difference; affine: affine, error, n_linear_layers; causal: leak, sees_past; position: order_ignored, last_order_ignored; later_inputs: "
    "early_matters, late_matters, only_first_position_matters, sensitivity; train_eval_gap: difference, loss_train, "
    "loss_eval; fit_one_batch: loss_before, loss_after, best, steps. Or: skipped, failed",
    "sample_neighbours": "nearest-neighbour label agreement. data: agreement, chance, n, dims, classes, n_repeated "
    "(samples whose input occurs more than once), repeated_agreement (share of them with the same label). Of targets that are "
    "values: unexplained (mean squared difference to the nearest sample's target over that of any two; ranks), "
    "unexplained_error (its standard deviation when targets are shuffled), n, dims",
    "rows": "at the end, per model with floating inputs on the CPU: fingerprints of single samples. data: root, n_trained "
    "(rows of training forwards), n_distinct, n_again (rows that had been trained on before), first_pass (rows before the "
    "first one came back), n_evaluated (rows of forwards in evaluation mode after training began), n_met (of them: rows "
    "that were trained on), n_batches, n_partial (evaluation batches of which some rows were trained on and some not), "
    "feature_shift (median over features of |mean in evaluation - mean in training| in standard deviations), "
    "feature_error (what chance gives), features_shifted (share of features beyond 0.5), n_features, order_kept (median "
    "distance of features' means, or third moments, in their order, in standard errors), order_ignored (… sorted first)",
    "comparison": "at the end, per `==` of two tensors in evaluation. data: shapes, calls, crossed (calls in which every "
    "left value met every right one), single (one side was the argmax over one output), matched (one side is what the "
    "model's last output says), steps, agreed, n (per step: comparisons that agree, and all)",
    "memory": "when graphs pile up, and at the end. data: live_graphs (graphs of losses more than 20 steps old that "
    "are still alive), tensors_alive (of them: the loss tensor itself is kept), history_len, rss_first, rss_peak, "
    "activation_bytes (of one step), parameter_bytes, final",
    "syncs": "calls that waited for the accelerator. data: total, lines [{file, line, times}]",
    "stopped": "data: signal",
    "recorder": "something the recorder could not see or that failed inside it. data: what, detail",
}
"""Every kind of row in `facts`, and what its `data` holds. `step` is the last finished step + 1 when it happened."""
