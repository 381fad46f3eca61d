"""`aitia run`: record a training script without a change to it."""

from __future__ import annotations

import importlib.machinery
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from aitia.commands.options import AsJson, Level, Runs


def run(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="The program, or with -m the module, as for python.")],
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Handed to the program as they are.")
    ] = None,
    module: Annotated[bool, typer.Option("-m", "--module", help="SCRIPT is the name of a module.")] = False,
    level: Annotated[Level, typer.Option("--level", help="How much to measure.")] = Level.NORMAL,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="PERCENT", min=0.0, help="Of the program's time, for full measurements."),
    ] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Record a program: `aitia run train.py --lr 0.1`. Options of aitia come before SCRIPT, the program's after it.

    Output and exit code are the program's own. After a failure one line on stderr says how to ask why.
    """
    from aitia.engine.store.reader import list_runs, runs_root

    if module:
        _require_module(script)
    else:
        _require_script(script)
    argv = [*(["-m"] if module else []), script, *(args or [])]
    from aitia.engine.capture.session import switched_off

    if switched_off():
        raise SystemExit(subprocess.call([sys.executable, *argv]))
    root = runs_root(runs).absolute()  # the program may change its working directory
    _require_folder(root)
    _make_room(root)
    known = set(list_runs(root, fresh=False))
    from aitia.engine.capture.launch import run_script

    code = run_script(argv, level=level.value, root=root, budget=budget)
    new = [path for path in list_runs(root, fresh=False) if path not in known]
    if as_json:
        from aitia.commands.screen import say_json

        say_json({"run": new[0].name if new else None, "path": str(new[0]) if new else None, "exit_code": code})
    elif code != 0 and new:
        where = f" --runs {shlex.quote(str(runs))}" if runs else ""
        sys.stderr.write(f"aitia: the program ended with exit code {code}. Ask why: aitia why{where}\n")
    raise SystemExit(code)


def _make_room(root: Path) -> None:
    """With AITIA_MAX_SIZE the oldest runs go; what cannot be removed stays, and the program starts all the same."""
    size = os.environ.get("AITIA_MAX_SIZE")
    if size:
        from aitia.commands.runs import prune_to
        from aitia.engine.store.errors import AitiaError

        try:
            prune_to(root, size)
        except (AitiaError, OSError) as error:
            sys.stderr.write(f"aitia: old runs were not removed: {error}\n")


def _require_script(script: str) -> None:
    """A script that python could not even start is said in one line, before anything is recorded."""
    from aitia.engine.store.errors import AitiaError

    path = Path(script)
    if path.is_dir():
        if (path / "__main__.py").is_file():
            return
        raise AitiaError(f"{script} is a folder without __main__.py; expected a Python script.")
    if not path.is_file():
        hint = ""
        if path.name.startswith("python"):
            hint = " Leave the word python out: aitia run train.py"
        elif path.suffix == "" and path.with_suffix(".py").is_file():
            hint = f" Did you mean {script}.py?"
        raise AitiaError(f"no script at {script}.{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the program itself will warn when it is really compiled
            compile(path.read_bytes(), script, "exec", dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or "").strip()
        shown = f": {text}" if text else ""
        raise AitiaError(f"{script}:{error.lineno}: {error.msg}{shown}") from None
    except ValueError as error:
        raise AitiaError(f"{script} is not Python source: {error}") from None
    except OSError as error:
        raise AitiaError(f"{script} cannot be read: {error.strerror}") from None


def _require_module(name: str) -> None:
    from aitia.engine.store.errors import AitiaError

    top = name.partition(".")[0]
    if importlib.machinery.PathFinder.find_spec(top, [os.getcwd(), *sys.path]) is None:
        raise AitiaError(f"no module named {top!r} here or installed.")


def _require_folder(root: Path) -> None:
    from aitia.engine.store.errors import AitiaError

    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AitiaError(f"runs cannot be kept in {root}: {error.strerror}. Choose another with --runs.") from None
