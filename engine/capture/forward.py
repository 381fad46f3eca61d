"""Forwards of whole models: when they begin and end, in which mode, with what batch."""

from __future__ import annotations

import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from aitia.engine.capture import stats
from aitia.engine.capture.modes import Modes
from aitia.engine.capture.untracked import Untracked

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

EVALUATED: Final = 200
"""Forwards without gradients that are all written; later ones at the governor's pace."""
HASHED: Final = 65_536
"""Bytes of a batch that its fingerprint reads; of a larger one, evenly spread blocks."""
_HOLDERS: Final = frozenset({"inner", "_call_impl"})
"""Frames of torch that hold the keyword arguments of a call."""


class Forward:
    """Global forward hooks: keeps the stack of running modules, writes the `batch` table, tells observers of roots."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.stack: list[nn.Module] = []
        self.root: int | None = None
        self.last_root: int | None = None
        """The model that ran last."""
        self.modes = Modes(recorder)
        self.untracked = Untracked(recorder)
        self._light: nn.Module | None = None
        """The outermost module that runs, in a step that is not measured fully: what runs inside of it is let by."""
        self._depth = 0
        """Calls of that module from within itself."""
        self._kwargs: Mapping[str, Any] = {}
        self._started = 0.0
        self._grad = False
        self._handles: list[Any] = []
        self._slept: list[tuple[Any, int, Any]] = []
        """Our hooks, and the tables and keys of torch under which they stand."""
        self._unhide: Callable[[], None] | None = None
        self._evaluated = 0
        self._forwards = 0
        self.n_forward: float = 0
        """Gradient-tracked root forwards since the last step; nan where they were not counted."""

    def install(self) -> None:
        """Register the hooks. The registered functions themselves return early under a compiler: Dynamo traces them."""
        recorder, is_compiling, is_tracing = self._recorder, torch.compiler.is_compiling, torch._C._is_tracing

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            if recorder.compiled and is_compiling():  # what we compute would become part of the traced graph
                return
            if self._light is not None:
                if module is self._light:
                    self._depth += 1
            elif not is_compiling() and not (recorder.busy or recorder.off or recorder.in_backward or is_tracing()):
                self._before(module, args)

        def after(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
            if recorder.compiled and is_compiling():
                return
            if self._light is not None:
                if module is self._light:
                    self._after_light(module, args, rest)
            elif not is_compiling() and not (recorder.busy or recorder.off or recorder.in_backward or is_tracing()):
                self._after(module, args, rest)

        hooks: Any = nn.modules.module
        self._handles = [
            hooks.register_module_forward_pre_hook(before),
            # In the exception path torch calls this with three arguments in spite of with_kwargs; `rest` takes both.
            hooks.register_module_forward_hook(after, with_kwargs=True, always_call=True),
        ]
        tables = (hooks._global_forward_pre_hooks, hooks._global_forward_hooks)
        self._slept = [
            (table, handle.id, table[handle.id]) for table, handle in zip(tables, self._handles, strict=True)
        ]
        self._hide()
        self.modes.install()

    def sleep(self) -> None:
        """No hooks for a while: with any there, every module's call takes torch's long way."""
        for table, key, _ in self._slept:
            table.pop(key, None)

    def wake(self) -> None:
        """They are back."""
        for table, key, hook in self._slept:
            table[key] = hook

    def _hide(self) -> None:
        """Compiled modules warn of global hooks; ours return at once under a compiler and are no reason to."""
        hooks: Any = nn.modules.module
        original = getattr(hooks, "_has_any_global_hook", None)
        if original is None:
            return
        own = {handle.id for handle in self._handles}

        def has_any_global_hook() -> bool:
            tables = (hooks._global_backward_pre_hooks, hooks._global_backward_hooks)
            more = (hooks._global_forward_pre_hooks, hooks._global_forward_hooks)
            return any(tables) or any(set(table) - own for table in more)

        hooks._has_any_global_hook = has_any_global_hook
        self._unhide = lambda: setattr(hooks, "_has_any_global_hook", original)

    def uninstall(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._slept = [], []
        if self._unhide is not None:
            self._unhide()
        self.modes.uninstall()

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        stack = self.stack
        if stack:
            stack.append(module)
            return
        recorder = self._recorder
        if threading.get_ident() != recorder.thread:
            if recorder.thread:
                return
            recorder.thread = threading.get_ident()
        if recorder.passing:
            if torch.is_grad_enabled():
                self._light, self._depth = module, 0
                recorder.quick(self._watch, module, args)
                return
            recorder.wake()  # an evaluation
        if recorder.pace.measuring:
            stack.append(module)
        else:
            self._light, self._depth = module, 0
        recorder.own(self._begin, module, args)

    def _after_light(self, module: nn.Module, args: tuple[Any, ...], rest: tuple[Any, ...]) -> None:
        if self._depth:
            self._depth -= 1
            return
        self._light = None
        if self._recorder.passing:
            if self.root is not None and len(rest) == 2:
                self._recorder.quick(self._recorder.watch, "after_root", self.root, module, args, rest[0], rest[1])
        elif self.root is not None and len(rest) == 2:
            own = self._recorder.quick if self._grad else self._recorder.own  # evaluations are described all the same
            own(self._end, module, args, rest[0], rest[1])
        self.root, self._kwargs = None, {}

    def _watch(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A forward begins in a step that is passed over."""
        recorder = self._recorder
        self.root = root = recorder.registry.root(module)
        if root is not None:
            self.n_forward += 1
            self._grad = True
            recorder.watch("before_root", root, module, args, {} if args else _keyword_arguments())

    def outermost(self) -> nn.Module | None:
        """The module that the program itself has called and that runs now."""
        return self.stack[0] if self.stack else self._light

    def clear(self) -> None:
        """No forward runs now, whatever became of the last one."""
        self.stack.clear()
        self._light = None

    def _after(self, module: nn.Module, args: tuple[Any, ...], rest: tuple[Any, ...]) -> None:
        stack = self.stack
        if not stack or threading.get_ident() != self._recorder.thread:
            return
        if stack[-1] is module:
            stack.pop()
        elif any(m is module for m in stack):
            while stack.pop() is not module:
                pass
        else:
            return
        raised = len(rest) < 2
        recorder = self._recorder
        if not raised and recorder.pace.measuring and self.root is not None:
            recorder.quick(self._module, module, args, rest[0], rest[1])
        if not stack:
            if not raised and self.root is not None:
                recorder.own(self._end, module, args, rest[0], rest[1])
            self.root, self._kwargs = None, {}

    def _module(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        if module._parameters:
            self.untracked.see(module, torch.is_grad_enabled())
        if self._grad:
            self._recorder.layers.see(module, args, kwargs, output, self.stack)

    # ---- root calls --------------------------------------------------------------------------------------------

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        recorder = self._recorder
        self._grad = False
        self.root = root = recorder.registry.root(module)
        if root is None:
            return
        self.last_root = root
        self._grad = grad = torch.is_grad_enabled()
        self._kwargs = _keyword_arguments() if not args or recorder.pace.measuring else {}
        if grad:
            self._forwards += 1
            if self._forwards == 1:
                recorder.steps.start()
            self.n_forward += 1
            if recorder.step == 0 and not recorder.registry.optimizers.stepped:
                recorder.pace.without_steps(self._forwards)
        letter = ("F" if module.training else "f") if grad else ("e" if module.training else "E")
        recorder.letter(f"{letter}{root}")
        self.modes.see(root, module, grad)
        recorder.tell("before_root", root, module, args, self._kwargs)
        recorder.layers.begin()
        self._started = time.perf_counter()

    def _end(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        root, recorder = self.root, self._recorder
        if root is None:
            return
        took = time.perf_counter() - self._started
        column = "forward_s" if self._grad else "eval_s"
        recorder.tally[column] = recorder.tally.get(column, 0.0) + took
        inputs = next(iter(stats_tensors((args, kwargs))), None)
        if inputs is not None and inputs.dim() and self._grad:
            recorder.latest["batch_size"] = inputs.shape[0]
        if not self._grad:
            self._evaluated += 1
        if recorder.pace.measuring if self._grad else self._evaluated <= EVALUATED or recorder.pace.measuring:
            self._row(root, module, inputs, output)
        recorder.tell("after_root", root, module, args, kwargs, output)

    def _row(self, root: int, module: nn.Module, inputs: Tensor | None, output: Any) -> None:
        recorder = self._recorder
        row: dict[str, float | int] = {
            "step": recorder.step + 1,
            "time": recorder.seconds(),
            "root": root,
            "grad": float(self._grad),
            "training": float(module.training),
            "in_hash": 0,
        }
        parts: list[tuple[str, tuple[str, ...], Tensor]] = []
        if inputs is not None:
            row["n"] = inputs.shape[0] if inputs.dim() else 1
            row["in_hash"] = fingerprint(inputs)
            parts.append(("in_", ("mean", "std", "min", "max", "nonfinite"), inputs))
        out = next((t for t in stats_tensors(output) if t.is_floating_point()), None)
        if out is not None:
            parts.append(("out_", ("mean", "std", "nonfinite"), out))
        waiting = 0
        for prefix, names, tensor in parts:
            values = recorder.layers.known(tensor)
            if values is None:
                continue
            if isinstance(values, Tensor):
                waiting += 1

                def put(numbers: list[float], prefix: str = prefix, names: tuple[str, ...] = names) -> None:
                    row.update({prefix + n: numbers[stats.FIELDS.index(n)] for n in names})

                recorder.later(values, put)
            else:
                numbers = recorder.layers.numbers(values)
                row.update({prefix + n: numbers[stats.FIELDS.index(n)] for n in names})
        if waiting:
            recorder.later(torch.zeros(1, device=parts[0][2].device), lambda _: recorder.writer.narrow("batch", row))
        else:
            recorder.writer.narrow("batch", row)

    def finish(self) -> None:
        """Counts that were still growing."""
        self.modes.finish()
        self.untracked.finish()


def _keyword_arguments() -> Mapping[str, Any]:
    """Keyword arguments of the call that starts: global pre-hooks are not given them, torch's own frame has them."""
    frame = sys._getframe(1)
    for _ in range(12):
        if frame.f_back is None:
            break
        frame = frame.f_back
        if frame.f_code.co_name in _HOLDERS and frame.f_code.co_filename == nn.modules.module.__file__:
            kwargs = frame.f_locals.get("kwargs", {})
            return kwargs if isinstance(kwargs, dict) else {}
    return {}


def stats_tensors(value: Any, depth: int = 0) -> Any:
    """Tensors with data inside arguments or outputs: tuples, dictionaries, dataclasses, packed sequences."""
    if isinstance(value, Tensor):
        if stats.readable(value):
            yield value
    elif depth < 4:
        if isinstance(value, Mapping):
            items: Any = value.values()
        elif isinstance(value, (tuple, list)):
            items = value
        else:
            items = vars(value).values() if hasattr(value, "__dataclass_fields__") else ()
        for item in items:
            yield from stats_tensors(item, depth + 1)


def fingerprint(x: Tensor) -> int:
    """Equal content, equal value: 63 bits over the shape and the bytes (of a large tensor: evenly spread rows)."""
    array = stats.host(x)
    if array is None:
        flat = x.detach().reshape(-1)
        array = flat[:: max(1, flat.numel() * x.element_size() // HASHED)].cpu().float().numpy()
    if array.nbytes > HASHED:
        array = array.reshape(-1)
        block = HASHED // 16 // array.itemsize
        starts = np.linspace(0, array.size - block, 16).astype(int)
        array = np.concatenate([array[s : s + block] for s in starts])
    data = np.ascontiguousarray(array)
    head = zlib.crc32(repr(tuple(x.shape)).encode())
    return (zlib.crc32(data.data, head) << 31) ^ zlib.adler32(data.data)
