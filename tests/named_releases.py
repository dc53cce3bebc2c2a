"""Makes releases whose file names say everything, for tests. Nothing here is a test.

Each function writes the files of one corpus in its true layout, with what real copies
have beside them. Recordings are empty unless ``sound`` is given: names alone are read.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

APPLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"


def put(folder: Path, places: Iterator[str], sound: bytes = b"") -> int:
    """Write a file at each place; return how many."""
    count = 0
    for count, place in enumerate(places, start=1):  # noqa: B007
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(sound)
    return count


def litter(folder: Path) -> None:
    """Put macOS's and Windows's files beside the recordings."""
    recordings = list(folder.rglob("*.[wW][aA][vV]"))
    for file in recordings[::97]:
        (file.parent / f"._{file.name}").write_bytes(APPLE)
        (file.parent / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    junk = folder / "__MACOSX" / "wav"
    junk.mkdir(parents=True)
    (junk / "._03a01Fa.wav").write_bytes(APPLE)


def make_emodb(folder: Path, sound: bytes = b"") -> Path:
    """535 recordings of ten speakers, with label files and the German read-me."""
    letters = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}
    speakers = "03 08 09 10 11 12 13 14 15 16".split()
    texts = "a01 a02 a04 a05 a07 b01 b02 b03 b09 b10".split()

    def places() -> Iterator[str]:
        for letter, count in letters.items():
            # every speaker and text at least once, then second versions
            every = product("abcd", texts, speakers)
            for (version, text, speaker), _ in zip(every, range(count), strict=False):
                yield f"wav/{speaker}{text}{letter}{version}.wav"

    assert put(folder, places(), sound) == 535
    (folder / "silb").mkdir()
    (folder / "silb" / "03a01Fa.silb").write_bytes(b"0.1 \xc4rger\r\n")
    (folder / "erkl\u00e4rung.txt").write_bytes("W = \u00c4rger".encode("latin-1"))
    return folder


def make_savee(folder: Path, sound: bytes = b"", flat: bool = False) -> Path:
    """480 recordings of four men; flat copies have the speaker in the name."""

    def places() -> Iterator[str]:
        for man in ("DC", "JE", "JK", "KL"):
            for code in "a d f h n sa su".split():
                for number in range(1, 31 if code == "n" else 16):
                    name = f"{code}{number:02d}.wav"
                    yield f"ALL/{man}_{name}" if flat else f"AudioData/{man}/{name}"

    assert put(folder, places(), sound) == 480
    (folder / "Info.txt").write_text("Surrey")
    return folder


def make_tess(folder: Path, sound: bytes = b"") -> Path:
    """2,800 recordings of two women, one of them misnamed, as released."""
    ends = {"angry": "angry", "disgust": "disgust", "Fear": "fear", "happy": "happy",
            "neutral": "neutral", "Pleasant_surprise": "ps", "Sad": "sad"}  # fmt: skip
    first = [a + b for a, b in product("bcdfghjklm", ("a", "e", "i", "o", "u"))]
    words = ["bite", *(start + end for start, end in product(first, "lmnp"))][:200]

    def places() -> Iterator[str]:
        for who, (title, end), word in product(("OAF", "YAF"), ends.items(), words):
            # the younger woman's folders are in small letters, one of them longer
            small = "pleasant_surprised" if end == "ps" else title.lower()
            name = title if who == "OAF" else small
            odd = (who, end, word) == ("OAF", "neutral", "bite")
            yield f"{who}_{name}/{'OA' if odd else who}_{word}_{end}.wav"

    assert put(folder, places(), sound) == 2800
    return folder


def make_emovo(folder: Path, sound: bytes = b"") -> Path:
    """588 recordings of six actors, with the release's documents."""
    sentences = "b1 b2 b3 d1 d2 l1 l2 l3 l4 n1 n2 n3 n4 n5".split()
    actors, acted = "f1 f2 f3 m1 m2 m3".split(), "dis gio neu pau rab sor tri".split()
    places = (
        f"EMOVO/{actor}/{name}-{actor}-{sentence}.wav"
        for actor, name, sentence in product(actors, acted, sentences)
    )
    assert put(folder, places, sound) == 588
    (folder / "EMOVO" / "documents").mkdir()
    (folder / "EMOVO" / "documents" / "frasi.txt").write_bytes(
        "perch\u00e9".encode("cp1252")
    )
    return folder


def make_casia(folder: Path, sound: bytes = b"") -> Path:
    """1,200 recordings of four speakers, with transcripts in GBK."""
    speakers = ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")
    acted = "angry fear happy neutral sad surprise".split()
    places = (
        f"{speaker}/{name}/{number}.wav"
        for speaker, name, number in product(speakers, acted, range(201, 251))
    )
    assert put(folder, places, sound) == 1200
    (folder / "liuchanhg" / "\u6587\u672c.txt").write_bytes(
        "\u4f60\u597d".encode("gbk")
    )
    return folder


def make_esd(folder: Path, sound: bytes = b"", parts: bool = False) -> Path:
    """Three recordings a speaker and emotion; 350 numbers apart, as in the release."""
    acted = "Neutral Angry Happy Sad Surprise".split()

    def places() -> Iterator[str]:
        for speaker, (place, name) in product(range(1, 21), enumerate(acted)):
            for part, number in (("evaluation", 1), ("test", 21), ("train", 51)):
                file = f"{speaker:04d}_{350 * place + number:06d}.wav"
                yield f"{speaker:04d}/{name}/{f'{part}/' * parts}{file}"

    assert put(folder, places(), sound) == 300
    for speaker, encoding in (
        ("0001", "gb2312"),
        ("0003", "utf-16"),
        ("0011", "utf-8"),
    ):
        text = f"{speaker}_000001\t\u4f60\u597d\t\u4e2d\u7acb\r\n"
        (folder / speaker / f"{speaker}.txt").write_bytes(text.encode(encoding))
    return folder


def make_shemo(folder: Path, sound: bytes = b"") -> Path:
    """3,000 recordings of 56 men and 31 women."""
    counts = {"A": 1059, "F": 38, "H": 201, "N": 1028, "S": 449, "W": 225}
    people = [f"M{n:02d}" for n in range(1, 57)] + [f"F{n:02d}" for n in range(1, 32)]

    def places() -> Iterator[str]:
        for letter, count in counts.items():
            for number in range(count):
                who, take = people[number % 87], number // 87 + 1
                sex = "male" if who.startswith("M") else "female"
                yield f"{sex}/{who}{letter}{take:02d}.wav"

    assert put(folder, places(), sound) == 3000
    (folder / "shemo.json").write_text(
        '{"M01A01": {"transcript": "\u0633\u0644\u0627\u0645"}}'
    )
    return folder
