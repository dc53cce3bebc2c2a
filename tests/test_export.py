"""Exported folders: the same answers elsewhere, nothing run, everything checked."""

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import torch
from heads import answers, random_parts
from hub import FakeHub
from huggingface_hub.errors import LocalEntryNotFoundError
from models import build_model
from releases import contents, make_release
from runs import train
from torch import nn

from sercorr.cli import make_parser
from sercorr.errors import InputError
from sercorr.files import file_digest, read_json, write_json
from sercorr.inference import EmotionRecognizer, load_recognizer
from sercorr.inference.export import export_folder
from sercorr.lobes import EmotionHead, Upstream, load_upstream


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run on log-mel bands whose fold 2 is finished."""
    root = tmp_path_factory.mktemp("run")
    train(make_release(root / "release"), root / "out", fold=2)
    return root / "out"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny random upstream."""
    return build_model(tmp_path_factory.mktemp("m") / "tiny", "wavlm", "layer")


@pytest.fixture
def exported(model, tmp_path) -> Path:
    """A folder with two heads on `model`, to be changed."""
    export_folder(random_parts(Upstream(model)), tmp_path / "exported")
    return tmp_path / "exported"


def read(folder, **options) -> EmotionRecognizer:
    """Read an exported folder."""
    return EmotionRecognizer.from_pretrained(folder, device="cpu", **options)


def export(*words, capsys) -> str:
    """Run `sercorr export` in this process; return what it prints."""
    given = make_parser().parse_args(["export", *map(str, words)])
    assert given.run(given) in (None, 0)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("pooling", "stored"),
    [
        ("mean", None),
        ("mean_std", "bfloat16"),
        ("corr", "float16"),
        ("attentive_corr", "float16"),
    ],
)
@pytest.mark.parametrize("folds", [(2,), (2, 5)])
def test_the_same_answers(model, tmp_path, pooling, stored, folds):
    features = {"stored": stored, "precision": "fp32"}
    parts = random_parts(Upstream(model), folds, pooling, features=features)
    export_folder(parts, tmp_path / "out")
    there = read(tmp_path / "out")
    here = EmotionRecognizer(parts, device="cpu")
    assert np.array_equal(answers(there), answers(here))
    assert np.ptp(answers(here), axis=0).max() > 1e-3, "the clips differ"
    assert (there.labels, there.identity) == (here.labels, here.identity)
    assert there.parts.about == parts.about
    assert there.parts.features == features
    names = {f"head_{fold}.safetensors" for fold in folds}
    assert set(contents(tmp_path / "out")) == names | {"README.md", "sercorr.json"}


def test_a_precision_is_kept(model, tmp_path):
    features = {"stored": "bfloat16", "precision": "bf16"}
    parts = random_parts(Upstream(model), features=features)
    export_folder(parts, tmp_path / "out")
    there = answers(read(tmp_path / "out"))
    assert np.array_equal(there, answers(EmotionRecognizer(parts, device="cpu")))
    plain = random_parts(Upstream(model))
    assert not np.array_equal(there, answers(EmotionRecognizer(plain, device="cpu")))


def test_a_run_is_exported_by_the_command(run, tmp_path, capsys):
    out = tmp_path / "to share"
    printed = export(run, "--fold", 2, "--out", out, capsys=capsys)
    assert f"{out}: 1 head of {run}, " in printed
    assert f"sercorr predict CLIP.wav --model '{out}'" in printed
    assert f"hf upload USER/NAME '{out}'" in printed
    assert "note:" not in printed
    here = EmotionRecognizer.from_run(run, 2, device="cpu")
    there = load_recognizer(out, device="cpu")
    assert np.array_equal(answers(there), answers(here))
    scores = read_json(run / "fold_2" / "metrics.json")
    row = f"| 2 | {scores['n']} | {scores['wa']:.2f} | {scores['ua']:.2f} | "
    assert row in (out / "README.md").read_text()
    # an exported folder can be exported again, and is the same then
    export(out, "--out", tmp_path / "again", capsys=capsys)
    assert contents(tmp_path / "again") == contents(out)
    for name, content in contents(out).items():
        assert str(tmp_path).encode() not in content, name
        assert str(run.parent).encode() not in content, name
    with pytest.raises(InputError, match="to share: something is there already"):
        export(run, "--fold", 2, "--out", out, capsys=capsys)
    words = ("--format", "transformers", "--with-upstream")
    with pytest.raises(InputError, match="transformers always holds the upstream"):
        export(run, "--out", tmp_path / "new", *words, capsys=capsys)


