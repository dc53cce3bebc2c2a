"""Writing results: of one fold, of a cross-validation, of seeds, of many heads.

- ``fold_K/plots/``: after one fold;
- ``results.json``, ``results.md``, ``plots/``: of the folds ``fold_K`` beside them;
- ``seeds.json``, ``seeds.md``, ``seeds.png``: of the folders ``seed_S`` beside them;
- ``grid.json``, ``grid.md``, ``grid.png``: of all heads below;
- ``figures/``: of an experiment.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.evaluation.history import Record, read_history
from sercorr.evaluation.metrics import rate_name
from sercorr.evaluation.pooled import check_fold, check_folds
from sercorr.evaluation.results import (
    FIGURES,
    pool_confusion,
    summarise,
    summarise_seeds,
)
from sercorr.evaluation.runs import (
    Run,
    agreed_rate,
    read_experiment_record,
    read_fold,
    read_heads,
    shown_settings,
)
from sercorr.files import read_json, write_json, write_text
from sercorr.reporting.experiment_plots import plot_what_can_be
from sercorr.reporting.layout import Parts, render
from sercorr.reporting.paper import describe
from sercorr.reporting.plots import (
    plot_confusion,
    plot_history,
    plot_layer_weights,
    plot_scores,
)
from sercorr.reporting.tables import heads_parts, leading_rate, run_parts

_TABLES = {
    "grid": ("json", "md", "png"),
    "comparison": ("json", "md", "png"),
    "report": ("html", "md", "tex"),
}
"""Files that the commands write over several heads: name -> endings."""


def report_folder(folder: str | os.PathLike) -> str:
    """Write the results below a folder again, and lay them out for a terminal.

    Arguments
    ---------
    folder : path
        The output folder of one run (with ``fold_1``, ...), of one head with seeds
        (``seed_1``, ...) or of several heads, or one fold's folder.

    Returns
    -------
    str
        The tables, and which files were written.

    Raises
    ------
    InputError
        There is no finished fold, or `check_folds` refuses one.
    """
    folder = Path(folder)
    if (folder / "metrics.json").exists():
        check_fold(folder, read_fold(folder)[0])
        plot_fold(folder)
        return describe_fold(folder)
    heads = read_heads(folder)
    check_folds(run for runs in heads.values() for run in runs)
    text = ""
    for head, runs in heads.items():
        for run in runs:
            text = _write_run(run)
        if runs and runs[0].seed is not None:
            seeds = {run.folder.name: [run] for run in runs}
            text = _write_table(folder / head, "seeds", {**seeds, "all": runs})
    if "." in heads:
        return text
    text = _write_table(folder, "grid", heads)
    if figures := read_experiment_record(folder).get("figures"):
        paths, notes = plot_what_can_be(heads, figures, folder / "figures")
        written = [f"written: {', '.join(map(str, paths))}"] * bool(paths)
        text = "\n".join([text, *notes, *written])
    return text


def remove_tables(folder: str | os.PathLike) -> list[Path]:
    """Remove the tables, comparison and report of several heads; give their paths.

    A name is taken for one of these where the first file of its kind is there:
    a ``report.md`` without ``report.html`` is somebody else's.
    """
    removed = []
    for name, endings in _TABLES.items():
        paths = [Path(folder) / f"{name}.{ending}" for ending in endings]
        for path in paths if paths[0].exists() else ():
            if path.exists():
                path.unlink()
                removed.append(path)
    return removed


def plot_fold(folder: str | os.PathLike) -> None:
    """Draw ``plots/`` of a tested fold."""
    folder = Path(folder)
    metrics, record = read_fold(folder)
    _draw(folder, [metrics], [folder], agreed_rate([record]))


def describe_fold(folder: str | os.PathLike) -> str:
    """Say in one line how a tested fold went."""
    metrics, record = read_fold(Path(folder))
    shown = dict.fromkeys((agreed_rate([record]), "wa", "ua"))
    rates = ", ".join(f"{rate_name(rate)} {metrics[rate]:.2f} %" for rate in shown)
    line = f"fold {metrics['fold']}: {metrics['n']} test clips, {rates}"
    if tested := record.get("tested"):
        epochs = f"epoch {tested['epoch']} of {tested['epochs']}"
        rate = tested.get("select_by", "wa")
        best = f"best by validation {rate_name(rate)}"
        line += f" ({epochs}, {best}, {tested[f'valid_{rate}']:.2f} %)"
    return line


def read_layer_weights(path: Path) -> dict[int, float]:
    """Read a fold's ``layer_weights.json``: number of a layer -> its weight.

    The numbers are 0, 1, 2, ... where ``layers`` does not say otherwise.
    """
    content = read_json(path)
    weights = content.get("weights") if isinstance(content, dict) else None
    if not (
        isinstance(weights, list)
        and weights
        and all(isinstance(w, int | float) and math.isfinite(w) for w in weights)
    ):
        raise InputError(
            f'{path}: must be {{"weights": [...]}} with one finite number per layer '
            f"(found {str(content)[:60]}); remove it"
        )
    layers = content.get("layers", list(range(len(weights))))
    whole = isinstance(layers, list) and all(type(n) is int for n in layers)
    if not whole or len(layers) != len(weights) or sorted(set(layers)) != layers:
        raise InputError(
            f"{path}: its layers are {str(layers)[:60]}, not the increasing numbers of "
            f"{len(weights)} layers; remove it"
        )
    return dict(zip(layers, weights, strict=True))


def fold_weights(
    metrics: Sequence[Mapping[str, Any]], folders: Sequence[Path]
) -> dict[str, dict[int, float]]:
    """Read the layer weights of the folds that have them.

    Returns
    -------
    dict
        ``fold K`` -> what `read_layer_weights` gives.
    """
    paths = _by_fold(metrics, folders, "layer_weights.json")
    return {name: read_layer_weights(at) for name, at in paths.items() if at.exists()}


def fold_histories(
    metrics: Sequence[Mapping[str, Any]], folders: Sequence[Path]
) -> dict[str, list[Record]]:
    """Read the histories of the folds that have any: ``fold K`` -> epochs."""
    paths = _by_fold(metrics, folders, "history.json")
    found = {name: read_history(path) for name, path in paths.items()}
    return {name: records for name, records in found.items() if records}


def _by_fold(
    metrics: Sequence[Mapping[str, Any]], folders: Sequence[Path], file: str
) -> dict[str, Path]:
    folds = (fold["fold"] for fold in metrics)
    return {f"fold {n}": at / file for n, at in zip(folds, folders, strict=True)}


def _write_run(run: Run) -> str:
    plots = _draw(run.folder, run.metrics, run.fold_folders, run.select_by)
    write_json(run.folder / "results.json", summarise(run.metrics))
    parts = run_parts(run)
    page: Parts = ["# Results", *parts, "## Plots"]
    page += [f"![{path.stem}](plots/{path.name})" for path in plots]
    rows = [
        {"setting": f"`{name}`", "value": f"`{json.dumps(value)}`".replace('"', "")}
        for name, value in shown_settings(run.record).items()
        if name != "fold"
    ]
    if rows:
        page += ["## Settings", [rows]]
    write_text(run.folder / "results.md", render(page, "markdown") + "\n")
    written = f"written: {run.folder}/results.json, results.md and plots/"
    return render([*parts, written], "text")


def summarise_heads(
    heads: Mapping[str, Sequence[Run]],
) -> tuple[dict[str, dict[str, Any]], dict[str, list[float | None]]]:
    """Summarise the seeds of each head that has any finished fold.

    Returns
    -------
    summaries : dict
        Head -> what `summarise_seeds` gives, and ``pooling``: what was trained.
    bars : dict
        What `plot_scores` draws of them: the leading rate.
    """
    summaries: dict[str, dict[str, Any]] = {}
    bars, lead = {}, leading_rate(heads)
    for head, runs in heads.items():
        if runs:
            pooling = "; ".join(dict.fromkeys(describe(run.record) for run in runs))
            summary = {"pooling": pooling, **summarise_seeds(runs)}
            finished, n_folds = summary["folds"], summary["n_folds"]
            note = f"\n{finished} of {n_folds} folds" if finished < n_folds else ""
            if left_out := len(summary["left_out"]):
                note += f", {len(runs) - left_out} of {len(runs)} seeds"
            bars[f"{head}{note}"] = [summary[figure][lead] for figure in FIGURES]
            summaries[head] = summary
    return summaries, bars


def _write_table(folder: Path, name: str, heads: Mapping[str, Sequence[Run]]) -> str:
    """Write what several heads, or the seeds of one, give together."""
    (summaries, bars), lead = summarise_heads(heads), leading_rate(heads)
    parts = heads_parts(heads, summaries, folder)
    page: Parts = [
        f"# {name.capitalize()}",
        *parts,
        f"![{rate_name(lead)}]({name}.png)",
    ]
    write_json(folder / f"{name}.json", summaries)
    write_text(folder / f"{name}.md", render(page, "markdown") + "\n")
    title = "Weighted accuracy" if lead == "wa" else rate_name(lead)
    plot_scores(bars, folder / f"{name}.png", title)
    written = f"written: {folder}/{name}.json, {name}.md, {name}.png"
    return render([*parts, written], "text")


def _draw(
    folder: Path,
    metrics: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    select_by: str,
) -> list[Path]:
    """Draw ``plots/`` of one fold or several, and give their paths.

    Layer weights (``layer_weights.json``) and training curves (``history.json``) are
    drawn where the folds' folders have them.
    """
    numbers = [str(fold["fold"]) for fold in metrics]
    weights = fold_weights(metrics, folders)
    histories = fold_histories(metrics, folders)
    if len({tuple(fold) for fold in weights.values()}) > 1:
        found = "; ".join(
            f"{name}: {', '.join(map(str, fold))}" for name, fold in weights.items()
        )
        raise InputError(
            f"{folder}: the folds' layer_weights.json differ in their layers "
            f"({found}); the folds are of different experiments"
        )
    plots = [folder / "plots/confusion.png"]
    title = f"Confusion matrix, fold {numbers[0]}"
    if len(numbers) > 1:
        title = f"Confusion matrix, folds {', '.join(numbers)} pooled"
    plot_confusion(pool_confusion(metrics), metrics[0]["labels"], plots[0], title)
    if weights:
        plots.append(folder / "plots/layer_weights.png")
        plot_layer_weights(weights, plots[-1])
    if histories:
        plots.append(folder / "plots/training_curves.png")
        plot_history(histories, plots[-1], select_by)
    return plots
