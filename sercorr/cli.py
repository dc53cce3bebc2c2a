"""The command ``sercorr``. Commands import what they need when they are run."""

import argparse
from collections.abc import Sequence

from sercorr import __version__
from sercorr.errors import run_program


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line.

    Returns
    -------
    argparse.ArgumentParser
        Each command sets ``run``, a function of the parsed arguments.
    """
    parser = argparse.ArgumentParser(
        prog="sercorr",
        description="Speech emotion recognition: results and stored features. "
        "Training is done by the programs in recipes/.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    results = commands.add_parser(
        "results",
        help="print the results of a run, a grid or a fold, and write them again",
        description="Print the results below FOLDER (folds, seeds, heads of a grid), "
        "and write results.json, results.md and the plots again.",
    )
    results.add_argument("folder", metavar="FOLDER", help="the output_folder of a run")
    results.set_defaults(run=_results)
    _add_cache(commands)
    return parser


def _add_cache(commands: argparse._SubParsersAction) -> None:
    cache = commands.add_parser("cache", help="look after stored features")
    actions = cache.add_subparsers(required=True, metavar="COMMAND")
    info = actions.add_parser("info", help="list what is there: models, clips, bytes")
    verify = actions.add_parser("verify", help="compare every byte with the checksums")
    prune = actions.add_parser("prune", help="remove leftovers and damaged files")
    for action in (info, verify, prune):
        action.add_argument("folder", metavar="FOLDER", help="the cache_folder")
    verify.add_argument(
        "--remove", action="store_true", help="delete the bad files that are found"
    )
    prune.add_argument(
        "--signature",
        metavar="NAME",
        help="delete this folder of features, too (its name, or the digits in it)",
    )
    prune.add_argument(
        "--older-than",
        type=float,
        metavar="DAYS",
        help="delete every folder of features, too, to which nothing was added since",
    )
    prune.add_argument(
        "--dry-run", action="store_true", help="only say what would be deleted"
    )
    info.set_defaults(run=_cache_info)
    verify.set_defaults(run=_cache_verify)
    prune.set_defaults(run=_cache_prune)


def _results(given: argparse.Namespace) -> None:
    from sercorr.reporting.report import report_folder

    print(report_folder(given.folder))


def _cache_info(given: argparse.Namespace) -> None:
    from sercorr.features.maintenance import show_info

    show_info(given.folder)


def _cache_verify(given: argparse.Namespace) -> int:
    from sercorr.features.maintenance import verify_cache

    return verify_cache(given.folder, given.remove)


def _cache_prune(given: argparse.Namespace) -> None:
    from sercorr.features.maintenance import prune_cache

    prune_cache(given.folder, given.signature, given.older_than, given.dry_run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status."""
    given = make_parser().parse_args(arguments)
    run_program(lambda: given.run(given))
