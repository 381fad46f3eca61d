"""The MCP server over recorded programs: ten questions an assistant must be able to answer, and what answers cost.

`python -m aitia.evals.assistant` records ten programs of the `dev` split (or takes cached recordings), asks each
question through the tools alone and prints calls, tokens, and whether the answer is the known one; then it starts the
server as a client does and prints the time to the first answer. `--zoo dev` calls every tool on every cached recording
of a split and prints the largest replies.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from aitia.evals.questions import QUESTIONS, RECORDED, Ask, Question, Reply, name_of
from aitia.evals.recordings import job_for, kept
from aitia.evals.run import CACHE, recorded, variants
from aitia.evals.zoo import SPLITS, load, load_all
from aitia.tools.server import build_server

MAX_REPLY = 10_000
"""Bytes of JSON that a reply may have."""


@dataclass
class Answer:
    """What one question took."""

    question: Question
    said: str
    sizes: list[int] = field(default_factory=list)
    """Bytes of each reply."""

    @property
    def right(self) -> bool:
        """Whether the known answer came out."""
        return self.said == self.question.expected

    @property
    def tokens(self) -> int:
        """About how many tokens a model reads: four bytes of compact JSON are one."""
        return sum(self.sizes) // 4


def size(reply: Any) -> int:
    """Bytes of a reply as compact JSON."""
    return len(json.dumps(reply, separators=(",", ":"), ensure_ascii=False).encode())


def prepare(root: Path, cache: Path = CACHE) -> Path:
    """Put the recordings into an empty run root, made where the cache has none; returns the root."""
    root.mkdir(parents=True)
    wanted = [job_for(load(program, "dev"), variant, 0, cache) for program, variant in RECORDED]
    done = recorded(wanted, lambda _: None)
    for index, job in enumerate(wanted):
        recording = done[job.folder]
        if recording.path is None:
            raise RuntimeError(f"nothing was recorded; see {recording.folder / 'stderr.txt'}")
        shutil.copytree(recording.path, root / name_of(index))
    return root


@asynccontextmanager
async def asking(root: Path) -> AsyncIterator[Callable[[str], tuple[Ask, list[int]]]]:
    """A client of a server over `root`; gives a function that makes an `ask` and the list its reply sizes go to."""
    async with Client(build_server(root)) as client:

        def fresh(_: str) -> tuple[Ask, list[int]]:
            sizes: list[int] = []

            async def ask(tool: str, **arguments: Any) -> Reply:
                result = await client.call_tool(tool, arguments)
                if result.is_error or result.structured_content is None:
                    raise LookupError(f"{tool} refused: {result.content[0]}")
                sizes.append(size(result.structured_content))
                return dict(result.structured_content)

            return ask, sizes

        yield fresh


async def answers(root: Path) -> list[Answer]:
    """All questions over a prepared run root."""
    found = []
    async with asking(root) as fresh:
        for question in QUESTIONS:
            ask, sizes = fresh(question.text)
            try:
                said = await question.answer(ask)
            except (LookupError, ValueError) as error:
                said = f"no answer ({error})"
            found.append(Answer(question, said, sizes))
    return found


async def first_answer(root: Path) -> float:
    """Seconds from starting `aitia mcp` as a client does to the first diagnosis."""
    environment = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "HOME"}}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "aitia", "mcp", "--runs", str(root)], env=environment
    )
    started = time.perf_counter()
    async with Client(stdio_client(server)) as client:
        result = await client.call_tool("diagnose", {"run": name_of(0)})
        seconds = time.perf_counter() - started
    if result.is_error:
        raise RuntimeError(str(result.content))
    return seconds


def _refused(texts: list[str]) -> bool:
    """Whether an error says what to do instead: a plot of what a run has not measured."""
    return any("was not measured in this run" in text for text in texts)


async def largest(split: str) -> list[tuple[str, int, int, str]]:
    """Per tool: replies, bytes of the largest one, and whose it is, over all cached recordings of a split."""
    worst: dict[str, tuple[int, int, str]] = {}
    for program in load_all(split):
        for variant in variants(program):
            recording = kept(job_for(program, variant, 0, CACHE), stale_ok=True)
            if recording is None or recording.path is None:
                continue
            async with Client(build_server(recording.path.parent)) as client:
                for tool in (await client.list_tools()).tools:
                    needed = tool.input_schema.get("properties", {})
                    arguments = {k: recording.run for k in ("run", "other") if k in needed}
                    if "response_format" in needed:
                        arguments["response_format"] = "detailed"
                    result = await client.call_tool(tool.name, arguments)
                    label = f"{program.name}/{variant}"
                    texts = [c.text for c in result.content if c.type == "text"]
                    if result.is_error and not _refused(texts):
                        raise RuntimeError(f"{tool.name} on {label}: {' '.join(texts)}")
                    count, most, whose = worst.get(tool.name, (0, 0, ""))
                    mine = size(result.structured_content or texts)
                    worst[tool.name] = (count + 1, *max((most, whose), (mine, label)))
    return [(tool, *values) for tool, values in worst.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, time, print; exit code 1 where an answer is wrong or a reply too long."""
    parser = argparse.ArgumentParser(prog="python -m aitia.evals.assistant", description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", choices=SPLITS, help="also call every tool on every cached recording of this split")
    parser.add_argument("--starts", type=int, default=5, help="how often the server is started to take the time")
    options = parser.parse_args(argv)
    good = True
    with tempfile.TemporaryDirectory() as temp:
        root = prepare(Path(temp) / "runs")
        for answer in anyio.run(answers, root):
            good &= answer.right
            print(f"{'ok   ' if answer.right else 'WRONG'} {len(answer.sizes):3d} calls {answer.tokens:6d} tokens  "
                  f"{re.sub(chr(10), ' ', answer.question.text)}  {answer.said}")  # fmt: skip
        times = [anyio.run(first_answer, root) for _ in range(options.starts)]
        print(f"from start to first diagnosis: median {statistics.median(times):.2f} s of {len(times)} starts, "
              f"slowest {max(times):.2f} s")  # fmt: skip
    if options.zoo:
        for tool, count, most, whose in anyio.run(largest, options.zoo):
            good &= most <= MAX_REPLY
            print(f"{tool:20s} {count:4d} replies, largest {most:6d} bytes ({whose})")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
