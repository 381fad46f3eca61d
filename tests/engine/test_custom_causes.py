"""A user's own causes are weighed like ours; a broken one is told, and nothing in a recording is ever executed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aitia
from aitia.engine.case import Case
from aitia.engine.causes import CAUSES, custom
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.reason import diagnose, judge
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run
from aitia.rules import DECISIVE, cause, supports

RULES = """
from aitia.rules import DECISIVE, cause, supports

@cause("house.always", title="Always so", phase="setup", repair="Nothing.")
def always(case):
    yield supports(DECISIVE, f"the run took {case.n_steps} steps", steps=case.n_steps)
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> custom._Registry:
    """Nothing declared here outlives its test, and installed packages are not searched."""
    fresh = custom._Registry(searched=True)
    monkeypatch.setattr(custom, "_registry", fresh)
    return fresh


@pytest.fixture
def healthy(synthetic: Path) -> Run:
    """A run in which our own rules see no fault."""
    return Run(synthetic / "20260101-000000-healthy")


def always(case: Case) -> Iterator[Weight]:
    """A rule that accuses every run."""
    yield supports(DECISIVE, f"the run took {case.n_steps} steps", steps=case.n_steps)


def declared(name: str = "house.always") -> Cause:
    """That rule as a cause."""
    return cause(name, title="Always so", phase="setup", repair="Nothing.")(always)


def test_a_declared_cause_is_weighed_with_the_others(healthy: Run) -> None:
    """It is accused, explained and repaired by its own words."""
    assert diagnose(healthy).verdict == "healthy"
    declared()

    found = diagnose(healthy)

    assert found.hypotheses[0].cause == "house.always"
    assert found.hypotheses[0].fix is not None
    assert found.hypotheses[0].fix.summary == "Nothing."
    assert aitia.cause is cause


@pytest.mark.parametrize("name", ["always", "House.always", "house.always so", "../x.y", "optimizer.lr_too_high"])
def test_ids_are_checked(name: str) -> None:
    """An id has the form of ours, and is not one of ours."""
    with pytest.raises(ValueError, match=r"is no id|catalogue"):
        declared(name)


def test_the_same_id_from_elsewhere_is_refused() -> None:
    """Reloading a file replaces its rule; another one cannot."""
    declared()
    declared()

    with pytest.raises(ValueError, match="declared already"):
        cause("house.always", title="Other", phase="setup", repair="")(lambda case: iter(()))


def test_a_rule_that_fails_costs_only_itself(healthy: Run) -> None:
    """The answer is there, and says whose rule failed."""

    @cause("house.fails", title="Fails", phase="setup", repair="")
    def fails(case: Case) -> Iterator[Weight]:
        raise KeyError("nothing")
        yield

    @cause("house.strange", title="Strange", phase="setup", repair="")
    def strange(case: Case) -> Iterator[Weight]:
        yield "a string"  # type: ignore[misc]  # that is the mistake

    found = diagnose(healthy)

    assert found.verdict == "healthy"
    assert [f.partition(" (")[0] for f in judge(Case(healthy)).faults] == [
        "the rule of house.fails failed on this run", "the rule of house.strange failed on this run"
    ]  # fmt: skip
    assert any("house.fails" in text for text in found.next_measurements)


class Entry:
    """An installed entry point."""

    name, dist = "theirs", None

    def __init__(self, what: object) -> None:
        self.what = what

    def load(self) -> object:
        """What the entry names, or the failure of importing it."""
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what


@pytest.mark.parametrize("fault", [ImportError("no module"), SystemExit(3), SyntaxError("x"), ValueError("id")])
def test_a_broken_package_is_reported_and_never_fatal(
    fault: BaseException, healthy: Run, own_registry: custom._Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it tries to end the process."""
    own_registry.searched = False
    good = Cause("house.good", "Good", "setup", "", always)
    monkeypatch.setattr(custom, "entry_points", lambda group: [Entry(fault), Entry([good]), Entry(always)])

    found = diagnose(healthy)

    assert found.hypotheses[0].cause == "house.good"
    assert len(custom.broken()) == 2
    assert all("could not be loaded" in text for text in custom.broken())
    assert set(custom.catalogue()) == {*CAUSES, "house.good"}


def test_a_file_of_rules_is_taken(tmp_path: Path) -> None:
    """`aitia why --rules FILE`."""
    file = tmp_path / "rules.py"
    file.write_text(RULES)
    custom.load_file(file, tmp_path / "runs")

    assert "house.always" in custom.catalogue()


def test_nothing_in_a_recording_is_executed(synthetic: Path, tmp_path: Path) -> None:
    """Neither from the root of recordings nor from a run directory that lies elsewhere, nor through a link."""
    run = synthetic / "20260101-000000-healthy"
    trap = run / "source" / "rules.py"
    trap.parent.mkdir(exist_ok=True)
    trap.write_text("raise SystemExit('executed')")
    link = tmp_path / "rules.py"
    link.symlink_to(trap)

    for path, root in ((trap, synthetic), (trap, tmp_path), (link, tmp_path)):
        with pytest.raises(AitiaError, match="nothing in a recording is executed"):
            custom.load_file(path, root)
    trap.unlink()


@pytest.mark.parametrize(("text", "match"), [(None, "no rules at"), ("1 / 0", "ZeroDivisionError")])
def test_a_bad_file_is_one_sentence(text: str | None, match: str, tmp_path: Path) -> None:
    """A missing or failing file is the caller's error."""
    file = tmp_path / "rules.py"
    if text is not None:
        file.write_text(text)

    with pytest.raises(AitiaError, match=match):
        custom.load_file(file, tmp_path / "runs")


def test_the_command_line_takes_the_file(synthetic: Path, tmp_path: Path) -> None:
    """End to end, in a process of its own."""
    file = tmp_path / "rules.py"
    file.write_text(RULES)
    done = subprocess.run(
        [sys.executable, "-m", "aitia", "why", "healthy", "--runs", str(synthetic), "--rules", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "house.always" in done.stdout
