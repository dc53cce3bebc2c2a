"""Manifests: one JSON file for each part of each fold, planned, written, read again.

`plan_manifests` finds out what a corpus and the settings give, and refuses what cannot
be used; nothing is written before `ManifestPlan.write`. ``prepare.json`` in the
manifest folder records settings and data, so that a later plan knows whether the folder
is up to date.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sercorr import __version__
from sercorr.data.counts import (
    Counts,
    check_labels,
    count_clips,
    full_release_remarks,
    print_counts,
)
from sercorr.data.headers import read_headers
from sercorr.data.reading import read_splits
from sercorr.data.splits import PARTS, make_splits
from sercorr.data.utterances import Corpus, Name, Utterance
from sercorr.errors import InputError
from sercorr.files import atomic_path, json_digest, read_json

__all__ = ["ManifestPlan", "plan_manifests", "read_splits"]

RECORD = "prepare.json"
SKIPPED = "skipped_audio.txt"


@dataclass(frozen=True)
class ManifestPlan:
    """The manifests of all folds, made by `plan_manifests`.

    Arguments
    ---------
    corpus : Corpus
        What they are made of.
    folder : pathlib.Path
        Where they are, or shall be written.
    labels : list of str
        The classes.
    used : list of Utterance
        All clips in them, sorted by id.
    record : dict
        Settings, data and the files' digests: what ``prepare.json`` holds.
    texts : dict
        File name -> content of all that is to be written; empty where the folder is up
        to date.
    """

    corpus: Corpus
    folder: Path
    labels: list[str]
    used: list[Utterance]
    record: dict[str, Any]
    texts: dict[str, str]

    @property
    def fresh(self) -> bool:
        """False where the folder is up to date and nothing is to be written."""
        return bool(self.texts)

    @property
    def skipped(self) -> int:
        """Number of clips that are left out because their audio is unusable."""
        return len(self.record["skipped"])

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

        Every file is written to a temporary name first, then all are renamed, the
        record last: whatever stops this, no record vouches for a mixture.
        """
        if not self.texts:
            return
        # The stack renames in reverse order, so the record comes first in it.
        everything = {
            RECORD: json.dumps(self.record, indent=2, ensure_ascii=False) + "\n",
            **self.texts,
        }
        with contextlib.ExitStack() as stack:
            for name, text in everything.items():
                path = stack.enter_context(atomic_path(self.folder / name))
                path.write_bytes(text.encode())
            old = [
                path for part in PARTS for path in self.folder.glob(_file("*", part))
            ]
            for path in (self.folder / RECORD, self.folder / SKIPPED, *old):
                if path.relative_to(self.folder).as_posix() not in self.texts:
                    path.unlink(missing_ok=True)

    def report(self) -> None:
        """Print the counts, what was left out, and how the full release differs."""
        if self.fresh:
            print_counts(self.corpus, self.counts, self.labels)
        else:
            print(f"{self.folder}: up to date ({len(self.used)} clips)")
        others = Counter(
            clip.emotion
            for clip in self.corpus.utterances
            if clip.emotion and clip.emotion not in self.labels
        )
        for kind, left_out in (
            ("clips of other labels", others),
            ("files of another kind", self.corpus.left_out),
        ):
            if left_out:
                listed = ", ".join(
                    f"{name} {left_out[name]}" for name in sorted(left_out)
                )
                print(f"note: {sum(left_out.values())} {kind} left out: {listed}")
        if self.skipped:
            print(
                f"note: {self.skipped} unusable clips left out, listed in "
                f"{self.folder / SKIPPED}"
            )
        if self.record["resampled"]:
            print(f"note: {self.record['resampled']}")
        for line in full_release_remarks(self.corpus, self.counts, self.labels):
            print(line)


def plan_manifests(
    corpus: Corpus,
    manifest_folder: str | os.PathLike,
    *,
    labels: Sequence[str],
    n_folds: int,
    fold_by: str = "group",
    valid_ratio: float = 0.2,
    valid_session: Name | None = None,
    split_seed: int = 1234,
    skip_bad_audio: bool = False,
) -> ManifestPlan:
    """Plan the manifests of all folds; nothing is written.

    Headers of all clips are read, unless the folder is known to be up to date. The
    manifests' bytes depend on the corpus and the settings only, not on where the corpus
    lies or on the order in which the system lists it.

    A manifest maps an id to ``wav`` (beginning with ``{data_root}``), ``duration``
    (seconds), ``emo``, ``code`` and ``votes`` (where the corpus has them), ``speaker``
    and the group under the corpus's name for it.

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
    labels = check_labels(corpus, labels)
    if not isinstance(skip_bad_audio, bool):
        raise InputError(
            f"skip_bad_audio is {skip_bad_audio!r}; it must be True or False"
        )
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
    wanted = {
        "settings": {
            "version": __version__,
            "labels": sorted(labels),
            **split.keywords,
            "skip_bad_audio": skip_bad_audio,
        },
        "data": _data_digest(corpus, used),
    }
    record = _up_to_date(folder, wanted)
    if record is not None:
        skipped = set(record["skipped"])
        used = [clip for clip in used if clip.id not in skipped]
        return ManifestPlan(corpus, folder, labels, used, record, texts={})
    headers = read_headers(Path(corpus.data_folder), used)
    if headers.problems and not skip_bad_audio:
        raise InputError(headers.complaint())
    texts = _manifests(corpus, headers.clips, split)
    if headers.problems:
        texts[SKIPPED] = "\n".join(headers.problems.values()) + "\n"
    files = {name: hashlib.sha256(t.encode()).hexdigest() for name, t in texts.items()}
    record = {
        **wanted,
        "skipped": list(headers.problems),
        "resampled": headers.resampled,
        "files": files,
    }
    return ManifestPlan(corpus, folder, labels, headers.clips, record, texts)


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
        data.append((clip.wav, clip.fold, clip.split, _line(corpus, clip), *state))
    return json_digest(data)


def _manifests(
    corpus: Corpus, clips: Sequence[Utterance], split: Callable
) -> dict[str, str]:
    """Return file name -> text of all manifests."""
    lines = {clip.id: _line(corpus, clip) for clip in clips}
    texts = {}
    for fold, parts in split(clips).items():
        for part, ids in parts.items():
            body = ",\n".join(lines[identity] for identity in ids)
            texts[_file(fold, part)] = f"{{\n{body}\n}}\n"
    return texts


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


def _up_to_date(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the folder's record if it is of these settings and data, and whole."""
    try:
        record = read_json(folder / RECORD)
        same = {key: record[key] for key in wanted} == wanted
        for name, digest in record["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                return None
        complete = {"skipped", "resampled"} <= record.keys()
        return record if same and complete else None
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # no record, or a damaged one: prepare again
