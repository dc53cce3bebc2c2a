"""Writing results: of one fold, of a cross-validation, of seeds, of many heads.

- ``fold_K/plots/``: after one fold;
- ``results.json``, ``results.md``, ``plots/``: of the folds ``fold_K`` beside them;
- ``seeds.json``, ``seeds.md``: of the folders ``seed_S`` beside them;
- ``grid.json``, ``grid.md``, ``grid.png``: of all heads below.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.evaluation.folders import (
    Folds,
    find_heads,
    numbered,
    read_fold,
    read_folds,
    read_record,
    read_seeds,
    settings_of,
)
from sercorr.evaluation.history import Record, read_history
from sercorr.evaluation.results import pool_confusion, summarise, summarise_seeds
from sercorr.files import read_json, write_json, write_text
from sercorr.reporting.contents import (
    Seeds,
    count_folds,
    fold_line,
    heads_parts,
    name_of,
    results_parts,
    seeds_parts,
)
from sercorr.reporting.plots import (
    plot_confusion,
    plot_history,
    plot_layer_weights,
    plot_scores,
)
from sercorr.reporting.tables import as_markdown, as_text


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
        Nothing is finished there, or a file is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if (folder / "metrics.json").exists():
        return f"{report_fold(folder)}\nwritten: {folder}/plots/"
    if numbered(folder, "seed"):
        seeds = _read_some_seeds(folder)
        _write_seeds(folder, seeds)
        parts, written = seeds_parts(seeds), "seeds.json and seeds.md"
    elif numbered(folder, "fold"):
        folds = read_folds(folder)
        _write_folds(folder, folds)
        parts, written = results_parts(folds), "results.json, results.md and plots/"
    else:
        heads, unfinished = _read_heads(folder)
        _write_heads(folder, heads, unfinished)
        parts, written = heads_parts(heads, unfinished), "grid.json, grid.md, grid.png"
    return f"{as_text(parts)}\n\nwritten: {folder}/{written}"


def report_fold(folder: str | os.PathLike) -> str:
    """Draw the pictures of a tested fold, and say in one line how it went.

    Arguments
    ---------
    folder : path
        The fold's folder.

    Returns
    -------
    str
        As `sercorr.reporting.contents.fold_line`.
    """
    folder = Path(folder)
    metrics = plot_fold(folder)
    return fold_line(metrics, read_record(folder))


def plot_fold(folder: str | os.PathLike) -> dict[str, Any]:
    """Draw ``plots/`` in the folder of a tested fold.

    Returns
    -------
    dict
        Its metrics.
    """
    folder = Path(folder)
    metrics = read_fold(folder)
    _draw(folder, [metrics], *_curves({metrics["fold"]: folder}))
    return metrics


def write_results(
    folder: str | os.PathLike, n_folds: int | None = None
) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and the plots of the finished folds.

    The learned layer weights (``fold_K/layer_weights.json``, ``{"weights": [...]}``)
    and training curves (``fold_K/history.json``) are drawn where they are there.

    Arguments
    ---------
    folder : path
        The folder with ``fold_1``, ``fold_2``, ...
    n_folds : int or None
        Number of folds of the whole cross-validation. None: as ``run.json`` says.

    Returns
    -------
    dict
        What `summarise` gives, which is what ``results.json`` holds.

    Raises
    ------
    InputError
        What `read_folds` raises, or a file is broken. Nothing is written then.
    """
    return _write_folds(Path(folder), read_folds(folder, n_folds))


def write_grid(root: str | os.PathLike) -> dict[str, Any]:
    """Write the results of every head below a folder, then those of all together.

    Arguments
    ---------
    root : path
        Has ``[<upstream>/][<corpus>/]<head>/[seed_S/]fold_K``.

    Returns
    -------
    dict
        What ``grid.json`` holds: head -> ``pooling`` (what was run), ``n_folds``, what
        `summarise_seeds` gives, and ``runs``, a list with ``seed``, ``folds`` (their
        numbers), ``mean`` and ``std`` of each; the one run of a head without folders
        of seeds has the ``seed`` None. A head's ``seeds.json`` holds the same.
    """
    return _write_heads(Path(root), *_read_heads(Path(root)))


def _read_heads(root: Path) -> tuple[dict[str, Seeds], list[str]]:
    """Read the heads that have finished folds, and name those that have none."""
    found = {head: read_seeds(at) for head, at in find_heads(root).items()}
    heads: dict[str, Seeds] = {h: seeds for h, seeds in found.items() if seeds}
    if not heads:
        raise InputError(
            f"{root}: no finished fold below it (no fold_K/metrics.json); "
            "run the folds first"
        )
    return heads, [head for head in found if head not in heads]


def _read_some_seeds(folder: Path) -> Seeds:
    seeds = read_seeds(folder)
    if not seeds:
        raise InputError(
            f"{folder}: no finished fold (no seed_S/fold_K/metrics.json); "
            "run the folds first"
        )
    return seeds


