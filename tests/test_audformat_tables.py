"""Databases of audformat, compared with what audformat reads in them."""

import os
import sys
from pathlib import Path

import audformat
import pandas as pd
import pytest

from sercorr.corpora.tables import read_table, table_folder, table_labels
from sercorr.errors import InputError

FILES = [f"wav/{name}.wav" for name in ("03a01F", "08a02W", "08b01N", "09a05T")]
SPEAKERS = ["03", "08", "08", None]
EMOTIONS = ["happiness", "anger", None, "anger"]


@pytest.fixture
def base() -> audformat.Database:
    """A database like EMO-DB's: speakers in a table of files, nothing else yet."""
    made = audformat.Database("emodb")
    made.schemes["emotion"] = audformat.Scheme(labels=["anger", "happiness", "neutral"])
    made.schemes["speaker"] = audformat.Scheme(labels={"03": {"age": 31}, "08": {}})
    for split in ("train", "dev", "test"):
        made.splits[split] = audformat.Split(split)
    made.splits["more"] = audformat.Split("other")
    fill(made, "files", audformat.filewise_index(FILES), {"speaker": SPEAKERS})
    return made


def fill(base, name, index, columns, split=None, schemes=None) -> None:
    """Add a table; a column's scheme is that of its name, or what `schemes` says."""
    base[name] = audformat.Table(index, split_id=split)
    for column, values in columns.items():
        scheme = (schemes or {}).get(column, column)
        known = scheme if scheme in base.schemes else None
        base[name][column] = audformat.Column(scheme_id=known)
        base[name][column].set(values)


def emotions(base, name, numbers, split=None, column="emotion", schemes=None) -> None:
    index = audformat.filewise_index([FILES[number] for number in numbers])
    values = {column: [EMOTIONS[number] for number in numbers]}
    fill(base, name, index, values, split, schemes)


def found(source) -> list[tuple]:
    clips = read_table(source).utterances
    return [(clip.wav, clip.emotion, clip.speaker, clip.split) for clip in clips]


def wanted(base, **split_of_table: str | None) -> list[tuple]:
    """The same, through audformat's own reading of these tables."""
    speakers = base["files"]["speaker"].get()
    rows = []
    for name, split in split_of_table.items():
        for file, emotion in base[name]["emotion"].get().items():
            label = None if pd.isna(emotion) else emotion
            speaker = "unknown" if pd.isna(speakers[file]) else speakers[file]
            rows.append((file, label, speaker, split))
    return sorted(rows)


def test_one_table_with_speakers_elsewhere(base, tmp_path):
    emotions(base, "labels", [0, 1, 2, 3])
    parts = audformat.segmented_index(FILES[:1], ["0s"], ["1s"])
    fill(base, "parts", parts, {"speaker": ["08"]})  # says nothing about a whole file
    base.save(tmp_path / "emodb-1.4")
    corpus = read_table(tmp_path / "emodb-1.4", mapping="anger=ang")
    assert found(tmp_path / "emodb-1.4") == wanted(base, labels=None)
    assert corpus.emotions == {"ang": 2, "happiness": 1}
    assert (corpus.name, corpus.data_folder) == (
        "emodb-1.4",
        str(tmp_path / "emodb-1.4"),
    )
    place = f"{tmp_path}/emodb-1.4, line 2 of table labels"
    assert corpus.utterances[1].place == place
    assert table_labels(f"{tmp_path}/emodb-1.4#labels") == ["anger", "happiness"]
    assert table_folder(f"{tmp_path}/emodb-1.4#labels") == f"{tmp_path}/emodb-1.4"


def test_segments_with_their_own_speakers(base, tmp_path):
    index = audformat.segmented_index(
        [FILES[0], FILES[0], FILES[1]], ["0s", "1.25s", "0.1s"], ["1.25s", "2s", "NaT"]
    )
    columns = {"mood": ["anger", "neutral", "anger"], "who": ["08", "03", "08"]}
    schemes = {"mood": "emotion", "who": "speaker"}
    fill(base, "segments", index, columns, schemes=schemes)
    base.save(tmp_path)
    clips = {(c.wav, c.start, c.end): c for c in read_table(tmp_path).utterances}
    own = base["segments"].get()
    seconds = {
        (
            file,
            start.total_seconds(),
            None if pd.isna(end) else end.total_seconds(),
        ): row
        for (file, start, end), row in zip(own.index, own.values.tolist(), strict=True)
    }
    assert {key: [c.emotion, c.speaker] for key, c in clips.items()} == seconds
    assert clips[FILES[1], 0.1, None].id == f"{FILES[1]}#0.1-"


