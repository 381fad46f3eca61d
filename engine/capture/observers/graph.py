"""The autograd graph below a backward root: which parameters it reaches, through what, with which factors."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

import torch

from aitia.engine.capture.observers.base import SITE_MARK, Observer
from aitia.engine.capture.observers.terms import SHAPES, terms

ALWAYS: Final = 3
"""Walks of a site before only powers of two are walked: a graph that changes does so early or at a phase's start."""
MAX_NODES: Final = 20_000
"""About 20 ms of walking."""
NEAR: Final = 40
"""Nodes told as near the root: the loss and the head of most models."""
MAX_NAMES: Final = 400
MAX_FACTS: Final = 60
CHAIN: Final = 5
"""Operations followed upstream of a loss: activation, last layer, and what stands before."""

LOSSES: Final = (
    "NllLossBackward0",
    "NllLoss2DBackward0",
    "LogSoftmaxBackward0",
    "BinaryCrossEntropyBackward0",
    "BinaryCrossEntropyWithLogitsBackward0",
    "MseLossBackward0",
    "L1LossBackward0",
    "SmoothL1LossBackward0",
    "HuberLossBackward0",
    "KlDivBackward0",
)
PATTERNS: Final = {
    "softmax_before_log_softmax": ("LogSoftmaxBackward0", "SoftmaxBackward0"),
    "sigmoid_before_log_softmax": ("LogSoftmaxBackward0", "SigmoidBackward0"),
    "relu_before_log_softmax": ("LogSoftmaxBackward0", "ReluBackward0"),
    "sigmoid_before_bce_logits": ("BinaryCrossEntropyWithLogitsBackward0", "SigmoidBackward0"),
    "softmax_before_nll": ("NllLossBackward0", "SoftmaxBackward0"),
    "sigmoid_before_mse": ("MseLossBackward0", "SigmoidBackward0"),
    "relu_before_mse": ("MseLossBackward0", "ReluBackward0"),
    "tanh_before_mse": ("MseLossBackward0", "TanhBackward0"),
    "softmax_before_mse": ("MseLossBackward0", "SoftmaxBackward0"),
}
"""An operation and the one right before it, shapes aside."""
MATMULS: Final = ("AddmmBackward0", "MmBackward0", "BmmBackward0", "ConvolutionBackward0", "LinearBackward0")
NONLINEAR: Final = ("Relu", "Gelu", "Tanh", "Sigmoid", "Softmax", "Elu", "Silu", "Hardtanh", "Mish", "MaxPool", "Abs")
NONLINEAR_MORE: Final = ("Softplus", "Clamp", "Prelu", "RnnBackward", "Lstm", "ScaledDotProduct", "Pow", "Max", "Exp")
"""Beginnings of names of operations that make a network more than a linear map."""
SINGULAR: Final = ("Sqrt", "Log", "Div", "Pow", "Where", "Exp", "Norm", "Std", "Acos", "Asin", "Reciprocal", "Rsqrt")


