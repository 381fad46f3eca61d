"""The causal graph as a picture: every box and arrow is there, nothing overlaps, and no name breaks out."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from runs import HOSTILE, STORIES

from aitia.engine.drawing import _boxes, _ordered, _place, draw, svg
from aitia.engine.graph import Chain, Node, chain, mermaid
from aitia.engine.reason import diagnose
from aitia.engine.store.reader import Run
from aitia.tools.causal import explain_cause

SVG = "{http://www.w3.org/2000/svg}"


def ladder() -> Chain:
    """A cause with three links, a second cause that leads straight to the symptoms."""
    made = Chain()
    last = made.add(Node("C0", "cause", "loop.missing_zero_grad at fc, step 2", "Gradients add up"))
    for i in range(3):
        last = made.add(
            Node(f"L{i}", "link", f"link {i}", "a sentence that is long enough to be wrapped into lines"), last
        )
    made.add(Node("C1", "cause", "data.label_misaligned"))
    for i in range(2):
        made.add(Node(f"S{i}", "symptom", f"symptom {i}"))
        made.edges += [(last, f"S{i}"), ("C1", f"S{i}")]
    return made


def test_every_box_and_arrow_is_drawn() -> None:
    """One rectangle for each node (and the ground), one path for each edge."""
    root = ET.fromstring(draw(ladder(), "run: faulty"))

    assert len(root.findall(f"{SVG}rect")) == 1 + 7
    assert len(root.findall(f"{SVG}path")) == 7
    assert root.findtext(f"{SVG}title") == "run: faulty"


def test_boxes_do_not_overlap_and_arrows_point_down() -> None:
    """Also for an edge that passes several layers."""
    boxes, paths = _boxes(ladder())
    width, height = _place(_ordered(boxes, paths), 0)
    shown = [b for b in boxes.values() if b.node is not None]

    for a, b in itertools.combinations(shown, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart, (a.node, b.node)
    assert all(boxes[p[i]].y < boxes[p[i + 1]].y for p in paths for i in range(len(p) - 1))
    assert all(b.x >= 0 and b.x + b.width <= width and b.y + b.height <= height for b in shown)


def test_a_cycle_is_drawn_all_the_same() -> None:
    """Edges that go round end the search for layers, not the drawing."""
    made = Chain([Node("A", "link", "a"), Node("B", "link", "b")], [("A", "B"), ("B", "A")])

    assert ET.fromstring(draw(made, "t")) is not None


@pytest.mark.parametrize("name", [*HOSTILE, "]]>", "<!--", '"><script>alert(1)</script>', "\ud800", "a" * 500])
def test_a_name_cannot_break_out(name: str) -> None:
    """Names of the program are text, wherever they stand."""
    made = Chain([Node("A", "cause", name, name)])
    text = draw(made, name)
    root = ET.fromstring(text.encode("utf-8"))

    assert {e.tag for e in root.iter()} <= {
        f"{SVG}{t}" for t in ("svg", "title", "defs", "marker", "path", "rect", "text")
    }
    assert not any(key.startswith("on") or "href" in key for e in root.iter() for key in e.attrib)
    assert not any(c in text for c in "\x1b\u202e\u2066\x00")


@pytest.mark.parametrize("story", STORIES)
def test_picture_and_mermaid_tell_the_same(story: str, synthetic: Path) -> None:
    """Both are made from one chain; the tool hands out either."""
    run = Run(synthetic / f"20260101-000000-{story}")
    found = diagnose(run)
    nodes = chain(run, found).nodes
    root = ET.fromstring(svg(run, found))

    assert len(root.findall(f"{SVG}rect")) == 1 + len(nodes)
    assert mermaid(run, found).count("-->") == len(root.findall(f"{SVG}path"))
    picture = explain_cause(run, view="svg", diagnosis=found).svg
    assert picture is not None
    assert ET.fromstring(picture) is not None
    assert explain_cause(run, view="graph", diagnosis=found).svg is None