@pytest.mark.parametrize("misc", [False, True])
def test_genders_are_what_the_scheme_of_the_speakers_says(base, tmp_path, misc):
    emotions(base, "labels", [0, 1, 2, 3])
    base.save(tmp_path / "none")
    known = {"03": {"gender": "male"}, "08": {"gender": "female"}}
    if misc:
        index = pd.Index(list(known), name="speaker", dtype="string")
        base["people"] = audformat.MiscTable(index)
        base["people"]["gender"] = audformat.Column()
        base["people"]["gender"].set([some["gender"] for some in known.values()])
    labels = "people" if misc else known
    base.schemes["speaker"] = audformat.Scheme("str", labels=labels)
    base.save(tmp_path / "some")
    clips = read_table(tmp_path / "none").utterances
    assert {clip.traits for clip in clips} == {None}
    mapped = base["files"]["speaker"].get(map="gender")
    traits = [clip.traits for clip in read_table(tmp_path / "some").utterances]
    assert traits == [None if pd.isna(m) else {"gender": m} for m in mapped]
    assert traits[:2] == [{"gender": "male"}, {"gender": "female"}]


def test_official_splits_are_put_together(base, tmp_path):
    emotions(base, "emotion", [0, 1, 2, 3])
    emotions(base, "e.train", [0, 2], "train")
    emotions(base, "e.dev", [3], "dev")
    emotions(base, "e.test", [1], "test")
    emotions(base, "e.more", [1], "more")
    base.save(tmp_path)
    splits = {"e.train": "train", "e.dev": "valid", "e.test": "test"}
    assert found(tmp_path) == wanted(base, **splits)
    chosen = found(f"{tmp_path}#e.train, e.more")
    assert chosen == wanted(base, **{"e.train": "train", "e.more": None})
    assert found(f"{tmp_path}#emotion") == wanted(base, emotion=None)


def test_the_table_emotion_is_meant_where_splits_have_several(base, tmp_path):
    emotions(base, "emotion", [0, 1, 2, 3])
    emotions(base, "e.test.1", [1], "test")
    emotions(base, "e.test.2", [2], "test")
    base.save(tmp_path)
    assert found(tmp_path) == wanted(base, emotion=None)


def test_raters_columns_are_no_labels(base, tmp_path):
    emotions(base, "labels", [0, 1])
    index = audformat.filewise_index(FILES[:2])
    raters = {"rater1": ["anger", "anger"], "rater2": ["anger", "neutral"]}
    fill(base, "raters", index, raters, schemes=dict.fromkeys(raters, "emotion"))
    base.save(tmp_path)
    assert found(tmp_path) == wanted(base, labels=None)


def refusal(source) -> str:
    with pytest.raises(InputError) as caught:
        read_table(source)
    return str(caught.value)


def test_what_is_refused(base, tmp_path):
    def saved(name: str) -> Path:
        base.save(tmp_path / name)
        return tmp_path / name

    assert "tables with a column or scheme emotion: none" in refusal(saved("none"))
    emotions(base, "one", [0, 1])
    emotions(base, "two", [1, 2])
    error = refusal(saved("two"))
    assert "column or scheme emotion: one, two; there must be one" in error
    assert "choose with FOLDER#TABLE" in error
    error = refusal(f"{tmp_path}/two#three")
    assert "no table three with a column or scheme emotion; there is: one, two" in error
    base["two"].df.loc[FILES[1], "emotion"] = "neutral"
    error = refusal(f"{saved('twice')}#one,two")
    assert "line 1 of table two: wav/08a02W.wav is also in line 2 of table one" in error
    assert "with emotion anger there, neutral here" in error
    others = {"speaker": ["03", "03", "08", None]}
    fill(base, "more", audformat.filewise_index(FILES), others)
    error = refusal(f"{saved('speakers')}#one")
    assert f"{FILES[1]} has the speaker 08, and 03 in table more" in error
    base.drop_tables(["files", "more"])
    assert "with unknown where nobody knows" in refusal(f"{saved('nobody')}#one")


def test_a_damaged_database(base, tmp_path):
    emotions(base, "labels", [0, 1])
    base.save(tmp_path)
    os.remove(tmp_path / "db.labels.parquet")
    assert "not readable as an audformat database" in refusal(tmp_path)
    (tmp_path / "db.yaml").write_text("a: [")
    assert "not readable as an audformat database" in refusal(tmp_path)


def test_labels_are_read_again_when_a_table_changes(base, tmp_path):
    emotions(base, "labels", [0, 1])
    base.save(tmp_path)
    assert table_labels(tmp_path) == ["anger", "happiness"]
    base["labels"]["emotion"].set("neutral")
    base.save(tmp_path)
    assert table_labels(tmp_path) == ["neutral"]


def test_without_the_library(base, tmp_path, monkeypatch):
    base.save(tmp_path)
    monkeypatch.setitem(sys.modules, "audformat", None)
    assert "pip install 'sercorr[audformat]'" in refusal(tmp_path)