def test_the_upstream_comes_along(model, tmp_path, capsys):
    local = shutil.copytree(model, tmp_path / "local")
    parts = random_parts(Upstream(local))
    for name, with_upstream in (("small", False), ("whole", True)):
        export_folder(parts, tmp_path / name, with_upstream)
    assert contents(tmp_path / "whole" / "upstream") == contents(local)
    shared = (tmp_path / "whole" / "README.md").read_text()
    assert str(tmp_path) not in shared
    assert "attentive_corr on local" in shared
    wanted = answers(EmotionRecognizer(parts, device="cpu"))
    printed = export(tmp_path / "small", "--out", tmp_path / "s", capsys=capsys)
    assert f"note: its upstream is the folder {local}, which others do not" in printed

    shutil.move(local, tmp_path / "moved")
    assert np.array_equal(answers(read(tmp_path / "whole")), wanted)
    moved = read(tmp_path / "small", upstream_source=tmp_path / "moved")
    assert np.array_equal(answers(moved), wanted)
    with pytest.raises(InputError, match=r"local, is not to be had: .*--upstream FOLD"):
        read(tmp_path / "small")
    # from one export to the next, with what was recorded first
    printed = export(tmp_path / "whole", "--out", tmp_path / "part", capsys=capsys)
    assert f"note: its upstream is the folder {local}, which" in printed
    assert contents(tmp_path / "part") == contents(tmp_path / "small")
    words = ("--out", tmp_path / "next", "--with-upstream")
    printed = export(tmp_path / "whole", *words, capsys=capsys)
    assert "note:" not in printed
    assert contents(tmp_path / "next") == contents(tmp_path / "whole")


def test_features_of_another_version_of_the_code_bring_a_warning(
    exported, monkeypatch, caplog
):
    wanted = answers(read(exported))
    assert caplog.text == ""
    monkeypatch.setattr("sercorr.lobes.upstream.ssl_model.CODE_VERSION", 99)
    assert np.array_equal(answers(read(exported)), wanted)
    assert "of version 3 of the code, these are of version 99" in caplog.text


def test_places_that_are_no_model(model, tmp_path, capsys):
    with pytest.raises(InputError, match=r"none: no such folder; give a run's"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match="a file, not a model"):
        read(model / "config.json")
    with pytest.raises(InputError, match="writes a folder; add --format onnx"):
        export(model, "--out", tmp_path / "model.onnx", capsys=capsys)


def test_sharded_weights_come_along(model, tmp_path):
    from transformers import AutoModel

    AutoModel.from_pretrained(model).save_pretrained(
        tmp_path / "m", max_shard_size="20KB"
    )
    parts = random_parts(Upstream(tmp_path / "m"))
    export_folder(parts, tmp_path / "out", with_upstream=True)
    wanted = answers(EmotionRecognizer(parts, device="cpu"))
    shutil.move(tmp_path / "m", tmp_path / "moved")
    assert np.array_equal(answers(read(tmp_path / "out")), wanted)


def test_another_upstream_is_refused(model, exported, tmp_path):
    other = build_model(tmp_path / "other", "wavlm", "layer", seed=1)
    with pytest.raises(InputError, match=r"other is not the upstream .*digest: ") as e:
        read(exported, upstream_source=other)
    for folder in (model, other):
        assert Upstream(folder).info.digest in str(e.value)
    loud = shutil.copytree(model, tmp_path / "loud")
    found = read_json(loud / "preprocessor_config.json")
    write_json(loud / "preprocessor_config.json", {**found, "do_normalize": False})
    with pytest.raises(InputError, match="preprocessing"):
        read(exported, upstream_source=loud)
    message = "takes 4 layers of 32 channels, but fbank gives 1 of 80"
    with pytest.raises(InputError, match=message):
        read(exported, upstream_source="fbank")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "format is 2, made by a newer sercorr.*upgrade"),
        ("format", None, "incomplete: format is None, not a int"),
        ("labels", None, "incomplete: labels is None, not a list"),
        ("heads", {}, r"incomplete: heads is \{\}, not a list"),
        ("heads", [], "heads is empty"),
        ("heads", [{"file": "head_2.safetensors"}], "heads.sha256 is None, not a str"),
        ("heads", [{"file": "../a", "sha256": ""}], "'../a', not in the folder"),
        (
            "heads",
            [{"file": "head_3.safetensors", "sha256": ""}],
            "head_3.*no such file",
        ),
        ("head", None, "incomplete: head is None, not a dict"),
        ("head", {"n_classes": 4}, "which this version cannot build"),
        ("upstream", {}, "incomplete: upstream.source is None, not a str"),
        ("features", {"stored": "int8", "precision": "fp32"}, "stored is 'int8'"),
        ("features", {"stored": None}, "features.precision is None"),
        ("about", 3, "incomplete: about is 3, not a dict"),
        ("labels", ["a", "b"], r"labels are \['a', 'b'\], but the head has 4 classes"),
        ("labels", ["a", "b", "c", "c"], "but the head has 4 classes"),
    ],
)
def test_settings_that_are_refused(exported, key, value, message):
    path = exported / "sercorr.json"
    write_json(path, read_json(path) | {key: value})
    with pytest.raises(InputError, match=message) as caught:
        read(exported)
    assert str(exported) in str(caught.value) or key == "head"


