"""Audio files of many kinds, whole and damaged."""

import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sercorr.data.audio import (
    AudioInfo,
    read_audio,
    read_blocks,
    read_header,
    read_samples,
)
from sercorr.data.resampling import resample
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ogg vorbis.ogg", {"subtype": "VORBIS"}),
        ("opus.ogg", {"subtype": "OPUS"}),
        ("голос 声.mp3", {}),
        ("ulaw.au", {"subtype": "ULAW"}),
        ("adpcm.wav", {"subtype": "IMA_ADPCM"}),
    ],
)
def test_formats_that_lose_a_little(tmp_path, name, kind):
    """A tone comes back as that tone, in its place."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    sound = np.stack([tone, tone], axis=1)
    path = write(tmp_path / name, sound, 48000, **kind)
    clip = read_samples(path)
    assert len(clip) == read_header(path).samples
    np.testing.assert_allclose(clip[500:15500], tone[::3][500:15500], atol=0.03)


def test_channels_are_mixed_down_by_their_mean(tmp_path):
    sound = noise(800, channels=3)
    clip = read_audio(write(tmp_path / "a.wav", sound)).numpy()
    np.testing.assert_allclose(clip, sound.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 44101, 48000])
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


@pytest.mark.filterwarnings("error")
def test_samples_that_are_not_finite(tmp_path):
    sound = noise(2000, channels=2)
    sound[700, 1], sound[900], sound[1999, 0] = np.nan, [np.inf, -np.inf], np.inf
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


@pytest.mark.parametrize("rate", [7, 768001])
def test_rates_that_cannot_be_resampled(tmp_path, rate):
    path = write(tmp_path / "a.wav", noise(8000), rate)
    with pytest.raises(InputError, match=rf"says {rate} Hz, which cannot be resampled"):
        read_header(path)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.123456, 0.9), (1.7, None)])
def test_a_part_is_what_it_would_be_as_a_file(tmp_path, rate, name, start, end):
    path = write(tmp_path / name, noise(2 * rate, channels=2), rate)
    frames, _ = soundfile.read(path, dtype="float32")
    stop = len(frames) if end is None else round(end * rate)
    cut = frames[round(start * rate) : stop]
    own = write(tmp_path / "own.wav", cut, rate, subtype="FLOAT")
    part = read_samples(path, start, end)
    # The decoder of mp3 below 32 kHz rounds by where, and how much, it is asked.
    atol = 3e-7 if name == "a.mp3" and rate == 16000 else 0
    np.testing.assert_allclose(part, read_samples(own), rtol=0, atol=atol)
    mixed = resample(cut.mean(axis=1), rate)
    np.testing.assert_allclose(part, mixed, rtol=0, atol=atol)


def test_mp3_of_varying_bit_rate_is_read_without_seeking(tmp_path):
    """Seeking there gives other samples, and soundfile seeks after each reading."""
    rate, generator = 44100, np.random.default_rng(0)
    times = np.arange(40 * rate) / rate
    sound = 0.3 * np.sin(2 * np.pi * (200 + 20 * np.sin(times / 3)) * times)
    sound += 0.2 * generator.standard_normal(len(times)) * (np.sin(2 * times) > 0)
    path = tmp_path / "vbr.mp3"
    soundfile.write(
        path, sound, rate, "MPEG_LAYER_III", compression_level=0.5,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    whole, _ = soundfile.read(path, dtype="float32")  # in one piece
    np.testing.assert_allclose(read_samples(path), resample(whole, rate), atol=1e-6)
    for start in generator.uniform(0, 37, size=12).round(3):
        part = whole[round(start * rate) : round((start + 2) * rate)]
        found = read_samples(path, start, start + 2)
        np.testing.assert_allclose(found, resample(part, rate), atol=1e-6)


def test_a_part_may_end_a_rounding_behind_the_file(tmp_path):
    path = write(tmp_path / "a.wav", noise(8006), 8000)  # 1.00075 s
    np.testing.assert_array_equal(read_samples(path, 0, 1.001), read_samples(path))
    np.testing.assert_array_equal(
        read_samples(path, 0.5, 1.001), read_samples(path, 0.5)
    )


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (-0.5, 0.5, r"there is no part from -0\.5 s to 0\.5 s: the file lasts 1\.0"),
        (0.5, 0.5, r"from 0\.5 s to 0\.5 s: the file lasts 1\.000 s; mend start and"),
        (0.5, 0.2, r"from 0\.5 s to 0\.2 s: the file lasts 1\.000 s"),
        (0.5, 1.01, r"from 0\.5 s to 1\.01 s: the file lasts 1\.000 s"),
        (1.0, None, r"from 1\.0 s to its end: the file lasts 1\.000 s"),
        (0.0, float("inf"), r"from 0\.0 s to inf s: the file lasts 1\.000 s"),
        (float("nan"), 1.0, r"from nan s to 1\.0 s: the file lasts 1\.000 s"),
        (0.0, float("nan"), r"from 0\.0 s to nan s: the file lasts 1\.000 s"),
        (0.5, 0.52, r"from 0\.5 s to 0\.52 s: too short: 320 samples at 16000 Hz"),
        (1.0, 1.001, r"from 1\.0 s to 1\.001 s: too short: 0 samples at 16000 Hz"),
    ],
)
def test_a_part_that_is_not_there(tmp_path, start, end, message):
    path = write(tmp_path / "a.wav", noise(8000), 8000)
    with pytest.raises(InputError, match=rf"a\.wav.* {message}"):
        read_blocks(path, start=start, end=end)  # before the first block is asked for
    with pytest.raises(InputError, match=rf"a\.wav.* {message}"):
        read_samples(path, start, end)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seconds", [0.001, 0.37, 100.0])
def test_blocks_are_the_samples(tmp_path, rate, channels, seconds):
    path = write(tmp_path / "a.flac", noise(rate + 7, channels), rate)
    blocks = list(read_blocks(path, seconds))
    assert min(len(block) for block in blocks) > 0
    assert max(len(block) for block in blocks) <= min(seconds, 2) * 16000 + 16
    np.testing.assert_array_equal(np.concatenate(blocks), read_samples(path))
    blocks = list(read_blocks(path, seconds, start=0.2, end=0.8))
    np.testing.assert_array_equal(np.concatenate(blocks), read_samples(path, 0.2, 0.8))


def test_a_long_file_is_read_in_little_memory(tmp_path):
    path = write(tmp_path / "a.wav", noise(60 * 48000), 48000)
    for _ in read_blocks(path, end=1):
        pass  # imports scipy
    tracemalloc.start()
    try:
        count = sum(len(block) for block in read_blocks(path, seconds=0.5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60 * 16000
    assert peak < 1_000_000  # all samples at 16 kHz take 3.8 MB


def test_blocks_come_until_the_damage(tmp_path):
    sound = noise(4 * 8000, channels=2)
    sound[25000, 1] = np.nan
    path = write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    blocks = read_blocks(path, seconds=1)
    assert sum(len(next(blocks)) for _ in range(3)) > 3 * 16000 - 20
    with pytest.raises(InputError, match=r"a\.wav: 1 of 8000 .* first at index 25000;"):
        next(blocks)
    assert len(read_samples(path, 0, 3.1)) == 49600
    with pytest.raises(InputError, match=r"first at index 25000;"):
        read_samples(path, 3.1, 3.2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.flac", r"truncated or damaged: its samples cannot be decoded"),
        ("a.mp3", r"truncated: its header promises 48000 samples .*, at most \d+ are"),
    ],
)
def test_blocks_of_a_truncated_file(tmp_path, name, message):
    path = write(tmp_path / name, noise(48000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    blocks = read_blocks(path, seconds=1)
    assert len(next(blocks)) == 16000
    for read in (lambda: next(blocks), lambda: read_samples(path, 2.5)):
        with pytest.raises(InputError, match=rf"{name}: {message}"):
            read()


def test_a_truncated_mp3_says_what_is_there(tmp_path):
    path = write(tmp_path / "a.mp3", noise(48000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    for seconds in (1, 10):
        with pytest.raises(InputError, match=r"48000 .*, at most 3\d{4} are there"):
            list(read_blocks(path, seconds))


def test_samples_are_read_without_torch(tmp_path):
    path = write(tmp_path / "a.wav", noise(8000), 8000)
    program = (
        "import sys\n"
        "from sercorr.data.audio import read_samples\n"
        "print(len(read_samples(sys.argv[1])), 'scipy' in sys.modules,"
        " {'torch', 'torchaudio'} & set(sys.modules))"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", program, path],
        cwd=Path(__file__).parents[1],
        text=True,
        timeout=60,
    )
    assert printed == "16000 True set()\n"
