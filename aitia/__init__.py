"""aitia: why did my training run fail?

`with aitia.watch(model, optimizer):` records a training loop from inside; `aitia.open_run()` opens a recording and
`aitia.diagnose(run)` answers. Importing this loads none of it: every name below is fetched when it is first used.
"""

import importlib as _importlib
import os as _os
import typing as _typing

if _typing.TYPE_CHECKING:
    from aitia.agent.model_debugging import ModelDebuggingAgent as ModelDebuggingAgent
    from aitia.agent.request import DebuggingConfig as DebuggingConfig
    from aitia.agent.request import DebuggingRequest as DebuggingRequest
    from aitia.agent.request import DebuggingResponse as DebuggingResponse
    from aitia.engine.capture.watch import NeuralDbg as NeuralDbg
    from aitia.engine.capture.watch import watch as watch
    from aitia.engine.causes.custom import cause as cause
    from aitia.engine.reason import diagnose as diagnose
    from aitia.engine.records import CausalHypothesis as CausalHypothesis
    from aitia.engine.records import Diagnosis as Diagnosis
    from aitia.engine.records import EventType as EventType
    from aitia.engine.records import Evidence as Evidence
    from aitia.engine.records import GradientHealth as GradientHealth
    from aitia.engine.records import SemanticEvent as SemanticEvent
    from aitia.engine.store.errors import AitiaError as AitiaError
    from aitia.engine.store.reader import Run as Run

__version__ = "0.1.0"

_HOME = {
    "AitiaError": "aitia.engine.store.errors",
    "CausalHypothesis": "aitia.engine.records",
    "DebuggingConfig": "aitia.agent.request",
    "DebuggingRequest": "aitia.agent.request",
    "DebuggingResponse": "aitia.agent.request",
    "Diagnosis": "aitia.engine.records",
    "EventType": "aitia.engine.records",
    "Evidence": "aitia.engine.records",
    "GradientHealth": "aitia.engine.records",
    "ModelDebuggingAgent": "aitia.agent.model_debugging",
    "NeuralDbg": "aitia.engine.capture.watch",
    "Run": "aitia.engine.store.reader",
    "SemanticEvent": "aitia.engine.records",
    "cause": "aitia.engine.causes.custom",
    "diagnose": "aitia.engine.reason",
    "watch": "aitia.engine.capture.watch",
}
"""Where each public name lives."""

__all__ = [
    "AitiaError",
    "CausalHypothesis",
    "DebuggingConfig",
    "DebuggingRequest",
    "DebuggingResponse",
    "Diagnosis",
    "EventType",
    "Evidence",
    "GradientHealth",
    "ModelDebuggingAgent",
    "NeuralDbg",
    "Run",
    "SemanticEvent",
    "__version__",
    "cause",
    "diagnose",
    "load_ipython_extension",
    "open_run",
    "watch",
]

# The rooms are linked into this folder. A checkout without symbolic links (Windows) finds them one level up instead.
if not _os.path.isdir(_os.path.join(__path__[0], "engine")):
    __path__.append(_os.path.dirname(_os.path.abspath(__path__[0])))


def open_run(name: str | None = None, runs: "str | _os.PathLike[str] | None" = None) -> "Run":
    """The recorded run of that name (the latest when None) under `runs` (default: $AITIA_RUNS, else ./.aitia).

    Raises `AitiaError` when there is none of that name; the message lists those there are.
    """
    from aitia.engine.store import reader

    return reader.open_run(name, reader.runs_root(runs))


def load_ipython_extension(shell: _typing.Any) -> None:
    """`%load_ext aitia`: adds `%%watch` (record a cell) and `%why` (ask)."""
    from aitia.notebook import load

    load(shell)


def __getattr__(name: str) -> _typing.Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'aitia' has no attribute {name!r}")
    value = getattr(_importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
