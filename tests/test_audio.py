"""Audio files of many kinds, whole and damaged."""

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sercorr.data.audio import AudioInfo, read_audio, read_header
from sercorr.errors import InputError


def noise(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return (frames, channels) noise that 16 bits hold exactly."""
    values = np.random.default_rng(seed).integers(-20000, 20000, (frames, channels))
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
        ("a.aiff", {"subtype": "PCM_16"}),
        ("ä é.wav", {"subtype": "PCM_16"}),
    ],
)
def test_every_format_gives_the_same_samples(tmp_path, caplog, name, kind):
    sound = noise(1234)
    path = write(tmp_path / name, sound, **kind)
    assert read_header(path) == AudioInfo(1234, 16000, 1)
    with caplog.at_level(logging.INFO):
        clip = read_audio(str(path))
    assert not caplog.messages
    assert str(clip.dtype) == "torch.float32"
    np.testing.assert_array_equal(clip.numpy(), sound[:, 0].astype(np.float32))


def test_channels_are_mixed_down_by_their_mean_with_one_note(tmp_path, caplog):
    sound = noise(800, channels=3)
    path = write(tmp_path / "a.wav", sound)
    with caplog.at_level(logging.WARNING):
        clip = read_audio(path)
        read_audio(path)
    np.testing.assert_allclose(clip.numpy(), sound.mean(axis=1), atol=1e-7)
    assert caplog.messages == [f"{path}: 3 channels, mixed down to one by their mean"]


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_rate_is_resampled_with_one_note(tmp_path, caplog, rate):
    """A tone of 1 kHz stays that tone, as a formula says."""
    sound = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    path = write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        clip = read_audio(path).numpy()
        read_audio(path)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert len(clip) == 16000
    np.testing.assert_allclose(clip[500:-500], expected[500:-500], atol=2e-3)
    assert caplog.messages == [f"{path}: {rate} Hz, resampled to 16000 Hz"]


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


TEXT = b"this is a text, whatever its name says\n" * 50


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", None, r"a\.wav: missing: there is no such file"),
        ("", None, r"cannot be read \(Is a directory\)"),
        ("a.wav", b"", r"a\.wav: empty: the file has 0 bytes"),
        ("a.wav", riff(FORMAT, (b"data", b"")), r"a\.wav: empty: .* no samples"),
        ("a.wav", TEXT, r"a\.wav: not readable as audio"),
        ("a.raw", TEXT, r"a\.raw: not readable as audio"),
    ],
)
def test_a_file_without_audio(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (read_header, read_audio):
        with pytest.raises(InputError, match=message):
            read(path)


@pytest.mark.parametrize("lost", [1, 2, 16000, 31999, 32000])
def test_a_truncated_wav_says_what_was_promised_and_found(tmp_path, lost):
    path = write(tmp_path / "a.wav", noise(16000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - lost])
    expected = (
        rf"a\.wav: truncated: its header promises 32000 bytes \(1\.00 s\) of audio, "
        rf"{32000 - lost} bytes \({(32000 - lost) / 32000:.2f} s\) are there"
    )
    for read in (read_header, read_audio):
        with pytest.raises(InputError, match=expected):
            read(path)


def test_a_wav_cut_off_before_its_audio(tmp_path):
    path = write(tmp_path / "a.wav", noise(16000))
    whole = path.read_bytes()
    for kept in (12, 20, 30, 40):
        path.write_bytes(whole[:kept])
        message = rf"truncated: its header promises 32044 bytes .* {kept} bytes"
        with pytest.raises(InputError, match=message):
            read_header(path)


def test_a_truncated_wav_with_other_chunks_before_its_audio(tmp_path):
    samples = noise(800)[:, 0]
    data = (samples * 32768).astype("<i2").tobytes()
    whole = riff((b"LIST", b"INFOodd"), FORMAT, (b"junk", b"xyz"), (b"data", data))
    path = tmp_path / "a.wav"
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_audio(path).numpy(), samples.astype("f4"))
    path.write_bytes(whole[:-600])
    with pytest.raises(InputError, match=r"promises 1600 bytes .* 1000 bytes"):
        read_header(path)


def test_a_wav_from_a_pipe_promises_no_length(tmp_path):
    samples = noise(800)[:, 0]
    data = (samples * 32768).astype("<i2").tobytes()
    content = riff(FORMAT, (b"data", data), total=0xFFFFFFFF)
    size = b"data" + struct.pack("<I", len(data))
    path = tmp_path / "a.wav"
    path.write_bytes(content.replace(size, b"data\xff\xff\xff\xff"))
    np.testing.assert_array_equal(read_audio(path).numpy(), samples.astype("f4"))


def test_a_truncated_flac(tmp_path):
    path = write(tmp_path / "a.flac", noise(48000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.flac: truncated"):
        read_audio(path)


def test_samples_that_are_not_finite(tmp_path):
    sound = noise(2000, channels=2)
    sound[700, 1] = np.nan
    sound[900, :] = np.inf
    sound[1999, 0] = -np.inf
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    assert read_header(path).frames == 2000
    expected = r"a\.wav: 3 of 2000 samples are not finite .* the first at index 700"
    with pytest.raises(InputError, match=expected):
        read_audio(path)


@pytest.mark.parametrize(("frames", "rate"), [(399, 16000), (199, 8000)])
def test_a_clip_shorter_than_a_frame(tmp_path, frames, rate):
    path = write(tmp_path / "a.wav", noise(frames), rate)
    found = frames * 16000 // rate
    with pytest.raises(InputError, match=rf"too short: {found} samples .* needs 400"):
        read_audio(path)
    assert len(read_audio(write(path, noise(frames + 1), rate))) == 400


def test_rates_that_nobody_records_at(tmp_path):
    path = write(tmp_path / "a.wav", noise(800), 7)
    with pytest.raises(InputError, match=r"its header says 7 Hz"):
        read_header(path)
    path = write(tmp_path / "b.wav", noise(8000), 44101)
    with pytest.raises(InputError, match=r"44101 Hz has no simple ratio to 16000 Hz"):
        read_audio(path)
