"""Manifests: what is read, what is refused, and the datasets made of them."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sercorr.data.manifests import (
    make_dataset,
    make_label_dataset,
    read_manifest,
    read_splits,
)
from sercorr.errors import InputError

LABELS = ["neu", "hap", "ang", "sad"]


def entry(speaker: str, emo: str = "neu", wav: str = "a.wav") -> dict:
    return {
        "wav": "{data_root}/" + wav,
        "duration": 0.5,
        "emo": emo,
        "code": emo,
        "speaker": speaker,
        "session": int(speaker[4]),
        "votes": [["Neutral state"]],
    }


GOOD = {
    "train": {"t1": entry("Ses02F", "neu"), "t2": entry("Ses03M", "sad")},
    "valid": {"v1": entry("Ses02F", "hap")},
    "test": {"x1": entry("Ses01F", "ang")},
}


def write(folder: Path, splits: dict) -> Path:
    for name, manifest in splits.items():
        (folder / f"{name}.json").write_text(json.dumps(manifest))
    return folder


def test_splits_are_read_in_the_files_order_with_the_corpus_folder(tmp_path):
    splits = read_splits(write(tmp_path, GOOD), "/my corpus", LABELS)
    assert {name: list(manifest) for name, manifest in splits.items()} == {
        "train": ["t1", "t2"],
        "valid": ["v1"],
        "test": ["x1"],
    }
    wanted = {**GOOD["train"]["t2"], "wav": "/my corpus/a.wav"}
    assert splits["train"]["t2"] == wanted


def test_a_speaker_may_stand_in_train_and_valid(tmp_path):
    splits = read_splits(write(tmp_path, GOOD), "d", LABELS)
    assert (
        splits["train"]["t1"]["speaker"] == splits["valid"]["v1"]["speaker"] == "Ses02F"
    )


def shared(first: str, second: str) -> dict:
    splits = deepcopy(GOOD)
    identity, clip = next(iter(splits[first].items()))
    splits[second][identity] = {**clip, "speaker": "Ses05F"}
    return splits


def changed(split: str, **changes) -> dict:
    splits = deepcopy(GOOD)
    next(iter(splits[split].values())).update(changes)
    return splits


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({**GOOD, "train": {}}, r"train\.json is empty"),
        ({**GOOD, "valid": {}}, r"valid\.json is empty"),
        ({**GOOD, "test": {}}, r"test\.json is empty"),
        (changed("valid", emo="fru"), r"valid\.json has the emotions fru; .*neu, hap"),
        (shared("train", "valid"), r"t1 stands in train\.json and valid\.json"),
        (shared("train", "test"), r"t1 stands in train\.json and test\.json"),
        (shared("valid", "test"), r"v1 stands in valid\.json and test\.json"),
        (changed("train", speaker="Ses01F"), r"speaker Ses01F stands in train\.json"),
        (changed("valid", speaker="Ses01F"), r"speaker Ses01F stands in valid\.json"),
    ],
)
def test_splits_that_would_spoil_a_result(tmp_path, splits, message):
    with pytest.raises(InputError, match=message) as caught:
        read_splits(write(tmp_path, splits), "d", LABELS)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("key", ["wav", "duration", "emo", "speaker"])
def test_an_entry_that_lacks_something(tmp_path, key):
    splits = deepcopy(GOOD)
    del splits["train"]["t2"][key]
    path = write(tmp_path, splits) / "train.json"
    with pytest.raises(InputError, match=f"train.json: t2 lacks {key}; prepare"):
        read_manifest(path, "d")


def test_an_id_that_stands_twice_in_a_file(tmp_path):
    path = tmp_path / "train.json"
    one = json.dumps(entry("Ses02F"))
    path.write_text(f'{{"t1": {one}, "t2": {one}, "t1": {one}}}')
    with pytest.raises(InputError, match=r"train\.json: the id t1 stands in it twice"):
        read_manifest(path, "d")


@pytest.mark.parametrize("content", ['{"t1": ', "\xff\xfe", "[1, 2]", '{"t1": 3}'])
def test_a_file_that_is_no_manifest(tmp_path, content):
    path = tmp_path / "train.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"train\.json: .*prepare the data again"):
        read_manifest(path, "d")


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"valid\.json: no such manifest; prepare"):
        read_manifest(tmp_path / "valid.json", "d")


@pytest.mark.parametrize("labels", [LABELS, LABELS[::-1]])
def test_items_of_a_dataset(tmp_path, labels):
    sound = np.linspace(-0.5, 0.5, 800, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    manifest = read_manifest(write(tmp_path, GOOD) / "train.json", tmp_path)
    items = list(make_dataset(manifest, labels))
    assert [item["id"] for item in items] == ["t1", "t2"]
    assert [item["target"] for item in items] == [
        labels.index("neu"),
        labels.index("sad"),
    ]
    torch.testing.assert_close(items[1]["sig"], torch.from_numpy(sound))
    bare = list(make_label_dataset(manifest, labels))
    assert bare == [{key: item[key] for key in ("id", "target")} for item in items]
