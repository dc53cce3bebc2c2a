"""Frozen upstreams: equal to plain transformers on the bare clip, in any batch."""

import copy
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from clips import SAMPLES, make_batch, make_clips
from encoders import require_equal_to_alone
from models import FAMILIES, NORMS, build_model
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from sercorr.errors import InputError
from sercorr.lobes import Upstream, load_upstream
from sercorr.lobes.upstream.frozen import may_be_bfloat16

ALL_SIX = [(family, norm) for family in FAMILIES for norm in NORMS]


def plain_layers(folder, clip) -> torch.Tensor:
    """Run plain transformers on a bare clip: (L, T, D).

    The last of its hidden states lacks the final layer norm of models that have one,
    so the model's output stands in its place.
    """
    model = AutoModel.from_pretrained(folder).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    inputs = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        output = model(inputs["input_values"], output_hidden_states=True)
    return torch.cat([*output.hidden_states[:-1], output.last_hidden_state])


def require_plain_transformers(folder) -> None:
    clips = make_clips()
    alone = [plain_layers(folder, clip) for clip in clips]
    require_equal_to_alone(load_upstream(str(folder)), alone, clips)


@pytest.fixture(params=["fbank", "wav2vec2-group"])
def source(request, tiny_models) -> str:
    if request.param == "fbank":
        return "fbank"
    return str(tiny_models["wav2vec2", "group"])


@pytest.mark.parametrize("kind", ALL_SIX, ids="-".join)
def test_layers_equal_plain_transformers(tiny_models, kind):
    folder = tiny_models[kind]
    upstream, clips = load_upstream(str(folder)), make_clips()
    alone = [plain_layers(folder, clip) for clip in clips]
    for clip, wanted in zip(clips, alone, strict=True):
        require_equal_to_alone(upstream, [wanted], [clip])
    require_equal_to_alone(upstream, alone, clips)
    require_equal_to_alone(upstream, alone, clips, size=2 * max(SAMPLES))
    require_equal_to_alone(upstream, alone[::-1], clips[::-1])
    require_equal_to_alone(upstream, alone[1:2], clips[1:2], size=2 * SAMPLES[1])
    same = make_clips([5000, 5000], seed=1)
    require_equal_to_alone(upstream, [plain_layers(folder, c) for c in same], same)


@pytest.mark.parametrize("kind", ALL_SIX, ids="-".join)
def test_the_other_order_of_layer_norms(tmp_path, kind):
    """Convolution norm and stable layer norm are separate settings."""
    build_model(tmp_path, *kind, do_stable_layer_norm=kind[1] == "group")
    require_plain_transformers(tmp_path)


def test_variants_of_hubert_and_of_the_waveform(tmp_path):
    build_model(tmp_path / "a", "hubert", "group", conv_pos_batch_norm=True)
    build_model(tmp_path / "b", "hubert", "group", feat_proj_layer_norm=False)
    build_model(tmp_path / "c", "wavlm", "layer", do_normalize=False)
    for folder in sorted(tmp_path.iterdir()):
        require_plain_transformers(folder)


def test_frozen_under_a_training_parent(source):
    upstream = load_upstream(source)
    wavs = make_clips([8000])[0].requires_grad_()
    before, _ = upstream(wavs[None])
    parent = torch.nn.ModuleDict({"upstream": upstream, "head": torch.nn.Dropout()})
    parent.train()
    assert parent["head"].training
    assert not any(module.training for module in upstream.modules())
    assert not any(parameter.requires_grad for parameter in upstream.parameters())
    after, _ = upstream(wavs[None])
    assert torch.equal(before, after)
    assert not after.requires_grad
    # a head can be trained on the features
    weight = torch.ones(upstream.output_size, requires_grad=True)
    (after * weight).sum().backward()
    torch.testing.assert_close(weight.grad, after.sum(dim=(0, 1, 2)))


def test_float32_under_autocast_and_from_other_precisions(source):
    upstream = load_upstream(source)
    wavs, lengths = make_batch(make_clips())
    wanted, _ = upstream(wavs, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = upstream(wavs, lengths)
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)
    assert torch.equal(upstream(wavs.double(), lengths)[0], wanted)


def test_silence_short_clips_and_wrong_shapes(source):
    upstream = load_upstream(source)
    silent, _ = upstream(torch.zeros(2, 4000), torch.tensor([1.0, 0.1]))
    assert silent.isfinite().all()
    with pytest.raises(InputError, match=r"clip 0 of the batch has 399 samples.* 400"):
        upstream(torch.zeros(1, 399))
    with pytest.raises(InputError, match="clip 1 of the batch has 100 samples"):
        upstream(torch.zeros(2, 1000), torch.tensor([1.0, 0.1]))
    with pytest.raises(ValueError, match=r"\(batch, samples\) \(got \(1000,\)\)"):
        upstream(torch.zeros(1000))
    with pytest.raises(ValueError, match=r"shape \(2,\), one per item \(got \(3,\)\)"):
        upstream(torch.zeros(2, 1000), torch.ones(3))


def test_the_lazy_object_says_what_the_loaded_one_says(source):
    described, loaded = Upstream(source), load_upstream(source)
    for samples in (399, 400, 12345):
        assert described.frames(samples) == loaded.frames(samples)
    assert described.num_layers == loaded.num_layers
    assert described.output_size == loaded.output_size
    assert described.info == loaded.info
    assert loaded.load("cpu") is loaded, "an upstream may stand in its place"
    assert described.load() is described.load("cpu"), "it is loaded once"
    if source != "fbank":
        described.load().use_bfloat16()
    assert described.info == loaded.info
    batch = make_batch(make_clips())
    assert torch.equal(described.load()(*batch)[0], loaded(*batch)[0])