class Watch(Observer):
    """Walks the graph before some of the backward calls; keeps no node."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._calls: Counter[int] = Counter()
        self._last: dict[int, Any] = {}
        self._facts = 0
        self._set_up: tuple[int, ...] = ()
        self._walks = 0
        """Walks still due because something about the training changed."""

    def before_backward(self, loss: torch.Tensor, site: int) -> None:
        self._calls[site] += 1
        n = self._calls[site]
        if loss.grad_fn is None or self._facts >= MAX_FACTS:
            return
        if self.recorder.measuring and n > ALWAYS and self._changed():
            self._walks = ALWAYS
        if n > ALWAYS and n & (n - 1) and not self._walks:
            return
        self._walks = max(0, self._walks - 1)
        data = self._walk(loss)
        key = (tuple(data["reached"]), tuple(data["ops"]), repr(data["terms"]), data["n_nodes"])
        if self._last.get(site) == key:
            return
        self._last[site] = key
        self._facts += 1
        self.recorder.fact("graph", subject=str(site), data={"site": site, **data})

    def _changed(self) -> bool:
        """A new phase of the training: other parameters are trainable, or there is another optimizer."""
        registry = self.recorder.registry
        alive = (entry.ref() for entry in registry.parameters)
        now = (sum(t.requires_grad for t in alive if t is not None), len(registry.optimizers.entries))
        before, self._set_up = self._set_up, now
        return before not in {(), now}

    def _walk(self, loss: torch.Tensor) -> dict[str, Any]:
        ops: list[str] = []
        counts: Counter[str] = Counter()
        reached: list[str] = []
        sites: list[int] = []
        chains: dict[str, list[str]] = {}
        seen = {loss.grad_fn}
        queue: deque[tuple[Any, int]] = deque([(loss.grad_fn, 0)])
        depth = 0
        while queue and len(seen) < MAX_NODES:
            node, depth = queue.popleft()
            name = node.name()
            if name == "torch::autograd::AccumulateGrad":
                reached.append(self.recorder.parameter_name(node.variable) or self._stranger(node.variable))
                continue
            name = name.rpartition("::")[2]
            counts[name] += 1
            if len(ops) < NEAR:
                ops.append(name)
            if SITE_MARK in node.metadata:
                sites.append(int(node.metadata[SITE_MARK]))
            if name in LOSSES and name not in chains:
                chains[name] = list(_upstream(node))
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    queue.append((following, depth + 1))
        names = self._trainable()
        known = set(reached)
        missing = [n for n in names if n not in known]
        return {
            "ops": ops,
            "op_counts": dict(counts.most_common(80)),
            "reached": reached[:MAX_NAMES],
            "n_reached": len(known),
            "not_reached_trainable": missing[:MAX_NAMES],
            "n_not_reached": len(missing),
            "depth": depth,
            "n_nodes": len(seen),
            "truncated": bool(queue),
            "sites": sorted(set(sites)),
            "terms": terms(loss),
            "chains": chains,
            "checkpoint": sorted(n for n in counts if "Checkpoint" in n),
            "patterns": _patterns(counts, chains, ops),
        }

    def _stranger(self, leaf: torch.Tensor) -> str:
        """`?`: this may be a parameter of nobody. `input`: one that asks for a gradient, as penalties on slopes do."""
        if isinstance(leaf, torch.nn.Parameter):
            return "?"
        alive = (entry.ref() for entry in self.recorder.registry.parameters)
        return "?" if any(t is not None and t.shape == leaf.shape and torch.equal(t, leaf) for t in alive) else "input"

    def _trainable(self) -> list[str]:
        """Trainable parameters of all watched models."""
        registry = self.recorder.registry
        registry.ensure_named()
        alive = ((entry, entry.ref()) for entry in registry.parameters if entry.in_model and not entry.retired)
        return [entry.name for entry, tensor in alive if tensor is not None and tensor.requires_grad]


def _upstream(node: Any) -> Iterator[str]:
    """Operations before this one along its first inputs, shapes aside."""
    told = 0
    for _ in range(6 * CHAIN):
        node = next((f for f, _ in node.next_functions if f is not None), None)
        if node is None or told >= CHAIN:
            return
        name = node.name().rpartition("::")[2]
        if name in SHAPES:
            continue
        told += 1
        yield name


def _patterns(counts: Counter[str], chains: dict[str, list[str]], ops: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pattern, (loss, before) in PATTERNS.items():
        near = chains.get(loss) or chains.get(loss.replace("NllLoss", "NllLoss2D")) or []
        found[pattern] = near[:1] == [before]
    found["sqrt_nodes"] = sum(n for name, n in counts.items() if name.startswith("Sqrt"))
    found["singular_near_root"] = [name for name in ops if name.startswith(SINGULAR)]
    found["n_matmul"] = sum(counts[name] for name in MATMULS)
    nonlinear = NONLINEAR + NONLINEAR_MORE
    found["n_nonlinear"] = sum(n for x, n in counts.items() if x.startswith(nonlinear) or "Rnn" in x or "Lstm" in x)
    return found
