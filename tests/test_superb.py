"""Emotion heads of transformers: read as the package's own, and written as such."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from heads import CLIPS, LABELS, answers, random_parts
from hub import FakeHub
from models import FAMILIES, NORMS, build_model
from releases import contents
from superb import build_classifier, probabilities
from transformers import pipeline

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.inference import EmotionRecognizer
from sercorr.inference.export import export_folder
from sercorr.inference.parts import ModelParts
from sercorr.inference.transformers_export import export_transformers
from sercorr.lobes import Upstream

BOTH = [(family, norm) for family in FAMILIES for norm in NORMS]


@pytest.fixture(scope="module")
def classifiers(tiny_models, tmp_path_factory):
    """Folders of six random classifiers, by family and norm."""
    root = tmp_path_factory.mktemp("classifiers")
    return {
        key: build_classifier(root / "-".join(key), *key, base=tiny_models[key])
        for key in BOTH
    }


@pytest.fixture
def copied(classifiers, tmp_path):
    """A copy of one classifier, to be changed."""
    for name, content in contents(classifiers["hubert", "layer"]).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def read(source, **options) -> EmotionRecognizer:
    """Read a classifier's folder."""
    return EmotionRecognizer.from_pretrained(source, device="cpu", **options)


def expected(folder, last=True) -> np.ndarray:
    """Probabilities (clips, K), computed clip by clip from the model's parts."""
    return torch.stack([probabilities(folder, clip, last) for clip in CLIPS]).numpy()


def mean_head(upstream: Upstream, **changes) -> ModelParts:
    """A random head on an upstream, as a run would give it."""
    features = {"stored": None, "precision": "fp32"}
    return random_parts(upstream, (1,), "mean", **{"features": features} | changes)


