"""Works of this package: heads to train on a fold, clips whose features to store."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain.utils.run_opts import RunOptions

from sercorr.data.manifests import ManifestPlan
from sercorr.features.extraction import missing_groups
from sercorr.training.dataio import feature_options
from sercorr.training.launcher.works import Work
from sercorr.training.run import Run
from sercorr.training.settings import Settings, make_yaml

COMMAND = (sys.executable, "-m", "sercorr.training.launcher.worker")


def training_work(name: str, root: str | os.PathLike, runs: Mapping[str, Run]) -> Work:
    """Make the work of training heads on one fold (name -> run).

    ``root`` is the launch's folder. The heads' own are in their settings.
    """
    heads = {head: pack(run.settings) for head, run in runs.items()}
    return Work(name, COMMAND, root, {"do": "train", "heads": heads})


def extraction_works(
    settings: Settings,
    hparams: Mapping[str, Any],
    manifests: ManifestPlan,
    root: str | os.PathLike,
    shares: int,
    name: str = "features",
) -> list[Work]:
    """Make the works of storing the features that are missing; none if none is.

    The clips are dealt among ``shares`` processes, at most one a clip.
    """
    folder = hparams.get("cache_folder")
    if folder is None:
        return []
    missing = missing_groups(
        hparams["upstream"], manifests.clips, **feature_options(hparams)
    )
    shares = min(shares, len(missing))
    return [
        Work(
            f"{name} {share + 1} of {shares}",
            COMMAND,
            root,
            {"do": "extract", "settings": pack(settings), "share": [share, shares]},
        )
        for share in range(shares)
    ]


def pack(settings: Settings) -> dict[str, Any]:
    """Turn settings into plain values, for `unpack`."""
    options = settings.run_opts
    return {
        "files": [str(file.resolve()) for file in settings.files],
        "settings": settings.text(),
        "options": {k: options[k] for k in sorted(options.overridden_args)},
        "command": sys.argv,
    }


def unpack(packed: Mapping[str, Any]) -> Settings:
    """Make settings of what `pack` returned."""
    files = tuple(map(Path, packed["files"]))
    options = RunOptions.from_dictionary(packed["options"])
    options = dataclasses.replace(options, param_file=str(files[0]))
    tree = make_yaml().load(packed["settings"])
    return Settings(files, tree, options, tuple(packed["command"]))
