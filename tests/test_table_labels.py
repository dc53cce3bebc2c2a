"""From the labels and votes of a table to classes."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from sercorr.corpora.tables import read_table, table_labels
from sercorr.errors import InputError

COUNTS = {"happy": 3, "excited": 2, "sad": 4, "other": 1, "neutral state": 2}


@pytest.fixture
def table(tmp_path) -> Path:
    """Twelve clips with the labels of COUNTS."""
    labels = [label for label, count in COUNTS.items() for _ in range(count)]
    rows = [f"{i}.wav,{label},{'AB'[i % 2]}" for i, label in enumerate(labels)]
    path = tmp_path / "calls.csv"
    path.write_text("\n".join(["file,emotion,speaker", *rows]))
    return path


def refusal(table: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_table(table, **options)
    return str(caught.value)


MAPS = [
    "happy=hap,excited=hap,neutral state=neu",
    " happy = hap ,excited=hap,, neutral state=neu,happy=hap",
    {"happy": "hap", "excited": "hap", "neutral state": "neu"},
]


@pytest.mark.parametrize("mapping", MAPS)
@pytest.mark.parametrize("drop", ["other", ["other"], ("other", "other")])
def test_labels_become_classes(table, mapping, drop):
    corpus = read_table(table, mapping=mapping, drop=drop, labels=["hap", "sad", "neu"])
    assert corpus.emotions == {"hap": 5, "neu": 2, "sad": 4}
    assert corpus.codes == {"hap": ["excited", "happy"]}
    assert {(clip.emotion, clip.code) for clip in corpus.utterances} == {
        ("hap", "happy"),
        ("hap", "excited"),
        ("neu", "neutral state"),
        ("sad", None),
        (None, "other"),
    }
    assert corpus.notes == [
        "1 clips are left out, as their labels are dropped: other (1)"
    ]
    assert table_labels(table, mapping, drop) == ["hap", "neu", "sad"]


def test_without_a_map_labels_are_classes(table):
    corpus = read_table(table)
    assert corpus.emotions == dict(sorted(COUNTS.items()))
    assert corpus.codes == {}
    assert {clip.code for clip in corpus.utterances} == {None}
    assert table_labels(table) == sorted(COUNTS)
    assert read_table(table, mapping={}, drop=[]).emotions == corpus.emotions


def test_a_class_is_not_mapped_again(table):
    corpus = read_table(table, mapping="happy=sad,sad=happy,excited=other")
    assert corpus.emotions == {"happy": 4, "sad": 3, "other": 3, "neutral state": 2}
    assert corpus.codes == {"other": ["excited", "other"]}
    others = [clip.code for clip in corpus.utterances if clip.emotion == "other"]
    assert sorted(others) == ["excited", "excited", "other"]
    mapped = read_table(table, mapping="excited=happy", drop="happy").emotions
    assert mapped["happy"] == 2  # drop means the label of the table


def test_a_label_may_have_an_equals_sign(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file,emotion,speaker\na.wav,e=mc2,A\n")
    assert read_table(path, mapping="e=mc2=sad").emotions == {"sad": 1}


def test_what_the_message_says_to_add_is_enough(table):
    options = {"mapping": "happy=hap", "drop": "other", "labels": "hap,sad"}
    error = refusal(table, **options)
    assert "not wanted: excited (2), neutral state (2); wanted are hap, sad" in error
    drop, new_map = (
        shlex.split(re.search(rf"--{name} ('[^']*'|[^;\s]*)", error)[1])[0]
        for name in ("drop", "map")
    )
    assert drop == "other,excited,neutral state"
    assert read_table(table, **{**options, "drop": drop}).emotions == {
        "hap": 3,
        "sad": 4,
    }
    assert new_map == "happy=hap,excited=hap"
    error = refusal(table, **{**options, "mapping": new_map})
    assert "not wanted: neutral state (2);" in error


def test_labels_that_differ_in_case_only_are_suggested(table):
    error = refusal(table, labels=["Happy", "SAD"], drop="other,excited")
    assert "happy (3), neutral state (2), sad (4)" in error
    assert "--map happy=Happy,sad=SAD" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mapping": "hapy=hap"}, "--map has the label 'hapy', which is not in the t"),
        ({"mapping": "hapy=hap"}, "did you mean happy? its labels are excited (2)"),
        ({"drop": "OTHER"}, "--drop has the label 'OTHER', which is not in the table;"),
        ({"drop": "OTHER"}, "did you mean other?"),
        ({"drop": "xyz"}, "in the table; its labels are excited (2), happy (3)"),
        ({"mapping": "sad=x", "drop": ["sad"]}, "both have the label 'sad'"),
        ({"mapping": "sad"}, "--map has 'sad'; write happy=hap,excited=hap"),
        ({"mapping": "sad="}, "--map has 'sad='; write"),
        ({"mapping": "sad=a,sad=b"}, "--map has two classes for 'sad': a and b"),
        ({"mapping": "sad=low", "labels": ["happy"]}, "sad (4, as low)"),
    ],
)
def test_maps_that_are_refused(table, options, message):
    assert message in refusal(table, **options)
    if "labels" not in options:
        with pytest.raises(InputError, match=re.escape(message)):
            table_labels(table, **options)


def voted(path: Path, columns: list[str], rows: list[list], labels: str) -> Path:
    lines = [
        ",".join(["file", "emotion", "speaker", *(f"votes_{name}" for name in columns)])
    ]
    for number, (label, row) in enumerate(zip(labels, rows, strict=True)):
        lines.append(
            ",".join([f"{number}.wav", label, "AB"[number % 2], *map(str, row)])
        )
    path.write_text("\n".join(lines))
    return path


def votes_of(path: Path, **options) -> list:
    return [clip.vote_counts for clip in read_table(path, **options).utterances]


def test_votes_follow_the_labels(tmp_path):
    columns = ["a", "b", "x", "c"]
    rows = [[3, 1, 1, 0], ["", "", "", ""], [0, 0, 5, 0], [0.5, "", 0, 2], [0, 0, 0, 0]]
    path = voted(tmp_path / "t.csv", columns, rows, "abcab")
    assert votes_of(path, mapping="b=a,c=sea", drop="x") == [
        {"a": 4},
        None,
        None,
        {"a": 0.5, "sea": 2},
        None,
    ]
    assert votes_of(path, drop="b,c")[0] == {"a": 3, "x": 1}  # not wanted, but known
    assert read_table(path, drop="x").notes[1:] == []


def test_votes_for_a_label_that_is_written_otherwise(tmp_path):
    path = voted(tmp_path / "t.csv", ["A", "b"], [[1, 0], [0, 1]], "ab")
    assert (
        "votes are for 'A', the class is 'a': write them alike, such as --map A=a"
        in (refusal(path))
    )
    assert votes_of(path, mapping="A=a") == [{"a": 1}, {"b": 1}]
    path = voted(tmp_path / "t.csv", ["b"], [[0], [1]], "ab")
    assert read_table(path).notes[0].startswith("every clip has a speaker")
    assert read_table(path).notes[1] == "no column has votes for a: they have none"


def smoothed(shares: np.ndarray, amount: float) -> list[list[float]]:
    return ((1 - amount) * shares + amount / shares.shape[1]).tolist()


SHARES = np.array([[1, 0, 0, 0], [0.2, 0.2, 0.2, 0.4], [0, 0.4, 0.6, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("amount", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("digits", [4, 17])
def test_smoothing_is_undone_before_labels_are_dropped(tmp_path, amount, digits):
    rows = np.round(smoothed(SHARES, amount), digits).tolist()
    path = voted(tmp_path / "t.csv", list("abcd"), [*rows, [""] * 4], "abcdd")
    corpus = read_table(path, mapping="b=a", drop="d")
    wanted = [{"a": 1}, {"a": 0.4, "c": 0.2}, {"a": 0.4, "c": 0.6}, None, None]
    for clip, votes in zip(corpus.utterances, wanted, strict=True):
        assert clip.vote_counts == (
            votes and pytest.approx(votes, abs=1e-12 if digits == 17 else 3e-4)
        )
    least = f"{np.round(amount / 4, digits):.4g}"
    assert corpus.notes[1].endswith(
        f"had added {least} to the share of each of 4 labels"
    )


def test_rounding_of_smoothed_shares_leaves_no_votes(tmp_path):
    rows = smoothed(SHARES, 0.25)
    rows[0][1] += 4e-7
    path = voted(tmp_path / "t.csv", list("abcd"), rows, "abcd")
    assert votes_of(path)[0] == {"a": pytest.approx(1)}


def some_share(shares: np.ndarray, row: int, value: float) -> list[list[float]]:
    changed = np.array(smoothed(shares, 0.2))
    changed[row] = value
    return changed.tolist()


@pytest.mark.parametrize(
    "rows",
    [
        SHARES.tolist(),
        (5 * SHARES).tolist(),
        some_share(SHARES, 0, [0.9, 0.1, 0.1, 0.1]),  # a row with another sum
        some_share(SHARES, 2, [1, 0, 0, 0]),  # a row that is not smoothed
        smoothed(SHARES, 0.6),  # of which nobody would learn anything
        [[0.25] * 4] * 4,
        np.random.default_rng(0).dirichlet(np.ones(4), 4).tolist(),  # a model's
    ],
)
def test_votes_that_are_left_alone(tmp_path, rows):
    path = voted(tmp_path / "t.csv", list("abcd"), rows, "abcd")
    assert votes_of(path) == [
        {name: share for name, share in zip("abcd", row, strict=True) if share}
        for row in rows
    ]
    assert read_table(path).notes == []


def test_two_raters_who_disagree_have_not_been_smoothed(tmp_path):
    path = voted(tmp_path / "t.csv", ["a", "b"], [[0.2, 0.8], [0.8, 0.2]], "ab")
    assert votes_of(path) == [{"a": 0.2, "b": 0.8}, {"a": 0.8, "b": 0.2}]