def test_damage_is_found(exported):
    path = exported / "head_5.safetensors"
    whole, settings = path.read_bytes(), read_json(exported / "sercorr.json")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="head_5.safetensors: damaged or changed: its"):
        read(exported)

    def put(content: bytes) -> None:
        path.write_bytes(content)
        settings["heads"][1]["sha256"] = file_digest(path)
        write_json(exported / "sercorr.json", settings)

    put(b"not tensors")
    with pytest.raises(InputError, match="head_5.safetensors: not readable"):
        read(exported)
    tensors = safetensors.torch.load(whole)
    put(safetensors.torch.save({**tensors, "more": torch.zeros(2)}))
    with pytest.raises(InputError, match=r"more: \(2,\) there, nothing expected"):
        read(exported)
    put(safetensors.torch.save({**tensors, "classifier.bias": torch.zeros(2)}))
    with pytest.raises(InputError, match=r"classifier.bias: \(2,\) there, \(4,\) exp"):
        read(exported)
    del tensors["layer_mix.weight"]
    put(safetensors.torch.save(tensors))
    with pytest.raises(InputError, match="layer_mix.weight: missing there, "):
        read(exported)
    put(whole)
    read(exported)
    (exported / "sercorr.json").write_text("{")
    with pytest.raises(InputError, match=r"sercorr.json: not valid JSON"):
        read(exported)
    (exported / "sercorr.json").unlink()
    with pytest.raises(InputError, match="neither sercorr.json nor config.json is"):
        read(exported)
    with pytest.raises(InputError, match="revision is 'main', but .* is a local path"):
        read(exported, revision="main")


class MaxPooling(nn.Module):
    """A pooling of one's own."""

    input_size = output_size = 8

    def forward(self, x, lengths=None):
        return x.amax(dim=1)


def test_parts_of_ones_own_are_refused(model, tmp_path):
    upstream = Upstream(model)
    own = EmotionHead(4, 32, MaxPooling(), 4, 0.0, projection_size=8)
    corr = random_parts(upstream, (3,), "corr").heads[0]
    for parts, message in (
        (random_parts(upstream, heads=[own, own]), "head or pooling is a class of one"),
        (random_parts(load_upstream(model)), "upstream is a class of one's own"),
        (
            random_parts(upstream, heads=[random_parts(upstream).heads[0], corr]),
            "its folds have different heads; choose one with --fold",
        ),
    ):
        with pytest.raises(InputError, match=message):
            export_folder(parts, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_whole_or_absent(model, tmp_path, monkeypatch):
    from sercorr.inference import export as module

    parts = random_parts(Upstream(model))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: something is there already"):
        export_folder(parts, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    export_folder(parts, tmp_path / "empty")
    mode = (tmp_path / "empty").stat().st_mode
    (tmp_path / "plain").mkdir()
    assert mode == (tmp_path / "plain").stat().st_mode, "others may read it, too"

    def fail(_parts):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "model_card", fail)
    with pytest.raises(KeyboardInterrupt):
        export_folder(parts, tmp_path / "broken", with_upstream=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "plain"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_hub_name(model, tmp_path, monkeypatch, elsewhere):
    parts = random_parts(Upstream(model))
    export_folder(parts, tmp_path / "hub", with_upstream=True)
    hub = FakeHub(monkeypatch, tmp_path / "hub", tmp_path / "cache")
    source = model if elsewhere else None
    found = read("org/name", revision="v1", upstream_source=source)
    assert np.array_equal(answers(found), answers(EmotionRecognizer(parts, "cpu")))
    assert found.name == "org/name"
    assert hub.revisions == ["v1", hub.snapshot.name], "all of one commit"
    wanted = set(contents(tmp_path / "hub")) - {"README.md"}
    inside = {name for name in wanted if name.startswith("upstream/")}
    assert len(inside) == 3
    assert hub.sent == (wanted - inside if elsewhere else wanted)


def test_no_network(tmp_path, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    message = (
        r"org/name, revision v1: no such model folder.*\(offline\).*"
        "'hf download NAME --local-dir FOLDER'"
    )
    with pytest.raises(InputError, match=message):
        read("org/name", revision="v1")
