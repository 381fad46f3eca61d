"""Run a user's script under the recorder, as plain python would run it: same output, same exceptions, same exit code.

`python -m aitia.engine.capture.launch [--runs DIR] [--level LEVEL] train.py args…` (or `-m package.module args…`).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import runpy
import signal
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aitia.engine.capture.failure import clean_all, failure_of, show
from aitia.engine.capture.frames import set_base
from aitia.engine.capture.logs import Logs, Sources
from aitia.engine.capture.ranks import Plan, watch_children
from aitia.engine.capture.session import Level, Session, recording_name, share, switched_off
from aitia.engine.records import RunStatus

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

INTERRUPTED: Final = 130
"""Exit code of a shell for a program that ended by an interrupt."""
DEFAULT_ROOT: Final = ".aitia"


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Installs the recorder right after `import torch`, before the program can bind any of torch's names."""

    def __init__(self, install: Callable[[], None]) -> None:
        self._install = install
        self._looking = False

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torch" or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec("torch")
        finally:
            self._looking = False
        if spec is None or spec.loader is None:
            return spec
        loader = spec.loader
        execute = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(self)
            self._install()

        loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader object loads only torch
        return spec


class Launch:
    """One recorded run of a script."""

    def __init__(self, argv: Sequence[str], level: Level, root: Path, budget: float | None = None) -> None:
        self.argv = list(argv)
        script = self.argv[0]
        self.is_module = script == "-m"
        folder = os.getcwd() if self.is_module else os.path.dirname(os.path.abspath(script))
        set_base(os.getcwd(), folder)
        shown = None if self.is_module else _relative(script)
        self.session = Session(root, recording_name(self.argv), tuple(self.argv), shown, level, budget=share(budget))
        self.logs = Logs(self.session)
        self.sources = Sources(self.session)
        self.recorder: Recorder | None = None
        self._sigterm: Any = None
        self._interrupted = False
        atexit.register(self._die_interrupted)

    def install(self) -> None:
        """torch is there: put the hooks in place."""
        try:
            from aitia.engine.capture.recorder import Recorder

            self.recorder = Recorder(self.session)
            self.recorder.install()
            watch_children(self._plan())
        except Exception as error:  # noqa: BLE001 - a torch that we do not fit must not end the program
            data = {"what": "hooks could not be installed", "detail": f"{type(error).__name__}: {error}"}
            self.session.fact("recorder", "install", data)

    def _plan(self) -> Plan:
        session = self.session
        folder = os.getcwd() if self.is_module else os.path.dirname(os.path.abspath(self.argv[0]))
        name = recording_name(self.argv)
        return Plan(session.path.parent, name, tuple(self.argv), session.writer.info.script, session.level,
                    os.getcwd(), folder, session.budget)  # fmt: skip

    def run(self) -> int:
        """Run the script; returns its exit code."""
        finder = _AfterTorch(self.install)
        if "torch" in sys.modules:
            self.install()
        else:
            sys.meta_path.insert(0, finder)
        self._catch_signals()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
        try:
            execute(self.argv, self.sources.keep)
        except SystemExit as end:
            code = _exit_code(end)
            self._finish(RunStatus.FINISHED if code == 0 else RunStatus.CRASHED, code)
            return code
        except KeyboardInterrupt as error:
            show(error)
            self.session.fact("stopped", data={"signal": "SIGINT"})
            self._finish(RunStatus.STOPPED, INTERRUPTED)
            # Python itself dies of the signal after its exit handlers; ours was registered first and so runs last.
            self._interrupted = True
            return INTERRUPTED
        except BaseException as error:  # noqa: BLE001 - the program's own exception, shown and told as python would
            self._crashed(error)
            return 1
        finally:
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(finder)
        self._finish(RunStatus.FINISHED, 0)
        return 0

    # ---- its end -----------------------------------------------------------------------------------------------

    def _finish(self, status: RunStatus, code: int | None, failure: Any = None) -> None:
        recorder = self.recorder
        if recorder is not None:
            recorder.safe(recorder.finish)
            recorder.off = False
            recorder.safe(recorder.uninstall)
            recorder.off = True
        with contextlib.suppress(Exception):
            self.sources.look()
        with contextlib.suppress(Exception):
            self.logs.close()
        if self._sigterm is not None and signal.getsignal(signal.SIGTERM) == self._terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with contextlib.suppress(Exception):
            self.session.close(status, code, failure)

    def _crashed(self, error: BaseException) -> None:
        recorder = self.recorder
        with contextlib.suppress(Exception):
            clean_all(error)
        show(error)
        failure = None
        try:
            names = recorder.name_of if recorder is not None else None
            try:
                failure = failure_of(error, names)
            except RuntimeError:  # a loader's worker died just now, and torch's signal handler says so wherever we are
                failure = failure_of(error, names)
            data = {**failure.model_dump(mode="json"), "oom": _out_of_memory(error)}
            where = (failure.file, failure.line) if failure.file and failure.line else None
            self.session.fact("exception", failure.module or "", data, where)
        except Exception as fault:  # noqa: BLE001 - an exception that cannot be described is still recorded as a crash
            self.session.fact("recorder", "failure", {"what": "failure_of", "detail": repr(fault)[:500]})
        self._finish(RunStatus.CRASHED, 1, failure)

    def _die_interrupted(self) -> None:
        if self._interrupted and os.getpid() == self.session.pid:
            sys.stdout.flush()
            sys.stderr.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)

    def _catch_signals(self) -> None:
        with contextlib.suppress(ValueError):  # not the main thread
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                self._sigterm = self._terminated
                signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, number: int, frame: Any) -> None:
        """Write the end, then die of the signal as the program would have."""
        if os.getpid() == self.session.pid:
            self.session.fact("stopped", data={"signal": "SIGTERM"})
            self._finish(RunStatus.STOPPED, -number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _forked(self) -> None:
        if self.recorder is not None:
            self.recorder.forked()
        self.logs.close()
        if signal.getsignal(signal.SIGTERM) == self._terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def execute(argv: Sequence[str], keep: Callable[[str], None]) -> None:
    """Run a script or module as `__main__`; `keep` is told the path of its source before it runs."""
    main = types.ModuleType("__main__")
    if argv[0] == "-m":
        sys.path.insert(0, os.getcwd())
        # The same look-up that `python -m` does; runpy has no public name for it.
        _, spec, code = runpy._get_module_details(argv[1])  # type: ignore[attr-defined]
        sys.argv[:] = [spec.origin, *argv[2:]]
        main.__dict__.update(
            __spec__=spec,
            __file__=spec.origin,
            __loader__=spec.loader,
            __package__=spec.parent,
            __cached__=spec.cached,
        )
        keep(str(spec.origin))
    else:
        path = os.path.abspath(argv[0])  # python makes the script's own name absolute, but not sys.argv[0]
        # A folder on sys.path[0] that `python -m aitia` put there is not what `python train.py` has.
        sys.path[0] = os.path.dirname(os.path.realpath(path))
        sys.argv[:] = argv
        with io.open_code(path) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        loader = importlib.machinery.SourceFileLoader("__main__", path)
        main.__dict__.update(__file__=path, __loader__=loader, __cached__=None, __spec__=None)
        keep(path)
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    exec(code, main.__dict__)  # noqa: S102 - running the user's program is what this is for


def _relative(path: str) -> str:
    shown = os.path.relpath(path)
    return os.path.basename(path) if shown.startswith("..") else shown.replace(os.sep, "/")


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)  # noqa: T201 - what the interpreter does with sys.exit("message")
    return 1


