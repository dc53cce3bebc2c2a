"""The picture of a corpus: its classes, how long clips are, who speaks how much."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sercorr.files import atomic_path
from sercorr.reporting.corpus_figures import Figures

# Okabe and Ito's, for colour-blind readers; then, from the ninth class on, again with
# hatches.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
    "#7F7F7F",
)  # fmt: skip
_HATCHES = ("", "///", "...", "xxx")
_MOST_GROUPS = 24
_WIDTH = 96  # letters in a line of the legend
_BINS = 40
_MOST_NAMES = 40  # speakers, beyond which they are numbered only


def plot_corpus(
    figures: Figures, durations: Mapping[str, Sequence[float]], path: str | Path
) -> None:
    """Draw a corpus: classes of each group, durations of each class, speakers.

    Arguments
    ---------
    figures : dict
        From `sercorr.reporting.corpus_figures.corpus_figures`.
    durations : mapping
        Class -> seconds of its clips.
    path : path
        Where to write, whole or not at all; its suffix says how: ``.png`` (1200 pixels
        wide) or ``.svg``.
    """
    labels = list(durations)
    titles = [_text(label) for label in labels]
    groups = figures["groups"]
    many = figures["groups_are_speakers"] or not 1 < len(groups) <= _MOST_GROUPS
    rows = len(labels) if many else len(groups)
    heights = [0.9 + 0.24 * rows, 0.9 + 0.36 * len(labels), 2.6]
    figure = Figure(figsize=(8.0, 0.7 + sum(heights)), dpi=150, layout="constrained")
    top, middle, bottom = figure.subplots(3, height_ratios=heights)
    clips, hours = figures["clips"], figures["hours"]
    speakers = figures["speakers"]
    name = _text(figures["name"])
    figure.suptitle(f"{name}: {clips} clips, {hours:.2f} h, {speakers} speakers")
    if many:
        _draw_classes(top, figures)
    else:
        _draw_groups(top, figures, labels)
    _draw_durations(middle, durations)
    _draw_speakers(bottom, figures, labels)
    handles = [
        top.barh([0], [0], color=_colour(i), hatch=_hatch(i), edgecolor="white")
        for i in range(len(labels))
    ]
    most = max(1, _WIDTH // (max(map(len, labels)) + 6))
    lines = -(-len(labels) // most)
    columns = -(-len(labels) // lines)  # about as many in each line
    figure.legend(
        handles, titles, loc="outside lower center", ncols=columns, fontsize=9
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:].lower())


def _draw_classes(axes: Axes, figures: Figures) -> None:
    counts = [row["clips"] for row in figures["classes"]]
    names = [_text(row["class"]) for row in figures["classes"]]
    for index, count in enumerate(counts):
        axes.barh(
            index, count, color=_colour(index), hatch=_hatch(index), edgecolor="white"
        )
        axes.text(count, index, f" {count}", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_axisbelow(True)
    axes.set(xlabel="clips", title="Clips of each class")
    axes.grid(axis="x", alpha=0.3)


def _draw_groups(axes: Axes, figures: Figures, labels: Sequence[str]) -> None:
    groups = figures["groups"]
    left = np.zeros(len(groups))
    for index, label in enumerate(labels):
        counts = np.array([row["clips"][label] for row in groups])
        axes.barh(
            range(len(groups)),
            counts,
            left=left,
            color=_colour(index),
            hatch=_hatch(index),
            edgecolor="white",
        )
        left += counts
    for place, total in enumerate(left):
        axes.text(total, place, f" {total:.0f}", va="center", fontsize=9)
    names = [_text(row["name"]) for row in groups]
    axes.set_yticks(range(len(groups)), names, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_axisbelow(True)
    title = f"Classes of each {figures['group_name']}"
    axes.set(xlabel="clips", ylabel=figures["group_name"], title=title)
    axes.grid(axis="x", alpha=0.3)


def _draw_durations(axes: Axes, durations: Mapping[str, Sequence[float]]) -> None:
    """Draw a histogram per class, one below the other, all on one scale.

    What is longer than 99.5 % of the clips is counted, not drawn.
    """
    axes.set_title("Durations of each class (share of its clips, one scale for all)")
    axes.set_yticks(range(len(durations)), list(map(_text, durations)), fontsize=9)
    axes.set_ylim(len(durations) - 0.7, -1.05)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    everything = np.concatenate([np.asarray(s, float) for s in durations.values()])
    if not len(everything):
        axes.set_xlabel("seconds (no clip can be read)")
        return
    low, end = float(everything.min()), float(np.quantile(everything, 0.995))
    edges = np.linspace(low, max(end, low + 0.1), _BINS + 1)
    shares = [
        np.histogram(seconds, edges)[0] / max(len(seconds), 1)
        for seconds in durations.values()
    ]
    scale = 0.9 / max(float(share.max()) for share in shares)
    for index, share in enumerate(shares):
        axes.stairs(
            index - scale * share,
            edges,
            baseline=index,
            fill=True,
            facecolor=_colour(index),
            hatch=_hatch(index),
            edgecolor="white",
            linewidth=0.0,
        )
    beyond = int((everything > edges[-1]).sum())
    note = f" ({beyond} clips are longer, up to {everything.max():.1f} s)"
    axes.set_xlabel("seconds" + note * bool(beyond))


def _draw_speakers(axes: Axes, figures: Figures, labels: Sequence[str]) -> None:
    """Draw a column per speaker; as one area each class, however many there are."""
    rows = figures["clips_of_speakers"]
    edges = np.arange(len(rows) + 1) + 0.5  # the first speaker is 1
    below = np.zeros(len(rows))
    for index, label in enumerate(labels):
        above = below + [row["clips"][label] for row in rows]
        axes.stairs(
            above,
            edges,
            baseline=below,
            fill=True,
            facecolor=_colour(index),
            hatch=_hatch(index),
            edgecolor="white",
            linewidth=0.0,
        )
        below = above
    if len(rows) <= 4 * _MOST_NAMES:
        tops = np.maximum(below[:-1], below[1:])
        axes.vlines(edges[1:-1], 0, tops, color="white", linewidth=1.2)
    axes.set_xlim(edges[0], edges[-1])
    axes.set(ylabel="clips", title="Clips of each speaker")
    if len(rows) <= _MOST_NAMES:
        names = [_text(row["name"]) for row in rows]
        crowded = max(map(len, names)) * len(names) > 90
        axes.set_xticks(
            range(1, len(rows) + 1), names, fontsize=8, rotation=90 if crowded else 0
        )
    else:
        axes.set_xlabel("speakers, by their number of clips")
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)


def _text(name: object) -> str:
    return str(name).replace("$", r"\$")  # no formula


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _hatch(index: int) -> str:
    return _HATCHES[index // len(_COLOURS) % len(_HATCHES)]
