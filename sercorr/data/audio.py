"""Audio files: what their headers promise, and their samples at 16 kHz, mono.

libsndfile quietly shortens a RIFF file that was cut off, so its promise is compared
with the file's size here. Only `read_audio` imports torch: prediction with an ONNX
model does without it, and preparing a corpus should not wait seconds for it.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import soundfile

from sercorr import SAMPLE_RATE
from sercorr.data.resampling import RATES, Resampler
from sercorr.errors import InputError

if TYPE_CHECKING:
    import torch

MIN_SAMPLES = 400
"""Shortest usable clip at 16 kHz: one frame of 25 ms."""

_SKIPPED = 1 << 16  # samples at a time, where a part cannot be sought
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
        """Length of what `read_samples` returns, in samples at 16 kHz."""
        return -(-self.frames * SAMPLE_RATE // self.sample_rate)  # rounded up


class Part(NamedTuple):
    """What a clip is read from: a file, or the part of it between two seconds."""

    file: str | os.PathLike
    start: float = 0.0
    end: float | None = None  # None: the file's end

    def __str__(self) -> str:
        """Name the part in messages: ``a.wav``, ``a.wav from 1.5 s to 3.0 s``."""
        whole = self.start == 0 and self.end is None
        return os.fspath(self.file) + ("" if whole else f" {self._span}")

    @property
    def _span(self) -> str:
        end = "its end" if self.end is None else f"{self.end} s"
        return f"from {self.start} s to {end}"

    def of(self, info: AudioInfo) -> AudioInfo:
        """Say how long the part is, from the file's header.

        Raises
        ------
        InputError
            The file has no such part.

        Example
        -------
        >>> Part("a.wav", 0.5, 2.0).of(AudioInfo(40000, 16000, 1))
        AudioInfo(frames=24000, sample_rate=16000, channels=1)
        """
        places = self.places(info)
        return AudioInfo(len(places), info.sample_rate, info.channels)

    def places(self, info: AudioInfo) -> range:
        """Give the file's own samples that the part has; errors as for `of`."""
        stop = info.seconds if self.end is None else self.end
        slack = max(0.001, 0.5 / info.sample_rate)  # durations are often rounded
        if not 0 <= self.start < stop <= info.seconds + slack:  # also where one is NaN
            raise InputError(
                f"{os.fspath(self.file)}: there is no part {self._span}: the file "
                f"lasts {info.seconds:.3f} s; mend start and end, in seconds, "
                "0 <= start < end"
            )
        first, last = (
            min(round(time * info.sample_rate), info.frames)
            for time in (self.start, stop)
        )
        return range(first, last)


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
    except UnicodeEncodeError:
        raise InputError(f"{path}: its name is not valid text; rename it") from None
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
    if rate not in RATES:
        raise InputError(
            f"{path}: its header says {rate} Hz, which cannot be resampled to "
            f"{SAMPLE_RATE} Hz here; convert the file beforehand"
        )
    return AudioInfo(info.frames, rate, info.channels)


def require_one_frame(path: str | os.PathLike | Part, info: AudioInfo) -> None:
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


def read_samples(
    path: str | os.PathLike, start: float = 0.0, end: float | None = None
) -> np.ndarray:
    """Read a clip as one channel (the mean of all) at 16 kHz (resampled if need be).

    Arguments
    ---------
    path : path
        An audio file of any format that libsndfile knows.
    start, end : float
        The part to read, in seconds; None for the file's end. It is cut at the file's
        own rate, to the nearest sample, and gives what it would as a file of its own.

    Returns
    -------
    numpy.ndarray
        (N,), float32, at least 400; of a whole file, N = ``read_header(path).samples``.

    Raises
    ------
    InputError
        Whatever `read_header` refuses, a part that is not in the file, a clip under
        400 samples, samples that are not finite, or fewer than the header says.

    Example
    -------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.full(16000, 0.5), 16000)
    >>> read_samples(path)
    array([0.5, 0.5, 0.5, ..., 0.5, 0.5, 0.5], shape=(16000,), dtype=float32)
    >>> len(read_samples(path, 0.25, 0.75))
    8000
    """
    return np.concatenate(list(read_blocks(path, start=start, end=end)))


