"""The command ``sercorr compare``: which heads differ, and what may be claimed.

Of one folder, it writes there ``comparison.json``, ``comparison.md`` and
``comparison.png``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sercorr.errors import InputError
from sercorr.evaluation.metrics import rate_name
from sercorr.evaluation.pooled import check_folds
from sercorr.evaluation.runs import Run, read_heads
from sercorr.files import require_writable, write_json, write_text
from sercorr.reporting.comparison import compare_parts
from sercorr.reporting.comparison_plot import plot_comparison
from sercorr.reporting.layout import Parts, render


def compare_command(given: argparse.Namespace) -> None:
    """Print a comparison and write its files.

    Arguments
    ---------
    given : argparse.Namespace
        As `sercorr.cli` parses it: ``folders``, ``baseline``, ``rate``, ``outfile``.
    """
    if given.outfile and Path(given.outfile).suffix != ".json":
        raise InputError(f"--outfile {given.outfile}: name it .json")
    heads = read_folders(given.folders)
    parts, data = compare_parts(heads, given.baseline, given.rate)
    if given.outfile:
        require_writable(Path(given.outfile).parent)
    written = []
    if len(given.folders) == 1:
        folder = require_writable(given.folders[0])
        page: Parts = ["# Comparison", *parts]
        page.append(f"![{rate_name(data['rate'])}](comparison.png)")
        plot_comparison(data, folder / "comparison.png")
        write_json(folder / "comparison.json", data)
        write_text(folder / "comparison.md", render(page, "markdown") + "\n")
        written.append(f"{folder}/comparison.json, comparison.md, comparison.png")
    if given.outfile:
        write_json(given.outfile, data)
        written.append(given.outfile)
    if written:
        parts = [*parts, f"written: {', '.join(written)}"]
    print(render(parts, "text"))


def read_folders(folders: Sequence[str | Path]) -> dict[str, list[Run]]:
    """Read the heads below some folders, under names as short as they can be.

    Raises
    ------
    InputError
        A folder is given twice, is missing or has no finished fold, or `check_folds`
        refuses one.
    """
    places = [Path(folder).resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{folder}: this folder is given twice; name it once")
    found: dict[Path, list[Run]] = {}
    shown: list[Path] = []
    for folder in folders:
        for head, runs in read_heads(folder).items():
            check_folds(runs)
            place = (Path(folder) / head).resolve()
            if place not in found:
                found[place] = runs
                single = len(folders) == 1 and head != "."
                shown.append(Path(head) if single else place)
    names = short_names(shown)
    return dict(zip(names, found.values(), strict=True))


def short_names(places: Sequence[Path]) -> list[str]:
    """Shorten paths that differ to the parts in which they do.

    Parts that all begin or end with are left out and, of paths of one length, any part
    that all have.

    Example
    -------
    >>> short_names([Path("/a/x/run/mean"), Path("/a/y/run/corr")])
    ['x/mean', 'y/corr']
    >>> short_names([Path("/a/x/run"), Path("/a/y/deep/run")])
    ['x', 'y/deep']
    >>> short_names([Path("/a/x"), Path("/a/x/run")])
    ['x', 'x/run']
    """
    parts = [list(place.parts) for place in places]
    if len(parts) == 1:
        return [places[0].name]
    if len({len(one) for one in parts}) == 1:
        columns = [one for one in zip(*parts, strict=True) if len(set(one)) > 1]
        return ["/".join(name) for name in zip(*columns, strict=True)]
    # one part is left of the shortest path
    while len({one[0] for one in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [one[1:] for one in parts]
    while len({one[-1] for one in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [one[:-1] for one in parts]
    return ["/".join(one) for one in parts]
