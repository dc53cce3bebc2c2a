#!/usr/bin/env python3
"""Train many heads of IEMOCAP side by side on one stream of cached features.

    python run_grid.py hparams/train.yaml --data_folder IEMOCAP_full_release \
        --cache_folder CACHE --grid hparams/grid_pooling.yaml

The grid file maps names to overrides of one head. Each head's folder is what
``run_folds.py`` would have written; finished heads are skipped, so that a head can be
added to the file later. ``--fold 2`` or ``--folds 1,3`` runs some folds only.
"""

import argparse

from sercorr.errors import InputError, run_program
from sercorr.training.grid import run_grid


def main() -> int:
    """Take the grid's own options out of the command line and run it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--grid")
    parser.add_argument("--fold")
    own, rest = parser.parse_known_args()
    if own.grid is None:
        raise InputError("--grid is missing; give a YAML file: --grid GRID.yaml")
    if own.fold is not None:
        rest += ["--folds", own.fold]
    return run_grid(rest, own.grid)


if __name__ == "__main__":
    run_program(main)
