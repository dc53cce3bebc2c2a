"""Manifests: planned, written once, recognised, refused, read again."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from diary import DAYS, LABELS, PARTS, make_diary, plan, prepare
from releases import contents, manifest_bytes, read_manifests

from sercorr.data.manifests import read_splits
from sercorr.data.utterances import Corpus
from sercorr.errors import InputError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """A small corpus; not to be changed."""
    return make_diary(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def own(tmp_path) -> Corpus:
    """A small corpus, to be spoilt."""
    return make_diary(tmp_path / "own")


def relabelled(corpus: Corpus, identity: str, **changes) -> Corpus:
    clips = [
        replace(clip, **changes) if clip.id == identity else clip
        for clip in corpus.utterances
    ]
    return replace(corpus, utterances=clips)


def times(folder: Path) -> dict[str, int]:
    return {name: os.stat(folder / name).st_mtime_ns for name in contents(folder)}


# What is planned and written


def test_a_plan_writes_nothing_and_knows_what_it_would_write(corpus, tmp_path):
    out = tmp_path / "deep" / "out"
    made = plan(corpus, out)
    assert made.fresh
    assert not out.parent.exists()
    made.write()
    found = {
        fold: {
            part: hashlib.sha256((out / f"fold_{fold}/{part}.json").read_bytes())
            for part in PARTS
        }
        for fold in (1, 2, 3)
    }
    assert made.digests == {
        fold: {part: digest.hexdigest() for part, digest in parts.items()}
        for fold, parts in found.items()
    }
    assert list(made.clips) == sorted(f"{d}-{i:02d}" for d in DAYS for i in range(12))
    assert made.clips["day10-03"] == corpus.data_folder / "day10/day10-03.wav"
    assert made.counts == {
        day: {"glad": 3, "merry": 1, "sad": 4, "calm": 4} for day in DAYS
    }
    assert list(made.counts) == list(DAYS)
    assert made.skipped == 0


def test_entries(corpus, tmp_path):
    prepare(corpus, tmp_path / "out")
    manifests = read_manifests(tmp_path / "out")
    assert len(manifests) == 9
    for (fold, part), manifest in manifests.items():
        assert list(manifest) == sorted(manifest)
        tested = {entry["day"] == DAYS[fold - 1] for entry in manifest.values()}
        assert tested == {part == "test"}
    assert list(manifests[3, "test"]["day10-00"].items()) == [
        ("wav", "{data_root}/day10/day10-00.wav"),
        ("duration", 0.1),
        ("emo", "glad"),
        ("code", "merry"),
        ("speaker", "day10-A"),
        ("day", "day10"),
        ("votes", [["glad"], ["Übermut", "sad"]]),
    ]
    assert manifests[1, "test"]["day1-07"]["duration"] == 1607 / 16000


def test_what_is_written_can_be_read(corpus, tmp_path):
    made = prepare(corpus, tmp_path / "out")
    for fold in (1, 2, 3):
        splits = read_splits(tmp_path / f"out/fold_{fold}", corpus.data_folder, LABELS)
        read = {name: e["wav"] for part in splits.values() for name, e in part.items()}
        assert read == {name: str(path) for name, path in made.clips.items()}


def test_what_a_corpus_does_not_have_is_no_key(corpus, tmp_path):
    clips = [replace(clip, code=None, votes=None) for clip in corpus.utterances]
    bare = replace(corpus, utterances=clips, codes={}, group_name="speaker")
    prepare(bare, tmp_path / "out")
    entry = read_manifests(tmp_path / "out")[2, "test"]["day2-00"]
    assert list(entry) == ["wav", "duration", "emo", "speaker"]


def test_bytes_do_not_depend_on_place_or_order(corpus, tmp_path):
    first = prepare(corpus, tmp_path / "here")
    elsewhere = tmp_path / "a longer name" / "ü"
    shutil.copytree(corpus.data_folder, elsewhere)
    moved = replace(corpus, data_folder=elsewhere, utterances=corpus.utterances[::-1])
    second = prepare(moved, tmp_path / "there", labels=LABELS[::-1])
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert first.digests == second.digests


def test_two_clips_of_one_id(corpus):
    clips = [*corpus.utterances, replace(corpus.utterances[3], place="b.txt, line 9")]
    message = r"b\.txt, line 9: day1-03 is labelled twice, .* at labels\.txt, line 3"
    with pytest.raises(InputError, match=message):
        replace(corpus, utterances=clips)
    with pytest.raises(InputError, match="no labelled clip of Diary"):
        replace(corpus, utterances=[])


def test_settings_are_refused_before_audio_is_read(corpus, tmp_path):
    lost = replace(corpus, data_folder=tmp_path / "lost")
    for settings, message in (
        ({"n_folds": 4}, r"n_folds is 4, but Diary has 3 days"),
        ({"valid_ratio": 2}, "valid_ratio is 2; it must lie between 0 and 1"),
        ({"skip_bad_audio": "False"}, "skip_bad_audio is 'False'; it must be True or"),
    ):
        with pytest.raises(InputError, match=message):
            plan(lost, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


# Repeated runs


def test_an_unchanged_folder_is_recognised_without_reading_audio(own, tmp_path, capsys):
    out = tmp_path / "out"
    first = prepare(own, out)
    before, stamps = contents(out), times(out)
    clip = first.clips["day2-04"]
    state = clip.stat()
    clip.write_bytes(b"x" * state.st_size)  # reading it would fail
    os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = prepare(own, out)
    assert not second.fresh
    assert (contents(out), times(out)) == (before, stamps)
    assert (second.digests, second.clips) == (first.digests, first.clips)
    assert (second.counts, second.skipped) == (first.counts, 0)
    second.report()
    assert capsys.readouterr().out == f"{out}: up to date (36 clips)\n"


@pytest.mark.parametrize(
    "change",
    [
        {"valid_ratio": 0.4},
        {"valid_session": "day2"},
        {"split_seed": 7},
        {"skip_bad_audio": True},
        {"labels": ["glad", "sad"]},
        {"fold_by": "speaker", "n_folds": 2},
        {"fold_by": "speaker", "n_folds": 4},
    ],
)
def test_changed_settings_prepare_again(corpus, tmp_path, change):
    prepare(corpus, tmp_path / "changed")
    assert prepare(corpus, tmp_path / "changed", **change).fresh
    prepare(corpus, tmp_path / "new", **change)
    assert contents(tmp_path / "changed") == contents(tmp_path / "new")
    assert not prepare(corpus, tmp_path / "changed", **change).fresh


def test_changed_data_prepare_again(own, tmp_path):
    out = tmp_path / "out"
    clip = prepare(own, out).clips["day2-00"]
    for rate in (16000, 8000):  # of the same size
        soundfile.write(clip, np.zeros(32000), rate)
        assert prepare(own, out).fresh
        duration = read_manifests(out)[2, "test"]["day2-00"]["duration"]
        assert duration == 32000 / rate
    for changes in (
        {"emotion": "sad"},
        {"code": "cheerful"},
        {"votes": [["calm"]]},
        {"speaker": "day2-B"},
    ):
        own = relabelled(own, "day2-00", **changes)
        assert prepare(own, out).fresh
        assert not prepare(own, out).fresh
    own = relabelled(own, "day2-00", place="another line")
    assert not prepare(own, out).fresh


def test_other_official_folds_or_splits_prepare_again(corpus, tmp_path):
    def fresh(field: str, values: Sequence, n_folds: int) -> bool:
        value_of = dict(zip(DAYS, values, strict=True))
        clips = [replace(c, **{field: value_of[c.group]}) for c in corpus.utterances]
        offered = replace(corpus, utterances=clips)
        settings = {"n_folds": n_folds, "fold_by": "official"}
        return prepare(offered, tmp_path / field, **settings).fresh

    for field, n_folds, first, second in (
        ("fold", 3, (1, 2, 3), (1, 3, 2)),
        ("split", 1, ("train", "valid", "test"), ("valid", "train", "test")),
    ):
        assert fresh(field, first, n_folds)
        assert not fresh(field, first, n_folds)
        assert fresh(field, second, n_folds)


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
def test_damaged_manifests_are_made_again(corpus, tmp_path, damage):
    out = tmp_path / "out"
    prepare(corpus, out)
    before = contents(out)
    damage(out)
    assert prepare(corpus, out).fresh
    assert contents(out) == before


@pytest.mark.parametrize("renamed", [0, 1, 5, 9])
def test_stopped_at_any_rename_no_record_vouches_for_a_mixture(
    corpus, tmp_path, monkeypatch, renamed
):
    out = tmp_path / "out"
    prepare(corpus, out, split_seed=1)
    replace_file, left = os.replace, [renamed]

    def stop(source, target):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(corpus, out, split_seed=2)
    assert set(contents(out)) == {
        f"fold_{fold}/{part}.json" for fold in (1, 2, 3) for part in PARTS
    }
    for seed in (1, 2):
        again, new = tmp_path / f"again{seed}", tmp_path / f"new{seed}"
        shutil.copytree(out, again)
        assert prepare(corpus, again, split_seed=seed).fresh
        prepare(corpus, new, split_seed=seed)
        assert manifest_bytes(new) == manifest_bytes(again)


def test_a_disk_that_is_full_leaves_the_old_manifests(corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(corpus, out, split_seed=1)
    before = contents(out)
    write, left = Path.write_bytes, [6]

    def full_disk(path, content):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="No space left"):
            prepare(corpus, out, split_seed=2)
    assert contents(out) == before


def test_a_manifest_folder_that_cannot_be_made(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out: the folder cannot be made"):
        prepare(corpus, tmp_path / "file" / "out")
