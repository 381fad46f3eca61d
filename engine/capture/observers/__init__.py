"""Observers: each watches one part of the program that the core (forward, backward, step) does not see by itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from aitia.engine.capture.observers.base import Observer

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

OBSERVERS: Final = (
    "losses",
    "loaders",
    "randomness",
    "neighbours",
    "rows",
    "clip",
    "scaler",
    "autocast",
    "schedulers",
    "zero_grad",
    "states",
    "trace",
    "graph",
    "nonfinite",
    "memory",
    "copies",
    "layout",
    "inputs",
    "comparisons",
    "ddp",
    "compiled",
    "cost",
    "probes",
)
"""Module names in the order of installation; each holds one class `Watch`."""


def all_observers(recorder: Recorder) -> list[Observer]:
    """Build every observer; one that cannot be built is noted and left out."""
    built: list[Observer] = []
    for name in OBSERVERS:
        try:
            watch = import_module(f"{__name__}.{name}").Watch
            built.append(watch(recorder))
        except Exception as error:  # noqa: BLE001 - a part of torch that is missing must not end the recording
            recorder.fact("recorder", name, {"what": "observer left out", "detail": f"{type(error).__name__}: {error}"})
    return built
