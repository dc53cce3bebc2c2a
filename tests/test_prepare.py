"""Preparation of manifests: names, labels, splits, repeated runs, the table."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import iemocap_prepare
import numpy as np
import pytest
import soundfile
from iemocap_counts import (
    FULL_CLIPS,
    FULL_COUNTS,
    FULL_TURNS,
    Preparation,
    print_remarks,
)
from iemocap_labels import CODES, Turn, parse_labels
from iemocap_prepare import LABELS, SESSIONS, prepare_iemocap
from releases import (
    contents,
    label_block,
    label_file,
    make_full_release,
    make_release,
    manifest_bytes,
    read_manifests,
)

PARTS = ("train", "valid", "test")
FIELDS = ["wav", "duration", "emo", "code", "speaker", "session", "votes"]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A small release with every oddity; not to be changed."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copy(release, tmp_path) -> Path:
    """A copy of the small release, to be spoilt."""
    return Path(shutil.copytree(release, tmp_path / "copy"))


def times(folder: Path) -> dict[str, int]:
    return {name: os.stat(folder / name).st_mtime_ns for name in contents(folder)}


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
    assert (turn.session, turn.dialog, turn.speaker) == (session, dialog, speaker)
    assert turn.wav == f"Session{session}/sentences/wav/{dialog}/{name}.wav"


def test_codes_and_classes():
    classes = {code: Turn("Ses01F_impro01_F000", code, (), "").emo for code in CODES}
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
    votes = (("Neutral state",), ("Neutral state", "Sadness"), ("Anger",), ("Other",))
    assert (first.name, first.code) == ("Ses01F_impro01_F000", "neu")
    assert first.votes == votes
    assert (second.name, second.code) == ("Ses01F_impro01_F001", "xxx")
    assert second.votes == ((),)
    assert first.place == "a.txt, line 1"


# Manifests


def test_entries(release, tmp_path):
    done = prepare_iemocap(release, tmp_path)
    manifests = read_manifests(tmp_path)
    assert (done.dialogs, done.turns, done.clips, done.skipped) == (10, 50, 40, 0)
    everything = {}
    for (fold, part), manifest in manifests.items():
        assert list(manifest) == sorted(manifest)
        everything.update(manifest)
        assert all(
            (e["session"] == fold) == (part == "test") for e in manifest.values()
        )
    assert len(everything) == 40
    for name, entry in everything.items():
        assert list(entry) == FIELDS
        assert entry["wav"].startswith("{data_root}/")
        path = Path(entry["wav"].format(data_root=release))
        assert path.stem == name
        assert entry["duration"] == len(soundfile.read(path)[0]) / 16000
        assert entry["emo"] == {"exc": "hap"}.get(entry["code"], entry["code"])
        assert entry["emo"] in LABELS
    assert everything["Ses01F_script02_2_MXX0"]["speaker"] == "Ses01M"
    odd = everything["Ses03M_impro05a_F000"]
    assert odd["votes"] == [["Neutral state"], ["Neutral state", "Surprise"]]
    latin, windows = (f"Ses0{k}F_impro01_F000" for k in (4, 2))
    assert everything[latin]["votes"] == odd["votes"]
    assert everything[windows]["votes"] == odd["votes"]


def test_splits(release, tmp_path):
    prepare_iemocap(release, tmp_path, valid_ratio=0.3)
    manifests = read_manifests(tmp_path)
    draws = set()
    for fold in SESSIONS:
        train, valid, test = (manifests[fold, part] for part in PARTS)
        assert (len(train), len(valid), len(test)) == (32 - 10, 10, 8)  # 9.6, rounded
        assert len({*train, *valid, *test}) == 40
        others = {e["speaker"] for e in (*train.values(), *valid.values())}
        tested = {e["speaker"] for e in test.values()}
        assert tested == {f"Ses0{fold}F", f"Ses0{fold}M"}
        assert not others & tested
        names = sorted({*train, *valid})
        expected = random.Random(f"1234/{fold}").sample(names, 10)
        assert list(valid) == sorted(expected)
        draws.add(tuple(names.index(name) for name in valid))
    assert len(draws) > 1  # each fold has its own draw


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_no_part_is_empty(release, tmp_path, ratio):
    prepare_iemocap(release, tmp_path, valid_ratio=ratio)
    assert min(map(len, read_manifests(tmp_path).values())) == 1


@pytest.mark.parametrize("session", SESSIONS)
def test_a_whole_session_for_validation(release, tmp_path, session):
    prepare_iemocap(release, tmp_path, valid_session=session)
    manifests = read_manifests(tmp_path)
    for fold in SESSIONS:
        held_out = session if session != fold else {5: 1}.get(fold, fold + 1)
        found = {
            part: {e["session"] for e in manifests[fold, part].values()}
            for part in PARTS
        }
        assert found == {
            "train": set(SESSIONS) - {fold, held_out},
            "valid": {held_out},
            "test": {fold},
        }


def test_the_seed_decides_the_draw(release, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare_iemocap(release, tmp_path / name, seed=seed)
    a, b, c = (manifest_bytes(tmp_path / name) for name in "abc")
    assert a == b
    assert a["fold_1/valid.json"] != c["fold_1/valid.json"]
    assert a["fold_1/test.json"] == c["fold_1/test.json"]


def test_bytes_do_not_depend_on_place_or_order(release, tmp_path, monkeypatch):
    prepare_iemocap(release, tmp_path / "here")
    elsewhere = tmp_path / "a longer name" / "ü"
    shutil.copytree(release, elsewhere)
    rng = random.Random(0)
    listdir, scandir = os.listdir, os.scandir

    class Shuffled(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def close(self):
            pass

    def shuffled(entries):
        entries = sorted(entries, key=str, reverse=True)
        rng.shuffle(entries)
        return entries

    calls = []

    def shuffled_scandir(*path):
        calls.append(path)
        with scandir(*path) as entries:
            return Shuffled(shuffled(entries))

    glob, iterdir = Path.glob, Path.iterdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda *path: shuffled(listdir(*path)))
        patch.setattr(os, "scandir", shuffled_scandir)
        patch.setattr(Path, "iterdir", lambda self: iter(shuffled(iterdir(self))))
        patch.setattr(
            Path,
            "glob",
            lambda self, pattern: (
                calls.append(pattern) or iter(shuffled(glob(self, pattern)))
            ),
        )
        prepare_iemocap(elsewhere, tmp_path / "there")
    assert calls  # else nothing was shuffled
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


# Repeated runs


def test_a_second_run_changes_nothing(release, tmp_path, capsys, monkeypatch):
    first = prepare_iemocap(release, tmp_path)
    before, stamps = contents(tmp_path), times(tmp_path)
    assert "session" in capsys.readouterr().out
    monkeypatch.setattr(iemocap_prepare, "read_header", None)  # would fail if called
    monkeypatch.setattr(iemocap_prepare, "require_writable", None)
    second = prepare_iemocap(release, tmp_path)
    assert (contents(tmp_path), times(tmp_path)) == (before, stamps)
    assert f"{tmp_path}: up to date (40 clips)" in capsys.readouterr().out
    assert (first.fresh, second.fresh) == (True, False)
    assert second.counts == first.counts


@pytest.mark.parametrize(
    "change",
    [
        {"valid_ratio": 0.4},
        {"valid_session": 2},
        {"seed": 7},
        {"skip_bad_audio": True},
    ],
)
def test_changed_settings_prepare_again(release, tmp_path, change):
    prepare_iemocap(release, tmp_path / "changed")
    assert prepare_iemocap(release, tmp_path / "changed", **change).fresh
    prepare_iemocap(release, tmp_path / "new", **change)
    assert contents(tmp_path / "changed") == contents(tmp_path / "new")
    assert not prepare_iemocap(release, tmp_path / "changed", **change).fresh


def test_changed_data_prepare_again(copy, tmp_path):
    out = tmp_path / "out"
    labels = copy / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    clip = copy / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav"
    prepare_iemocap(copy, out)
    labels.write_bytes(labels.read_bytes().replace(b"Surprise", b"Boredom"))
    assert prepare_iemocap(copy, out).fresh
    votes = read_manifests(out)[2, "test"]["Ses02F_impro01_F000"]["votes"]
    assert votes == [["Neutral state"], ["Neutral state", "Boredom"]]
    soundfile.write(clip, np.zeros(32000), 16000)
    assert prepare_iemocap(copy, out).fresh
    assert read_manifests(out)[2, "test"]["Ses02F_impro01_F000"]["duration"] == 2.0
    soundfile.write(clip, np.zeros(32000), 8000)  # of the same size
    assert prepare_iemocap(copy, out).fresh
    assert read_manifests(out)[2, "test"]["Ses02F_impro01_F000"]["duration"] == 4.0
    labels.with_name("._Ses02F_impro01.txt").write_bytes(b"other rubbish")
    assert not prepare_iemocap(copy, out).fresh


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "fold_3/train.json").unlink(),
        lambda folder: (folder / "fold_3/train.json").write_text("{}"),
        lambda folder: (folder / "prepare.json").write_text("{"),
        lambda folder: (folder / "prepare.json").write_text("[]"),
        lambda folder: (folder / "prepare.json").unlink(),
    ],
)
def test_damaged_manifests_are_made_again(release, tmp_path, damage):
    prepare_iemocap(release, tmp_path)
    before = contents(tmp_path)
    damage(tmp_path)
    assert prepare_iemocap(release, tmp_path).fresh
    assert contents(tmp_path) == before


@pytest.mark.parametrize("renamed", [0, 1, 8, 15])
def test_a_run_that_stops_half_way_leaves_no_mixture(
    release, tmp_path, monkeypatch, renamed
):
    """Stopped at any rename, no record vouches for the files that are there."""
    prepare_iemocap(release, tmp_path, seed=1)
    replace, left = os.replace, [renamed]

    def stop(source, target):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_iemocap(release, tmp_path, seed=2)
    assert set(contents(tmp_path)) == {
        f"fold_{fold}/{part}.json" for fold in SESSIONS for part in PARTS
    }
    for seed in (1, 2):
        again = tmp_path.with_name(f"{tmp_path.name}-{seed}")
        shutil.copytree(tmp_path, again)
        assert prepare_iemocap(release, again, seed=seed).fresh
        prepare_iemocap(release, again / "new", seed=seed)
        assert manifest_bytes(again / "new") == manifest_bytes(again)


def test_a_run_that_fails_while_writing_leaves_the_old_manifests(
    release, tmp_path, monkeypatch
):
    prepare_iemocap(release, tmp_path, seed=1)
    before = contents(tmp_path)
    write, left = Path.write_bytes, [9]

    def full_disk(path, content):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="No space left"):
            prepare_iemocap(release, tmp_path, seed=2)
    assert contents(tmp_path) == before


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


# The tables


def test_the_full_release(tmp_path, capsys):
    release = make_full_release(tmp_path / "release")
    done = prepare_iemocap(release, tmp_path / "out")
    assert (done.dialogs, done.turns, done.clips) == (151, 10_039, 5_531)
    assert [sum(row) for row in done.counts.values()] == [1085, 1023, 1151, 1031, 1241]
    out = capsys.readouterr().out
    assert "warning" not in out
    assert "note" not in out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows == [
        "session ang hap + exc sad neu all",
        "1 229 135 + 143 194 384 1085",
        "2 137 117 + 210 197 362 1023",
        "3 240 135 + 151 305 320 1151",
        "4 327 65 + 238 143 258 1031",
        "5 170 143 + 299 245 384 1241",
        "all 1103 595 + 1041 1084 1708 5531",
    ]
    assert sum(map(sum, FULL_COUNTS.values())) == FULL_CLIPS
    assert done.turns == FULL_TURNS


def test_a_full_release_with_other_counts_is_warned_of(tmp_path, capsys):
    counts = {**FULL_COUNTS, 2: (137, 117, 210, 196, 362)}
    print_remarks(Preparation(151, 10_039, counts, 0, True), tmp_path / "skipped.txt")
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "warning: the full IEMOCAP release has 10039 turns, 5531 clips in four "
        "classes, but here are 151 dialogs, 10039 turns, 5530 clips in four classes; "
        "results will not compare"
    )
    assert second == "warning: session 2, sad: 196, expected 197"
    print_remarks(Preparation(151, 10_000, FULL_COUNTS, 0, True), tmp_path / "s.txt")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: ")
    assert "here are 151 dialogs, 10000 turns" in line


def test_real_recordings(real_release, tmp_path, capsys):
    done = prepare_iemocap(real_release, tmp_path)
    assert done.turns == 420
    assert {s: sum(row) for s, row in done.counts.items()} == dict.fromkeys(
        SESSIONS, 72
    )
    tested = [read_manifests(tmp_path)[fold, "test"] for fold in SESSIONS]
    emotions = [e["emo"] for manifest in tested for e in manifest.values()]
    counts = {label: emotions.count(label) for label in LABELS}
    assert counts == {"neu": 120, "hap": 80, "ang": 80, "sad": 80}
    out = capsys.readouterr().out
    assert "note: not the full IEMOCAP release: 40 dialogs, 420 turns, 360 clips" in out
    assert all(len(e["votes"]) == 3 for m in tested for e in m.values())
