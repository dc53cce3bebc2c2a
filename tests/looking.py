"""Small corpora to look at, and what the command prints of them. No test is here."""

import csv
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import soundfile

from sercorr.cli import make_parser

RATE = 16000


def write(path: Path, seconds: float, seed: int, rate: int = RATE, channels: int = 1):
    """Write noise that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(
        0, 0.1, (round(seconds * rate), channels)
    )
    soundfile.write(path, noise, rate, subtype="PCM_16")


def write_csv(path: Path, rows: list[dict]) -> Path:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_rows(folder: Path) -> list[dict]:
    """Make 48 clips: 6 speakers in three groups, four labels, 0.5 to 1.44 s."""
    made = []
    for i in range(48):
        row = {
            "file": f"wavs/{i:02d}.wav",
            "emotion": ("glad", "sad", "calm", "merry")[i % 4],
            "speaker": f"p{i // 8}",
            "group": i // 16 + 1,
        }
        write(folder / row["file"], 0.5 + 0.02 * i, seed=i)
        made.append(row)
    return made


def run(*words: object) -> int:
    given: Namespace = make_parser().parse_args(["corpus", *map(str, words)])
    return given.run(given) or 0


def look(capsys, *words: object) -> tuple[str, int]:
    status = run(*words)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out, status


def figures_of(tmp_path, *words: object) -> dict:
    run(*words, "--json", tmp_path / "all.json", "--quiet")
    return json.loads((tmp_path / "all.json").read_text())


def cells(text: str, first: str) -> list[str]:
    """Return the only line that begins with a word, cell by cell."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [first]]
    return line.split()


def block(text: str, title: str) -> str:
    """Return the table below a title."""
    return text.partition(f"{title}\n\n")[2].partition("\n\n")[0]
