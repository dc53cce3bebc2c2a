"""Calibration of heads: a table of its figures, and reliability plots."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from sercorr.data.utterances import UNKNOWN
from sercorr.errors import InputError
from sercorr.evaluation.calibration import (
    BINS,
    COOLEST,
    HOTTEST,
    Reliability,
    chance_errors,
    error_interval,
    fold_temperatures,
    reliability,
    score_seeds,
    temper,
)
from sercorr.evaluation.intervals import FEWEST
from sercorr.evaluation.pooled import Pooled, pool_predictions
from sercorr.evaluation.runs import Run, same_folds, settings_of
from sercorr.reporting.layout import Parts
from sercorr.reporting.paper import describe, used_settings
from sercorr.reporting.plots import COLOURS, new_figure, save_figure
from sercorr.reporting.remarks import seed_remarks

_FIGURES = f"""\
ECE: expected calibration error (Guo et al., 2017), in points: how far the confidence, \
which is the largest probability, is from the share of right answers; {BINS} bins of \
equal width.
by chance: mean ECE of as many answers with these confidences that are exactly right. \
A head whose ECE is no larger shows no error.
gap: mean confidence less WA, in points; above 0 the head is too sure.
NLL: mean of -log p of the true class, in nats. Brier: mean squared distance from the \
true class, from 0 to 2.
Each is of all folds together, averaged over the seeds."""
_TEMPERATURE = """\
T: temperature, fitted on the validation clips of each fold and seed: the smallest NLL \
of softmax(log p / T); mean and range. Above 1, answers become less sure. WA stays.
after T: test clips with the T of their fold and seed.
Probabilities have six decimals and count as at least 0.0000005."""
_COLUMNS = 3  # panels of a reliability plot beside one another
_FEW = 10  # clips in a bin that say little


def calibration_parts(heads: Mapping[str, Sequence[Run]]) -> Parts:
    """Lay out how well the probabilities of heads fit what is right, for `render`.

    Heads that differ in their label smoothing alone stand below one another. Without
    the ``validation.csv`` of each fold and seed, a head has no temperature, and a
    paragraph says so.

    Arguments
    ---------
    heads : mapping
        Name -> runs, one per seed, from `read_heads`.

    Returns
    -------
    list
        The table, and what it means.

    Raises
    ------
    InputError
        There is no finished fold, or a file of predictions is missing or broken.
    """
    finished = _side_by_side(heads)
    said: dict[str, list[str]] = {}  # what holds for all heads is said of none
    rows = [_row(name, runs, said) for name, runs in finished.items()]
    for name, runs in finished.items():
        for text in seed_remarks(heads[name]):
            said.setdefault(text, []).append(_title(name, runs))
    remarks = (
        text if len(at) == len(finished) else f"{', '.join(at)}: {text}"
        for text, at in said.items()
    )
    return [[rows], _FIGURES, _TEMPERATURE, *remarks]


def plot_reliability(
    heads: Mapping[str, Sequence[Run]], path: str | os.PathLike
) -> None:
    """Draw for each head how often answers are right, by their confidence.

    Bars: the share of right answers in each of the bins of `calibration_parts`, all
    folds and seeds together; hollow, where a bin holds few clips. On the diagonal,
    confidence and share are equal. A line: the same after the temperatures, where they
    are known. Below: how many percent of the answers are in each bin.
    """
    finished = _side_by_side(heads)
    columns = min(len(finished), _COLUMNS)
    lines = -(-len(finished) // columns)
    figure = new_figure(0.5 + 3.6 * lines)
    figure.suptitle("Reliability")
    panels = figure.subfigures(lines, columns, squeeze=False)
    named: dict[str, Any] = {}
    for place, (name, runs) in enumerate(finished.items()):
        row, column = divmod(place, columns)
        named |= _draw_head(panels[row, column], _title(name, runs), runs)
        if column == 0:
            axes = panels[row, column].axes
            axes[0].set_ylabel("right answers, %")
            axes[1].set_ylabel("answers, %")
            panels[row, column].align_ylabels()
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=4, fontsize=9
    )
    save_figure(figure, path)


def _row(name: str, runs: Sequence[Run], said: dict[str, list[str]]) -> dict[str, str]:
    """Lay out one head; what must be said of it goes to ``said``: text -> heads."""
    title, remarks = _title(name, runs), []
    pooled = pool_predictions(runs)
    scores, chance = score_seeds(pooled), chance_errors(pooled)
    error = f"{scores.ece:.1f}"
    if ends := error_interval(pooled, scores.ece, chance):
        error += f" ({ends[0]:.1f} to {ends[1]:.1f})"
        remarks.append(_interval_remark(pooled))
    else:
        units = int(pooled.units.max()) + 1
        remarks.append(
            f"{units} speakers are too few for an interval (at least {FEWEST})."
        )
    row = {
        "head": title,
        "p_l": _smoothing(runs),
        "ECE (95 %)": error,
        "by chance": f"{chance.mean():.1f}",
        "gap": f"{scores.gap:+.1f}",
        "NLL": f"{scores.nll:.3f}",
        "Brier": f"{scores.brier:.3f}",
    }
    for run in runs:
        if run.missing:
            missing = ", ".join(map(str, run.missing))
            seed = "" if run.seed is None else f" (seed {run.seed})"
            remarks.append(f"Left out, since not finished: folds {missing}{seed}.")
    temperatures, without = fold_temperatures(runs)
    if without:
        remarks.append(
            f"No temperature: {len(without)} of {len(without) + len(temperatures)} "
            "folds have no validation.csv of the tested epoch; train them anew, it is "
            "written with the best epoch."
        )
    else:
        after = score_seeds(pooled, temper(pooled, temperatures))
        values = np.array(list(temperatures.values()))
        span = f" ({values.min():.2f} to {values.max():.2f})" if len(values) > 1 else ""
        row |= {
            "T (range)": f"{values.mean():.2f}{span}",
            "ECE after T": f"{after.ece:.1f}",
            "NLL after T": f"{after.nll:.3f}",
        }
        remarks += _temperature_remarks(runs, values)
    for text in remarks:
        said.setdefault(text, []).append(title)
    return row


def _interval_remark(pooled: Pooled) -> str:
    """Say over what the intervals are."""
    speakers = len(set(pooled.speakers.tolist()) - {UNKNOWN})
    unknown = len(np.unique(pooled.clips[pooled.speakers == UNKNOWN]))
    drawn = [f"{speakers} speakers"] if speakers else []
    drawn += [f"{unknown} clips of unknown speakers"] if unknown else []
    text = (
        "In brackets: 95 % interval for other speakers, by a bootstrap over "
        f"{' and '.join(drawn)}, corrected for what chance adds; it may lie below the "
        "ECE."
    )
    if unknown:
        text += " Where such clips share a speaker, it is too narrow."
    return text


def _temperature_remarks(runs: Sequence[Run], values: np.ndarray) -> list[str]:
    """Say where temperatures may not be what new speakers need."""
    remarks = []
    at_limit = (values < 1.01 * COOLEST) | (values > HOTTEST / 1.01)
    if at_limit.any():
        remarks.append(
            f"In {at_limit.sum()} of {len(values)} folds the validation clips want a T "
            f"beyond the limits, {COOLEST:g} and {HOTTEST:g}."
        )
    for settings in (settings_of(r) for run in runs for r in run.records.values()):
        drawn = settings.get("valid_by", "random") == "random"
        if drawn and settings.get("valid_session") is None:
            official = settings.get("fold_by") == "official"
            where = " (where the split has no validation set)" if official else ""
            remarks.append(
                f"Validation clips are drawn at random{where}: their speakers train, "
                "too, and T may be too small for new speakers."
            )
            break
    return remarks


def _side_by_side(heads: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """Order the heads that have runs; other label smoothing alone: side by side.

    Of each head the seeds that `same_folds` gives.
    """
    kinds: dict[str, dict[str, Sequence[Run]]] = {}
    for name, runs in heads.items():
        if runs:
            record = runs[0].record
            apart = ("label_smoothing", "fold", "seed")
            kind = {k: v for k, v in settings_of(record).items() if k not in apart}
            both = [kind, record.get("upstream_source"), record.get("manifests")]
            key = json.dumps(both, sort_keys=True) if kind else name
            kinds.setdefault(key, {})[name] = same_folds(runs)
    if not kinds:
        raise InputError("there is no finished fold to look at; run the folds first")
    return {name: runs for some in kinds.values() for name, runs in some.items()}


def _title(name: str, runs: Sequence[Run]) -> str:
    return (describe(runs[0].record) or name) if name == "." else name


def _smoothing(runs: Sequence[Run]) -> str:
    """Give the label smoothing of the loss; empty where no setting is called so."""
    values = [used_settings(run.record).get("label_smoothing") for run in runs]
    return ", ".join(
        dict.fromkeys(f"{v:g}" for v in values if isinstance(v, int | float))
    )


def _draw_head(panel: SubFigure, title: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Draw one head; return what the legend shows."""
    pooled = pool_predictions(runs)
    seeds = len(np.unique(pooled.seeds))
    top, bottom = panel.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    panel.suptitle(title, fontsize=10)
    edges = np.linspace(0, 100, BINS + 1)
    before = reliability(pooled.probabilities.max(axis=1), pooled.right)
    many, few = _by_size(before, seeds)
    look: Any = {"edgecolor": "#3A6F91", "linewidth": 0.7, "align": "edge"}
    look["width"] = 100 / BINS
    full, empty = {**look, "color": "#99C7E3"}, {**look, "color": "white", "alpha": 0.7}
    right = 100 * before.accuracy
    shown: dict[str, Any] = {
        "as it is": top.bar(edges[:-1][many], right[many], **full),
        f"fewer than {_FEW} clips": top.bar(edges[:-1][few], right[few], **empty),
    }
    line = top.plot([0, 100], [0, 100], color="0.35", linestyle="--", linewidth=1)
    shown["confidence = share"] = line[0]
    bottom.bar(edges[:-1], 100 * before.counts / before.counts.sum(), **full)
    temperatures, without = fold_temperatures(runs)
    if not without:
        confidence = temper(pooled, temperatures).max(axis=1)
        after = reliability(confidence, pooled.right)
        many, few = _by_size(after, seeds)
        style: Any = {"color": COLOURS[1], "marker": "o", "markersize": 3.5}
        for some, more in ((many, {}), (few, {"linestyle": "", "mfc": "white"})):
            x, y = 100 * after.confidence[some], 100 * after.accuracy[some]
            lines = top.plot(x, y, **style, **more, clip_on=False, zorder=3)
            lines[0].set_in_layout(False)  # one without points would take all room
            shown.setdefault("after temperature", lines[0])
        share = 100 * after.counts / after.counts.sum()
        bottom.stairs(share, edges, color=COLOURS[1], linewidth=1.4)
    _finish(top, bottom)
    return shown


def _by_size(shown: Reliability, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Say which bins hold many clips, and which few; an empty one holds neither."""
    many = shown.counts / seeds >= _FEW
    return many, ~many & (shown.counts > 0)


def _finish(top: Axes, bottom: Axes) -> None:
    top.set(xlim=(0, 100), ylim=(0, 100))
    bottom.set_xlabel("confidence, %")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
