"""One file that tells an incident to somebody who was not there: verdict, evidence, chain, repair, proof, test.

The HTML stands alone: no script, nothing loaded. Everything that comes from the program is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from aitia.agent.dossier import RUNGS, Dossier
from aitia.engine.replay.reading import Reading
from aitia.tools.trust import untrusted

STYLE: Final = Path(__file__).with_name("report.css")
WIDTH, HEIGHT, MARGIN = 640, 200, 8
COLOURS: Final = {"placebo": "var(--bad)", "repaired": "var(--ok)", "changed": "var(--ok)", "mutant": "#8a6d00"}
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Even if an escape were missing somewhere, nothing would be loaded or run."""
TICKS = 4


def html(dossier: Dossier) -> str:
    """The whole report as one HTML document."""
    title = f"{_head(dossier)} · {dossier.run.id}"
    body = "\n".join(_sections(dossier))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{_text(title)}</title>\n'
        f"<style>\n{STYLE.read_text('utf-8')}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _sections(d: Dossier) -> Iterator[str]:
    info, main = d.run.info, d.main
    yield f'<p class="verdict {d.diagnosis.verdict}">{d.diagnosis.verdict.upper()}</p>\n<h1>{_text(_head(d))}</h1>'
    yield f"<p>{_text(d.diagnosis.summary)}</p>"
    rows = [("Run", f"{d.run.id} · {' '.join(info.command)} · {info.status.value} · {d.run.n_steps} steps")]
    if main is not None:
        rows.append(("Certainty", f"{main.confidence:.0%} · {RUNGS[main.rung]}"))
        place = [main.component or ""]
        if main.location is not None:
            place.append(f"{main.location.file}:{','.join(map(str, main.location.lines))}")
        onset = f"from step {main.onset_step} on" if main.onset_step is not None else ""
        rows.append(("Where", " · ".join(p for p in [*place, f"phase {main.phase}", onset] if p)))
    if info.failure is not None:
        rows.append(("Exception", f"{info.failure.type}: {info.failure.message}"))
    yield "<dl>" + "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in rows) + "</dl>"
    if lines := d.lines():
        marked = [("hit" if hit else "dim", f"{n:4d} │ {text.expandtabs(4)}") for n, text, hit in lines]
        yield "<pre>" + "\n".join(f'<span class="{kind}">{_text(line)}</span>' for kind, line in marked) + "</pre>"
    yield from _why(d)
    yield from _repair(d)
    yield from _proof(d)
    yield from _rest(d)
    yield f'<p class="dim">{_text(_signature(d))}</p>'


def _why(d: Dossier) -> Iterator[str]:
    main = d.main
    ids = main.evidence if main is not None else tuple(e.id for e in d.diagnosis.evidence)
    for title, chosen in (("Evidence", ids), ("Against it", main.against if main is not None else ())):
        if found := d.evidence(chosen):
            yield (
                f"<h2>{title}</h2>\n<table>"
                + "".join(
                    f"<tr><td class=n>{e.id}</td><td>{_text(e.statement)}</td><td class=dim>{_text(e.tool)}</td></tr>"
                    for e in found
                )
                + "</table>"
            )
    yield f'<h2>Chain</h2>\n<div class="scroll">{d.picture}</div>'
    if main is not None and main.mistaken_for:
        yield "<h2>Not to be confused with</h2>\n" + _list(main.mistaken_for)


def _repair(d: Dossier) -> Iterator[str]:
    fix = d.fix
    if fix is None:
        return
    yield f"<h2>Repair</h2>\n<p>{_text(fix.summary)}</p>"
    if fix.diff:
        kinds = {"+": "add", "-": "del", "@": "hunk"}
        yield (
            "<pre>"
            + "\n".join(
                f'<span class="{kinds.get(line[:1], "")}">{_text(line)}</span>' for line in fix.diff.splitlines()
            )
            + "</pre>"
        )
    if d.incident is not None and d.incident.applied:
        yield f"<p>Written to {_text(', '.join(p.name for p in d.incident.applied))}; old files kept.</p>"


