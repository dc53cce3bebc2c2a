"""Manifests: one JSON file for each part of each fold, planned, written, read again.

`plan_manifests` finds out what a corpus and the settings give, and refuses what cannot
be used; nothing is written before `ManifestPlan.write`. ``prepare.json`` in the
manifest folder records settings and data, so that a later plan knows whether the folder
is up to date.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sercorr import __version__
from sercorr.data.audio import Part
from sercorr.data.counts import (
    Counts,
    compare_with_full_release,
    count_clips,
    print_counts,
    print_others,
    require_labels,
)
from sercorr.data.cross_corpus import as_other_corpus, require_other_files, same_names
from sercorr.data.overlaps import copy_notes, count_copies
from sercorr.data.splits import (
    PARTS,
    count_speakers,
    make_splits,
    missing_classes,
    require_unheard_speakers,
)
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

    ``used`` are all clips in them, sorted by id, ``tested`` those of another corpus,
    ``test_corpus``, if there is one; ``record`` is what ``prepare.json`` holds:
    settings, data, the folds' speakers and the files' digests; ``texts`` maps names of
    files to what is to be written, and is empty where the folder is up to date.
    """

    corpus: Corpus
    folder: Path
    labels: list[str]
    used: list[Utterance]
    record: dict[str, Any]
    texts: dict[str, str]
    test_corpus: Corpus | None = None
    tested: Sequence[Utterance] = ()
    audio: str = ""  # see `sercorr.data.digests.audio_digest`; empty: not hashed

    @property
    def digests(self) -> dict[int, dict[str, str]]:
        """Fold -> ``train``, ``valid``, ``test`` -> SHA-256 of the manifest's bytes."""
        files = self.record["files"]
        return {
            fold: {part: files[_file(fold, part)] for part in PARTS}
            for fold in range(1, self.record["settings"]["n_folds"] + 1)
        }

    @property
    def clips(self) -> dict[str, Part]:
        """Id -> what it is read from, of all clips, sorted by id."""
        parts = {clip.id: self.corpus.part(clip) for clip in self.used}
        if self.test_corpus is not None:
            parts |= {clip.id: self.test_corpus.part(clip) for clip in self.tested}
        return dict(sorted(parts.items()))

    @property
    def roots(self) -> dict[str, str]:
        """What stands at the beginning of files in manifests -> the folder it means."""
        roots = {"{data_root}": os.path.abspath(self.corpus.data_folder)}
        if self.test_corpus is not None:
            roots["{test_root}"] = os.path.abspath(self.test_corpus.data_folder)
        return roots

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
        print_others(self.corpus, self.labels)
        if self.test_corpus is not None:
            if self.texts:
                print(f"tested on {self.test_corpus.name}:")
                counts = count_clips(self.test_corpus, self.tested, self.labels)
                print_counts(self.test_corpus, counts, self.labels)
            print_others(self.test_corpus, self.labels)
            if same := self.record["speakers"]["1"]["same_names"]:
                print(
                    f"note: {same} test speakers have names that {self.corpus.name} "
                    "has, too; if they are the same people, the test is not of new "
                    "speakers"
                )
        if self.record["skipped"]:
            print(
                f"note: {len(self.record['skipped'])} unusable clips left out, listed "
                f"in {self.folder / SKIPPED}"
            )
        both = (self.corpus, *filter(None, [self.test_corpus]))
        said = [note for corpus in both for note in corpus.notes]
        for note in (*said, *self.record["notes"]):
            print(f"note: {note}")
        for line in compare_with_full_release(self.corpus, self.counts):
            print(line)


