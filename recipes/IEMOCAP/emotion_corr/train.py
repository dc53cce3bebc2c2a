#!/usr/bin/env python3
"""Train and test one fold.

    python train.py hparams/train.yaml --data_folder IEMOCAP_full_release --fold 1

Any setting of the YAML file can be given as ``--key value``, and SpeechBrain's run
options too (``--device cuda:0``, ``--precision bf16``, ...). A run that was stopped
goes on when the same command is given again. The fold's folder gets the test results
(metrics.json, predictions.csv, plots/), the head (head.safetensors) and a record of the
run (run.json).
"""

from pathlib import Path

import speechbrain as sb

import sercorr.training
from sercorr.training.dataio import (
    dataio_prepare,
    open_run_features,
    plan_data,
    read_fold,
)
from sercorr.training.program import parse_arguments, program
from sercorr.training.run import Run

LOG_CONFIG = Path(sercorr.training.__file__).with_name("log-config.yaml")


def main(arguments: list[str]) -> None:
    """Prepare the data, train, test, and say what came out."""
    # The settings: a HyperPyYAML file and what the command line puts over it
    settings = parse_arguments(arguments)
    run_opts = settings.run_opts
    hparams = settings.load()

    # The folds of the corpus. A folder that holds another run is refused here,
    # before anything is written.
    manifests = plan_data(hparams)
    run = Run(settings, hparams, manifests)
    if run.is_finished:
        print(run.report())
        return

    with run.locked():
        manifests.write()
        manifests.report()
        run.start()
        sb.create_experiment_directory(
            experiment_directory=str(run.folder),
            log_config=str(LOG_CONFIG),
            save_env_desc=False,  # run.json has the versions
        )

        # Datasets and loaders; features are stored first where there is a cache_folder
        splits = read_fold(hparams, manifests)
        hparams["features"] = open_run_features(hparams, run_opts, manifests.clips)
        loaders = dataio_prepare(hparams, run_opts, splits, hparams["features"])

        # Training: an epoch is updates_per_epoch updates, then a validation
        brain = hparams["brain_class"](
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=hparams["checkpointer"],
        )
        brain.fit(hparams["epoch_counter"], loaders["train"], loaders["valid"])

        # The test, once, with the checkpoint of the best validation accuracy
        brain.evaluate(loaders["test"])
        run.finish(brain.heads[0], splits)
        print(run.report())


if __name__ == "__main__":
    program(main, __doc__)
