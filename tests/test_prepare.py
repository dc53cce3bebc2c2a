"""IEMOCAP: names, label files and folders of a release, and the program."""

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import iemocap_prepare
import pytest
from iemocap_prepare import (
    CODES,
    LABELS,
    SESSIONS,
    parse_labels,
    prepare_iemocap,
    read_iemocap,
)
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

FIELDS = ["wav", "duration", "emo", "code", "speaker", "session", "votes"]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A small release with every oddity; not to be changed."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copy(release, tmp_path) -> Path:
    """A copy of the small release, to be spoilt."""
    return Path(shutil.copytree(release, tmp_path / "copy"))


# Names and labels


@pytest.mark.parametrize(
    ("name", "session", "dialog", "speaker"),
    [
        ("Ses01F_impro05_F019", 1, "Ses01F_impro05", "Ses01F"),
        ("Ses01F_impro05_M000", 1, "Ses01F_impro05", "Ses01M"),
        ("Ses03M_impro05a_F012", 3, "Ses03M_impro05a", "Ses03F"),
        ("Ses05M_script01_1b_M003", 5, "Ses05M_script01_1b", "Ses05M"),
        ("Ses01F_script02_2_MXX0", 1, "Ses01F_script02_2", "Ses01M"),
        ("Ses04F_script03_2_FXX1", 4, "Ses04F_script03_2", "Ses04F"),
    ],
)
def test_odd_names_are_parsed(name, session, dialog, speaker):
    (turn,) = parse_labels(label_file([label_block(name, "exc")]), "a.txt")
    assert (turn.id, turn.group, turn.speaker) == (name, session, speaker)
    assert turn.wav == f"Session{session}/sentences/wav/{dialog}/{name}.wav"


def test_codes_and_classes():
    head = "[1.0 - 2.0]\tSes01F_impro01_F{:03d}\t{}\t[1, 2, 3]\n"
    text = "".join(head.format(i, code) for i, code in enumerate(CODES))
    classes = {turn.code: turn.emotion for turn in parse_labels(text.encode(), "a")}
    used = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
    assert {code: name for code, name in classes.items() if name} == used
    left_out = {code for code, name in classes.items() if name is None}
    assert left_out == {"fru", "fea", "sur", "dis", "oth", "xxx"}
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
    assert (second.id, second.code) == ("Ses01F_impro01_F001", "xxx")
    assert second.votes == [[]]
    assert first.place == "a.txt, line 1"


# Manifests


def test_entries(release, tmp_path):
    made = prepare_iemocap(release, tmp_path)
    assert made.corpus.totals == {"dialogs": (10, 151), "turns": (50, 10_039)}
    manifests = read_manifests(tmp_path)
    assert sorted({fold for fold, _ in manifests}) == list(SESSIONS)
    everything = {}
    for (fold, part), manifest in manifests.items():
        everything.update(manifest)
        tested = {entry["session"] == fold for entry in manifest.values()}
        assert tested == {part == "test"}
    assert len(everything) == 40
    for name, entry in everything.items():
        assert list(entry) == FIELDS
        path = Path(entry["wav"].format(data_root=release))
        assert (path.stem, path) == (name, made.clips[name])
        assert entry["emo"] == {"exc": "hap"}.get(entry["code"], entry["code"])
    assert everything["Ses01F_script02_2_MXX0"]["speaker"] == "Ses01M"
    odd = everything["Ses03M_impro05a_F000"]
    assert odd["votes"] == [["Neutral state"], ["Neutral state", "Surprise"]]
    latin, windows = (f"Ses0{k}F_impro01_F000" for k in (4, 2))
    assert everything[latin]["votes"] == odd["votes"]
    assert everything[windows]["votes"] == odd["votes"]


def test_the_wrapper_passes_its_settings_on(release, tmp_path):
    settings = {"valid_ratio": 0.3, "valid_session": 2, "skip_bad_audio": True}
    prepare_iemocap(release, tmp_path / "a", seed=7, **settings)
    plan = plan_manifests(
        read_iemocap(release),
        tmp_path / "b",
        labels=["neu", "hap", "ang", "sad"],
        n_folds=5,
        split_seed=7,
        **settings,
    )
    plan.write()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_order_of_folders_does_not_matter(release, tmp_path, monkeypatch):
    prepare_iemocap(release, tmp_path / "here")
    rng, calls = random.Random(0), []

    def shuffled(function):
        def listed(*arguments):
            calls.append(arguments)
            entries = sorted(function(*arguments), key=str, reverse=True)
            return iter(rng.sample(entries, len(entries)))

        return listed

    with monkeypatch.context() as patch:
        for name in ("glob", "iterdir"):
            patch.setattr(Path, name, shuffled(getattr(Path, name)))
        prepare_iemocap(release, tmp_path / "there")
    assert calls  # else nothing was shuffled
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_comments_and_rubbish_change_no_manifest(copy, tmp_path):
    labels = copy / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    assert prepare_iemocap(copy, tmp_path / "out").fresh
    labels.with_name("._Ses02F_impro01.txt").write_bytes(b"other rubbish")
    labels.write_bytes(labels.read_bytes().replace(b"(none)", b"(a; comment)"))
    assert not prepare_iemocap(copy, tmp_path / "out").fresh
    labels.write_bytes(labels.read_bytes().replace(b"Surprise", b"Boredom"))
    assert prepare_iemocap(copy, tmp_path / "out").fresh
    votes = read_manifests(tmp_path / "out")[2, "test"]["Ses02F_impro01_F000"]["votes"]
    assert votes == [["Neutral state"], ["Neutral state", "Boredom"]]


