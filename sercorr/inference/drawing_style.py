"""How pictures of recordings look: colours, fonts, the axis of time."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator

_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800",
    "#7A5195",
)  # fmt: skip
_BRIGHT = _COLOURS[3:7]  # those that black letters are legible on
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_FALLBACKS = (  # fonts for what matplotlib's own lacks, on Linux, macOS and Windows
    "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Hiragino Sans",
    "Arial Unicode MS", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI",
    "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip


class Look(NamedTuple):
    """The colours of the ground, of letters and of the waveform."""

    paper: str
    ink: str
    wave: str


LIGHT = Look(paper="white", ink="#1F2328", wave="#8A94A0")
DARK = Look(paper="#18181B", ink="#E4E4E7", wave="#71717A")


def letters_on(ground: str) -> str:
    """Choose the colour of letters on a ground."""
    return "black" if ground in _BRIGHT else "white"


def name_rows(axes: Axes, labels: Sequence[str], places: Sequence[float]) -> None:
    """Write labels along the vertical axis."""
    axes.set_yticks(places, [printable(label) for label in labels], **font())
    axes.tick_params(axis="y", length=0)


def set_time_axis(axes: Axes, start: float, end: float, inches: float) -> None:
    """Put marks at round times between ``start`` and ``end``, in seconds."""
    most = max(2.0, 1.6 * inches)
    enough = (step for step in _STEPS if (end - start) / step <= most)
    step = next(enough, math.ceil((end - start) / most / 3600) * 3600)
    axes.set_xlim(start, end)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    if end > 90:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _clock(x)))
        unit = "hours:minutes:seconds" if end >= 3600 else "minutes:seconds"
    else:
        unit = "seconds"
    axes.set_xlabel(unit, fontsize=9)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Write a number of seconds.

    Example
    -------
    >>> duration(0.25), duration(90), duration(600), duration(5400)
    ('0.25 s', '90 s', '10:00 min', '1:30:00 h')
    """
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{_clock(seconds)} {'min' if seconds < 3600 else 'h'}"


def paint(axes: Axes, look: Look) -> None:
    """Give axes the colours of the look."""
    axes.set_facecolor(look.paper)
    axes.tick_params(colors=look.ink, labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(look.wave)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(look.ink)


def colour(index: int) -> str:
    """Choose a class's colour: Okabe and Ito's, then two more, then again."""
    return _COLOURS[index % len(_COLOURS)]


@functools.cache
def _families() -> list[str]:
    """Name the fonts that are here: matplotlib's own and those for other scripts."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]


@functools.cache
def _known_characters() -> frozenset[int]:
    places = [font_manager.findfont(family) for family in _families()]
    return frozenset().union(*(font_manager.get_font(p).get_charmap() for p in places))


def font() -> dict[str, Any]:
    """Options of texts that others wrote; ``$`` means nothing in them."""
    return {"fontfamily": _families(), "parse_math": False}


def printable(text: str) -> str:
    """Replace by a box what no font has; matplotlib would warn of each."""
    known = _known_characters()
    return "".join(letter if ord(letter) in known else "\u25a1" for letter in text)
