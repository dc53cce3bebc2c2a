"""What a process of a launch does: ``python -m sercorr.training.launcher.worker FILE``.

The file is a work's ``task.json``: heads to train on one fold, or a share of the clips
whose features are to be stored.
"""

import os
import sys
from pathlib import Path

from sercorr.errors import InputError, run_program
from sercorr.fast.memory import keep_freed_memory
from sercorr.features import extract
from sercorr.training.dataio import device_of, feature_options, plan_data
from sercorr.training.grid import report_failures, run_heads
from sercorr.training.launcher.tasks import unpack
from sercorr.training.launcher.works import task_of
from sercorr.training.run import Run
from sercorr.training.settings import Settings


def work_on(file: str | os.PathLike) -> int:
    """Do what a ``task.json`` says; return the exit status."""
    task = task_of(file)
    if task["do"] == "extract":
        return _extract(unpack(task["settings"]), tuple(task["share"]))
    settings = {name: unpack(packed) for name, packed in task["heads"].items()}
    hparams = {name: own.load() for name, own in settings.items()}
    first = next(iter(hparams.values()))
    manifests = plan_data(first)
    runs = {
        name: Run(own, hparams[name], manifests, tried=True)
        for name, own in settings.items()
    }
    root = Path(file).parent
    return report_failures(run_heads(root, manifests, {first["fold"]: runs}))


def _extract(settings: Settings, share: tuple[int, int]) -> int:
    hparams = settings.load()
    manifests = plan_data(hparams)
    extract(
        hparams["upstream"],
        manifests.clips,
        device=device_of(settings.run_opts),
        share=share,
        **feature_options(hparams),
    )
    return 0


def main() -> int:
    """Read the command line and work."""
    if len(sys.argv) != 2:
        raise InputError("give the task.json of a work")
    keep_freed_memory()
    return work_on(sys.argv[1])


if __name__ == "__main__":
    run_program(main)
