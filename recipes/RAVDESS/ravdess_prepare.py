"""Read the speech recordings of RAVDESS (Livingstone & Russo 2018, CC BY-NC-SA 4.0).

A recording's name says all: ``Actor_12/03-01-06-01-02-01-12.wav`` is modality 03 (audio
alone), vocal channel 01 (speech), emotion 06 (fearful), intensity, sentence, repetition
and actor 12. Songs and videos, which other archives of the corpus hold, are left out.
"""

import os
import re
from collections import Counter
from pathlib import Path

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
FOLDS = {
    1: (1, 11, 20, 21),
    2: (4, 10, 12, 14),
    3: (8, 9, 19, 23),
    4: (3, 5, 7, 24),
    5: (2, 15, 16, 18),
    6: (6, 13, 17, 22),
}
"""The actors that each of the six usual folds tests."""

_FOLD_OF_ACTOR = {actor: fold for fold, actors in FOLDS.items() for actor in actors}
# Each actor says two sentences twice in each emotion and intensity; neutral has one
# intensity, the others two.
_PUBLISHED = {
    fold: {
        emotion: len(actors) * (4 if emotion == "neutral" else 8)
        for emotion in EMOTIONS.values()
    }
    for fold, actors in FOLDS.items()
}
_NAME = re.compile(r"(0[1-3])-(0[12])-(\d\d)-\d\d-\d\d-\d\d-(\d\d)\.(?:wav|mp4)")
_LAYOUT = (
    "expected folders Actor_01 to Actor_24 with recordings such as "
    "03-01-06-01-02-01-12.wav"
)


def read_ravdess(data_folder: str | os.PathLike) -> Corpus:
    """Read the names of all recordings.

    Arguments
    ---------
    data_folder : path
        The folder that holds Actor_01 to Actor_24.

    Returns
    -------
    Corpus
        With the six usual folds of actors; they are its groups, too.

    Raises
    ------
    InputError
        The folder is no copy of RAVDESS; a recording has a name of another form, or
        lies with another actor.
    """
    data_folder = Path(data_folder)
    if not data_folder.is_dir():
        raise InputError(f"{data_folder}: no such folder; {_LAYOUT}")
    clips: list[Utterance] = []
    left_out: Counter = Counter()
    for path in sorted(data_folder.glob("Actor_*/[!.]*")):
        if path.suffix not in (".wav", ".mp4"):
            continue
        match = _NAME.fullmatch(path.name)
        modality, channel, code, number = match.groups() if match else [""] * 4
        fold = _FOLD_OF_ACTOR.get(int(number or 0))
        if code not in EMOTIONS or fold is None or path.parent.name[6:] != number:
            raise InputError(
                f"{path}: not the name of a recording in this folder; {_LAYOUT} (its "
                "last number is the actor's, its third the emotion, 01 to 08)"
            )
        if modality != "03" or path.suffix != ".wav":
            left_out["video"] += 1
        elif channel != "01":
            left_out["song"] += 1
        else:
            clips.append(
                Utterance(
                    id=path.stem,
                    wav=f"{path.parent.name}/{path.name}",
                    emotion=EMOTIONS[code],
                    speaker=path.parent.name,
                    group=fold,
                    fold=fold,
                )
            )
    if not clips:
        nested = sorted(path.parent for path in data_folder.glob("*/Actor_01"))
        hint = f"; did you mean {nested[0]}?" if nested else ""
        raise InputError(f"{data_folder}: no speech recording; {_LAYOUT}{hint}")
    return Corpus(
        "RAVDESS",
        data_folder,
        clips,
        group_name="group",
        published=_PUBLISHED,
        totals={"actors": (len({clip.speaker for clip in clips}), len(_FOLD_OF_ACTOR))},
        left_out=left_out,
    )
