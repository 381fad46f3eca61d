"""One backward of a copy of the model, node by node, to find the operation that made the first bad gradient."""

from __future__ import annotations

import re
import warnings
from collections import deque
from typing import Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture.frames import user_file
from aitia.engine.capture.observers.held import Call, extremes, first_row, floats, rows_of
from aitia.engine.capture.observers.replay_forward import in_autocast, quiet, twin_of
from aitia.engine.capture.observers.singular import MAX_NODES, hides

_FRAME: Final = re.compile(r'File "(.+?)", line (\d+), in ')


def find_gradient(model: nn.Module, call: Call) -> dict[str, Any] | None:
    """Run forward and backward again from the gradients that the outputs got; what made the first bad one, or None."""
    twin = twin_of(model)
    if twin is None:
        return None
    inner = _Modules(twin)
    with quiet(), warnings.catch_warnings(), torch.enable_grad(), in_autocast(call.autocast):
        warnings.simplefilter("ignore")  # anomaly mode announces itself
        if call.state is not None:
            torch.set_rng_state(call.state)
        # Anomaly mode notes at every node where it was made; values are checked by our own hooks.
        with torch.autograd.set_detect_anomaly(True, check_nan=False):
            outputs = list(floats(twin(*_passed(call.args), **_passed(call.kwargs))))
            inner.close()
            pairs = [(t, call.gradients[i]) for i, t in enumerate(outputs) if i in call.gradients and t.requires_grad]
            pairs = [(t, g) for t, g in pairs if t.shape == g.shape]
            if not pairs:
                return None
            watch = _Nodes(inner, rows_of(call.args, call.kwargs))
            watch.look([t.grad_fn for t, _ in pairs])
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs], retain_graph=True)
    return watch.first


def _passed(value: Any) -> Any:
    """Inputs through which a gradient goes on are results, not leaves: a model may change them in place."""
    if isinstance(value, Tensor):
        return value.clone() if value.requires_grad else value
    if type(value) is dict:
        return {k: _passed(v) for k, v in value.items()}
    return type(value)(_passed(v) for v in value) if type(value) in {tuple, list} else value


class _Modules:
    """Which module was running when a node was made, by the numbers that autograd gives to nodes in order."""

    def __init__(self, root: nn.Module) -> None:
        self._spans: list[tuple[int, int, str]] = []
        self._handles: list[Any] = []
        for name, module in root.named_modules():
            begun: list[int] = []
            self._handles.append(module.register_forward_pre_hook(self._begin(begun)))
            self._handles.append(module.register_forward_hook(self._end(begun, name)))

    @staticmethod
    def _begin(begun: list[int]) -> Any:
        return lambda *_: begun.append(_number())

    def _end(self, begun: list[int], name: str) -> Any:
        return lambda *_: self._spans.append((begun.pop(), _number(), name))

    def close(self) -> None:
        """The forward is over."""
        for handle in self._handles:
            handle.remove()

    def of(self, node: Any) -> str | None:
        """The innermost module."""
        number = node._sequence_nr()
        within = [(end - begin, name) for begin, end, name in self._spans if begin <= number < end]
        return min(within)[1] if within else None


def _number() -> int:
    return int(torch._C._autograd._get_sequence_nr())


class _Nodes:
    """Hooks at the nodes of a graph; keeps the first that made a non-finite gradient of finite ones."""

    def __init__(self, modules: _Modules, rows: int | None) -> None:
        self._modules = modules
        self._rows = rows
        self.first: dict[str, Any] | None = None

    def look(self, roots: list[Any]) -> None:
        """Put a hook at every node."""
        queue = deque((node, False) for node in roots if node is not None)
        seen = {node for node, _ in queue}
        while queue and len(seen) < MAX_NODES:
            node, masked = queue.popleft()
            if node.name() != "torch::autograd::AccumulateGrad":
                node.register_hook(self._hook(node, masked))
            masked = masked or hides(node.name())
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    queue.append((following, masked))

    def _hook(self, node: Any, masked: bool) -> Any:
        def see(after: tuple[Tensor | None, ...], before: tuple[Tensor | None, ...]) -> None:
            if self.first is not None:
                return
            bad = [g for g in after if g is not None and not bool(torch.isfinite(g).all())]
            if bad and all(g is None or bool(torch.isfinite(g).all()) for g in before):
                self.first = self._describe(node, masked, bad)

        return see

    def _describe(self, node: Any, masked: bool, bad: list[Tensor]) -> dict[str, Any]:
        rows = (first_row(~torch.isfinite(g), self._rows) for g in bad)
        return {
            "op": node.name(),
            "module": self._modules.of(node),
            "place": _place(node),
            "masked": masked,
            "row": next((r for r in rows if r is not None), None),
            "n_singular": sum(int((~torch.isfinite(g)).sum()) for g in bad),
            "values": [extremes(t) for t in _saved(node)][:3],
        }


def _saved(node: Any) -> list[Tensor]:
    """What the operation had kept of its own operands and result."""
    names = [n for n in dir(node) if n.startswith("_saved_")] or (
        ["saved_tensors"] if hasattr(node, "saved_tensors") else []
    )
    return list(floats([getattr(node, n) for n in names]))


def _place(node: Any) -> tuple[str, int] | None:
    """Innermost line of the user's code that made the node."""
    for text in reversed(node.metadata.get("traceback_") or ()):
        for file, line in reversed(_FRAME.findall(text)):
            name = user_file(file)
            if name is not None:
                return name, int(line)
    return None
