"""The newer families: equal to plain transformers on the bare clip, in any batch."""

import copy
import shutil

import pytest
import torch
from clips import make_batch, make_clips
from encoders import (
    EXTRACTORS,
    SETTINGS,
    VARIANTS,
    build_encoder,
    first_frame,
    plain_encoder,
    require_equal_to_alone,
)
from heads import answers, random_parts
from releases import make_release
from runs import probabilities, train
from torch import nn
from transformers import AutoModel, WhisperFeatureExtractor, WhisperModel

from sercorr.errors import InputError
from sercorr.features import extract
from sercorr.files import read_json, write_json
from sercorr.inference import EmotionRecognizer
from sercorr.inference.export import export_folder
from sercorr.lobes import Upstream, load_upstream

NEW = ("data2vec-audio", "unispeech-sat-group", "sew", "wav2vec2-bert", "whisper")
"""One variant of each new family."""


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Variant -> the folder of a random model, built when it is asked for."""
    root, built = tmp_path_factory.mktemp("encoders"), {}

    def find(variant):
        if variant not in built:
            built[variant] = build_encoder(root / variant, variant)
        return built[variant]

    return find


def short_and_long(variant) -> list[torch.Tensor]:
    """Clips of one frame to 76, two of which end within a frame or a group."""
    first = first_frame(variant)
    return make_clips((16000, 9000, first, 12345, 9320, 24500, first + 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_equal_plain_transformers(encoders, variant):
    folder, clips = encoders(variant), short_and_long(variant)
    upstream = load_upstream(str(folder))
    alone = [plain_encoder(folder, clip) for clip in clips]
    for clip, wanted in zip(clips, alone, strict=True):
        require_equal_to_alone(upstream, [wanted], [clip])
    require_equal_to_alone(upstream, alone, clips)
    require_equal_to_alone(upstream, alone[::-1], clips[::-1], size=40000)
    require_equal_to_alone(upstream, alone[2:3], clips[2:3], size=16000)
    # one frame fewer, of the blocks and of the convolutions alone
    for samples in ((9320, 9000), (9640, 9320)):
        pair = make_clips(samples, seed=1)
        require_equal_to_alone(upstream, [plain_encoder(folder, c) for c in pair], pair)


@pytest.mark.parametrize("variant", [*NEW, "sew-of-three", "sew-odd-positions"])
def test_frames_are_those_of_plain_transformers(encoders, variant):
    folder, first = encoders(variant), first_frame(variant)
    described = Upstream(str(folder))
    assert described.frames(first - 1) == 0 < described.frames(first)
    for samples in [*range(first, first + 1400, 79), 15999, 16000, 16001, 33000]:
        found = plain_encoder(folder, torch.zeros(samples)).shape[1]
        assert described.frames(samples) == found
    upstream = load_upstream(str(folder))
    message = rf"has {first - 1} samples; at least {first} are needed"
    with pytest.raises(InputError, match=message):
        upstream(torch.zeros(1, first - 1))


@pytest.mark.parametrize("variant", ["data2vec-audio", "unispeech-layer", "sew-layer"])
def test_frame_times_are_the_middle_of_what_a_frame_hears(encoders, tmp_path, variant):
    folder = shutil.copytree(encoders(variant), tmp_path / "model")
    path = folder / "preprocessor_config.json"
    write_json(path, {**read_json(path), "do_normalize": False})
    upstream = load_upstream(str(folder))
    for parameter in upstream.model.encoder.pos_conv_embed.parameters():
        parameter.zero_()  # positions hear their neighbours
    places = torch.arange(0, 4000, 20)
    clips = make_clips([4000])[0].repeat(1 + len(places), 1)
    clips[torch.arange(1, len(clips)), places] += 1
    layers = upstream(clips)[0][:, 0]  # (B, T, D)
    heard = ((layers[1:] - layers[0]).abs() > 1e-5).any(dim=2)  # (places, T)
    times = upstream.frame_times(4000)
    assert len(times) == heard.shape[1] > 4
    for time, frame in zip(times, heard.T, strict=True):
        found = places[frame]
        assert time == pytest.approx((found[0] + found[-1]).item() / 32000, abs=0.0013)


@pytest.mark.parametrize(
    ("variant", "tolerance"), [("wav2vec2-bert", 0.002), ("whisper", 0.004)]
)
def test_frame_times_are_where_a_burst_changes_bands(encoders, variant, tolerance):
    upstream, noise = load_upstream(str(encoders(variant))), make_clips([15360])[0]
    times, errors = torch.tensor(upstream.frame_times(15360)), []
    for start in range(2880, 12321, 160):  # the clip's middle is theirs
        burst = noise.clone()
        burst[start : start + 160] += 4 * make_clips([160], seed=start)[0]
        layers = upstream(torch.stack([noise, burst]))[0][:, 0]
        change = (layers[1] - layers[0]).square().sum(dim=1)  # (T,)
        errors.append((change * times).sum() / change.sum() - (start + 80) / 16000)
    assert torch.stack(errors).mean().abs() < tolerance


@pytest.mark.parametrize("variant", NEW)
def test_frozen_under_a_training_parent(encoders, variant):
    upstream = load_upstream(str(encoders(variant)))
    batch = make_batch(make_clips((8000, 5000)))
    before, _ = upstream(*batch)
    nn.ModuleList([upstream, nn.Dropout()]).train()
    after, _ = upstream(*batch)
    assert torch.equal(before, after)
    assert not after.requires_grad
    assert not any(module.training for module in upstream.modules())
    assert not any(parameter.requires_grad for parameter in upstream.parameters())


@pytest.mark.parametrize("variant", NEW)
def test_nothing_faster_changes_the_layers(encoders, monkeypatch, variant):
    found = []
    for value in ("1", "0"):
        monkeypatch.setenv("SERCORR_FAST", value)
        upstream = load_upstream(str(encoders(variant)))
        found.append(upstream(*make_batch(make_clips((8000, 5000))))[0])
        packed = [getattr(m, "_packed", None) for m in upstream.modules()]
        if value == "0" or torch.backends.mkldnn.is_available():
            assert any(each is not None for each in packed) == (value == "1")
    torch.testing.assert_close(*found, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("variant", [*NEW, "wav2vec2-bert-relative"])
def test_bfloat16_is_near_float32(encoders, variant):
    folder = str(encoders(variant))
    half, full = load_upstream(folder, precision="bf16"), load_upstream(folder)
    batch = make_batch(make_clips((8000, 5000, 16000)))
    wanted, got = full(*batch)[0], half(*batch)[0]
    assert torch.equal(copy.deepcopy(half).use_bfloat16()(*batch)[0], got)
    squares = [x.square().sum(dim=(0, 2, 3)) for x in (got - wanted, wanted)]
    errors = (squares[0] / squares[1]).sqrt()
    assert got.dtype == torch.float32
    assert errors.min() > 1e-4  # of each layer
    assert errors.max() < 0.03


@pytest.mark.parametrize("variant", ["wav2vec2-bert", "whisper"])
def test_bands_are_float32_in_bfloat16_too(encoders, variant):
    found = []
    for precision in ("fp32", "bf16"):
        upstream = load_upstream(str(encoders(variant)), precision=precision)
        first = next(upstream.model.children())  # it gets the bands
        first.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))
        upstream(*make_batch(make_clips([8000])))
    assert found[0].dtype == torch.float32
    assert torch.equal(*found)


def test_whisper_of_thirty_seconds(tmp_path):
    """Windows as published; a longer clip is cut into several."""
    folder = build_encoder(
        tmp_path, "whisper", max_source_positions=1500, num_mel_bins=128
    )
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    upstream, clips = load_upstream(str(folder)), make_clips((500000, 9000))
    assert [upstream.frames(n) for n in (480000, 480001, 960000)] == [1500, 1501, 3000]
    require_equal_to_alone(upstream, [plain_encoder(folder, c) for c in clips], clips)
    # windows do not hear each other
    head, tail = clips[0][:480000], clips[0][480000:]
    layers, _ = upstream(clips[0][None])
    assert torch.equal(layers[:, :, :1500], upstream(head[None])[0])
    assert torch.equal(layers[:, :, 1500:], upstream(tail[None])[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_whisper_without_its_decoder(encoders, tmp_path, dtype):
    """Published weights: of the whole model, under a prefix, perhaps in float16."""
    from transformers import WhisperForConditionalGeneration

    plain = WhisperModel.from_pretrained(encoders("whisper")).to(dtype).float()
    whole = WhisperForConditionalGeneration(plain.config)
    whole.model.load_state_dict(plain.state_dict())
    whole.to(dtype).save_pretrained(tmp_path, max_shard_size="40KB")
    EXTRACTORS["whisper"].save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors.index.json").exists()
    upstream, clips = load_upstream(str(tmp_path)), make_clips((8000, 5000))
    wanted = sum(each.numel() for each in plain.encoder.parameters())
    assert sum(each.numel() for each in upstream.parameters()) == wanted
    assert all(each.dtype == torch.float32 for each in upstream.parameters())
    plain.save_pretrained(tmp_path / "rounded")
    EXTRACTORS["whisper"].save_pretrained(tmp_path / "rounded")
    alone = [plain_encoder(tmp_path / "rounded", clip) for clip in clips]
    require_equal_to_alone(upstream, alone, clips)


@pytest.mark.parametrize("variant", ["sew", "wav2vec2-bert"])
@pytest.mark.parametrize("kind", ["sharded", "pickled"])
def test_weights_in_other_files(encoders, tmp_path, variant, kind):
    folder = shutil.copytree(encoders(variant), tmp_path / "model")
    model, batch = AutoModel.from_pretrained(folder), make_batch(make_clips([8000]))
    (folder / "model.safetensors").unlink()
    if kind == "sharded":
        model.save_pretrained(folder, max_shard_size="40KB")
        assert (folder / "model.safetensors.index.json").exists()
    else:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    wanted = load_upstream(str(encoders(variant)))(*batch)[0]
    assert torch.equal(load_upstream(str(folder))(*batch)[0], wanted)


@pytest.mark.parametrize("variant", NEW)
def test_a_recogniser_and_its_folder(encoders, tmp_path, variant):
    parts = random_parts(Upstream(str(encoders(variant))))
    recognizer = EmotionRecognizer(parts, device="cpu")
    found = answers(recognizer)
    assert found.std(axis=0).max() > 0.01, "the clips differ"
    export_folder(parts, tmp_path / "out", with_upstream=True)
    again = EmotionRecognizer.from_pretrained(tmp_path / "out", device="cpu")
    assert (answers(again) == found).all()
    assert recognizer.min_samples == first_frame(variant)
    (answer,) = recognizer.answer([make_clips([16000])[0].numpy()])
    assert answer.times.tolist() == recognizer.upstream.frame_times(16000)


@pytest.mark.parametrize("variant", ["sew", "whisper"])
def test_training_from_stored_features_and_live(encoders, tmp_path, variant):
    release = make_release(tmp_path / "release")
    given = {"upstream_source": encoders(variant), "lr": 0.01}
    train(release, tmp_path / "live", **given)
    store = {"cache_folder": tmp_path / "store", "cache_dtype": "float32"}
    train(release, tmp_path / "stored", **store, **given)
    found = probabilities(tmp_path / "stored")
    torch.testing.assert_close(
        found, probabilities(tmp_path / "live"), rtol=0, atol=1e-5
    )
    assert found.std(dim=0).max() > 0.001, "clips differ"


def test_a_clip_without_a_frame_is_refused_before_extraction(encoders, tmp_path):
    import soundfile

    for name, samples in (("long", 16000), ("short", 700)):
        soundfile.write(tmp_path / f"{name}.wav", make_clips([samples])[0], 16000)
    clips = {name: tmp_path / f"{name}.wav" for name in ("long", "short")}
    upstream = Upstream(str(encoders("sew")))
    message = r"short.wav: too short for .*: 700 samples at 16000 Hz give no frame"
    with pytest.raises(InputError, match=message):
        extract(upstream, clips, cache_folder=tmp_path / "store", progress=False)
    assert not list((tmp_path / "store").rglob("*.safetensors"))


def test_every_accepted_family_is_tested():
    from sercorr.lobes.upstream.ssl_model import FAMILIES

    tested = {family for family, _ in VARIANTS.values()}
    assert tested == set(FAMILIES) - {"wav2vec2", "hubert", "wavlm"}
    assert set(SETTINGS) < tested
