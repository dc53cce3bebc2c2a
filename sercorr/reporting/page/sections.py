"""Sections of the page: results, comparison, figures, calibration, groups, heads."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.data.utterances import UNKNOWN
from sercorr.errors import InputError
from sercorr.evaluation.metrics import RATES, rate_name
from sercorr.evaluation.pooled import pool_predictions
from sercorr.evaluation.results import pool_confusion
from sercorr.evaluation.runs import Run, heads_called, same_folds
from sercorr.reporting.calibration import calibration_parts, plot_reliability
from sercorr.reporting.comparison import compare_parts
from sercorr.reporting.comparison_plot import plot_comparison
from sercorr.reporting.experiment_plots import plot_what_can_be
from sercorr.reporting.groups import group_parts
from sercorr.reporting.layout import Parts
from sercorr.reporting.page.document import Block, Folded, Raw, Section
from sercorr.reporting.page.figures import draw_inline, inline_svg
from sercorr.reporting.plots import (
    plot_confusion,
    plot_history,
    plot_layer_weights,
    plot_scores,
)
from sercorr.reporting.remarks import sum_of
from sercorr.reporting.report import fold_histories, fold_weights, summarise_heads
from sercorr.reporting.tables import heads_parts, leading_rate, run_parts

Heads = Mapping[str, Sequence[Run]]

_ALL_PAIRS = 10  # heads; of more, each is compared with the chosen one
_MANY_PAIRS = 6  # more are folded
_MANY_BARS = 20  # the same
_SPEAKERS = 30  # most columns of speakers
_PANELS = 6  # reliability plots


def choose_head(heads: Heads, wanted: str | None = None) -> tuple[str, str]:
    """Choose the head that is looked at more closely, and say why it is this one.

    Of those with the most finished trainings, it is the one with the best mean rate on
    the validation clips: the test clips choose nothing. Seeds count as in the tables,
    see `same_folds`.

    Arguments
    ---------
    heads : mapping
        From `sercorr.evaluation.runs.read_heads`.
    wanted : str or None
        A head, by its folder or the last parts of it.

    Returns
    -------
    tuple of str
        The name, and a sentence.

    Raises
    ------
    InputError
        There is no such head, or several.
    """
    finished = {name: same_folds(runs) for name, runs in heads.items() if runs}
    if wanted is not None:
        found = heads_called(finished, wanted)
        if len(found) != 1:
            which = f"may be {' or '.join(found)}" if found else "is not there"
            raise InputError(
                f"--head {wanted}: it {which}; name one of {', '.join(finished)}"
            )
        return found[0], f"{found[0]}, as was asked for."
    if len(finished) == 1:
        return next(iter(finished)), ""
    rate = f"valid_{leading_rate(heads)}"
    size = {name: sum(len(r.metrics) for r in runs) for name, runs in finished.items()}
    means = {}
    for name, runs in finished.items():
        tested = [r.get("tested") or {} for run in runs for r in run.records.values()]
        rates = [one[rate] for one in tested if rate in one]
        if len(rates) == size[name] == max(size.values()):
            means[name] = float(np.mean(rates))
    if not means:
        first = next(iter(finished))
        return first, f"{first}, the first: no run.json has rates of validation clips."
    best = max(means, key=lambda name: means[name])
    return best, (
        f"{best}: of the heads with the most finished trainings it has the best mean "
        f"{rate_name(leading_rate(heads))} on the validation clips "
        f"({means[best]:.2f} %). The test clips choose nothing."
    )


def results_section(heads: Heads, root: Path) -> Section:
    """Lay out the rates of all heads, the seeds of one, or the folds of one run."""
    finished = {name: runs for name, runs in heads.items() if runs}
    runs = [run for some in finished.values() for run in some]
    shown = heads
    if len(runs) == 1:
        parts, shown = run_parts(runs[0]), {}
    elif len(finished) == 1:
        shown = {**{f"seed_{run.seed}": [run] for run in runs}, "all": runs}
    content: list[Block] = []
    if shown:
        summaries, bars = summarise_heads(shown)
        parts = heads_parts(shown, summaries, root)
        title = f"{rate_name(leading_rate(shown))} of each head, with deviations"
        figure = draw_inline(lambda path: plot_scores(bars, path, ""), "scores", title)
        many = len(bars) > _MANY_BARS
        content.append(Folded(title, [figure]) if many else figure)
    return Section("results", "Results", [*parts, *content])


def comparison_section(heads: Heads, chosen: str, why: str) -> Section:
    """Say which heads differ; of many, each is compared with the chosen one."""

    def make() -> list[Block]:
        finished = [name for name, runs in heads.items() if runs]
        if len(finished) == 1:
            return ["There is one head: nothing to compare."]
        baseline = None
        if len(finished) <= _ALL_PAIRS:
            (_, table, *notes), data = compare_parts(heads)
        else:
            try:  # the head of this name in each corpus
                baseline = Path(chosen).name
                (_, table, *notes), data = compare_parts(heads, baseline)
            except InputError:  # there are several in one corpus
                baseline = chosen
                (_, table, *notes), data = compare_parts(heads, baseline)
        apart = [one["sentence"] for one in data["pairs"] if one["better"]]
        others = [one["sentence"] for one in data["pairs"] if not one["better"]]
        content: list[Block] = []
        if baseline:
            content.append(
                f"{len(finished)} heads make too many pairs to show: each is compared "
                f"with {baseline} of the same corpus alone. {why} sercorr compare "
                "compares every pair."
            )
        content.append("\n".join(apart) or _none_apart(data["pairs"]))
        if others and len(others) <= _MANY_PAIRS:
            content.append("\n".join(others))
        elif others:
            title = f"A sentence on each of the {len(others)} pairs without a winner"
            content.append(Folded(title, ["\n".join(others)]))
        if not baseline:
            title = (
                f"Differences in {rate_name(data['rate'])}: row less column, in "
                "points; in brackets: not apart"
            )
            content.append(
                draw_inline(lambda path: plot_comparison(data, path), "pairs", title)
            )
        count = len(data["pairs"])
        content.append(Folded(f"The tests of {count} pairs", [table, *notes]))
        return content

    return Section("comparison", "Comparison", _or_sentence(make))


def _none_apart(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Say that no head is better, and where that could not be tested."""
    untested = dict.fromkeys(one["missing"].get("corrected_t") for one in pairs)
    if None not in untested:
        reasons = "; ".join(map(str, untested))
        return f"Nothing can be claimed of any of the {len(pairs)} pairs: {reasons}."
    return (
        f"None of the {len(pairs)} pairs is apart: of no two that are compared may one "
        "be called better."
    )


