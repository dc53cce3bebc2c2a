"""Model folders and hub names: what is read, what is refused and how it is said."""

import dataclasses
import json
import logging
import shutil

import pytest
import torch
from clips import make_batch, make_clips
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.lobes.upstream import load_upstream, upstream_info


@pytest.fixture(scope="module")
def group_model(tiny_models):
    return tiny_models["wav2vec2", "group"]


def test_info_needs_no_model(tiny_models, monkeypatch):
    folder = tiny_models["wavlm", "layer"]
    loaded = load_upstream(str(folder))
    monkeypatch.setattr(AutoModel, "from_pretrained", None)
    info = upstream_info(str(folder))
    assert info == loaded.info
    assert (info.model_type, info.num_layers, info.output_size) == ("wavlm", 4, 32)
    assert (loaded.num_layers, loaded.output_size) == (4, 32)
    assert (info.source, info.revision) == (str(folder), None)
    assert info.preprocessing["network"]["feat_extract_norm"] == "layer"
    assert json.loads(json.dumps(info.describe())) == info.describe()
    assert set(info.describe()) - set(info.identity()) == {"source", "revision"}


def test_identity_is_that_of_the_content(group_model, tmp_path):
    copy = shutil.copytree(group_model, tmp_path / "copy")
    original = upstream_info(str(group_model))
    assert upstream_info(str(copy)).identity() == original.identity()
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", {**config, "num_attention_heads": 2})
    changed = upstream_info(str(copy))
    assert changed.digest == original.digest
    assert changed.identity() != original.identity()
    write_json(copy / "config.json", config)
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer_norm.bias"][3] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changed = upstream_info(str(copy))
    assert changed.digest != original.digest
    assert dataclasses.replace(changed, digest=original.digest).identity() == (
        original.identity()
    )


def test_weights_of_a_pretraining_checkpoint(group_model, tmp_path):
    """Old names, a prefix, a head, half precision and pickle: as on the hub."""
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(group_model / name, tmp_path)
    weights = load_file(group_model / "model.safetensors")
    old = {"parametrizations.weight.original0": "weight_g"}
    old["parametrizations.weight.original1"] = "weight_v"
    renamed = {"quantizer.codevectors": torch.zeros(2, 2)}
    for name, value in weights.items():
        for new, before in old.items():
            name = name.replace(new, before)  # noqa: PLW2901
        if name != "masked_spec_embed":
            renamed[f"wav2vec2.{name}"] = value.half()
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    wavs, lengths = make_batch(make_clips())
    got, _ = load_upstream(str(tmp_path))(wavs, lengths)
    wanted, _ = load_upstream(str(group_model))(wavs, lengths)
    assert got.dtype == torch.float32
    error = (got - wanted).abs().max() / wanted.abs().max()
    assert 0 < error < 0.02


def test_sharded_weights(group_model, tmp_path, caplog):
    AutoModel.from_pretrained(group_model).save_pretrained(
        tmp_path, max_shard_size="20KB"
    )
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    wavs, lengths = make_batch(make_clips())
    with caplog.at_level(logging.WARNING):
        got, _ = load_upstream(str(tmp_path))(wavs, lengths)
    assert "no preprocessor_config.json" in caplog.text
    assert torch.equal(got, load_upstream(str(group_model))(wavs, lengths)[0])
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    digest = upstream_info(str(tmp_path)).digest
    with open(shard, "r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x55")
    assert upstream_info(str(tmp_path)).digest != digest
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard.name}: no such file, but model"):
        upstream_info(str(tmp_path))


def fake_hub(cache, name, versions):
    """Lay out a hub cache: commit -> folder whose files that commit holds."""
    root = cache / f"models--{name.replace('/', '--')}"
    (root / "blobs").mkdir(parents=True)
    for commit, folder in versions.items():
        snapshot = root / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for path in folder.iterdir():
            blob = root / "blobs" / f"{commit[:4]}-{path.name}"
            shutil.copy(path, blob)
            (snapshot / path.name).symlink_to(blob)
    (root / "refs").mkdir()
    for ref, commit in zip(("old", "main"), versions, strict=True):
        (root / "refs" / ref).write_text(commit)


