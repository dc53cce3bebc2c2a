"""All benchmarks by name, in the order in which they run."""

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    extraction,
    grid,
    growth,
    head,
    inference,
    large_store,
    memory,
    pieces,
    scaling,
    update,
)
from benchmarks.common import FULL, QUICK, Bench
from sercorr.fast.memory import keep_freed_memory
from sercorr.files import require_writable

BENCHMARKS = {
    "extraction": extraction.run,
    "update": update.run,
    "head": head.run,
    "grid": grid.run,
    "memory": memory.run,
    "large_store": large_store.run,
    "growth": growth.run,
    "inference": inference.run,
    "pieces": pieces.run,
    "scaling": scaling.run,
}


def run(
    names: Sequence[str], output: str | Path, quick: bool = False
) -> dict[str, dict[str, Any]]:
    """Run benchmarks, print their tables, write ``<output>/<name>.json`` for each."""
    require_writable(output)
    results = {}
    with tempfile.TemporaryDirectory(prefix="sercorr-benchmarks-") as folder:
        for name in names:
            bench = Bench(Path(folder), Path(output), QUICK if quick else FULL)
            results[name] = bench.finish(name, BENCHMARKS[name](bench))
    return results


def main() -> None:
    """Run all benchmarks, or those that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and memory; see benchmarks/README.md.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to try the programs out"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(BENCHMARKS),
        help="run this one alone; may be given several times",
    )
    parser.add_argument(
        "--output", default="benchmarks/results", help="folder of the JSON files"
    )
    arguments = parser.parse_args()
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    keep_freed_memory()  # as the recipes' programs do
    start = time.monotonic()
    run(arguments.only or list(BENCHMARKS), arguments.output, arguments.quick)
    print(f"{time.monotonic() - start:.0f} s; JSON files in {arguments.output}")
