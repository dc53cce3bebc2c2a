"""CREMA-D: names say what was acted, a table of votes what people heard."""

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cremad_prepare import read_cremad
from releases import read_manifests
from runs import RECIPE, train

from sercorr.data.manifests import plan_manifests
from sercorr.errors import InputError

SETTINGS = RECIPE.parents[1] / "CREMA-D" / "hparams" / "train.yaml"
LABELS = ["angry", "disgust", "fearful", "happy", "neutral", "sad"]
OFFICIAL = {"labels": LABELS, "n_folds": 5, "fold_by": "official", "valid_by": "group"}
FIRST_AND_LAST = {
    1: ("1001", "1018"),
    2: ("1019", "1036"),
    3: ("1037", "1054"),
    4: ("1055", "1072"),
    5: ("1073", "1091"),
}
LETTERS = "ADFHNS"
HEADER = ["", *LETTERS, "fileName", "numResponses", "agreement", "emoVote"]


def make_names(actors: range) -> list[str]:
    """Twelve sentences in six emotions, the first with three intensities."""
    sentences = "IEO TIE IOM IWW TAI MTI IWL ITH DFA ITS TSI WSI".split()
    return [
        f"{actor}_{sentence}_{emotion}_{level}"
        for actor in actors
        for sentence in sentences
        for emotion in "ANG DIS FEA HAP NEU SAD".split()
        for level in (
            ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
        )
    ]


def make_votes(names: list[str]) -> list[list]:
    """Three rows a clip, as the release has them: voice, face, both.

    Of every four clips, one voice was heard as acted, one as neutral, on one two
    emotions are level, and one was heard by nobody. Faces were always clear.
    """
    rows: list[list] = []
    for kind, (i, name) in itertools.product((1, 2, 3), enumerate(names)):
        acted = name[9]
        counts = dict.fromkeys(LETTERS, 0)
        if kind != 1:
            counts[acted] = 10
        elif i % 4 == 0:
            counts["D"] += 2
            counts[acted] += 7
        elif i % 4 == 1:
            counts["N"] += 6
            counts[acted] += 3
        elif i % 4 == 2:
            counts["F"] = counts["S"] = 4
            counts["H"] = 1
        else:
            continue
        vote = ":".join(
            letter for letter in LETTERS if counts[letter] == max(counts.values())
        )
        total = sum(counts.values())
        number = f"{kind}{i + 1:05d}"
        share = max(counts.values()) / total
        rows.append([number, *counts.values(), name, total, share, vote])
    return rows


def make_release(folder: Path, names: list[str], votes: bool = True) -> Path:
    """Make sounds, their copies in other formats, macOS's files, and the votes."""
    audio = folder / "AudioWAV"
    audio.mkdir(parents=True)
    for emotion in {name[9:12] for name in names}:
        sound = folder / f"{emotion}.wav"
        seed = sum(map(ord, emotion))
        noise = np.random.default_rng(seed).standard_normal(800)
        soundfile.write(sound, 0.1 * noise * np.sin(seed * np.arange(800)), 16_000)
    for name in names:
        wav = "1040_ITH_SAD_X" if name == "1040_ITH_SAD_XX" else name
        os.link(folder / f"{name[9:12]}.wav", audio / f"{wav}.wav")
    (audio / f"._{names[0]}.wav").write_bytes(b"\x00\x05\x16\x07")
    (audio / f"{names[0]}.flac").write_bytes(b"not read")
    (folder / "AudioMP3").mkdir()
    (folder / "AudioMP3" / f"{names[0]}.mp3").write_bytes(b"not read")
    if votes:
        write_votes(folder, [HEADER, *make_votes(names)])
    return folder


def write_votes(folder: Path, rows: list[list]) -> None:
    """Write the table of votes as R does: text in quotes, numbers without."""
    path = folder / "processedResults" / "tabulatedVotes.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="ascii") as file:
        csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)


# Which of the 7,462 possible clips the release lacks is made up here.
MISSING = {
    *make_names(range(1015, 1016))[-18:],
    "1007_DFA_NEU_XX",
    "1050_DFA_NEU_XX",
}
NAMES = [name for name in make_names(range(1001, 1092)) if name not in MISSING]


@pytest.fixture(scope="module")
def cremad(tmp_path_factory) -> Path:
    """A whole release; not to be changed."""
    return make_release(tmp_path_factory.mktemp("cremad"), NAMES)


@pytest.fixture
def small(tmp_path) -> Path:
    """Eight clips of one actor, without votes."""
    return make_release(tmp_path / "small", make_names(range(1001, 1002))[:8], False)


