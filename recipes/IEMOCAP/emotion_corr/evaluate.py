#!/usr/bin/env python3
"""Test a fold's best checkpoint again, without training.

    python evaluate.py hparams/train.yaml --data_folder IEMOCAP_full_release --fold 1

Give the settings that the fold was trained with. It writes the same files as
``train.py`` and, for the folds that are there, those of ``run_folds.py``.
"""

import sys
from pathlib import Path

from sercorr.errors import run_program
from sercorr.training.experiment import evaluate_fold, prepare
from sercorr.training.folds import report_folds
from sercorr.training.settings import load_settings


def main() -> int:
    """Prepare the data, test, write and print the results."""
    settings = load_settings(sys.argv[1:])
    prepare(settings)
    evaluate_fold(settings)
    return report_folds(Path(settings["output_folder"]), settings, failed={})


if __name__ == "__main__":
    run_program(main)
