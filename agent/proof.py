"""Proof of a repair: the mechanism flips, nothing else appears, and a regression test is red before and green after.

Everything is run in copies of the project, next to a placebo without a change, and with a second seed.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from aitia.agent import race, regression
from aitia.agent.invariants import Invariant, bounded, by_diagnosis, invariant
from aitia.agent.mutants import Mutant, mutants
from aitia.agent.repairs.accused import Patch
from aitia.engine.records import CausalHypothesis, Record, Rung, Verification
from aitia.engine.replay.reading import Reading, read
from aitia.engine.replay.replay import Played, Replays, Trial
from aitia.engine.replay.verdict import Comparison, compare, present_from
from aitia.engine.replay.vocabulary import Change, parse
from aitia.engine.store.reader import Run

TEST_SECONDS = 120.0
"""For one test against a recording: it only reads."""
FAILED, PASSED = 1, 0
"""Exit codes of pytest: tests failed, all passed. Anything else is an error of the test itself."""
NEXT_SEED = 1
"""Shift of the seeds in the second pair of runs."""
RACED = 4
"""Numbers that are tried at first: two orders of magnitude."""
PRELOAD = ("pytest", "aitia.testing", "aitia.engine.reason")
HIDING = re.compile(r"nan_to_num|\bisnan\b|\bisfinite\b|\bisinf\b|\bnanmean\b|\bexcept\b|set_detect_anomaly")
"""What hides a fault instead of removing it; a change that brings it along needs no run to be refused."""
MAY_LOOK = frozenset({"data.nan_or_inf_input"})
"""Causes whose honest repair looks for values that are not finite."""


class TestProof(Record):
    """What became of the regression test."""

    __test__ = False  # no test of ours, whatever pytest makes of the name
    status: Literal["proved", "unproved"] = "unproved"
    reason: str = ""
    """Why it is proved, or why not."""
    before: str | None = None
    """What the assertion said about the program as it was."""


class Proof(Record):
    """What became of one repair or intervention."""

    verdict: Comparison
    readings: tuple[Reading, ...] = ()
    test: TestProof = TestProof()
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """The verdict's word."""
        return self.verdict.status

    @property
    def rung(self) -> Rung:
        """How firmly it stands: where the placebo repeats the recorded run bit for bit, only the change differs."""
        if self.status not in {"proved", "unfinished"}:
            return "association"
        return "replay" if any(r.label == "placebo" and r.same_as_recorded for r in self.readings) else "intervention"

    def verification(self, method: str) -> Verification:
        """The same for the answer."""
        status: Any = {"proved": "proved", "refuted": "refuted"}.get(self.status, "inconclusive")
        details = {
            "before": self.test.before, "reason": self.verdict.reason, "seconds": self.seconds,
            "test": {"status": self.test.status, "reason": self.test.reason},
            "trials": [r.model_dump(mode="json") for r in self.readings],
        }  # fmt: skip
        return Verification(status=status, method=method, details=details)


def hides(cause: str, before: Mapping[str, str], after: Mapping[str, str]) -> str | None:
    """What a change brings in that hides a fault instead of removing it."""
    if cause in MAY_LOOK:
        return None
    for name, text in after.items():
        new = set(HIDING.findall(text)) - set(HIDING.findall(before.get(name, "")))
        if new:
            return str(min(new))
    return None


