"""Folders of the newer families: what is read, what decides, what is refused."""

import logging
import shutil

import pytest
import torch
from encoders import EXTRACTORS, build_encoder
from heads import random_parts
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.inference.onnx_export import export_onnx
from sercorr.inference.pretrained import read_pretrained
from sercorr.inference.transformers_export import export_transformers
from sercorr.lobes import Upstream, load_upstream, upstream_info

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    variants = ("data2vec-audio", "sew", "wav2vec2-bert", "whisper")
    return {each: build_encoder(root / each, each) for each in variants}


@pytest.fixture
def copied(built, tmp_path):
    """Copies a model's folder, and changes a JSON file in it."""

    def copy(variant, file=CONFIG, **changes):
        folder = shutil.copytree(built[variant], tmp_path / variant)
        write_json(folder / file, {**read_json(folder / file), **changes})
        return folder

    return copy


@pytest.mark.parametrize(
    ("variant", "layers", "input_keys"),
    [
        ("data2vec-audio", 4, {"do_normalize"}),
        ("sew", 4, {"do_normalize"}),
        ("wav2vec2-bert", 4, {"num_mel_bins"}),
        ("whisper", 4, {"feature_size", "hop_length", "n_fft", "chunk_length"}),
    ],
)
def test_what_a_model_is(built, variant, layers, input_keys):
    info = upstream_info(built[variant])
    assert (info.model_type, info.num_layers, info.output_size) == (variant, layers, 32)
    assert set(info.preprocessing) - input_keys == {
        "code_version", "dtype", "sampling_rate", "network",
    }  # fmt: skip
    loaded = load_upstream(built[variant])
    assert loaded.info == info
    assert (loaded.num_layers, loaded.output_size) == (layers, 32)


@pytest.mark.parametrize(
    ("variant", "file", "changes", "same"),
    [
        ("data2vec-audio", CONFIG, {"conv_pos_kernel_size": 6}, False),
        ("data2vec-audio", CONFIG, {"layerdrop": 0.1}, True),
        ("data2vec-audio", PREPROCESSOR, {"do_normalize": False}, False),
        ("sew", CONFIG, {"squeeze_factor": 4}, False),
        ("wav2vec2-bert", CONFIG, {"left_max_position_embeddings": 6}, False),
        ("wav2vec2-bert", CONFIG, {"position_embeddings_type": "rotary"}, False),
        ("wav2vec2-bert", CONFIG, {"mask_time_prob": 0.1}, True),
        ("wav2vec2-bert", PREPROCESSOR, {"padding_value": 0.5}, True),
        ("whisper", CONFIG, {"encoder_attention_heads": 2}, False),
        ("whisper", CONFIG, {"decoder_layers": 2}, True),
        ("whisper", PREPROCESSOR, {"n_fft": 512}, False),
        ("whisper", PREPROCESSOR, {"mel_filters": [[0.0]]}, True),  # not read
    ],
)
def test_identity_is_all_that_decides(built, copied, variant, file, changes, same):
    original = upstream_info(built[variant])
    found = upstream_info(copied(variant, file, **changes))
    assert (found.identity() == original.identity()) == same
    assert found.digest == original.digest