def test_importing_the_lobes_imports_no_transformers():
    code = "import sys, sercorr.lobes; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_which_convolutions_may_be_bfloat16():
    for shape in ((768, 768, 16), (1024, 1024, 16), (64, 64, 4), (1, 512, 1)):
        assert may_be_bfloat16(*shape)
    for shape in ((32, 32, 4), (192, 192, 16), (64, 32, 4), (32, 64, 4)):
        assert not may_be_bfloat16(*shape)


@pytest.mark.parametrize("fast", ["1", "0"])
@pytest.mark.parametrize("kind", ALL_SIX, ids="-".join)
def test_bfloat16_is_near_float32(tiny_models, monkeypatch, kind, fast):
    monkeypatch.setenv("SERCORR_FAST", fast)
    folder = str(tiny_models[kind])  # its positions: 32 channels in 4 groups
    upstream, full = load_upstream(folder, precision="bf16"), load_upstream(folder)
    assert upstream.info == full.info.at_precision("bf16") != full.info
    batch = make_batch(make_clips())
    wanted, _ = full(*batch)
    twin = copy.deepcopy(upstream).use_bfloat16()  # which it is already
    for half in (upstream, twin):
        with torch.autocast("cpu", enabled=False):  # whatever the caller does
            got, _ = half(*batch)
        assert got.dtype == torch.float32
        squares = [x.square().sum(dim=(0, 2, 3)) for x in (got - wanted, wanted)]
        errors = (squares[0] / squares[1]).sqrt()
        assert errors.min() > 1e-4  # of each layer
        assert errors.max() < 0.03


@pytest.mark.parametrize(("width", "kind"), [(32, "float32"), (64, "bfloat16")])
def test_positions_are_convolved_in(tmp_path, width, kind):
    build_model(tmp_path, "hubert", "group", hidden_size=width)
    upstream, outputs = load_upstream(str(tmp_path), precision="bf16"), []
    convolution = upstream.model.encoder.pos_conv_embed.conv
    convolution.register_forward_hook(lambda *values: outputs.append(values[2].dtype))
    upstream(*make_batch(make_clips()))
    assert outputs == [convolution.weight.dtype] == [getattr(torch, kind)]


def test_other_precisions_are_refused():
    with pytest.raises(InputError, match="extract_precision is 'int8'; .*fp32, bf16"):
        load_upstream("fbank", precision="int8")
    with pytest.raises(InputError, match="is 'bf16', but fbank has no network"):
        load_upstream("fbank", precision="bf16")


def reference_bands(clip: np.ndarray) -> np.ndarray:
    """Compute the scaled log-mel bands of a clip in float64: (T, 80)."""
    window = 0.54 - 0.46 * np.cos(2 * math.pi * np.arange(400) / 400)
    padded = np.concatenate([np.zeros(200), clip, np.zeros(200)])
    starts = range(0, len(clip) + 1, 160)
    frames = np.stack([padded[start : start + 400] * window for start in starts])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2  # (T, 257)
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, 82) / 2595) - 1)
    frequencies = np.arange(257) * 16000 / 512
    bands = []
    for left, centre in itertools.pairwise(edges[:-1]):
        # SpeechBrain's triangles are symmetric, as wide as their left side
        triangle = 1 - np.abs(frequencies - centre) / (centre - left)
        bands.append(power @ np.maximum(triangle, 0))
    decibels = 10 * np.log10(np.maximum(np.stack(bands, axis=1), 1e-8))
    return (decibels + 50) / 20


def test_fbank_numbers_alone_and_in_batches():
    upstream = load_upstream("fbank")
    clips = [clip - clip.mean() for clip in make_clips((16000, 9000, 400, 12319))]
    clips[1][2000:6000] = 0  # silence, loud mates
    alone = [
        torch.from_numpy(reference_bands(clip.double().numpy())).float()[None]
        for clip in clips
    ]
    for clip, wanted in zip(clips, alone, strict=True):
        require_equal_to_alone(upstream, [wanted], [clip])
    require_equal_to_alone(upstream, alone, clips)
    require_equal_to_alone(upstream, alone[::-1], clips[::-1], size=40000)
    assert alone[1].min() == pytest.approx(-1.5)  # the floor of silence, -80 dB
    quiet, loud = upstream(clips[0][None])[0], upstream(2 * clips[0][None])[0]
    shift = torch.full_like(quiet, 20 * math.log10(2) / 20)  # loudness is kept
    torch.testing.assert_close(loud - quiet, shift, rtol=0, atol=1e-5)


def test_fbank_is_scaled_for_real_speech(real_release):
    import soundfile

    upstream = load_upstream("fbank")
    paths = sorted(real_release.glob("Session*/sentences/wav/*/*.wav"))[::20]
    waves = [
        torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths
    ]
    features = torch.cat([upstream(wave[None])[0].flatten(0, 2) for wave in waves])
    assert abs(features.mean()) < 0.5
    assert 0.7 < features.std() < 1.4


def test_features_do_not_depend_on_the_threads_that_loaded_the_model(tmp_path):
    # wide enough for torch to share the norm of the kernel among threads
    wide = {"hidden_size": 64, "num_conv_pos_embeddings": 128}
    folder = build_model(
        tmp_path, "hubert", "group", num_conv_pos_embedding_groups=1, **wide
    )
    before, layers = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layers.append(load_upstream(str(folder))(make_clips()[0][None])[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(layers[0], layers[1])
    assert torch.equal(layers[0], layers[2])
