"""Causes that are not ours: declared with a decorator, found through the entry-point group `aitia.causes` or a file.

```python
from aitia.rules import STRONG, cause, supports

@cause("audio.clipped_waveform", title="Samples are cut off at full scale", phase="data",
       repair="Lower the gain before the conversion to int16.")
def clipped(case):
    top = case.run.table("batch")["in_max"]
    if len(top) and (top >= 0.999).mean() > 0.5:
        yield supports(STRONG, f"{(top >= 0.999).mean():.0%} of the batches touch full scale")
```

Installed packages name such causes (or the modules that declare them) as entry points; `aitia why --rules FILE` takes a
file of the user's own. A recording is data: nothing in a run directory is ever imported. A rule set that cannot be
loaded, or whose rule fails, is told in the answer and costs it nothing else.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from aitia.engine.causes.base import Cause, Weight
from aitia.engine.records import Phase
from aitia.engine.store.errors import AitiaError

if TYPE_CHECKING:
    from aitia.engine.case import Case

GROUP: Final = "aitia.causes"
"""Entry points of installed packages in this group are loaded."""
_ID: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
Rule = Callable[["Case"], Iterator[Weight]]


@dataclass
class _Registry:
    """What was declared in this process."""

    causes: dict[str, Cause] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """Rule sets that could not be loaded, one sentence each."""
    searched: bool = False


_registry = _Registry()


def cause(
    id: str,  # noqa: A002 - the word that the catalogue uses
    *,
    title: str,
    phase: Phase,
    repair: str,
    mistaken_for: Mapping[str, str] | None = None,
    explains: Iterable[str] = (),
    next_measurement: str = "",
    source: str = "",
) -> Callable[[Rule], Cause]:
    """Declare a cause; decorates the function that weighs a `Case` and yields evidence for and against.

    Raises:
        ValueError: the id is not of the form `group.cause` or belongs to another cause, or the phase is none.
    """

    def declare(weigh: Rule) -> Cause:
        return register(
            Cause(
                id=id,
                title=title,
                phase=phase,
                repair=repair,
                weigh=weigh,
                mistaken_for=dict(mistaken_for or {}),
                explains=tuple(explains),
                next_measurement=next_measurement,
                source=source,
            )
        )

    return declare


def register(new: Cause) -> Cause:
    """Add a cause to those of this process; declaring the same rule again (a reloaded file) replaces it."""
    from aitia.engine.causes import CAUSES

    if not _ID.fullmatch(new.id):
        raise ValueError(f"{new.id!r} is no id of a cause: expected group.cause in small letters, digits and _")
    if new.phase not in get_args(Phase):
        raise ValueError(f"{new.id}: phase {new.phase!r} is none of {', '.join(get_args(Phase))}")
    if new.id in CAUSES:
        raise ValueError(f"{new.id} is in aitia's own catalogue; choose another id")
    known = _registry.causes.get(new.id)
    if known is not None and _origin(known.weigh) != _origin(new.weigh):
        raise ValueError(f"{new.id} was declared already, in {_origin(known.weigh)}")
    _registry.causes[new.id] = new
    return new


def catalogue() -> dict[str, Cause]:
    """Our causes and those of the user, by id; loads installed rule sets when it is first asked."""
    from aitia.engine.causes import CAUSES

    if not _registry.searched:
        _registry.searched = True
        for entry in entry_points(group=GROUP):
            _attempt(f"rules {entry.name!r} of {_package(entry)}", entry.load)
    return {**CAUSES, **_registry.causes}


def broken() -> tuple[str, ...]:
    """Rule sets that could not be loaded."""
    return tuple(_registry.broken)


def load_file(path: Path, runs: Path) -> None:
    """Run a file of the user's own that declares causes.

    Raises:
        AitiaError: there is no such file, it lies among recordings, or it fails.
    """
    real = path.resolve()
    if not real.is_file():
        raise AitiaError(f"no rules at {path}: expected a Python file that declares causes with @aitia.cause.")
    recorded = [p for p in real.parents if p == runs.resolve() or (p / "run.db").exists()]
    if recorded:
        raise AitiaError(f"{path} lies among recordings, and nothing in a recording is executed; copy it elsewhere.")
    before = len(_registry.broken)
    _attempt(f"rules {path.name}", lambda: list(runpy.run_path(str(real)).values()))
    if len(_registry.broken) > before:
        raise AitiaError(_registry.broken.pop())


def _attempt(what: str, load: Callable[[], Any]) -> None:
    """Whatever a rule set does wrong is noted; that includes an attempt to end the process."""
    try:
        for found in _causes_in(load()):
            register(found)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        _registry.broken.append(f"{what} could not be loaded ({type(error).__name__}: {error})")


def _causes_in(loaded: Any) -> Iterator[Cause]:
    """A cause, several, or a module whose decorators have declared them already."""
    if isinstance(loaded, Cause):
        yield loaded
    elif isinstance(loaded, (list, tuple, set, frozenset)):
        yield from (c for c in loaded if isinstance(c, Cause))
    elif callable(loaded):
        raise TypeError("expected a cause, a list of causes or a module; is the decorator missing?")


def _origin(rule: Any) -> str:
    code = getattr(rule, "__code__", None)
    place = f"{code.co_filename}:" if code is not None else ""
    return f"{place}{getattr(rule, '__qualname__', rule)}"


def _package(entry: Any) -> str:
    name = getattr(getattr(entry, "dist", None), "name", None)
    return str(name or "an unknown package")
