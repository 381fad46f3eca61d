"""`with aitia.watch(model, optimizer):` - the recorder around a block of the user's own program."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from aitia.engine.capture.failure import failure_of
from aitia.engine.capture.frames import set_base
from aitia.engine.capture.logs import Logs, Sources
from aitia.engine.capture.session import Level, Session, share, switched_off
from aitia.engine.records import RunStatus
from aitia.engine.store.errors import RunNotFound

if TYPE_CHECKING:
    import torch

    from aitia.engine.capture.recorder import Recorder
    from aitia.engine.records import CausalHypothesis
    from aitia.engine.store.reader import Run


class NeuralDbg:
    """Records what happens inside its `with` block; afterwards it answers.

    In a process that is already recorded (`aitia run train.py`) the block joins that recording. With AITIA=0 in the
    environment nothing is recorded.
    """

    def __init__(
        self,
        models: Sequence[torch.nn.Module] = (),
        optimizers: Sequence[torch.optim.Optimizer] = (),
        *,
        name: str | None = None,
        runs: Path | str | None = None,
        level: Level = "normal",
        budget: float | None = None,
    ) -> None:
        self.path: Path | None = None
        """The run's directory; None before the block began."""
        self._models = tuple(models)
        self._optimizers = tuple(optimizers)
        self._name = name
        self._runs = runs
        self._level: Level = level
        self._budget = share(budget)
        self._recorder: Recorder | None = None
        self._logs: Logs | None = None
        self._sources: Sources | None = None

    def __enter__(self) -> NeuralDbg:
        if switched_off():
            return self
        from aitia.engine.capture.recorder import Recorder, current

        running = current()
        if running is not None and not running.off:
            self.path = running.session.path
            self._introduce(running)
            return self
        try:
            self._start(Recorder)
        except Exception as error:  # noqa: BLE001 - a full disk must not end the training
            warnings.warn(f"aitia records nothing: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
            self._recorder = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        session = recorder.session
        failure, status = None, RunStatus.FINISHED
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            status = RunStatus.STOPPED
            session.fact("stopped", data={"signal": type(error).__name__})
        elif error is not None:
            status = RunStatus.CRASHED
            failure = recorder.safe(failure_of, error, recorder.name_of, False)
            if (
                failure is None
            ):  # torch raises from a signal handler when a loader's worker dies, also in the midst of this
                failure = recorder.safe(failure_of, error, recorder.name_of, False)
            if failure is not None:
                where = (failure.file, failure.line) if failure.file and failure.line else None
                session.fact("exception", failure.module or "", failure.model_dump(mode="json"), where)
        recorder.safe(recorder.finish)
        recorder.off = False  # uninstalling is guarded by the same switch
        recorder.safe(recorder.uninstall)
        recorder.off = True
        if self._sources is not None:
            self._sources.look()
        if self._logs is not None:
            self._logs.close()
        session.close(status, None, failure)

    def run(self) -> Run:
        """The recording, as it is now."""
        from aitia.engine.store.reader import Run

        if self.path is None:
            raise RunNotFound(
                "nothing was recorded yet: the `with aitia.watch(…)` block has not begun, or AITIA=0 is set."
            )
        return Run(self.path)

    def explain_failure(self) -> list[CausalHypothesis]:
        """Ranked hypotheses about what went wrong; empty when the run looks healthy."""
        from aitia.engine.reason import diagnose

        return list(diagnose(self.run()).hypotheses)

    def export_svg_causal_graph(self) -> str:
        """The causal chain behind the first answers, as a self-contained SVG picture."""
        from aitia.engine.drawing import svg
        from aitia.engine.reason import diagnose

        run = self.run()
        return svg(run, diagnose(run))

    def export_mermaid_causal_graph(self) -> str:
        """The chain from cause to symptom as a Mermaid graph."""
        from aitia.engine.graph import mermaid
        from aitia.engine.reason import diagnose

        run = self.run()
        text: str = mermaid(run, diagnose(run))
        return text

    # ---- private -----------------------------------------------------------------------------------------------

    def _start(self, recorder_class: type[Recorder]) -> None:
        from aitia.engine.store.reader import runs_root

        script = _main_file()
        set_base(os.getcwd(), *([os.path.dirname(script)] if script else []))
        root = runs_root(self._runs)
        name = self._name or (Path(script).stem if script else "watch")
        shown = os.path.relpath(script) if script else None
        command = tuple(sys.argv) if script else ()
        shown = None if shown and shown.startswith("..") else shown
        session = Session(root, name, command, shown, self._level, budget=self._budget)
        self.path = session.path
        self._logs = Logs(session)
        self._sources = Sources(session)
        if script:
            self._sources.keep(script)
        recorder = self._recorder = recorder_class(session)
        recorder.install()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=recorder.forked)
        self._introduce(recorder)

    def _introduce(self, recorder: Recorder) -> None:
        for model in self._models:
            recorder.own(recorder.registry.root, model)
        for optimizer in self._optimizers:
            recorder.own(recorder.registry.optimizer, optimizer)


def watch(
    model: Any = None,
    optimizer: Any = None,
    *,
    name: str | None = None,
    runs: Path | str | None = None,
    level: Level = "normal",
    budget: float | None = None,
) -> NeuralDbg:
    """Record the block that follows: `with aitia.watch(model, optimizer) as run: train(…)`.

    `model` and `optimizer` (each one, several in a list, or None) are only needed to know them before their first use;
    what the block calls is found by itself. `runs` is where the run directory is made (default: AITIA_RUNS, else
    `.aitia`), `name` the last part of its name, `level` how much is measured: light, normal or deep,
    `budget` the percent of the program's time that full measurements may take (default: the level's own).
    """
    return NeuralDbg(_several(model), _several(optimizer), name=name, runs=runs, level=level, budget=budget)


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _main_file() -> str | None:
    """The script that python was started with, when there is one."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.abspath(path) if isinstance(path, str) and os.path.isfile(path) else None