def _write_heads(
    root: Path, heads: Mapping[str, Seeds], unfinished: Sequence[str]
) -> dict[str, Any]:
    grid = {head: _write_seeds(root / head, seeds) for head, seeds in heads.items()}
    write_json(root / "grid.json", grid)
    parts = heads_parts(heads, unfinished)
    page = as_markdown("Grid", parts, {"WA of the heads": "grid.png"}, {})
    write_text(root / "grid.md", page)
    plot_scores(
        {_bar(head, heads[head]): _spreads(entry) for head, entry in grid.items()},
        root / "grid.png",
        "Weighted accuracy of the heads",
    )
    return grid


def _write_seeds(folder: Path, seeds: Seeds) -> dict[str, Any]:
    """Write every seed's results and, where there are folders of seeds, the whole."""
    runs = [
        {
            "seed": seed,
            **_write_folds(folder if seed is None else folder / f"seed_{seed}", folds),
        }
        for seed, folds in seeds.items()
    ]
    first = next(iter(seeds.values()))
    summary = {
        "pooling": name_of(seeds),
        "n_folds": first.n_folds,
        **summarise_seeds(runs),
        "runs": runs,
    }
    for run in runs:
        run["folds"] = [fold["fold"] for fold in run["folds"]]
    if None not in seeds:
        write_json(folder / "seeds.json", summary)
        page = as_markdown("Seeds", seeds_parts(seeds), {}, _listed(first, "seed"))
        write_text(folder / "seeds.md", page)
    return summary


def _write_folds(folder: Path, folds: Folds) -> dict[str, Any]:
    results = summarise(folds.metrics)
    numbers = [metrics["fold"] for metrics in folds.metrics]
    curves = _curves({fold: folder / f"fold_{fold}" for fold in numbers})
    write_json(folder / "results.json", results)
    plots = _draw(folder, folds.metrics, *curves)
    page = as_markdown("Results", results_parts(folds), plots, _listed(folds))
    write_text(folder / "results.md", page)
    return results


def _listed(folds: Folds, *varying: str) -> dict[str, Any]:
    """Give the settings that all runs of a page share."""
    settings = settings_of(folds.record)
    source = folds.record.get("upstream_source")
    listed = {"upstream_source": source} if settings and source else {}
    listed |= settings
    return {k: v for k, v in listed.items() if k not in ("fold", *varying)}


def _bar(head: str, seeds: Seeds) -> str:
    """Name a head's bar, and say so where folds are missing."""
    whole = not any(folds.missing for folds in seeds.values())
    return head if whole else f"{head}\n{count_folds(seeds)} folds"


def _spreads(summary: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    """Give the mean WA, and its deviations over folds and over seeds."""
    std, over_seeds = summary["std"], summary["std_over_seeds"]
    return summary["mean"]["wa"], std and std["wa"], over_seeds and over_seeds["wa"]


def _curves(
    folders: Mapping[int, Path],
) -> tuple[dict[str, list[float]], dict[str, list[Record]]]:
    """Read the layer weights and training histories of the folds that have them."""
    weights, histories = {}, {}
    for fold, folder in folders.items():
        if (folder / "layer_weights.json").exists():
            weights[f"fold {fold}"] = _read_layer_weights(folder / "layer_weights.json")
        records = read_history(folder / "history.json")
        if records:
            histories[f"fold {fold}"] = records
    if len({len(values) for values in weights.values()}) > 1:
        sizes = ", ".join(f"{name}: {len(v)}" for name, v in weights.items())
        raise InputError(
            f"{next(iter(folders.values())).parent}: the folds' layer_weights.json "
            f"differ in their number of layers ({sizes}); the folds are of different "
            "experiments"
        )
    return weights, histories


def _draw(
    folder: Path,
    metrics: Sequence[Mapping[str, Any]],
    weights: Mapping[str, list[float]],
    histories: Mapping[str, list[Record]],
) -> dict[str, str]:
    """Draw ``plots/``; give the title and the address of each picture."""
    numbers = ", ".join(str(fold["fold"]) for fold in metrics)
    some = len(metrics) > 1
    plots = {"Confusion matrix": "plots/confusion.png"}
    plot_confusion(
        pool_confusion(metrics),
        metrics[0]["labels"],
        folder / plots["Confusion matrix"],
        f"Confusion matrix, fold{'s' * some} {numbers}{' pooled' * some}",
    )
    if weights:
        plots["Layer weights"] = "plots/layer_weights.png"
        plot_layer_weights(weights, folder / plots["Layer weights"])
    if histories:
        plots["Training curves"] = "plots/training_curves.png"
        plot_history(histories, folder / plots["Training curves"])
    return plots


def _read_layer_weights(path: Path) -> list[float]:
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
    return weights
