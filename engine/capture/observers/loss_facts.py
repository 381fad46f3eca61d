"""What is told about a loss site: shapes, types, settings, and whether targets are the inputs moved along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from aitia.engine.capture.observers.loss_stats import FAMILY, MAX_CLASSES

WITH_CLASS_IDS: Final = frozenset({"cross_entropy", "nll_loss"})
"""Losses whose target is a class id for each row of the prediction, with an `ignore_index`."""
OFFSETS: Final = range(-2, 4)
"""Shifts between input and target that are tried; next-token prediction is 1, shifted twice is 2."""
FEWEST_ENDS: Final = 6
"""Sequences with ignored ends below which nothing is said of how they end."""
PROBABILITY_TOLERANCE: Final = 1e-3
"""Rows that sum to 1 within this are probabilities: half precision rounds a softmax of 1000 classes no worse."""


def call_facts(
    function: str, arguments: dict[str, Any], x: Tensor, y: Any, grad: bool, *, sequences: int | None = None
) -> dict[str, Any]:
    """The `loss_call` fact. `sequences`: how many the model's input held, for targets that come flattened."""
    data: dict[str, Any] = {
        "function": function,
        "input_shape": list(x.shape),
        "input_dtype": str(x.dtype)[6:],
        "reduction": arguments.get("reduction", "mean"),
        "label_smoothing": float(arguments.get("label_smoothing", 0.0)),
        "weight": arguments.get("weight") is not None or arguments.get("pos_weight") is not None,
        "input_requires_grad": bool(x.requires_grad),
        "grad": grad,
        "broadcast": False,
    }
    classes = function in WITH_CLASS_IDS
    data["ignore_index"] = arguments.get("ignore_index", -100) if classes else None
    data["n_classes"] = (x.shape[1] if x.dim() > 1 else x.shape[0]) if FAMILY.get(function) == "classes" else None
    for name in ("weight", "pos_weight"):
        if isinstance(arguments.get(name), Tensor) and arguments[name].numel() <= MAX_CLASSES:
            data[f"{name}_values"] = arguments[name].detach().flatten().tolist()
    if isinstance(y, Tensor):
        data |= {
            "target_shape": list(y.shape),
            "target_dtype": str(y.dtype)[6:],
            "target_requires_grad": bool(y.requires_grad),
            "broadcast": not classes and x.shape != y.shape and _broadcasts(x, y),
        }
        data |= _target_facts(y, data["ignore_index"], sequences)
        if function == "kl_div":
            log_target = bool(arguments.get("log_target", False))
            data |= {"log_target": log_target, "target_is_prob": _is_probability(y), "target_is_logprob": _is_log(y)}
    data["input_is_prob"] = _is_probability(x) if FAMILY.get(function) != "binary" else _is_within_unit(x)
    data["input_is_logprob"] = _is_log(x)
    data["input_by"] = type(x.grad_fn).__name__ if x.grad_fn is not None else None
    return data


def _target_facts(y: Tensor, ignore_index: int | None, sequences: int | None) -> dict[str, Any]:
    if y.numel() == 0 or y.is_complex():
        return {}
    values = y.detach().flatten()
    if values.dtype is torch.bool:
        values = values.long()
    facts: dict[str, Any] = {"target_lowest": values.min().item(), "target_highest": values.max().item()}
    if values.is_floating_point():
        facts["target_integral"] = bool((values == values.round()).all())
        return facts
    counted = values if ignore_index is None else values[values != ignore_index]
    facts["valid_share"] = counted.numel() / values.numel()
    rows = y.detach()
    if y.dim() == 1 and sequences and y.numel() % sequences == 0 and y.numel() > sequences:
        rows = rows.view(sequences, -1)
    if rows.dim() == 2:
        facts["padding"] = padding(rows, ignore_index)
    if counted.numel() and int(counted.min()) >= 0 and int(counted.max()) < MAX_CLASSES:
        facts["target_dist"] = torch.bincount(counted.long().cpu()).tolist()
    return facts


def padding(y: Tensor, ignore_index: int | None) -> dict[str, Any]:
    """Unbroken runs of one id at the ends of sequences: the id, its share of all targets, and of the ignored ones."""
    last = y[:, -1:]
    tail = (y == last).flip(1).long().cumprod(1).sum(1)  # length of the run at each row's end
    ends = last[:, 0]
    ignored = 0.0
    if ignore_index is not None:
        out = (y == ignore_index).long()
        at_ends = out.cumprod(1) | out.flip(1).cumprod(1).flip(1)
        across = out.cumprod(0) | out.flip(0).cumprod(0).flip(0)  # time first
        ignored = max(int(at_ends.sum()), int(across.sum())) / y.numel()
    runs = ends[(tail > 1) & (ends != ignore_index)] if ignore_index is not None else ends[tail > 1]
    if runs.numel() < 0.5 * len(y):
        return {"ignored_tail_share": ignored}
    values, counts = runs.unique(return_counts=True)  # type: ignore[no-untyped-call]  # no types in torch
    value = int(values[counts.argmax()])
    in_tails = int(tail[ends == value].sum())
    share, inside = in_tails / y.numel(), 1.0 - in_tails / int((y == value).sum())
    agree = int(counts.max()) / max(1, runs.numel())
    return {"value": value, "tail_share": share, "inside_share": inside, "agree": agree, "ignored_tail_share": ignored}


