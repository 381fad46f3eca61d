"""The suggested change for a hypothesis: a codemod where one fits, else the cause's own advice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from aitia.agent.repairs import ALTERNATIVES, REPAIRS, Accused, Patch
from aitia.engine.records import CausalHypothesis, Fix
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run

BACKUP_SUFFIX = ".before-aitia"


class FileChangedError(AitiaError):
    """The user's file is not what it was when the run was recorded."""


def patch_for(run: Run, hypothesis: CausalHypothesis) -> Patch | None:
    """The change of the program's text that repairs this cause; None where no codemod fits."""
    return next(iter(patches_for(run, hypothesis)), None)


def patches_for(run: Run, hypothesis: CausalHypothesis) -> list[Patch]:
    """All changes that might repair this cause, the most likely first; a proof decides between them."""
    accused, found = Accused(run, hypothesis), list[Patch]()
    for repair in (REPAIRS.get(hypothesis.cause), *ALTERNATIVES.get(hypothesis.cause, ())):
        try:
            made = repair(accused) if repair is not None else None
            patches = [made] if isinstance(made, Patch) else list(made or ())
        except Exception:  # noqa: BLE001 - one that meets a text nobody thought of proposes nothing; the others still may
            patches = []
        for patch in patches:
            if patch.files not in [p.files for p in found]:
                found.append(patch)
    return found


def propose(run: Run, hypothesis: CausalHypothesis) -> Fix:
    """The fix of a hypothesis, with a unified diff against the run's snapshot where a codemod fits."""
    patch = patch_for(run, hypothesis)
    if patch is None:
        return Fix(summary=advice(hypothesis), kind="none")
    return Fix(summary=patch.summary, kind=patch.kind, diff=unified(run.sources, patch.files))


def advice(hypothesis: CausalHypothesis) -> str:
    """The cause's repair in one sentence."""
    from aitia.engine.causes.custom import catalogue

    cause = catalogue().get(hypothesis.cause)
    if cause is not None:
        return cause.repair
    return hypothesis.fix.summary if hypothesis.fix is not None else f"no repair is known for {hypothesis.cause}"


def unified(before: dict[str, str], after: dict[str, str]) -> str:
    """A unified diff in git's form of all files that changed."""
    return "".join(
        _with_end(line)
        for name in sorted(after)
        for line in difflib.unified_diff(
            before[name].splitlines(True), after[name].splitlines(True), f"a/{name}", f"b/{name}"
        )
    )


def apply(run: Run, files: dict[str, str], root: Path) -> list[Path]:
    """Write the repaired files under `root`, each beside a backup; refuse all when one differs from the snapshot."""
    unchanged(run, root, files)
    places = [root / name for name in files]
    for path, text in zip(places, files.values(), strict=True):
        before = path.read_bytes()
        path.with_name(path.name + BACKUP_SUFFIX).write_bytes(before)
        crlf = b"\r\n" in before  # texts are read with plain line ends
        path.write_bytes((text.replace("\n", "\r\n") if crlf else text).encode())
    return places


def unchanged(run: Run, root: Path, names: Iterable[str]) -> None:
    """Raise `FileChangedError` where one of the files is not what it was when the run was recorded."""
    for name in names:
        path, snapshot = root / name, run.path / "source" / name
        if not snapshot.is_file() or not path.is_file() or path.read_bytes() != snapshot.read_bytes():
            raise FileChangedError(
                f"{path} has changed since run {run.id}: nothing was written. "
                "Record the run again, or apply the diff by hand."
            )


def _with_end(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
