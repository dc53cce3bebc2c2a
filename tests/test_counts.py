"""Labels that are asked for, counts, and how they compare with the full release."""

from dataclasses import replace

import pytest
from diary import DAYS, make_diary, plan, prepare
from releases import read_manifests

from sercorr.data.utterances import Corpus
from sercorr.errors import InputError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """A small corpus; not to be changed."""
    return make_diary(tmp_path_factory.mktemp("corpus"))


def test_clips_of_other_labels_are_left_out_and_counted(corpus, tmp_path, capsys):
    made = prepare(corpus, tmp_path / "out", labels=["calm", "sad"])
    assert len(made.clips) == 24
    emotions = {
        entry["emo"]
        for manifest in read_manifests(tmp_path / "out").values()
        for entry in manifest.values()
    }
    assert emotions == {"calm", "sad"}
    made.report()
    out = capsys.readouterr().out
    assert "note: 12 clips of other labels left out: glad 12" in out
    assert "bored" not in out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["glad", "cross"],
            r"labels has cross, which no clip of Diary has; its classes",
        ),
        (["glad", "bored"], r"labels has bored, .* are calm \(12\), glad \(12\), sad"),
        (["glad"], r"labels is \['glad'\]; give at least two different ones"),
        (["glad", "sad", "sad"], r"at least two .* it has calm \(12\), glad \(12\)"),
        ("glad", r"labels is 'glad'; give .* such as --labels \"\[calm,glad\]\""),
    ],
)
def test_labels_that_the_corpus_lacks(corpus, tmp_path, labels, message):
    with pytest.raises(InputError, match=message):
        plan(corpus, tmp_path / "out", labels=labels)
    assert not (tmp_path / "out").exists()


def test_the_report_on_a_corpus_without_published_counts(corpus, tmp_path, capsys):
    replaced = replace(corpus, left_out={"song": 3, "video": 2})
    plan(replaced, tmp_path / "out").report()
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        "day glad + merry sad calm all",
        "day1 3 + 1 4 4 12",
        "day2 3 + 1 4 4 12",
        "day10 3 + 1 4 4 12",
        "all 9 + 3 12 12 36",
        "note: 5 files of another kind left out: song 3, video 2",
    ]


def test_counts_are_compared_with_those_of_the_full_release(corpus, tmp_path, capsys):
    full = {"glad": 3, "merry": 1, "sad": 4, "calm": 4}

    def remarks(published: dict, tapes: int, notes: int = 7, **settings) -> list[str]:
        known = replace(
            corpus,
            published=published,
            totals={"tapes": (tapes, 4), "notes": (notes, 7)},
        )
        plan(known, tmp_path / "out", **settings).report()
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if line.startswith(("note: not", "warning"))]

    published = dict.fromkeys(DAYS, full)
    assert remarks(published, 4) == []
    assert remarks(published, 3) == [
        "note: not the full release of Diary: 3 tapes, 7 notes, 36 clips in 3 classes"
    ]
    published["day2"] = {**full, "merry": 2, "calm": 3}
    both = (
        "warning: the full release of Diary has 4 tapes, 7 notes, {} clips in {} "
        "classes, but here are 4 tapes, 7 notes, {} clips in {} classes; results will "
        "not compare"
    )
    merry = "warning: day day2, merry: 1, expected 2"
    assert remarks(published, 4) == [
        both.format(36, 3, 36, 3),
        merry,
        "warning: day day2, calm: 4, expected 3",
    ]
    two = {"labels": ["glad", "sad"]}
    assert remarks(published, 4, **two) == [both.format(25, 2, 24, 2), merry]
    (line,) = remarks(dict.fromkeys(DAYS, full), 4, notes=6)
    assert "has 4 tapes, 7 notes, 36" in line
    assert "here are 4 tapes, 6 notes, 36" in line
    published = {**dict.fromkeys(DAYS, full), "day11": full}
    assert "warning: day day11, sad: 0, expected 4" in remarks(published, 4, **two)
