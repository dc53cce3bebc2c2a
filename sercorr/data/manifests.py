"""Manifests: one JSON file for each part of each fold, planned, written, read again.

`plan_manifests` finds out what a corpus and the settings give, and refuses what cannot
be used; nothing is written before `ManifestPlan.write`. ``prepare.json`` in the
manifest folder records settings and data, so that a later plan knows whether the folder
is up to date.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sercorr import __version__
from sercorr.data.counts import (
    Counts,
    compare_with_full_release,
    count_clips,
    list_counts,
    print_counts,
    require_labels,
)
from sercorr.data.splits import PARTS, make_splits, require_unheard_speakers
from sercorr.data.utterances import Corpus, Utterance, read_durations
from sercorr.errors import InputError
from sercorr.files import (
    file_digest,
    json_digest,
    make_folder,
    read_json,
    write_json,
    write_text,
)

RECORD = "prepare.json"
SKIPPED = "skipped_audio.txt"

_KEYS = {"wav", "duration", "emo", "speaker"}  # what every entry must have


@dataclass(frozen=True)
class ManifestPlan:
    """The manifests of all folds, made by `plan_manifests`.

    ``used`` are all clips in them, sorted by id; ``record`` is what ``prepare.json``
    holds: settings, data and the files' digests; ``texts`` maps names of files to what
    is to be written, and is empty where the folder is up to date.
    """

    corpus: Corpus
    folder: Path
    labels: list[str]
    used: list[Utterance]
    record: dict[str, Any]
    texts: dict[str, str]

    @property
    def digests(self) -> dict[int, dict[str, str]]:
        """Fold -> ``train``, ``valid``, ``test`` -> SHA-256 of the manifest's bytes."""
        files = self.record["files"]
        return {
            fold: {part: files[_file(fold, part)] for part in PARTS}
            for fold in range(1, self.record["settings"]["n_folds"] + 1)
        }

    @property
    def clips(self) -> dict[str, Path]:
        """Id -> audio file of all clips, sorted by id."""
        root = Path(self.corpus.data_folder).absolute()
        return {clip.id: root / clip.wav for clip in self.used}

    @cached_property
    def counts(self) -> Counts:
        """Group -> class or code -> number of clips."""
        return count_clips(self.corpus, self.used, self.labels)

    def write(self) -> None:
        """Write all files, or nothing where the folder is up to date.

        The old record goes first and the new one comes last: whatever stops this, no
        record vouches for a mixture of old and new files.
        """
        if not self.texts:
            return
        make_folder(self.folder)
        old = [path for part in PARTS for path in self.folder.glob(_file("*", part))]
        for path in (self.folder / RECORD, self.folder / SKIPPED, *old):
            if path.relative_to(self.folder).as_posix() not in self.texts:
                path.unlink(missing_ok=True)
        for name, text in self.texts.items():
            write_text(self.folder / name, text)
        write_json(self.folder / RECORD, self.record)

    def report(self) -> None:
        """Print the counts, what was left out, and how the full release differs."""
        if self.texts:
            print_counts(self.corpus, self.counts, self.labels)
        else:
            print(f"{self.folder}: up to date ({len(self.used)} clips)")
        emotions = [clip.emotion for clip in self.corpus.utterances if clip.emotion]
        others = Counter(name for name in emotions if name not in self.labels)
        if others:
            print(f"note: clips of other labels left out: {list_counts(others)}")
        if self.record["skipped"]:
            print(
                f"note: {len(self.record['skipped'])} unusable clips left out, listed "
                f"in {self.folder / SKIPPED}"
            )
        if self.record["resampled"]:
            print(f"note: {self.record['resampled']}")
        for line in compare_with_full_release(self.corpus, self.counts):
            print(line)


