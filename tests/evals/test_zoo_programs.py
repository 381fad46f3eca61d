"""Every program in the zoo is well formed and keeps its secret."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from pathlib import Path

import pytest

from aitia.evals.zoo import HEALTHY, PROGRAMS, SPLITS, Program, Truth, ZooError, load, render

HERE = Path(__file__).parent
TELLTALE = frozenset((HERE / "telltale.txt").read_text(encoding="utf-8").split())
"""Words that an ordinary training script has no reason to contain and that point at a planted fault."""
ORDINARY = frozenset((HERE / "ordinary.txt").read_text(encoding="utf-8").split())
"""Words of cause ids that training scripts use anyway; the cause's whole name is refused all the same."""
NAMES = sorted((s, p.stem) for s in SPLITS for p in (PROGRAMS / s).glob("*.py"))
TRUTHS = sorted((s, p.stem) for s in SPLITS for p in (PROGRAMS / s).glob("*.json") if p.stem != "kill")


def words(text: str) -> set[str]:
    """Lower-case words of a comment, a string or an identifier (split at underscores and capitals)."""
    return {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}


def spoken(source: str, name: str) -> list[str]:
    """What the author chose freely: the file's name, comments, strings and the names the program binds."""
    texts = [name]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
            texts += [token.string]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            texts.append(node.name)
        elif isinstance(node, ast.arg):
            texts.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            texts.append(node.id)
    return texts


def giveaways(source: str, name: str, truth: Truth) -> list[str]:
    """Texts that name the fault: a telltale word, a rare word of the cause's id, or its whole name."""
    tails = [cause.partition(".")[2] for cause in truth.all_causes if cause != HEALTHY]
    rare = {w for tail in tails for w in tail.split("_")} - ORDINARY
    found = []
    for text in spoken(source, name):
        folded = re.sub(r"[\s\-]+", "_", text.lower())
        if words(text) & (TELLTALE | rare) or any(tail in folded for tail in tails):
            found.append(text)
    return found


def variants(program: Program) -> list[tuple[str, ...]]:
    """Every combination of the program's faults that the kill test renders."""
    return [(), program.faults, *((fault,) for fault in program.faults)]


@pytest.mark.parametrize(("split", "name"), NAMES)
def test_program_is_well_formed(split: str, name: str) -> None:
    """It has a truth with known ids, parses in every variant, has a seed, and a faulty one accuses a line."""
    program = load(name, split)
    for faults in variants(program):
        rendered = render(program, faults, seed=1)
        ast.parse(rendered.source)

        assert "#%" not in rendered.source
        assert all(rendered.lines_of[fault] for fault in faults), "no line is marked with `#% here`"
    assert "#% seed" in program.text
    assert render(program, (), 1).source != render(program, (), 2).source


@pytest.mark.parametrize(("split", "name"), NAMES)
def test_program_keeps_its_secret(split: str, name: str) -> None:
    """Neither variant's names, comments or prints say what is wrong with it."""
    program = load(name, split)
    for faults in variants(program):
        assert giveaways(render(program, faults).source, name, program.truth) == []


@pytest.mark.parametrize(("split", "name"), TRUTHS)
def test_truth_has_a_program(split: str, name: str) -> None:
    """A truth file without its program is left over."""
    assert (PROGRAMS / split / f"{name}.py").is_file()


@pytest.mark.parametrize("split", SPLITS)
def test_every_program_passed_the_kill_test(split: str) -> None:
    """The record of the kill test is there, says admitted, and belongs to the present text."""
    book = PROGRAMS / split / "kill.json"
    record = json.loads(book.read_text(encoding="utf-8")) if book.exists() else {}
    names = [name for s, name in NAMES if s == split]
    not_admitted = [n for n in names if not record.get(n, {}).get("admitted")]
    changed = [n for n in names if n not in not_admitted and record[n]["digest"] != load(n, split).digest]

    assert not_admitted == []
    assert changed == []


def test_names_are_unique_across_splits() -> None:
    """A name identifies a program, whichever split it is in."""
    names = [name for _, name in NAMES]

    assert len(names) == len(set(names))


def truth_of(cause: str) -> Truth:
    """A truth about nothing in particular, except its cause."""
    outcome = {"pattern": r"(\d)", "faulty": "> 1", "repaired": "< 1"}
    fields = {"cause": cause, "phase": "loop", "summary": "s", "sources": ["x"], "outcome": outcome}
    return Truth.model_validate(fields)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("x = 1  # this is wrong\n", "digits_mlp"),
        ("x = 1  # zero_grad is left out\ndef buggy_step(): ...\n", "digits_mlp"),
        ("print('missing zero grad')\n", "digits_mlp"),
        ("x = 1\n", "digits_missing_zero_grad"),
        ("class BrokenTrainer: ...\n", "digits_mlp"),
    ],
)
def test_giveaways_are_noticed(source: str, name: str) -> None:
    """The check itself is not blind."""
    assert giveaways(source, name, truth_of("loop.missing_zero_grad"))


def test_ordinary_code_is_no_giveaway() -> None:
    """API names that happen to be in a cause's id are no secret."""
    source = "def train_step(model):\n    '''One step.'''\n    optimizer.zero_grad()  # clear\n"

    assert giveaways(source, "digits_mlp", truth_of("loop.missing_zero_grad")) == []


def test_a_program_without_truth_is_refused(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # fixtures
    """The message says which file is expected."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "lonely.py").write_text("x = 1\n")
    monkeypatch.setattr("aitia.evals.zoo.PROGRAMS", tmp_path)

    with pytest.raises(ZooError, match=r"lonely\.json does not exist"):
        load("lonely")


def test_a_cause_outside_the_vocabulary_is_refused(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # fixtures
    """The ids are a contract, so a new one is first added to the list."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "odd.py").write_text("x = 1\n")
    (tmp_path / "dev" / "odd.json").write_text(truth_of("loop.bad_karma").model_dump_json())
    monkeypatch.setattr("aitia.evals.zoo.PROGRAMS", tmp_path)

    with pytest.raises(ZooError, match=r"loop\.bad_karma"):
        load("odd")
