#!/usr/bin/env python3
"""Store the features of all clips of a table.

    python extract_features.py hparams/train.yaml --table FILE.csv --cache_folder DIR

The program is IEMOCAP's; the settings are those of this recipe.
"""

import runpy
from pathlib import Path

from sercorr.training.program import program

IEMOCAP = Path(__file__).parents[1] / "IEMOCAP" / "emotion_corr"

if __name__ == "__main__":
    program(runpy.run_path(str(IEMOCAP / "extract_features.py"))["main"], __doc__)
