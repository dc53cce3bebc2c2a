"""A small corpus of another kind than IEMOCAP. Nothing here is a test."""

from pathlib import Path

import numpy as np
import soundfile

from sercorr.data.manifests import ManifestPlan, plan_manifests
from sercorr.data.utterances import Corpus, Utterance

DAYS = ("day1", "day2", "day10")
LABELS = ["glad", "sad", "calm"]
PARTS = ("train", "valid", "test")


def make_diary(folder: Path) -> Corpus:
    """Three days of two speakers and twelve clips of 0.1 s, four of each emotion."""
    clips = []
    for day in DAYS:
        for i in range(12):
            name, emotion = f"{day}-{i:02d}", LABELS[i % 3]
            clip = Utterance(
                id=name,
                wav=f"{day}/{name}.wav",
                emotion=emotion,
                speaker=f"{day}-{'AB'[i // 6]}",
                group=day,
                code="merry" if i == 0 else emotion,
                votes=[[emotion], ["Übermut", "sad"]],
                place=f"labels.txt, line {i}",
            )
            path = folder / clip.wav
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(1600 + i), 16000)
            clips.append(clip)
    clips.append(
        Utterance("day1-x", "day1/x.wav", None, "day1-A", "day1", code="bored")
    )
    return Corpus("Diary", folder, clips, "day", codes={"glad": ("glad", "merry")})


def plan(corpus: Corpus, folder: Path, **settings) -> ManifestPlan:
    """Plan the diary's three folds, or what ``settings`` say instead."""
    return plan_manifests(
        corpus, folder, **{"labels": LABELS, "n_folds": 3, **settings}
    )


def prepare(corpus: Corpus, folder: Path, **settings) -> ManifestPlan:
    """Plan and write."""
    made = plan(corpus, folder, **settings)
    made.write()
    return made
