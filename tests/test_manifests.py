"""Manifests: planned, written once, recognised, refused, reported, read again."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from diary import DAYS, LABELS, PARTS, make_diary, plan, prepare
from releases import contents, read_manifests

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


def changed(corpus: Corpus, **changes) -> Corpus:
    """Change all clips; a function is given the clip."""
    clips = [
        replace(clip, **{k: v(clip) if callable(v) else v for k, v in changes.items()})
        for clip in corpus.utterances
    ]
    return replace(corpus, utterances=clips)


def test_a_plan_writes_nothing_and_knows_what_it_would_write(corpus, tmp_path):
    out = tmp_path / "deep" / "out"
    made = plan(corpus, out)
    assert not out.parent.exists()
    made.write()
    assert made.digests == {
        fold: {
            part: hashlib.sha256(
                (out / f"fold_{fold}/{part}.json").read_bytes()
            ).hexdigest()
            for part in PARTS
        }
        for fold in (1, 2, 3)
    }
    assert list(made.clips) == sorted(f"{d}-{i:02d}" for d in DAYS for i in range(12))
    place = str(corpus.data_folder / "day3/day3-03.wav")
    assert made.clips["day3-03"] == (place, 0.0, None)
    row = {"glad": 3, "merry": 1, "sad": 4, "calm": 4}
    assert list(made.counts.items()) == [(day, row) for day in DAYS]
    manifests = read_manifests(out)
    assert len(manifests) == 9
    for (fold, part), manifest in manifests.items():
        assert list(manifest) == sorted(manifest)
        tested = {entry["day"] == DAYS[fold - 1] for entry in manifest.values()}
        assert tested == {part == "test"}
        entry = read_splits(out / f"fold_{fold}", made.roots, LABELS)[part]
        assert {name: e["wav"] for name, e in entry.items()} == {
            name: made.clips[name].file for name in manifest
        }
    assert list(manifests[3, "test"]["day3-00"].items()) == [
        ("wav", "{data_root}/day3/day3-00.wav"),
        ("duration", 0.1),
        ("emo", "glad"),
        ("code", "merry"),
        ("speaker", "day3-A"),
        ("day", "day3"),
        ("votes", [["glad"], ["Übermut", "sad"]]),
    ]
    assert manifests[1, "test"]["day1-07"]["duration"] == 1607 / 16000


def test_what_a_corpus_does_not_have_is_no_key(corpus, tmp_path):
    prepare(replace(changed(corpus, code=None, votes=None), codes={}), tmp_path)
    entry = read_manifests(tmp_path)[2, "test"]["day2-00"]
    assert list(entry) == ["wav", "duration", "emo", "speaker", "day"]


def test_bytes_do_not_depend_on_place_or_order(corpus, tmp_path):
    elsewhere = shutil.copytree(corpus.data_folder, tmp_path / "a longer name" / "ü")
    moved = replace(corpus, data_folder=elsewhere, utterances=corpus.utterances[::-1])
    first = prepare(corpus, tmp_path / "here")
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_folds": 4}, r"n_folds is 4, but Diary has 3 days"),
        ({"valid_ratio": 2}, r"valid_ratio is 2; it must lie between 0 and 1"),
        ({"labels": ["glad", "cross"]}, r"labels has cross, which no clip of Diary"),
        ({"labels": ["sad", "bored"]}, r"bored, .* calm \(12\), glad \(12\), sad"),
    ],
)  # fmt: skip
def test_settings_are_refused_before_audio_is_read(corpus, tmp_path, settings, message):
    lost = replace(corpus, data_folder=tmp_path / "lost")
    with pytest.raises(InputError, match=message):
        plan(lost, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


# Repeated runs


def test_an_unchanged_folder_is_recognised_without_reading_audio(own, tmp_path, capsys):
    out = tmp_path / "out"
    first = prepare(own, out)
    before = {name: os.stat(out / name).st_mtime_ns for name in contents(out)}
    clip = Path(first.clips["day2-04"].file)
    state = clip.stat()
    clip.write_bytes(b"x" * state.st_size)  # reading it would fail
    os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = prepare(own, out)
    assert {name: os.stat(out / name).st_mtime_ns for name in contents(out)} == before
    assert (second.digests, second.clips) == (first.digests, first.clips)
    assert second.counts == first.counts
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
    assert prepare(corpus, tmp_path / "changed", **change).texts
    prepare(corpus, tmp_path / "new", **change)
    assert contents(tmp_path / "changed") == contents(tmp_path / "new")
    assert not prepare(corpus, tmp_path / "changed", **change).texts


def test_changed_data_prepare_again(own, tmp_path):
    out = tmp_path / "out"
    clip = Path(prepare(own, out).clips["day2-00"].file)
    for rate in (16000, 8000):  # of the same size
        soundfile.write(clip, np.zeros(32000), rate)
        assert prepare(own, out).texts
        duration = read_manifests(out)[2, "test"]["day2-00"]["duration"]
        assert duration == 32000 / rate
    swapped = {"glad": "sad", "sad": "glad"}
    for changes, fresh in (
        ({"code": "good"}, True),
        ({"votes": [["calm"]]}, True),
        ({"speaker": lambda clip: clip.speaker.lower()}, True),
        ({"emotion": lambda clip: swapped.get(clip.emotion, clip.emotion)}, True),
        ({"place": "another line"}, False),
    ):
        own = changed(own, **changes)
        assert bool(prepare(own, out).texts) == fresh
        assert not prepare(own, out).texts


@pytest.mark.parametrize(
    ("field", "n_folds", "first", "second"),
    [
        ("fold", 3, (1, 2, 3), (1, 3, 2)),
        ("split", 1, ("train", "valid", "test"), ("valid", "train", "test")),
    ],
)
def test_other_official_folds_prepare_again(
    corpus, tmp_path, field, n_folds, first, second
):
    for values, fresh in ((first, True), (first, False), (second, True)):
        of_day = dict(zip(DAYS, values, strict=True))
        offered = changed(corpus, **{field: lambda clip, of=of_day: of[clip.group]})
        made = prepare(offered, tmp_path, n_folds=n_folds, fold_by="official")
        assert bool(made.texts) == fresh


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fold_3/train.json", None),
        ("fold_3/train.json", "{}"),
        ("prepare.json", None),
        ("prepare.json", "{"),
        ("prepare.json", "[]"),
    ],
)
def test_damaged_manifests_are_made_again(corpus, tmp_path, name, content):
    prepare(corpus, tmp_path)
    before = contents(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    assert prepare(corpus, tmp_path).texts
    assert contents(tmp_path) == before


@pytest.mark.parametrize("renamed", [0, 1, 5, 9])
def test_stopped_at_any_rename_no_record_vouches_for_a_mixture(
    corpus, tmp_path, monkeypatch, renamed
):
    out = tmp_path / "out"
    prepare(corpus, out, split_seed=1)
    rename, left = os.replace, [renamed]

    def stop(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(corpus, out, split_seed=2)
    assert set(contents(out)) == {
        f"fold_{k}/{p}.json" for k in (1, 2, 3) for p in PARTS
    }
    for seed in (1, 2):
        again = shutil.copytree(out, tmp_path / f"again{seed}")
        assert prepare(corpus, again, split_seed=seed).texts
        prepare(corpus, tmp_path / f"new{seed}", split_seed=seed)
        assert contents(tmp_path / f"new{seed}") == contents(again)


def test_a_manifest_folder_that_cannot_be_made(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out: the folder cannot be made"):
        prepare(corpus, tmp_path / "file" / "out")
