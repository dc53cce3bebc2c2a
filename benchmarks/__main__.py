"""Measure speed and memory: ``python -m benchmarks``; see benchmarks/README.md."""

import argparse
import logging
import time

from benchmarks import suite
from sercorr.errors import run_program


def main() -> None:
    """Run all benchmarks, or those that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to try the programs out"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(suite.BENCHMARKS),
        help="run this one alone; may be given several times",
    )
    parser.add_argument(
        "--output", default="benchmarks/results", help="folder of the JSON files"
    )
    arguments = parser.parse_args()
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    start = time.monotonic()
    names = arguments.only or list(suite.BENCHMARKS)
    suite.run(names, arguments.output, arguments.quick)
    print(f"{time.monotonic() - start:.0f} s; JSON files in {arguments.output}")


if __name__ == "__main__":
    run_program(main)