def figures_section(heads: Heads, figures: Sequence[Mapping[str, Any]]) -> Section:
    """Draw an experiment's figures, see `sercorr.reporting.experiment_plots`."""

    def make() -> list[Block]:
        with tempfile.TemporaryDirectory() as folder:
            paths, notes = plot_what_can_be(heads, figures, folder, ".svg")
            drawn = [
                inline_svg(path.read_text(encoding="utf-8"), f"experiment{n}", title)
                for n, path in enumerate(paths)
                for title in [path.stem.replace("_", " ")]
            ]
        return [*drawn, *notes]

    return Section("figures", "Figures of the experiment", _or_sentence(make))


def calibration_section(heads: Heads, chosen: str) -> Section:
    """Say how well the probabilities fit what is right."""

    def make() -> list[Block]:
        finished = {name: runs for name, runs in heads.items() if runs}
        content: list[Block] = list(calibration_parts(heads))
        drawn = finished if len(finished) <= _PANELS else {chosen: finished[chosen]}
        title = "Share of right answers by confidence"
        if len(drawn) < len(finished):
            title += f", of {chosen} alone: {len(finished)} heads are too many to draw"
        figure = draw_inline(
            lambda path: plot_reliability(drawn, path), "reliability", title
        )
        return [content[0], figure, *content[1:]]

    return Section("calibration", "Calibration", _or_sentence(make))


def groups_section(heads: Heads, chosen: str, why: str) -> Section:
    """Show the results of one head for groups of clips, and of all by fold, speaker."""
    by_group = _or_sentence(lambda: list(group_parts(heads[chosen])))
    by_head = _or_sentence(lambda: [*_fold_parts(heads), *_speaker_parts(heads)])
    content: list[Block] = [
        *by_head,
        "### Groups of clips",
        *([why] if why else []),
        *by_group,
    ]
    return Section("groups", "Folds, speakers and groups", content)


