"""Which line of the program made which operation: a look at every torch call of the first two training steps.

Autograd nodes carry no line numbers. For two steps a function mode notes them at the nodes themselves, so that later a
singular operation can be named with its line; it also sees the loss that is written by hand, outside of any module.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import LINE_MARK, Observer, notes_of

STEPS: Final = 2
"""Steps that are looked at: the first may be special (lazy layers, warm-up), the second is the rule."""
MAX_FORWARDS: Final = 8
"""Root forwards that are looked at in all, should no step ever come."""
MAX_OPS: Final = 80
"""Operations outside of modules that are told: losses written by hand are shorter."""
TWO_SIDED: Final = frozenset({"sub", "add", "mul", "div", "true_divide", "rsub", "eq", "pow", "maximum", "minimum"})
"""Operations of two tensors whose shapes may broadcast."""


class Watch(Observer):
    """Pushes a function mode before a training forward and takes it off before the optimizer steps."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._mode: Any = _Lines(self)
        self._pushed = False
        self.looking = False
        """Between the beginning of a forward and the backward; what clipping and logging compute is not asked for."""
        self._forwards = 0
        self._compiled = False
        self.ops: list[dict[str, Any]] = []
        self.activation_bytes = 0
        """Results with a graph that one forward and its loss made: about what is kept until backward."""
        self._bytes = 0
        self._told: set[str] = set()

    def install(self) -> None:
        def note(original: Any) -> Any:
            def compile_(*args: Any, **kwargs: Any) -> Any:
                self._compiled = self.recorder.compiled = (
                    True  # a compiler guards on the modes that are active: stay away
                )
                return original(*args, **kwargs)

            return compile_

        self.replace(torch, "compile", note)

    def uninstall(self) -> None:
        self._take_off()
        super().uninstall()

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        if self._pushed:
            if self.recorder.step >= STEPS or self._forwards >= MAX_FORWARDS:
                self._take_off()
            else:
                self._forwards += 1
                self.looking = True
            return
        if self.recorder.step >= STEPS or self._forwards >= MAX_FORWARDS:
            self.mute("before_root", "after_root", "before_step", "before_backward")
            return
        if not torch.is_grad_enabled():
            return
        self._forwards += 1
        if not self._compiled and any(_is_compiled(m) for m in module.modules()):
            self._compiled = self.recorder.compiled = True
        if self._compiled or torch._C._len_torch_function_stack():
            return
        self.ops = []
        self._mode.__enter__()
        self._pushed = self.looking = True

    def after_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            self.ops = []

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._pushed:
            self._take_off()

    def before_backward(self, loss: Tensor, site: int) -> None:
        """Tell what the program computed outside of modules on the way to this loss."""
        self.activation_bytes, self._bytes = max(self.activation_bytes, self._bytes), 0
        self.looking = False
        ops, self.ops = self.ops, []
        if not ops:
            return
        key = repr([(op["op"], op["line"], op["expanding"]) for op in ops])
        if key in self._told:
            return
        self._told.add(key)
        line = (notes_of(loss) or {}).get(LINE_MARK)
        self.recorder.fact("loss_code", subject=str(site), data={"site": site, "ops": ops}, where=line)

    def finish(self) -> None:
        self._take_off()

    def _take_off(self) -> None:
        """Only when it is the innermost mode: one that the program put on top of it has to go first."""
        if not self._pushed:
            return
        depth = torch._C._len_torch_function_stack()
        if depth and torch._C._get_function_stack_at(depth - 1) is self._mode:
            self._mode.__exit__(None, None, None)
            self._pushed = False

    def see(self, function: Any, args: tuple[Any, ...], result: Tensor) -> None:
        """One torch call of the program ended."""
        place = user_frame()
        notes = notes_of(result)
        if notes is not None and result._base is None:
            self._bytes += result.numel() * result.element_size()
        if notes is not None and place is not None:
            notes.setdefault(LINE_MARK, place)
        name = str(getattr(function, "__name__", "")).strip("_")
        shapes = [list(a.shape) for a in args if isinstance(a, Tensor)]
        outside = self.recorder.forward.outermost() is None
        expanding = name.removeprefix("r") in TWO_SIDED and len(shapes) == 2 and _expands(shapes, result)
        if (outside or expanding) and len(self.ops) < MAX_OPS and name != "get":
            self.ops.append(
                {
                    "op": name,
                    "line": place[1] if place else None,
                    "inputs": shapes,
                    "tracked": [a.requires_grad for a in args if isinstance(a, Tensor)],
                    "output": list(result.shape),
                    "grad": notes is not None,
                    "expanding": expanding,
                    "outside": outside,
                }
            )


class _Lines(TorchFunctionMode):
    """Calls every function as it is, and looks at the result."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        watch = self._watch
        if watch.looking and isinstance(result, Tensor) and not watch.idle():
            watch.guard(watch.see, func, args, result)
        return result


def _expands(shapes: list[list[int]], result: Tensor) -> bool:
    """(N, 1) with (N,) gives (N, N): larger than either operand."""
    sizes = [int(torch.Size(s).numel()) for s in shapes]
    return min(sizes) > 1 and result.numel() > max(sizes)


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
