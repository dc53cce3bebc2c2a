"""Model folders and hub names: what is read, what is refused and how it is said."""

import dataclasses
import json
import logging
import shutil
from fnmatch import fnmatch

import huggingface_hub
import pytest
import torch
from clips import make_batch, make_clips
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.lobes import Upstream, load_upstream, upstream_info
from sercorr.lobes.upstream import model_files


@pytest.fixture(scope="module")
def group_model(tiny_models):
    return tiny_models["wav2vec2", "group"]


@pytest.fixture
def copied(group_model, tmp_path):
    return shutil.copytree(group_model, tmp_path / "model")


@pytest.fixture(scope="module")
def features(group_model):
    return compute(group_model)


def compute(source, *arguments) -> torch.Tensor:
    return load_upstream(source, *arguments)(*make_batch(make_clips()))[0]


def change_a_weight(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer_norm.bias"][3] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_info_needs_no_model(tiny_models, monkeypatch):
    folder = str(tiny_models["wavlm", "layer"])
    loaded = load_upstream(folder)
    monkeypatch.setattr(AutoModel, "from_pretrained", None)
    info = upstream_info(folder)
    assert info == loaded.info
    assert (info.model_type, info.num_layers, info.output_size) == ("wavlm", 4, 32)
    assert (info.source, info.revision) == (folder, None)
    assert info.preprocessing["network"]["feat_extract_norm"] == "layer"
    assert json.loads(json.dumps(info.describe())) == info.describe()
    assert set(info.describe()) - set(info.identity()) == {"source", "revision"}


def test_identity_is_that_of_the_content(group_model, copied):
    original = upstream_info(group_model)
    assert upstream_info(copied).identity() == original.identity()
    config = read_json(copied / "config.json")
    write_json(copied / "config.json", {**config, "num_attention_heads": 2})
    changed = upstream_info(copied)
    assert changed.digest == original.digest
    assert changed.identity() != original.identity()
    write_json(copied / "config.json", {**config, "layerdrop": 0.1})  # of training
    assert upstream_info(copied).identity() == original.identity()
    change_a_weight(copied)
    changed = upstream_info(copied)
    assert changed.digest != original.digest
    same = dataclasses.replace(changed, digest=original.digest)
    assert same.identity() == original.identity()


def test_weights_are_hashed_once_for_all_objects(copied, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(copied)
    hashed, digest = [], model_files.file_digest
    monkeypatch.setattr(
        model_files, "file_digest", lambda path: hashed.append(path) or digest(path)
    )
    first = upstream_info(copied)
    assert upstream_info(tmp_path / "link").digest == first.digest
    assert load_upstream(copied).info == first
    assert len(hashed) == 1
    change_a_weight(copied)
    assert upstream_info(copied).digest != first.digest
    assert len(hashed) == 2


def test_weights_of_a_pretraining_checkpoint(group_model, copied, features):
    """Old names, a prefix, a head, half precision and pickle: as on the hub."""
    (copied / "model.safetensors").unlink()
    renamed = {"quantizer.codevectors": torch.zeros(2, 2)}
    for name, value in load_file(group_model / "model.safetensors").items():
        old = name.replace("parametrizations.weight.original0", "weight_g")
        old = old.replace("parametrizations.weight.original1", "weight_v")
        if name != "masked_spec_embed":
            renamed[f"wav2vec2.{old}"] = value.half()
    torch.save(renamed, copied / "pytorch_model.bin")
    got = compute(copied)
    assert got.dtype == torch.float32
    assert 0 < (got - features).abs().max() / features.abs().max() < 0.02


def test_sharded_weights(group_model, features, tmp_path, caplog):
    model = AutoModel.from_pretrained(group_model)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    with caplog.at_level(logging.WARNING):
        assert torch.equal(compute(tmp_path), features)
    assert "no preprocessor_config.json" in caplog.text
    digest = upstream_info(tmp_path).digest
    with open(shards[1], "r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x55")
    assert upstream_info(tmp_path).digest != digest
    shards[1].unlink()
    with pytest.raises(InputError, match=f"{shards[1].name}: no such file, but the"):
        upstream_info(tmp_path)
    write_json(tmp_path / "model.safetensors.index.json", {})
    with pytest.raises(InputError, match="index.json: no weight_map"):
        upstream_info(tmp_path)


def test_hub_names_and_revisions(tiny_models, tmp_path):
    old, new = "a" * 40, "b" * 40
    models = {old: tiny_models["hubert", "group"], new: tiny_models["hubert", "layer"]}
    root = tmp_path / "models--org--name"  # as the hub's library lays out its cache
    (root / "refs").mkdir(parents=True)
    for ref, (commit, folder) in zip(("old", "main"), models.items(), strict=True):
        shutil.copytree(folder, root / "snapshots" / commit)
        (root / "refs" / ref).write_text(commit)
    for revision, commit in ((None, new), ("old", old), (old, old), (new, new)):
        info = load_upstream("org/name", tmp_path, revision).info
        assert (info.source, info.revision) == ("org/name", commit)
        assert info == upstream_info("org/name", tmp_path, revision)
        assert info.identity() == upstream_info(models[commit]).identity()
    wanted = compute(models[old])
    assert torch.equal(compute("org/name", tmp_path, "old"), wanted)
    message = "org/name, revision c{40}: no such model folder, nor a model in the cache"
    with pytest.raises(InputError, match=message):
        load_upstream("org/name", tmp_path, "c" * 40)


@pytest.mark.parametrize("kind", ["safetensors", "sharded", "pickled", "none"])
def test_what_is_fetched_from_the_hub(
    group_model, features, tmp_path, monkeypatch, kind
):
    hub = shutil.copytree(group_model, tmp_path / "hub")
    torch.save(load_file(hub / "model.safetensors"), hub / "pytorch_model.bin")
    (hub / "model.safetensors").unlink()
    (hub / "model.fp16.safetensors").write_bytes(b"another's")
    configuration, wanted = {"config.json", "preprocessor_config.json"}, set()
    if kind in ("safetensors", "sharded"):
        size = "20KB" if kind == "sharded" else "1GB"
        AutoModel.from_pretrained(group_model).save_pretrained(hub, max_shard_size=size)
        wanted = {path.name for path in hub.glob("model[.-]*s*")}
        wanted -= {"model.fp16.safetensors"}
        assert (len(wanted) > 2) == (kind == "sharded")
    elif kind == "pickled":
        wanted = {"pytorch_model.bin"}
    else:
        (hub / "pytorch_model.bin").unlink()
    snapshot, sent = tmp_path / "cache" / "snapshots" / ("d" * 40), set()

    def snapshot_download(name, *, revision, cache_dir, allow_patterns):
        assert (name, cache_dir) == ("org/name", tmp_path / "cache")
        assert revision == (snapshot.name if sent else None), "all of one commit"
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in hub.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                sent.add(path.name)
                shutil.copy(path, snapshot)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    described = Upstream("org/name", save_path=tmp_path / "cache")
    assert (described.num_layers, described.output_size) == (4, 32)
    assert sent == configuration
    if kind == "none":
        with pytest.raises(InputError, match="org/name: no weights; put model.safet"):
            described.load()
        return
    assert described.info.revision == snapshot.name
    assert torch.equal(described.load()(*make_batch(make_clips()))[0], features)
    assert sent == configuration | wanted


def test_unreachable_hub_and_unknown_names(group_model, tmp_path, monkeypatch):
    message = "org/other, revision main: no such .*, nor a model in the cache .*'fbank'"
    with pytest.raises(InputError, match=message):
        upstream_info("org/other", save_path=tmp_path)
    for source in ("fbnk", str(tmp_path / "none"), "./none", "a/b/c", ""):
        with pytest.raises(InputError, match="revision main: no such model folder"):
            load_upstream(source, save_path=tmp_path)

    for source in (group_model, "fbank"):
        with pytest.raises(InputError, match=r"upstream_revision is 'main'.*remove"):
            upstream_info(source, revision="main")

    def refuse(*_arguments, **_settings):
        raise LocalEntryNotFoundError("its terms\nare to be accepted")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError, match=r"\(its terms are to be .*'hf auth login'"):
        load_upstream("org/gated")


def test_folders_that_lack_something(group_model, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: no config.json"):
        Upstream(tmp_path)
    shutil.copy(group_model / "config.json", tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}: no weights; put model.safet"):
        Upstream(tmp_path)
    with pytest.raises(InputError, match=r"config.json: no config.json; give a folder"):
        Upstream(tmp_path / "config.json")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"weights in model.safetensors cannot be"):
        load_upstream(tmp_path)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"model_type": "bert"}, "model_type 'bert'; accepted are wav2"),
        ("config.json", {"model_type": None}, "model_type None; accepted are wav2vec2"),
        ("config.json", {"conv_dim": [16, 16]}, "not a wav2vec2 configuration"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "sampling_rate 8000 and"),
        ("preprocessor_config.json", {"do_normalize": 1}, "do_normalize 1; they must"),
        ("config.json", {"hidden_size": 64}, "another shape: .*instead of"),
        ("config.json", {"num_hidden_layers": 4}, r"lack encoder.layers.3.*in all\)"),
        ("config.json", {"num_hidden_layers": 2}, "have besides encoder.layers.2"),
        ("config.json", {"model_type": "wavlm"}, "lack encoder.layers.0.attention.gru"),
        ("config.json", {}, "wav2vec2 model.*have besides encoder.*gru_rel"),
    ],
)
def test_folders_that_do_not_fit(tiny_models, copied, file, changes, message):
    if not changes:  # of a richer family
        shutil.copy(tiny_models["wavlm", "group"] / "model.safetensors", copied)
    write_json(copied / file, {**read_json(copied / file), **changes})
    with pytest.raises(InputError, match=message) as caught:
        load_upstream(copied)
    assert str(copied) in str(caught.value)


def test_pickled_code_is_not_run(group_model, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    shutil.copy(group_model / "config.json", tmp_path)
    torch.save({"encoder.layer_norm.bias": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin cannot be read"):
        load_upstream(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_loading_is_silent(group_model, capfd):
    transformers_logging.enable_progress_bar()
    load_upstream(group_model)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
