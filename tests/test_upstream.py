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
from models import FAMILIES, NORMS, build_model
from transformers import AutoModel
from transformers.models.wav2vec2 import Wav2Vec2FeatureExtractor

from sercorr.errors import InputError
from sercorr.lobes import Upstream, load_upstream
from sercorr.lobes.upstream.frozen import may_be_bfloat16

TOLERANCE = 1e-5


def plain_layers(folder, clip, do_normalize=True) -> torch.Tensor:
    """Run plain transformers on a bare clip: (L, T, D).

    The last of its hidden states lacks the final layer norm of models that have one,
    so the model's output stands in its place.
    """
    model = AutoModel.from_pretrained(folder).eval()
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    inputs = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        output = model(inputs["input_values"], output_hidden_states=True)
    return torch.cat([*output.hidden_states[:-1], output.last_hidden_state])


def relative_error(got, wanted) -> float:
    """Return the largest error of any layer, relative to the layer's largest value."""
    assert got.shape == wanted.shape
    errors = (got - wanted).abs().amax(dim=(1, 2)) / wanted.abs().amax(dim=(1, 2))
    return errors.max().item()


def require_equal_to_alone(upstream, alone, clips, size=None):
    """Run the clips as one batch and compare each with its features ``alone``."""
    layers, lengths = upstream(*make_batch(clips, size))
    frames = [reference.shape[1] for reference in alone]
    assert layers.shape[2] == max(frames)
    torch.testing.assert_close(lengths, torch.tensor(frames) / max(frames))
    for got, wanted in zip(layers, alone, strict=True):
        count = wanted.shape[1]
        assert relative_error(got[:, :count], wanted) < TOLERANCE
        assert (got[:, count:] == 0).all()


@pytest.fixture(scope="module")
def group_model(tiny_models):
    return tiny_models["wav2vec2", "group"]


@pytest.fixture(scope="module")
def upstream(group_model):
    return load_upstream(str(group_model))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_equal_plain_transformers(tiny_models, family, norm):
    folder = tiny_models[family, norm]
    upstream = load_upstream(str(folder))
    clips = make_clips()
    alone = [plain_layers(folder, clip) for clip in clips]
    assert [len(layers) for layers in alone] == [upstream.num_layers] * 4
    assert [upstream.frames(len(clip)) for clip in clips] == [
        layers.shape[1] for layers in alone
    ]
    for clip, wanted in zip(clips, alone, strict=True):
        require_equal_to_alone(upstream, [wanted], [clip])
    require_equal_to_alone(upstream, alone, clips)
    require_equal_to_alone(upstream, alone, clips, size=2 * max(SAMPLES))
    require_equal_to_alone(upstream, alone[::-1], clips[::-1])
    require_equal_to_alone(upstream, alone[1:2], clips[1:2], size=2 * SAMPLES[1])
    same = make_clips([5000, 5000], seed=1)
    require_equal_to_alone(upstream, [plain_layers(folder, c) for c in same], same)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_other_order_of_layer_norms(tmp_path, family, norm):
    """Convolution norm and stable layer norm are separate settings."""
    stable = norm == "group"
    build_model(tmp_path, family, norm, do_stable_layer_norm=stable)
    clips = make_clips()[:2]
    alone = [plain_layers(tmp_path, clip) for clip in clips]
    require_equal_to_alone(load_upstream(str(tmp_path)), alone, clips)


@pytest.mark.parametrize(
    "changes",
    [{"conv_pos_batch_norm": True}, {"feat_proj_layer_norm": False}],
    ids=lambda changes: next(iter(changes)),
)
def test_variants_of_hubert(tmp_path, changes):
    build_model(tmp_path, "hubert", "group", **changes)
    clips = make_clips()
    alone = [plain_layers(tmp_path, clip) for clip in clips]
    require_equal_to_alone(load_upstream(str(tmp_path)), alone, clips)


def test_waveform_left_as_it_is_when_the_model_says_so(tmp_path):
    build_model(tmp_path, "wavlm", "layer", do_normalize=False)
    upstream = load_upstream(str(tmp_path))
    assert upstream.info.preprocessing["do_normalize"] is False
    clips = make_clips()
    alone = [plain_layers(tmp_path, clip, do_normalize=False) for clip in clips]
    require_equal_to_alone(upstream, alone, clips)
    normalised = plain_layers(tmp_path, clips[1])
    assert relative_error(alone[1], normalised) > 0.1


@pytest.mark.parametrize("source", ["fbank", "model"])
def test_silence_and_a_single_frame_are_finite(group_model, source):
    upstream = load_upstream(str(group_model) if source == "model" else source)
    layers, _ = upstream(torch.zeros(2, 4000), torch.tensor([1.0, 0.1]))
    assert layers.isfinite().all()


@pytest.mark.parametrize("source", ["fbank", "model"])
def test_frozen_under_a_training_parent(tiny_models, source):
    folder = tiny_models["hubert", "layer"]
    upstream = load_upstream(str(folder) if source == "model" else source)
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


@pytest.mark.parametrize("source", ["fbank", "model"])
def test_float32_under_autocast_and_from_other_precisions(upstream, source):
    upstream = upstream if source == "model" else load_upstream(source)
    wavs, lengths = make_batch(make_clips())
    wanted, _ = upstream(wavs, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = upstream(wavs, lengths)
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)
    got, _ = upstream(wavs.double(), lengths)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("source", ["fbank", "model"])