def read_blocks(
    path: str | os.PathLike,
    seconds: float = 10.0,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[np.ndarray]:
    """Read a clip of any length block by block, in memory for a few blocks.

    Arguments
    ---------
    path, start, end
        As for `read_samples`.
    seconds : float
        How much is read at a time.

    Returns
    -------
    iterator of numpy.ndarray
        (n_i,), float32, of about ``seconds``, none of them empty. Joined, they are to
        the bit what `read_samples` returns, whatever ``seconds`` (to 3e-7 for mp3 files
        below 32 kHz, whose decoder rounds by how much it is asked for).

    Raises
    ------
    InputError
        As for `read_samples`: at once for what the header tells; when the iterator
        comes to them, for samples that are not finite or not there.

    Example
    -------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.zeros(16000), 16000)
    >>> [len(block) for block in read_blocks(path, seconds=0.4)]
    [6400, 6400, 3200]
    """
    info, part = read_header(path), Part(path, start, end)
    places = part.places(info)
    require_one_frame(part, part.of(info))
    size = max(1, round(seconds * info.sample_rate))
    return _decode(path, info, range(places.start, places.stop, size))


def read_audio(
    path: str | os.PathLike, start: float = 0.0, end: float | None = None
) -> "torch.Tensor":
    """Read a clip as `read_samples` does, as a tensor.

    Example
    -------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.wav")
    >>> soundfile.write(path, np.full(16000, 0.5), 16000)
    >>> read_audio(path)
    tensor([0.5000, 0.5000, 0.5000,  ..., 0.5000, 0.5000, 0.5000])
    """
    import torch  # noqa: PLC0415

    return torch.from_numpy(read_samples(path, start, end))


class _Recording(soundfile.SoundFile):
    """A file that is read from beginning to end where seeking cannot be trusted.

    In MP3 files of varying bit rate it leads to other samples, and soundfile seeks
    after each reading of a file that says it can.
    """

    def seekable(self) -> bool:
        return self.format != "MP3" and super().seekable()


def _decode(
    path: str | os.PathLike, info: AudioInfo, places: range
) -> Iterator[np.ndarray]:
    """Read the file's own samples in ``places``, a step at a time, mixed and at 16 kHz.

    What lies before the part is decoded and dropped where seeking cannot be trusted.
    """
    resampler = Resampler(info.sample_rate)
    try:
        with _Recording(os.fspath(path)) as file:
            if file.seekable():
                if places.start:
                    file.seek(places.start)
            else:
                for place in range(0, places.start, _SKIPPED):
                    file.read(min(_SKIPPED, places.start - place), dtype="float32")
            for place in places:
                wanted = min(places.step, places.stop - place)
                frames = file.read(wanted, dtype="float32", always_2d=True)
                if len(frames) != wanted:
                    raise InputError(
                        f"{path}: truncated: its header promises {info.frames} samples "
                        f"({info.seconds:.2f} s), at most {place + len(frames)} are "
                        "there; copy it again"
                    )
                block = _mix(frames)
                bad = ~np.isfinite(block)
                if bad.any():
                    raise InputError(
                        f"{path}: {int(bad.sum())} of {len(bad)} samples are not "
                        "finite (NaN or infinity), the first at index "
                        f"{place + int(bad.argmax())}; replace the file"
                    )
                if len(resampled := resampler.push(block)):
                    yield resampled
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{path}: truncated or damaged: its samples cannot be decoded ({error}); "
            "copy it again"
        ) from None
    if len(rest := resampler.finish()):
        yield rest


def _mix(frames: np.ndarray) -> np.ndarray:
    """Mean of the channels, (n, C) to (n,): numpy's takes 10 times as long for two."""
    total = frames[:, 0].copy()
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported
        for channel in frames.T[1:]:
            total += channel
    return total / np.float32(frames.shape[1])


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
