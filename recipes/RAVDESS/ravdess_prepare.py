"""Read the speech recordings of RAVDESS (Livingstone & Russo 2018, CC BY-NC-SA 4.0).

A recording's name says all: ``Actor_12/03-01-06-01-02-01-12.wav`` is modality 03 (audio
alone), vocal channel 01 (speech), emotion 06 (fearful), intensity, sentence, repetition
and actor 12. Songs and videos, which other archives of the corpus hold, are not read.
"""

import os
import re
from pathlib import Path

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

EMOTIONS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
)
"""In the order of their numbers, from 01."""

FOLDS = {
    1: (1, 11, 20, 21),
    2: (4, 10, 12, 14),
    3: (8, 9, 19, 23),
    4: (3, 5, 7, 24),
    5: (2, 15, 16, 18),
    6: (6, 13, 17, 22),
}
"""The actors that each of the six usual folds tests."""

_FOLD_OF_ACTOR = {
    f"Actor_{actor:02d}": fold for fold, actors in FOLDS.items() for actor in actors
}
# Each actor says two sentences twice in each emotion and intensity; neutral has one
# intensity, the others two.
_PUBLISHED = {
    fold: {name: 16 if name == "neutral" else 32 for name in EMOTIONS} for fold in FOLDS
}
_NAME = re.compile(r"03-01-(0[1-8])-\d\d-\d\d-\d\d-(\d\d)\.wav")
_LAYOUT = (
    "expected folders Actor_01 to Actor_24 with recordings such as "
    "03-01-06-01-02-01-12.wav (the third number is the emotion, 01 to 08, the last one "
    "the actor)"
)


def read_ravdess(data_folder: str | os.PathLike) -> Corpus:
    """Read the names of all recordings; the six usual folds are the groups, too.

    Raises
    ------
    InputError
        ``data_folder`` does not hold Actor_01 to Actor_24, or some of them; a recording
        has a name of another form, or lies with another actor.
    """
    clips = []
    for path in Path(data_folder).glob("Actor_*/03-01-*.wav"):
        match, actor = _NAME.fullmatch(path.name), path.parent.name
        if not match or actor != f"Actor_{match[2]}" or actor not in _FOLD_OF_ACTOR:
            raise InputError(f"{path}: no recording of this folder; {_LAYOUT}")
        clips.append(
            Utterance(
                id=path.stem,
                wav=f"{actor}/{path.name}",
                emotion=EMOTIONS[int(match[1]) - 1],
                speaker=actor,
                group=_FOLD_OF_ACTOR[actor],
                fold=_FOLD_OF_ACTOR[actor],
            )
        )
    if not clips:
        raise InputError(f"{data_folder}: no speech recording of RAVDESS; {_LAYOUT}")
    return Corpus("RAVDESS", data_folder, clips, "group", published=_PUBLISHED)
