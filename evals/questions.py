"""Ten questions about recorded programs that take an assistant more than one call, each with one stable answer.

An answer gets a function that calls a tool of the MCP server and returns its structured reply, and may use nothing
else: it plays an assistant that reads one reply to choose the next call. `aitia.evals.assistant` asks them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Reply = dict[str, Any]
Ask = Callable[..., Awaitable[Reply]]

RECORDED = (
    ("digits_transfer", "faulty"),
    ("digits_transfer", "repaired"),
    ("waves_gru", "faulty"),
    ("tumour_logistic", "faulty"),
    ("images_epoch_average", "faulty"),
    ("digits_recognizer", "faulty"),
    ("wine_deep_normal", "faulty"),
    ("patches_new_head", "faulty"),
    ("digits_cosine", "healthy"),
    ("digits_simple_net", "faulty"),
)
"""What lies in the run root, in the order of the runs' names; every one is called `train.py`."""


def name_of(index: int) -> str:
    """The run's name: neutral, and the same at every evaluation."""
    return f"20260101-{index:06d}-train"


@dataclass(frozen=True)
class Question:
    """One question, the way to its answer through the tools, and the answer."""

    text: str
    answer: Callable[[Ask], Awaitable[str]]
    expected: str


async def _runs(ask: Ask, **filters: Any) -> list[Reply]:
    return list((await ask("list_runs", limit=50, **filters))["runs"])


async def _first(ask: Ask, tool: str, fits: Callable[[Reply], bool]) -> Reply:
    """The reply of the first run, newest first, that fits."""
    for run in await _runs(ask):
        reply = await ask(tool, run=run["run"])
        if fits(reply):
            return reply
    raise LookupError(f"no run whose {tool} fits")


async def crashed_shapes(ask: Ask) -> str:
    """From the list to the shapes that the failing layer saw."""
    (run,) = await _runs(ask, status="crashed")
    error = await ask("diagnose_error", run=run["run"])
    return f"{error['module']}: {', '.join(error['input_shapes'])}"


async def non_finite(ask: Ask) -> str:
    """The run whose loss is no number any more: since when, and which operation made it so."""
    lost = [r["run"] for r in await _runs(ask, status="finished") if "last_loss" not in r]
    first = (await ask("diagnose_error", run=lost[0]))["first_nonfinite"]
    best = (await ask("diagnose", run=lost[0]))["hypotheses"][0]
    return f"{first['op']} at step {first['step']}: {best['cause']}"


async def growing(ask: Ask) -> str:
    """The run whose memory grows, and what is kept alive."""
    replies = [await ask("track_memory", run=r["run"]) for r in await _runs(ask)]
    grown = {i: max(s["last"] - s["first"] for s in m["series"] if s["growing"])
             for i, m in enumerate(replies) if any(s["growing"] for s in m["series"])}  # fmt: skip
    memory = replies[max(grown, key=lambda i: grown[i])]  # allocators of short runs grow a little, too
    best = (await ask("diagnose", run=memory["run"]))["hypotheses"][0]
    return f"{memory['live_graphs_last']} graphs: {best['cause']}"


async def unheld(ask: Ask) -> str:
    """Parameters that no optimizer holds, over all runs."""
    found = set()
    for run in await _runs(ask):
        reply = await ask("debug_gradients", run=run["run"])
        if "not_in_optimizer" in reply["counts"]:
            found |= {p["parameter"] for p in reply["parameters"] if p["health"] == "not_in_optimizer"}
    return ", ".join(sorted(found))


async def what_differs(ask: Ask) -> str:
    """Two runs of one program of which one learned: the difference in the set-up."""
    reply = await ask("compare_runs", run=name_of(0), other=name_of(1))
    setup = next(d for d in reply["differences"] if d["aspect"] == "setup")
    return f"{setup['what']}: {setup['a']} against {setup['b']}"


async def healthy(ask: Ask) -> str:
    """Which runs have nothing wrong with them."""
    verdicts = {r["run"]: (await ask("diagnose", run=r["run"]))["verdict"] for r in await _runs(ask)}
    return ", ".join(sorted(run for run, verdict in verdicts.items() if verdict == "healthy"))


async def two_faults(ask: Ask) -> str:
    """The run with two independent causes above the bar."""
    reply = await _first(ask, "diagnose", lambda r: "Also:" in r["summary"])
    return ", ".join(sorted(h["cause"] for h in reply["hypotheses"][:2]))


async def carried(ask: Ask) -> str:
    """The run in which gradients of earlier steps stay, how often it cleared them, and the line to change."""
    reply = await _first(ask, "debug_gradients", lambda r: (r.get("carried_share") or 0) > 0.9)
    best = (await ask("diagnose", run=reply["run"]))["hypotheses"][0]
    return f"{reply['zero_grad_per_step']:.0f} per step: {best['cause']} at line {best['lines'][0]}"


async def look_alikes(ask: Ask) -> str:
    """What the cause of the run with a floor under its loss could be mistaken for."""
    reply = await _first(ask, "diagnose", lambda r: "loss.double_softmax" in str(r["hypotheses"][:1]))
    explained = await ask("explain_cause", run=reply["run"], hypothesis="H1")
    return ", ".join(look["cause"] for look in explained["look_alikes"])


async def too_large(ask: Ask) -> str:
    """The layer whose first outputs are far out of scale, and whose fault that is."""
    reply = await _first(ask, "analyze_layers", lambda r: "activations_exploding" in r["counts"])
    best = (await ask("diagnose", run=reply["run"]))["hypotheses"][0]
    sick = {row["layer"] for row in reply["layers"] if row["health"] == "activations_exploding"}
    return f"{best['component'] in sick}: {best['cause']}"


QUESTIONS = (
    Question("Which layer refused its input in the run that crashed, and what did it get?", crashed_shapes,
             "gru: float32[20, 24, 1], float32[1, 48, 24]"),
    Question("One run ends without a finite loss. Which operation lost it, when, and why?", non_finite,
             "LogBackward0 at step 15: numerics.log_zero"),
    Question("In which run does memory grow, what is kept, and why?", growing,
             "80 graphs: resource.graph_retained_by_history"),
    Question("Which parameters are in no optimizer, over all runs?", unheld,
             "fc.bias, fc.weight, head.bias, head.weight"),
    Question("Two runs of one program, only the second learned: what was set up differently?", what_differs,
             "parameters in an optimizer: 6 against 8"),
    Question("Which runs are healthy?", healthy, f"{name_of(1)}, {name_of(8)}"),
    Question("Which run has two faults at once, and which?", two_faults,
             "optimizer.stale_param_reference, scheduler.stepped_per_batch"),
    Question("Where do gradients pile up, how often are they cleared, and which line is it?", carried,
             "0 per step: loop.missing_zero_grad at line 25"),
    Question("One loss is stuck at a floor. What could its cause be mistaken for?", look_alikes,
             "optimizer.lr_too_low, loss.missing_log"),
    Question("Which run has layers out of scale from the start, and is the accused layer one of them?", too_large,
             "True: init.wrong_scale"),
)  # fmt: skip
