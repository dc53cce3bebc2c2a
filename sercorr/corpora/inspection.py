"""What the audio files of a corpus are: lengths, formats, faults, copies.

Headers are read, and files compared byte by byte where they may be equal; no samples
are decoded.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import soundfile

from sercorr.data.audio import AudioInfo, read_header, require_one_frame
from sercorr.data.copies import find_equal_files, in_threads
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError


class Format(NamedTuple):
    """What many files have in common: libsndfile's names, rate (Hz), channels."""

    name: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class Inspection:
    """What was found out about the files of some clips, by `inspect_files`.

    ``durations`` maps the id of each usable clip to its seconds, ``formats`` each
    format to its number of files; ``faults`` maps ``missing``, ``unreadable``,
    ``beyond the end`` (of the file) and ``too short``, those that occur, to id ->
    complaint of the clips that cannot be used.
    """

    durations: dict[str, float]
    formats: dict[Format, int]
    faults: dict[str, dict[str, str]]


def inspect_files(
    corpus: Corpus, clips: Sequence[Utterance], quiet: bool = False
) -> Inspection:
    """Read the headers of all files of ``clips``, each file once.

    Arguments
    ---------
    corpus : Corpus
        Says where the files are.
    clips : sequence of Utterance
        Of the corpus.
    quiet : bool
        Show no progress bar; without it, one shows if reading takes a while.

    Returns
    -------
    Inspection
        A clip is a fault where `sercorr.data.manifests.plan_manifests` would refuse it.
    """
    parts = {clip.id: corpus.part(clip) for clip in clips}
    places = list(dict.fromkeys(os.fspath(part.file) for part in parts.values()))
    read = in_threads(_read_file, places, "reading headers", quiet)
    files = dict(zip(places, read, strict=True))
    durations: dict[str, float] = {}
    faults: dict[str, dict[str, str]] = defaultdict(dict)
    for clip in clips:
        part = parts[clip.id]
        found = files[os.fspath(part.file)]
        kind = "beyond the end"
        try:
            if isinstance(found, _Fault):
                kind = found.kind
                raise InputError(found.message)
            info = part.of(found[0])
            kind = "too short"
            require_one_frame(part, info)
        except InputError as error:
            at = f" (labelled in {clip.place})" if clip.place else ""
            faults[kind][clip.id] = f"{error}{at}"
            continue
        durations[clip.id] = info.seconds
    formats = Counter(
        Format(found[1], found[0].sample_rate, found[0].channels)
        for found in files.values()
        if not isinstance(found, _Fault)
    )
    return Inspection(durations, dict(formats.most_common()), dict(faults))


def find_copies(
    corpus: Corpus,
    clips: Sequence[Utterance],
    durations: dict[str, float],
    quiet: bool = False,
) -> list[list[Utterance]]:
    """Find clips with the very same audio: the same part of byte-identical files.

    Arguments
    ---------
    corpus, clips, quiet
        As for `inspect_files`.
    durations : dict
        What `inspect_files` found; clips that are not in it are left out.

    Returns
    -------
    list of list of Utterance
        Two or more clips each, in the order of ``clips``.
    """
    root = os.path.abspath(corpus.data_folder)
    file_of = {
        clip.id: os.path.join(root, clip.wav) for clip in clips if clip.id in durations
    }
    # Equal to itself, as two entries may name the same part of one file.
    original = {place: place for place in file_of.values()}
    for equal in find_equal_files(original, quiet):
        original.update(dict.fromkeys(equal, equal[0]))
    copies: dict[tuple[str, float, float], list[Utterance]] = defaultdict(list)
    for clip in clips:
        if clip.id in file_of:
            part = (round(clip.start, 6), round(durations[clip.id], 6))
            copies[original[file_of[clip.id]], *part].append(clip)
    return [equal for equal in copies.values() if len(equal) > 1]


class _Fault(NamedTuple):
    kind: str
    message: str


def _read_file(place: str) -> tuple[AudioInfo, str] | _Fault:
    try:
        info = read_header(place)
    except InputError as error:
        kind = "unreadable" if os.path.exists(place) else "missing"
        return _Fault(kind, str(error))
    found = soundfile.info(place)
    return info, f"{found.format} {found.subtype}"
