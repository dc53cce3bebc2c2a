"""The manifests of a fold: what is read, what is refused."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from sercorr.data.manifests import read_splits
from sercorr.errors import InputError

LABELS = ["glad", "sad", "calm"]
PARTS = ("train", "valid", "test")


def entry(speaker: str, emo: str = "glad") -> dict:
    wav = "{data_root}/a.wav"
    return {"wav": wav, "duration": 0.5, "emo": emo, "speaker": speaker, "extra": [1]}


GOOD = {
    "train": {"t1": entry("B"), "t2": entry("C", "sad")},
    "valid": {"v1": entry("B", "calm")},
    "test": {"x1": entry("A")},
}


def write_fold(folder: Path, splits: dict) -> Path:
    for name, manifest in splits.items():
        (folder / f"{name}.json").write_text(json.dumps(manifest))
    return folder


def test_splits_are_read_in_the_files_order_with_the_corpus_folder(tmp_path):
    splits = read_splits(write_fold(tmp_path, GOOD), "/my corpus", LABELS)
    names = {name: list(manifest) for name, manifest in splits.items()}
    assert names == {"train": ["t1", "t2"], "valid": ["v1"], "test": ["x1"]}
    wanted = {**entry("C", "sad"), "wav": "/my corpus/a.wav"}
    assert splits["train"]["t2"] == {**wanted, "file": "{data_root}/a.wav"}
    # A speaker may train and validate.
    assert splits["train"]["t1"]["speaker"] == splits["valid"]["v1"]["speaker"]
    relative = read_splits(tmp_path, "corpus", LABELS)["test"]["x1"]["wav"]
    assert relative == str(Path.cwd() / "corpus" / "a.wav")


def shared(first: str, second: str) -> dict:
    splits = deepcopy(GOOD)
    identity, clip = next(iter(splits[first].items()))
    splits[second][identity] = {**clip, "speaker": "Z"}
    return splits


def changed(split: str, **changes) -> dict:
    splits = deepcopy(GOOD)
    next(iter(splits[split].values())).update(changes)
    return splits


SPEAKER = "1 of the 1 test speakers also stand in {} \\(the first is A\\)"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        *(({**GOOD, part: {}}, rf"{part}\.json is empty") for part in PARTS),
        (changed("valid", emo="fru"), r"valid\.json has the emotions fru; .*glad, sad"),
        (shared("train", "valid"), r"t1 stands in train\.json and valid\.json"),
        (shared("train", "test"), r"t1 stands in train\.json and test\.json"),
        (shared("valid", "test"), r"v1 stands in valid\.json and test\.json"),
        (changed("train", speaker="A"), SPEAKER.format("train")),
        (changed("valid", speaker="A"), SPEAKER.format("valid")),
    ],
)
def test_splits_that_would_spoil_a_result(tmp_path, splits, message):
    with pytest.raises(InputError, match=message) as caught:
        read_splits(write_fold(tmp_path, splits), "d", LABELS)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("key", ["wav", "duration", "emo", "speaker"])
def test_an_entry_that_lacks_something(tmp_path, key):
    splits = deepcopy(GOOD)
    del splits["train"]["t2"][key]
    with pytest.raises(InputError, match=f"train.json: t2 lacks {key}; prepare"):
        read_splits(write_fold(tmp_path, splits), "d", LABELS)


ONE = json.dumps(entry("B"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f'{{"t1": {ONE}, "t2": {ONE}, "t1": {ONE}}}', r"the id t1 stands in it twice"),
        ('{"t1": ', "prepare the data again"),
        ("\xff\xfe", "prepare the data again"),
        ("[1, 2]", "prepare the data again"),
        ('{"t1": 3}', "an entry is no mapping; prepare the data again"),
        (None, "no such manifest; prepare the data first"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, content, message):
    path = write_fold(tmp_path, GOOD) / "train.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=rf"train\.json: .*{message}"):
        read_splits(tmp_path, "d", LABELS)
