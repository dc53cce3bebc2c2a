"""Unusable audio, counts beside the full release's, and what reading refuses."""

import json
import re
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from diary import DAYS, LABELS, PARTS, make_diary, plan, prepare
from releases import read_manifests

from sercorr.data.manifests import read_splits
from sercorr.data.utterances import Corpus
from sercorr.errors import InputError


@pytest.fixture
def own(tmp_path) -> Corpus:
    """A small corpus, to be spoilt."""
    return make_diary(tmp_path / "own")


# Unusable audio


def spoil(corpus: Corpus) -> dict[str, str]:
    """Spoil five clips; return name -> complaint."""
    root = Path(corpus.data_folder)
    (root / "day1/day1-00.wav").unlink()
    (root / "day1/day1-05.wav").write_bytes(b"")
    whole = (root / "day2/day2-02.wav").read_bytes()
    (root / "day2/day2-02.wav").write_bytes(whole[:2044])
    soundfile.write(root / "day2/day2-11.wav", np.zeros(399), 16000)
    (root / "day3/day3-01.wav").write_bytes(b"no audio at all" * 99)
    return {
        "day1-00": "missing: there is no such file",
        "day1-05": "empty: the file has 0 bytes",
        "day2-02": "truncated: its header promises",
        "day2-11": "too short: 399 samples",
        "day3-01": "not readable as audio",
    }


def test_unusable_clips_are_reported_at_once_or_left_out_and_listed(
    own, tmp_path, capsys
):
    out = tmp_path / "out"
    whole = shutil.copytree(own.data_folder, tmp_path / "whole")
    bad = spoil(own)
    with pytest.raises(InputError) as caught:
        plan(own, out)
    assert not out.exists()
    made = prepare(own, out, skip_bad_audio=True)
    head, *lines, remedy = str(caught.value).splitlines()
    assert head == "5 clips cannot be used:"
    assert remedy == "mend them, or leave them out with --skip_bad_audio True"
    assert lines == (out / "skipped_audio.txt").read_text().splitlines()
    for (name, complaint), line in zip(bad.items(), lines, strict=True):
        assert re.search(rf"/{name}\.wav: {complaint}.*\(labelled in labels", line)
    names = {name for manifest in read_manifests(out).values() for name in manifest}
    assert names == set(made.clips)
    assert (len(names), names & set(bad)) == (31, set())
    assert sum(made.counts["day1"].values()) == 10
    again = plan(own, out, skip_bad_audio=True)
    assert not again.texts
    assert (again.clips, again.counts) == (made.clips, made.counts)
    for each in (made, again):
        each.report()
        note = f"note: 5 unusable clips left out, listed in {out / 'skipped_audio.txt'}"
        assert note in capsys.readouterr().out
    # Mended, the clips come back and the list goes.
    shutil.copytree(whole, own.data_folder, dirs_exist_ok=True)
    assert len(prepare(own, out, skip_bad_audio=True).clips) == 36
    assert not (out / "skipped_audio.txt").exists()


