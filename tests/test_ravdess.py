"""RAVDESS: a second corpus, of which the package knows nothing."""

import shutil
from pathlib import Path

import pytest
from ravdess_prepare import read_ravdess
from releases import make_ravdess, read_manifests

from sercorr.data.manifests import plan_manifests, read_splits
from sercorr.errors import InputError

LABELS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory) -> Path:
    """A whole release; not to be changed."""
    return make_ravdess(tmp_path_factory.mktemp("ravdess"))


def test_names_say_emotion_actor_and_fold(ravdess):
    corpus = read_ravdess(ravdess)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert len(clips) == 1440
    clip = clips["03-01-06-01-02-01-12"]
    assert (clip.emotion, clip.speaker, clip.fold) == ("fearful", "Actor_12", 2)
    assert clip.wav == "Actor_12/03-01-06-01-02-01-12.wav"
    assert corpus.left_out == {"song": 1, "video": 1}
    first = [f"03-01-{code:02d}-01-01-01-01" for code in range(1, 9)]
    assert [clips[name].emotion for name in first] == LABELS


def test_six_official_folds_of_actors(ravdess, tmp_path, capsys):
    plan = plan_manifests(
        read_ravdess(ravdess),
        tmp_path,
        labels=LABELS,
        n_folds=6,
        fold_by="official",
        valid_session=3,
    )
    plan.write()
    plan.report()
    out = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0] == "group neutral calm happy sad angry fearful disgust surprised all"
    assert rows[7] == "all 96 192 192 192 192 192 192 192 1440"
    assert "note: 2 files of another kind left out: song 1, video 1" in rows
    assert "1440 clips are not 16000 Hz mono" in out
    assert "warning" not in out
    assert "not the full" not in out
    tested, held_out = (
        {
            fold: {int(entry["speaker"][6:]) for entry in manifest.values()}
            for (fold, part), manifest in read_manifests(tmp_path).items()
            if part == wanted
        }
        for wanted in ("test", "valid")
    )
    assert tested == {
        1: {1, 11, 20, 21},
        2: {4, 10, 12, 14},
        3: {8, 9, 19, 23},
        4: {3, 5, 7, 24},
        5: {2, 15, 16, 18},
        6: {6, 13, 17, 22},
    }
    assert held_out == {fold: tested[4 if fold == 3 else 3] for fold in tested}
    splits = read_splits(tmp_path / "fold_1", ravdess, LABELS)
    assert {part: len(split) for part, split in splits.items()} == {
        "train": 960,
        "valid": 240,
        "test": 240,
    }


def test_a_part_of_the_release(ravdess, tmp_path, capsys):
    for actor in (2, 5, 11):
        name = f"Actor_{actor:02d}"
        shutil.copytree(ravdess / name, tmp_path / "part" / name)
    corpus = read_ravdess(tmp_path / "part")
    plan_manifests(
        corpus, tmp_path / "out", labels=LABELS, n_folds=3, fold_by="speaker"
    ).report()
    note = "note: not the full release of RAVDESS: 3 actors, 180 clips in 8 classes"
    assert note in capsys.readouterr().out
    with pytest.raises(
        InputError, match=r"n_folds is 6, .*RAVDESS has 3 official folds"
    ):
        plan_manifests(
            corpus, tmp_path / "out", labels=LABELS, n_folds=6, fold_by="official"
        )


@pytest.mark.parametrize(
    "name",
    [
        "03-01-09-01-01-01-01.wav",  # no such emotion
        "03-01-05-01-01-01-02.wav",  # another actor's folder
        "03-01-05-01-01-01.wav",
        "angry.wav",
    ],
)
def test_names_of_another_form(tmp_path, name):
    path = tmp_path / "Actor_01" / name
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name}: not the name of a recording in th"):
        read_ravdess(tmp_path)


def test_a_folder_that_is_no_release(ravdess, tmp_path):
    with pytest.raises(
        InputError, match=r"none: no such folder; expected folders Actor"
    ):
        read_ravdess(tmp_path / "none")
    (tmp_path / "speech").symlink_to(ravdess)
    with pytest.raises(InputError, match=rf"did you mean {tmp_path / 'speech'}\?"):
        read_ravdess(tmp_path)