def test_other_folds_and_classes(release, tmp_path, capsys):
    corpus, out = read_iemocap(release), tmp_path / "out"
    message = (
        r"n_folds is 4, but IEMOCAP has 5 sessions .*--fold_by speaker for 4 folds"
    )
    with pytest.raises(InputError, match=message):
        plan_manifests(corpus, out, labels=LABELS, n_folds=4)
    three = {"labels": ["neu", "ang", "sad"], "n_folds": 4, "fold_by": "speaker"}
    plan = plan_manifests(corpus, out, **three)
    assert not out.exists()
    plan.write()
    plan.report()
    assert "10 clips of other labels left out: hap 10" in capsys.readouterr().out
    manifests = read_manifests(out)
    tested = [
        {e["speaker"] for e in manifests[k, "test"].values()} for k in (1, 2, 3, 4)
    ]
    assert sorted(map(len, tested)) == [2, 2, 3, 3]
    assert len(set.union(*tested)) == 10


def test_the_program(release, tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, iemocap_prepare.__file__, *words]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )

    words = (str(release), str(tmp_path / "a"), "--valid_ratio", "0.4", "--seed", "3")
    done = run(*words, "--skip_bad_audio", "False")
    assert (done.returncode, done.stderr) == (0, "")
    prepare_iemocap(release, tmp_path / "b", valid_ratio=0.4, seed=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    wrong = run(str(tmp_path / "none"), str(tmp_path / "c"))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: {tmp_path / 'none'}: no such folder")
    assert "Traceback" not in wrong.stderr
    usage = run("--help").stdout
    for word in ("DIR", "MANIFESTS", "--valid_session", "--skip_bad_audio", "(0.2)"):
        assert word in usage


# Counts


def test_the_full_release(tmp_path, capsys):
    release = make_full_release(tmp_path / "release")
    made = prepare_iemocap(release, tmp_path / "out")
    for session, (*counts, _dialogs, _turns) in FULL.items():
        codes = ("ang", "hap", "exc", "sad", "neu")
        assert made.counts[session] == dict(zip(codes, counts, strict=True))
    assert len(made.clips) == 5531
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
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
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "warning: the full release of IEMOCAP has 151 dialogs, 10039 turns, 5531 clips "
        "in 4 classes, but here are 151 dialogs, 10039 turns, 5530 clips in 4 classes; "
        "results will not compare"
    )
    assert second == "warning: session 2, sad: 196, expected 197"


def test_real_recordings(real_release, tmp_path, capsys):
    made = prepare_iemocap(real_release, tmp_path)
    row = {"neu": 24, "hap": 8, "exc": 8, "ang": 16, "sad": 16}
    assert made.counts == dict.fromkeys(SESSIONS, row)
    assert all(len(clip.votes) == 3 for clip in made.used)
    note = "note: not the full release of IEMOCAP: 40 dialogs, 420 turns, 360 clips in"
    assert note in capsys.readouterr().out


# Folders and label files that are wrong


def refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_iemocap(folder)


def test_a_data_folder_that_is_no_release(copy, tmp_path):
    refused(tmp_path / "none", r"none: no such folder; expected .*Session1")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", r"file: a file, not the folder of a release")
    refused(tmp_path, rf"did you mean {re.escape(str(copy))}\?")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / ".DS_Store").write_text("")
    refused(empty, r"not an IEMOCAP release: expected .* nothing \(the folder is empty")
    for i in range(10):
        (empty / f"speaker{i}").mkdir()
    refused(empty, r"found speaker0, speaker1, .*speaker7 and 2 more")


def test_a_missing_session(copy):
    shutil.rmtree(copy / "Session3")
    refused(
        copy, r"Session3 missing, found only Session1, Session2, Session4, Session5"
    )


@pytest.mark.parametrize("lost", ["dialog/EmoEvaluation", "sentences/wav"])
def test_a_session_that_is_not_whole(copy, lost):
    shutil.rmtree(copy / "Session4" / lost)
    refused(copy, rf"Session4/{lost}: no such folder")


def test_a_session_without_label_files(copy):
    for path in (copy / "Session4/dialog/EmoEvaluation").glob("Ses*.txt"):
        path.unlink()
    refused(copy, r"no label file Ses\*\.txt among Attribute,")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", r"Ses01F_impro09\.txt: no labelled turn in 0 bytes; expected lines"),
        (
            b"\n[1.0 - 2.0]\tSes01F_impro09_F000\tneu\n",
            r"impro09\.txt, line 2: found '.*', expected '\[start - end\]",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro09_X000\tneu\t[1, 2, 3]\n",
            r"line 1: 'Ses01F_impro09_X000' is not the name of a turn",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro09_F0/../x\tneu\t[1, 2, 3]\n",
            r"line 1: .* is not the name of a turn",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro09_F000\tbor\t[1, 2, 3]\n",
            r"line 1: unknown label code 'bor' of turn Ses01F_impro09_F000; "
            r"it must be one of neu, hap, exc, ang, sad, fru",
        ),
        (
            b"[1.0 - 2.0]\tSes02F_impro09_F000\tneu\t[1, 2, 3]\n",
            r"line 1: the turn Ses02F_impro09_F000 is of session 2, .* Session1",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[1, 2, 3]\n",
            r"impro09\.txt, line 1: Ses01F_impro01_F000 is labelled twice, "
            r"the first time at .*Ses01F_impro01\.txt, line 3",
        ),
    ],
)
def test_labels_that_cannot_be_used(copy, content, expected):
    write_labels(copy, "Ses01F_impro09", content)
    refused(copy, expected)
