"""The picture of a comparison: every head against every other."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from sercorr.evaluation.metrics import rate_name
from sercorr.reporting.plots import new_figure, save_figure

_APART_ABOVE, _APART_BELOW, _NOT_APART = "#66AAD1", "#E8A66B", "#E6E6E6"
_CELL = 0.62  # inches


def plot_comparison(data: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Draw the differences between heads, those that are not apart in grey.

    Arguments
    ---------
    data : mapping
        From `sercorr.reporting.comparison.compare_parts`.
    path : path
        A ``.png`` or an ``.svg``, written whole or not at all.
    """
    corpora: dict[str, list[Mapping[str, Any]]] = {}
    for pair in data["pairs"]:
        corpora.setdefault(pair["corpus"], []).append(pair)
    names = [_names(data, pairs) for pairs in corpora.values()]
    heights = [1.4 + _CELL * len(rows) for rows, _ in names]
    figure = new_figure(0.9 + sum(heights))
    title = f"Difference in {rate_name(data['rate'])}, points: row less column"
    figure.suptitle(f"{title}\n(grey, in brackets: not apart)")
    grid = figure.subplots(len(corpora), squeeze=False, height_ratios=heights)
    drawn = zip(grid[:, 0], corpora.items(), names, strict=True)
    for axes, (corpus, pairs), (rows, columns) in drawn:
        _matrix(axes, pairs, rows, columns)
        axes.set_title(corpus, fontsize=11)
    save_figure(figure, path)


def _names(
    data: Mapping[str, Any], pairs: list[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Give the rows and columns: all heads, or with a baseline the others and it."""
    first = {pair["first"] for pair in pairs}
    second = {pair["second"] for pair in pairs}
    if data["baseline"] is None:
        first = second = first | second
    known = list(data["heads"])
    return [n for n in known if n in first], [n for n in known if n in second]


def _matrix(
    axes: Axes, pairs: list[Mapping[str, Any]], rows: list[str], columns: list[str]
) -> None:
    size = 11 if len(columns) <= 8 else 6
    cells = [(p["first"], p["second"], p["difference"], p["better"]) for p in pairs]
    cells += [(second, first, -value, best) for first, second, value, best in cells]
    for row, column, value, better in cells:
        if row not in rows or column not in columns:
            continue
        at = (columns.index(column), rows.index(row))
        colour = _APART_ABOVE if better == row else _APART_BELOW
        style: dict[str, Any] = {"weight": "bold"}
        text = f"{value:+.1f}"
        if better is None:
            colour, text, style = _NOT_APART, f"({text})", {"color": "0.3"}
        corner = (at[0] - 0.5, at[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white"))
        axes.text(*at, text, ha="center", va="center", fontsize=size, **style)
    axes.set_xticks(np.arange(len(columns)), columns)
    if sum(map(len, columns)) > 60:  # they would touch
        axes.tick_params(axis="x", rotation=90)
    axes.set_yticks(np.arange(len(rows)), rows)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
