"""Audio files: what their headers promise, and their samples at 16 kHz, mono.

libsndfile quietly shortens a RIFF file that was cut off, so its promise is read here
by hand and compared with the file's size. Other formats (RF64, FLAC, ...) are left to
libsndfile, and a file that gives fewer samples than its header says is refused.

torch is imported where samples are read: preparing a corpus reads headers alone, and
should not wait seconds for it.
"""

import functools
import logging
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

RATES = range(1_000, 768_001)
"""Sampling rates that are believed, in hertz; others come from damaged headers."""

_UNKNOWN_SIZE = 0x7FFFF000  # programs that write to a pipe promise this or more
_UNKNOWN_FRAMES = 1 << 40
_MAX_KERNEL = 50_000_000  # values in the filter bank of the resampler: 200 MB

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Arguments
    ---------
    frames : int
        Length at the file's own rate, in samples of one channel.
    sample_rate : int
        The file's own rate, in hertz.
    channels : int
        Number of channels.

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
        The file is missing, empty, not audio, has no samples, or is a RIFF file
        (.wav) that ends before the end of the data that it promises.

    Example
    -------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.zeros((8000, 2)), 8000)
    >>> read_header(path)
    AudioInfo(frames=8000, sample_rate=8000, channels=2)
    """
    _check_file(path)
    try:
        info = soundfile.info(os.fspath(path))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a .raw file
        raise InputError(
            f"{path}: not readable as audio ({_reason(error)}); "
            "replace it with a WAV or FLAC file"
        ) from None
    if info.frames <= 0:
        raise InputError(f"{path}: empty: its header is whole but it has no samples")
    if info.frames >= _UNKNOWN_FRAMES:
        raise InputError(f"{path}: its header does not say how long it is; convert it")
    if info.samplerate not in RATES:
        raise InputError(
            f"{path}: its header says {info.samplerate} Hz; expected a rate from "
            f"{RATES[0]} to {RATES[-1]} Hz"
        )
    return AudioInfo(info.frames, info.samplerate, info.channels)


def require_one_frame(path: str | os.PathLike, info: AudioInfo) -> None:
    """Refuse a clip that is too short for one frame of 25 ms.

    Arguments
    ---------
    path : path
        Named in the message.
    info : AudioInfo
        Its header.

    Raises
    ------
    InputError
        The clip has fewer than 400 samples at 16 kHz.

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
    """Read a clip as one channel at 16 kHz.

    Several channels are mixed down by their mean and another rate is resampled; each
    is noted in the log, once per file.

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
            f"{path}: truncated or damaged: its samples cannot be decoded "
            f"({_reason(error)}); copy it again"
        ) from None
    if len(frames) != info.frames:
        raise InputError(
            f"{path}: truncated: its header promises {info.frames} samples "
            f"({info.seconds:.2f} s), {len(frames)} "
            f"({len(frames) / info.sample_rate:.2f} s) are there; copy it again"
        )
    _require_finite(path, frames)
    clip = torch.from_numpy(frames.mean(axis=1))  # (frames,)
    if info.channels > 1:
        _note(f"{path}: {info.channels} channels, mixed down to one by their mean")
    if info.sample_rate != SAMPLE_RATE:
        _note(f"{path}: {info.sample_rate} Hz, resampled to {SAMPLE_RATE} Hz")
        clip = _resample(path, clip, info)
    return clip


def _resample(
    path: str | os.PathLike, clip: "torch.Tensor", info: AudioInfo
) -> "torch.Tensor":
    from torch.nn.functional import pad  # noqa: PLC0415
    from torchaudio.functional import resample  # noqa: PLC0415

    common = math.gcd(info.sample_rate, SAMPLE_RATE)
    if (info.sample_rate // common) * (SAMPLE_RATE // common) > _MAX_KERNEL:
        raise InputError(
            f"{path}: {info.sample_rate} Hz has no simple ratio to {SAMPLE_RATE} Hz; "
            "resample the file beforehand"
        )
    # torchaudio counts its output in float32 and may lose the last sample of a long
    # clip; zeros behind the end, which it assumes anyway, make the count exact.
    padded = pad(clip, (0, info.sample_rate))
    resampled = resample(padded, info.sample_rate, SAMPLE_RATE)
    return resampled[: info.samples].contiguous()


def _require_finite(path: str | os.PathLike, frames: np.ndarray) -> None:
    bad = ~np.isfinite(frames).all(axis=1)  # (frames,)
    if bad.any():
        raise InputError(
            f"{path}: {int(bad.sum())} of {len(bad)} samples are not finite (NaN or "
            f"infinity), the first at index {int(bad.argmax())}; replace the file"
        )


def _check_file(path: str | os.PathLike) -> None:
    """Refuse what is no file, empty, or a RIFF file shorter than it promises."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise InputError(f"{path}: empty: the file has 0 bytes; copy it again")
            promise = _riff_promise(file, size)
    except FileNotFoundError:
        raise InputError(f"{path}: missing: there is no such file") from None
    except OSError as error:  # a folder, or no permission
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if promise is not None and promise[0] > promise[1]:
        expected, found, rate = promise
        text = f"{expected} bytes{_in_seconds(expected, rate)}"
        raise InputError(
            f"{path}: truncated: its header promises {text} of audio, "
            f"{found} bytes{_in_seconds(found, rate)} are there; copy it again"
        )


def _riff_promise(file: BinaryIO, size: int) -> tuple[int, int, int] | None:
    """Return bytes promised, bytes found, bytes per second; None: no length said."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    rate = 0
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        start = file.tell()
        if name == b"data":
            return None if length >= _UNKNOWN_SIZE else (length, size - start, rate)
        if name == b"fmt " and length >= 16:
            fields = file.read(16)
            rate = struct.unpack("<I", fields[8:12])[0] if len(fields) == 16 else 0
        file.seek(start + length + length % 2)  # chunks start at even places
    # The end came before the audio: compare the whole file with its promise.
    return struct.unpack("<I", head[4:8])[0] + 8, size, 0


def _in_seconds(count: int, rate: int) -> str:
    return f" ({count / rate:.2f} s)" if rate else ""


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", str(error)).rstrip(".")


@functools.lru_cache(maxsize=65536)
def _note(message: str) -> None:
    """Log a message the first time only: training reads each file in every epoch."""
    logger.warning(message)
