"""Answers fit into a reply, text of the program is made harmless, and pictures are real PNGs."""

from __future__ import annotations

import importlib
import pkgutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import get_args, get_origin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from runs import HOSTILE, write_run

from aitia import tools
from aitia.engine.records import Evidence
from aitia.engine.store.reader import Run
from aitia.tools.canvas import HEIGHT, WIDTH, line_chart
from aitia.tools.layer_analyzer import LayerHealth, LayerReport
from aitia.tools.plots import plot_run
from aitia.tools.result import ToolResult
from aitia.tools.series import slope, thin
from aitia.tools.trust import NAME, REMOVED, Scrubber, safe_file, safe_name, safe_word, untrusted


def test_a_long_answer_is_cut_from_the_end_and_says_so() -> None:
    rows = tuple(LayerHealth(layer=f"block.{i}", cls="Linear", kind="linear", health="healthy") for i in range(500))
    cut = LayerReport(run="r", summary="s", layers=rows).fitted(5_000)

    assert len(str(cut.payload())) < 7_000
    assert cut.layers == rows[: len(cut.layers)]
    assert f"{500 - len(cut.layers)} of layers" in (cut.omitted or "")


def test_a_short_answer_stays_as_it_is() -> None:
    report = LayerReport(
        run="r", summary="s", evidence=(Evidence(id="E1", tool="t", statement="x", values={"a": 1.0}),)
    )

    assert report.fitted() is report


@given(st.text(max_size=3_000))
def test_untrusted_text_has_no_control_signs_and_an_end(text: str) -> None:
    shown = untrusted(text, 500)

    assert len(shown) <= 502
    assert all(c in "\n\t" or c.isprintable() or c.isspace() for c in shown)
    assert not {"\x1b", "\u202e", "\u2066", "\x00", "\u200b"} & set(shown)


def test_the_end_of_a_log_is_what_is_kept() -> None:
    assert untrusted("a" * 10_000 + "the end", 100, tail=True).endswith("the end")


def test_links_and_images_lose_their_target() -> None:
    assert untrusted(HOSTILE[2]) == "[click] ![img]"


@given(st.text(max_size=200))
def test_names_in_trusted_fields_obey_the_grammar(name: str) -> None:
    shown = safe_name(name, 3)

    assert shown == "layer#3" or NAME.fullmatch(shown)
    assert safe_word(name, "unknown").replace(".", "").replace("_", "").isalnum() or safe_word(name, "_") in {"_", "__"}
    assert " " not in (safe_file(name) or "")


def test_sentences_from_elsewhere_lose_the_words_of_the_program(tmp_path: Path) -> None:
    run = write_run(tmp_path, "hostile")
    clean = Scrubber(run)

    for raw in HOSTILE[:2]:
        assert clean(f"The layer {raw} is dead.") == f"The layer {REMOVED} is dead."
    assert clean("fc2.weight is dead.") == "fc2.weight is dead."


def test_a_robust_slope_ignores_a_spike() -> None:
    x = np.arange(100)
    y = 3.0 * x
    y[50] = 1e9

    assert slope(x, y) == pytest.approx(3.0)


def test_thinning_keeps_first_and_last() -> None:
    steps, values = thin(np.arange(1, 1001), np.full(1000, np.nan), 10)

    assert (steps[0], steps[-1], len(steps)) == (1, 1000, 10)
    assert set(values) == {None}


def test_a_chart_is_a_png_of_the_promised_size() -> None:
    steps = np.arange(1, 200)
    data, log = line_chart("loss (?)", steps, {"loss": 10.0 ** -(steps / 40), "nan": np.full(199, np.nan)})

    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (WIDTH, HEIGHT)
    length = struct.unpack(">I", data[33:37])[0]
    assert len(zlib.decompress(data[41 : 41 + length])) == HEIGHT * (WIDTH * 3 + 1)
    assert log


def test_a_plot_says_in_words_what_it_shows(synthetic: Path, tmp_path: Path) -> None:
    told, picture = plot_run(Run(synthetic / "20260101-000000-nan"), "loss")

    assert "30 not finite" in told
    assert picture.startswith(b"\x89PNG")
    with pytest.raises(KeyError, match="was not measured"):
        plot_run(write_run(tmp_path, steps=0), "memory")


def fields_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, FieldInfo]]:
    """All fields of a model and of the models it holds."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", field
        inner = [
            field.annotation,
            *get_args(field.annotation),
            *(b for a in get_args(field.annotation) for b in get_args(a)),
        ]
        for kind in inner:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields_of(kind, seen)


def test_whatever_may_be_missing_can_be_left_out() -> None:
    """Replies leave out what is None or an empty list; a field without a default then makes the whole reply invalid."""
    for module in pkgutil.iter_modules(tools.__path__):
        importlib.import_module(f"aitia.tools.{module.name}")
    seen: set[type[BaseModel]] = {ToolResult}
    fields = [pair for model in ToolResult.__subclasses__() for pair in fields_of(model, seen)]
    missing = [
        where
        for where, field in fields
        if (NoneType in get_args(field.annotation) or get_origin(field.annotation) in {tuple, list, dict})
        and field.is_required()
    ]

    assert len(fields) > 100
    assert missing == []
