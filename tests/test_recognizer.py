"""EmotionRecognizer: the same answer however a clip is given."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from clips import SAMPLES, make_batch, make_clips
from heads import LABELS
from recognizers import RATE, make_noise, make_recognizer, write

from sercorr.errors import InputError
from sercorr.features.compute import compute_layers
from sercorr.inference import EmotionRecognizer, Segment
from sercorr.inference.parts import ModelParts
from sercorr.lobes import EmotionHead, make_pooling
from sercorr.lobes.upstream import Upstream


@pytest.fixture(scope="module")
def fbank() -> EmotionRecognizer:
    return make_recognizer()


@pytest.fixture(scope="module")
def wavlm(tiny_models) -> EmotionRecognizer:
    return make_recognizer(tiny_models["wavlm", "layer"], stored="float16")


def scores_of(records) -> np.ndarray:
    """Probabilities (N, K) of records."""
    return np.array([list(record.scores.values()) for record in records])


def test_answers_are_those_of_head_and_upstream(wavlm):
    clips = make_clips()
    upstream, (head,) = wavlm.upstream, wavlm.heads
    found = list(wavlm.predict([clip.numpy() for clip in clips], embedding=True))
    for clip, record in zip(clips, found, strict=True):
        layers = upstream(clip[None])[0].to(torch.float16).float()
        with torch.no_grad():
            frames = head.projection(head.layer_mix(layers))
            pooled = head.pooling(frames)
            wanted = torch.softmax(head.classifier(pooled), -1)[0]
            weights = head.pooling.attention(frames)[0]
        torch.testing.assert_close(torch.tensor(list(record.scores.values())), wanted)
        torch.testing.assert_close(torch.from_numpy(record.embedding), pooled[0])
        assert record.label == LABELS[int(wanted.argmax())]
        assert list(record.scores) == LABELS
        assert (record.file, record.start) == (None, 0.0)
        assert record.end == record["end"] == len(clip) / RATE
        times, found_weights = zip(*record.attention, strict=True)
        torch.testing.assert_close(torch.tensor(found_weights), weights)
        assert sum(found_weights) == pytest.approx(1, abs=1e-6)
        expected = [(320 * frame + 199.5) / RATE for frame in range(len(times))]
        assert times == pytest.approx(expected, abs=1e-9)
    assert np.ptp(scores_of(found)[:, 0]) > 1e-2  # clips tell apart


def test_frames_of_log_mel_bands_are_every_10_ms(fbank):
    (record,) = fbank.predict(make_noise(1.0))
    assert [time for time, _ in record.attention] == pytest.approx(np.arange(101) / 100)
    (plain,) = make_recognizer(pooling="mean").predict(make_noise(1.0))
    assert plain.attention is None
    with pytest.raises(KeyError, match="emotion"):
        plain["emotion"]


def test_speechbrains_calls(wavlm, tmp_path, monkeypatch):
    clips = make_clips()
    wavs, wav_lens = make_batch(clips)
    out_prob, score, index, text_lab = wavlm.classify_batch(wavs, wav_lens)
    wanted = scores_of(wavlm.predict([clip.numpy() for clip in clips]))
    np.testing.assert_allclose(out_prob, wanted, atol=1e-7)
    assert out_prob.dtype == torch.float32
    torch.testing.assert_close(out_prob.sum(1), torch.ones(len(clips)))
    assert (score.shape, index.shape) == ((4,), (4,))
    torch.testing.assert_close(score, out_prob[torch.arange(4), index])
    assert (out_prob <= score[:, None]).all()
    assert text_lab == [LABELS[place] for place in index]
    alone = wavlm.classify_batch(wavs[0])
    assert torch.equal(alone[0], out_prob[:1])
    path = write(tmp_path / "a.wav", clips[1].numpy())
    monkeypatch.chdir(tmp_path)
    of_file = wavlm.classify_file("a.wav")
    assert torch.equal(of_file[0], out_prob[1:2])
    assert of_file[3] == text_lab[1:2]
    vectors = wavlm.encode_batch(wavs, wav_lens)
    assert vectors.shape == (4, 28)
    (record,) = wavlm.predict(path, embedding=True)
    assert np.array_equal(record.embedding, vectors[1])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("batch_seconds", [None, 0.5, 2.0, 60.0])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_alone_in_any_batch_in_any_order(wavlm, batch_seconds, order):
    clips = [clip.numpy() for clip in make_clips()]
    alone = [next(wavlm.predict(clip)).scores for clip in clips]
    found = wavlm.predict([clips[i] for i in order], batch_seconds=batch_seconds)
    assert [record.scores for record in found] == [alone[i] for i in order]


def test_groups_as_on_a_gpu(tiny_models, monkeypatch):
    recognizer = make_recognizer(tiny_models["wavlm", "layer"])
    clips = [clip.numpy() for clip in make_clips()]
    alone = list(recognizer.predict(clips))
    recognizer.device = torch.device("cuda")  # groups are made for it; computed here
    sizes = []

    def counted(upstream, waves):
        sizes.append(len(waves))
        return compute_layers(upstream, waves)

    monkeypatch.setattr("sercorr.inference.recognizer.compute_layers", counted)
    together = list(recognizer.predict(clips))
    assert sizes == [4]
    for one, other in zip(together, alone, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        assert np.array(one.attention) == pytest.approx(np.array(other.attention), 1e-3)
    sizes.clear()
    next(recognizer.stream([make_noise(2.0)], RATE, 0.5, 0.5))
    assert sizes == [1]  # a live signal waits for nothing


@pytest.mark.parametrize("size", [None, 16001, 40000])
def test_padding_is_not_heard(wavlm, size):
    clips = make_clips()
    found = wavlm.classify_batch(*make_batch(clips, size, padding=torch.nan))[0]
    alone = torch.cat([wavlm.classify_batch(clip[None])[0] for clip in clips])
    assert torch.equal(found, alone)


def test_eight_threads_at_once(wavlm, tmp_path):
    clips = [make_noise(0.3 + 0.05 * i, seed=i) for i in range(16)]
    paths = [write(tmp_path / f"{i}.wav", clip) for i, clip in enumerate(clips)]
    serial = [wavlm.classify_file(path)[0].tolist() for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = pool.map(lambda p: wavlm.classify_file(p)[0].tolist(), paths)
            assert list(together) == serial
        each = pool.map(lambda _: scores_of(wavlm.predict(paths)), range(8))
        assert len({found.tobytes() for found in each}) == 1


@pytest.mark.parametrize(
    ("name", "rate", "channels", "format"),
    [
        ("48 kHz stereo.flac", 48000, 2, {"subtype": "PCM_24"}),
        ("дорожка.wav", 44100, 1, {}),
        ("三声道.wav", 8000, 3, {"subtype": "DOUBLE"}),
        ("a b.aiff", 22050, 2, {"subtype": "PCM_16"}),
    ],
)
def test_any_rate_channels_and_format(wavlm, tmp_path, name, rate, channels, format):
    signal = np.stack([make_noise(1.3, seed, rate) for seed in range(channels)], 1)
    path = write(tmp_path / name, signal, rate, **format)
    (of_file,) = wavlm.predict(path)
    read, _ = soundfile.read(path, dtype="float32")
    (of_pair,) = wavlm.predict((read, rate))
    (of_tensor,) = wavlm.predict((torch.from_numpy(read).double(), float(rate)))
    assert of_file.file == str(path)
    assert of_file.end == of_pair.end == pytest.approx(1.3)
    assert of_file.scores == pytest.approx(of_pair.scores, abs=1e-6)
    assert of_pair.scores == of_tensor.scores
    mixed = torch.from_numpy(read).reshape(len(read), -1).mean(dim=1)
    resampled = torchaudio.functional.resample(mixed, rate, RATE)
    (wanted,) = wavlm.predict(resampled)
    assert of_file.scores == pytest.approx(wanted.scores, abs=1e-3)  # float16


def test_a_segment_is_what_its_samples_are_as_a_file(fbank, tmp_path):
    whole = make_noise(3.0)
    path = write(tmp_path / "whole.wav", whole)
    part = write(tmp_path / "part.wav", whole[8000:24000])
    found = list(fbank.predict([Segment(path, 0.5, 1.5), Segment(path, 1.0), part]))
    assert found[0].scores == found[2].scores
    assert [(r.start, r.end) for r in found] == [(0.5, 1.5), (1.0, 3.0), (0.0, 1.0)]
    assert found[0].attention[0] == (0.5, found[2].attention[0][1])
    with pytest.raises(InputError, match="no part from 2.5 s to 9.0 s"):
        list(fbank.predict(Segment(path, 2.5, 9.0)))


def test_it_reads_when_asked(fbank, tmp_path):
    taken = []

    def clips():
        for number in range(3):
            taken.append(number)
            yield make_noise(0.1)

    found = fbank.predict(clips())
    assert taken == []
    next(found)
    assert taken == [0]
    next(found)
    assert taken == [0, 1]
    with pytest.raises(InputError, match="missing"):
        list(fbank.predict(tmp_path / "gone.wav"))


class OwnPooling(torch.nn.Module):
    """A mean over time of what an attention of another kind gives."""

    input_size = output_size = 8

    def __init__(self):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, lengths=None):
        return self.attention(x, x, x)[0].mean(dim=1)


def test_an_attention_of_another_kind_is_not_shown():
    head = EmotionHead(1, 80, OwnPooling(), 4, 0.0, 8)
    parts = ModelParts(
        "m", LABELS, Upstream("fbank"), [head], {"stored": None, "precision": "fp32"}
    )
    recognizer = EmotionRecognizer(parts, device="cpu")
    (record,) = recognizer.predict(make_noise(1.0), embedding=True)
    assert record.attention is None
    assert record.embedding.shape == (8,)


def test_a_recogniser_changes_nothing_of_its_parts():
    head = EmotionHead(1, 80, make_pooling("mean", 4), 4, 0.5, 4)
    parts = ModelParts(
        "m", LABELS, Upstream("fbank"), [head], {"stored": None, "precision": "fp32"}
    )
    recognizer = EmotionRecognizer(parts, device="cpu")
    assert head.training
    assert all(parameter.requires_grad for parameter in head.parameters())
    before = recognizer.identity
    with torch.no_grad():
        head.classifier.bias += 1
    assert parts.identity != before
    assert recognizer.identity == before


def test_the_shortest_clip(wavlm):
    (record,) = wavlm.predict(make_clips()[2].numpy())
    assert SAMPLES[2] == wavlm.min_samples == 400
    assert record.attention == [(pytest.approx(199.5 / RATE), pytest.approx(1.0))]
