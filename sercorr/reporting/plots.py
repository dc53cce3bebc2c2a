"""Pictures of the results: confusion matrix, layer weights, training curves, scores.

Each function draws on a figure of its own, without matplotlib's global state, and
writes a PNG 1200 pixels wide, or an SVG by the file's name, whole or not at all. Folds
differ by colour (Okabe and Ito's, safe for colour-blind readers) and by marker.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from sercorr.evaluation.history import Record
from sercorr.evaluation.metrics import rate_name
from sercorr.files import atomic_path

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
_FLAT = 0.1  # layer weights this near to uniform, relative, are drawn as flat


def plot_confusion(
    confusion: Sequence[Sequence[int]],
    labels: Sequence[str],
    path: str | os.PathLike,
    title: str,
) -> None:
    """Draw (K, K) counts, rows are the truth, and their percentages of the row."""
    figure = new_figure(6.6)
    axes = figure.subplots()
    image = draw_confusion(axes, confusion, labels, 13 if len(labels) <= 6 else 8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, pad=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("share of the true class, %")
    save_figure(figure, path)


def draw_confusion(
    axes: Axes, confusion: Sequence[Sequence[int]], labels: Sequence[str], size: float
) -> AxesImage:
    """Draw one matrix with cells in letters of ``size`` points."""
    counts = np.asarray(confusion, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100.0 * counts / np.maximum(totals, 1)
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(counts.shape):
        share = f"{percent[row, column]:.1f} %" if totals[row, 0] else "-"
        text = f"{counts[row, column]}\n{share}"
        colour = "white" if percent[row, column] > 65 else "black"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=size, color=colour
        )
    names = [f"{name}\nn = {n}" for name, n in zip(labels, totals[:, 0], strict=True)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), names)
    return image


def plot_layer_weights(
    weights_per_fold: Mapping[str, Mapping[int, float]], path: str | os.PathLike
) -> None:
    """Draw the softmax weights of the upstream's layers, one line per fold.

    The weights are given by the layers' numbers, which are the same in all folds. With
    one layer there is nothing to learn, and the picture says so.
    """
    folds = weights_per_fold.values()
    values = np.array([list(fold.values()) for fold in folds], dtype=np.float64)
    numbers = list(next(iter(folds)))
    size = len(numbers)
    figure = new_figure(4.6 if size > 1 else 1.6)
    axes = figure.subplots()
    axes.set_title("Learned layer weights, equation (1)")
    if size == 1:
        axes.set_axis_off()
        note = f"There is one layer, {numbers[0]}: its weight is 1, nothing is learned."
        axes.text(0.5, 0.5, note, ha="center", va="center", transform=axes.transAxes)
        save_figure(figure, path)
        return
    for index, (name, weights) in enumerate(zip(weights_per_fold, values, strict=True)):
        axes.plot(numbers, weights, label=name, linewidth=1.4, **line_style(index))
    if len(values) > 1:
        mean = values.mean(axis=0)
        axes.plot(numbers, mean, color="black", linewidth=2.4, label="mean")
    label = f"uniform, 1/{size}"
    axes.axhline(1 / size, color="0.4", linestyle="--", linewidth=1.4, label=label)
    low = min(values.min(), (1 - _FLAT) / size)
    high = max(values.max(), (1 + _FLAT) / size)
    margin = 0.06 * (high - low)
    axes.set_ylim(max(low - margin, -0.02 * high), high + margin)
    ticks = numbers[:: 1 if size <= 26 else 2]
    axes.set_xticks(ticks, [str(tick) if tick else "0\ninput" for tick in ticks])
    axes.set_xlabel("layer (0: the input of the first transformer block)")
    axes.set_ylabel("weight (their sum is 1)")
    axes.grid(alpha=0.3)
    add_legend(figure, axes)
    save_figure(figure, path)


def plot_history(
    histories: Mapping[str, list[Record]],
    path: str | os.PathLike,
    select_by: str = "wa",
) -> None:
    """Draw losses and validation rates over the updates, one line per fold.

    A star marks each fold's best epoch by the rate ``select_by``, the one that is
    tested. That rate is drawn, and beside it WA (beside WA: UA). The two losses share
    a scale, and so do the two rates. Where no fold has more than one epoch, the folds
    stand side by side.
    """
    curves = {"train_loss": "training loss", "valid_loss": "validation loss"}
    for rate in (select_by, "ua" if select_by == "wa" else "wa"):
        curves[f"valid_{rate}"] = f"validation {rate_name(rate)}"
    single = max(map(len, histories.values())) == 1
    shifts = np.linspace(-0.05, 0.05, 2 * len(histories) + 1)[1::2]
    figure = new_figure(6.8)
    chosen = f"by validation {rate_name(select_by)}"
    figure.suptitle(f"Training curves (star: best epoch, {chosen})")
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    for axes, (key, title) in zip(grid.flat, curves.items(), strict=True):
        for index, (name, records) in enumerate(histories.items()):
            style = line_style(index)
            shift = 1 + shifts[index] if single else 1
            places = [record["updates"] * shift for record in records]
            values = [record[key] for record in records]
            axes.plot(places, values, label=name, linewidth=1.3, **style)
            best = int(np.argmax([record[f"valid_{select_by}"] for record in records]))
            star = {**style, "marker": "*", "markersize": 13, "zorder": 3}
            star |= {"markeredgecolor": "black", "markeredgewidth": 0.8}
            axes.plot(places[best], values[best], **star)
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.3)
        axes.tick_params(labelleft=True)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        updates = sorted({records[0]["updates"] for records in histories.values()})
        axes.xaxis.set_major_locator(
            FixedLocator(updates)
            if single
            else MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
        )
    for axes in grid[1]:
        axes.set_xlabel("updates")
    grid[0, 0].set_ylabel("loss, nats")
    grid[1, 0].set_ylabel("rate, %")
    add_legend(figure, grid[0, 0])
    save_figure(figure, path)


def plot_scores(
    scores: Mapping[str, Sequence[float | None]], path: str | os.PathLike, title: str
) -> None:
    """Draw the mean scores of several systems with their deviations, in percent.

    ``scores`` gives for each name the mean, the deviation over folds and that over
    seeds; None where there is none. The first is drawn at the top.
    """
    rows = np.array(list(scores.values()), dtype=np.float64)  # None becomes NaN
    places = np.arange(len(rows))
    figure = new_figure(1.9 + 0.45 * len(rows))
    axes = figure.subplots()
    axes.barh(places, rows[:, 0], color="#66AAD1")
    for place, mean in enumerate(rows[:, 0]):
        axes.text(1.0, place, f"{mean:.1f}", va="center", weight="bold")
    spreads: Any = (  # name, column, distance below the middle of the bar, look
        ("folds", 1, 0.0, {"color": "black", "elinewidth": 1.3, "capsize": 4}),
        ("seeds", 2, 0.24, {"color": COLOURS[1], "elinewidth": 2.6, "capsize": 3}),
    )
    for name, column, below, style in spreads:
        known = ~np.isnan(rows[:, column])
        if known.any():
            style |= {"xerr": rows[known, column], "fmt": "none"}
            style["label"] = f"standard deviation over {name}"
            axes.errorbar(rows[known, 0], places[known] + below, **style)
    axes.set_yticks(places, list(scores))
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="%, mean", title=title)
    axes.grid(axis="x", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        add_legend(figure, axes)
    save_figure(figure, path)


def line_style(index: int) -> dict[str, Any]:
    """Give the colour and the marker of the ``index``-th line, from 0."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        # the seventh fold has the first one's colour and another marker
        "marker": _MARKERS[(index + index // len(COLOURS)) % len(_MARKERS)],
        "markersize": 3.5,
    }


def new_figure(height: float) -> Figure:
    """Make a figure 8 inches wide and ``height`` inches high."""
    return Figure(figsize=(8.0, height), dpi=150, layout="constrained")  # inches


def add_legend(figure: Figure, axes: Axes) -> None:
    """Set what ``axes`` has named below the figure."""
    handles, names = axes.get_legend_handles_labels()
    columns = min(len(names), 7)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=9)


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a PNG or an SVG, by the path's ending, whole or not at all."""
    with atomic_path(path) as temporary:
        # no date, and names from no clock: the same figure is the same file
        style: Any = {"svg.fonttype": "none", "svg.hashsalt": "sercorr"}
        kind = Path(path).suffix.removeprefix(".") or "png"
        about = {"Date": None} if kind == "svg" else None
        with rc_context(style):
            figure.savefig(temporary, format=kind, metadata=about)
