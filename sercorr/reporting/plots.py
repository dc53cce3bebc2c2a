"""Pictures of the results: confusion matrix, layer weights, training curves.

Each function draws on a figure of its own, without matplotlib's global state, and
writes a PNG 1200 pixels wide, whole or not at all. Folds differ by colour (Okabe and
Ito's, safe for colour-blind readers) and by marker.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from sercorr.evaluation.history import Record, best_record
from sercorr.files import atomic_path

_DPI = 150
_WIDTH = 8.0  # inches
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_FLAT = 0.1  # layer weights this near to uniform, relative, are drawn as flat
_SPREADS: tuple[
    tuple[str, float, dict[str, Any]], ...
] = (  # name, place below the middle of the bar, look
    ("folds", 0.0, {"color": "black", "elinewidth": 1.3, "capsize": 4}),
    ("seeds", 0.24, {"color": _COLOURS[1], "elinewidth": 2.6, "capsize": 3}),
)
_CURVES = (
    ("train_loss", "training loss"),
    ("valid_loss", "validation loss"),
    ("valid_wa", "validation WA"),
    ("valid_ua", "validation UA"),
)


def plot_confusion(
    confusion: Sequence[Sequence[int]],
    labels: Sequence[str],
    path: str | os.PathLike,
    title: str,
) -> None:
    """Draw a confusion matrix with counts and row percentages in each cell.

    Arguments
    ---------
    confusion : sequence of sequence of int
        (K, K) counts, rows are the truth.
    labels : sequence of str
        The K labels.
    path : path
        The PNG file.
    title : str
        Heading of the picture.

    Raises
    ------
    ValueError
        The matrix is not K x K.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(
            f"confusion must have shape ({len(labels)}, {len(labels)}), one row and "
            f"one column per label (got {counts.shape})"
        )
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100.0 * counts / np.maximum(totals, 1)
    figure = _figure(6.6)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(counts.shape):
        share = f"{percent[row, column]:.1f} %" if totals[row, 0] else "-"
        axes.text(
            column,
            row,
            f"{counts[row, column]}\n{share}",
            ha="center",
            va="center",
            fontsize=13 if len(labels) <= 6 else 8,
            color="white" if percent[row, column] > 65 else "black",
        )
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels)
    axes.set_yticks(
        ticks,
        [f"{name}\nn = {n}" for name, n in zip(labels, totals[:, 0], strict=True)],
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, pad=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("share of the true class, %")
    _save(figure, path)


def plot_layer_weights(
    weights_per_fold: Mapping[str, Sequence[float]], path: str | os.PathLike
) -> None:
    """Draw the learned weights of the upstream's layers, one line per fold.

    Arguments
    ---------
    weights_per_fold : mapping
        Name of the fold -> its softmax weights, layer 0 first. With one layer there
        is nothing to learn, and the picture says so.
    path : path
        The PNG file.

    Raises
    ------
    ValueError
        There are no folds, or they differ in their number of layers.
    """
    sizes = {name: len(weights) for name, weights in weights_per_fold.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ValueError(f"the folds must have equally many layers (got {sizes})")
    size = next(iter(sizes.values()))
    figure = _figure(4.6 if size > 1 else 1.6)
    axes = figure.subplots()
    axes.set_title("Learned layer weights, equation (1)")
    if size == 1:
        axes.set_axis_off()
        note = "This upstream has one layer: its weight is 1, nothing is learned."
        axes.text(0.5, 0.5, note, ha="center", va="center", transform=axes.transAxes)
        _save(figure, path)
        return
    values = np.asarray(list(weights_per_fold.values()), dtype=np.float64)
    for index, (name, weights) in enumerate(zip(weights_per_fold, values, strict=True)):
        axes.plot(weights, label=name, linewidth=1.4, **_style(index))
    if len(values) > 1:
        axes.plot(values.mean(axis=0), color="black", linewidth=2.4, label="mean")
    label = f"uniform, 1/{size}"
    axes.axhline(1 / size, color="0.4", linestyle="--", linewidth=1.4, label=label)
    low = min(values.min(), (1 - _FLAT) / size)
    high = max(values.max(), (1 + _FLAT) / size)
    margin = 0.06 * (high - low)
    axes.set_ylim(max(low - margin, -0.02 * high), high + margin)
    step = 1 if size <= 26 else 2
    ticks = list(range(0, size, step))
    axes.set_xticks(ticks, ["0\ninput", *map(str, ticks[1:])])
    axes.set_xlabel("layer (0: the input of the first transformer block)")
    axes.set_ylabel("weight (their sum is 1)")
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    _save(figure, path)


def plot_history(
    histories: Mapping[str, list[Record]], path: str | os.PathLike
) -> None:
    """Draw losses and validation rates over the updates, one line per fold.

    A star marks each fold's best epoch, the one that is tested. The two losses share
    a scale, and so do the two rates. Where no fold has more than one epoch, the folds
    stand side by side.

    Arguments
    ---------
    histories : mapping
        Name of the fold -> its records, as `read_history` gives.
    path : path
        The PNG file.

    Raises
    ------
    ValueError
        There are no folds, or one has no record.
    """
    sizes = {name: len(records) for name, records in histories.items()}
    if not sizes or 0 in sizes.values():
        raise ValueError(f"each fold needs at least one epoch (got {sizes})")
    figure = _figure(6.8)
    figure.suptitle("Training curves (star: best epoch, by validation WA)")
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    positions = _positions(histories)
    for axes, (key, title) in zip(grid.flat, _CURVES, strict=True):
        for index, (name, records) in enumerate(histories.items()):
            style = _style(index)
            values = [record[key] for record in records]
            axes.plot(positions[name], values, label=name, linewidth=1.3, **style)
            best = records.index(best_record(records))
            star = {**style, "marker": "*", "markersize": 13}
            star |= {"markeredgecolor": "black", "markeredgewidth": 0.8, "zorder": 3}
            axes.plot(positions[name][best], values[best], **star)
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.3)
        axes.tick_params(labelleft=True)
        axes.xaxis.set_major_locator(
            MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
            if max(sizes.values()) > 1
            else FixedLocator(sorted({h[0]["updates"] for h in histories.values()}))
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    for axes in grid[1]:
        axes.set_xlabel("updates")
    for axes, name in zip(grid[:, 0], ("loss, nats", "rate, %"), strict=True):
        axes.set_ylabel(name)
    _legend(figure, grid[0, 0])
    _save(figure, path)


def plot_scores(
    scores: Mapping[str, tuple[float, float | None, float | None]],
    path: str | os.PathLike,
    title: str,
) -> None:
    """Draw the mean scores of several systems with their deviations.

    Arguments
    ---------
    scores : mapping
        Name of a system -> percent: its mean, its deviation over folds and that over
        seeds; None where there is none. The first is drawn at the top.
    path : path
        The PNG file.
    title : str
        Heading of the picture.

    Raises
    ------
    ValueError
        There is nothing to draw.
    """
    if not scores:
        raise ValueError("there are no scores to draw")
    figure = _figure(1.9 + 0.45 * len(scores))
    axes = figure.subplots()
    axes.barh(range(len(scores)), [s[0] for s in scores.values()], color="#66AAD1")
    for row, (mean, *_) in enumerate(scores.values()):
        axes.text(1.0, row, f"{mean:.1f}", va="center", weight="bold")
    for index, (name, shift, style) in enumerate(_SPREADS, start=1):
        drawn = [
            (score[0], row + shift, spread)
            for row, score in enumerate(scores.values())
            if (spread := score[index]) is not None
        ]
        if drawn:
            means, places, spreads = zip(*drawn, strict=True)
            axes.errorbar(
                means,
                places,
                xerr=spreads,
                fmt="none",
                label=f"standard deviation over {name}",
                **style,
            )
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("%, mean")
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        _legend(figure, axes)
    _save(figure, path)


def _positions(histories: Mapping[str, list[Record]]) -> dict[str, list[float]]:
    """Give each record its place on the axis of updates."""
    positions = {
        name: [record["updates"] for record in records]
        for name, records in histories.items()
    }
    if max(map(len, positions.values())) == 1:
        shifts = np.linspace(-0.05, 0.05, 2 * len(positions) + 1)[1::2]
        for shift, place in zip(shifts, positions.values(), strict=True):
            place[0] *= 1 + shift
    return positions


def _style(index: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        # the seventh fold has the first one's colour and another marker
        "marker": _MARKERS[(index + index // len(_COLOURS)) % len(_MARKERS)],
        "markersize": 3.5,
    }


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(names), 7), fontsize=9
    )


def _save(figure: Figure, path: str | os.PathLike) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
