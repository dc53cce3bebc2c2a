"""From manifests to SpeechBrain datasets, with checks on what is in them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset

from sercorr.data.audio import read_audio
from sercorr.errors import InputError

SPLITS = ("train", "valid", "test")
KEYS = ("wav", "duration", "emo", "speaker")

Manifest = dict[str, dict[str, Any]]


def read_manifest(path: str | Path, data_folder: str | Path) -> Manifest:
    """Read one manifest and put the corpus folder in place of ``{data_root}``.

    Arguments
    ---------
    path : path
        JSON: id -> ``wav``, ``duration`` (seconds), ``emo``, ``speaker``, ...
    data_folder : path
        The corpus.

    Returns
    -------
    dict
        The same, in the file's order.

    Raises
    ------
    InputError
        The file is missing or broken, holds an id twice, or lacks a key.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as stream:
            manifest = json.load(stream, object_pairs_hook=_unique_keys)
        if not all(isinstance(entry, dict) for entry in manifest.values()):
            raise ValueError("an entry is no mapping")
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; prepare the data first") from None
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path}: {error}; prepare the data again") from None
    for identity, entry in manifest.items():
        missing = [key for key in KEYS if key not in entry]
        if missing:
            raise InputError(
                f"{path}: {identity} lacks {', '.join(missing)}; prepare the data again"
            )
        entry["wav"] = entry["wav"].replace("{data_root}", str(data_folder))
    return manifest


def read_splits(
    folder: str | Path, data_folder: str | Path, labels: Sequence[str]
) -> dict[str, Manifest]:
    """Read and check the three manifests of a fold.

    Arguments
    ---------
    folder : path
        Holds ``train.json``, ``valid.json`` and ``test.json``.
    data_folder : path
        The corpus.
    labels : sequence of str
        The emotions that may occur.

    Returns
    -------
    dict
        ``train``, ``valid`` and ``test`` manifests.

    Raises
    ------
    InputError
        A split is empty, an emotion is unknown, an id stands in two splits, or a
        speaker of the test set in another split.
    """
    splits = {
        name: read_manifest(Path(folder) / f"{name}.json", data_folder)
        for name in SPLITS
    }
    for name, manifest in splits.items():
        if not manifest:
            raise InputError(f"{folder}: {name}.json is empty; there is nothing to use")
        unknown = {entry["emo"] for entry in manifest.values()} - set(labels)
        if unknown:
            raise InputError(
                f"{folder}: {name}.json has the emotions {', '.join(sorted(unknown))}; "
                f"the labels are {', '.join(labels)}"
            )
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = splits[first].keys() & splits[second].keys()
        if shared:
            raise InputError(
                f"{folder}: {min(shared)} stands in {first}.json and {second}.json"
            )
    testers = {entry["speaker"] for entry in splits["test"].values()}
    for name in ("train", "valid"):
        shared = testers & {entry["speaker"] for entry in splits[name].values()}
        if shared:
            raise InputError(
                f"{folder}: the test speaker {min(shared)} stands in {name}.json"
            )
    return splits


def make_dataset(manifest: Manifest, labels: Sequence[str]) -> DynamicItemDataset:
    """Make a dataset that reads waveforms when they are asked for.

    Arguments
    ---------
    manifest : dict
        From `read_manifest`.
    labels : sequence of str
        Their order is that of the classes.

    Returns
    -------
    DynamicItemDataset
        Items have ``id``, ``sig`` (samples at 16 kHz, float32) and ``target`` (int).
    """
    dataset = make_label_dataset(manifest, labels)
    dataset.add_dynamic_item(read_audio, takes="wav", provides="sig")
    dataset.set_output_keys(["id", "sig", "target"])
    return dataset


def make_label_dataset(manifest: Manifest, labels: Sequence[str]) -> DynamicItemDataset:
    """Like `make_dataset`, without the audio: ``id`` and ``target`` alone."""
    order = {label: index for index, label in enumerate(labels)}
    dataset = DynamicItemDataset(manifest)
    dataset.add_dynamic_item(order.__getitem__, takes="emo", provides="target")
    dataset.set_output_keys(["id", "target"])
    return dataset


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the id {twice} stands in it twice")
    return result
