"""Options that many commands share, written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    Path | None,
    typer.Option(
        "--runs", metavar="DIR", help="Where runs are kept, a folder or a URL (default: $AITIA_RUNS, else ./.aitia)."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunName = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="A run's name, a part of it that is unique, or a path (default: the latest)."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Let this language model weigh and explain the evidence, e.g. openai/gpt-4o-mini or ollama/qwen3. "
        "Default: none, the rules answer alone.",
    ),
]
ApiBase = Annotated[
    str | None, typer.Option("--api-base", metavar="URL", help="Address of an OpenAI-compatible endpoint.")
]


class Level(StrEnum):
    """How much is measured: the one dial for the recorder's cost."""

    LIGHT = "light"
    NORMAL = "normal"
    DEEP = "deep"