def test_hub_names_and_revisions(tiny_models, tmp_path):
    old, new = "a" * 40, "b" * 40
    models = {
        old: tiny_models["hubert", "group"],
        new: tiny_models["hubert", "layer"],
    }
    fake_hub(tmp_path, "org/name", models)
    wavs, lengths = make_batch(make_clips())
    for revision, commit in ((None, new), ("old", old), (old, old), (new, new)):
        upstream = load_upstream("org/name", save_path=tmp_path, revision=revision)
        assert (upstream.info.source, upstream.info.revision) == ("org/name", commit)
        assert upstream.info == upstream_info("org/name", tmp_path, revision)
        local = load_upstream(str(models[commit]))
        assert upstream.info.identity() == local.info.identity()
        assert torch.equal(upstream(wavs, lengths)[0], local(wavs, lengths)[0])
    message = "org/name, revision c{40}: .*hub cannot be reached.*download the model"
    with pytest.raises(InputError, match=message):
        load_upstream("org/name", tmp_path, "c" * 40)


def test_unreachable_hub_and_unknown_names(tmp_path):
    message = "org/other, revision main: .*config.json is not in the cache .*its folder"
    with pytest.raises(InputError, match=message):
        upstream_info("org/other", save_path=tmp_path)
    with pytest.raises(InputError, match=r"fbnk, revision main: .* or 'fbank'"):
        load_upstream("fbnk", save_path=tmp_path)
    for source in (str(tmp_path / "none"), "./none", "a/b/c", ""):
        with pytest.raises(InputError, match="no such model folder; give 'fbank'"):
            load_upstream(source)


@pytest.mark.parametrize("source", ["fbank", "model"])
def test_a_revision_without_a_hub_name(group_model, source):
    source = str(group_model) if source == "model" else source
    for function in (load_upstream, upstream_info):
        with pytest.raises(InputError, match=r"upstream_revision is 'main'.*remove"):
            function(source, revision="main")


def test_folders_that_lack_something(group_model, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: no config.json"):
        load_upstream(str(tmp_path))
    shutil.copy(group_model / "config.json", tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}: no weights; put model.safet"):
        load_upstream(str(tmp_path))
    with pytest.raises(InputError, match="a file; give the model's folder"):
        load_upstream(str(tmp_path / "config.json"))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"weights in model.safetensors cannot be"):
        load_upstream(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"model_type": "bert"}, "model_type 'bert'; accepted are wav2"),
        ("config.json", {"model_type": None}, "model_type None; accepted are wav2vec2"),
        ("config.json", {"conv_dim": [16, 16]}, "not a wav2vec2 configuration"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "sampling_rate 8000; on"),
        ("preprocessor_config.json", {"do_normalize": 1}, "do_normalize 1; it must be"),
        ("config.json", {"hidden_size": 64}, "another shape: .*instead of"),
        ("config.json", {"num_hidden_layers": 4}, r"lack encoder.layers.3.*in all\)"),
        ("config.json", {"num_hidden_layers": 2}, "have besides encoder.layers.2"),
        ("config.json", {"model_type": "wavlm"}, "lack encoder.layers.0.attention.gru"),
    ],
)
def test_folders_that_do_not_fit(group_model, tmp_path, file, changes, message):
    folder = shutil.copytree(group_model, tmp_path / "model")
    write_json(folder / file, {**read_json(folder / file), **changes})
    with pytest.raises(InputError, match=message) as caught:
        load_upstream(str(folder))
    assert str(folder) in str(caught.value)


def test_weights_of_a_richer_family(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models["hubert", "layer"], tmp_path / "model")
    shutil.copy(tiny_models["wavlm", "layer"] / "model.safetensors", folder)
    with pytest.raises(
        InputError, match=r"hubert model.*have besides encoder.*gru_rel"
    ):
        load_upstream(str(folder))


def test_pickled_code_is_not_run(group_model, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    shutil.copy(group_model / "config.json", tmp_path)
    torch.save({"encoder.layer_norm.bias": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin cannot be read"):
        load_upstream(str(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_loading_is_silent(group_model, capfd):
    load_upstream(str(group_model))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
