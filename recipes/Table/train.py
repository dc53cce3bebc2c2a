#!/usr/bin/env python3
"""Train and test one fold of the corpus that a table describes.

    python train.py hparams/train.yaml --table FILE.csv --fold 1

The program is IEMOCAP's; the settings are those of this recipe.
"""

import runpy
from pathlib import Path

from sercorr.training.program import program

IEMOCAP = Path(__file__).parents[1] / "IEMOCAP" / "emotion_corr"

if __name__ == "__main__":
    program(runpy.run_path(str(IEMOCAP / "train.py"))["main"], __doc__)