def plan_manifests(
    corpus: Corpus,
    manifest_folder: str | os.PathLike,
    *,
    labels: Sequence[str],
    n_folds: int,
    fold_by: str = "group",
    valid_by: str = "random",
    valid_ratio: float = 0.2,
    valid_session: int | str | None = None,
    split_seed: int = 1234,
    allow_shared_speakers: bool = False,
    skip_bad_audio: bool = False,
    test_corpus: Corpus | None = None,
) -> ManifestPlan:
    """Plan the manifests of all folds; nothing is written.

    Headers of all clips are read, unless the folder is known to be up to date. A
    manifest's bytes depend on what the corpus and the settings say, not on where the
    corpus lies or how the system lists it. It maps an id to ``wav`` (beginning with
    ``{data_root}``), ``duration`` (seconds), ``emo``, ``speaker``, the group under the
    corpus's name for it and, where the corpus has them, ``code``, ``votes``,
    ``vote_counts``, ``traits`` and, of parts of files, ``start`` and ``end`` (seconds).

    Arguments
    ---------
    corpus : Corpus
        From a prepare file.
    manifest_folder : path
        Where ``fold_K/{train,valid,test}.json`` are, or shall be written.
    labels : sequence of str
        The classes. Clips of other classes are left out.
    n_folds, fold_by, valid_by, valid_ratio, valid_session, split_seed, \
    allow_shared_speakers
        See `sercorr.data.splits.make_splits`.
    skip_bad_audio : bool
        Leave out clips that are missing, unreadable, truncated or too short, and list
        them in ``skipped_audio.txt``, rather than refuse.
    test_corpus : Corpus, optional
        Test on all its clips of the labels instead, in one fold. Its name stands before
        its ids and speakers, and ``{test_root}`` before its files.

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
    used = [clip for clip in corpus.utterances if clip.emotion in labels]
    tested: list[Utterance] = []
    if test_corpus is not None:
        require_labels(test_corpus, labels, shared_with=corpus)
        test_corpus = as_other_corpus(test_corpus)
        tested = [clip for clip in test_corpus.utterances if clip.emotion in labels]
    split = partial(
        make_splits,
        corpus,
        n_folds=n_folds,
        fold_by=fold_by,
        valid_by=valid_by,
        valid_ratio=valid_ratio,
        valid_session=valid_session,
        split_seed=split_seed,
        allow_shared_speakers=allow_shared_speakers,
    )
    one = test_corpus is None
    # refuses wrong settings before all headers are read
    splits = split(used, test_clips=None if one else tested)
    folder = Path(manifest_folder)
    settings = {"labels": sorted(labels), "skip_bad_audio": skip_bad_audio}
    record: dict[str, Any] = {
        "settings": {"version": __version__, **settings, **split.keywords},
        "data": [_data_digest(corpus, used)],
    }
    if test_corpus is not None:
        record["data"].append(_data_digest(test_corpus, tested))
    written = _up_to_date(folder, record)
    if written is not None:
        skipped = set(written["skipped"])
        used = [clip for clip in used if clip.id not in skipped]
        tested = [clip for clip in tested if clip.id not in skipped]
        return ManifestPlan(
            corpus, folder, list(labels), used, written, {}, test_corpus, tested
        )
    if test_corpus is not None:
        require_other_files(corpus, used, test_corpus, tested)
    used, problems, resampled = read_durations(corpus, used)
    notes = [resampled]
    lines = {clip.id: _line(corpus, clip) for clip in used}
    if test_corpus is not None:
        tested, others, resampled = read_durations(test_corpus, tested)
        problems |= others
        notes.append(f"{test_corpus.name}: {resampled}" if resampled else "")
        lines |= {c.id: _line(test_corpus, c, "{test_root}") for c in tested}
    if problems and not skip_bad_audio:
        listed = "\n".join(list(problems.values())[:20])
        more = f"\nand {len(problems) - 20} more" if len(problems) > 20 else ""
        raise InputError(
            f"{len(problems)} clips cannot be used:\n{listed}{more}\nmend them, or "
            "leave them out with --skip_bad_audio True"
        )
    if problems:
        splits = split(used, test_clips=None if one else tested)
    copies = count_copies(corpus, splits, used)
    texts = {
        _file(fold, part): "{\n" + ",\n".join(lines[name] for name in ids) + "\n}\n"
        for fold, parts in splits.items()
        for part, ids in parts.items()
    }
    if problems:
        texts[SKIPPED] = "\n".join(problems.values()) + "\n"
    clips = {clip.id: clip for clip in (*used, *tested)}
    record["skipped"] = list(problems)
    notes += missing_classes(splits, clips, labels) + copy_notes(copies)
    record["notes"] = list(filter(None, notes))
    record["speakers"] = {
        str(fold): count_speakers({p: [clips[i] for i in parts[p]] for p in parts})
        for fold, parts in splits.items()
    }
    if test_corpus is not None:
        record["speakers"]["1"]["same_names"] = same_names(used, test_corpus, tested)
    for fold, count in copies.items():
        record["speakers"][str(fold)] |= {"copies": count} if count else {}
    record["files"] = {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()
    }
    return ManifestPlan(
        corpus, folder, list(labels), used, record, texts, test_corpus, tested
    )


def read_splits(
    folder: str | os.PathLike,
    roots: Mapping[str, str | os.PathLike],
    labels: Sequence[str],
    allow_shared_speakers: bool = False,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Read and check the three manifests of a fold.

    Arguments
    ---------
    folder : path
        Of the fold.
    roots : mapping
        What to put in place of the beginnings of files: ``{data_root}`` -> the
        corpus's folder; see `ManifestPlan.roots`.
    labels : sequence of str
        The emotions that may occur.
    allow_shared_speakers : bool
        Accept speakers of the test set in another part.

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
            for name, place in roots.items():
                entry["wav"] = entry["wav"].replace(name, os.path.abspath(place))
        splits[part] = manifest
        speakers[part] = {entry["speaker"] for entry in manifest.values()}
    if not allow_shared_speakers:
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


def _line(corpus: Corpus, clip: Utterance, root: str = "{data_root}") -> str:
    """Return one entry on a line of its own: quick to write, easy to compare."""
    whole = clip.start == 0 and clip.end is None
    entry = {
        "wav": clip.wav if os.path.isabs(clip.wav) else f"{root}/{clip.wav}",
        "start": None if whole else clip.start,
        "end": clip.end,
        "duration": clip.duration,
        **({"corpus": corpus.name} if root != "{data_root}" else {}),
        "emo": clip.emotion,
        "code": clip.code,
        "speaker": clip.speaker,
        # groups that are the speakers need no key of their own
        **({corpus.group_name: clip.group} if corpus.group_name != "speaker" else {}),
        "votes": clip.votes,
        "vote_counts": clip.vote_counts and dict(clip.vote_counts),
        "traits": dict(sorted(clip.traits.items())) if clip.traits else None,
    }
    given = {key: value for key, value in entry.items() if value is not None}
    identity = json.dumps(clip.id, ensure_ascii=False)
    return f"  {identity}: {json.dumps(given, ensure_ascii=False)}"