@pytest.mark.parametrize(("family", "norm"), BOTH)
def test_a_classifier_of_transformers_is_read(classifiers, family, norm):
    folder = classifiers[family, norm]
    recognizer = read(folder)
    found = answers(recognizer)
    assert recognizer.labels == LABELS
    np.testing.assert_allclose(found, expected(folder), rtol=0, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01, "the clips differ"
    # transformers 5.23 leaves the final norm out of models that have one
    off = np.abs(found - expected(folder, last=False)).max()
    assert off > 1e-4 if norm == "layer" else off < 1e-5


@pytest.mark.parametrize(("family", "norm"), BOTH)
def test_a_mean_head_is_written_for_transformers(tiny_models, tmp_path, family, norm):
    parts = mean_head(Upstream(tiny_models[family, norm]))
    own, out = answers(EmotionRecognizer(parts, device="cpu")), tmp_path / "out"
    note = export_transformers(parts, out)
    np.testing.assert_allclose(expected(out), own, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers(read(out)), own, rtol=0, atol=1e-6)
    classify = pipeline("audio-classification", model=str(out), device="cpu")
    theirs = own if norm == "group" else expected(out, last=False)
    for clip, row in zip(CLIPS, theirs, strict=True):
        scores = {r["label"]: r["score"] for r in classify(clip.numpy(), top_k=4)}
        found = [scores[label] for label in LABELS]
        np.testing.assert_allclose(found, row, rtol=0, atol=1e-5)
    assert note in (out / "README.md").read_text()
    if norm == "group":
        assert "less than 1e-06 on 4 made-up clips." in note
        return
    assert "leaves the final layer norm out" in note
    assert "on speech it may be many times that, and change labels" in note
    assert float(re.search(r"up to (\S+) on", note)[1]) > 1e-3


def test_the_measured_difference_is_that_of_the_written_model(
    tiny_models, tmp_path, monkeypatch
):
    from sercorr.inference import transformers_export

    clips = [clip.numpy() for clip in CLIPS]
    monkeypatch.setattr(transformers_export, "_made_up_clips", lambda: clips)
    parts = mean_head(Upstream(tiny_models["wavlm", "layer"]))
    note = export_transformers(parts, tmp_path / "out")
    own = answers(EmotionRecognizer(parts, device="cpu"))
    off = np.abs(expected(tmp_path / "out", last=False) - own).max()
    assert float(re.search(r"up to (\S+) on", note)[1]) == pytest.approx(off, rel=0.06)


def test_rounded_layers_are_a_reason(tiny_models, tmp_path):
    features = {"stored": "bfloat16", "precision": "fp32"}
    parts = mean_head(Upstream(tiny_models["hubert", "group"]), features=features)
    note = export_transformers(parts, tmp_path / "out")
    assert note.endswith("sercorr rounds the layers to bfloat16, as in training.")
    assert 1e-5 < float(re.search(r"up to (\S+) on", note)[1]) < 0.1


def test_written_again_it_is_the_same(tiny_models, tmp_path):
    parts = mean_head(Upstream(tiny_models["wav2vec2", "group"]))
    for name in ("a", "b"):
        export_transformers(parts, tmp_path / name)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    wanted = {"README.md", "config.json", "model.safetensors"}
    assert set(first) == wanted | {"preprocessor_config.json"}
    for name, content in first.items():
        assert str(tmp_path).encode() not in content, name
        assert str(tiny_models["wav2vec2", "group"]).encode() not in content, name
    # from one classifier to the next
    again = read(tmp_path / "a").parts
    export_transformers(again, tmp_path / "c")
    assert (tmp_path / "c/model.safetensors").read_bytes() == first["model.safetensors"]


def test_an_odd_upstream_is_written(tmp_path):
    """One with an adapter behind its layers, and without the mask of pretraining."""
    folder = build_model(tmp_path / "m", "wav2vec2", "layer", add_adapter=True)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["masked_spec_embed"]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    parts = mean_head(Upstream(folder))
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        export_transformers(parts, tmp_path / name)
        assert torch.initial_seed() == seed
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    own = answers(EmotionRecognizer(parts, device="cpu"))
    np.testing.assert_allclose(expected(tmp_path / "a"), own, rtol=0, atol=1e-5)


def test_labels_are_in_the_order_of_their_numbers(copied):
    config = read_json(copied / "config.json")
    config["id2label"] = dict(reversed(config["id2label"].items()))
    write_json(copied / "config.json", config)
    assert read(copied).labels == LABELS


@pytest.mark.parametrize("with_upstream", [True, False])
def test_from_transformers_to_an_own_folder(classifiers, tmp_path, with_upstream):
    folder = classifiers["wavlm", "layer"]
    parts = read(folder).parts
    export_folder(parts, tmp_path / "out", with_upstream)
    assert np.array_equal(answers(read(tmp_path / "out")), answers(read(folder)))
    assert (tmp_path / "out/upstream").exists() == with_upstream
    settings = read_json(tmp_path / "out/sercorr.json")
    assert settings["labels"] == LABELS
    assert settings["head"]["pooling"] == "mean"
    assert settings["upstream"]["source"] == str(folder)


@pytest.mark.parametrize("kind", ["pickled", "sharded"])
def test_weights_in_other_files(classifiers, tmp_path, kind):
    folder = classifiers["hubert", "group"]
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    if kind == "pickled":
        torch.save(weights, tmp_path / "pytorch_model.bin")
    else:
        names, files = sorted(weights), ("model-1.safetensors", "model-2.safetensors")
        places = {name: files[place % 2] for place, name in enumerate(names)}
        for file in files:
            part = {name: weights[name] for name in names if places[name] == file}
            safetensors.torch.save_file(part, tmp_path / file, {"format": "pt"})
        index = {"metadata": {}, "weight_map": places}
        write_json(tmp_path / "model.safetensors.index.json", index)
    assert np.array_equal(answers(read(tmp_path)), answers(read(folder)))


def test_a_hub_name(classifiers, tmp_path, monkeypatch):
    folder = classifiers["wav2vec2", "group"]
    hub = FakeHub(monkeypatch, folder, tmp_path)
    found = read("org/name", revision="v1")
    assert np.array_equal(answers(found), answers(read(folder)))
    assert hub.revisions[0] == "v1"
    assert set(hub.revisions[1:]) == {hub.snapshot.name}, "all of one commit"
    assert hub.sent == set(contents(folder))
    export_folder(found.parts, tmp_path / "out")
    origin = read_json(tmp_path / "out" / "sercorr.json")["upstream"]
    assert (origin["source"], origin["revision"]) == ("org/name", hub.snapshot.name)
    again = read(tmp_path / "out")
    assert np.array_equal(answers(again), answers(found))


def test_another_place_of_the_upstream(classifiers, tiny_models):
    folder = classifiers["hubert", "group"]
    found = answers(read(folder, upstream_source=tiny_models["hubert", "group"]))
    assert np.array_equal(found, answers(read(folder)))
    message = "takes 4 layers of 32 channels, but fbank gives 1 of 80"
    with pytest.raises(InputError, match=message):
        read(folder, upstream_source="fbank")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_weighted_layer_sum": False}, "the last layer alone"),
        ({"use_weighted_layer_sum": None}, "use_weighted_layer_sum None: this model"),
        ({"architectures": ["HubertModel"]}, r"architectures \['HubertModel'\], which"),
        ({"architectures": None}, "architectures None, which is no emotion head"),
        ({"architectures": ["Wav2Vec2ForSpeechClassification"]}, "is no emotion head"),
        ({"id2label": {"0": "a", "1": "a", "2": "b", "3": "c"}}, "each differently"),
        ({"id2label": {"0": "a", "1": "b", "2": "c", "4": "d"}}, "outputs 0, 1, 2"),
        ({"id2label": {"0": "a", "1": "b"}}, r"has shape \(4, 24\); with 2 labels"),
        (
            {"num_hidden_layers": 2},
            "takes 4 layers of 32 channels, but its config.json",
        ),
        ({"model_type": "bert"}, "model_type 'bert'; accepted are"),
    ],
)
def test_models_that_are_refused(copied, changes, message):
    write_json(copied / "config.json", read_json(copied / "config.json") | changes)
    with pytest.raises(InputError, match=message) as caught:
        read(copied)
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("layer_weights", None, "the weights lack layer_weights, parts of the head"),
        ("projector.bias", None, "the weights lack projector.bias"),
        ("projector.bias", torch.zeros(3), r"projector.bias has shape \(3,\); with"),
        ("projector.weight", torch.zeros(3), "but it is a matrix"),
        ("classifier.weight", torch.zeros(4, 9), r"\(4, 9\); with 4 labels and"),
    ],
)
def test_heads_that_are_refused(copied, name, tensor, message):
    weights = safetensors.torch.load_file(copied / "model.safetensors")
    del weights[name]
    weights |= {} if tensor is None else {name: tensor}
    safetensors.torch.save_file(weights, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=message):
        read(copied)


def test_pickled_code_is_not_run(copied):
    class Trap:
        def __reduce__(self):
            return (open, (str(copied / "sprung"), "w"))

    (copied / "model.safetensors").unlink()
    torch.save({"layer_weights": Trap()}, copied / "pytorch_model.bin")
    with pytest.raises(InputError, match="weights cannot be read"):
        read(copied)
    assert not (copied / "sprung").exists()


def test_what_transformers_cannot_hold(tiny_models, tmp_path):
    upstream = Upstream(tiny_models["hubert", "group"])
    parts, out = mean_head(upstream), tmp_path / "out"
    several = mean_head(upstream, heads=[*parts.heads, *parts.heads])
    for given, message in (
        (
            random_parts(upstream, (1,), "corr"),
            "its pooling is corr, but transformers'",
        ),
        (several, "this model has 2; choose one, such as --fold 1"),
        (
            mean_head(Upstream("fbank")),
            "its upstream is fbank, but transformers' format is for wav2vec2, hubert",
        ),
    ):
        with pytest.raises(InputError, match=message):
            export_transformers(given, out)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something is there already"):
        export_transformers(parts, out)
    assert json.dumps(sorted(contents(tmp_path))) == '["out/notes.txt"]'
