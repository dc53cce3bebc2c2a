"""Pictures of a recording and of what a model says about it; they need no torch.

A clip is drawn with the attention over its waveform and the probabilities beside it; a
recording in windows as a timeline with a row for each emotion: the place says which it
is, so that nothing rests on telling colours (Okabe and Ito's) apart.
"""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_blocks, read_header
from sercorr.files import atomic_path
from sercorr.inference.drawing_style import (
    DARK,
    LIGHT,
    Look,
    colour,
    duration,
    font,
    letters_on,
    name_rows,
    paint,
    printable,
    set_time_axis,
)
from sercorr.inference.prediction import Prediction
from sercorr.inference.timeline import Cell, merge_cells, tile

_ATTENTION = "#E69F00"
_COLUMNS = 1200  # of the envelope
_CELLS = 400  # most that are drawn side by side
_NARROW = 6.0  # inches; below that, things stand under each other


class Envelope(NamedTuple):
    """The outline of a waveform: lowest and highest sample (n,) around each time (n,).

    Times are seconds from the beginning of the file, and so are ``start`` and ``end``.
    """

    times: np.ndarray
    low: np.ndarray
    high: np.ndarray
    start: float
    end: float


def read_envelope(
    path: str | os.PathLike,
    start: float = 0.0,
    end: float | None = None,
    columns: int = _COLUMNS,
) -> Envelope:
    """Read the outline of a recording of any length, in memory for a few blocks.

    Arguments
    ---------
    path : path
        An audio file.
    start, end : float
        The part to read, in seconds; None for the file's end.
    columns : int
        Most values of the outline.

    Raises
    ------
    InputError
        As `sercorr.data.audio.read_samples`.

    Example
    -------
    >>> import soundfile, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.sin(np.arange(16000)), 16000)
    >>> outline = read_envelope(path, columns=100)
    >>> len(outline.times), outline.end, round(float(outline.high.max()), 3)
    (100, 1.0, 1.0)
    """
    end = read_header(path).seconds if end is None else end
    size = max(1, math.ceil((end - start) * SAMPLE_RATE / columns))
    pairs: list[np.ndarray] = []  # (2, n) each
    held = np.empty(0, dtype=np.float32)
    for block in read_blocks(path, start=start, end=end):
        held = np.concatenate([held, block])
        count = len(held) // size
        rows = held[: count * size].reshape(count, size)
        if count:
            pairs.append(np.stack([rows.min(axis=1), rows.max(axis=1)]))
        held = held[count * size :]
    if len(held):
        pairs.append(np.array([[held.min()], [held.max()]]))
    low, high = np.concatenate(pairs, axis=1)
    times = start + (np.arange(len(low)) + 0.5) * size / SAMPLE_RATE
    return Envelope(np.minimum(times, end), low, high, start, end)


