"""All folds of an experiment: one process each, then the table and the plots."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.data.manifests import ManifestPlan
from sercorr.files import require_writable
from sercorr.reporting.report import report_folder
from sercorr.training.dataio import plan_data
from sercorr.training.launcher.launch import Stage, read_launch, run_stages
from sercorr.training.launcher.options import Launch, threads_of
from sercorr.training.launcher.tasks import extraction_works
from sercorr.training.launcher.works import Work
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
    ``--folds 1,3`` for some folds only, and the options of a launch
    (`sercorr.training.launcher.options`). Returns 0, or 1 if a fold failed; the others
    are run all the same.
    """
    launch, arguments = read_launch(arguments)
    by_fold = settings_of_folds(arguments)
    hparams = {fold: settings.load() for fold, settings in by_fold.items()}
    first = next(iter(hparams.values()))
    manifests = plan_data(first)
    runs = {f: Run(by_fold[f], own, manifests) for f, own in hparams.items()}
    require_writable(first["output_folder"])
    manifests.write()
    manifests.report()
    _, rest = take_options(("folds", "fold"), arguments)
    command = [sys.executable, str(train_script), *rest, "--fold"]
    commands = {fold: [*command, str(fold)] for fold in runs}
    for fold in [fold for fold, run in runs.items() if run.is_finished]:
        print(f"fold {fold}: finished before, skipped", flush=True)
        del commands[fold]
    failed = (
        _launch(commands, by_fold, first, manifests, launch)
        if launch.asked
        else _run_in_turn(commands, first["n_folds"])
    )
    if failed is None:
        return 0
    if any(run.is_finished for run in runs.values()):
        print(report_folder(first["output_folder"]))
    if failed:
        print(
            f"error: failed{'' if launch.asked else ' folds'}: {', '.join(failed)}. "
            "Their messages stand "
            "above. What is done is kept: run the same command again to resume them",
            file=sys.stderr,
        )
        return 1
    return 0


def _run_in_turn(commands: Mapping[int, Sequence[str]], n_folds: int) -> list[str]:
    """Run the commands of folds one after the other; return the folds that failed."""
    failed = []
    for fold, command in commands.items():
        print(f"fold {fold} of {n_folds}", flush=True)
        if status := subprocess.run(command, check=False).returncode:
            failed.append(str(fold))
            print(f"fold {fold} failed (exit status {status})", file=sys.stderr)
    return failed


def _launch(
    commands: Mapping[int, Sequence[str]],
    by_fold: Mapping[int, Settings],
    hparams: Mapping[str, Any],
    manifests: ManifestPlan,
    launch: Launch,
) -> list[str] | None:
    """Run the commands of folds side by side, see `run_stages`."""
    root = hparams["output_folder"]
    settings = next(iter(by_fold.values()))
    training = [Work(f"fold {fold}", own, root) for fold, own in commands.items()]
    extraction = (
        extraction_works(settings, hparams, manifests, root, launch.shares)
        if training
        else []
    )
    return run_stages(
        [Stage(extraction, training)],
        root,
        launch,
        threads_of(hparams),
        settings.run_opts,
    )
