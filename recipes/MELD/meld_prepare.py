#!/usr/bin/env python3
"""Read MELD (Poria et al. 2019): turns of the series Friends, in its official split.

MELD comes as videos. Run as a program, this takes the sound out of them and lays the
labels beside it, so that the recipe's ``data_folder`` is AUDIO_FOLDER alone::

    python meld_prepare.py MELD.Raw AUDIO_FOLDER

A label file is a CSV with the columns Utterance, Speaker, Emotion, Dialogue_ID,
Utterance_ID and others; turn 3 of dialogue 0 is ``dia0_utt3``. Dialogues are counted
anew in each part of the split, so ids begin with the part: ``train_dia0_utt3``.
"""

import argparse
import os
import shutil
import string
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.corpora.rows import Row, read_rows
from sercorr.data.utterances import UNKNOWN, Corpus, Utterance
from sercorr.errors import InputError, run_program
from sercorr.files import atomic_path, require_writable

LABELS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")

VIDEOS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
"""Part of the split -> the folder in which the release has its videos."""

LEFT_OUT = {
    "train_dia125_utt3": "its video is broken",
    "dev_dia110_utt7": "its video is not in the release",
    "test_dia38_utt4": "its video holds a scene of 305 s",
    "test_dia220_utt0": "its video holds another scene, of 235 s",
}
"""Turns whose sound is not there."""

PUBLISHED = {
    "train": (4710, 1743, 1205, 1109, 683, 271, 268),
    "dev": (470, 163, 150, 153, 111, 22, 40),
    "test": (1256, 402, 281, 345, 208, 68, 50),
}
"""Turns of each part, in the order of `LABELS`: 9,989, 1,109 and 2,610."""

_COLUMNS = ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_LISTED = 20  # failures that are listed


def read_meld(data_folder: str | os.PathLike) -> Corpus:
    """Read the labels of a folder that this file's program made.

    Parts of the split are the groups, under the corpus's names ``train``, ``dev`` and
    ``test``. Names of speakers are made equal in spaces and capitals alone: who is
    called "Man" in two dialogues, or "All", is one speaker here.

    Arguments
    ---------
    data_folder : path
        Has ``train_sent_emo.csv``, ``train/dia0_utt0.wav`` and so on.

    Returns
    -------
    Corpus
        Without the turns of `LEFT_OUT`, which its notes name.

    Raises
    ------
    InputError
        A label file is missing or cannot be parsed; an emotion is unknown; a turn is
        labelled twice; a part has no sound, as in the release itself.
    """
    root = Path(data_folder)
    labelled = _read_labels(root)
    for part in VIDEOS:
        if not any((root / part).glob("dia*_utt*.wav")):
            raise InputError(
                f"{root / part}: no dia*_utt*.wav is there. MELD comes as videos: take "
                f"the sound out with `python recipes/MELD/meld_prepare.py {root} "
                "AUDIO_FOLDER`, then give AUDIO_FOLDER as data_folder"
            )
    left_out = [clip for clip in labelled if clip.id in LEFT_OUT]
    # What is always left out is no difference from the full release.
    missing = Counter((clip.group, clip.emotion) for clip in left_out)
    published = {
        part: {
            label: count - missing[part, label]
            for label, count in zip(LABELS, counts, strict=True)
        }
        for part, counts in PUBLISHED.items()
    }
    return Corpus(
        "MELD",
        root,
        [clip for clip in labelled if clip.id not in LEFT_OUT],
        group_name="split",
        published=published,
        notes=[f"{clip.id} is left out: {LEFT_OUT[clip.id]}" for clip in left_out],
    )


def extract_audio(
    data_folder: str | os.PathLike, audio_folder: str | os.PathLike
) -> list[str]:
    """Write the sound of every labelled turn as 16 kHz mono, and copy the labels.

    Several videos are read at a time. A file gets its name once it is whole, so that
    what is there is not made again.

    Arguments
    ---------
    data_folder : path
        The unpacked release.
    audio_folder : path
        Where to write ``train/dia0_utt0.wav``, ``train_sent_emo.csv`` and so on.

    Returns
    -------
    list of str
        A line for each turn that failed, sorted by id.

    Raises
    ------
    InputError
        The labels cannot be read, no video is there, ffmpeg is not installed, or
        nothing can be written.
    """
    root, out = Path(data_folder), Path(audio_folder)
    clips = [clip for clip in _read_labels(root) if clip.id not in LEFT_OUT]
    videos = {clip.id: _find_video(root, clip) for clip in clips}
    if not any(videos.values()):
        raise InputError(
            f"{root}: no video such as {VIDEOS['train']}/dia0_utt0.mp4 is there; "
            "unpack train.tar.gz, dev.tar.gz and test.tar.gz"
        )
    if shutil.which("ffmpeg") is None:
        raise InputError(
            "ffmpeg is not installed, and MELD's sound is inside videos; install it "
            "(apt install ffmpeg, brew install ffmpeg, or conda install ffmpeg) and "
            "run this again"
        )
    require_writable(out)
    for part in VIDEOS:
        with atomic_path(out / f"{part}_sent_emo.csv") as temporary:
            shutil.copyfile(_label_file(root, part), temporary)

    def extract(clip: Utterance) -> str | None:
        video, target = videos[clip.id], out / clip.wav
        if target.exists():
            return None
        if video is None:
            return f"{clip.id}: its video is missing (labelled in {clip.place})"
        return _extract(video, target)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        results = pool.map(extract, clips)
        bar = tqdm(results, "extracting", len(clips), unit="clip", disable=None)
        return [complaint for complaint in bar if complaint]


