#!/usr/bin/env python3
"""Make a table of parts of clips: without silence at both ends, of equal length, fewer.

    python cut_clips.py TABLE.csv OUT.csv [--silence 40] [--seconds 2] [--every 2]

The audio is not copied: the new table has the columns start and end. It serves
experiments that ask what a result depends on.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.corpora.tables import read_table, write_table
from sercorr.data.audio import Part, read_samples
from sercorr.data.utterances import Utterance
from sercorr.errors import InputError, run_program

STEP = SAMPLE_RATE // 100  # 10 ms


def main(arguments: Sequence[str]) -> None:
    """Write the new table; say what it has."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0], prog="cut_clips.py"
    )
    parser.add_argument(
        "table", metavar="TABLE.csv", help="a table of the Table recipe"
    )
    parser.add_argument("out", metavar="OUT.csv", help="the table to write")
    parser.add_argument(
        "--silence",
        type=float,
        metavar="DB",
        help="leave out what lies before the first and after the last 10 ms that are "
        "at most so many decibels below the loudest",
    )
    parser.add_argument(
        "--seconds", type=float, help="then keep the middle, if the clip is longer"
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="keep every N-th clip of each speaker and class only",
    )
    given = parser.parse_args(arguments)
    for name in ("silence", "seconds", "every"):
        value = getattr(given, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value}; it must be greater than 0")
    corpus = read_table(given.table)
    seen: Counter = Counter()
    clips = []
    for clip in tqdm(corpus.utterances, "cutting", unit="clip", leave=False):
        kind = (clip.speaker, clip.emotion)
        seen[kind] += 1
        if (seen[kind] - 1) % given.every == 0:
            part = corpus.part(clip)
            clips.append(cut(clip, part, given.silence, given.seconds))
    if Path(given.out).resolve() == Path(given.table).resolve():
        raise InputError(f"{given.out}: it is the table that is read; name another")
    write_table(replace(corpus, utterances=clips), given.out)
    lengths = [float(clip.end or 0) - clip.start for clip in clips]
    print(
        f"{given.out}: {len(clips)} of {len(corpus.utterances)} clips, "
        f"{np.mean(lengths):.2f} s on average"
    )


def cut(
    clip: Utterance, part: Part, silence: float | None, seconds: float | None
) -> Utterance:
    """Give the part of a clip that stays; ``part`` is what the clip is read from."""
    samples = read_samples(part.file, part.start, part.end)
    first, last = 0, len(samples)
    if silence is not None:
        steps = samples[: len(samples) // STEP * STEP].reshape(-1, STEP)
        energy = np.square(steps, dtype=np.float64).mean(axis=1)
        loud = np.flatnonzero(energy >= energy.max() * 10 ** (-silence / 10))
        first, last = loud[0] * STEP, (loud[-1] + 1) * STEP
    if seconds is not None:
        spare = max(0, last - first - round(seconds * SAMPLE_RATE))
        first, last = first + spare // 2, last - (spare - spare // 2)
    start = clip.start + first / SAMPLE_RATE
    return replace(clip, start=start, end=clip.start + last / SAMPLE_RATE)


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
