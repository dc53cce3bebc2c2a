"""From the settings to a corpus's manifests, features and loaders."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.distributed import infer_device
from torch.utils.data import DataLoader

from sercorr import SAMPLE_RATE
from sercorr.corpora.training_table import read_test_table
from sercorr.data.audio import Part
from sercorr.data.batches import make_loaders
from sercorr.data.digests import RECORD, audio_digest
from sercorr.data.manifests import ManifestPlan, plan_manifests, read_splits
from sercorr.errors import InputError
from sercorr.features import LiveFeatures, StoredFeatures, open_features
from sercorr.files import file_digest

Splits = dict[str, dict[str, dict[str, Any]]]


def plan_data(hparams: Mapping[str, Any]) -> ManifestPlan:
    """Parse the corpus, plan its folds, hash its audio; nothing is written yet.

    ``hparams`` have ``corpus``, a callable that parses it, ``manifest_folder`` and what
    `plan_manifests` takes besides; with ``test_table``, another corpus is tested, whose
    labels ``test_map`` and ``test_drop`` put in terms of this one's.
    """
    corpus = require(hparams, "corpus")
    options = (
        "fold_by",
        "valid_by",
        "valid_ratio",
        "valid_session",
        "allow_shared_speakers",
        "skip_bad_audio",
    )
    table = hparams.get("test_table")
    other = None
    if table is not None:
        mapping, drop = hparams.get("test_map"), hparams.get("test_drop")
        other = read_test_table(table, mapping, drop)
    manifests = plan_manifests(
        corpus() if callable(corpus) else corpus,
        require(hparams, "manifest_folder"),
        labels=require(hparams, "labels"),
        n_folds=require(hparams, "n_folds"),
        split_seed=require(hparams, "split_seed"),
        test_corpus=other,
        **{key: hparams[key] for key in options if key in hparams},
    )
    cache = hparams.get("cache_folder")
    record = None if cache is None else Path(cache) / RECORD
    audio = audio_digest(manifests.clips, record)
    return dataclasses.replace(manifests, audio=audio)


def read_fold(hparams: Mapping[str, Any], manifests: ManifestPlan) -> Splits:
    """Read the manifests of the fold that the settings name.

    Manifests that are not those of the plan (another command has written there), and
    a clip that is too short for the upstream, are an `InputError`.
    """
    folder = manifests.folder / f"fold_{hparams['fold']}"
    for name, digest in manifests.digests[hparams["fold"]].items():
        if file_digest(folder / f"{name}.json") != digest:
            raise InputError(
                f"{folder / name}.json: it is not of this corpus and these settings: "
                "another command has written there; give each a manifest_folder of "
                "its own"
            )
    splits = read_splits(
        folder,
        manifests.roots,
        hparams["labels"],
        hparams.get("allow_shared_speakers", False),
    )
    for part in splits.values():
        for entry in part.values():
            if not hparams["upstream"].frames(round(entry["duration"] * SAMPLE_RATE)):
                raise InputError(
                    f"{entry['wav']}: {entry['duration']:.4f} s are too short for one "
                    "frame of this upstream; leave the clip out, or choose another "
                    "upstream_source"
                )
    return splits


def open_run_features(
    hparams: Mapping[str, Any], run_opts: Any, clips: Mapping[str, Part]
) -> StoredFeatures | LiveFeatures:
    """Open the features of all folds, extracting what is missing from the store.

    ``clips`` (id -> what it is read from) are those of all folds: what is extracted
    does not depend on the fold. ``LOCAL_WORLD_SIZE``, as of ``torchrun``, says how many
    processes of this machine do the same.
    """
    preload = {"preload": hparams["preload"]} if "preload" in hparams else {}
    return open_features(
        hparams["upstream"],
        clips,
        device=device_of(run_opts),
        progress=not run_opts.noprogressbar,
        processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        **preload,
        **feature_options(hparams),
    )


def feature_options(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what `sercorr.features.extract` takes out of the settings of a run."""
    options = ("cache_dtype", "extract_precision", "max_batch_seconds", "threads")
    given = {key: hparams[key] for key in options if key in hparams}
    return {"cache_folder": hparams.get("cache_folder"), **given}


def dataio_prepare(
    hparams: Mapping[str, Any],
    run_opts: Any,
    splits: Splits,
    features: StoredFeatures | LiveFeatures,
) -> dict[str, DataLoader]:
    """Make the loaders of a fold's ``train``, ``valid`` and ``test`` manifests.

    An update is a step of the optimiser, for which ``--grad_accumulation_factor``
    batches are drawn.
    """
    factor = run_option("grad_accumulation_factor", hparams, run_opts)
    return make_loaders(
        splits,
        hparams["labels"],
        features,
        batch_size=hparams["batch_size"],
        batches_per_epoch=hparams["updates_per_epoch"] * factor,
        seed=hparams["seed"],
        num_workers=hparams.get("num_workers", 0),
    )


def require(hparams: Mapping[str, Any], key: str) -> Any:
    """Look a setting up; a missing one is an `InputError`."""
    if key not in hparams:
        raise InputError(f"the key {key!r} is missing in the settings file; add it")
    return hparams[key]


def run_option(name: str, hparams: Mapping[str, Any], run_opts: Any) -> Any:
    """Look a run option up as SpeechBrain does: command line, settings, default."""
    if name in hparams and name not in run_opts.overridden_args:
        return hparams[name]
    return run_opts[name]


def device_of(run_opts: Any) -> str:
    """Say where a run computes, and refuse a GPU that is not there."""
    device = run_opts.device or infer_device()
    try:
        kind = torch.device(device)
    except RuntimeError:
        raise InputError(f"--device is {device!r}; give cpu, cuda or cuda:0") from None
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device is {device!r}, but {torch.cuda.device_count()} GPUs are here; "
            "give --device cpu"
        )
    return device


def refuse_torchrun() -> None:
    """Refuse to train under ``torchrun``: a head is too small to be shared."""
    if "RANK" in os.environ and "LOCAL_RANK" in os.environ:
        raise InputError(
            "torchrun shares only extract_features.py among processes; start this "
            "program with python"
        )