@pytest.mark.parametrize(
    ("variant", "file", "changes", "message"),
    [
        (
            "sew",
            PREPROCESSOR,
            {"sampling_rate": 8000},
            "sampling_rate 8000 and do_norm",
        ),
        ("whisper", PREPROCESSOR, {"sampling_rate": 8000}, "8000; it must be 16000"),
        ("whisper", PREPROCESSOR, {"dither": 0.1}, "dither 0.1; it must be 0.0"),
        ("whisper", PREPROCESSOR, {"padding_value": 1}, "padding_value 1; it must be"),
        ("whisper", PREPROCESSOR, {"n_fft": 0}, "n_fft 0; it must be a whole number"),
        ("whisper", PREPROCESSOR, {"n_fft": "400"}, "n_fft '400'; it must be a whole"),
        (
            "whisper",
            PREPROCESSOR,
            {"feature_size": 128},
            "but config.json says num_mel",
        ),
        ("whisper", PREPROCESSOR, {"chunk_length": 30}, "max_source_positions 50 .of"),
        ("wav2vec2-bert", PREPROCESSOR, {"stride": 4}, "stride 4; it must be 2"),
        ("wav2vec2-bert", PREPROCESSOR, {"num_mel_bins": 40}, "160, which is not twic"),
        (
            "wav2vec2-bert",
            PREPROCESSOR,
            {"feature_extractor_type": "Wav2Vec2FeatureExtractor"},
            "type 'Wav2Vec2FeatureExtractor'; it must be 'SeamlessM4TFeature",
        ),
        ("wav2vec2-bert", CONFIG, {"hidden_size": "x"}, "not a wav2vec2-bert config"),
        ("data2vec-audio", CONFIG, {"num_hidden_layers": 4}, r"lack encoder.layers.3"),
        ("sew", CONFIG, {"num_hidden_layers": 2}, "have besides encoder.layers.2"),
        ("sew", CONFIG, {"conv_dim": [32] * 13}, "another shape: "),
        ("whisper", CONFIG, {"encoder_layers": 4}, r"lack encoder.layers.3.*in all\)"),
        ("whisper", CONFIG, {"encoder_layers": 2}, "have besides encoder.layers.2"),
        ("whisper", CONFIG, {"d_model": 64}, "another shape: encoder.*instead of"),
        ("whisper", CONFIG, {"model_type": "hubert"}, "hubert model of config.json"),
    ],
)
def test_folders_that_do_not_fit(copied, variant, file, changes, message):
    folder = copied(variant, file, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_upstream(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("sew", "layer_norm.bias"),
        ("sew", "feature_projection.weight"),
        ("wav2vec2-bert", "feature_projection.layer_norm.bias"),
        ("whisper", "encoder.layer_norm.bias"),
        ("whisper", "encoder.embed_positions.weight"),
    ],
)
def test_every_weight_that_is_used_must_be_there(copied, variant, name):
    folder = copied(variant)
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"they lack {name} \(1 in all\)"):
        load_upstream(folder)


def test_weights_of_the_decoder_are_not_needed(built, copied):
    folder = copied("whisper")
    weights = load_file(folder / "model.safetensors")
    own = {name: weights[name] for name in weights if name.startswith("encoder.")}
    assert 0 < len(own) < len(weights)
    save_file(own, folder / "model.safetensors", {"format": "pt"})
    wave = torch.linspace(-0.5, 0.5, 5000)[None]
    wanted = load_upstream(built["whisper"])(wave)[0]
    assert torch.equal(load_upstream(folder)(wave)[0], wanted)


@pytest.mark.parametrize("variant", ["wav2vec2-bert", "whisper"])
def test_without_a_preprocessor_config(built, copied, caplog, variant):
    folder = copied(variant, CONFIG, max_source_positions=1500)
    if variant == "whisper":  # the default is a window of 30 s
        weights = load_file(folder / "model.safetensors")
        weights["encoder.embed_positions.weight"] = torch.ones(1500, 32)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / PREPROCESSOR).unlink()
    with caplog.at_level(logging.WARNING):
        found = load_upstream(folder)
    assert f"{folder}: no {PREPROCESSOR}; log-mel bands are computed" in caplog.text
    EXTRACTORS[variant].__class__().save_pretrained(folder)
    assert load_upstream(folder).info == found.info


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("wav2vec2-conformer", "'wav2vec2-conformer', which is refused: the convolut"),
        ("sew-d", "'sew-d'; accepted are wav2vec2, hubert, wavlm, data2vec-audio, "),
        ("speecht5", "'speecht5'; accepted are .*, sew, wav2vec2-bert, whisper: choo"),
    ],
)
def test_other_families_are_refused_by_name(tmp_path, family, message):
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=message):
        Upstream(tmp_path)


@pytest.mark.parametrize("variant", ["sew", "wav2vec2-bert", "whisper"])
def test_formats_that_do_not_hold_them(built, tmp_path, variant):
    parts = random_parts(Upstream(built[variant]), (1,), "mean")
    message = (
        f"upstream: {variant} cannot be exported to ONNX; wav2vec2, hubert, .*fbank"
    )
    with pytest.raises(InputError, match=message):
        export_onnx(parts, tmp_path / "out.onnx")
    with pytest.raises(
        InputError, match="transformers' format is for wav2vec2, hubert"
    ):
        export_transformers(parts, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_classifiers_of_other_families_are_refused(copied):
    kind = "WhisperForAudioClassification"
    folder = copied("whisper", CONFIG, architectures=[kind])
    with pytest.raises(InputError, match=f"{kind}.*which is no emotion head"):
        read_pretrained(folder)
