"""Makes small releases in IEMOCAP's layout, for tests. Nothing here is a test.

`make_release` gives a few clips a session, with sounds that tell the four classes
apart, in well under a second; `make_full_release` gives the 151 dialogs and 10,039
turns of the real one, with clips of one frame.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
SESSIONS = (1, 2, 3, 4, 5)
CODES = ("neu", "hap", "ang", "sad", "neu", "exc", "ang", "sad")
"""Codes of a session's turns, over and over: every class twice in eight turns."""

CATEGORIES = {
    "neu": "Neutral state",
    "hap": "Happiness",
    "exc": "Excited",
    "ang": "Anger",
    "sad": "Sadness",
    "fru": "Frustration",
    "xxx": "Other",
}

# Pitch (relative to the voice), glide of the pitch over the clip, wobbles a second,
# fall of the harmonics, loudness, share of noise.
SOUNDS = {
    "neu": (1.0, 1.0, 0.0, 1.5, 0.10, 0.02),
    "hap": (1.6, 1.5, 6.0, 1.0, 0.20, 0.02),
    "ang": (1.3, 0.9, 11.0, 0.3, 0.45, 0.30),
    "sad": (0.8, 0.7, 2.0, 2.5, 0.04, 0.01),
}

# Table of the full release: ang, hap, exc, sad, neu, dialogs, turns.
FULL = {
    1: (229, 135, 143, 194, 384, 28, 1819),
    2: (137, 117, 210, 197, 362, 30, 1811),
    3: (240, 135, 151, 305, 320, 32, 2136),
    4: (327, 65, 238, 143, 258, 30, 2103),
    5: (170, 143, 299, 245, 384, 31, 2170),
}