def plot_recording(
    file: str | os.PathLike,
    predictions: Sequence[Prediction],
    out: str | os.PathLike,
    hop: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> None:
    """Draw a file and what was predicted for it, whole or not at all.

    Arguments
    ---------
    file : path
        The audio file; it is read again, block by block.
    predictions : sequence of Prediction
        One for a clip; the windows of a longer recording, from which silent ones may
        have been left out.
    out : path
        Where to: .png (1200 pixels wide), .svg or .pdf.
    hop : float or None
        Seconds from one window to the next; None for a clip.
    start, end : float
        The part of the file that was predicted, in seconds; None for its end.
    """
    envelope = read_envelope(file, start, end)
    title = os.path.basename(os.fspath(file))
    figure = draw_recording(envelope, predictions, hop, title)
    with atomic_path(out) as temporary:
        figure.savefig(temporary)


def draw_recording(
    envelope: Envelope,
    predictions: Sequence[Prediction],
    hop: float | None = None,
    title: str = "",
    *,
    width: float = 8.0,
    dark: bool = False,
    bars: bool = True,
) -> Figure:
    """Draw a recording and what was predicted for it.

    Arguments
    ---------
    envelope : Envelope
        From `read_envelope`.
    predictions, hop
        As for `plot_recording`.
    title : str
        Over the picture, such as the file's name.
    width : float
        In inches; on a narrow figure, things stand under each other.
    dark : bool
        Draw on a dark ground.
    bars : bool
        Draw the probabilities of a clip, too, not only its waveform and attention.

    Returns
    -------
    matplotlib.figure.Figure
        At 150 dots per inch.
    """
    look = DARK if dark else LIGHT
    figure = Figure(dpi=150, layout="constrained", facecolor=look.paper)
    if hop is None:
        _draw_clip(figure, look, envelope, predictions[0], width, bars)
    else:
        _draw_timeline(figure, look, envelope, predictions, hop, width)
    if title:
        room = int(width * 8)  # letters
        if len(title) > room:
            title = f"{title[: room - 13]}…{title[-12:]}"
        figure.suptitle(printable(title), color=look.ink, fontsize=11, **font())
    return figure


def _draw_clip(
    figure: Figure,
    look: Look,
    envelope: Envelope,
    found: Prediction,
    width: float,
    with_bars: bool,
) -> None:
    height = 0.5 + 0.3 * len(found.scores)  # inches of the bars
    wide = width
    if not with_bars:
        figure.set_size_inches(width, 2.5)
        wave = figure.subplots()
    elif width >= _NARROW:
        figure.set_size_inches(width, max(3.0, height + 0.4))
        wave, bars = figure.subplots(1, 2, width_ratios=[3, 1.25])
        wide = 0.7 * width
    else:
        figure.set_size_inches(width, 2.8 + height)
        wave, bars = figure.subplots(2, 1, height_ratios=[2.3, height])
    _draw_wave(wave, look, envelope)
    set_time_axis(wave, envelope.start, envelope.end, 0.85 * wide)
    if found.attention is not None:
        times, weights = np.array(found.attention).T
        over = wave.twinx()
        relative = weights * len(weights)
        over.fill_between(times, relative, color=_ATTENTION, alpha=0.35, linewidth=0)
        over.plot(times, relative, color=_ATTENTION, linewidth=1.2)
        over.set_ylim(0, 1.15 * max(2.0, float(relative.max())))
        over.set_ylabel("attention (mean: 1)", fontsize=9)
        over.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        paint(over, look)
        over.patch.set_visible(False)  # the waveform is under it
    paint(wave, look)
    if with_bars:
        _draw_bars(bars, look, found.scores)


def _draw_bars(axes: Axes, look: Look, scores: dict[str, float]) -> None:
    """Draw the probabilities with their numbers, the first at the top."""
    values = list(scores.values())
    best = int(np.argmax(values))
    for index, value in enumerate(values):
        first = index == best
        shade = colour(index)
        axes.barh(index, value, color=shade, alpha=1.0 if first else 0.55, height=0.72)
        weight: Any = "bold" if first else "normal"
        style: Any = {"va": "center", "weight": weight, "color": look.ink}
        axes.text(value + 0.02, index, f"{100 * value:.1f} %", fontsize=10, **style)
    axes.set(xlim=(0, 1.35), xticks=[])  # room for the numbers
    axes.invert_yaxis()
    name_rows(axes, list(scores), range(len(scores)))
    axes.set_title("probability", fontsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    paint(axes, look)


def _draw_timeline(
    figure: Figure,
    look: Look,
    envelope: Envelope,
    windows: Sequence[Prediction],
    hop: float,
    width: float,
) -> None:
    labels = list(windows[0].scores) if windows else []
    cells = list(tile(windows, hop, envelope.end, envelope.start))
    heights = [1.3, 0.34, 0.45 * max(1, len(labels))]
    figure.set_size_inches(width, sum(heights) + 1.1)
    wave, strip, rows = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    _draw_wave(wave, look, envelope)
    _draw_strip(strip, look, cells, labels, width)
    _draw_rows(rows, look, cells, labels)
    set_time_axis(rows, envelope.start, envelope.end, 0.85 * width)
    for axes in (wave, strip, rows):
        paint(axes, look)


def _columns(cells: Sequence[Cell], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the edges (n + 1,) of columns and their mean probabilities (K, n).

    There are at most `_CELLS` columns; NaN stands where all is silence.
    """
    size = math.ceil(len(cells) / _CELLS)
    groups = [cells[place : place + size] for place in range(0, len(cells), size)]
    values = np.full((classes, len(groups)), np.nan)
    for column, group in enumerate(groups):
        rows = [list(cell.scores.values()) for cell in group if cell.scores is not None]
        if rows:
            values[:, column] = np.mean(rows, axis=0)
    edges = [group[0].start for group in groups] + [cells[-1].end]
    return np.array(edges), values


def _draw_wave(axes: Axes, look: Look, envelope: Envelope) -> None:
    times, low, high, *_ = envelope
    axes.fill_between(times, low, high, color=look.wave, linewidth=0.5)
    peak = max(float(np.abs([low, high]).max()), 1e-3)
    axes.set(ylim=(-1.05 * peak, 1.05 * peak), yticks=[])
    axes.set_ylabel("waveform", fontsize=9)


def _draw_strip(
    axes: Axes, look: Look, cells: Sequence[Cell], labels: Sequence[str], width: float
) -> None:
    """Draw a bar in the colours of the emotions, with names where there is room."""
    spans = list(merge_cells(cells))
    per_second = 0.8 * width / (cells[-1].end - cells[0].start)  # inches
    for label in {span.label for span in spans}:
        own = [(s.start, s.end - s.start) for s in spans if s.label == label]
        if label is None:
            style: Any = {"facecolor": look.paper, "edgecolor": look.wave}
            axes.broken_barh(own, (0, 1), hatch="////", linewidth=0, **style)
        else:
            shade = colour(labels.index(label))
            axes.broken_barh(own, (0, 1), color=shade, linewidth=0)
    for span in spans:
        name = "" if span.label is None else printable(span.label)
        if name and (span.end - span.start) * per_second > 0.1 + 0.085 * len(name):
            middle = (span.start + span.end) / 2
            ink = letters_on(colour(labels.index(str(span.label))))
            style = {"ha": "center", "va": "center", "color": ink, **font()}
            axes.text(middle, 0.47, name, fontsize=9, **style)
    axes.set(ylim=(0, 1), yticks=[])


def _draw_rows(
    axes: Axes, look: Look, cells: Sequence[Cell], labels: Sequence[str]
) -> None:
    """Draw a row for each emotion: its probability, strong where it is the largest."""
    edges, values = _columns(cells, len(labels))
    axes.set_title(f"probability, in steps of {duration(edges[1] - edges[0])}", size=9)
    axes.set_ylim(0, max(1, len(labels)))
    middles = [len(labels) - 0.55 - index for index in range(len(labels))]
    name_rows(axes, labels, middles)
    if not labels:
        style: Any = {"ha": "center", "va": "center", "color": look.ink}
        axes.text(0.5, 0.5, "only silence", transform=axes.transAxes, **style)
        return
    best = np.nan_to_num(values).argmax(axis=0)
    heard = sum(cell.end - cell.start for cell in cells if cell.label is not None)
    style = {"color": look.ink, "fontsize": 9, "transform": axes.get_yaxis_transform()}
    axes.text(1.01, len(labels), "time", va="bottom", **style)
    for index, (label, middle) in enumerate(zip(labels, middles, strict=True)):
        base = len(labels) - 1 - index
        tops = base + 0.9 * values[index]
        won = np.where(best == index, tops, np.nan)
        area: Any = {"baseline": base, "fill": True, "color": colour(index)}
        axes.stairs(tops, edges, alpha=0.35, linewidth=0, **area)
        axes.stairs(won, edges, linewidth=0, **area)
        axes.axhline(base, color=look.wave, linewidth=0.6)
        own = sum(cell.end - cell.start for cell in cells if cell.label == label)
        axes.text(1.01, middle, f"{100 * own / heard:.0f} %", va="center", **style)
