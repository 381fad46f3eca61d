"""The report of an incident is one file that stands alone and in which no text of the program is markup."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent import dossier as room
from aitia.agent.dossier import Dossier
from aitia.agent.incident import Incident
from aitia.agent.report import html
from aitia.agent.report_markdown import markdown
from aitia.engine.records import Diagnosis, Evidence, Fix, Verification
from aitia.engine.replay.reading import Reading

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> [click](http://evil) ![x](http://evil/x.png)"
FIX = Fix(summary=EVIL, kind="codemod", diff=f"+{EVIL}\n+```\n")
READINGS = (
    Reading(label="placebo", status="finished", steps=9, seen=True, statement="gradients add up", symptoms=("flat",),
            loss_first=2.0, loss_last=2.5, same_as_recorded=True, losses=(2.0, None, 2.5)),
    Reading(label="repaired", status="finished", steps=9, loss_first=2.0, loss_last=0.1, losses=(2.0, 1.0, 0.1)),
)  # fmt: skip


@pytest.fixture
def told(tmp_path: Path) -> Dossier:
    """An incident whose every text tries to be markup."""
    run = run_of(tmp_path, f"x = 1\n# {EVIL}\ny = 2\n")
    details = {"reason": EVIL, "trials": [r.model_dump(mode="json") for r in READINGS]}
    hypothesis = accuse("loop.missing_zero_grad", 2, component=EVIL).model_copy(update={
        "evidence": ("E1",), "explanation": EVIL, "rung": "replay", "fix": FIX,
        "verification": Verification(status="proved", method=EVIL, details=details),
    })  # fmt: skip
    diagnosis = Diagnosis(
        run=run.id, verdict="faulty", summary=EVIL, hypotheses=(hypothesis,), next_measurements=(EVIL,),
        evidence=(Evidence(id="E1", tool="causal", statement=EVIL),),
    )  # fmt: skip
    incident = Incident(cause="loop.missing_zero_grad", fix=FIX, test=tmp_path / "test_x.py", test_status="proved",
                        test_reason=EVIL, refuted=(EVIL,), verification=hypothesis.verification, seconds=12.0,
                        program_seconds=4.0)  # fmt: skip
    return Dossier(run, diagnosis, incident, f"# {EVIL}\n", "<svg></svg>")


class Tags(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for every opening tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_no_text_of_the_program_becomes_markup(told: Dossier) -> None:
    """Only our own tags, nothing that runs or loads, whatever the program's names and messages are."""
    found = Tags()
    found.feed(html(told))

    assert found.tags & {"script", "img", "a", "iframe", "link", "object", "base", "form"} == set()
    assert not [a for a in found.attributes if a.startswith("on") or a in {"src", "href"}]
    assert "default-src 'none'" in html(told)


def test_the_report_tells_verdict_proof_and_both_outcomes(told: Dossier) -> None:
    """What was measured without and with the repair stands side by side."""
    text = html(told)

    assert ">FAULTY<" in text
    assert "proved by replay" in text
    assert "gradients add up" in text
    assert "bit for bit the recorded run" in text
    assert re.search(r"2 → 2\.5.*2 → 0\.1", text, re.DOTALL)
    assert text.count("<path ") == 2


def test_the_proofs_time_is_told_as_a_multiple_of_the_programs_own(told: Dossier) -> None:
    """In both forms; nothing is said where nothing was run."""
    expected = "It took 12.0 s, 3.0 times the program's own."

    assert expected in unescape(html(told))
    assert expected in markdown(told)
    assert Incident(fix=FIX, seconds=1.0).took == ""


def test_markdown_cannot_be_broken_out_of(told: Dossier) -> None:
    """Links, images and tags of the program are plain text, and no code block ends early."""
    text = markdown(told)
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", text)

    assert re.search(r"(?<!\\)[<\[]", outside) is None
    assert "| placebo | there: gradients add up |" in text


def test_a_healthy_run_has_a_report_that_says_so(tmp_path: Path) -> None:
    """Nothing is accused, nothing was repaired."""
    run = run_of(tmp_path, "x = 1\n")

    text = html(room.gather(run))

    assert ">HEALTHY<" in text
    assert "Repair" not in text
