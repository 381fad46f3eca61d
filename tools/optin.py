"""The toolsets a user has to ask for at start: `write` (files beside the program) and `exec` (runs the program).

Both belong to the agent, which lies above this room; its functions are loaded by name when a tool is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from mcp.server.mcpserver import AcceptedElicitation, Elicit, ElicitationResult, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from aitia.engine.records import CausalHypothesis, Fix
from aitia.engine.store.reader import Run
from aitia.tools.result import Action, ToolResult
from aitia.tools.strict import EXECUTES, READ_ONLY, WRITES, StrictTool, strict
from aitia.tools.surface import RunArgument, Surface
from aitia.tools.trust import Scrubber, untrusted

TOOLSETS: Final = ("write", "exec")
PROJECT_VARIABLE: Final = "AITIA_PROJECT"
"""Folder of the program, where it is not the one that holds the run root."""
PROVE_SECONDS: Final = 900.0
"""A proof runs the program twice for some steps; its own limits end it long before."""
DIFF_CHARS: Final = 6_000
HypothesisArgument = Annotated[str, Field(description="Id from diagnose, e.g. `H1`.")]


class FixReply(ToolResult):
    """A proposed or proved change."""

    shrinkable: ClassVar[tuple[str, ...]] = ("untrusted_diff",)
    cause: str | None = None
    hypothesis: str | None = None
    kind: str
    """`codemod`, `config`, `edit`, or `none` where only advice exists."""
    fix: str
    verification: str = "not_run"
    """`proved`: a regression test fails on the program as it was and passes on the repaired copy."""
    journal: str | None = None
    """Written file, relative to the project."""
    test: str | None = None
    test_status: str | None = None
    untrusted_reason: str | None = None
    """Why the test is proved, or why it is not; may quote what the program printed."""
    untrusted_diff: str | None = None
    """Unified diff; holds lines of the program."""


class Confirm(BaseModel):
    """What the user is asked."""

    confirm: bool = Field(description="Run the program and its repaired copy now?")


def ask(run: str = "latest") -> Elicit[Confirm]:
    """The question before anything is executed."""
    shown = run if run.replace("-", "").replace(".", "").replace("_", "").isalnum() else "this run"
    return Elicit(f"Prove the repair of {shown}? This runs the recorded program in temporary copies, twice.", Confirm)


def tools_of(name: str, surface: Surface, audit: Path | None) -> list[StrictTool]:
    """The tools of one toolset."""

    def propose_fix(run: RunArgument = "latest", hypothesis: HypothesisArgument = "H1") -> FixReply:
        """Propose the change that repairs an accused cause, as a unified diff against the recorded source; changes
        nothing. Call it after diagnose, when the user wants a fix."""
        opened = surface.open(run)
        accused = _accused(surface, opened, hypothesis)
        fix: Fix = _agent("fix", "propose")(opened, accused)
        return _reply(opened, fix, cause=accused.cause, hypothesis=accused.id)

    def write_journal(run: RunArgument = "latest") -> FixReply:
        """Write a journal entry (Markdown) and a regression test, not yet proved, below the project; never touches the
        program. Call it when the user wants the incident documented."""
        return _close(surface, run, proving=False)

    def prove_fix(
        confirm: Annotated[ElicitationResult[Confirm], Resolve(ask)], run: RunArgument = "latest"
    ) -> FixReply:
        """Prove the repair: write the regression test, run it on the program as it was and on a repaired copy. Asks the
        user first, since it executes code. Call it only when the user wants proof."""
        if not (isinstance(confirm, AcceptedElicitation) and confirm.data.confirm):
            raise ToolError("the user did not allow it. Do not ask again; name the command `aitia fix` instead")
        return _close(surface, run, proving=True)

    if name == "write":
        return [
            strict(propose_fix, title="Propose a fix", audit=audit, annotations=READ_ONLY),
            strict(write_journal, title="Write a journal entry", audit=audit, annotations=WRITES),
        ]
    return [strict(prove_fix, title="Prove a fix", audit=audit, annotations=EXECUTES, seconds=PROVE_SECONDS)]


def project_of(root: Path) -> Path:
    """The folder that may be written to: set by the user, else the one that holds the run root; never told by a run."""
    return Path(os.environ.get(PROJECT_VARIABLE) or root.resolve().parent)


def _close(surface: Surface, name: str, *, proving: bool) -> FixReply:
    run = surface.open(name)
    project = project_of(surface.root).resolve()
    if not Path(run.info.cwd or ".").resolve().is_relative_to(project):
        raise ToolError(f"this run was recorded outside the project. Start the server there, or set {PROJECT_VARIABLE}")
    diagnosis = surface.answer(run)
    if not diagnosis.hypotheses:
        raise ToolError("no cause is accused in this run, so there is nothing to write. Call diagnose to see why")
    incident = _agent("incident", "close")(run, diagnosis, project, proving=proving)
    return _reply(
        run,
        incident.fix,
        cause=incident.cause,
        hypothesis=incident.hypothesis,
        verification=incident.verification.status,
        journal=_relative(incident.journal, project),
        test=_relative(incident.test, project),
        test_status=incident.test_status,
        untrusted_reason=untrusted(incident.test_reason, 600) or None,
    )


def _reply(run: Run, fix: Fix, **known: Any) -> FixReply:
    clean = Scrubber(run)
    told = clean(fix.summary, 600)
    state = known.get("verification", "not_run").replace("_", " ")
    written = ", ".join(f for f in (known.get("journal"), known.get("test")) if f)
    return FixReply(
        run=run.id,
        summary=f"{told} (proof: {state}{f'; wrote {written}' if written else ''})",
        suggested_actions=(Action(tool="diagnose", arguments={"run": run.id}, reason="shows the evidence behind it"),),
        kind=fix.kind,
        fix=told,
        untrusted_diff=untrusted(fix.diff, DIFF_CHARS) if fix.diff else None,
        **known,
    )


def _accused(surface: Surface, run: Run, hypothesis: str) -> CausalHypothesis:
    found = surface.answer(run).hypotheses
    for one in found:
        if hypothesis in {one.id, one.cause}:
            return one
    raise ToolError(f"no such hypothesis; the diagnosis has {', '.join(h.id for h in found) or 'none'}")


def _relative(path: Path | None, project: Path) -> str | None:
    return path.resolve().relative_to(project).as_posix() if path is not None else None


def _agent(module: str, name: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = getattr(import_module(f"aitia.agent.{module}"), name)
    except (ImportError, AttributeError):
        raise ToolError("this installation has no agent; reinstall aitia") from None
    return found