def heads_section(heads: Heads, chosen: str, limit: int) -> Section:
    """Draw each head's confusion matrix, layer weights and curves.

    At most ``limit`` bytes are drawn, the chosen head first; the others are named.
    """
    finished = {name: runs for name, runs in heads.items() if runs}
    order = [chosen, *(name for name in finished if name != chosen)]
    made: dict[str, list[Block]] = {}
    left_out = []
    for number, name in enumerate(order):
        figures = _head_figures(finished[name], f"head{number}")
        size = sum(len(f.html.encode()) for f in figures if isinstance(f, Raw))
        if size > limit:
            left_out.append(name)
        else:
            made[name] = figures
            limit -= size
    content: list[Block] = [
        Folded(name, made[name], opened=name == chosen)
        for name in finished
        if name in made
    ]
    if left_out:
        content.append(
            f"Not drawn, as the file would become too large: {', '.join(left_out)}; "
            "give a larger --max-mb, or look at the plots in their folders."
        )
    return Section("heads", "Each head", content)


def _head_figures(runs: Sequence[Run], name: str) -> list[Block]:
    used = same_folds(runs)
    metrics = [fold for run in used for fold in run.metrics]
    labels = metrics[0]["labels"]
    title = f"Confusion matrix, {sum_of(used)}"
    pooled = pool_confusion(metrics)
    figures: list[Block] = [
        draw_inline(
            lambda path: plot_confusion(pooled, labels, path, title), f"{name}c", title
        )
    ]
    found = {run.seed: fold_weights(run.metrics, run.fold_folders) for run in runs}
    layers = {tuple(fold) for folds in found.values() for fold in folds.values()}
    if len(layers) > 1:
        figures.append("Layer weights are of different layers: not drawn.")
    elif layers:
        weights = found[runs[0].seed]
        if len(runs) > 1:
            weights = {f"seed {s}": _mean(f) for s, f in found.items() if f}
        over = ", mean over the folds of each seed" if len(runs) > 1 else ""
        figures.append(
            draw_inline(
                lambda path: plot_layer_weights(weights, path),
                f"{name}w",
                f"Layer weights, equation (1){over}",
            )
        )
    run = runs[0]
    histories = fold_histories(run.metrics, run.fold_folders)
    if histories:
        of = f" of seed {run.seed} alone" if len(runs) > 1 else ""
        figures.append(
            draw_inline(
                lambda path: plot_history(histories, path, run.select_by),
                f"{name}h",
                f"Training curves{of}",
            )
        )
    return figures


def _mean(folds: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    """Average the weights of each layer over folds."""
    numbers = next(iter(folds.values()))
    return {
        number: float(np.mean([fold[number] for fold in folds.values()]))
        for number in numbers
    }


def _fold_parts(heads: Heads) -> Parts:
    """Lay out the leading rate of each fold, averaged over the seeds."""
    rate = leading_rate(heads)
    rows = []
    for name, runs in heads.items():
        row = {"head": name}
        for number in sorted({fold["fold"] for run in runs for fold in run.metrics}):
            rates = [
                f[rate] for run in runs for f in run.metrics if f["fold"] == number
            ]
            row[f"fold {number}"] = f"{np.mean(rates):.2f}"
            if len(rates) < len(runs):
                row[f"fold {number}"] += f" ({len(rates)} of {len(runs)} seeds)"
        rows.append(row)
    if not any(len(runs) > 1 for runs in heads.values()):
        return [f"{RATES[rate][0]} of each fold:", [rows]]
    return [f"{RATES[rate][0]} of each fold, mean over the seeds:", [rows]]


def _speaker_parts(heads: Heads) -> Parts:
    """Lay out the share of right answers about each speaker's clips, by corpus."""
    tables: dict[str, list[dict[str, str]]] = {}
    parts: Parts = []
    for name, runs in heads.items():
        if not runs:
            continue
        pooled = pool_predictions(runs)
        known = sorted(set(pooled.speakers.tolist()) - {UNKNOWN})
        corpus = str(runs[0].record.get("test_corpus", runs[0].record.get("corpus")))
        rows = tables.setdefault(corpus, [])
        if 0 < len(known) <= _SPEAKERS:
            rates = {s: pooled.right[pooled.speakers == s].mean() for s in known}
            rows.append(
                {"head": name} | {s: f"{100 * r:.1f}" for s, r in rates.items()}
            )
    for corpus, rows in tables.items():
        of = f" of {corpus}" if len(tables) > 1 else ""
        if rows:
            parts += [f"WA % of each speaker{of}, all seeds:", [rows]]
        else:
            parts.append(
                f"The speakers{of} are unknown or more than {_SPEAKERS}: see the "
                "groups."
            )
    return parts


def _or_sentence(make: Callable[[], list[Block]]) -> list[Block]:
    """Make the content of a section, or say why it cannot be made."""
    try:
        return make()
    except InputError as error:
        return [f"This cannot be shown: {error}."]
