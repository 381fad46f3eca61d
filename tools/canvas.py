"""A small line chart as PNG, drawn with numpy and zlib alone, so that a picture needs no plotting library."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

WIDTH: Final = 640
HEIGHT: Final = 320
LEFT, RIGHT, TOP, BOTTOM = 76, 14, 26, 30
SCALE: Final = 2
"""Pixels per dot of the font."""
INK: Final[Color] = (40, 40, 40)
GRID: Final[Color] = (225, 225, 225)
BAD: Final[Color] = (200, 30, 30)
LINES: Final[tuple[Color, ...]] = ((31, 102, 180), (214, 120, 20), (40, 140, 70), (130, 70, 160))
LOG_RANGE: Final = 100.0
"""Positive values that span more than this factor are shown on a logarithmic axis."""
TICKS: Final = 5

# Five rows of three dots per sign, each row one octal digit.
FONT: Final[dict[str, str]] = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", "a": "25755", "b": "65656", "c": "34443", "d": "65556", "e": "74647", "f": "74644",
    "g": "34553", "h": "55755", "i": "72227", "j": "11152", "k": "55655", "l": "44447", "m": "57755", "n": "65555",
    "o": "25552", "p": "65644", "q": "25573", "r": "65655", "s": "34216", "t": "72222", "u": "55557", "v": "55552",
    "w": "55775", "x": "55255", "y": "55222", "z": "71247", ".": "00002", "-": "00700", "+": "02720", "_": "00007",
    ":": "02020", "/": "11244", "%": "51245", "(": "12221", ")": "42224", ",": "00024", "?": "61202",
}  # fmt: skip


def line_chart(
    title: str, steps: npt.NDArray[np.int64], series: dict[str, npt.NDArray[np.float64]]
) -> tuple[bytes, bool]:
    """PNG of up to four series over steps, and whether its axis is logarithmic. Not finite values are marked in red."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    write(image, LEFT, 8, title)
    shown = dict(list(series.items())[: len(LINES)])
    finite = np.concatenate([v[np.isfinite(v)] for v in shown.values()]) if shown else np.empty(0)
    log = bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > LOG_RANGE)
    low, high = _range(np.log10(finite) if log else finite)
    x = _place(steps.astype(np.float64), *_range(steps.astype(np.float64), 0.0), LEFT, WIDTH - RIGHT)
    _axes(image, steps, low, high, log)
    for color, (name, values), at in zip(LINES, shown.items(), range(len(LINES)), strict=False):
        if len(shown) > 1:
            write(image, WIDTH - RIGHT - 120, TOP + 4 + 14 * at, name[:14], color)
        safe = np.where(np.isfinite(values) & ((values > 0) | (not log)), values, np.nan)
        y = _place(np.log10(safe) if log else safe, low, high, HEIGHT - BOTTOM, TOP)
        _curve(image, x, y, color)
        for column in np.unique(x[~np.isfinite(values)].astype(int)):
            image[HEIGHT - BOTTOM - 8 : HEIGHT - BOTTOM, column] = BAD
    return png(image), log


def write(image: Image, left: int, top: int, text: str, color: Color = INK) -> None:
    """Put one line of text; signs outside the font become question marks."""
    for index, sign in enumerate(text.lower()):
        if sign == " ":
            continue
        rows = FONT.get(sign, FONT["?"])
        for dy, row in enumerate(rows):
            for dx in range(3):
                if int(row, 8) >> (2 - dx) & 1:
                    y, x = top + dy * SCALE, left + (index * 4 + dx) * SCALE
                    image[y : y + SCALE, x : x + SCALE] = color


def png(image: Image) -> bytes:
    """An RGB image as PNG."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 3)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + body


def _axes(image: Image, steps: npt.NDArray[np.int64], low: float, high: float, log: bool) -> None:
    for value in np.linspace(low, high, TICKS):
        row = int(_place(np.array([value]), low, high, HEIGHT - BOTTOM, TOP)[0])
        image[row, LEFT : WIDTH - RIGHT] = GRID
        label = f"{10**value if log else value:.3g}"
        write(image, max(2, LEFT - 6 - len(label) * 4 * SCALE), row - 5, label)
    image[TOP : HEIGHT - BOTTOM, LEFT] = INK
    image[HEIGHT - BOTTOM, LEFT : WIDTH - RIGHT] = INK
    if len(steps):
        last = str(int(steps[-1]))
        write(image, LEFT, HEIGHT - 18, f"step {int(steps[0])}")
        write(image, WIDTH - RIGHT - len(last) * 4 * SCALE, HEIGHT - 18, last)


def _curve(image: Image, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], color: Color) -> None:
    for x0, y0, x1, y1 in zip(x[:-1], y[:-1], x[1:], y[1:], strict=True):
        if math.isfinite(y0) and math.isfinite(y1):
            count = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
            columns = np.linspace(x0, x1, count).astype(int)
            rows = np.linspace(y0, y1, count).astype(int)
            for shift in (0, 1):
                image[np.clip(rows + shift, TOP, HEIGHT - BOTTOM), columns] = color


def _range(values: npt.NDArray[np.float64], pad: float = 0.05) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low - 0.5, high + 0.5
    return low - pad * (high - low), high + pad * (high - low)


def _place(
    values: npt.NDArray[np.float64], low: float, high: float, first: float, last: float
) -> npt.NDArray[np.float64]:
    placed: npt.NDArray[np.float64] = first + (values - low) / (high - low) * (last - first)
    return placed