def test_names_say_what_was_acted(cremad):
    corpus = read_cremad(cremad)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert corpus.emotions == dict.fromkeys(LABELS, 1271) | {
        "neutral": 1087,
        "sad": 1270,
    }
    assert len(clips) == 7441
    assert {clip.speaker for clip in clips.values()} == set(map(str, range(1001, 1092)))
    clip = clips["1037_IEO_FEA_HI"]
    assert (clip.emotion, clip.speaker, clip.fold, clip.group) == (
        "fearful",
        "1037",
        3,
        3,
    )
    assert clip.wav == "AudioWAV/1037_IEO_FEA_HI.wav"
    folds = {
        fold: (min(speakers), max(speakers))
        for fold in corpus.groups
        if (speakers := {c.speaker for c in clips.values() if c.fold == fold})
    }
    assert folds == FIRST_AND_LAST


def test_the_silent_and_the_misnamed_clip(cremad):
    corpus = read_cremad(cremad)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert "1076_MTI_SAD_XX" not in clips
    assert corpus.notes[0] == "1076_MTI_SAD_XX is left out: its file is silent"
    assert clips["1040_ITH_SAD_XX"].wav == "AudioWAV/1040_ITH_SAD_X.wav"
    assert NAMES.index("1040_ITH_SAD_XX") % 4 == 0
    assert clips["1040_ITH_SAD_XX"].vote_counts == {"disgust": 2, "sad": 7}


def test_votes_are_those_of_who_only_heard(cremad):
    clips = {clip.id: clip for clip in read_cremad(cremad).utterances}
    names = make_names(range(1001, 1002))[:4]
    assert names[0] == "1001_IEO_ANG_LO"
    assert [clips[name].vote_counts for name in names] == [
        {"angry": 7, "disgust": 2},
        {"angry": 3, "neutral": 6},
        {"fearful": 4, "happy": 1, "sad": 4},
        None,
    ]
    # 7442 // 4 were heard by nobody; one of them is the silent clip
    assert NAMES.index("1076_MTI_SAD_XX") % 4 == 3
    assert read_cremad(cremad).notes[1:] == ["1859 clips have no votes on the voice"]


def test_actors_and_intensities(small):
    names = ["1001_IEO_ANG_LO", "1001_IEO_ANG_MD", "1001_IEO_ANG_HI", "1001_TIE_ANG_XX"]
    for name in [*names, "1002_TIE_ANG_XX"]:
        (small / "AudioWAV" / f"{name}.wav").write_bytes(b"RIFF")

    def traits() -> dict:
        return {clip.id: clip.traits for clip in read_cremad(small).utterances}

    assert [traits()[name] for name in names] == [
        {"intensity": "low"},
        {"intensity": "medium"},
        {"intensity": "high"},
        None,
    ]
    table = small / "VideoDemographics.csv"
    table.write_text("ActorID,Age,Sex,Race\n1001,51,Male,x\n1002,21,Female,x\n")
    assert [traits()[name] for name in (*names[2:], "1002_TIE_ANG_XX")] == [
        {"gender": "male", "intensity": "high"},
        {"gender": "male"},
        {"gender": "female"},
    ]
    table.write_text("ActorID,Age\n1001,51\n")
    message = r"VideoDemographics\.csv: its columns are \['ActorID', 'Age'\]; expected"
    with pytest.raises(InputError, match=message):
        read_cremad(small)


def test_labels_by_what_most_heard(cremad):
    corpus = read_cremad(cremad, labels_by="voice")
    clips = {clip.id: clip for clip in corpus.utterances}
    names = make_names(range(1001, 1002))[:4]
    assert [clips[name].emotion for name in names] == ["angry", "neutral", None, None]
    assert sum(clip.emotion is None for clip in clips.values()) == 1860 + 1859
    same = len(NAMES[::4]) + sum("_NEU_" in name for name in NAMES[1::4])
    assert corpus.notes[-1] == (
        f"labels are what most heard: what was acted in {100 * same / 7441:.1f}% of "
        "the clips; 3719 clips on which no emotion has most votes are left out"
    )
    assert corpus.published == {}


