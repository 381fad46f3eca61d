"""Ten questions that take more than one call, each with one stable answer, over the synthetic runs.

`answer` gets a function that calls a tool and returns its structured reply, and may use nothing else: it plays an
assistant that reads one reply to choose the next call. `python tests/mcp/questions.py` prints calls and tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Ask = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Question:
    """One question, the way to its answer, and the answer."""

    text: str
    answer: Callable[[Ask], Awaitable[str]]
    expected: str


async def all_runs(ask: Ask) -> list[str]:
    names, cursor = [], None
    while True:
        page = await ask("list_runs", limit=4, **({"cursor": cursor} if cursor else {}))
        names += [r["run"] for r in page["runs"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            return names


async def which(ask: Ask, tool: str, fits: Callable[[dict[str, Any]], bool]) -> str:
    for name in await all_runs(ask):
        if fits(await ask(tool, run=name)):
            return name
    return "none"


async def leaking(ask: Ask) -> str:
    run = await which(ask, "track_memory", lambda r: any(s["growing"] for s in r["series"]))
    found = await ask("track_memory", run=run)
    return f"{run} {found['live_graphs_last']}"


async def crash_shapes(ask: Ask) -> str:
    crashed = [r["run"] for r in (await ask("list_runs", status="crashed"))["runs"] if "crash" in r["run"]]
    error = await ask("diagnose_error", run=crashed[0])
    return f"{error['input_shapes'][0]} into {error['parameter_shapes']['weight']}"


async def first_nan(ask: Ask) -> str:
    run = await which(ask, "diagnose_error", lambda r: "first_nonfinite" in r)
    step = (await ask("diagnose_error", run=run))["first_nonfinite"]["step"]
    weights = await ask("debug_gradients", run=run, parameter="fc2.weight")
    return f"{step} {weights['parameters'][0]['since_step']}"


async def unheld(ask: Ask) -> str:
    run = await which(ask, "debug_gradients", lambda r: "not_in_optimizer" in r["counts"])
    rows = (await ask("debug_gradients", run=run))["parameters"]
    return ", ".join(sorted(r["parameter"] for r in rows if r["health"] == "not_in_optimizer"))


async def saturated(ask: Ask) -> str:
    run = await which(ask, "analyze_layers", lambda r: "saturated" in r["counts"])
    rows = (await ask("analyze_layers", run=run))["layers"]
    behind = (await ask("debug_gradients", run=run))["counts"]
    return f"{next(r['layer'] for r in rows if r['health'] == 'saturated')} {behind['vanishing']}"


async def apart(ask: Ask) -> str:
    names = await all_runs(ask)
    pair = {
        "run": next(n for n in names if n.endswith("stale_head")),
        "other": next(n for n in names if n.endswith("healthy")),
    }
    found = await ask("compare_runs", **pair)
    setup = next(d for d in found["differences"] if d["aspect"] == "setup")
    return f"{setup['what']}: {setup['a']} against {setup['b']}"


async def fix_line(ask: Ask) -> str:
    known = next(r for r in (await ask("list_runs", limit=50))["runs"] if r.get("cause"))
    best = (await ask("diagnose", run=known["run"]))["hypotheses"][0]
    return f"{best['cause']} {best['file']}:{best['lines'][0]}"


async def against(ask: Ask) -> str:
    known = next(r for r in (await ask("list_runs", limit=50))["runs"] if r.get("cause"))
    reply = await ask("explain_cause", run=known["run"], hypothesis="H1")
    return ", ".join(e["id"] for e in reply["evidence"] if e["id"] in reply["against"])


async def cleared(ask: Ask) -> str:
    run = await which(ask, "debug_gradients", lambda r: "cleared" in r["counts"])
    counts = (await ask("debug_gradients", run=run))["counts"]
    return f"{counts['cleared']} cleared, {counts['absent']} never reached"


async def vanished(ask: Ask) -> str:
    killed = (await ask("list_runs", status="killed"))["runs"][0]
    error = await ask("diagnose_error", run=killed["run"])
    last = re.findall(r"loss ([\d.]+)", error["untrusted_log_tail"])[-1]
    return f"step {error['last_step']}, printed {last}"


QUESTIONS = (
    Question("Which run leaks memory, and how many graphs were alive at its end?", leaking, "20260101-000000-leak 60"),
    Question("What did the layer receive in the run that crashed on a shape?", crash_shapes,
             "float32[32, 33] into float32[10, 32]"),
    Question("When did NaN appear first, and when in fc2.weight?", first_nan, "31 31"),
    Question("Which parameters does no optimizer hold in the run where that happened?", unheld, "fc2.bias, fc2.weight"),
    Question("Which layer is saturated, and how many parameters lose their gradient behind it?", saturated, "act 2"),
    Question("What was set up differently in the stale_head run than in the healthy one?", apart,
             "parameters in an optimizer: 2 against 4"),
    Question("Which line is accused in the run whose cause is known, and of what?", fix_line,
             "optimizer.stale_param_reference train.py:3"),
    Question("Which evidence speaks against the known cause?", against, "E3"),
    Question("How many gradients were cleared before the step, and how many never came?", cleared,
             "2 cleared, 2 never reached"),
    Question("At which step did the killed run end, and which loss did it print last?", vanished,
             "step 60, printed 2.040"),
)  # fmt: skip


def tokens(reply: Any) -> int:
    """About how many tokens a model reads: four bytes of compact JSON are one."""
    return len(json.dumps(reply, separators=(",", ":"), ensure_ascii=False).encode()) // 4


async def _print() -> None:
    import tempfile
    from pathlib import Path

    from mcp import Client
    from runs import STORIES, write_diagnosis, write_run

    from aitia.tools.server import build_server

    with tempfile.TemporaryDirectory() as temp:
        for story in STORIES:
            run = write_run(Path(temp), story)
            if story == "stale_head":
                write_diagnosis(run)
        async with Client(build_server(Path(temp))) as client:
            for question in QUESTIONS:
                calls: list[int] = []

                async def ask(tool: str, _calls: list[int] = calls, **arguments: Any) -> dict[str, Any]:
                    reply = (await client.call_tool(tool, arguments)).structured_content
                    _calls.append(tokens(reply))
                    return reply

                answer = await question.answer(ask)
                print(f"{len(calls):3d} calls {sum(calls):6d} tokens  {question.text}  {answer}")


if __name__ == "__main__":
    import sys
    from pathlib import Path as _Path

    import anyio

    sys.path.insert(0, str(_Path(__file__).resolve().parent.parent))
    anyio.run(_print)
