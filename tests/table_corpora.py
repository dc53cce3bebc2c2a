"""Makes small corpora that a table describes. Nothing here is a test."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

PITCH = {"happy": 440.0, "sad": 110.0, "angry": 250.0, "calm": 180.0}
RATE = 16_000


def tone(label: str, number: int, seconds: float = 0.4) -> np.ndarray:
    """A sound that tells its class, a little different for each number."""
    times = np.arange(round(seconds * RATE)) / RATE
    generator = np.random.default_rng(number)
    sound = 0.2 * np.sin(2 * np.pi * (PITCH[label] + 3 * (number % 5)) * times)
    return sound + 0.01 * generator.standard_normal(len(times))


def make_table(
    folder: Path,
    labels: Sequence[str] = ("happy", "sad", "angry"),
    speakers: Sequence[str] = ("Ann", "Bob", "Cyd", "Dan"),
    each: int = 4,
    seed: int = 0,
) -> Path:
    """Write ``each`` clips of each label and speaker, and ``table.csv`` beside them."""
    rows = []
    for place, speaker in enumerate(speakers):
        for label in labels:
            for number in range(each):
                name = f"wavs/{speaker}_{label}_{number}.wav"
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(label, seed + 100 * place + number), RATE)
                rows.append({"file": name, "emotion": label, "speaker": speaker})
    return write_rows(folder / "table.csv", rows)


def write_rows(path: Path, rows: Sequence[dict]) -> Path:
    """Write rows as CSV, with the columns of the first."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict]:
    """Read rows of CSV."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
