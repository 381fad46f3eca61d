"""From the user's own words to the measurements worth taking, and of what; with the closed list that there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from aitia.engine.store.reader import Run
from aitia.tools.error_diagnoser import diagnose_error
from aitia.tools.gradient_debugger import debug_gradients
from aitia.tools.layer_analyzer import analyze_layers
from aitia.tools.memory_tracker import track_memory
from aitia.tools.performance_profiler import profile_performance
from aitia.tools.result import ToolResult

MEASUREMENTS: Final[dict[str, Callable[[Run], ToolResult]]] = {
    "layers": analyze_layers,
    "gradients": debug_gradients,
    "performance": profile_performance,
    "memory": track_memory,
    "errors": diagnose_error,
}
"""Everything that can be asked for beyond the diagnosis itself: read-only, cheap, over the recorded run."""

OFFERED: Final[dict[str, str]] = {
    "layers": "activation health of every layer: dead, saturated, constant, non-finite",
    "gradients": "gradient and update norms of every parameter, absent gradients, clipping",
    "performance": "where the time of a step goes",
    "memory": "memory over the run, graphs kept alive",
    "errors": "the exception, the module that ran and what it received, warnings",
}
"""The same list in words, for a model to choose from."""

WORDS: Final[dict[str, re.Pattern[str]]] = {
    name: re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    for name, words in {
        "performance": (r"slow\w*", "speed", r"fast(er)?", "throughput", "hours?", "minutes?", "forever",
                        r"takes?\b.{0,15}\blong(er)?", r"utili[sz]ation", "idle", "bottleneck"),
        "memory": ("memory", "ram", "oom", r"leak\w*", r"swap\w*", "killed", "grows?", "gib", "gb"),
        "errors": (r"crash\w*", "error", "exceptions?", "traceback", "raises?", "raised", "shape", "dtype", "stops?",
                   "stopped", "dies", "died"),
        "gradients": (r"converg\w*", "gradients?", r"explod\w*", r"vanish\w*", r"diverg\w*", "nan", "inf", "flat",
                      "stuck", r"plateau\w*", r"improv\w*", r"not learn\w*", "doesn'?t learn", "learning rate",
                      "lr", "loss"),
        "layers": ("activations?", "dead", "relu", r"saturat\w*", "layers?", "neurons?", "units?", "constant",
                   "same (output|prediction)"),
    }.items()
}  # fmt: skip
"""What a user says, and the measurements it asks for."""


TOKEN = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
ORDINARY: Final = frozenset({"loss", "model", "act", "output", "input", "data", "out", "in", "a", "net", "layer"})
"""Words that may also be the name of a module, and are meant as words."""
OF_A_SUBJECT: Final[dict[str, Callable[[Run, str], ToolResult]]] = {
    "layers": analyze_layers,
    "gradients": debug_gradients,
}
"""Measurements that can be narrowed to a layer, or to the parameters below it."""


def subject(run: Run, words: str | None) -> str | None:
    """The layer or parameter that the words name; None where they name none, or more than one."""
    names = {x.name for x in run.layers} | {x.name for x in run.parameters}
    said = {token for token in TOKEN.findall(words or "") if token.lower() not in ORDINARY}
    found = {name for name in names if name in said or (name.count(".") == 1 and name.rpartition(".")[2] in said)}
    exact = {name for name in found if name in said}
    return next(iter(exact or found)) if len(exact or found) == 1 else None


def focus(words: str | None) -> tuple[str, ...]:
    """Names of the measurements that the user's words ask for, in the order of the closed list."""
    text = words or ""
    return tuple(name for name in MEASUREMENTS if WORDS[name].search(text))


def measure(run: Run, name: str, of: str | None = None) -> ToolResult | None:
    """Take one measurement of the closed list, `of` one layer or parameter where it can be; None for another name."""
    narrow = OF_A_SUBJECT.get(name)
    if of is not None and narrow is not None:
        try:
            return narrow(run, of)
        except KeyError:  # a layer without parameters has no gradients of its own
            pass
    tool = MEASUREMENTS.get(name)
    return tool(run) if tool is not None else None
