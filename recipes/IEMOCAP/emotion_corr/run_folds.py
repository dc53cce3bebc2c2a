#!/usr/bin/env python3
"""Train and test all five folds of IEMOCAP, then write the table and the plots.

    python run_folds.py hparams/train.yaml --data_folder IEMOCAP_full_release

Takes what ``train.py`` takes; ``--folds 1,3`` runs some folds only. Finished folds
are skipped; a fold that fails does not stop the others.
"""

import sys
from pathlib import Path

from sercorr.errors import run_program
from sercorr.training.folds import run_folds

if __name__ == "__main__":
    run_program(lambda: run_folds(Path(__file__).with_name("train.py"), sys.argv[1:]))
