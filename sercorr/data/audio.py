"""Audio files: what their headers promise, and their samples at 16 kHz, mono.

libsndfile quietly shortens a RIFF file that was cut off, so its promise is compared
with the file's size here. torch is imported where samples are read: preparing a corpus
reads headers alone, and should not wait seconds for it.
"""

import math
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError

if TYPE_CHECKING:
    import torch

MIN_SAMPLES = 400
"""Shortest usable clip at 16 kHz: one frame of 25 ms."""

_RATES = range(1_000, 768_001)  # in hertz; others come from damaged headers
_MAX_KERNEL = 50_000_000  # values in the filter bank of the resampler: 200 MB
_UNKNOWN_SIZE = 0x7FFFF000  # programs that write to a pipe promise this or more bytes
_UNKNOWN_FRAMES = 1 << 40  # or this many samples


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says: its own rate (Hz), length at that rate.

    Example
    -------
    >>> info = AudioInfo(frames=44101, sample_rate=44100, channels=2)
    >>> info.samples, round(info.seconds, 4)
    (16001, 1.0)
    """

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate

    @property
    def samples(self) -> int:
        """Length of what `read_audio` returns, in samples at 16 kHz."""
        return -(-self.frames * SAMPLE_RATE // self.sample_rate)  # rounded up


def read_header(path: str | os.PathLike) -> AudioInfo:
    """Read a file's header; no samples are decoded.

    Arguments
    ---------
    path : path
        An audio file of any format that libsndfile knows.

    Returns
    -------
    AudioInfo
        Length, rate and channels.

    Raises
    ------
    InputError
        The file is missing, empty, not audio, has no samples or a rate that cannot be
        resampled, or is a RIFF file (.wav) that ends before the data that it promises.

    Example
    -------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.zeros((8000, 2)), 8000)
    >>> read_header(path)
    AudioInfo(frames=8000, sample_rate=8000, channels=2)
    """
    try:
        with open(path, "rb") as file:
            _check_length(path, file)
        info = soundfile.info(os.fspath(path))
    except FileNotFoundError:
        raise InputError(f"{path}: missing: there is no such file") from None
    except OSError as error:  # a folder, or no permission
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a .raw file
        reason = getattr(error, "error_string", error)
        raise InputError(
            f"{path}: not readable as audio ({reason}); replace it with a WAV or FLAC "
            "file"
        ) from None
    if info.frames <= 0:
        raise InputError(f"{path}: empty: its header is whole but it has no samples")
    if info.frames >= _UNKNOWN_FRAMES:
        raise InputError(f"{path}: its header does not say how long it is; convert it")
    rate = info.samplerate
    kernel = rate * SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE) ** 2
    if rate not in _RATES or kernel > _MAX_KERNEL:
        raise InputError(
            f"{path}: its header says {rate} Hz, which cannot be resampled to "
            f"{SAMPLE_RATE} Hz here; convert the file beforehand"
        )
    return AudioInfo(info.frames, rate, info.channels)


def require_one_frame(path: str | os.PathLike, info: AudioInfo) -> None:
    """Refuse a clip that is too short for one frame of 25 ms; ``path`` is for messages.

    Example
    -------
    >>> require_one_frame("a.wav", AudioInfo(399, 16000, 1))
    Traceback (most recent call last):
    ...
    sercorr.errors.InputError: a.wav: too short: 399 samples at 16000 Hz, but one \
frame of 25 ms needs 400; leave the clip out
    """
    if info.samples < MIN_SAMPLES:
        raise InputError(
            f"{path}: too short: {info.samples} samples at {SAMPLE_RATE} Hz, but one "
            f"frame of 25 ms needs {MIN_SAMPLES}; leave the clip out"
        )


def read_audio(path: str | os.PathLike) -> "torch.Tensor":
    """Read a clip as one channel (the mean of all) at 16 kHz (resampled if need be).

    Arguments
    ---------
    path : path
        An audio file of any format that libsndfile knows.

    Returns
    -------
    torch.Tensor
        (N,), float32, N = ``read_header(path).samples``, at least 400.

    Raises
    ------
    InputError
        Whatever `read_header` refuses, a clip under 400 samples, samples that are
        not finite, or fewer samples than the header says.

    Example
    -------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.full(16000, 0.5), 16000)
    >>> read_audio(path)
    tensor([0.5000, 0.5000, 0.5000,  ..., 0.5000, 0.5000, 0.5000])
    """
    import torch  # noqa: PLC0415

    info = read_header(path)
    require_one_frame(path, info)
    try:
        frames, _ = soundfile.read(os.fspath(path), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{path}: truncated or damaged: its samples cannot be decoded ({error}); "
            "copy it again"
        ) from None
    if len(frames) != info.frames:
        raise InputError(
            f"{path}: truncated: its header promises {info.frames} samples "
            f"({info.seconds:.2f} s), {len(frames)} are there; copy it again"
        )
    bad = ~np.isfinite(frames).all(axis=1)  # (frames,)
    if bad.any():
        raise InputError(
            f"{path}: {int(bad.sum())} of {len(bad)} samples are not finite (NaN or "
            f"infinity), the first at index {int(bad.argmax())}; replace the file"
        )
    clip = torch.from_numpy(frames.mean(axis=1))  # (frames,)
    return clip if info.sample_rate == SAMPLE_RATE else _resample(clip, info)


def _resample(clip: "torch.Tensor", info: AudioInfo) -> "torch.Tensor":
    from torch.nn.functional import pad  # noqa: PLC0415
    from torchaudio.functional import resample  # noqa: PLC0415

    # torchaudio counts its output in float32 and may lose the last sample of a long
    # clip; zeros behind the end, which it assumes anyway, make the count exact.
    padded = pad(clip, (0, info.sample_rate))
    resampled = resample(padded, info.sample_rate, SAMPLE_RATE)
    return resampled[: info.samples].contiguous()


def _check_length(path: str | os.PathLike, file: BinaryIO) -> None:
    """Refuse a file that is empty, or a RIFF file shorter than it promises."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise InputError(f"{path}: empty: the file has 0 bytes; copy it again")
    promised, found, rate = _riff_promise(file, size)
    if found < promised:
        promise, rest = (
            f"{count} bytes" + (f" ({count / rate:.2f} s)" if rate else "")
            for count in (promised, found)
        )
        raise InputError(
            f"{path}: truncated: its header promises {promise} of audio, {rest} are "
            "there; copy it again"
        )


def _riff_promise(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return bytes promised (0: not said), bytes found, bytes per second (or 0)."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0, size, 0
    rate = 0
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        start = file.tell()
        if name == b"data":
            return (0 if length >= _UNKNOWN_SIZE else length), size - start, rate
        if name == b"fmt " and length >= 16 and len(fields := file.read(16)) == 16:
            rate = struct.unpack("<I", fields[8:12])[0]
        file.seek(start + length + length % 2)  # chunks start at even places
    # The end came before the audio: compare the whole file with its promise.
    return struct.unpack("<I", head[4:8])[0] + 8, size, 0