def _extract(video: Path, target: Path) -> str | None:
    """Convert one video; return what ffmpeg complained about, if it failed."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(video), "-vn"]
    # The mixture of six channels is ffmpeg's own: the speech of 5.1 sound is in the
    # centre, and the first channel alone, which some take, would lose it.
    command += ["-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le"]
    command += ["-map_metadata", "-1", "-bitexact", "-f", "wav"]  # no version, no date
    try:
        with atomic_path(target) as temporary:
            subprocess.run(
                [*command, str(temporary)],
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"exit status {error.returncode}"
        return f"{video}: {last}"
    return None


def _read_labels(root: Path) -> list[Utterance]:
    """Return all turns, also those that are left out, sorted by id."""
    clips = []
    for part in VIDEOS:
        file = _label_file(root, part)
        for row in _rows(file):
            place = f"{file}, line {row.line}"
            emotion = row["Emotion"].lower()
            if emotion not in LABELS:
                raise InputError(
                    f"{place}: unknown emotion {row['Emotion']!r}; it must be one of "
                    f"{', '.join(LABELS)}"
                )
            try:
                name = f"dia{int(row['Dialogue_ID'])}_utt{int(row['Utterance_ID'])}"
            except ValueError:
                raise InputError(
                    f"{place}: Dialogue_ID is {row['Dialogue_ID']!r} and Utterance_ID "
                    f"{row['Utterance_ID']!r}; both must be whole numbers"
                ) from None
            clips.append(
                Utterance(
                    id=f"{part}_{name}",
                    wav=f"{part}/{name}.wav",
                    emotion=emotion,
                    speaker=string.capwords(row["Speaker"]) or UNKNOWN,
                    group=part,
                    split="valid" if part == "dev" else part,
                    place=place,
                )
            )
    return sorted(clips, key=lambda clip: clip.id)


def _rows(file: Path) -> list[Row]:
    rows = read_rows(file)
    if missing := [name for name in _COLUMNS if name not in rows[0]]:
        raise InputError(
            f"{file}: no column {', '.join(missing)} in its first line; copy it again"
        )
    return rows


def _label_file(root: Path, part: str) -> Path:
    name = f"{part}_sent_emo.csv"
    for file in (root / name, root / part / name):  # train's lies inside train.tar.gz
        if file.is_file():
            return file
    raise InputError(
        f"{root}: {name} is missing, also in its folder {part}; give the folder "
        "MELD.Raw with its archives unpacked, or what meld_prepare.py made of it"
    )


def _find_video(root: Path, clip: Utterance) -> Path | None:
    """Look a turn's video up by its whole name, as others lie beside it."""
    part, name = str(clip.group), Path(clip.wav).with_suffix(".mp4").name
    folders = (root / VIDEOS[part], root / part / VIDEOS[part], root / part)
    videos = (folder / name for folder in folders)
    return next((video for video in videos if video.is_file()), None)


def main() -> int:
    """Take the sound out of the videos, from the command line."""
    parser = argparse.ArgumentParser(
        description="Take the sound out of MELD's videos with ffmpeg, as 16 kHz mono. "
        "What is there already is kept: run it again to go on."
    )
    add = parser.add_argument
    add("data_folder", metavar="DATA", help="MELD.Raw, with its archives unpacked")
    add("audio_folder", metavar="AUDIO_FOLDER", help="where to write; made if missing")
    given = parser.parse_args()
    failed = extract_audio(given.data_folder, given.audio_folder)
    if not failed:
        print(f"{given.audio_folder}: all turns are there")
        return 0
    print(*failed[:_LISTED], sep="\n")
    more = f", {len(failed) - _LISTED} more than listed" if failed[_LISTED:] else ""
    print(
        f"{len(failed)} turns failed{more}; the others are in {given.audio_folder}. "
        "Mend these and run this again, or train with --skip_bad_audio True"
    )
    return 1


if __name__ == "__main__":
    run_program(main)
