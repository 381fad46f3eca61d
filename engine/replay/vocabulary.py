"""What a replay may change at run time: a closed list of names, each with the sentence that tells what it does.

A change travels to the replayed process as JSON in `AITIA_CHANGES`; a name that is not in this list is refused there.
The causes name their changes as `name` or `name:value`, e.g. `scale_rate:0.1`. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from pydantic import field_validator

from aitia.engine.records import Record

VARIABLE: Final = "AITIA_CHANGES"
"""Environment variable that carries the changes of a replay."""

CHANGES: Final[dict[str, str]] = {
    # optimizer and rate
    "scale_rate": "the learning rate times {value:g}",
    "cap_rate": "no learning rate above {value:g}",
    "warm_up": "the learning rate grows linearly over the first {value:g} steps",
    "constant_rate": "the scheduler is never stepped",
    "no_weight_decay": "no weight decay",
    "larger_epsilon": "the optimizer's eps is at least {value:g}",
    "clip_gradients": "the gradient norm is clipped at {value:g} before each step",
    "scale_gradients": "the gradient is multiplied by {value:g} before each step",
    "add_missing_parameters": "parameters with a gradient that no optimizer holds are added to the optimizer",
    "unfreeze": "all parameters ask for gradients and are held by the optimizer",
    # order of calls
    "zero_gradients": "gradients are cleared before the first backward of each step",
    "keep_gradients": "gradients are not cleared between backward and step",
    "step_after_backward": "every backward is followed by an optimizer step",
    "negate_loss": "the gradient of the loss is negated",
    "no_retained_graph": "backward does not retain its graph",
    # initial state
    "reinitialise": "the accused layers start from torch's default initialisation",
    # modes and precision
    "evaluate_without_gradients": "forwards without gradients run in evaluation mode",
    "train_with_gradients": "forwards with gradients run in training mode",
    "keep_frozen_in_evaluation": "modules without trainable parameters stay in evaluation mode",
    "no_dropout_in_evaluation": "dropout does nothing in forwards without gradients",
    "no_grad_off": "models in training mode track gradients, also inside no_grad",
    "single_precision": "no autocast, and all parameters and inputs in float32",
    "checkpoint_without_reentry": "activation checkpointing does not re-enter autograd",
    "leaky_activations": "rectifiers let a tenth of negative values through",
    # data
    "standardise_inputs": "inputs are standardised with the first training batch's mean and deviation",
    "standardise_targets": "targets are standardised with the first training batch's mean and deviation",
    "replace_nonfinite_inputs": "inputs and targets that are not finite are replaced by 0",
    "shuffle": "every loader draws a new order each epoch",
    "no_workers": "loaders read in the main process",
    # loss
    "average_loss": "losses are averaged over the batch",
    "log_of_probabilities": "the loss gets the logarithm of what it was given",
    "match_shapes": "the prediction gets the target's shape",
    "detach_targets": "no gradient flows into the target",
    "no_class_weights": "classes are not weighted",
    "count_every_class": "no real class is ignored by the loss",
    "away_from_singularity": "roots, logarithms and divisors stay {value:g} away from zero, exponents below 50",
    # state
    "copy_states": "state_dict() returns copies",
    # circumstances, never an accusation
    "other_seed": "seeds are shifted by {value:g}",
}
"""Name → what it does to the run."""


class Change(Record):
    """One change of a replay."""

    name: str
    """A name of `CHANGES`."""
    value: float | None = None
    subjects: tuple[str, ...] = ()
    """Dotted paths that it is limited to, where it concerns layers; empty: all of them."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CHANGES:
            raise ValueError(f"no change {name!r}; there are {', '.join(CHANGES)}")
        return name

    @property
    def sentence(self) -> str:
        """What it does, in words."""
        return CHANGES[self.name].format(value=self.value if self.value is not None else 1.0)


def parse(text: str, component: str | None = None) -> Change:
    """`name` or `name:value`, limited to the accused component where there is one."""
    name, _, value = text.partition(":")
    return Change(name=name, value=float(value) if value else None, subjects=(component,) if component else ())


def dump(changes: Sequence[Change]) -> str:
    """The text for the environment."""
    return json.dumps([c.model_dump(mode="json") for c in changes])


def load(text: str | None) -> tuple[Change, ...]:
    """The changes in the environment's text."""
    return tuple(Change.model_validate(item) for item in json.loads(text)) if text else ()