def _broadcasts(x: Tensor, y: Tensor) -> bool:
    try:
        torch.broadcast_shapes(x.shape, y.shape)  # type: ignore[no-untyped-call]  # no types in torch
    except RuntimeError:
        return False
    return True


def _rows(x: Tensor) -> Tensor | None:
    """Class rows of a prediction (classes at dimension 1), at most a few hundred of them."""
    if x.dim() < 2 or x.shape[1] < 2 or not x.is_floating_point():
        return None
    return x.detach().movedim(1, -1).reshape(-1, x.shape[1])[:256].float()


def _is_probability(x: Tensor) -> bool:
    rows = _rows(x)
    if rows is None:
        return False
    return bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < PROBABILITY_TOLERANCE).all())


def _is_log(x: Tensor) -> bool:
    rows = _rows(x)
    if rows is None:
        return False
    return bool((rows <= 0).all() and (rows.logsumexp(1).abs() < PROBABILITY_TOLERANCE).all())


def _is_within_unit(x: Tensor) -> bool:
    values = x.detach()
    return bool(((values >= 0) & (values <= 1)).all())


SURELY: Final = 0.9
"""Share of targets that equal an input at one offset from which on they are made from it."""
PLAIN: Final = 0.8
"""Share of one value from which on a further input is a mask or a table of types, which targets may equal by chance."""


def alignment(inputs: Sequence[Tensor], target: Tensor, ignore_index: int) -> dict[str, Any] | None:
    """The `alignment` fact, of the first input that the targets are surely made from; None where no shape fits.

    A decoder is given what was said so far behind its source; where nothing is sure, the likeliest is told.
    """
    found = [
        {**aligned, "input": i}
        for i, x in enumerate(inputs)
        if (i == 0 or not _plain(x)) and (aligned := _aligned(x, target, ignore_index)) is not None
    ]
    surely = [a for a in found if _share(a) >= SURELY]
    return surely[0] if surely else max(found, key=_share, default=None)


def _share(aligned: dict[str, Any]) -> float:
    found: float = aligned["match_by_offset"][str(aligned["best"])]
    return found


def _plain(x: Tensor) -> bool:
    counts = x.unique(return_counts=True)[1] if x.numel() else x  # type: ignore[no-untyped-call]  # no types in torch
    return x.numel() == 0 or int(counts.max()) > PLAIN * x.numel()


def _aligned(tokens: Tensor, target: Tensor, ignore_index: int) -> dict[str, Any] | None:
    """Share of targets that equal the input some positions away; None where shapes differ."""
    batch, length = tokens.shape
    if target.is_floating_point() or batch == 0 or target.numel() % batch:
        return None
    y = target.detach().reshape(batch, -1)
    if y.shape[1] < 2 or not length - 2 <= y.shape[1] <= length:
        return None
    valid = y != ignore_index
    shares: dict[str, float] = {}
    for offset in OFFSETS:
        first, last = max(0, -offset), min(y.shape[1], length - offset)
        if last - first < 1:
            continue
        counted = valid[:, first:last]
        same = (y[:, first:last] == tokens[:, first + offset : last + offset]) & counted
        n = int(counted.sum())
        if n:
            shares[str(offset)] = int(same.sum()) / n
    if not shares:
        return None
    best = max(shares, key=lambda k: shares[k])
    ends = _ends(tokens, y, valid) if best == "1" else {}
    return {"match_by_offset": shares, "copy_share": shares.get("0", 0.0), "best": int(best), **ends}


def _ends(tokens: Tensor, y: Tensor, valid: Tensor) -> dict[str, Any]:
    """How sequences end whose last targets are ignored: at which input, and after which targets."""
    places = torch.arange(valid.shape[1], device=valid.device)
    last = (valid * (places + 1)).amax(1) - 1  # last counted target of each row
    ended = (last >= 0) & (last + 1 < valid.shape[1])
    shown = ended & (last + 2 < tokens.shape[1])  # the first ignored target, where it is among the inputs
    if int(shown.sum()) < FEWEST_ENDS:
        return {}
    _, ends = y[ended, last[ended]].unique(return_counts=True)  # type: ignore[no-untyped-call]  # no types in torch
    after, counts = tokens[shown, last[shown] + 2].unique(return_counts=True)  # type: ignore[no-untyped-call]
    stop = int(after[counts.argmax()])
    counted = last >= 0
    return {
        "width": valid.shape[1],
        "least_ignored": int((valid.shape[1] - 1 - last[counted]).min()),
        "ended_share": float(ended.float().mean()),
        "last_target_share": int(ends.max()) / int(ended.sum()),
        "stop_token": stop,
        "stop_share": int(counts.max()) / int(shown.sum()),
        "stop_is_target": bool((y[valid] == stop).any()),
    }
