"""RAVDESS: a corpus that an entry and a settings file describe, without code."""

import shutil
from pathlib import Path

import pytest
from releases import make_ravdess, read_manifests
from runs import RECIPE, train

from sercorr.corpora.known import read_known
from sercorr.data.manifests import plan_manifests
from sercorr.errors import InputError
from sercorr.files import read_json

SETTINGS = RECIPE.parents[1] / "RAVDESS" / "hparams" / "train.yaml"
LABELS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
ACTORS = {
    1: {1, 11, 20, 21},
    2: {4, 10, 12, 14},
    3: {8, 9, 19, 23},
    4: {3, 5, 7, 24},
    5: {2, 15, 16, 18},
    6: {6, 13, 17, 22},
}


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory) -> Path:
    """A whole release; not to be changed."""
    return make_ravdess(tmp_path_factory.mktemp("ravdess"))


def test_names_say_emotion_actor_and_fold(ravdess):
    clips = {clip.id: clip for clip in read_known("ravdess", ravdess).utterances}
    assert len(clips) == 1440
    clip = clips["03-01-06-01-02-01-12"]
    assert (clip.emotion, clip.speaker, clip.fold) == ("fearful", "Actor_12", 2)
    assert clip.wav == "Actor_12/03-01-06-01-02-01-12.wav"
    first = [f"03-01-{code:02d}-01-01-01-01" for code in range(1, 9)]
    assert [clips[name].emotion for name in first] == LABELS


def test_six_official_folds_of_actors(ravdess, tmp_path, capsys):
    corpus = read_known("ravdess", ravdess)
    settings = {"labels": LABELS, "n_folds": 6, "fold_by": "official"}
    plan = plan_manifests(corpus, tmp_path, valid_session=3, **settings)
    plan.write()
    plan.report()
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in said if "copies" not in line]  # its sounds are the same
    assert rows[0] == "group neutral calm happy sad angry fearful disgust surprised all"
    assert rows[7] == "all 96 192 192 192 192 192 192 192 1440"
    assert rows[8] == "note: not read: songs, and the sound of videos (1)"
    assert rows[9:] == ["note: 1440 clips are not 16000 Hz mono; reading converts them"]
    for (fold, part), manifest in read_manifests(tmp_path).items():
        actors = {int(entry["speaker"][6:]) for entry in manifest.values()}
        held_out = ACTORS[4 if fold == 3 else 3]
        rest = set(range(1, 25)) - ACTORS[fold] - held_out
        assert actors == {"train": rest, "valid": held_out, "test": ACTORS[fold]}[part]


def test_its_settings_file_trains(ravdess, tmp_path):
    metrics = train(ravdess, tmp_path, file=SETTINGS, fold=2, batch_size=8)
    assert metrics["labels"] == LABELS
    assert metrics["n"] == 240
    assert [sum(row) for row in metrics["confusion"]] == [16] + [32] * 7
    sizes = {part: len(read_json(tmp_path / f"manifests/fold_2/{part}.json"))
             for part in ("train", "valid")}  # fmt: skip
    assert sizes == {"train": 960, "valid": 240}


def test_a_part_of_the_release(ravdess, tmp_path, capsys):
    for actor in ("Actor_02", "Actor_05", "Actor_11"):
        shutil.copytree(ravdess / actor, tmp_path / "part" / actor)
    corpus, out = read_known("ravdess", tmp_path / "part"), tmp_path / "out"
    plan = plan_manifests(corpus, out, labels=LABELS, n_folds=3, fold_by="speaker")
    plan.report()
    note = "note: not the full release of ravdess: 180 clips"
    assert note in capsys.readouterr().out
    with pytest.raises(InputError, match=r"n_folds is 6, .*ravdess has 3 official f"):
        plan_manifests(corpus, out, labels=LABELS, n_folds=6, fold_by="official")
