#!/usr/bin/env python3
"""Train and test all folds, each in a fresh process, then write the table and plots.

    python run_folds.py hparams/train.yaml --data_folder IEMOCAP_full_release

It takes what ``train.py`` takes; ``--folds 1,3`` runs some folds only. Finished folds
are skipped, and a fold that fails does not stop the others.
"""

import sys
from pathlib import Path

from sercorr.training.folds import run_folds
from sercorr.training.launcher.options import HELP
from sercorr.training.program import program

if __name__ == "__main__":
    train = Path(sys.argv[0]).with_name("train.py")
    program(lambda arguments: run_folds(train, arguments), f"{__doc__}\n{HELP}")
