"""A small corpus of another kind than IEMOCAP. Nothing here is a test."""

from pathlib import Path

import numpy as np
import soundfile

from sercorr.data.manifests import ManifestPlan, plan_manifests
from sercorr.data.utterances import Corpus, Utterance

DAYS = ("day1", "day2", "day3")
LABELS = ["glad", "sad", "calm"]
PARTS = ("train", "valid", "test")


def make_diary(folder: Path) -> Corpus:
    """Three days of two speakers and twelve clips of 0.1 s, four of each emotion."""
    clips = [Utterance("x", "x.wav", None, "day1-A", "day1", code="bored")]
    for number in range(36):
        day, i = DAYS[number // 12], number % 12
        name, emotion = f"{day}-{i:02d}", LABELS[i % 3]
        path = folder / day / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(1600 + i, number / 99), 16000)
        clips.append(
            Utterance(
                id=name,
                wav=f"{day}/{name}.wav",
                emotion=emotion,
                speaker=f"{day}-{'AB'[i // 6]}",
                group=day,
                code="merry" if i == 0 else emotion,
                votes=[[emotion], ["Übermut", "sad"]],
                place=f"labels.txt, line {i}",
            )
        )
    return Corpus("Diary", folder, clips, "day", codes={"glad": ("glad", "merry")})


def plan(corpus: Corpus, folder: Path, **settings) -> ManifestPlan:
    """Plan the diary's three folds, or what ``settings`` say instead."""
    given = {"labels": LABELS, "n_folds": 3, **settings}
    return plan_manifests(corpus, folder, **given)


def prepare(corpus: Corpus, folder: Path, **settings) -> ManifestPlan:
    """Plan and write."""
    made = plan(corpus, folder, **settings)
    made.write()
    return made