class Prover:
    """Proves changes of one recorded program; what is the same for all of them is run once."""

    def __init__(self, replays: Replays, recorded: Run, placebo: Played | None = None) -> None:
        self._replays = replays
        self.recorded = recorded
        """The run that is judged: the user's, or that of a program whose first fault is repaired."""
        self.before = dict(recorded.sources)
        self._placebos: dict[tuple[int, int | None], Played] = {}
        if placebo is not None:
            self._placebos[0, placebo.trial.steps] = placebo
        self._raced: dict[frozenset[tuple[str, str]], Played] = {}
        self._again: dict[str, Played] = {}
        self._mutants: list[Mutant] = []
        self.repaired: dict[str, Played] = {}
        """Cause → the first run of its repaired program, to be looked at for a second fault."""

    # ---- interventions -------------------------------------------------------------------------------------------

    def intervene(self, hypothesis: CausalHypothesis, changes: tuple[str, ...]) -> Proof:
        """Change the running program instead of its text, as the cause's own file proposes."""
        started = time.monotonic()
        parsed = tuple(parse(c) for c in changes)
        steps = horizon(self.recorded, hypothesis)
        readings = self._pair(hypothesis, {}, parsed, 0, steps)
        verdict = self._compare(hypothesis, readings)
        if verdict.status in {"proved", "unfinished"}:
            readings += self._pair(hypothesis, {}, parsed, NEXT_SEED, steps)
            verdict = self._compare(hypothesis, readings)
        return Proof(verdict=verdict, readings=tuple(readings), seconds=_since(started))

    # ---- repairs -------------------------------------------------------------------------------------------------

    def prove(self, hypothesis: CausalHypothesis, files: Mapping[str, str]) -> tuple[Proof, Invariant]:
        """Run the program as it was and as it is repaired; then the test on both, on another seed, and on a mutant."""
        started = time.monotonic()
        check = invariant(self.recorded, hypothesis)
        if (word := hides(hypothesis.cause, self.before, files)) is not None:
            reason = f"it hides what is wrong instead of removing it: {word}"
            return Proof(verdict=Comparison(status="refuted", reason=reason)), check
        steps = horizon(self.recorded, hypothesis)
        readings = self._pair(hypothesis, files, (), 0, steps)
        verdict = self._compare(hypothesis, readings)
        test = TestProof(reason=verdict.reason)
        if verdict.status in {"proved", "unfinished"}:
            readings += self._second(hypothesis, files, steps, check.steps)
            verdict = self._compare(hypothesis, readings)
            test, check = self.test(hypothesis, check, steps)
        return Proof(verdict=verdict, readings=tuple(readings), test=test, seconds=_since(started)), check

    def best_first(self, hypothesis: CausalHypothesis, patches: Sequence[Patch]) -> list[Patch]:
        """Changes of one number in the order of what they come to; each is run once, and those runs count as proof.

        Where the best of the first few is the outermost, the next one beyond it is tried, too.
        """
        entries = self._entries(hypothesis, patches[:RACED])
        best = entries[race.order(entries)[0]].number
        tried = [e.number for e in entries]
        wider = [p for p in patches[RACED:] if best in {min(tried), max(tried)} and race.beyond(p.number, best, tried)]
        entries += self._entries(hypothesis, wider[:1])
        return [[*patches[:RACED], *wider[:1]][i] for i in race.order(entries)]

    def _entries(self, hypothesis: CausalHypothesis, patches: Sequence[Patch]) -> list[race.Entry]:
        steps, cause = horizon(self.recorded, hypothesis), hypothesis.cause
        trials = [Trial("repaired", {**self.before, **p.files}, (), 0, steps) for p in patches]
        if trials and (0, steps) not in self._placebos:
            trials.append(Trial("placebo", self.before, (), 0, steps))
        played, found = self._replays.play(trials) if trials else [], []
        if len(played) > len(patches):
            self._placebos[0, steps] = played[-1]
        for patch, one in zip(patches, played, strict=False):
            self._raced[frozenset(patch.files.items())] = one
            before, after = (read(p, cause, self.recorded) for p in (self._placebos[0, steps], one))
            found.append(race.Entry(patch.number or 0.0, after, self._compare(hypothesis, [before, after]).status))
        return found

    def _compare(self, hypothesis: CausalHypothesis, readings: list[Reading]) -> Comparison:
        before = [r for r in readings if r.label == "placebo"]
        after = [r for r in readings if r.label in {"repaired", "changed"}]
        own = before[0].log_odds if before else 0.0
        return compare(before[:1], after, present_from(own))

    def _pair(
        self, hypothesis: CausalHypothesis, files: Mapping[str, str], changes: tuple[Change, ...], seed: int,
        steps: int | None,
    ) -> list[Reading]:  # fmt: skip
        raced = self._raced.get(frozenset(files.items())) if not changes and not seed else None
        trials = [Trial("changed" if changes else "repaired", {**self.before, **files}, changes, seed, steps)]
        wanted = (seed, steps)
        if wanted not in self._placebos:
            trials.append(Trial("placebo", self.before, (), seed, steps))
        played = self._replays.play(trials) if raced is None else [raced]
        if len(played) > 1:
            self._placebos[wanted] = played[1]
        if not changes and not seed:
            self.repaired[hypothesis.cause] = played[0]
        return [read(p, hypothesis.cause, self.recorded) for p in (self._placebos[wanted], played[0])]

    def _second(
        self, hypothesis: CausalHypothesis, files: Mapping[str, str], steps: int | None, soon: int | None
    ) -> list[Reading]:
        """The repaired program, and as far as its test looks a mutant of the repair, both with another seed."""
        self._mutants = mutants(self.before, files)
        after = {**self.before, **files}
        played = self._replays.play([Trial("repaired", after, (), NEXT_SEED, steps), self._mutant(0, soon)])
        self._again = {"repaired again": played[0], "mutant": played[1]}
        return [read(p, hypothesis.cause, self.recorded) for p in played]

    def _mutant(self, index: int, steps: int | None) -> Trial:
        return Trial("mutant", {**self.before, **self._mutants[index].files}, (), NEXT_SEED, steps)

    # ---- the regression test -------------------------------------------------------------------------------------

    def test(self, hypothesis: CausalHypothesis, check: Invariant, steps: int | None) -> tuple[TestProof, Invariant]:
        """Whether a test of this assertion is red and green where it should be, after `prove` has run the programs."""
        if importlib.util.find_spec("pytest") is None:
            return TestProof(reason="pytest is not installed (pip install pytest)"), check
        long = self.recordings(hypothesis.cause, steps)
        fallback = bounded(self.recorded, hypothesis, by_diagnosis(hypothesis.cause))
        first = self._run_test(hypothesis, check, self._bounded(long, check.steps))
        if first.status == "proved" or check == fallback or fallback.steps != steps:
            return first, check
        # The number did not show it: let the diagnosis judge.
        second = self._run_test(hypothesis, fallback, self._bounded(long, fallback.steps))
        return (second, fallback) if second.status == "proved" else (first, check)

    def judge(self, hypothesis: CausalHypothesis, check: Invariant, steps: int | None) -> TestProof:
        """Of one more assertion, on the recordings that `prove` made."""
        return self._run_test(hypothesis, check, self._bounded(self.recordings(hypothesis.cause, steps), steps))

    def _bounded(self, played: Mapping[str, Played], steps: int | None) -> dict[str, Played]:
        """The same trials ended after so many steps; those that were not are run."""
        other = {name: replace(p.trial, steps=steps) for name, p in played.items() if p.trial.steps != steps}
        again = self._replays.play(list(other.values())) if other else []
        return {**played, **dict(zip(other, again, strict=True))}

    def recordings(self, cause: str, steps: int | None) -> dict[str, Played]:
        """The four runs that the test of the last repair is judged on."""
        return {"placebo": self._placebos[0, steps], "repaired": self.repaired[cause], **self._again}

    def _run_test(self, hypothesis: CausalHypothesis, check: Invariant, played: Mapping[str, Played]) -> TestProof:
        text = regression.compose(self.recorded, hypothesis, check)
        said = None
        wanted = (("placebo", "on the program as it was", FAILED), ("repaired", "on the repaired program", PASSED),
                  ("repaired again", "on the repaired program with another seed", PASSED))  # fmt: skip
        trials = [played[name] for name, _, _ in wanted] + ([played["mutant"]] if self._mutants else [])
        outcomes = self._replays.tests(text, trials, TEST_SECONDS)
        for (name, where, code), (ended, output) in zip(wanted, outcomes, strict=False):
            words = assertion(output)
            if name == "placebo" and ended == FAILED:
                said = words
            if ended not in {FAILED, PASSED} or (ended == FAILED and words is None):
                return TestProof(reason=f"it could not be run {where}: {last(output)}", before=said)
            if ended != code:
                what = "passes" if ended == PASSED else "fails"
                return TestProof(reason=f"it {what} {where}{'' if ended == PASSED else f': {words}'}", before=said)
        for index, mutant in enumerate(self._mutants):
            if index:
                trial = self._replays.play([self._mutant(index, check.steps)])[0]
                ended, output = self._replays.test(text, trial, TEST_SECONDS)
            else:
                ended, output = outcomes[-1]
            if ended == FAILED and assertion(output) is not None:
                reason = (
                    "it fails on the program as it was, passes on the repaired one with two seeds, and fails on a "
                    f"mutant of the repair ({mutant.what})"
                )
                return TestProof(status="proved", reason=reason, before=said)
        return TestProof(reason=f"it passes on every mutant of the repair ({self._mutants[-1].what})", before=said)


def horizon(run: Run, hypothesis: CausalHypothesis) -> int | None:
    """Steps after which a replay ends: None for a short program, else soon after the fault began."""
    return bounded(run, hypothesis, by_diagnosis(hypothesis.cause)).steps


def assertion(output: str) -> str | None:
    """The message of the assertion that failed; None where the test ended in any other way."""
    lines = [line[2:].strip() for line in output.splitlines() if line.startswith("E ")]
    if not lines or not lines[0].startswith("AssertionError"):
        return None
    return lines[0].removeprefix("AssertionError:").strip()


def last(output: str) -> str:
    """The error of a test in one line."""
    errors = [line[2:].strip() for line in output.splitlines() if line.startswith("E ")]
    lines = errors[:1] or [line for line in output.splitlines() if line.strip()][-1:]
    return lines[0][:300] if lines else "no output"


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)
