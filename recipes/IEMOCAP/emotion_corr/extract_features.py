#!/usr/bin/env python3
"""Store the features of all clips of all folds.

    python extract_features.py hparams/train.yaml --data_folder DIR --cache_folder DIR

It takes what ``train.py`` takes. Clips that are stored are checked, byte for byte, and
not computed again; a run that was stopped goes on when the same command is given again.
Several processes share the clips: one per GPU or, on a CPU, as many as are fastest,
which is measured first where there are ten minutes of audio or more. ``--jobs N`` says
how many; ``torchrun --nproc_per_node N extract_features.py ...`` works, too.
"""

from sercorr.training.launcher.extraction import extract_features
from sercorr.training.launcher.options import HELP
from sercorr.training.program import program

if __name__ == "__main__":
    program(extract_features, f"{__doc__}\n{HELP}")
