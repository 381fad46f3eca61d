"""`aitia eval`: how often the answer is right, and how often it cries wolf."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from aitia.commands.options import ApiBase, AsJson, Model


def evaluate(
    names: Annotated[list[str] | None, typer.Argument(metavar="[PROGRAM]...", help="Only these programs.")] = None,
    split: Annotated[str, typer.Option("--split", help="dev or test.")] = "dev",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Recordings at the same time.")] = 1,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Seeds per program; more than one measures stability.")
    ] = 1,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the report is written.")] = None,
    peers: Annotated[
        Path | None,
        typer.Option("--peers", metavar="DIR", help="Environments of other tools (python -m aitia.evals.peers DIR)."),
    ] = None,
    latency: Annotated[bool, typer.Option("--latency", help="Also measure how soon each answer is right.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Also repair every program and try the repair.")] = False,
    model: Model = None,
    api_base: ApiBase = None,
    bit_exact: Annotated[
        bool, typer.Option("--bit-exact", help="Also run every program alone and compare what it prints.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also record everything twice and compare the answers.")
    ] = False,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor", metavar="URL", help="Record on a Dask cluster: dask://HOST:PORT, or dask:// (local)."
        ),
    ] = None,
    misses: Annotated[bool, typer.Option("--misses", help="Also list every wrong answer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record the programs of the fault zoo, ask why, and score the answers against the truth."""
    from aitia.commands.screen import say_json
    from aitia.engine.store.errors import AitiaError
    from aitia.evals.zoo import SPLITS, ZooError

    if split not in SPLITS:
        raise AitiaError(f"no split {split!r}; there are {' and '.join(SPLITS)}.")
    from aitia.evals.executors import executor_at
    from aitia.evals.run import evaluate as measure

    with executor_at(executor) if executor else nullcontext() as pool:
        try:
            report = measure(
                names or [], split=split, jobs=jobs, seeds=seeds, out=out, quiet=as_json, peers=peers, latency=latency,
                fix=fix, bit_exact=bit_exact, again=again, executor=pool, model=model, api_base=api_base,
            )  # fmt: skip
        except ZooError as error:
            raise AitiaError(str(error)) from None
    if as_json:
        say_json(report.data)
    else:
        typer.echo(report.markdown if not misses else report.markdown + "\n" + report.misses)