def test_a_long_list_of_unusable_clips_is_cut(own, tmp_path):
    for day in ("day1", "day2"):
        shutil.rmtree(Path(own.data_folder) / day)
    with pytest.raises(InputError, match=r"24 clips cannot be used") as caught:
        plan(own, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert sum("missing" in line for line in lines) == 20
    assert "and 4 more" in lines
    with pytest.raises(InputError, match=r"fold 1 would have an empty test set"):
        plan(own, tmp_path / "out", skip_bad_audio=True)
    assert not (tmp_path / "out").exists()


def test_other_rates_and_channels_are_noted(own, tmp_path, capsys):
    path = Path(own.data_folder) / "day1/day1-00.wav"
    soundfile.write(path, np.zeros((44100, 2)), 44100)
    for _ in range(2):  # the second time from the record
        prepare(own, tmp_path / "out").report()
        assert "note: 1 clips are not 16000 Hz mono" in capsys.readouterr().out
    entry = read_manifests(tmp_path / "out")[1, "test"]["day1-00"]
    assert entry["duration"] == 1.0


# Counts


def report(corpus: Corpus, folder: Path, capsys, **settings) -> list[str]:
    plan(corpus, folder, **settings).report()
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_counts_and_clips_of_other_labels(own, tmp_path, capsys):
    assert report(own, tmp_path / "out", capsys) == [
        "day glad + merry sad calm all",
        "day1 3 + 1 4 4 12",
        "day2 3 + 1 4 4 12",
        "day3 3 + 1 4 4 12",
        "all 9 + 3 12 12 36",
    ]
    two = {"labels": ["calm", "sad"]}
    assert report(own, tmp_path / "out", capsys, **two)[-2:] == [
        "all 12 12 24",
        "note: clips of other labels left out: glad (12)",
    ]
    assert len(plan(own, tmp_path / "out", **two).clips) == 24


def test_counts_are_compared_with_those_of_the_full_release(own, tmp_path, capsys):
    full = {"glad": 3, "merry": 1, "sad": 4, "calm": 4}

    def remarks(published: dict, **settings) -> list[str]:
        lines = report(replace(own, published=published), tmp_path, capsys, **settings)
        return [line for line in lines if "full" in line or "warning" in line]

    published = {day: full for day in DAYS}  # noqa: C420 (each day has its own)
    note = (
        "note: not the full release of Diary: {} clips of these classes, there are {}"
    )
    assert remarks(published) == []
    published["day2"] = {**full, "merry": 2, "calm": 3}
    merry = "warning: day day2, merry: 1, expected 2; results will not compare"
    calm = "warning: day day2, calm: 4, expected 3; results will not compare"
    assert remarks(published) == [note.format(36, 36) + " in it", merry, calm]
    two = {"labels": ["glad", "sad"]}
    assert remarks(published, **two)[1:] == ["note: not the", merry][1:]
    published = {**dict.fromkeys(DAYS, full), "day4": full, "day5": full}
    assert remarks(published) == [note.format(36, 60) + " in it"]


# Manifests that are read


def entry(speaker: str, emo: str = "glad") -> dict:
    wav = "{data_root}/a.wav"
    return {"wav": wav, "duration": 0.5, "emo": emo, "speaker": speaker, "extra": [1]}


GOOD = {
    "train": {"t1": entry("B"), "t2": entry("C", "sad")},
    "valid": {"v1": entry("B", "calm")},
    "test": {"x1": entry("A")},
}


def root(folder: str) -> dict[str, str]:
    return {"{data_root}": folder}


def write_fold(folder: Path, splits: dict) -> Path:
    for name, manifest in splits.items():
        (folder / f"{name}.json").write_text(json.dumps(manifest))
    return folder


def test_splits_are_read_in_the_files_order_with_the_corpus_folder(tmp_path):
    splits = read_splits(write_fold(tmp_path, GOOD), root("/my corpus"), LABELS)
    names = {name: list(manifest) for name, manifest in splits.items()}
    assert names == {"train": ["t1", "t2"], "valid": ["v1"], "test": ["x1"]}
    wanted = {**entry("C", "sad"), "wav": "/my corpus/a.wav"}
    assert splits["train"]["t2"] == {**wanted, "file": "{data_root}/a.wav"}
    relative = read_splits(tmp_path, root("corpus"), LABELS)["test"]["x1"]["wav"]
    assert relative == str(Path.cwd() / "corpus" / "a.wav")


def spoilt(part: str, **changes) -> dict:
    splits = deepcopy(GOOD)
    clip = next(iter(splits[part].values()))
    clip.update(changes)
    splits[part] = {
        name: {key: value for key, value in clip.items() if value is not None}
        for name, clip in splits[part].items()
    }
    return splits


SPEAKER = r"1 of the 1 test speakers also stand in {} \(the first is A\)"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        *(({**GOOD, part: {}}, rf"{part}\.json: no clip is in it") for part in PARTS),
        ({**GOOD, "train": [1, 2]}, r"train\.json: no clip is in it"),
        (spoilt("valid", emo="fru"), r"v1 is .*'fru'.*; .* one of glad, sad, calm"),
        (spoilt("train", speaker="A"), SPEAKER.format("train")),
        (spoilt("valid", speaker="A"), SPEAKER.format("valid")),
        *(
            (spoilt("train", **{key: None}), rf"t1 is .*; it must have .*{key}")
            for key in ("wav", "duration", "emo", "speaker")
        ),
    ],
)
def test_splits_that_would_spoil_a_result(tmp_path, splits, message):
    with pytest.raises(InputError, match=message) as caught:
        read_splits(write_fold(tmp_path, splits), root("d"), LABELS)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_missing_or_no_manifest(tmp_path):
    path = write_fold(tmp_path, GOOD) / "train.json"
    path.write_text('{"t1": ')
    with pytest.raises(InputError, match=r"train\.json: not valid JSON"):
        read_splits(tmp_path, root("d"), LABELS)
    path.unlink()
    with pytest.raises(InputError, match=r"train\.json: no such file"):
        read_splits(tmp_path, root("d"), LABELS)


def test_many_groups_are_summed(own, tmp_path, capsys):
    clips = [replace(clip, group=i) for i, clip in enumerate(own.utterances)]
    more = [
        replace(clip, id=f"{clip.id}-{n}") for clip in clips for n in range(2)
    ]  # 74 groups, of one emotion each
    many = [replace(clip, group=i) for i, clip in enumerate(more)]
    corpus = replace(own, utterances=many)
    assert report(corpus, tmp_path / "out", capsys, n_folds=3, fold_by="speaker")[
        :2
    ] == [
        "day glad + merry sad calm all",
        "all 74 18 + 6 24 24 72",
    ]
