#!/usr/bin/env python3
"""Store the features of all clips of all folds.

    python extract_features.py hparams/train.yaml --data_folder DIR --cache_folder DIR

It takes what ``train.py`` takes. Clips that are stored are checked, byte for byte, and
not computed again; a run that was stopped goes on when the same command is given again.
``torchrun --nproc_per_node N extract_features.py ...`` shares the clips among N
processes, one per GPU.
"""

import os

from sercorr.errors import InputError
from sercorr.features import extract
from sercorr.training.dataio import device_of, plan_data
from sercorr.training.program import parse_arguments, program


def main(arguments: list[str]) -> None:
    """Extract what is missing, and say where it is."""
    settings = parse_arguments(arguments)
    hparams = settings.load()
    if hparams["cache_folder"] is None:
        raise InputError("cache_folder is not set; add: --cache_folder DIR")
    manifests = plan_data(hparams)
    stored = extract(
        hparams["upstream"],
        manifests.clips,
        cache_folder=hparams["cache_folder"],
        cache_dtype=hparams["cache_dtype"],
        extract_precision=hparams["extract_precision"],
        max_batch_seconds=hparams["max_batch_seconds"],
        device=device_of(settings.run_opts),
        progress=not settings.run_opts.noprogressbar,
        verify=True,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"features of {len(manifests.clips)} clips -> {stored.store.folder}")


if __name__ == "__main__":
    program(main, __doc__)
