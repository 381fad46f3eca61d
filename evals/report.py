"""The report: figures as JSON, and as Markdown for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.evals.again import sentences
from aitia.evals.confusion import confusion
from aitia.evals.confusion import markdown as confusion_markdown
from aitia.evals.opinions import told
from aitia.evals.score import (
    Case,
    calibration,
    hit,
    onset_errors,
    risk_coverage,
    stability,
    table,
)

OURS = "aitia"


@dataclass(frozen=True)
class Report:
    """What an evaluation found."""

    data: dict[str, Any]
    markdown: str
    misses: str
    """Every answer that is not right, one line each."""


def build(cases: Sequence[Case], meta: dict[str, Any]) -> Report:
    """Score all answerers on the same cases."""
    answerers = list(cases[0].replies) if cases else [OURS]
    overheads = [c.overhead for c in cases if c.overhead is not None]
    seconds = [c.seconds for c in cases]
    data: dict[str, Any] = {
        "schema": 1,
        **meta,
        "answerers": {name: table(cases, name) for name in answerers},
        "onset": onset_errors(cases, OURS),
        "latency": _spread([c.latency for c in cases if c.latency is not None]),
        "calibration": calibration(cases, OURS),
        "risk_coverage": risk_coverage(cases, OURS),
        "families": confusion(cases, OURS),
        "stability": stability(cases, OURS),
        "overhead": _spread(overheads),
        "answer_seconds": _spread(seconds),
        "cases": [_detail(case) for case in cases],
    }
    return Report(data, _markdown(data), _misses(cases))


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"median": None, "p95": None, "max": None}
    x = np.array(values)
    return {"median": float(np.median(x)), "p95": float(np.percentile(x, 95)), "max": float(x.max())}


def _detail(case: Case) -> dict[str, Any]:
    reply = case.replies[OURS]
    return {
        "program": case.program,
        "variant": case.variant,
        "seed": case.seed,
        "right": sorted(case.right),
        "verdict": reply.verdict,
        "causes": ["/".join(sorted(names)) for names in reply.ranked],
        "confidence": list(reply.confidence),
        "lines": list(reply.lines),
        "accused": list(case.accused),
        "component": reply.component,
        "onset": reply.onset,
        "latency": case.latency,
        "error": reply.error,
        "seconds": round(case.seconds, 3),
        "others": {name: r.first for name, r in case.replies.items() if name != OURS},
    }


def _markdown(data: dict[str, Any]) -> str:
    ours = data["answerers"][OURS]
    parts = [
        f"# Evaluation on `{data['split']}`\n",
        f"{data['faulty']} faulty programs, {data['healthy']} healthy look-alikes, {data['repaired']} repaired twins; "
        f"{data['seeds']} seed(s). aitia {data['versions']['aitia']}, torch {data['versions']['torch']}. "
        "Intervals: 95 %, bootstrap over programs.\n",
    ]
    parts += [*(f"- {note}" for note in data["notes"]), ""] if data["notes"] else []
    parts += [
        "| answers by | cause first | among first 3 | wrong cause | unknown | called healthy "
        "| false alarms: look-alikes | false alarms: repaired |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in data["answerers"].items():
        cells = [row[k] for k in ("top1", "top3", "wrong", "unknown", "missed", "healthy_false_alarm",
                                  "repaired_false_alarm")]  # fmt: skip
        parts.append(f"| {name} | " + " | ".join(percent(c) for c in cells) + " |")
    onset = data["onset"]
    parts += [
        "\n## Where and when\n",
        "| | share | of |",
        "|---|---|---|",
        f"| all faults named | {percent(ours['recall'])} | {ours['recall']['n']} programs |",
        f"| both faults of two | {percent(ours['recall_two_faults'])} | {ours['recall_two_faults']['n']} programs |",
        f"| the accused line itself | {percent(ours['line'])} | {ours['line']['n']} right answers |",
        f"| within two lines of it | {percent(ours['near_line'])} | {ours['near_line']['n']} right answers |",
        f"| the component | {percent(ours['component'])} | {ours['component']['n']} right answers |",
        f"| unsure on look-alikes | {percent(ours['healthy_unsure'])} | {ours['healthy_unsure']['n']} programs |",
        f"| unsure on repaired twins | {percent(ours['repaired_unsure'])} | {ours['repaired_unsure']['n']} programs |",
        "",
        f"First step claimed minus true first step: median {number(onset['median'])}, "
        f"90 % within {number(onset['p90_abs'])} steps ({onset['n']} right answers).",
    ]
    if data["latency"]["median"] is not None:
        late = data["latency"]
        parts.append(f"Right for the first time after the onset: median {number(late['median'])} steps, "
                     f"95 % within {number(late['p95'])} steps.")  # fmt: skip
    parts += _calibration(data)
    parts += confusion_markdown(data["families"])
    parts += _fix(data)
    parts += told(data.get("model"))
    parts += _exact(data)
    stable, over, time = data["stability"], data["overhead"], data["answer_seconds"]
    parts.append("\n## Cost and stability\n")
    if stable["share"] is not None:
        parts.append(f"Same first answer for every seed: {stable['share']:.0%} of {stable['n']} program variants.\n")
    parts += sentences(data.get("again"))
    if over["median"] is not None:
        parts.append(f"The recorder's own share of the recorded steps: median {over['median']:.1%}, "
                     f"95th percentile {over['p95']:.1%}.\n")  # fmt: skip
    if time["median"] is not None:
        parts.append(f"Time to an answer: median {time['median']:.2f} s, 95th percentile {time['p95']:.2f} s.")
    return "\n".join(parts) + "\n"


def _exact(data: dict[str, Any]) -> list[str]:
    exact = data.get("bit_exact")
    if not exact:
        return []
    parts = [
        "\n## Bit for bit\n",
        f"{exact['same']} of {exact['n']} recorded runs print exactly what the program prints alone, and end with the "
        f"same exit status; {len(exact['unsteady'])} print something else each time and are left out.",
    ]
    parts += ["", *(f"- differs: {d['run']}: {d['first']}" for d in exact["differs"])] if exact["differs"] else []
    return parts


def _fix(data: dict[str, Any]) -> list[str]:
    fix = data.get("fix")
    if not fix:
        return []
    rows = (
        ("repaired so that three unseen seeds are well", "repaired"),
        ("fix proved by `aitia fix`", "proved"),
        ("regression test proved red and green", "test_proved"),
        ("proved, but not well with unseen seeds", "wrongly_proved"),
        ("look-alikes that were changed", "sound_changed"),
    )
    parts = ["\n## Repairs\n", "| | share | of |", "|---|---|---|"]
    parts += [f"| {words} | {percent(fix[key])} | {fix[key]['n']} |" for words, key in rows]
    return [*parts, f"\nProving took {number(fix['ratio_median'])} times the program's own time (median)."]


def _calibration(data: dict[str, Any]) -> list[str]:
    c = data["calibration"]
    if not c["n"]:
        return []
    parts = [
        "\n## What its confidence is worth\n",
        f"{c['n']} claims; Brier score {c['brier']:.3f}, expected calibration error {c['ece']:.3f}.\n",
        "| said | claims | mean said | right |",
        "|---|---|---|---|",
    ]
    parts += [
        f"| {b['from']:.0%} to {b['to']:.0%} | {b['n']} | {b['claimed']:.0%} | {b['right']:.0%} |" for b in c["bins"]
    ]
    points = ", ".join(f"{p['risk']:.0%} wrong in the surest {p['coverage']:.0%}" for p in data["risk_coverage"])
    return [*parts, f"\nRisk and coverage: {points}."]


def _misses(cases: Sequence[Case]) -> str:
    lines = []
    for case in cases:
        reply = case.replies[OURS]
        sure = f" {reply.confidence[0]:.2f}" if reply.confidence else ""
        if case.variant == "faulty" and not hit(case, reply, 1):
            rank = next((i for i, names in enumerate(reply.ranked, 1) if names & case.right), 0)
            also = f", right one at {rank}" if rank else ""
            lines.append(f"{case.program}/{case.variant}-{case.seed}: {'+'.join(case.truth.all_causes)} "
                         f"→ {reply.first}{sure}{also}")  # fmt: skip
        elif case.variant != "faulty" and reply.verdict != "healthy":
            lines.append(f"{case.program}/{case.variant}-{case.seed}: healthy → {reply.first}{sure}")
        if reply.error:
            lines.append(f"{case.program}/{case.variant}-{case.seed}: error: {reply.error}")
    return "\n".join(lines) + "\n" if lines else ""


def percent(cell: dict[str, Any]) -> str:
    """A share with its interval."""
    if cell["mean"] is None:
        return "-"
    return f"{cell['mean']:.0%} [{cell['low']:.0%}, {cell['high']:.0%}]"


def number(value: float | None) -> str:
    """A number or a dash."""
    return "-" if value is None else f"{value:g}"
