"""All folds of an experiment: one process each, then the table and the plots."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.files import require_writable
from sercorr.reporting.report import report_folder
from sercorr.training.dataio import plan_data
from sercorr.training.program import parse_arguments, parse_numbers, take_options
from sercorr.training.run import Run
from sercorr.training.settings import Settings, plain_tree


def settings_of_folds(
    arguments: Sequence[str], overrides: Mapping[str, Any] | None = None
) -> dict[int, Settings]:
    """Parse a command line into fold -> settings.

    ``--folds 1,3`` or ``--fold 1`` asks for some folds only; ``overrides`` are put
    over what the command line says.
    """
    given, rest = take_options(("folds", "fold"), arguments)
    settings = parse_arguments(rest).override(overrides or {})
    n_folds = plain_tree(settings.tree).get("n_folds", 1)
    text = given.get("folds", given.get("fold"))
    if text is None:
        wanted = list(range(1, n_folds + 1))
    else:
        wanted = sorted(parse_numbers("folds", text))
    return {fold: settings.override({"fold": fold}) for fold in wanted}


def run_folds(train_script: str | Path, arguments: Sequence[str]) -> int:
    """Train and test every missing fold in a fresh process; write the results.

    What is refused is refused before any fold is trained.

    ``train_script`` is the recipe's ``train.py``, ``arguments`` what it takes, with
    ``--folds 1,3`` for some folds only. Returns 0, or 1 if a fold failed; the others
    are run all the same.
    """
    by_fold = settings_of_folds(arguments)
    hparams = {fold: settings.load() for fold, settings in by_fold.items()}
    first = next(iter(hparams.values()))
    manifests = plan_data(first)
    runs = {f: Run(by_fold[f], own, manifests) for f, own in hparams.items()}
    require_writable(first["output_folder"])
    manifests.write()
    manifests.report()
    _, rest = take_options(("folds", "fold"), arguments)
    failed = {}
    for fold, run in runs.items():
        if run.is_finished:
            print(f"fold {fold}: finished before, skipped", flush=True)
            continue
        print(f"fold {fold} of {first['n_folds']}", flush=True)
        command = [sys.executable, str(train_script), *rest, "--fold", str(fold)]
        status = subprocess.run(command, check=False).returncode
        if status:
            failed[fold] = status
            print(f"fold {fold} failed (exit status {status})", file=sys.stderr)
    if any(run.is_finished for run in runs.values()):
        print(report_folder(first["output_folder"]))
    if failed:
        print(
            f"error: failed folds: {', '.join(map(str, failed))}. Their messages stand "
            "above. What is done is kept: run the same command again to resume them",
            file=sys.stderr,
        )
        return 1
    return 0
