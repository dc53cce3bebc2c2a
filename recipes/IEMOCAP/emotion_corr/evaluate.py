#!/usr/bin/env python3
"""Test a fold's best checkpoint again, without training.

    python evaluate.py hparams/train.yaml --data_folder IEMOCAP_full_release --fold 1

Give the settings that the fold was trained with: others are refused. It writes the
same files as ``train.py`` and the tables of all folds that are there.
"""

from sercorr.errors import InputError
from sercorr.reporting.report import report_folder
from sercorr.training.dataio import (
    dataio_prepare,
    open_run_features,
    plan_data,
    read_fold,
)
from sercorr.training.program import parse_arguments, program
from sercorr.training.run import Run


def main(arguments: list[str]) -> None:
    """Test, write and print the results."""
    settings = parse_arguments(arguments)
    run_opts = settings.run_opts
    hparams = settings.load()
    manifests = plan_data(hparams)
    run = Run(settings, hparams, manifests)
    epochs = run.trained_epochs
    if not epochs:
        raise InputError(f"{run.folder}: no trained head is there; train it first")
    if epochs < run.epochs:
        print(f"note: trained for {epochs} of {run.epochs} epochs so far")
    with run.locked():
        manifests.write()
        splits = read_fold(hparams, manifests)
        hparams["features"] = open_run_features(hparams, run_opts, manifests.clips)
        test = {"test": splits["test"]}
        loaders = dataio_prepare(hparams, run_opts, test, hparams["features"])
        brain = hparams["brain_class"](
            modules=hparams["modules"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=hparams["checkpointer"],
        )
        brain.evaluate(loaders["test"])
        run.finish(brain.heads[0], splits, epochs)
    print(report_folder(hparams["output_folder"]))


if __name__ == "__main__":
    program(main, __doc__)
