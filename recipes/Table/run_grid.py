#!/usr/bin/env python3
"""Train many heads side by side on the corpus that a table describes.

    python run_grid.py hparams/train.yaml --table FILE.csv --grid GRID.yaml \
        [--test_table A.csv,B.csv]

It takes what ``run_folds.py`` takes. ``--grid FILE`` maps names to settings of one
head. With several tables to test on, the grid is trained for each, with the labels
that both have, and the last table has a row for each corpus.
"""

from sercorr.training.grid import run_grid
from sercorr.training.launcher.options import HELP
from sercorr.training.program import program

if __name__ == "__main__":
    program(run_grid, f"{__doc__}\n{HELP}")
