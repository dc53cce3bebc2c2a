#!/usr/bin/env python3
"""Fill the feature cache with all clips of all folds.

    python extract_features.py hparams/train.yaml --data_folder DIR --cache_folder DIR

It takes what ``train.py`` takes. Clips that are in the cache are checked, byte for
byte, and not computed again; a run that was stopped goes on when the same command is
given again. ``torchrun --nproc_per_node N extract_features.py ...`` shares the clips
among N processes, one a GPU.
"""

import sys

from sercorr.errors import InputError, run_program
from sercorr.features.extraction import clips_of_folds, ensure_cached
from sercorr.lobes.upstream import upstream_info
from sercorr.training.experiment import prepare
from sercorr.training.settings import load_settings


def main() -> None:
    """Prepare the data, extract what is missing, and say where it is."""
    settings = load_settings(sys.argv[1:])
    if settings["cache_folder"] is None:
        raise InputError("cache_folder is not set; add: --cache_folder DIR")
    prepare(settings)
    info = upstream_info(*settings.upstream())
    cached = ensure_cached(settings, info, clips_of_folds(settings), verify=True)
    print(f"features of {len(cached.digests)} clips -> {cached.store.folder}")


if __name__ == "__main__":
    run_program(main)
