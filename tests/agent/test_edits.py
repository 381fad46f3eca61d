"""Edits by a language model: applied exactly, refused when ambiguous or unsafe, and judged by the proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import accuse, run_of

from aitia.agent.edits import EditError, apply_edits
from aitia.agent.incident import close
from aitia.agent.program import Edit
from aitia.agent.replay_lm import scripted
from aitia.agent.scribe import Finding
from aitia.agent.writer import write_repair
from aitia.engine.records import Diagnosis

SCRIPT = """\
import torch
model = torch.nn.Linear(4, 2)   
for x, y in []:
    loss = model(x).sum()
    loss.backward()
    print(loss)
    if x:
        loss.backward()
"""  # noqa: W291 - the trailing spaces have to survive


def edit(search: str, replace: str) -> Edit:
    """One edit."""
    return Edit(search=search, replace=replace)


def test_an_edit_changes_its_lines_and_nothing_else() -> None:
    """Trailing spaces of other lines stay."""
    after = apply_edits(SCRIPT, [edit("    print(loss)", "    print(loss.item())")])

    assert after == SCRIPT.replace("print(loss)", "print(loss.item())")


def test_lost_indentation_is_found_again() -> None:
    """Models drop the common indentation of what they copy."""
    after = apply_edits(
        SCRIPT, [edit("loss = model(x).sum()\nloss.backward()", "loss = model(x).mean()\nloss.backward()")]
    )

    assert after == SCRIPT.replace("sum()", "mean()")


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([], "there are no edits"),
        ([edit("loss.backward()", "pass")], "stands in 2 places instead of one"),
        (
            [edit("    print(los)", "    pass")],
            r"stands in 0 places instead of one. Similar lines: \['print\(loss\)'\]",
        ),
        ([edit("    print(loss)", "    print(loss")], "does not parse"),
        ([edit("    print(loss)", "    print(loss)")], "change nothing"),
        ([edit("\n", "x = 1")], "search text is empty"),
        ([edit("    print(loss)", "    import subprocess")], "may not import subprocess"),
        ([edit("    print(loss)", "    eval('1')")], "may not use eval"),
        ([edit("    print(loss)", "    open('x', 'w')")], "may not use open"),
        ([edit("    print(loss)", "    loss = loss.nan_to_num()")], "may not use nan_to_num"),
        ([edit("    print(loss)", "    torch.hub.load('a', 'b')")], "may not use hub"),
        ([edit("    print(loss)", "\n".join(f"    x{n} = {n}" for n in range(50)))], "touch 51 lines"),
    ],
)
def test_what_is_ambiguous_unsafe_or_too_much_is_refused(edits: list[Edit], words: str) -> None:
    """The refusal says what to do better."""
    with pytest.raises(EditError, match=words):
        apply_edits(SCRIPT, edits)


@given(st.text(alphabet="ab \n=1", max_size=40), st.text(alphabet="ab \n=1", max_size=40))
def test_any_edit_is_applied_or_refused(search: str, replace: str) -> None:
    """Nothing but an EditError ever comes out of a strange edit."""
    try:
        after = apply_edits(SCRIPT, [edit(search, replace)])
    except EditError:
        return
    compile(after, "x", "exec")


PROGRAM = """\
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(40):
    x = torch.randn(64, 8)
    loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
    loss.backward()
    optimizer.step()
    print(loss.item())
"""
RIGHT = {"edits": [{"search": "    loss.backward()", "replace": "    optimizer.zero_grad()\n    loss.backward()"}],
         "summary": "clear the gradients before backward"}  # fmt: skip
WRONG = {"edits": [{"search": "    print(loss)", "replace": "    pass"}], "summary": "no"}


def diagnosed(run_id: str) -> Diagnosis:
    """A cause that no codemod repairs."""
    return Diagnosis(run=run_id, verdict="faulty", summary="It fails.", hypotheses=(accuse("eval.overfit", 10),))


def test_a_refused_edit_is_written_once_more(tmp_path: Path) -> None:
    """The second request carries the refusal; two refusals end it."""
    run = run_of(tmp_path, PROGRAM)
    diagnosis = diagnosed(run.id)
    lm = scripted(WRONG, RIGHT)

    patch, notes = write_repair(Finding(run, diagnosis, diagnosis.hypotheses[0]), lm)

    assert patch is not None
    assert (patch.kind, patch.summary) == ("edit", "clear the gradients before backward")
    assert "    optimizer.zero_grad()\n    loss.backward()" in patch.files["train.py"]
    assert len(notes) == 1
    assert "stands in 0 places" in json.dumps(lm.engine.requests[1])
    assert write_repair(Finding(run, diagnosis, diagnosis.hypotheses[0]), scripted(WRONG, WRONG))[0] is None


def test_a_script_with_a_secret_is_not_sent(tmp_path: Path) -> None:
    """An edit of a redacted script could not be applied, and the secret must not leave."""
    run = run_of(tmp_path, PROGRAM + "API_KEY = 'abcdefgh12345'\n")
    diagnosis = diagnosed(run.id)
    lm = scripted(RIGHT)

    patch, notes = write_repair(Finding(run, diagnosis, diagnosis.hypotheses[0]), lm)

    assert (patch, lm.engine.requests) == (None, [])
    assert "looks like a secret" in notes[0]


def test_an_unproved_change_of_a_model_is_never_applied(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown as what it is, and the program stays."""
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    run = run_of(tmp_path / "runs", PROGRAM)
    talk = tmp_path / "talk.jsonl"
    answer: Any = {"response": json.dumps(RIGHT)}
    talk.write_text(json.dumps(answer) + "\n", encoding="utf-8")

    incident = close(run, diagnosed(run.id), project, apply=True, proving=False, model=f"replay/{talk}")

    assert incident.applied == ()
    assert "written by a language model, not proved" in incident.fix.summary
    assert "+    optimizer.zero_grad()" in str(incident.fix.diff)
    assert (project / "train.py").read_text("utf-8") == PROGRAM