def test_each_fold_tests_actors_whom_it_never_heard(cremad, tmp_path, capsys):
    plan = plan_manifests(read_cremad(cremad), tmp_path, **OFFICIAL)
    plan.write()
    plan.report()
    out = capsys.readouterr().out
    assert " ".join(out.splitlines()[0].split()) == "fold " + " ".join([*LABELS, "all"])
    assert "warning" not in out
    assert "not the full release" not in out
    assert "1076_MTI_SAD_XX is left out: its file is silent" in out
    manifests = read_manifests(tmp_path)
    assert len(manifests) == 15
    for (fold, part), manifest in manifests.items():
        actors = {entry["speaker"] for entry in manifest.values()}
        held_out = fold % 5 + 1
        if part == "train":
            assert len(actors) == 91 - sum(
                int(last) - int(first) + 1
                for first, last in (FIRST_AND_LAST[fold], FIRST_AND_LAST[held_out])
            )
        else:
            wanted = FIRST_AND_LAST[fold if part == "test" else held_out]
            assert (min(actors), max(actors)) == wanted
    entry = manifests[1, "test"]["1001_IEO_ANG_LO"]
    assert entry["vote_counts"] == {"angry": 7, "disgust": 2}
    assert entry["fold"] == 1


def test_its_settings_file_trains(tmp_path):
    names = [
        name
        for actors in (range(1001 + 18 * i, 1003 + 18 * i) for i in range(5))
        for name in make_names(actors)
        if "_IEO_" in name
    ]
    release = make_release(tmp_path / "release", names)
    metrics = train(release, tmp_path / "out", file=SETTINGS, fold=5)
    assert metrics["labels"] == LABELS
    assert [sum(row) for row in metrics["confusion"]] == [6, 6, 6, 6, 2, 6]


def test_without_votes(small):
    corpus = read_cremad(small)
    assert len(corpus.utterances) == 8
    assert {clip.vote_counts for clip in corpus.utterances} == {None}
    assert corpus.notes == [
        "there is no processedResults/tabulatedVotes.csv: clips have no votes"
    ]
    with pytest.raises(
        InputError, match=r"tabulatedVotes\.csv: no such file; labels_b"
    ):
        read_cremad(small, labels_by="voice")


@pytest.mark.parametrize(
    "name",
    [
        "1001_IEO_SUR_XX",  # no such emotion
        "1000_IEO_ANG_XX",  # no such actor
        "1092_IEO_ANG_XX",
        "1001_IEO_ANG",
        "1001_IEO_ANG_X",
        "1001_IEO_ANG_XX copy",
    ],
)
def test_names_of_another_form(small, name):
    (small / "AudioWAV" / f"{name}.wav").write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name}\.wav: no recording of CREMA-D; exp"):
        read_cremad(small)


def test_the_misnamed_clip_and_its_renamed_copy(tmp_path):
    release = make_release(tmp_path / "release", ["1040_ITH_SAD_XX"], votes=False)
    audio = release / "AudioWAV"
    os.link(audio / "1040_ITH_SAD_X.wav", audio / "1040_ITH_SAD_XX.wav")
    with pytest.raises(InputError, match="1040_ITH_SAD_XX is labelled twice"):
        read_cremad(release)


def test_pointers_of_git_lfs(small):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for path in (small / "AudioWAV").glob("1*.wav"):
        path.unlink()
        path.write_text(pointer)
    with pytest.raises(InputError, match="a pointer of Git LFS.*run `git lfs pull"):
        read_cremad(small)


def test_a_folder_that_is_no_release(tmp_path, small):
    for folder in (tmp_path / "none", small / "AudioWAV"):
        with pytest.raises(InputError, match=r"no recording.*expected the folder Audi"):
            read_cremad(folder)
    with pytest.raises(InputError, match="labels_by is 'face'; it must be acted or vo"):
        read_cremad(small, labels_by="face")


GOOD = ["100001", 0, 0, 0, 1, 10, 0, "1001_IEO_ANG_LO", 11, 0.9, "N"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([HEADER[1:], GOOD[1:]], r"its columns are \['A', .*expected one of row numb"),
        ([["", *"ADFHNS", "clip"], GOOD[:8]], r"its columns are .*'clip'\]; expected"),
        ([], r"its columns are \[\]; expected"),
        (
            [HEADER, ["7", *GOOD[1:]]],
            r"line 2: found row '7' with votes 0, 0, 0, 1, 10",
        ),
        (
            [HEADER, GOOD, ["100002", "NA", *GOOD[2:]]],
            r"line 3: found row '100002' with",
        ),
        ([HEADER, GOOD[:5]], r"line 2: found row '100001' with votes 0, 0, 0, 1, , ;"),
        ([HEADER, GOOD, GOOD], r"line 3: 1001_IEO_ANG_LO has votes already"),
    ],
)
def test_tables_of_votes_that_cannot_be_read(small, rows, message):
    write_votes(small, rows)
    with pytest.raises(InputError, match=rf"tabulatedVotes\.csv(, |: ){message}"):
        read_cremad(small)