def test_clips_shorter_than_a_frame_and_wrong_shapes(group_model, source):
    upstream = load_upstream(str(group_model) if source == "model" else source)
    assert (upstream.frames(399), upstream.frames(400) > 0) == (0, True)
    with pytest.raises(InputError, match=r"clip 0 of the batch has 399 samples.* 400"):
        upstream(torch.zeros(1, 399))
    with pytest.raises(InputError, match="clip 1 of the batch has 100 samples"):
        upstream(torch.zeros(2, 1000), torch.tensor([1.0, 0.1]))
    with pytest.raises(ValueError, match=r"\(batch, samples\) \(got \(1000,\)\)"):
        upstream(torch.zeros(1000))
    with pytest.raises(ValueError, match=r"shape \(2,\), one an item \(got \(3,\)\)"):
        upstream(torch.zeros(2, 1000), torch.ones(3))


def test_the_lazy_object_says_what_the_loaded_one_says(tiny_models):
    for source in ("fbank", str(tiny_models["wavlm", "layer"])):
        described, loaded = Upstream(source), load_upstream(source)
        for samples in (399, 400, 12345):
            assert described.frames(samples) == loaded.frames(samples)
        assert described.num_layers == loaded.num_layers
        assert described.output_size == loaded.output_size
        assert described.info == loaded.info
        assert loaded.load("cpu") is loaded, "an upstream may stand in its place"


def test_the_lazy_object_loads_float32_once(group_model):
    described = Upstream(str(group_model))
    upstream = described.load()
    assert described.load("cpu") is upstream
    wavs, lengths = make_batch(make_clips())
    wanted, _ = upstream(wavs, lengths)
    upstream.use_bfloat16()
    assert described.info.preprocessing["dtype"] == "float32"
    assert torch.equal(described.load()(wavs, lengths)[0], wanted)


def test_importing_the_lobes_imports_no_transformers():
    code = "import sys, sercorr.lobes; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((32, 32, 4), False),
        ((192, 192, 16), False),
        ((768, 768, 16), True),
        ((1024, 1024, 16), True),
        ((64, 64, 4), True),
        ((64, 32, 4), False),
        ((32, 64, 4), False),
        ((1, 512, 1), True),
        ((40, 40, 1), True),
    ],
)
def test_which_convolutions_may_be_bfloat16(shape, wanted):
    assert may_be_bfloat16(*shape) is wanted


@pytest.mark.parametrize("fast", ["1", "0"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_near_float32(tiny_models, monkeypatch, family, norm, fast):
    monkeypatch.setenv("SERCORR_FAST", fast)
    folder = str(tiny_models[family, norm])  # its positions: 32 channels in 4 groups
    upstream, full = load_upstream(folder, precision="bf16"), load_upstream(folder)
    assert upstream.info == full.info.at_precision("bf16") != full.info
    wavs, lengths = make_batch(make_clips())
    wanted, _ = full(wavs, lengths)
    twin = copy.deepcopy(upstream).use_bfloat16()  # which it is already
    for half in (upstream, twin):
        with torch.autocast("cpu", enabled=False):  # whatever the caller does
            got, _ = half(wavs, lengths)
        assert got.dtype == torch.float32
        norms = [
            x.transpose(0, 1).flatten(1).norm(dim=1) for x in (got - wanted, wanted)
        ]
        errors = norms[0] / norms[1]  # of each layer
        assert errors.min() > 1e-4
        assert errors.max() < 0.03


@pytest.mark.parametrize(("width", "kind"), [(32, "float32"), (64, "bfloat16")])
def test_positions_are_convolved_in(tmp_path, width, kind):
    build_model(tmp_path, "hubert", "group", hidden_size=width)
    upstream, outputs = load_upstream(str(tmp_path), precision="bf16"), []
    convolution = upstream.model.encoder.pos_conv_embed.conv
    convolution.register_forward_hook(lambda *values: outputs.append(values[2].dtype))
    upstream(*make_batch(make_clips()))
    assert outputs == [convolution.weight.dtype] == [getattr(torch, kind)]


def test_other_precisions_are_refused(group_model):
    with pytest.raises(InputError, match="extract_precision is 'int8'; .*fp32, bf16"):
        load_upstream(str(group_model), precision="int8")
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
    assert [upstream.frames(len(clip)) for clip in clips] == [101, 57, 3, 77]
    for clip, wanted in zip(clips, alone, strict=True):
        require_equal_to_alone(upstream, [wanted], [clip])
    require_equal_to_alone(upstream, alone, clips)
    require_equal_to_alone(upstream, alone[::-1], clips[::-1], size=40000)
    assert alone[1].min() == pytest.approx(-1.5)  # the floor of silence, -80 dB


def test_fbank_keeps_loudness():
    upstream = load_upstream("fbank")
    clip = make_clips([16000])[0][None]
    quiet, _ = upstream(clip)
    loud, _ = upstream(2 * clip)
    shift = torch.full_like(quiet, 20 * math.log10(2) / 20)
    torch.testing.assert_close(loud - quiet, shift, rtol=0, atol=1e-5)


def test_fbank_is_scaled_for_real_speech(real_release):
    import soundfile

    upstream = load_upstream("fbank")
    paths = sorted(real_release.glob("Session*/sentences/wav/*/*.wav"))[::20]
    features = [
        upstream(torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None])[0]
        for path in paths
    ]
    features = torch.cat([layers.flatten(0, 2) for layers in features])
    assert abs(features.mean()) < 0.5
    assert 0.7 < features.std() < 1.4
