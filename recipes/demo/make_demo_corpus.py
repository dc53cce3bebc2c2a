"""Make a small corpus of acted synthetic speech in IEMOCAP's layout.

Ten voices in five sessions say the same sentences in four emotions. The voices are
espeak-ng's, the labels and raters' votes are made up. It serves to show and to test
the recipe where the real corpus is not at hand; results on it say nothing about
people.

    python make_demo_corpus.py FOLDER [--turns 50] [--seed 1]
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from demo_script import RATERS, STYLES, Turn, write_script
from espeak_voice import speak_all
from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError, run_program
from sercorr.files import make_folder, read_json, write_json, write_text

SESSIONS = (1, 2, 3, 4, 5)
LEAST_TURNS = 16  # each speaker acts each emotion twice
MARKER = "demo_corpus.json"
VERSION = 1  # of the corpus; raise it when the same seed gives other sound

NOISE_LEVEL = -50.0  # dB re full scale: the room, the same in every clip
FIRST_TURN = 5.0  # seconds from the dialog's start


def make_demo_corpus(
    folder: str | os.PathLike, turns: int = 50, seed: int = 1, progress: bool = True
) -> bool:
    """Make the corpus, whole or not at all.

    Arguments
    ---------
    folder : path
        Where the corpus shall be.
    turns : int
        Turns per session, at least 16.
    seed : int
        The same seed gives the same files.
    progress : bool
        Show a progress bar.

    Returns
    -------
    bool
        True if it was made, False if it was there with the same settings.
    """
    folder = Path(folder)
    if turns < LEAST_TURNS:
        raise InputError(f"turns is {turns}; it must be at least {LEAST_TURNS}")
    clips = turns * len(SESSIONS)
    settings = {"version": VERSION, "turns": turns, "seed": seed, "clips": clips}
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        _require_same(folder, settings)
        return False
    make_folder(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        corpus = make_folder(temporary / "corpus")
        _write_sessions(corpus, turns, seed, progress)
        write_json(corpus / MARKER, settings)
        os.rename(corpus, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _require_same(folder: Path, settings: dict[str, int]) -> None:
    """Refuse a folder that holds anything but the whole corpus of these settings."""
    remedy = "remove it or choose another folder"
    if not (folder / MARKER).is_file():
        raise InputError(f"{folder}: is something other than a demo corpus; {remedy}")
    found = read_json(folder / MARKER)
    if found != settings:
        raise InputError(
            f"{folder}: is a demo corpus made with other settings ({found}, wanted "
            f"{settings}); {remedy}"
        )
    clips = sum(1 for _ in folder.glob("Session*/sentences/wav/*/*.wav"))
    if clips != settings["clips"]:
        raise InputError(
            f"{folder}: holds {clips} clips of {settings['clips']}; remove the folder "
            "to make it again"
        )


def _write_sessions(corpus: Path, turns: int, seed: int, progress: bool) -> None:
    """Write all sounds, then the labels with their durations."""
    script = [turn for number in SESSIONS for turn in write_script(number, turns, seed)]
    speech = speak_all([turn.utterance for turn in script])
    bar = tqdm(speech, "synthesising speech", len(script), disable=not progress)
    noise = np.random.default_rng(seed)
    timed = []
    for turn, (samples, sample_rate) in zip(script, bar, strict=True):
        wav = torch.from_numpy(samples.astype(np.float32))
        wav = torchaudio.functional.resample(wav, sample_rate, SAMPLE_RATE).numpy()
        wav = wav + noise.normal(0, 32768 * 10 ** (NOISE_LEVEL / 20), len(wav))
        wav = np.clip(np.rint(wav), -32768, 32767).astype(np.int16)
        folder = make_folder(_session(corpus, turn) / "sentences" / "wav" / turn.dialog)
        path = folder / f"{turn.name}.wav"
        soundfile.write(path, wav, SAMPLE_RATE, subtype="PCM_16")
        timed.append((turn, len(wav) / SAMPLE_RATE))
    for dialog, group in groupby(timed, key=lambda pair: pair[0].dialog):
        pairs = list(group)
        folder = _session(corpus, pairs[0][0]) / "dialog" / "EmoEvaluation"
        write_text(folder / f"{dialog}.txt", _evaluation(pairs))


def _session(corpus: Path, turn: Turn) -> Path:
    return corpus / f"Session{int(turn.dialog[3:5])}"


def _evaluation(turns: Sequence[tuple[Turn, float]]) -> str:
    """Write one dialog's label file from its turns and their seconds."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    end = FIRST_TURN
    for turn, seconds in turns:
        start = end + turn.pause
        end = start + seconds
        val, act, dom = STYLES[turn.code].affect
        lines.append(
            f"[{start:.4f} - {end:.4f}]\t{turn.name}\t{turn.code}\t"
            f"[{val:.4f}, {act:.4f}, {dom:.4f}]"
        )
        for rater, categories in zip(RATERS, turn.votes, strict=True):
            lines.append(f"C-{rater}:\t{'; '.join(categories)};\t()")
        affect = f"val {val}; act {act}; dom  {dom};"
        lines += [*(f"A-{rater}:\t{affect}\t()" for rater in RATERS[:2]), ""]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", help="where the corpus shall be")
    parser.add_argument("--turns", type=int, default=50, help="turns per session (50)")
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn (1)")
    options = parser.parse_args(arguments)
    if make_demo_corpus(options.folder, options.turns, options.seed):
        print(f"{options.folder}: made ({len(SESSIONS)} x {options.turns} turns)")
    else:
        print(f"{options.folder}: already there")


if __name__ == "__main__":
    run_program(main)
