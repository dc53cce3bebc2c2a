"""The files of a feature store: what they are called and what they say of themselves.

    <cache_folder>/<kind of model>-<digest>/about.json
    <cache_folder>/<kind of model>-<digest>/entries/<2 digits>/<sha256>.safetensors

The folder's digest is that of ``about.json``, which holds all that decides the values;
an entry's name is the SHA-256 of the audio file. Whatever changes, changes a name, so
that nothing stale can be found.

An entry is a safetensors file with one tensor, ``layers`` (L + 1, T, D), and one
metadata key with one sorted JSON (several keys would come in random order), so that
equal features make equal files. A CRC-32 over that JSON and the numbers finds every
flipped bit there; one in the rest of the header makes it unreadable.
"""

import dataclasses
import json
import math
import mmap
import zlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sercorr.errors import InputError
from sercorr.files import json_digest, read_json

FORMAT = 2
"""Raised when entries are laid out otherwise."""

ABOUT = "about.json"
ENTRIES = "entries"
TENSOR = "layers"
METADATA = "sercorr"

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


class BadEntryError(InputError):
    """An entry is truncated, damaged or foreign.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    reason : str
        What is wrong with it.
    """

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}; extract the features again"


class MissingEntryError(BadEntryError):
    """A clip has no entry."""


@dataclasses.dataclass(frozen=True)
class EntryHeader:
    """What an entry says of itself.

    Arguments
    ---------
    signature : str
        Digest of the store's ``about.json``.
    audio : str
        SHA-256 of the audio file's bytes.
    samples : int
        Length of the clip at 16 kHz.
    checksum : str
        CRC-32 of the JSON without the checksum, then the numbers; in hexadecimal.
    dtype : str
        Stored precision.
    shape : tuple of int
        (L + 1, T, D).
    """

    signature: str
    audio: str
    samples: int
    checksum: str
    dtype: str
    shape: tuple[int, int, int]


def describe_entry(signature: str, audio: str, samples: int, numbers: Any) -> str:
    """Write the JSON that an entry carries.

    Arguments
    ---------
    signature, audio, samples
        See `EntryHeader`.
    numbers : bytes-like
        The tensor's bytes.

    Example
    -------
    >>> describe_entry("12", "ab", 400, b"numbers")
    '{"audio":"ab","checksum":"a734c082","samples":400,"signature":"12"}'
    """
    fields = {"signature": signature, "audio": audio, "samples": samples}
    return _json({**fields, "checksum": _checksum(fields, numbers)})


def open_entry(
    path: Path, folder: Path, verify: bool = False, framework: str = "np"
) -> tuple[EntryHeader, Any]:
    """Open an entry and check that it is whole, and what its name and place promise.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    folder : pathlib.Path
        The store's folder, in which `entry_path` says where it belongs.
    verify : bool
        Read all numbers (about 1 GB a second) and compare them with the checksum.
        Without, it is quick: safetensors compares the file's size with its header.
    framework : str
        Of the tensors that the open file gives: ``np`` or ``pt``.

    Returns
    -------
    header : EntryHeader
        What the entry says of itself.
    file : safetensors.safe_open
        Maps the file; closed when it is let go.

    Raises
    ------
    MissingEntryError
        There is none.
    BadEntryError
        The file is truncated or damaged, or it is another model's, precision's or
        clip's.
    """
    try:
        file = safe_open(path, framework=framework)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingEntryError(path, "not in the feature store") from None
    except SafetensorError as error:
        raise BadEntryError(path, f"truncated, too long or damaged ({error})") from None
    try:
        text = file.metadata()[METADATA]
        numbers = file.get_slice(TENSOR)
        shape, dtype = tuple(numbers.get_shape()), _DTYPES[numbers.get_dtype()]
        fields = json.loads(text)
        header = EntryHeader(**fields, dtype=dtype, shape=shape)
        whole = _json(fields) == text
    except (ValueError, KeyError, TypeError, SafetensorError):
        whole = False
    if not whole:
        raise BadEntryError(path, "its header is damaged or of another program")
    signature = folder.name.rpartition("-")[2]
    if header.signature != signature:
        reason = f"foreign: its signature is {header.signature}, not {signature}"
        raise BadEntryError(path, reason)
    if path != entry_path(folder, header.audio):
        raise BadEntryError(path, f"foreign: its audio is {header.audio}")
    if verify:
        found = _checksum_of(path, header)
        if found != header.checksum:
            reason = f"the checksum of its bytes is {found}, not {header.checksum}"
            raise BadEntryError(path, f"corrupt: {reason}")
    return header, file


def entry_path(folder: Path, audio: str) -> Path:
    """Say where the entry of an audio file is, or would be."""
    return folder / ENTRIES / audio[:2] / f"{audio}.safetensors"


def folder_name(about: dict[str, Any]) -> str:
    """Name a store's folder by what decides its values."""
    return f"{about['upstream']['model_type']}-{json_digest(about)}"


def read_about(folder: Path) -> dict[str, Any]:
    """Read ``about.json`` of a folder and check that the folder's name follows from it.

    Raises
    ------
    InputError
        The file is missing, broken, or made for a folder of another name.
    """
    path = folder / ABOUT
    about = read_json(path)
    try:
        name = folder_name(about)
    except (KeyError, TypeError):
        name = None
    if name != folder.name:
        raise InputError(
            f"{path}: foreign: it describes {name or 'no features'}, not "
            f"{folder.name}; remove the folder, or extract the features again"
        )
    return about


def _checksum_of(path: Path, header: EntryHeader) -> str:
    size = math.prod(header.shape) * _BYTES[header.dtype]  # the file ends with them
    fields = {key: getattr(header, key) for key in ("signature", "audio", "samples")}
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
        content[len(content) - size :] as numbers,
    ):
        return _checksum(fields, numbers)


def _checksum(fields: dict[str, Any], numbers: Any) -> str:
    return f"{zlib.crc32(numbers, zlib.crc32(_json(fields).encode())):08x}"


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
