"""IEMOCAP: names, label files and folders of a release, and the program."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import iemocap_prepare
import pytest
from iemocap_prepare import LABELS, parse_labels, prepare_iemocap, read_iemocap
from releases import (
    FULL,
    contents,
    label_block,
    label_file,
    make_full_release,
    make_release,
    read_manifests,
    write_labels,
)

from sercorr.data.manifests import plan_manifests
from sercorr.errors import InputError


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A small release with every oddity; not to be changed."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copy(release, tmp_path) -> Path:
    """A copy of the small release, to be spoilt."""
    return Path(shutil.copytree(release, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("name", "dialog", "speaker"),
    [
        ("Ses01F_impro05_F019", "Ses01F_impro05", "Ses01F"),
        ("Ses01F_impro05_M000", "Ses01F_impro05", "Ses01M"),
        ("Ses03M_impro05a_F012", "Ses03M_impro05a", "Ses03F"),
        ("Ses05M_script01_1b_M003", "Ses05M_script01_1b", "Ses05M"),
        ("Ses01F_script02_2_MXX0", "Ses01F_script02_2", "Ses01M"),
        ("Ses04F_script03_2_FXX1", "Ses04F_script03_2", "Ses04F"),
    ],
)
def test_odd_names_are_parsed(name, dialog, speaker):
    (turn,) = parse_labels(label_file([label_block(name, "exc")]), "a.txt")
    assert (turn.id, turn.group, turn.speaker) == (name, int(name[4]), speaker)
    assert turn.wav == f"Session{name[4]}/sentences/wav/{dialog}/{name}.wav"


def test_codes_and_classes():
    codes = "neu hap exc ang sad fru fea sur dis oth xxx"
    head = "[1.0 - 2.0]\tSes01F_impro01_F000\t{}\t[1, 2, 3]\n"
    text = "".join(head.format(code) for code in codes.split())
    classes = [turn.emotion for turn in parse_labels(text.encode(), "a")]
    assert classes == ["neu", "hap", "hap", "ang", "sad"] + [None] * 6
    assert LABELS == ("neu", "hap", "ang", "sad")


BLOCK = (
    b"[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
    b"C-E3:\tNeutral state; Sadness;\t()\n"
    b"C-E2:\tNeutral state;\t(sad; or Anger; caf\xe9 \x85[sic] Fear;)\n"
    b"C-E10:\tOther;\t(a (nested; comment))\n"
    b"C-E4:\tAnger\t()\n"
    b"C-F1:\tFear;\t()\n"
    b"C-M1:\tFear;\t()\n"
    b"A-E3:\tval 3; act 2; dom  2;\t()\n"
    b"A-F1:\tval 3; act 2; dom  1;\t()\n\n"
    b"[10.0100 - 11.3925]\tSes01F_impro01_F001\txxx\t[2.5000, 2.5000, 2.5000]\n"
    b"C-E1:\t;\t()\n"
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_raters_categories(line_end, start):
    first, second = parse_labels(start + BLOCK.replace(b"\n", line_end), "a.txt")
    # In the order of the raters' numbers; no self-reports, nothing from comments.
    votes = [["Neutral state"], ["Neutral state", "Sadness"], ["Anger"], ["Other"]]
    assert (first.id, first.code, first.votes) == ("Ses01F_impro01_F000", "neu", votes)
    # One vote per rater, in equal parts where there are two categories.
    assert first.vote_counts == {"neu": 1.5, "sad": 0.5, "ang": 1.0, "other": 1.0}
    assert (second.code, second.votes, second.vote_counts) == ("xxx", [[]], None)
    assert first.place == "a.txt, line 1"


def test_entries(release, tmp_path):
    made = prepare_iemocap(release, tmp_path)
    everything = {}
    for (fold, part), manifest in read_manifests(tmp_path).items():
        everything.update(manifest)
        tested = {entry["session"] == fold for entry in manifest.values()}
        assert tested == {part == "test"}
    assert (len(everything), len(made.corpus.utterances)) == (40, 50)
    keys = ["wav", "duration", "emo", "code", "speaker", "session", "votes"]
    keys += ["vote_counts", "traits"]
    for name, entry in everything.items():
        assert list(entry) == keys
        path = Path(entry["wav"].format(data_root=release))
        assert (path.stem, path) == (name, Path(made.clips[name].file))
        assert entry["emo"] == {"exc": "hap"}.get(entry["code"], entry["code"])
        gender = {"F": "female", "M": "male"}[name.split("_")[-1][0]]
        style = "improvised" if "_impro" in name else "scripted"
        assert entry["traits"] == {"gender": gender, "style": style}
    assert everything["Ses01F_script02_2_MXX0"]["speaker"] == "Ses01M"
    for odd in ("Ses03M_impro05a_F000", "Ses04F_impro01_F000", "Ses02F_impro01_F000"):
        votes = everything[odd]["votes"]  # also with Latin-1, with Windows line ends
        assert votes == [["Neutral state"], ["Neutral state", "Surprise"]]


def test_comments_and_rubbish_change_no_manifest(copy, tmp_path):
    labels = copy / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    assert prepare_iemocap(copy, tmp_path / "out").texts
    labels.with_name("._Ses02F_impro01.txt").write_bytes(b"other rubbish")
    labels.write_bytes(labels.read_bytes().replace(b"(none)", b"(a; comment)"))
    assert not prepare_iemocap(copy, tmp_path / "out").texts
    labels.write_bytes(labels.read_bytes().replace(b"Surprise", b"Boredom"))
    assert prepare_iemocap(copy, tmp_path / "out").texts
    votes = read_manifests(tmp_path / "out")[2, "test"]["Ses02F_impro01_F000"]["votes"]
    assert votes == [["Neutral state"], ["Neutral state", "Boredom"]]


def test_the_program_and_the_wrapper(release, tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, iemocap_prepare.__file__, *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )

    settings = {"valid_ratio": 0.3, "valid_session": 2, "skip_bad_audio": True}
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]
    done = run(release, tmp_path / "a", *words, "--seed", "7")
    assert (done.returncode, done.stderr) == (0, "")
    prepare_iemocap(release, tmp_path / "b", seed=7, **settings)
    corpus, given = read_iemocap(release), {**settings, "split_seed": 7}
    plan_manifests(corpus, tmp_path / "c", labels=LABELS, n_folds=5, **given).write()
    first, second, third = (contents(tmp_path / name) for name in "abc")
    assert first == second == third
    wrong = run(tmp_path / "none", tmp_path / "d")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: {tmp_path / 'none'}: no such folder")
    usage = run("--help").stdout
    for word in ("DIR", "MANIFESTS", "--valid_session", "--skip_bad_audio", "0.2"):
        assert word in usage


def test_the_full_release(tmp_path, capsys):
    release = make_full_release(tmp_path / "release")
    made = prepare_iemocap(release, tmp_path / "out")
    for session, (*counts, _dialogs, _turns) in FULL.items():
        codes = ("ang", "hap", "exc", "sad", "neu")
        assert made.counts[session] == dict(zip(codes, counts, strict=True))
    assert (len(made.clips), len(made.corpus.utterances)) == (5531, 10_039)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in said if "copies" not in line]  # all its clips are the same
    assert rows == [
        "session neu hap + exc ang sad all",
        "1 384 135 + 143 229 194 1085",
        "2 362 117 + 210 137 197 1023",
        "3 320 135 + 151 240 305 1151",
        "4 258 65 + 238 327 143 1031",
        "5 384 143 + 299 170 245 1241",
        "all 1708 595 + 1041 1103 1084 5531",
    ]
    lost = next(clip for clip in made.used if (clip.group, clip.code) == (2, "sad"))
    clips = [clip for clip in made.corpus.utterances if clip.id != lost.id]
    corpus = replace(made.corpus, utterances=clips)
    plan_manifests(corpus, tmp_path / "new", labels=LABELS, n_folds=5).report()
    *_, note, cell = capsys.readouterr().out.splitlines()
    assert note.startswith("note: not the full release of IEMOCAP: 5530 clips")
    assert cell.startswith("warning: session 2, sad: 196, expected 197;")


def test_real_recordings(real_release, tmp_path, capsys):
    made = prepare_iemocap(real_release, tmp_path)
    row = {"neu": 24, "hap": 8, "exc": 8, "ang": 16, "sad": 16}
    assert list(made.counts.items()) == [(session, row) for session in range(1, 6)]
    assert all(len(clip.votes) == 3 for clip in made.used)
    note = "note: not the full release of IEMOCAP: 360 clips of these classes"
    assert note in capsys.readouterr().out


def test_a_data_folder_that_is_no_release(copy, tmp_path):
    def refused(folder: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_iemocap(folder)

    (tmp_path / "file").write_text("")
    for name in ("none", "file"):
        refused(tmp_path / name, rf"{name}: no such folder; expected .*Session1")
    refused(tmp_path, rf"found copy, file; .*did you mean {re.escape(str(copy))}\?")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, r"not a whole IEMOCAP release: Session1, .* found nothing")
    shutil.rmtree(copy / "Session4/dialog/EmoEvaluation")
    refused(copy, r"Session4/dialog/EmoEvaluation: no label file Ses\*\.txt is there")
    shutil.rmtree(copy / "Session3")
    refused(copy, r"Session3 missing, found Session1, Session2, Session4, Session5")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", r"Ses01F_impro09\.txt: no labelled turn in 0 bytes; copy the file"),
        ("\n[1 - 2]\tSes01F_impro09_F000\tneu\n", r"09\.txt, line 2: found '\[1 - 2"),
        ("[1 - 2]\tSes01F_impro09_X000\tneu\t[1, 2, 3]", r"line 1: found .*, expected"),
        ("[1 - 2]\tSes01F_impro09_F0/../x\tneu\t[1, 2, 3]", r"line 1: found .*/\.\./x"),
        ("[1 - 2]\tSes01F_impro09_F000\tbor\t[1, 2, 3]",
         r"line 1: unknown label code 'bor' .*F000; it must be one of neu, hap, exc"),
        ("[1 - 2]\tSes01F_impro01_F000\tneu\t[1, 2, 3]",
         r"09\.txt, line 1: Ses01F_impro01_F000 is labelled twice, "
         r"the first time at .*Ses01F_impro01\.txt, line 3"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used(copy, content, expected):
    write_labels(copy, "Ses01F_impro09", content.encode())
    with pytest.raises(InputError, match=expected):
        read_iemocap(copy)
