"""All benchmarks by name, in the order in which they run."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import extraction, grid, growth, head, memory, update
from benchmarks.common import FULL, QUICK, Bench
from sercorr.files import require_writable

BENCHMARKS = {
    "extraction": extraction.run,
    "update": update.run,
    "head": head.run,
    "grid": grid.run,
    "memory": memory.run,
    "growth": growth.run,
}


def run(
    names: Sequence[str], output: str | Path, quick: bool = False
) -> dict[str, dict[str, Any]]:
    """Run benchmarks, print their tables, write ``<output>/<name>.json`` for each.

    Arguments
    ---------
    names : sequence of str
        Keys of `BENCHMARKS`.
    output : path
        Folder, made if missing.
    quick : bool
        Tiny sizes, which say nothing about speed.

    Returns
    -------
    dict
        Name -> what its file holds.
    """
    require_writable(output)
    results = {}
    with tempfile.TemporaryDirectory(prefix="sercorr-benchmarks-") as folder:
        for name in names:
            bench = Bench(Path(folder), Path(output), QUICK if quick else FULL)
            results[name] = bench.finish(name, BENCHMARKS[name](bench))
    return results
