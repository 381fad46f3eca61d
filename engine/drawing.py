"""The causal chain as an SVG picture: layers from top to bottom, drawn by ourselves, nothing loaded and nothing run.

Layered layout after Sugiyama, Tagawa and Toda (1981): longest paths give the layers, an edge over several layers passes
an invisible point in each, and a few sweeps of averaging neighbours' positions order the boxes of a layer.
"""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape

from aitia.engine.graph import Chain, Node, chain
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

WIDTH: Final = 300
CHARACTERS: Final = 42
"""Characters of 12 px that fit into a box's width, for the widest common fonts."""
MAX_LINES: Final = 5
LINE: Final = 16
PAD: Final = 11
ACROSS: Final = 36
DOWN: Final = 52
MARGIN: Final = 24
TITLE: Final = 34
SWEEPS: Final = 4
COLOURS: Final = {
    "cause": ("#fde2e1", "#c0392b"),
    "link": ("#fff4d6", "#b8860b"),
    "symptom": ("#e8eaf6", "#3949ab"),
    "healthy": ("#e3f4e6", "#2e7d32"),
}
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufffe\uffff]"
)
"""Characters that XML forbids, or that turn the direction of what follows."""


@dataclass
class _Box:
    """A node with its place; without a node, a point where a long edge passes a layer."""

    node: Node | None
    layer: int
    lines: list[str] = field(default_factory=list)
    bold: int = 0
    """How many of the lines are the headline."""
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return WIDTH if self.node is not None else 12.0

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PAD if self.node is not None else 0.0


def svg(run: Run, diagnosis: Diagnosis, words: Callable[[str], str] = str) -> str:
    """The chain behind a diagnosis as a self-contained SVG document; `words` cleans what holds names."""
    drawn = chain(run, diagnosis)
    drawn.nodes = [Node(n.id, n.kind, words(n.headline), words(n.detail)) for n in drawn.nodes]
    return draw(drawn, f"{run.id}: {diagnosis.verdict}")


def draw(drawn: Chain, title: str) -> str:
    """Any chain of boxes and arrows without a cycle."""
    boxes, edges = _boxes(drawn)
    layers = _ordered(boxes, edges)
    width, height = _place(layers, 8.5 * len(title))
    body = [_arrow([boxes[i] for i in path]) for path in edges] + [_shape(b) for b in boxes.values() if b.node]
    words = escape(clean(title))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f"<title>{words}</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 4}" font-size="14" font-weight="bold" fill="#222">{words}</text>',
        *body,
        "</svg>",
    ])  # fmt: skip


def clean(text: str) -> str:
    """Untrusted words as plain characters: nothing that XML forbids or that turns the reading direction."""
    return _UNSEEN.sub(" ", text)


def _boxes(drawn: Chain) -> tuple[dict[str, _Box], list[list[str]]]:
    """Boxes with their layers, and every edge as the path of points it passes."""
    before: dict[str, list[str]] = defaultdict(list)
    for a, b in drawn.edges:
        before[b].append(a)
    layer: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in layer:
            layer[name] = 0  # stands while a cycle, should there be one, comes back here
            layer[name] = max((depth(b) + 1 for b in before[name]), default=0)
        return layer[name]

    last = max((depth(n.id) for n in drawn.nodes), default=0)
    boxes = {}
    for node in drawn.nodes:
        head, detail = _wrapped(node.headline), _wrapped(node.detail)
        lines = (head + detail)[:MAX_LINES]
        boxes[node.id] = _Box(
            node, last if node.kind == "symptom" else layer[node.id], lines, min(len(head), len(lines))
        )
    paths = []
    for number, (a, b) in enumerate(drawn.edges):
        path = [a]
        for level in range(boxes[a].layer + 1, boxes[b].layer):
            boxes[f"{number}/{level}"] = _Box(None, level)
            path.append(f"{number}/{level}")
        paths.append([*path, b])
    return boxes, paths


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(clean(text), CHARACTERS, break_long_words=True, max_lines=3, placeholder=" …") if text else []


def _ordered(boxes: dict[str, _Box], paths: list[list[str]]) -> list[list[_Box]]:
    """The boxes of every layer from left to right, so that few edges cross."""
    near: dict[int, list[_Box]] = defaultdict(list)
    for path in paths:
        for a, b in pairwise(path):
            near[id(boxes[a])].append(boxes[b])
            near[id(boxes[b])].append(boxes[a])
    layers: list[list[_Box]] = [[] for _ in range(1 + max((b.layer for b in boxes.values()), default=0))]
    for box in boxes.values():
        layers[box.layer].append(box)
    for _ in range(SWEEPS):
        place = {id(b): (i + 0.5) / len(row) for row in layers for i, b in enumerate(row)}
        for row in layers:
            row.sort(key=lambda b: _mean((place[id(n)] for n in near[id(b)]), place[id(b)]))
    return layers


def _mean(values: Iterable[float], default: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else default


def _place(layers: list[list[_Box]], least: float) -> tuple[float, float]:
    """Coordinates; returns the picture's width (no less than the title's) and height."""
    wide = [sum(b.width for b in row) + ACROSS * (len(row) - 1) for row in layers]
    width, y = max([least, *wide]) + 2 * MARGIN, MARGIN + float(TITLE)
    for row, own in zip(layers, wide, strict=True):
        x, tall = (width - own) / 2, max((b.height for b in row), default=0.0)
        for box in row:
            box.x, box.y = x, y + (tall - box.height) / 2
            x += box.width + ACROSS
        y += tall + DOWN
    return width, y - DOWN + MARGIN


def _arrow(path: list[_Box]) -> str:
    """A smooth line from the lower edge of the first box through the points between to the upper edge of the last."""
    x, y = path[0].x + path[0].width / 2, path[0].y + path[0].height
    parts = [f"M{x:.1f} {y:.1f}"]
    for box in path[1:]:
        to_x, to_y = box.x + box.width / 2, box.y
        middle = (y + to_y) / 2
        parts.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return f'<path d="{"".join(parts)}" fill="none" stroke="#555" stroke-width="1.4" marker-end="url(#tip)"/>'


def _shape(box: _Box) -> str:
    fill, stroke = COLOURS[box.node.kind if box.node is not None else "link"]
    round_ = min(18.0, box.height / 2) if box.node is not None and box.node.kind == "symptom" else 5
    out = [
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="{round_:.0f}" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"/>'
    ]
    for i, line in enumerate(box.lines):
        heavy = ' font-weight="bold"' if i < box.bold and box.bold < len(box.lines) else ""
        y = box.y + PAD + LINE * (i + 0.78)
        out.append(
            f'<text x="{box.x + box.width / 2:.1f}" y="{y:.1f}" text-anchor="middle" fill="#111"{heavy}>'
            f"{escape(line)}</text>"
        )
    return "\n".join(out)