def make_release(
    folder: Path,
    turns_per_session: int = 8,
    seconds: tuple[float, float] = (0.5, 1.5),
    seed: int = 0,
    odd: bool = True,
) -> Path:
    """Make a small release that a classifier can learn.

    Each session has two voices (one low, one high) in two dialogs, both voices and all
    four classes as evenly as the number of turns allows; ``seed`` decides durations and
    sounds, not the names. ``odd`` adds what real releases have: irregular names
    (``Ses03M_impro05a``, ``Ses05M_script01_1b``, ``Ses01F_script02_2_MXX0``), ``xxx``
    and ``fru`` turns, raters' files in sub-folders, macOS's ``._*`` files,
    self-reports, several categories to a line, Windows line ends (session 2) and
    Latin-1 comments (session 4).
    """
    rng = np.random.default_rng(seed)
    for session in SESSIONS:
        dialogs = _dialogs(session, odd)
        codes = [CODES[i % len(CODES)] for i in range(turns_per_session)]
        codes += ["xxx", "fru"] if odd else []
        blocks: dict[str, list[str]] = {dialog: [] for dialog in dialogs}
        for i, code in enumerate(codes):
            dialog = dialogs[i // 4 % 2]
            voice = "FM"[(i + i // 4) % 2]  # each class with both voices
            number = f"{len(blocks[dialog]):03d}"
            if dialog.endswith("script02_2") and voice == "M" and odd:
                number = f"XX{len(blocks[dialog])}"
            turn = f"{dialog}_{voice}{number}"
            length = int(rng.uniform(*seconds) * RATE)
            sound = make_sound(code, voice == "F", session, length, rng)
            write_clip(folder, turn, sound)
            blocks[dialog].append(label_block(turn, code, odd))
        for dialog in dialogs:
            content = label_file(blocks[dialog])
            if odd and session == 2:
                content = content.replace(b"\n", b"\r\n")
            if odd and session == 4:
                content = content.replace(b"(none)", b"(d\xe9j\xe0 vu; why\x85 not)")
            write_labels(folder, dialog, content)
            if odd:
                _clutter(folder, session, dialog, content)
    return folder


def make_full_release(folder: Path) -> Path:
    """Make a release with the full one's counts of dialogs, turns and codes.

    Each clip is one frame of silence; turns outside the four classes have none.
    """
    clip = folder / "clip.wav"
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(clip, np.zeros(400), RATE, subtype="PCM_16")
    frame = clip.read_bytes()
    clip.unlink()
    for session, (*counts, dialogs, turns) in FULL.items():
        codes = [
            code
            for code, count in zip(
                ("ang", "hap", "exc", "sad", "neu"), counts, strict=True
            )
            for _ in range(count)
        ]
        codes += [("xxx", "fru")[i % 2] for i in range(turns - len(codes))]
        for d in range(dialogs):
            dialog = f"Ses0{session}{'FM'[d % 2]}_impro{d // 2 + 1:02d}"
            clips = _clip_folder(folder, dialog)
            blocks = []
            for i, code in enumerate(codes[d::dialogs]):
                turn = f"{dialog}_{'FM'[i % 2]}{i // 2:03d}"
                if code in CODES:
                    (clips / f"{turn}.wav").write_bytes(frame)
                blocks.append(label_block(turn, code))
            write_labels(folder, dialog, label_file(blocks))
    return folder


def make_sound(
    code: str, high: bool, session: int, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Make (length,) samples of a buzz whose pitch, shape and loudness tell the class.

    ``high`` is the higher of a session's two voices; ``rng`` decides phases, noise and
    small variations.
    """
    name = {"exc": "hap", "xxx": "neu", "fru": "neu"}.get(code, code)
    pitch, glide, wobble, fall, loudness, noise = SOUNDS[name]
    time = np.arange(length) / RATE
    hertz = (190 if high else 110) * (1 + 0.03 * session) * rng.uniform(0.95, 1.05)
    track = hertz * pitch * glide ** np.linspace(0, 1, length)
    phase = 2 * np.pi * np.cumsum(track) / RATE
    harmonics = np.arange(1, 13)[:, None]
    wave = (harmonics**-fall * np.sin(harmonics * phase + rng.uniform(0, 6.28))).sum(0)
    wave *= 1 + 0.6 * np.sin(2 * np.pi * wobble * time)
    wave = wave / np.abs(wave).max() + noise * rng.standard_normal(length)
    wave *= np.minimum(1, np.minimum(time, time[::-1]) / 0.05)  # soft ends
    return loudness * wave / max(np.abs(wave).max(), 1e-9)


def write_clip(folder: Path, turn: str, sound: np.ndarray) -> Path:
    """Write a turn's clip (16 kHz, mono, 16 bit) where the release keeps it."""
    path = _clip_folder(folder, turn.rsplit("_", 1)[0]) / f"{turn}.wav"
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    return path


def write_labels(folder: Path, dialog: str, content: bytes) -> Path:
    """Write a dialog's label file where the release keeps it."""
    path = _label_folder(folder, int(dialog[4])) / f"{dialog}.txt"
    path.write_bytes(content)
    return path


def label_block(turn: str, code: str, odd: bool = False) -> str:
    """Return the lines of one turn; ``odd`` adds a second category, a self-report."""
    category = CATEGORIES[code]
    second = f"{category}; Surprise;" if odd else f"{category};"
    own = f"C-{turn.rsplit('_', 1)[1][0]}1:\tFear;\t()\n" if odd else ""
    return (
        f"[5.0000 - 6.5000]\t{turn}\t{code}\t[3.0000, 2.5000, 3.0000]\n"
        f"C-E2:\t{category};\t()\n"
        f"C-E3:\t{second}\t(none)\n"
        f"{own}"
        "A-E3:\tval 3; act 2; dom  3;\t()\n"
    )


def label_file(blocks: Sequence[str]) -> bytes:
    """Return a label file's bytes."""
    head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    return (head + "\n".join(blocks)).encode("ascii")


def read_manifests(folder: Path) -> dict[tuple[int, str], dict]:
    """Return all manifests by fold and part."""
    return {
        (int(path.parent.name[5:]), path.stem): json.loads(path.read_text("utf-8"))
        for path in folder.glob("fold_*/*.json")
        if path.stem in ("train", "valid", "test")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below ``folder`` by its relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _dialogs(session: int, odd: bool) -> tuple[str, str]:
    names = {
        1: ("Ses01F_impro01", "Ses01F_script02_2"),
        3: ("Ses03M_impro05a", "Ses03M_impro05b"),
        5: ("Ses05M_script01_1", "Ses05M_script01_1b"),
    }
    plain = (f"Ses0{session}F_impro01", f"Ses0{session}M_impro02")
    return names.get(session, plain) if odd else plain


def _clutter(folder: Path, session: int, dialog: str, content: bytes) -> None:
    """Add what a real release holds and preparation must not read."""
    labels = _label_folder(folder, session)
    for name in ("Attribute", "Categorical", "Self-evaluation"):
        (labels / name).mkdir(exist_ok=True)
        (labels / name / f"{dialog}_e2.txt").write_bytes(content)
    (labels / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X\xb0\x00")
    clips = _clip_folder(folder, dialog)
    (clips / f"._{dialog}_F000.wav").write_bytes(b"\x00\x05\x16\x07Mac OS X\xb0\x00")


def _clip_folder(folder: Path, dialog: str) -> Path:
    clips = folder / f"Session{dialog[4]}" / "sentences" / "wav" / dialog
    clips.mkdir(parents=True, exist_ok=True)
    return clips


def _label_folder(folder: Path, session: int) -> Path:
    labels = folder / f"Session{session}" / "dialog" / "EmoEvaluation"
    labels.mkdir(parents=True, exist_ok=True)
    return labels


def make_ravdess(folder: Path, frames: int = 2400, more: bool = True) -> Path:
    """Make the 1,440 speech recordings of RAVDESS, 60 for each of 24 actors.

    ``frames`` are samples at 48 kHz; each emotion has a sound of its own. ``more`` adds
    what other archives hold: a song, a video, macOS's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for emotion in range(1, 9):
        sound = folder / "clip.wav"
        pitch = np.sin(0.01 * emotion * np.arange(frames))
        soundfile.write(sound, 0.3 * pitch + 0.05 * rng.random(frames), 48_000)
        content = sound.read_bytes()
        sound.unlink()
        for actor in range(1, 25):
            actors = folder / f"Actor_{actor:02d}"
            actors.mkdir(exist_ok=True)
            for intensity in (1, 2)[: 1 if emotion == 1 else 2]:
                for statement, repetition in ((1, 1), (1, 2), (2, 1), (2, 2)):
                    parts = (emotion, intensity, statement, repetition, actor)
                    name = "-".join(f"{part:02d}" for part in (3, 1, *parts))
                    (actors / f"{name}.wav").write_bytes(content)
    if more:
        for name in ("03-02-05-01-01-01-01.wav", "01-01-05-01-01-01-01.mp4"):
            (folder / "Actor_01" / name).write_bytes(b"not read")
        for name in ("._03-01-05-01-01-01-01.wav", ".DS_Store", "Thumbs.db"):
            (folder / "Actor_01" / name).write_bytes(b"\x00\x05\x16\x07")
    return folder
