"""A corpus as its manifests describe it: all clips of all folds, and the folds."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sercorr.data.manifests import SKIPPED
from sercorr.data.splits import PARTS
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError
from sercorr.files import read_json

Folds = dict[str, dict[str, list[Utterance]]]
"""Fold -> ``train``, ``valid``, ``test`` -> clips."""

_ROOT = "{data_root}/"
_REQUIRED = ("wav", "emo", "speaker")
_VOTES = ("votes", "vote_counts")
_KNOWN = {*_REQUIRED, *_VOTES, "traits", "duration", "code", "start", "end"}


def find_manifests(folder: str | Path) -> Path | None:
    """Find manifests in ``folder``, or in the folder ``manifests`` of a run.

    Returns
    -------
    pathlib.Path or None
        The folder that has ``fold_K/train.json``.
    """
    for place in (Path(folder), Path(folder) / "manifests"):
        if _fold_folders(place):
            return place
    return None


def read_prepared(
    folder: str | Path, data_folder: str | Path | None = None
) -> tuple[Corpus, Folds]:
    """Read all manifests of a folder, as `sercorr.data.manifests` writes them.

    Arguments
    ---------
    folder : path
        Has ``fold_K/{train,valid,test}.json``.
    data_folder : str or path, optional
        Where the recordings are; not needed where all manifests' places are absolute.

    Returns
    -------
    tuple
        The corpus, of all clips in any fold, and its folds.

    Raises
    ------
    InputError
        A manifest is missing or broken, two folds differ on a clip, or the place of
        the recordings is not known.
    """
    clips: dict[str, Utterance] = {}
    folds: Folds = {}
    names: set[str] = set()
    others = 0
    for fold in _fold_folders(Path(folder)):
        parts = {}
        for part in PARTS:
            path = fold / f"{part}.json"
            manifest = read_json(path)
            if not isinstance(manifest, dict):
                raise InputError(f"{path}: it holds no clips; prepare the data again")
            entries = [
                _utterance(identity, entry, path, names)
                for identity, entry in manifest.items()
            ]
            parts[part] = [clip for clip in entries if clip is not None]
            others += len(entries) - len(parts[part])
            for clip in parts[part]:
                first = clips.setdefault(clip.id, clip)
                if replace(first, place=clip.place) != clip:
                    raise InputError(
                        f"{path}: {clip.id} differs from {first.place}; prepare the "
                        "data again"
                    )
        folds[fold.name.removeprefix("fold_")] = parts
    if not clips:
        raise InputError(f"{folder}: no clip is in its manifests")
    if len(names) > 1:
        raise InputError(
            f"{folder}: entries have the keys {', '.join(sorted(names))}; only one of "
            "them can be the group; prepare the data again"
        )
    if data_folder is None:
        placeless = [c.wav for c in clips.values() if not os.path.isabs(c.wav)]
        if placeless:
            raise InputError(
                f"{folder}: its manifests do not say where {min(placeless)} and the "
                "other recordings are; add --data-folder DIR"
            )
    _add_places(clips, folds)
    place = Path(folder).absolute()
    corpus = Corpus(
        (place.parent if place.name == "manifests" else place).name,
        folder if data_folder is None else data_folder,
        list(clips.values()),
        group_name=names.pop() if names else "speaker",
        notes=_notes(place, others),
    )
    return corpus, folds


def _add_places(clips: dict[str, Utterance], folds: Folds) -> None:
    """Give each clip the fold that tests it; of one fold, its part."""
    for number, parts in folds.items():
        for part, some in parts.items():
            for clip in some:
                if len(folds) == 1:
                    clips[clip.id] = replace(clips[clip.id], split=part)
                elif part == "test":
                    clips[clip.id] = replace(clips[clip.id], fold=int(number))


def _notes(folder: Path, others: int) -> list[str]:
    notes = []
    if (skipped := folder / SKIPPED).is_file():
        number = len(skipped.read_text(encoding="utf-8").splitlines())
        notes.append(f"{number} unusable clips were left out, listed in {skipped}")
    if others:
        notes.append(f"{others} clips of another corpus, which is tested, left out")
    return notes


def _fold_folders(folder: Path) -> list[Path]:
    found = [
        place.parent
        for place in folder.glob("fold_*/train.json")
        if re.fullmatch(r"fold_\d+", place.parent.name)
    ]
    return sorted(found, key=lambda place: int(place.name.removeprefix("fold_")))


def _utterance(
    identity: str, entry: Any, path: Path, names: set[str]
) -> Utterance | None:
    """Read one entry, unless it is of another corpus; add its group's name."""
    if not isinstance(entry, Mapping) or not all(key in entry for key in _REQUIRED):
        raise InputError(
            f"{path}: {identity} is {entry}; it must have {', '.join(_REQUIRED)}; "
            "prepare the data again"
        )
    if "corpus" in entry:  # another one, which is tested
        return None
    others = [key for key in entry if key not in _KNOWN]
    names.update(others)
    return Utterance(
        id=identity,
        wav=entry["wav"].removeprefix(_ROOT),
        emotion=entry["emo"],
        speaker=entry["speaker"],
        group=entry[others[0]] if others else entry["speaker"],
        code=entry.get("code"),
        votes=entry.get("votes"),
        vote_counts=entry.get("vote_counts"),
        traits=entry.get("traits"),
        start=entry.get("start") or 0.0,
        end=entry.get("end"),
        place=str(path),
    )
