"""EmotionRecognizer: what it says to inputs that are wrong, silent or too loud."""

import logging
import re

import numpy as np
import pytest
import torch
from heads import LABELS
from recognizers import RATE, make_noise, make_recognizer, write

from sercorr.errors import InputError
from sercorr.inference import EmotionRecognizer
from sercorr.inference.parts import ModelParts
from sercorr.lobes import EmotionHead, make_pooling
from sercorr.lobes.upstream import FrozenUpstream, UpstreamInfo


@pytest.fixture(scope="module")
def fbank() -> EmotionRecognizer:
    return make_recognizer()


def scores_of(records) -> np.ndarray:
    """Probabilities (N, K) of records."""
    return np.array([list(record.scores.values()) for record in records])


BAD = (
    r"missing\.wav: missing: there is no such file",
    r"empty\.wav: empty: the file has 0 bytes",
    r"cannot be read \(Is a directory\)",
    r"short\.wav: too short: 399 samples at 16000 Hz",
    r"the signal: too short: 399 samples at 16000 Hz, but 400 are needed; leave it out",
    r"the signal has samples that are not finite",
    r"the signal has the type int16; give floating point samples",
    r"the signal has the shape \(2, 4000\); give \(samples,\) or \(samples, channels\)",
    r"an input is a tuple of 3; give \(signal, rate\), or Segment",
    r"a signal at 0 Hz cannot be resampled",
    r"the signal: too long to be one clip: 121\.0 s \(at most 120\); .* --window 4",
)


def test_bad_inputs_in_their_places(fbank, tmp_path):
    good = [write(tmp_path / f"{i}.wav", make_noise(0.3, i)) for i in range(3)]
    noise = make_noise(0.3)
    empty = tmp_path / "empty.wav"
    empty.touch()
    nan = noise.copy()
    nan[5] = np.nan
    inputs = [
        *(good[0], tmp_path / "missing.wav", good[1], empty, tmp_path),
        *(write(tmp_path / "short.wav", noise[:399]), noise[:399], nan),
        *((noise * 1000).astype(np.int16), np.zeros((2, 4000), np.float32)),
        *(("a.wav", 1.0, 2.0), (noise, 0), np.zeros(RATE * 121, np.float32), good[2]),
    ]
    seen = []

    def note(source, error):
        seen.append(str(error))
        assert source is inputs[(1, *range(3, 13))[len(seen) - 1]]

    for batch_seconds in (None, 60.0):
        seen.clear()
        found = list(fbank.predict(inputs, batch_seconds=batch_seconds, on_error=note))
        assert [record.file for record in found] == [str(path) for path in good]
        assert len(seen) == len(BAD)
        for text, pattern in zip(seen, BAD, strict=True):
            assert re.search(pattern, text), text
    found = fbank.predict(inputs)
    assert next(found).file == str(good[0])
    with pytest.raises(InputError, match="missing.wav"):
        next(found)


def test_bad_batches(fbank):
    wavs = torch.zeros(2, 1000)
    wavs[1, 5] = torch.nan
    with pytest.raises(
        InputError, match="clip 1 of the batch has samples that are not"
    ):
        fbank.classify_batch(wavs)
    with pytest.raises(
        InputError, match="clip 1 of the batch has 300 samples; at least"
    ):
        fbank.encode_batch(wavs, torch.tensor([1.0, 0.3]))
    with pytest.raises(ValueError, match="must have shape"):
        fbank.classify_batch(wavs[None])


def test_silence_is_answered_with_a_warning(fbank, tmp_path, caplog):
    quiet = write(tmp_path / "quiet.wav", np.full(8000, 1e-3, np.float32))  # -60 dB
    silent = write(tmp_path / "silent.wav", np.zeros(8000, np.float32))
    with caplog.at_level(logging.WARNING):
        found = list(fbank.predict([quiet, silent]))
        fbank.classify_file(silent)
    assert [record.silent for record in found] == [False, True]
    assert np.isfinite(scores_of(found)).all()
    assert (
        caplog.messages == [f"{silent}: silent (-inf dB); its label says nothing"] * 2
    )
    gated = fbank.predict([quiet, silent], silence=-50)
    assert [record.silent for record in gated] == [True, True]


class Loud(FrozenUpstream):
    """Features as large as the clip's first sample says."""

    def __init__(self):
        super().__init__(UpstreamInfo("loud", None, "loud", 1, 8, "loud-1", {}))

    def frames(self, samples):
        return samples // 500

    def _layers(self, wavs, samples, frames):
        return wavs[:, :1, None, None] * torch.ones(1, 1, max(frames), 8)


@pytest.mark.parametrize("stored", [None, "float16"])
def test_features_that_are_not_finite(stored):
    torch.manual_seed(0)
    head = EmotionHead(1, 8, make_pooling("mean", 4), 4, 0.0, 4)
    parts = ModelParts(
        "m", LABELS, Loud(), [head], {"stored": stored, "precision": "fp32"}
    )
    recognizer = EmotionRecognizer(parts, device="cpu")
    assert recognizer.min_samples == 500
    clip = np.full(500, 1e5 if stored else np.float32(3e38), np.float32)
    if stored is None:
        recognizer.upstream._layers = lambda *_: torch.full((1, 1, 1, 8), torch.nan)
    seen = []
    fine = np.full(500, 0.5, np.float32)
    inputs = [fine, clip] if stored else [clip]
    found = list(
        recognizer.predict(
            inputs, batch_seconds=9, on_error=lambda _, error: seen.append(str(error))
        )
    )
    assert len(found) == len(inputs) - 1
    where = " in float16" if stored else ""
    assert seen == [
        "the signal, 0.00-0.03 s: the upstream gives features that are not finite (NaN "
        f"or infinity){where} for this clip; check the clip and the model"
    ]
    with pytest.raises(InputError, match="399|500 are needed"):
        next(recognizer.predict(fine[:450]))
