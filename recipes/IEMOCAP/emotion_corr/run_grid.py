#!/usr/bin/env python3
"""Train many heads side by side on the same folds and stored features.

    python run_grid.py hparams/train.yaml --data_folder IEMOCAP_full_release \
        --cache_folder CACHE --grid GRID.yaml

It takes what ``run_folds.py`` takes. ``--grid FILE`` maps names to settings of one
head, for instance ``att4: {pooling: attentive_corr, n_heads: 4, seed: [1, 2, 3]}``.
Each head's folder is what ``run_folds.py`` would have written. Finished heads are
skipped, so that heads can be added to the file later. ``--folds 1,3`` runs some folds
only.
"""

from sercorr.training.grid import run_grid
from sercorr.training.launcher.options import HELP
from sercorr.training.program import program

if __name__ == "__main__":
    program(run_grid, f"{__doc__}\n{HELP}")
