"""What a grid reads and writes: the heads' settings, and the table of their results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ruamel.yaml

from sercorr.errors import InputError
from sercorr.evaluation.results import write_results
from sercorr.files import write_json, write_text
from sercorr.reporting.plots import plot_scores
from sercorr.training.settings import Settings

SHARED = frozenset(
    {
        "data_folder",
        "output_folder",
        "manifest_folder",
        "cache_folder",
        "cache_dtype",
        "preload",
        "fold",
        "n_folds",
        "labels",
        "upstream_source",
        "upstream_revision",
        "upstream_save_path",
        "fold_folder",
        "checkpoint_folder",
        "num_workers",
        "max_batch_seconds",
    }
)
"""Settings that all heads of a grid share: one cannot be overridden for one head."""


def read_grid(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a grid file: name -> overrides of one head.

    Arguments
    ---------
    path : path
        YAML, for instance
        ``{att4: {pooling: attentive_corr, n_heads: 4}, mean: {pooling: mean}}``.

    Returns
    -------
    dict
        In the file's order.

    Raises
    ------
    InputError
        No such file, not a mapping of mappings, a name that is no folder's name, or a
        setting that all heads share.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such grid file")
    try:
        text = path.read_text(encoding="utf-8")
        grid = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except ruamel.yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(grid, dict) or not grid:
        raise InputError(f"{path}: a mapping from names to settings was expected")
    for name, overrides in grid.items():
        plain = isinstance(name, str) and name.replace("-", "_").isidentifier()
        if not plain and not (
            isinstance(name, str) and name.replace(".", "").isalnum()
        ):
            raise InputError(
                f"{path}: {name!r} cannot name a folder; use letters, digits, _ and -"
            )
        if not isinstance(overrides or {}, dict):
            raise InputError(f"{path}: {name}: a mapping of settings was expected")
        shared = sorted(SHARED & (overrides or {}).keys())
        if shared:
            raise InputError(
                f"{path}: {name}: {shared[0]} is the same for all heads; give it on "
                "the command line"
            )
    return {name: dict(overrides or {}) for name, overrides in grid.items()}


def report_grid(root: Path, settings: Mapping[str, Settings]) -> None:
    """Write each head's results as ``run_folds.py`` does, then all heads' together.

    ``grid.json``, ``grid.md`` and ``grid.png`` in ``root`` compare the heads.
    """
    scores: dict[str, Any] = {}
    for name, own in settings.items():
        if not any((root / name).glob("fold_*/metrics.json")):
            continue
        identity = own.identity()
        del identity["fold"]
        results = write_results(root / name, identity, own["n_folds"])
        scores[name] = {
            "folds": [fold["fold"] for fold in results["folds"]],
            "mean": results["mean"],
            "std": results["std"],
        }
    if not scores:
        return
    rows = [("head", "folds", "WA % (std)", "UA % (std)")] + [
        (
            name,
            ",".join(map(str, score["folds"])),
            *(f"{score['mean'][k]:.2f} ({score['std'][k]:.2f})" for k in ("wa", "ua")),
        )
        for name, score in scores.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    table = [f"| {' | '.join(row)} |" for row in rows]
    table.insert(1, "|---" * len(widths) + "|")
    write_json(root / "grid.json", scores)
    write_text(
        root / "grid.md",
        "# Grid\n\nMean and standard deviation over folds.\n\n"
        + "\n".join(table)
        + "\n\n![WA of the heads](grid.png)\n",
    )
    plot_scores(
        {name: score["mean"]["wa"] for name, score in scores.items()},
        {name: score["std"]["wa"] for name, score in scores.items()},
        root / "grid.png",
        "Weighted accuracy of the heads",
    )
    print("\n".join(lines))
    print(f"mean and standard deviation over folds; written: {root}/grid.md, grid.png")
