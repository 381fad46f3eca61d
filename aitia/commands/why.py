"""`aitia why`: the question itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from aitia.commands.options import ApiBase, AsJson, Model, RunName, Runs


def why(
    run: RunName = None,
    model: Model = None,
    api_base: ApiBase = None,
    words: Annotated[
        str | None, typer.Option("--words", metavar="TEXT", help="What you saw, in your own words.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Let the model ask for more measurements (with --model).")
    ] = False,
    require_llm: Annotated[
        bool, typer.Option("--require-llm", help="Fail instead of falling back to the rules (with --model).")
    ] = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what would be sent to the model, and send nothing.")
    ] = False,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Also weigh the causes that this file declares.")
    ] = None,
    talk: Annotated[
        Path | None,
        typer.Option("--talk", metavar="FILE", help="Keep the talk with the model, for --model replay/FILE."),
    ] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Say why a run failed: the cause, where it sits, the measurements that show it, and the repair."""
    from aitia.commands.screen import console, say_json, working
    from aitia.engine.store.reader import open_run, runs_root

    opened = open_run(run, runs_root(runs))
    from aitia.agent.diagnosis import answer

    if rules is not None:
        from aitia.engine.causes.custom import load_file

        load_file(rules, runs_root(runs))
    if show_prompt:
        from aitia.agent.diagnosis import prompt

        sys.stdout.write(prompt(opened, model=model, words=words) + "\n")
        return
    with working(f"reading {opened.id}"):
        diagnosis = answer(
            opened, model=model, api_base=api_base, words=words, deep=deep, require_llm=require_llm, talk=talk
        )
    if as_json:
        say_json(diagnosis)
        return
    from aitia.commands.answer import tell

    tell(console(), opened, diagnosis)
