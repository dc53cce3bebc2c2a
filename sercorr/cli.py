"""The program ``sercorr``, also ``python -m sercorr``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sercorr import __version__
from sercorr.errors import run_program
from sercorr.evaluation.results import format_table, write_results
from sercorr.features.cache_command import add_cache_parser
from sercorr.files import read_json


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line.

    Returns
    -------
    argparse.ArgumentParser
        Each command sets ``run``, a function of the parsed arguments.
    """
    parser = argparse.ArgumentParser(
        prog="sercorr", description="Speech emotion recognition: caches and results."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_cache_parser(commands)
    results = commands.add_parser(
        "results", help="write results.json, results.md and the plots again"
    )
    results.add_argument("folder", metavar="FOLDER", help="the output_folder of a run")
    results.set_defaults(run=lambda given: rewrite_results(given.folder))
    return parser


def rewrite_results(output_folder: str | Path) -> None:
    """Write the results of the finished folds again and print them.

    Arguments
    ---------
    output_folder : path
        Holds ``fold_1``, ``fold_2``, ...; the settings that ``results.md`` lists are
        those of the first of them that has a ``run.json``.

    Raises
    ------
    InputError
        No fold is finished, or a file is broken.
    """
    folder = Path(output_folder)
    runs = sorted(folder.glob("fold_*/run.json"))
    settings = read_json(runs[0]).get("settings") if runs else None
    print(format_table(write_results(folder, settings)))
    print(f"written: {folder}/results.json, results.md and plots/")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status."""
    given = make_parser().parse_args(arguments)
    run_program(lambda: given.run(given))


if __name__ == "__main__":
    main(sys.argv[1:])
