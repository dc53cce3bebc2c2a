"""A folder of features: one entry per clip, tied to the clip's content.

Reading writes and locks nothing, so that a read-only folder serves. An entry is
written beside its place, brought to the disk and renamed: after a kill or a loss of
power it is whole or absent.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from sercorr.errors import InputError
from sercorr.features.entry import (
    ABOUT,
    FORMAT,
    METADATA,
    TENSOR,
    BadEntryError,
    describe_entry,
    entry_path,
    folder_name,
    open_entry,
    read_about,
    require_checksum,
)
from sercorr.files import atomic_path, make_folder, read_json, write_json
from sercorr.lobes.upstream.frozen import UpstreamInfo

AUDIO_VERSION = 3
"""Raised when `sercorr.data.audio.read_samples` gives other samples for a file."""

DTYPES = ("float16", "bfloat16", "float32")
"""Stored precisions, as the setting ``cache_dtype`` names them."""

COMPUTED = "computed.json"
"""How entries are computed, as far as only last bits depend on it."""

_HEADER_BYTES = 512  # more than any header has


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
        This store's own folder, named by all that decides the values (``about``).

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
        if dtype not in DTYPES:
            raise InputError(
                f"cache_dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}"
            )
        self.about: dict[str, Any] = {
            "format": FORMAT,
            "upstream": info.identity(),
            "audio": AUDIO_VERSION,
            "dtype": dtype,
            "layers": "all" if info.layers is None else list(info.layers),
        }
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.folder = Path(cache_folder) / folder_name(self.about)
        self._sizes = (info.num_layers, info.output_size)

    def path(self, audio: str) -> Path:
        """Say where the entry of an audio file is, or would be, by its SHA-256."""
        return entry_path(self.folder, audio)

    def entry_bytes(self, frames: int) -> int:
        """Count the bytes of the entry of a clip of ``frames`` frames, at most."""
        layers, size = self._sizes
        return _HEADER_BYTES + layers * frames * size * self.dtype.itemsize

    def check(self, audio: str, verify: bool = True) -> dict[str, Any]:
        """Check an entry as `read` does; see `sercorr.features.entry.open_entry`."""
        return open_entry(self.path(audio), self.folder, verify)[0]

    def has(self, audio: str) -> bool:
        """Whether there is an entry that looks whole; its numbers are not read."""
        try:
            self.check(audio, verify=False)
        except BadEntryError:
            return False
        return True

    def read(self, audio: str, verify: bool = True) -> torch.Tensor:
        """Read an entry, (L, T, D), or raise a `BadEntryError`.

        It is not mapped: where memory is short, the system forgets what is, and has to
        read it twice. With ``verify``, every byte is compared with the checksum.
        """
        path = self.path(audio)
        if hasattr(os, "posix_fadvise"):  # begins to read all of it
            with contextlib.suppress(OSError), open(path, "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        fields, file = open_entry(path, self.folder)
        shape = file.get_slice(TENSOR).get_shape()
        layers = torch.empty(shape, dtype=self.dtype)
        numbers = layers.view(-1).view(torch.uint8).numpy()
        with open(path, "rb") as opened:
            opened.seek(-len(numbers), os.SEEK_END)  # the file ends with them
            if opened.readinto(numbers.data) < len(numbers):
                raise BadEntryError(path, "truncated while it was read")
        if verify:
            require_checksum(path, fields, numbers)
        return layers

    def write(self, audio: str, layers: torch.Tensor, samples: int) -> None:
        """Write an entry, whole or not at all; an old one is replaced.

        ``layers`` (L, T, D) are converted to the stored precision. `InputError` if
        the disk is full.
        """
        stored = layers.to("cpu", self.dtype).contiguous()
        numbers = stored.reshape(-1).view(torch.uint8).numpy()
        signature = self.folder.name.rpartition("-")[2]
        text = describe_entry(signature, audio, samples, numbers)
        # save_file would hide which error the system gives
        content = save({TENSOR: stored}, metadata={METADATA: text})
        try:
            with atomic_path(self.path(audio)) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"{self.folder}: the disk is full; the clips finished so far are "
                "kept: make room and run the same command again to go on"
            ) from None

    @property
    def threads(self) -> int | None:
        """Threads that entries are computed with; None if there are none yet."""
        path = self.folder / COMPUTED
        return read_json(path)["threads"] if path.exists() else None

    def open_for_writing(self, threads: int | None = None) -> None:
        """Make the folder and describe it in ``about.json``.

        ``threads`` that compute (None: as many as torch has) are put on record beside
        it, unless others are.
        """
        make_folder(self.folder)
        if self.threads is None:
            threads = threads or torch.get_num_threads()
            write_json(self.folder / COMPUTED, {"threads": threads})
        try:
            read_about(self.folder)
        except InputError:
            write_json(self.folder / ABOUT, self.about)