def _out_of_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "out of memory" in str(error).lower()
    )


def _unrecorded(argv: Sequence[str]) -> int:
    try:
        execute(argv, lambda path: None)
    except SystemExit as end:
        return _exit_code(end)
    except BaseException as error:  # noqa: BLE001 - shown as the interpreter would
        show(error)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def run_script(
    argv: Sequence[str], level: Level = "normal", root: Path | str | None = None, budget: float | None = None
) -> int:
    """Run `train.py args…` or `-m package.module args…` under the recorder; returns the exit code of the program.

    `budget`: percent of the program's time that full measurements may take; None: the level's own.
    """
    if not argv:
        raise ValueError("expected a script or -m module; found nothing. Example: aitia run train.py --lr 0.1")
    if switched_off():
        return _unrecorded(argv)
    folder = Path(root) if root is not None else Path(os.environ.get("AITIA_RUNS") or DEFAULT_ROOT)
    try:
        launch = Launch(argv, level, folder, budget)
    except Exception as error:  # noqa: BLE001 - a disk that cannot be written to must not end the program
        text = f"aitia: nothing is recorded ({type(error).__name__}: {error}). The program runs all the same.\n"
        sys.stderr.write(text)
        return _unrecorded(argv)
    return launch.run()


def main(args: Sequence[str]) -> int:
    """Command line of this module."""
    rest, given = list(args), {}
    while rest and rest[0] in {"--runs", "--level", "--budget"}:
        given[rest[0]] = rest[1]
        rest = rest[2:]
    budget = float(given["--budget"]) if "--budget" in given else None
    level: Any = given.get("--level", "normal")  # RunInfo refuses other levels
    return run_script(rest, level, given.get("--runs"), budget)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
