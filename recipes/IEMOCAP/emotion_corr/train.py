#!/usr/bin/env python3
"""Train and test one fold of IEMOCAP.

    python train.py hparams/train.yaml --data_folder IEMOCAP_full_release --fold 1

Any setting of the YAML file can be given as ``--key value``, and SpeechBrain's run
options too (``--device cuda:0``, ``--precision bf16``, ...). A killed run goes on
where it stopped when the same command is given again.
"""

import sys

from sercorr.errors import run_program
from sercorr.training.experiment import prepare, train_fold
from sercorr.training.settings import load_settings


def main() -> None:
    """Prepare the data, train, test, and say where the files are."""
    settings = load_settings(sys.argv[1:])
    prepare(settings)
    metrics = train_fold(settings)
    print(
        f"fold {metrics['fold']}: {metrics['n']} test utterances, "
        f"WA {metrics['wa']:.2f} %, UA {metrics['ua']:.2f} % "
        f"-> {settings['fold_folder']}"
    )


if __name__ == "__main__":
    run_program(main)
