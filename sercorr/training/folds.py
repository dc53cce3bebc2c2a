"""All folds of an experiment: one process each, then the table and the plots."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sercorr.errors import InputError
from sercorr.evaluation.results import format_table, write_results
from sercorr.files import require_writable
from sercorr.training.experiment import Fold, prepare
from sercorr.training.settings import Settings, load_settings


def split_folds(arguments: Sequence[str]) -> tuple[list[int] | None, list[str]]:
    """Take ``--folds 1,3`` out of a command line.

    Returns
    -------
    tuple
        The folds, or None for all; and the other arguments.

    Example
    -------
    >>> split_folds(["train.yaml", "--folds", "1,3", "--seed", "2"])
    ([1, 3], ['train.yaml', '--seed', '2'])
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--folds")
    parsed, rest = parser.parse_known_args(list(arguments))
    if parsed.folds is None:
        return None, rest
    try:
        return sorted({int(fold) for fold in parsed.folds.split(",")}), rest
    except ValueError:
        raise InputError(
            f"--folds is {parsed.folds!r}; give numbers with commas, as in 1,2,3"
        ) from None


def settings_of_folds(
    arguments: Sequence[str],
) -> tuple[dict[int, Settings], list[str]]:
    """Load the settings of every wanted fold, so that bad ones are found first.

    Arguments
    ---------
    arguments : sequence of str
        A command line with ``--folds`` perhaps, but not ``--fold``.

    Returns
    -------
    tuple
        Settings by fold, and the arguments without ``--folds``.
    """
    folds, rest = split_folds(arguments)
    if any(argument.partition("=")[0] == "--fold" for argument in rest):
        raise InputError("--fold is for train.py; here say --folds, as in --folds 1,3")
    first = load_settings(rest, {"fold": (folds or [1])[0]})
    wanted = folds or list(range(1, first["n_folds"] + 1))
    settings = {fold: load_settings(rest, {"fold": fold}) for fold in wanted}
    return settings, rest


def run_folds(train_script: str | Path, arguments: Sequence[str]) -> int:
    """Train and test every missing fold in a fresh process; write the results.

    Arguments
    ---------
    train_script : path
        The recipe's ``train.py``.
    arguments : sequence of str
        What ``train.py`` takes, without ``--fold``; ``--folds 1,3`` for some only.

    Returns
    -------
    int
        0, or 1 if a fold failed. The others are run all the same.
    """
    all_settings, rest = settings_of_folds(arguments)
    first = next(iter(all_settings.values()))
    output_folder = require_writable(first["output_folder"])
    prepare(first)
    failed = {}
    runs = {fold: Fold(settings) for fold, settings in all_settings.items()}
    for here in runs.values():  # what is refused is refused before any training
        here.claim()
    for fold, here in runs.items():
        if here.is_finished():
            print(f"fold {fold}: finished before, skipped", flush=True)
            continue
        print(f"fold {fold} of {first['n_folds']}", flush=True)
        command = [sys.executable, str(train_script), *rest, "--fold", str(fold)]
        status = subprocess.run(command, check=False).returncode
        if status:
            failed[fold] = status
            print(f"fold {fold} failed (exit status {status})", file=sys.stderr)
    return report_folds(output_folder, first, failed)


def report_folds(
    output_folder: Path, settings: Settings, failed: dict[int, int]
) -> int:
    """Write and print the results of the folds that are finished."""
    if any(output_folder.glob("fold_*/metrics.json")):
        identity, n_folds = settings.identity(), settings["n_folds"]
        del identity["fold"]
        results = write_results(output_folder, identity, n_folds)
        print(format_table(results, identity, n_folds))
        print(f"written: {output_folder}/results.json, results.md and plots/")
    if failed:
        folds = ", ".join(map(str, failed))
        print(
            f"error: failed folds: {folds}. Their messages stand above. What is done "
            "is kept: run the same command again to resume the missing folds",
            file=sys.stderr,
        )
        return 1
    return 0
