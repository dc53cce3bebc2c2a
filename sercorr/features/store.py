"""A folder of features: one entry a clip, tied to the clip's content.

    <cache_folder>/<kind of model>-<digest>/about.json
    <cache_folder>/<kind of model>-<digest>/entries/<2 digits>/<sha256>.safetensors

The folder's name follows from all that decides the values (`Signature`), the entry's
from the audio file's bytes: whatever changes, changes the name, and nothing stale can
be found. Reading writes and locks nothing, so that a read-only folder serves.

An entry is written beside its place, brought to the disk and renamed: after a kill or
a loss of power it is whole or absent. A temporary file is locked as long as its
process lives, by which `is_leftover` knows those of dead ones.
"""

import errno
import hashlib
import os
from pathlib import Path

import torch

from sercorr.errors import InputError
from sercorr.features.entry import (
    EntryHeader,
    map_layers,
    read_header,
    require_checksum,
    write_entry,
)
from sercorr.features.signature import DTYPES, Signature
from sercorr.features.temporary import locked_temporary
from sercorr.files import make_folder
from sercorr.lobes.upstream.frozen import UpstreamInfo

ENTRIES = "entries"
SUFFIX = ".safetensors"

_FULL = (errno.ENOSPC, errno.EDQUOT)


class MissingEntryError(InputError):
    """A clip has no entry yet."""


class CorruptEntryError(InputError):
    """An entry is truncated, damaged or foreign."""


class FeatureStore:
    """The features that one upstream gives at one stored precision.

    Arguments
    ---------
    cache_folder : path
        Holds such stores side by side; need not be there yet.
    info : UpstreamInfo
        The upstream.
    dtype : str
        Stored precision: ``float16``, ``bfloat16`` or ``float32``.

    Attributes
    ----------
    folder : pathlib.Path
        This store's own folder.
    signature : Signature
        What decides the values.

    Example
    -------
    >>> import tempfile
    >>> from sercorr.lobes.upstream import upstream_info
    >>> store = FeatureStore(tempfile.mkdtemp(), upstream_info("fbank"))
    >>> store.write("0" * 64, torch.ones(1, 3, 80), samples=400)
    >>> store.read("0" * 64).shape
    torch.Size([1, 3, 80])
    """

    def __init__(
        self,
        cache_folder: str | os.PathLike,
        info: UpstreamInfo,
        dtype: str = "float16",
    ):
        self.signature = Signature.of(info, dtype)
        self.folder = Path(cache_folder) / self.signature.name

    @property
    def dtype(self) -> torch.dtype:
        """The stored precision."""
        return DTYPES[self.signature.dtype]

    def path(self, audio_digest: str) -> Path:
        """Say where the entry of an audio file is, or would be."""
        return self.folder / ENTRIES / audio_digest[:2] / f"{audio_digest}{SUFFIX}"

    def entry_bytes(self, frames: int) -> int:
        """Count the bytes of the entry of a clip of ``frames`` frames."""
        return self._header("", 0, frames).file_bytes

    def header(self, audio_digest: str) -> EntryHeader:
        """Read an entry's header and check that the file is this store's and whole.

        It is quick: the numbers are not read. ``header.shape`` is (L + 1, T, D).

        Raises
        ------
        MissingEntryError
            There is none.
        CorruptEntryError
            The file is truncated, its header is damaged, or it is another's.
        """
        path = self.path(audio_digest)
        try:
            header = read_header(path)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingEntryError(
                f"{path}: not in the feature cache; extract the features first"
            ) from None
        except ValueError as error:
            raise _corrupt(path, error) from None
        for what, found, wanted in (
            ("signature", header.signature, self.signature.digest),
            ("audio", header.audio, audio_digest),
            ("dtype", header.dtype, self.signature.dtype),
            ("number of layers", header.shape[0], self.signature.num_layers),
            ("feature size", header.shape[2], self.signature.size),
        ):
            if found != wanted:
                reason = f"foreign: its {what} is {found}, not {wanted}"
                raise _corrupt(path, reason)
        return header

    def check(self, audio_digest: str, verify: bool = True) -> EntryHeader:
        """Check an entry, with ``verify`` every byte of it, and return its header.

        Raises
        ------
        MissingEntryError, CorruptEntryError
            As `header`.
        """
        header = self.header(audio_digest)
        if verify:
            self._verified(audio_digest, header)
        return header

    def has(self, audio_digest: str) -> bool:
        """Whether there is an entry that looks whole; its numbers are not read."""
        try:
            self.header(audio_digest)
        except (MissingEntryError, CorruptEntryError):
            return False
        return True

    def read(self, audio_digest: str, verify: bool = True) -> torch.Tensor:
        """Read an entry.

        Arguments
        ---------
        audio_digest : str
            From `audio_digest`.
        verify : bool
            Compare every byte with the checksum (about 1 GB a second).

        Returns
        -------
        torch.Tensor
            (L + 1, T, D) in the stored precision, mapped from the file: memory is
            used as pages are touched, and given back with the tensor.

        Raises
        ------
        MissingEntryError, CorruptEntryError
            As `header`; with ``verify``, also where the bytes are not those written.
        """
        header = self.header(audio_digest)
        if verify:
            return self._verified(audio_digest, header)
        return map_layers(self.path(audio_digest))

    def write(self, audio_digest: str, layers: torch.Tensor, samples: int) -> None:
        """Write an entry, whole or not at all; an old one is replaced.

        Arguments
        ---------
        audio_digest : str
            From `audio_digest`.
        layers : torch.Tensor
            (L + 1, T, D), converted to the stored precision.
        samples : int
            Length of the clip at 16 kHz.

        Raises
        ------
        InputError
            The disk is full, or the folder cannot be written.
        ValueError
            The shape is not that of the upstream's layers.
        """
        header = self._header(audio_digest, samples, layers.shape[1])
        path = self.path(audio_digest)
        make_folder(path.parent)
        try:
            with locked_temporary(path) as file:
                write_entry(file, header, layers.to("cpu", self.dtype))
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.fileno(), 0o644)
                os.replace(file.name, path)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise InputError(
                f"{self.folder}: the disk is full; the clips finished so far are "
                "kept: make room and run the same command again to go on"
            ) from None

    def open_for_writing(self) -> None:
        """Make the folder and describe it in ``about.json``."""
        make_folder(self.folder)
        try:
            Signature.read(self.folder)
        except InputError:
            self.signature.write(self.folder)

    def _header(self, audio_digest: str, samples: int, frames: int) -> EntryHeader:
        signature = self.signature
        return EntryHeader(
            signature=signature.digest,
            audio=audio_digest,
            samples=samples,
            dtype=signature.dtype,
            shape=(signature.num_layers, frames, signature.size),
        )

    def _verified(self, audio_digest: str, header: EntryHeader) -> torch.Tensor:
        path = self.path(audio_digest)
        layers = map_layers(path)
        try:
            require_checksum(header, layers)
        except ValueError as error:
            raise _corrupt(path, error) from None
        return layers


def audio_digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def _corrupt(path: Path, reason: Exception | str) -> CorruptEntryError:
    return CorruptEntryError(
        f"{path}: {reason}; remove it, or extract the features again"
    )
