"""Model folders and hub names: what is read, what is refused and how it is said."""

import dataclasses
import json
import logging
import shutil

import hub
import huggingface_hub
import pytest
import torch
from clips import make_batch, make_clips
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.lobes import Upstream, load_upstream, upstream_info
from sercorr.lobes.upstream import model_files


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
    with pytest.raises(InputError, match=f"{shard.name}: no such file, but the"):
        upstream_info(str(tmp_path))


def test_hub_names_and_revisions(tiny_models, tmp_path):
    old, new = "a" * 40, "b" * 40
    models = {
        old: tiny_models["hubert", "group"],
        new: tiny_models["hubert", "layer"],
    }
    hub.fill_cache(tmp_path, "org/name", models)
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


@pytest.mark.parametrize("kind", ["safetensors", "sharded", "pickled", "none"])
def test_what_is_fetched_from_the_hub(group_model, tmp_path, monkeypatch, caplog, kind):
    folder = shutil.copytree(group_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    model = AutoModel.from_pretrained(group_model)
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.fp16.safetensors").write_bytes(b"another's")
    wanted = {"pytorch_model.bin"}
    if kind in ("safetensors", "sharded"):
        size = "20KB" if kind == "sharded" else "1GB"
        model.save_pretrained(folder, max_shard_size=size)
        wanted = {path.name for path in folder.glob("model[.-]*s*")}
        wanted -= {"model.fp16.safetensors"}
        assert (len(wanted) > 2) == (kind == "sharded")
    elif kind == "none":
        (folder / "pytorch_model.bin").unlink()
    library = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(library, "propagate", True)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub.serve(folder, "org/name") as (address, sent):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        described = Upstream("org/name", save_path=tmp_path / "cache")
        assert (described.num_layers, described.output_size) == (4, 32)
        assert set(sent) == {"config.json", "preprocessor_config.json"}
        if kind == "none":
            with pytest.raises(
                InputError, match=r"model.safetensors or pyt.*is not in"
            ):
                described.load()
            with pytest.raises(InputError, match="org/no, .*hub has no such model or"):
                Upstream("org/no", save_path=tmp_path / "cache")
            return
        assert described.info.revision == hub.COMMIT
        wavs, lengths = make_batch(make_clips())
        assert torch.equal(
            described.load()(wavs, lengths)[0],
            load_upstream(str(group_model))(wavs, lengths)[0],
        )
        assert set(sent) - {"config.json", "preprocessor_config.json"} == wanted
        before = list(sent)
        load_upstream("org/name", save_path=tmp_path / "cache")
        assert sent == before, "nothing is fetched twice"
    assert "No files matched" not in caplog.text


def test_weights_are_hashed_once_for_all_objects(group_model, tmp_path, monkeypatch):
    copy = shutil.copytree(group_model, tmp_path / "copy")
    (tmp_path / "link").symlink_to(copy)
    hashed, digest = [], model_files.file_digest
    monkeypatch.setattr(
        model_files, "file_digest", lambda path: hashed.append(path) or digest(path)
    )
    first = upstream_info(str(copy))
    assert upstream_info(str(tmp_path / "link")).digest == first.digest
    assert load_upstream(str(copy)).info == first
    assert len(hashed) == 1
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer_norm.bias"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert upstream_info(str(copy)).digest != first.digest
    assert len(hashed) == 2


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
