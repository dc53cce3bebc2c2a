"""The same sound in training and test: counted where files are copies."""

import json
from pathlib import Path

import pytest
from diary import make_diary, prepare
from table_corpora import make_table, read_rows, write_rows

from sercorr.corpora.prepared import read_prepared
from sercorr.corpora.tables import read_table
from sercorr.data.manifests import plan_manifests
from sercorr.data.overlaps import count_copies
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    """Files a, b (its copy) and c, of which parts are clips."""
    for name, content in (("a", b"1" * 99), ("b", b"1" * 99), ("c", b"2" * 99)):
        (tmp_path / f"{name}.wav").write_bytes(content)
    clips = [
        Utterance(f"{file}{start}", f"{file}.wav", "sad", "x", 1, None, None, None,
                  start, start + 2, 2.0)
        for file in "abc"
        for start in (0.0, 1.0, 4.0)
    ]  # fmt: skip
    return Corpus("Diary", tmp_path, clips)


def counted(corpus: Corpus, train: str, test: str) -> int:
    splits = {1: {"train": train.split(), "valid": [], "test": test.split()}}
    return count_copies(corpus, splits, corpus.utterances)[1]


def test_copies_are_counted_by_what_is_heard(corpus):
    assert counted(corpus, "a0.0 a4.0", "b0.0 b4.0 c0.0") == 2
    assert counted(corpus, "a0.0", "b1.0") == 0  # half of it, not more
    assert counted(corpus, "c0.0 c1.0 c4.0", "a0.0 b4.0") == 0
    assert counted(corpus, "a0.0", "a1.0") == 0
    with pytest.raises(InputError, match="tests b0.0, most of which is in b0.0"):
        counted(corpus, "a0.0 b0.0", "b0.0")


def test_copies_stand_in_the_record_and_are_said(tmp_path, capsys):
    table = make_table(tmp_path)
    rows = read_rows(table)
    for number, row in enumerate(rows[:3]):  # Ann's, under Bob's name
        copy = tmp_path / f"copy{number}.wav"
        copy.write_bytes((tmp_path / row["file"]).read_bytes())
        rows.append({**row, "file": copy.name, "speaker": "Bob"})
    made = write_rows(tmp_path / "copies.csv", rows)
    settings = {"labels": ["angry", "happy", "sad"], "n_folds": 4, "fold_by": "speaker"}
    plan = plan_manifests(read_table(made), tmp_path / "out", **settings)
    found = {k: v.get("copies", 0) for k, v in plan.record["speakers"].items()}
    assert sorted(found.values()) == [0, 0, 3, 3]  # Ann's fold, and Bob's
    plan.report()
    assert capsys.readouterr().out.count("tests 3 clips that are copies of") == 2
    clean = plan_manifests(read_table(table), tmp_path / "clean", **settings)
    assert not any("copies" in one for one in clean.record["speakers"].values())


def test_manifests_keep_their_folds_as_a_table(tmp_path):
    prepare(make_diary(tmp_path / "diary"), tmp_path / "three")
    corpus, _ = read_prepared(tmp_path / "three", tmp_path / "diary")
    folds = {clip.group: clip.fold for clip in corpus.utterances}
    assert folds == {"day1": 1, "day2": 2, "day3": 3}
    diary = make_diary(tmp_path / "diary")
    prepare(diary, tmp_path / "one", n_folds=1, test_corpus=other(tmp_path))
    corpus, _ = read_prepared(tmp_path / "one", tmp_path / "diary")
    assert len(corpus.utterances) == 36  # the other corpus, with absolute files, is not
    assert {clip.split for clip in corpus.utterances} == {"train", "valid"}
    entries = json.loads((tmp_path / "one/fold_1/test.json").read_text()).values()
    assert {entry["corpus"] for entry in entries} == {"other"}


def other(folder: Path) -> Corpus:
    table = make_table(folder / "else", ("happy", "sad", "calm"), ("Eve",))
    rows = [{**r, "file": str(folder / "else" / r["file"])} for r in read_rows(table)]
    return read_table(write_rows(folder / "other.csv", rows), "/", "happy=glad")
