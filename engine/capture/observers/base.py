"""The observer's interface: what the recorder tells, and how torch is patched and restored."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder


SITE_MARK: Final = "aitia_site"
"""Key under which a loss site's index stands in the metadata of the node that made its result."""
LINE_MARK: Final = "aitia_line"
"""Key under which the user's (file, line) stands in the metadata of the node it made."""
SEARCHED_NODES: Final = 24
"""How far below a backward root a mark is looked for: sums, scalings and means stand between, seldom more."""


def notes_of(tensor: torch.Tensor) -> dict[str, Any] | None:
    """The dictionary that autograd keeps at the node that made this tensor; it lives and dies with the graph."""
    node: Any = tensor.grad_fn
    return None if node is None else node.metadata


def mark(tensor: torch.Tensor, key: str, value: float) -> None:
    """Note a number at the node that made this tensor; nothing is kept alive by it."""
    notes = notes_of(tensor)
    if notes is not None:
        notes[key] = value


def found_near(root: torch.Tensor, key: str) -> float | None:
    """The number that was noted at the root's node or at one of those just below it."""
    nodes: list[Any] = [root.grad_fn]
    for _ in range(SEARCHED_NODES):
        if not nodes:
            break
        node = nodes.pop(0)
        if node is None:
            continue
        if key in node.metadata:
            return float(node.metadata[key])
        nodes += [following for following, _ in node.next_functions]
    return None


@dataclass
class LossCall:
    """One call of a loss function, for observers that look at it; valid only while the call is handled."""

    site: int
    function: str
    arguments: dict[str, Any]
    prediction: torch.Tensor
    target: Any
    result: torch.Tensor
    grad: bool


class Observer:
    """Base of all observers. The recorder calls these methods, each guarded; none of them may change what it is given.

    What observers use of the recorder besides its agreed interface:

    - `recorder.tally: dict[str, float]`: sums for columns of the `step` row being gathered, e.g. `data_s`, `n_clip`
    - `recorder.latest: dict[str, float | torch.Tensor]`: last values for such columns, e.g. `clip_norm`, `loss_scale`
    - `recorder.site_of(tensor) -> int`: loss site of a backward root; set by `losses`
    - `recorder.scale_of(tensor) -> float`: factor by which a GradScaler multiplied that root, else 1; set by `scaler`

    Both dictionaries are cleared by the recorder when a `step` row was written.
    """

    watchful = False
    """Whether it is told of forwards, losses and backward calls in steps that are passed over, too."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Patch what is to be watched."""

    def uninstall(self) -> None:
        """Restore all that was patched, in reverse order."""
        while self._undo:
            self._undo.pop()()

    def before_root(self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The forward of a watched model begins."""

    def after_root(
        self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        """The forward of a watched model ended; `torch.is_grad_enabled()` tells whether gradients were tracked."""

    def after_loss(self, call: LossCall) -> None:
        """A loss function of torch was called."""

    def before_backward(self, loss: torch.Tensor, site: int) -> None:
        """`torch.autograd.backward` begins; `loss` is its first root."""

    def after_backward(self, loss: torch.Tensor, site: int) -> None:
        """… ended without an exception."""

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer's step begins."""

    def bad_gradient(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """The gradient that this step is about to use holds NaN or Inf; parameters are still as they were."""

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """… ended; `recorder.step` already counts it, and the step row is not written yet."""

    def finish(self) -> None:
        """The program ended (or the watched block did); the writer is still open, the patches still stand."""

    def replace(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put `make(original)` in the place of `owner.name`, to be undone by `uninstall`."""
        own = vars(owner) if hasattr(owner, "__dict__") else {}
        inherited = name not in own
        original = getattr(owner, name)
        wrapped = functools.wraps(original)(make(original))
        setattr(owner, name, wrapped)

        def undo() -> None:
            if getattr(owner, name, None) is not wrapped:
                return  # someone patched on top of us: leave their patch alone
            if inherited:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

        self._undo.append(undo)

    def replace_bound(self, name: str, original: Any, wrapped: Any, home: Any) -> None:
        """Replace it too in modules that were imported before us and hold the function itself (`from … import …`)."""
        for module in list(sys.modules.values()):
            if module is not home and getattr(module, "__dict__", {}).get(name) is original:
                self.replace(module, name, lambda _: wrapped)

    def hear(self, *events: str) -> None:
        """Be told of these events (again)."""
        self.recorder.listen(self, events, True)

    def mute(self, *events: str) -> None:
        """Be told of these events no more: there is nothing left to do in them, for now or for good."""
        self.recorder.listen(self, events, False)

    def guard(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a part of ours: its time is counted, hooks ignore it, and a fault in it never reaches the program."""
        self.recorder.own(function, *args)

    def idle(self) -> bool:
        """True while nothing is to be seen: the recorder itself is computing, or a compiler is tracing."""
        return self.recorder.idle()
