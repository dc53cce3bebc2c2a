"""Audio files of many kinds, whole and damaged."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sercorr.data.audio import AudioInfo, read_audio, read_header
from sercorr.errors import InputError


def noise(frames: int, channels: int = 1) -> np.ndarray:
    """Return (frames, channels) noise that 16 bits hold exactly."""
    values = np.random.default_rng(0).integers(-20000, 20000, (frames, channels))
    return values / 32768


def write(path: Path, sound: np.ndarray, rate: int = 16000, **kind: str) -> Path:
    soundfile.write(path, sound, rate, **kind)
    return path


def riff(*chunks: tuple[bytes, bytes], total: int | None = None) -> bytes:
    """Build a RIFF file from (name, content) chunks."""
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in chunks
    )
    size = 4 + len(body) if total is None else total
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + body


FORMAT = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
DATA = (b"data", (noise(800)[:, 0] * 32768).astype("<i2").tobytes())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.wav", {"format": "WAVEX", "subtype": "PCM_16"}),
        ("a.wav", {"format": "RF64", "subtype": "PCM_16"}),
        ("a.flac", {"subtype": "PCM_16"}),
        ("ä é.aiff", {"subtype": "PCM_16"}),
    ],
)
def test_every_format_gives_the_same_samples(tmp_path, name, kind):
    sound = noise(1234)
    path = write(tmp_path / name, sound, **kind)
    assert read_header(path) == AudioInfo(1234, 16000, 1)
    clip = read_audio(str(path))
    assert str(clip.dtype) == "torch.float32"
    np.testing.assert_array_equal(clip.numpy(), sound[:, 0].astype(np.float32))


def test_channels_are_mixed_down_by_their_mean(tmp_path):
    sound = noise(800, channels=3)
    clip = read_audio(write(tmp_path / "a.wav", sound)).numpy()
    np.testing.assert_allclose(clip, sound.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path, rate):
    """A tone of 1 kHz stays that tone, as a formula says."""
    sound, expected = (
        0.5 * np.sin(2 * np.pi * 1000 * np.arange(hertz) / hertz)
        for hertz in (rate, 16000)
    )
    clip = read_audio(write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")).numpy()
    assert len(clip) == 16000
    np.testing.assert_allclose(clip[500:-500], expected[500:-500], atol=2e-3)


@pytest.mark.parametrize(
    ("frames", "rate"),
    [
        (8001, 8000),
        (44101, 44100),
        (5555, 11025),
        (30001, 48000),
        (9999, 12345),
        # float32 rounds this one's 0.002 of a last sample away
        (441 * 4000 + pow(160, -1, 441), 44100),
    ],
)
def test_the_header_tells_the_resampled_length(tmp_path, frames, rate):
    path = write(tmp_path / "a.wav", noise(frames), rate)
    info = read_header(path)
    assert info.seconds == frames / rate
    assert info.samples == int(np.ceil(frames * 16000 / rate - 1e-9))
    assert len(read_audio(path)) == info.samples


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", None, r"a\.wav: missing: there is no such file"),
        ("", None, r"cannot be read \(Is a directory\)"),
        ("a.wav", b"", r"a\.wav: empty: the file has 0 bytes"),
        ("a.wav", riff(FORMAT, (b"data", b"")), r"a\.wav: empty: .* no samples"),
        ("a.wav", b"a text" * 99, r"a\.wav: not readable as audio"),
        ("a.raw", b"a text" * 99, r"a\.raw: not readable as audio"),
    ],
)
def test_a_file_without_audio(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (read_header, read_audio):
        with pytest.raises(InputError, match=message):
            read(path)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (12, r"promises 32044 bytes of audio, 12 bytes are there"),
        (30, r"promises 32044 bytes of audio, 30 bytes are there"),
        (40, r"promises 32044 bytes of audio, 40 bytes are there"),
        (44, r"promises 32000 bytes \(1\.00 s\) of audio, 0 bytes \(0\.00 s\) are"),
        (16044, r"promises 32000 bytes \(1\.00 s\) .* 16000 bytes \(0\.50 s\) are"),
        (32043, r"promises 32000 bytes \(1\.00 s\) of audio, 31999 bytes \(1\.00 s\)"),
    ],
)
def test_a_truncated_wav_says_what_was_promised_and_found(tmp_path, kept, message):
    path = write(tmp_path / "a.wav", noise(16000))
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_header, read_audio):
        with pytest.raises(InputError, match=rf"a\.wav: truncated: .* {message}"):
            read(path)


def test_a_wav_with_other_chunks_or_from_a_pipe(tmp_path):
    path, samples = tmp_path / "a.wav", noise(800)[:, 0].astype("f4")
    whole = riff((b"LIST", b"INFOodd"), FORMAT, (b"junk", b"xyz"), DATA)
    piped = riff(FORMAT, DATA, total=0xFFFFFFFF)
    endless = piped.replace(struct.pack("<I", 1600), b"\xff\xff\xff\xff")
    assert endless != piped
    for content in (whole, endless):
        path.write_bytes(content)
        np.testing.assert_array_equal(read_audio(path).numpy(), samples)
    path.write_bytes(whole[:-600])
    with pytest.raises(InputError, match=r"promises 1600 bytes .* 1000 bytes"):
        read_header(path)


def test_a_truncated_flac(tmp_path):
    path = write(tmp_path / "a.flac", noise(48000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.flac: truncated"):
        read_audio(path)


def test_samples_that_are_not_finite(tmp_path):
    sound = noise(2000, channels=2)
    sound[700, 1], sound[900, :], sound[1999, 0] = np.nan, np.inf, -np.inf
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    assert read_header(path).frames == 2000
    expected = r"a\.wav: 3 of 2000 samples are not finite .* the first at index 700"
    with pytest.raises(InputError, match=expected):
        read_audio(path)


@pytest.mark.parametrize(("frames", "rate"), [(399, 16000), (199, 8000)])
def test_a_clip_shorter_than_a_frame(tmp_path, frames, rate):
    path = write(tmp_path / "a.wav", noise(frames), rate)
    found = frames * 16000 // rate
    with pytest.raises(InputError, match=rf"a\.wav: too short: {found} samples"):
        read_audio(path)
    assert len(read_audio(write(path, noise(frames + 1), rate))) == 400


@pytest.mark.parametrize("rate", [7, 44101])
def test_rates_that_cannot_be_resampled(tmp_path, rate):
    path = write(tmp_path / "a.wav", noise(8000), rate)
    with pytest.raises(InputError, match=rf"says {rate} Hz, which cannot be resampled"):
        read_header(path)
