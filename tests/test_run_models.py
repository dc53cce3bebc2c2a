"""Heads of runs, read from their folders: the same answers as in training."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models import build_model
from releases import make_release
from runs import train
from safetensors.torch import load_file, save_file
from test_readme import BASE, ROOT, sections

from sercorr.data.audio import read_audio
from sercorr.errors import InputError
from sercorr.inference import EmotionRecognizer, load_recognizer
from sercorr.lobes import EmotionHead, make_pooling
from sercorr.lobes.upstream import load_upstream

TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("runs") / "release", odd=False)


@pytest.fixture(scope="module")
def folds(release) -> Path:
    """A run of two folds of speakers on log-mel bands, live."""
    out = release.with_name("folds")
    for fold in (1, 2):
        train(release, out, fold=fold, fold_by="speaker", n_folds=2)
    return out


def rows_of(run: Path, fold: int) -> list[dict[str, str]]:
    with open(run / f"fold_{fold}" / "predictions.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def wavs_of(release: Path, rows: list[dict[str, str]]) -> list[Path]:
    return [Path(row["file"].format(data_root=release)) for row in rows]


def require_same(found, rows) -> None:
    """Labels are those of predictions.csv, probabilities within 2e-6."""
    found = list(found)
    assert [record.label for record in found] == [row["prediction"] for row in rows]
    for record, row in zip(found, rows, strict=True):
        wanted = [float(row[label]) for label in record.scores]
        assert list(record.scores.values()) == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cache_folder": "cache", "cache_dtype": "float16"},
        {"cache_folder": "cache", "cache_dtype": "bfloat16", "pooling": "corr"},
        {"precision": "bf16", "pooling": "mean_std"},
        {"pooling": "mean", "family": "hubert"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "live",
)
def test_answers_are_those_of_predictions_csv(release, tmp_path, tiny_models, changes):
    model = tiny_models[changes.pop("family", "wavlm"), "layer"]
    if "cache_folder" in changes:
        changes["cache_folder"] = tmp_path / "cache"
    train(release, tmp_path / "run", fold=5, upstream_source=model, lr=0.01, **changes)
    rows = rows_of(tmp_path / "run", 5)
    assert np.ptp([float(row["ang"]) for row in rows]) > 1e-3  # clips tell apart
    recognizer = EmotionRecognizer.from_run(tmp_path / "run", fold=5)
    wavs = wavs_of(release, rows)
    require_same(recognizer.predict(wavs), rows)
    require_same(recognizer.predict(reversed(wavs), batch_seconds=5.0), rows[::-1])
    probabilities, score, index, labels = recognizer.classify_file(wavs[0])
    assert labels == [rows[0]["prediction"]]
    assert score.item() == pytest.approx(float(rows[0][labels[0]]), abs=TOLERANCE)
    assert recognizer.labels[index.item()] == labels[0]
    assert probabilities.shape == (1, 4)


def test_features_are_rounded_as_they_were_stored(release, tmp_path, tiny_models):
    changes = {"upstream_source": tiny_models["wavlm", "layer"], "lr": 0.01}
    train(release, tmp_path, cache_folder=tmp_path / "cache", **changes)
    path = tmp_path / "fold_1" / "head.safetensors"
    (wav,) = wavs_of(release, rows_of(tmp_path, 1)[:1])
    (stored,) = EmotionRecognizer.from_run(tmp_path).predict(wav)
    text = path.read_bytes()
    replaced = text.replace(
        rb"\"stored\": \"float16\"", rb"\"stored\": null" + b" " * 7
    )
    assert len(replaced) == len(text)
    assert replaced != text
    path.write_bytes(replaced)
    (exact,) = EmotionRecognizer.from_run(tmp_path).predict(wav)
    differences = [abs(stored.scores[key] - exact.scores[key]) for key in stored.scores]
    assert 2e-6 < max(differences) < 1e-2


def test_each_fold_and_all_folds(release, folds):
    rows = rows_of(folds, 2)
    wavs = wavs_of(release, rows)
    require_same(EmotionRecognizer.from_run(folds, fold=2).predict(wavs), rows)
    require_same(EmotionRecognizer.from_run(folds / "fold_2").predict(wavs), rows)
    found = list(EmotionRecognizer.from_run(folds, fold="all").predict(wavs[:3]))
    upstream = load_upstream("fbank")
    heads = []
    for fold in (1, 2):
        head = EmotionHead(1, 80, make_pooling("attentive_corr", 8, 2), 4, 0.0, 8)
        head.load_state_dict(load_file(folds / f"fold_{fold}" / "head.safetensors"))
        heads.append(head.eval())
    for wav, record in zip(wavs, found, strict=False):
        layers, _ = upstream(read_audio(wav)[None])
        with torch.no_grad():
            each = [torch.softmax(head(layers)[0], -1) for head in heads]
        assert (each[0] - each[1]).abs().max() > 1e-3
        wanted = ((each[0] + each[1]) / 2).tolist()
        assert list(record.scores.values()) == pytest.approx(wanted, abs=1e-6)
        assert sum(weight for _, weight in record.attention) == pytest.approx(1)


def test_several_heads_have_no_common_vector(folds):
    both = load_recognizer(folds, "all", device="cpu")
    clip = np.zeros(16000, np.float32)
    with pytest.raises(InputError, match=r"has 2, whose vectors.*such as fold=1"):
        both.predict(clip, embedding=True)
    with pytest.raises(InputError, match="cannot be compared"):
        both.encode_batch(torch.zeros(1, 16000))


@pytest.mark.parametrize(
    ("place", "fold", "message"),
    [
        ("missing", 1, r"missing: no such folder$"),
        ("release", 1, r"no trained head there.*output_folder of a finished run"),
        ("folds", 3, r"fold is 3, but heads are there of fold 1, 2; choose"),
        ("folds", "both", r"fold is both, but heads are there"),
        ("folds/fold_2", 1, r"fold is 1, but this is fold 2 alone; give the folder"),
        ("folds/fold_2", "all", r"fold is all, but this is fold 2 alone"),
        (".", 1, r"choose one of the heads in it: folds$"),
    ],
)
def test_a_folder_without_that_head(release, folds, place, fold, message):
    with pytest.raises(InputError, match=message):
        EmotionRecognizer.from_run(release.parent / place, fold)


def test_an_unfinished_fold_and_a_mixed_run(folds, tmp_path):
    shutil.copytree(folds, tmp_path / "run")
    (tmp_path / "run/fold_2/head.safetensors").unlink()
    with pytest.raises(InputError, match="fold is all, but fold 2 is not finished"):
        EmotionRecognizer.from_run(tmp_path / "run", "all")
    path = tmp_path / "run/fold_2/head.safetensors"
    about = json.dumps(about_of(folds, 2) | {"labels": ["a", "b", "c", "d"]})
    save_file(load_file(folds / "fold_2/head.safetensors"), path, {"sercorr": about})
    with pytest.raises(
        InputError, match=r"fold_2: its labels are not those of .*fold_"
    ):
        EmotionRecognizer.from_run(tmp_path / "run", "all")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a head", "head.safetensors: not a trained head of sercorr, or damaged"),
        ({}, "not a trained head"),
        ({"labels": []}, "made by an earlier version of sercorr.*train again"),
    ],
)
def test_a_damaged_head(folds, tmp_path, content, message):
    shutil.copytree(folds / "fold_1", tmp_path / "fold_1")
    path = tmp_path / "fold_1/head.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        metadata = {"sercorr": json.dumps(content)} if content else None
        save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(InputError, match=message):
        EmotionRecognizer.from_run(tmp_path)


def about_of(run: Path, fold: int) -> dict:
    """What a head's file says about it."""
    content = (run / f"fold_{fold}/head.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["sercorr"])


@pytest.fixture(scope="module")
def moved(release, tmp_path_factory) -> dict[str, Path]:
    """A run whose upstream now lies elsewhere, and other upstreams."""
    folder = tmp_path_factory.mktemp("moved")
    build_model(folder / "old", "hubert", "group")
    train(release, folder / "run", upstream_source=folder / "old")
    (folder / "old").rename(folder / "new")
    build_model(folder / "other", "hubert", "group", seed=1)
    build_model(folder / "wide", "hubert", "group", hidden_size=48)
    return {path.name: path for path in folder.iterdir()} | {"old": folder / "old"}


def test_an_upstream_that_lies_elsewhere(release, moved):
    run = moved["run"]
    message = (
        rf"upstream that the head was trained with, {moved['old']} \(hubert, digest "
        r"\w{12}\.\.\.\), is not to be had: .*upstream_source=FOLDER"
    )
    with pytest.raises(InputError, match=message):
        EmotionRecognizer.from_run(run)
    rows = rows_of(run, 1)
    recognizer = EmotionRecognizer.from_run(run, upstream_source=moved["new"])
    require_same(recognizer.predict(wavs_of(release, rows)), rows)
    assert recognizer.parts.about["upstream_source"] == str(moved["new"])


def test_another_upstream(moved):
    with pytest.raises(InputError) as caught:
        EmotionRecognizer.from_run(moved["run"], upstream_source=moved["other"])
    text = str(caught.value)
    digests = re.findall(r"digest: (\w{64}) there, (\w{64}) in training", text)
    assert len(set(digests[0])) == 2
    with pytest.raises(InputError, match=r"takes 4 layers of 32 .* gives 4 of 48;"):
        EmotionRecognizer.from_run(moved["run"], upstream_source=moved["wide"])


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """Write the files of a section of the README; forget their modules at the end."""
    monkeypatch.setattr(sys, "path", sys.path[:])

    def write(heading: str) -> Path:
        for name, text in sections()[heading].items():
            (tmp_path / name).write_text(text.replace(BASE, str(ROOT / BASE)))
        (file,) = tmp_path.glob("*.yaml")
        return file

    yield write
    for name in ("max_pooling", "energy"):
        sys.modules.pop(name, None)


def test_a_pooling_of_ones_own(release, tmp_path, own_files, tiny_models):
    upstream = shutil.copytree(tiny_models["wavlm", "group"], tmp_path / "wavlm")
    run = tmp_path / "run"
    train(release, run, file=own_files("A pooling"), upstream_source=upstream)
    rows = rows_of(run, 1)
    wavs = wavs_of(release, rows)
    recognizer = EmotionRecognizer.from_run(run)
    require_same(recognizer.predict(wavs), rows)
    wav = read_audio(wavs[0])
    layers, _ = load_upstream(upstream)(wav[None])
    (head,) = recognizer.heads
    with torch.no_grad():
        wanted = head.projection(head.layer_mix(layers)).amax(dim=1)
    torch.testing.assert_close(recognizer.encode_batch(wav[None]), wanted)
    upstream.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is not to be had"):
        EmotionRecognizer.from_run(run)
    again = EmotionRecognizer.from_run(run, upstream_source=tmp_path / "elsewhere")
    require_same(again.predict(wavs[:2]), rows[:2])
    code = tmp_path / "max_pooling.py"
    code.write_text(code.read_text().replace("amax", "amin"))
    with pytest.raises(InputError, match="code of max_pooling has changed since"):
        EmotionRecognizer.from_run(run, upstream_source=tmp_path / "elsewhere")


def test_an_upstream_of_ones_own(release, tmp_path, own_files):
    run = tmp_path / "run"
    train(release, run, file=own_files("An upstream family"))
    rows = rows_of(run, 1)
    wavs = wavs_of(release, rows)
    recognizer = EmotionRecognizer.from_run(run)
    found = list(recognizer.predict(wavs))
    require_same(found, rows)
    times = [time for time, _ in found[0].attention]  # spread over the clip
    step = found[0].end / len(times)
    assert times == pytest.approx([(t + 0.5) * step for t in range(len(times))])
    with pytest.raises(InputError, match="the upstream is fbank, but the run has one"):
        EmotionRecognizer.from_run(run, upstream_source="fbank")


def test_a_grid_with_seeds(release, folds, tmp_path):
    for seed in (1, 2):
        shutil.copytree(folds, tmp_path / "grid/att/seed_" / f"{seed}")
        (tmp_path / f"grid/att/seed_/{seed}").rename(tmp_path / f"grid/att/seed_{seed}")
    message = r"no trained head there .*heads in it: att/seed_1, att/seed_2$"
    with pytest.raises(InputError, match=message):
        load_recognizer(tmp_path / "grid")


def test_what_a_model_is_decides_how_it_is_loaded(folds, tmp_path):
    run = load_recognizer(folds, device="cpu")
    assert isinstance(run, EmotionRecognizer)
    assert run.parts.about["folds"] == [1]
    assert run.identity == load_recognizer(folds / "fold_1", device="cpu").identity
    assert run.identity != load_recognizer(folds, 2, device="cpu").identity
    with pytest.raises(InputError, match="a local run has no revisions"):
        load_recognizer(folds, revision="main")
    with pytest.raises(InputError, match="no such folder, but fold 2"):
        load_recognizer(tmp_path / "missing", 2)
    with pytest.raises(InputError, match="leave fold, upstream out"):
        load_recognizer("model.onnx", 1, upstream_source="fbank")
    with pytest.raises(InputError, match="device is 'gpu'; give cpu, cuda or cuda:0"):
        load_recognizer(folds, device="gpu")
