"""The exception that ended a run: where it struck, and its traceback as plain python would have shown it."""

from __future__ import annotations

import dis
import os
import sys
import traceback
from functools import cache
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

from aitia.engine.capture.frames import user_file
from aitia.engine.records import Failure

_OWN: Final = os.path.dirname(os.path.realpath(__file__)) + os.sep
_MODULE: Final = os.path.join("torch", "nn", "modules", "module.py")
_DETOUR: Final = "handle_torch_function"
"""torch's way through a function mode; it and its caller are there only for the mode's sake."""
MAX_MESSAGE: Final = 4000
MAX_TRACEBACK: Final = 20_000


def _ours(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return path.startswith(_OWN) or os.path.realpath(path).startswith(_OWN)


@cache
def _plain_call(code: CodeType) -> tuple[int, int] | None:
    """Place of the call without hooks in torch's `_call_impl`: (line, offset of the instruction)."""
    found: tuple[int, int] | None = None
    line = 0
    for instruction in dis.get_instructions(code):
        positions = instruction.positions
        line = (positions.lineno if positions is not None else None) or line
        if found is not None and line != found[0]:
            break
        if instruction.opname.startswith("CALL_FUNCTION_EX"):
            found = (line, instruction.offset)
            break
    return found


def clean(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without our frames, and with torch's calls as they look when no hook is registered."""
    frames: list[tuple[FrameType, int, int]] = []
    while tb is not None:
        frames.append((tb.tb_frame, tb.tb_lasti, tb.tb_lineno))
        tb = tb.tb_next
    names = [f.f_code.co_name for f, _, _ in frames] + ["", ""]
    ours = [_ours(f) for f, _, _ in frames] + [False, False]
    result: TracebackType | None = None
    for at in range(len(frames) - 1, -1, -1):
        frame, lasti, lineno = frames[at]
        detour = _DETOUR in (names[at], names[at + 1])
        if ours[at] or (detour and ours[at + 1 + (names[at] != _DETOUR)]):
            continue
        if frame.f_code.co_filename.endswith(_MODULE):
            if names[at] == "inner":
                continue
            place = _plain_call(frame.f_code) if names[at] == "_call_impl" and names[at + 1] == "inner" else None
            if place is not None:
                lineno, lasti = place
        result = TracebackType(result, frame, lasti, lineno)
    return result


def clean_all(error: BaseException) -> BaseException:
    """Clean the exception and all that it was raised from."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = clean(one.__traceback__)
        todo += [one.__cause__, one.__context__]
    return error


def failure_of(error: BaseException, names: Any = None, last: bool = True) -> Failure:
    """What is known of the exception; `names` gives a module's dotted path.

    `last`: nobody will handle it any more, so that its traceback may be cleaned for good.
    """
    text = "".join(traceback.format_exception(clean_all(error) if last else error))
    message = str(error)
    found: dict[str, Any] = {"phase": "other"}
    tb = error.__traceback__
    while tb is not None:
        _look(tb, found, names)
        tb = tb.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        found["file"], found["line"] = user_file(error.filename) or found.get("file"), error.lineno
    return Failure(
        type=type(error).__name__,
        message=message[:MAX_MESSAGE],
        traceback=text if len(text) <= MAX_TRACEBACK else text[:4000] + "\n…\n" + text[-(MAX_TRACEBACK - 4000) :],
        **found,
    )


def _look(tb: TracebackType, found: dict[str, Any], names: Any) -> None:
    frame = tb.tb_frame
    path, function = frame.f_code.co_filename, frame.f_code.co_name
    name = user_file(path)
    if name is not None:
        found["file"], found["line"] = name, tb.tb_lineno
        return
    parts = path.replace(os.sep, "/")
    if path.endswith(_MODULE) and function == "_call_impl":
        _look_at_module(frame, found, names)
    elif parts.endswith("torch/autograd/__init__.py") and function in {"backward", "grad"}:
        found["phase"] = "backward"
    elif "/torch/optim/" in parts and function in {"step", "wrapper"}:
        found["phase"] = "step"
    elif "/torch/utils/data/" in parts:
        found["phase"] = "data"
    elif (parts.endswith("torch/nn/functional.py") and _is_loss(function)) or parts.endswith(
        "torch/nn/modules/loss.py"
    ):
        found["phase"] = "loss"


def _is_loss(function: str) -> bool:
    return function.endswith("_loss") or "cross_entropy" in function or function == "kl_div"


def _look_at_module(frame: FrameType, found: dict[str, Any], names: Any) -> None:
    from aitia.engine.capture.describe import shape

    held = frame.f_locals
    module, args = held.get("self"), held.get("args", ())
    if module is None:
        return
    cls = type(module).__name__
    loss = type(module).__module__ == "torch.nn.modules.loss"
    found["phase"] = "loss" if loss else "forward"
    inputs = [shape(a) for a in args] + [f"{k}={shape(v)}" for k, v in (held.get("kwargs") or {}).items()]
    found["module"] = (names(module) if names is not None else None) or None
    found["module_class"] = cls
    found["inputs"] = tuple(inputs[:16])
    found["parameters"] = {n: shape(p) for n, p in module.named_parameters(recurse=False)}


def show(error: BaseException) -> None:
    """Print an uncaught exception the way the interpreter does, through the program's own hook if it set one."""
    clean_all(error)
    sys.excepthook(type(error), error, error.__traceback__)