def _proof(d: Dossier) -> Iterator[str]:
    main = d.main
    if main is None or main.verification.status == "not_run":
        return
    found = main.verification
    yield (f'<h2>Proof</h2>\n<p><span class="{found.status}">{found.status}</span>: '
           f"{_text(str(found.details.get('reason', '')))}.</p>\n<p class=dim>{_text(found.method)}</p>")  # fmt: skip
    if d.incident is not None and d.incident.took:
        yield f"<p class=dim>It took {_text(d.incident.took)}.</p>"
    readings = d.readings
    if readings:
        head = "".join(f"<th>{t}</th>" for t in ("run", "mechanism", "accused", "steps", "loss", "accuracy"))
        yield f"<table><tr>{head}</tr>" + "".join(_row(r) for r in readings) + "</table>"
        yield _curves(readings)


def _row(r: Reading) -> str:
    name = f"{r.label}, seed +{r.seed}" if r.seed else r.label
    if r.same_as_recorded:
        name += " (bit for bit the recorded run)"
    name += f" ({'; '.join(r.changes)})" if r.changes else ""
    mechanism = (
        f'<span class="there">there</span>: {_text(r.statement)}' if r.seen else '<span class="gone">gone</span>'
    )
    loss = f"{_figure(r.loss_first)} → {_figure(r.loss_last)}"
    wrong = ", ".join([*r.accused, *r.symptoms]) or "nothing"
    cells = (_text(name), mechanism, _text(f"{wrong}; {r.failure}" if r.failure else wrong), str(r.steps), loss,
             _figure(r.accuracy))  # fmt: skip
    return "<tr>" + "".join(f"<td{' class=n' if i > 2 else ''}>{c}</td>" for i, c in enumerate(cells)) + "</tr>"


def _rest(d: Dossier) -> Iterator[str]:
    incident = d.incident
    if incident is not None and incident.test is not None:
        told = f"{incident.test.name}: {incident.test_status}, {incident.test_reason}"
        yield f"<h2>Regression test</h2>\n<p>{_text(told)}</p>"
        if d.test is not None:
            yield f"<pre>{_text(d.test)}</pre>"
    if incident is not None and incident.refuted:
        yield "<h2>Tried in vain</h2>\n" + _list(incident.refuted)
    if others := [h for h in d.diagnosis.hypotheses if h is not d.main]:
        yield "<h2>Also considered</h2>\n" + _list([f"{h.cause} ({h.confidence:.0%}): {h.explanation}" for h in others])
    if d.diagnosis.next_measurements:
        yield "<h2>What to measure next</h2>\n" + _list(d.diagnosis.next_measurements)


def _curves(readings: Sequence[Reading]) -> str:
    """The losses of placebo and repair over the run, in one picture."""
    shown = [r for r in readings if not r.seed and any(v is not None for v in r.losses)]
    finite = [v for r in shown for v in r.losses if v is not None]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    parts = []
    for number, r in enumerate(shown):
        last, path, pen = max(1, len(r.losses) - 1), "", False
        for i, v in enumerate(r.losses):
            if v is None:
                pen = False
                continue
            x = MARGIN + (WIDTH - 2 * MARGIN) * i / last
            y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (v - low) / span
            path += f"{'L' if pen else 'M'}{x:.1f} {y:.1f}"
            pen = True
        colour = COLOURS.get(r.label, "currentColor")
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{200 + 90 * number}" y="{HEIGHT + 14}" fill="{colour}" font-size="12">{_text(r.label)}</text>'
        )
    parts.append(
        f'<text x="{MARGIN}" y="{HEIGHT + 14}" font-size="12" fill="currentColor">loss {low:.3g} to {high:.3g}</text>'
    )
    size = f'viewBox="0 0 {WIDTH} {HEIGHT + 20}" width="{WIDTH}"'
    return f'<svg {size} role="img" aria-label="loss of placebo and repair">{"".join(parts)}</svg>'


def _head(d: Dossier) -> str:
    if d.main is not None:
        return d.main.cause
    return "nothing to repair" if d.diagnosis.verdict == "healthy" else "no cause clears the bar"


def _signature(d: Dossier) -> str:
    by = d.diagnosis.model or "rules, no language model"
    versions = ", ".join(f"{k} {v}" for k, v in sorted(d.run.info.versions.items()))
    return f"answered by {by} · {versions}"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _text(text: str) -> str:
    return escape(untrusted(text, 20_000), quote=True)
