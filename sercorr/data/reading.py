"""Reading the manifests of one fold, with checks on what is in them."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sercorr.data.splits import PARTS, require_unheard_speakers
from sercorr.errors import InputError

KEYS = ("wav", "duration", "emo", "speaker")
"""What every entry must have."""

Manifest = dict[str, dict[str, Any]]


def read_splits(
    folder: str | os.PathLike, data_folder: str | os.PathLike, labels: Sequence[str]
) -> dict[str, Manifest]:
    """Read and check the three manifests of a fold.

    Arguments
    ---------
    folder : path
        Holds ``train.json``, ``valid.json`` and ``test.json``.
    data_folder : path
        The corpus, put in place of ``{data_root}``.
    labels : sequence of str
        The emotions that may occur.

    Returns
    -------
    dict
        ``train``, ``valid``, ``test`` -> id -> the manifest's entry, with the audio
        file's place as ``wav`` and, as the manifest has it, as ``file``; in the files'
        order.

    Raises
    ------
    InputError
        A file is missing or broken, holds an id twice, or lacks a key; a split is
        empty; an emotion is unknown; an id stands in two splits; a speaker of the test
        set stands in another split.
    """
    folder = Path(folder)
    splits = {part: _read(folder / f"{part}.json", data_folder) for part in PARTS}
    for part, manifest in splits.items():
        if not manifest:
            raise InputError(f"{folder}: {part}.json is empty; there is nothing to use")
        unknown = {entry["emo"] for entry in manifest.values()} - set(labels)
        if unknown:
            raise InputError(
                f"{folder}: {part}.json has the emotions {', '.join(sorted(unknown))}; "
                f"the labels are {', '.join(labels)}"
            )
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = splits[first].keys() & splits[second].keys()
        if shared:
            raise InputError(
                f"{folder}: {min(shared)} stands in {first}.json and {second}.json; "
                "prepare the data again"
            )
    speakers = {
        part: {entry["speaker"] for entry in manifest.values()}
        for part, manifest in splits.items()
    }
    require_unheard_speakers(str(folder), speakers)
    return splits


def _read(path: Path, data_folder: str | os.PathLike) -> Manifest:
    try:
        with open(path, encoding="utf-8") as stream:
            manifest = json.load(stream, object_pairs_hook=_unique_keys)
        if not all(isinstance(entry, dict) for entry in manifest.values()):
            raise ValueError("an entry is no mapping")
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; prepare the data first") from None
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path}: {error}; prepare the data again") from None
    root = os.path.abspath(data_folder)
    for identity, entry in manifest.items():
        missing = [key for key in KEYS if key not in entry]
        if missing:
            raise InputError(
                f"{path}: {identity} lacks {', '.join(missing)}; prepare the data again"
            )
        entry["file"] = entry["wav"]
        entry["wav"] = entry["wav"].replace("{data_root}", root)
    return manifest


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the id {twice} stands in it twice")
    return result