def plan_manifests(
    corpus: Corpus,
    manifest_folder: str | os.PathLike,
    *,
    labels: Sequence[str],
    n_folds: int,
    fold_by: str = "group",
    valid_ratio: float = 0.2,
    valid_session: int | str | None = None,
    split_seed: int = 1234,
    skip_bad_audio: bool = False,
) -> ManifestPlan:
    """Plan the manifests of all folds; nothing is written.

    Headers of all clips are read, unless the folder is known to be up to date. A
    manifest's bytes depend on what the corpus and the settings say, not on where the
    corpus lies or how the system lists it. It maps an id to ``wav`` (beginning with
    ``{data_root}``), ``duration`` (seconds), ``emo``, ``speaker``, the group under the
    corpus's name for it and, where the corpus has them, ``code`` and ``votes``.

    Arguments
    ---------
    corpus : Corpus
        From a prepare file.
    manifest_folder : path
        Where ``fold_K/{train,valid,test}.json`` are, or shall be written.
    labels : sequence of str
        The classes. Clips of other classes are left out.
    n_folds, fold_by, valid_ratio, valid_session, split_seed
        See `sercorr.data.splits.make_splits`.
    skip_bad_audio : bool
        Leave out clips that are missing, unreadable, truncated or too short, and list
        them in ``skipped_audio.txt``, rather than refuse.

    Returns
    -------
    ManifestPlan
        Its ``write()`` writes the files, its ``report()`` prints the counts.

    Raises
    ------
    InputError
        A setting is out of range, or is not what the corpus offers; audio is unusable
        (up to twenty clips are listed); a fold has an empty part.
    """
    require_labels(corpus, labels)
    split = partial(
        make_splits,
        corpus,
        n_folds=n_folds,
        fold_by=fold_by,
        valid_ratio=valid_ratio,
        valid_session=valid_session,
        split_seed=split_seed,
    )
    used = [clip for clip in corpus.utterances if clip.emotion in labels]
    split(used)  # refuses wrong settings before all headers are read
    folder = Path(manifest_folder)
    settings = {"labels": sorted(labels), "skip_bad_audio": skip_bad_audio}
    record = {
        "settings": {"version": __version__, **settings, **split.keywords},
        "data": _data_digest(corpus, used),
    }
    written = _up_to_date(folder, record)
    if written is not None:
        used = [clip for clip in used if clip.id not in set(written["skipped"])]
        return ManifestPlan(corpus, folder, list(labels), used, written, texts={})
    used, problems, resampled = read_durations(corpus, used)
    if problems and not skip_bad_audio:
        listed = "\n".join(list(problems.values())[:20])
        more = f"\nand {len(problems) - 20} more" if len(problems) > 20 else ""
        raise InputError(
            f"{len(problems)} clips cannot be used:\n{listed}{more}\nmend them, or "
            "leave them out with --skip_bad_audio True"
        )
    lines = {clip.id: _line(corpus, clip) for clip in used}
    texts = {
        _file(fold, part): "{\n" + ",\n".join(lines[name] for name in ids) + "\n}\n"
        for fold, parts in split(used).items()
        for part, ids in parts.items()
    }
    if problems:
        texts[SKIPPED] = "\n".join(problems.values()) + "\n"
    record["skipped"] = list(problems)
    record["resampled"] = resampled
    record["files"] = {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()
    }
    return ManifestPlan(corpus, folder, list(labels), used, record, texts)


def read_splits(
    folder: str | os.PathLike, data_folder: str | os.PathLike, labels: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Read and check the three manifests of a fold.

    Arguments
    ---------
    folder, data_folder : path
        Of the fold, and of the corpus, which is put in place of ``{data_root}``.
    labels : sequence of str
        The emotions that may occur.

    Returns
    -------
    dict
        ``train``, ``valid``, ``test`` -> id -> the manifest's entry, with the audio
        file's place as ``wav`` and, as the manifest has it, as ``file``.

    Raises
    ------
    InputError
        A file is missing, broken or empty, or lacks a key; an emotion is unknown; a
        speaker of the test set stands in another part.
    """
    root = os.path.abspath(data_folder)
    splits, speakers = {}, {}
    for part in PARTS:
        path = Path(folder) / f"{part}.json"
        manifest = read_json(path)
        if not isinstance(manifest, dict) or not manifest:
            raise InputError(f"{path}: no clip is in it; prepare the data again")
        for identity, entry in manifest.items():
            if not entry.keys() >= _KEYS or entry["emo"] not in labels:
                raise InputError(
                    f"{path}: {identity} is {entry}; it must have "
                    f"{', '.join(sorted(_KEYS))}, and as emo one of "
                    f"{', '.join(labels)}; prepare the data again"
                )
            entry["file"] = entry["wav"]
            entry["wav"] = entry["wav"].replace("{data_root}", root)
        splits[part] = manifest
        speakers[part] = {entry["speaker"] for entry in manifest.values()}
    require_unheard_speakers(str(folder), speakers)
    return splits


def _file(fold: int | str, part: str) -> str:
    return f"fold_{fold}/{part}.json"


def _data_digest(corpus: Corpus, used: Sequence[Utterance]) -> str:
    """Hash all that the manifests say, and the audio files' sizes and times.

    What the corpus's own label files say beyond the utterances changes no manifest.
    """
    data = []
    for clip in used:
        try:
            status = os.stat(Path(corpus.data_folder) / clip.wav)
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        data.append((clip.fold, clip.split, _line(corpus, clip), *state))
    return json_digest(data)


def _up_to_date(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the folder's record if it is of these settings and data, and whole."""
    try:
        record = read_json(folder / RECORD)
        same = {key: record[key] for key in wanted} == wanted and all(
            file_digest(folder / name) == digest
            for name, digest in record["files"].items()
        )
        return record if same else None
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # no record, or a damaged one: prepare again


def _line(corpus: Corpus, clip: Utterance) -> str:
    """Return one entry on a line of its own: quick to write, easy to compare."""
    entry = {
        "wav": f"{{data_root}}/{clip.wav}",
        "duration": clip.duration,
        "emo": clip.emotion,
        "code": clip.code,
        "speaker": clip.speaker,
        corpus.group_name: clip.group,
        "votes": clip.votes,
    }
    given = {key: value for key, value in entry.items() if value is not None}
    identity = json.dumps(clip.id, ensure_ascii=False)
    return f"  {identity}: {json.dumps(given, ensure_ascii=False)}"
