"""Figures of an experiment: rates by settings, confusion matrices side by side.

An experiment's ``figures`` is a list of ``{x: SETTING, lines: SETTING}``, as for the
paper's figure 3, and ``{confusions: [HEAD, HEAD]}``, as for its figure 2. The former
may name the ``heads`` that are drawn, or else all are.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.transforms import offset_copy

from sercorr.errors import InputError
from sercorr.evaluation.metrics import rate_name
from sercorr.evaluation.runs import Run
from sercorr.reporting.experiment_series import (
    SYMBOLS,
    Heads,
    Matrix,
    Series,
    Value,
    compared_folds,
    confusions_of,
    place_of,
    series_of,
    sort_values,
)
from sercorr.reporting.plots import (
    add_legend,
    draw_confusion,
    line_style,
    new_figure,
    save_figure,
)
from sercorr.reporting.tables import leading_rate

_TITLES = {"n_heads": "attention heads"}
_DASHES = ("-", "--", "-.", ":")
_MARKER = 5.5  # points
_BESIDE = 2.5  # points between lines
_LOGARITHMIC = 16  # the x axis is, if the largest x is so many times the smallest


def plot_what_can_be(
    heads: Heads,
    figures: Sequence[Mapping[str, Any]],
    folder: str | os.PathLike,
    suffix: str = ".png",
) -> tuple[list[Path], list[str]]:
    """Do as `plot_experiment`; of a figure that is refused, a note says why."""
    paths: list[Path] = []
    notes: list[str] = []
    for figure in figures:
        try:
            drawn, said = plot_experiment(heads, [figure], folder, suffix)
        except InputError as error:  # the tables are right all the same
            drawn, said = [], [f"figure {figure}: not drawn: {error}"]
        paths, notes = paths + drawn, notes + said
    return paths, notes


def plot_experiment(
    heads: Heads,
    figures: Sequence[Mapping[str, Any]],
    folder: str | os.PathLike,
    suffix: str = ".png",
) -> tuple[list[Path], list[str]]:
    """Draw an experiment's figures, one for each upstream and corpus.

    Without ``lines``, the upstreams and corpora are the lines of one figure.

    Arguments
    ---------
    heads : mapping
        See `sercorr.reporting.experiment_series.Heads`.
    figures : sequence of mapping
        See above.
    folder : path
        Where to write ``SETTING.png``, ``SETTING_by_SETTING.png`` and
        ``confusions_HEAD_HEAD.png``, with the upstream and the corpus before the name
        where there are several.
    suffix : str
        ``.png`` or ``.svg``.

    Returns
    -------
    paths : list of pathlib.Path
        What was written.
    notes : list of str
        What could not be drawn, one line each.

    Raises
    ------
    InputError
        What `series_of` and `confusions_of` refuse.
    """
    by_place: dict[str, dict[str, Sequence[Run]]] = {}
    for head, runs in heads.items():
        by_place.setdefault(place_of(head), {})[head] = runs
    rate = leading_rate(heads)
    paths: list[Path] = []
    notes: list[str] = []
    for figure in figures:
        x, lines = figure.get("x"), figure.get("lines")
        wanted = figure.get("heads")
        for place, every in ({"": heads} if x and not lines else by_place).items():
            some = {
                head: runs
                for head, runs in every.items()
                if wanted is None or Path(head).name in wanted
            }
            if x:
                series, more = series_of(some, x, lines, rate)
            else:
                matrices, more = confusions_of(some, figure["confusions"])
            notes += [note for note in more if note not in notes]
            path = Path(folder) / (figure_name(figure, place) + suffix)
            if x and series:
                before = [*filter(None, place.split("/"))]
                title = ", ".join([f"{rate_name(rate)} by {axis_title(x)}", *before])
                y_label = f"{rate_name(rate)}, %, {_average(some)}"
                plot_lines(
                    series, path, x_label=axis_title(x), y_label=y_label, title=title
                )
                paths.append(path)
            elif not x and matrices:
                plot_confusions(matrices, path)
                paths.append(path)
    return paths, notes


def figure_name(figure: Mapping[str, Any], place: str = "") -> str:
    """Name the file of a figure, without its ending.

    ``place`` is the upstream and the corpus, see `place_of`.

    Example
    -------
    >>> figure_name({"x": "n_heads", "lines": "lr"}, "fbank/studio")
    'fbank_studio_n_heads_by_lr'
    """
    name = "_".join(["confusions", *figure.get("confusions", ())])
    if "x" in figure:
        lines = figure.get("lines")
        name = f"{figure['x']}_by_{lines}" if lines else figure["x"]
    return "_".join([*filter(None, place.strip(".").split("/")), name])


def plot_lines(
    series: Series,
    path: str | os.PathLike,
    *,
    x_label: str,
    y_label: str,
    title: str,
) -> None:
    """Draw a line of mean rates for each name, as in the paper's figure 3.

    Bars show the sample's standard deviation over the seeds, where there are several;
    points of different lines are then apart, so that no bar hides another: of numbers
    by less than a marker's width, however long the axis is. The x axis is linear,
    logarithmic where x is positive and its range wide (1 to 32 heads), or has equal
    steps and no lines where any x is a word.
    """
    values = sort_values(value for line in series.values() for value in line)
    places = dict(zip(values, _positions(values), strict=True))
    counts = {len(rates) for line in series.values() for rates in line.values()}
    words = any(isinstance(value, str) for value in values)
    step = 0.5 / len(series) if words and max(counts) > 1 else 0.0  # of a word's place
    points = min(_BESIDE, _MARKER / len(series)) if max(counts) > 1 else 0.0
    figure = new_figure(5.4)
    axes = figure.subplots()
    for index, (name, line) in enumerate(series.items()):
        style = {**line_style(index), "linestyle": _DASHES[index % len(_DASHES)]}
        style |= {"markersize": _MARKER, "linewidth": 1.6, "label": name}
        beside = index - (len(series) - 1) / 2
        if words:
            style["linestyle"] = "none"  # nothing lies between words
        at = [places[value] + step * beside for value in line]
        moved = axes.transData
        if not words:  # a number moved along the axis would be another number
            moved = offset_copy(moved, figure, points * beside, units="points")
        means = [float(np.mean(rates)) for rates in line.values()]
        axes.plot(at, means, transform=moved, **style)
        spreads = [
            float(np.std(r, ddof=1)) if len(r) > 1 else 0.0 for r in line.values()
        ]
        ends = [*np.subtract(means, spreads), *np.add(means, spreads)]
        # matplotlib does not count what is moved
        axes.update_datalim(list(zip(at + at, ends, strict=True)))
        several = [
            (place, mean, spread)
            for place, mean, spread, rates in zip(
                at, means, spreads, line.values(), strict=True
            )
            if len(rates) > 1
        ]
        if several:
            where, middle, spread = zip(*several, strict=True)
            look: Any = {"fmt": "none", "capsize": 3, "elinewidth": 1.1}
            look["transform"] = moved
            axes.errorbar(where, middle, yerr=spread, color=style["color"], **look)
    if max(counts) > 1:
        seeds = " to ".join(map(str, sorted({min(counts), max(counts)})))
        about = f"standard deviation over {seeds} seeds"
        axes.errorbar([], [], yerr=[], fmt="none", color="0.3", capsize=3, label=about)
    axes.autoscale_view()
    axes.set_xticks(list(places.values()), [f"{value}" for value in values])
    if words:
        axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(alpha=0.3)
    if max(counts) > 1 or any(series):
        add_legend(figure, axes)
    save_figure(figure, path)


def plot_confusions(matrices: Sequence[Matrix], path: str | os.PathLike) -> None:
    """Draw confusion matrices side by side, as in the paper's figure 2.

    A cell has the count and its share of the row; all matrices share one colour scale.
    """
    most = max(len(labels) for _, _, labels in matrices)
    columns = min(len(matrices), 2 if most <= 6 else 1)
    rows = -(-len(matrices) // columns)
    cell = 5.6 / columns / most  # inches
    figure = new_figure(0.5 + rows * (cell * most + 1.0))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(matrices) :]:
        axes.set_axis_off()
    for axes, (title, confusion, labels) in zip(grid.flat, matrices, strict=False):
        image = draw_confusion(axes, confusion, labels, min(13.0, 72 * cell / 5))
        axes.set_title(title, fontsize=10)
        if max(map(len, labels)) > 12 * cell:  # letters that fit below a cell
            turned: Any = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
            axes.set_xticks(range(len(labels)), labels, **turned)
        axes.set_xlabel("predicted class")
    for axes in grid[:, 0]:
        axes.set_ylabel("true class")
    bar = figure.colorbar(image, ax=grid, shrink=0.6, location="bottom", aspect=40)
    bar.set_label("share of the true class, %")
    save_figure(figure, path)


def axis_title(setting: str) -> str:
    """Name a setting, with the paper's symbol if it has one.

    Example
    -------
    >>> axis_title("channel_dropout"), axis_title("batch_size")
    ('channel dropout p_d', 'batch size')
    """
    words = _TITLES.get(setting, setting.replace("_", " "))
    return f"{words} {SYMBOLS.get(setting, '')}".strip()


def _average(heads: Heads) -> str:
    """Say over which folds each point is a mean."""
    folds = compared_folds(heads)
    listed = ", ".join(map(str, folds))
    return f"fold {listed}" if len(folds) == 1 else f"mean of folds {listed}"


def _positions(values: Sequence[Value]) -> list[float]:
    """Give places on the x axis; see `plot_lines`."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return [float(place) for place in range(len(values))]
    if min(numbers) > 0 and max(numbers) >= _LOGARITHMIC * min(numbers):
        return [float(place) for place in np.log2(numbers)]
    return [float(number) for number in numbers]
