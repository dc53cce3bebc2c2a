"""The files of a feature store: what they are called and what they say of themselves.

    <cache_folder>/<kind of model>-<digest>/about.json
    <cache_folder>/<kind of model>-<digest>/entries/<2 digits>/<sha256>.safetensors

The folder's digest is that of ``about.json``, which holds all that decides the values;
an entry's name is the SHA-256 of the audio file. Whatever changes, changes a name, so
that nothing stale can be found.

An entry is a safetensors file with one tensor, ``layers`` (L, T, D), and one
metadata key with one sorted JSON (several keys would come in random order), so that
equal features make equal files. A CRC-32 over that JSON and the numbers finds every
flipped bit there; one in the rest of the header makes it unreadable.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sercorr.errors import InputError
from sercorr.files import json_digest, read_json

FORMAT = 2
"""Raised when entries are laid out otherwise."""

ABOUT = "about.json"
ENTRIES = "entries"
TENSOR = "layers"
METADATA = "sercorr"

_BYTES = {"F16": 2, "BF16": 2, "F32": 4}


class BadEntryError(InputError):
    """An entry (the file, and what is wrong with it) is truncated, damaged, foreign."""

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}; extract the features again"


class MissingEntryError(BadEntryError):
    """A clip has no entry."""


def describe_entry(signature: str, audio: str, samples: int, numbers: Any) -> str:
    """Write the JSON that an entry carries; ``numbers`` are the tensor's bytes.

    Example
    -------
    >>> describe_entry("12", "ab", 400, b"numbers")
    '{"audio":"ab","checksum":"a734c082","samples":400,"signature":"12"}'
    """
    fields = {"signature": signature, "audio": audio, "samples": samples}
    checksum = zlib.crc32(numbers, zlib.crc32(_json(fields).encode()))
    return _json({**fields, "checksum": f"{checksum:08x}"})


def open_entry(
    path: Path, folder: Path, verify: bool = False, framework: str = "np"
) -> tuple[dict[str, Any], Any]:
    """Open an entry and check that it is whole, and what its name and place promise.

    With ``verify``, all numbers are read (about 1 GB a second) and compared with the
    checksum. Without, it is quick: safetensors compares the size with the header.

    Returns
    -------
    fields : dict
        ``signature`` (of the store), ``audio`` (SHA-256), ``samples`` (at 16 kHz),
        ``checksum``.
    file : safetensors.safe_open
        Maps the file and gives tensors of ``framework``, ``np`` or ``pt``.

    Raises
    ------
    BadEntryError
        The file is missing (`MissingEntryError`), truncated or damaged, or it is
        another model's, precision's or clip's.
    """
    try:
        file = safe_open(path, framework=framework)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingEntryError(path, "not in the feature store") from None
    except SafetensorError as error:
        raise BadEntryError(path, f"truncated, too long or damaged ({error})") from None
    try:
        text = file.metadata()[METADATA]
        layers = file.get_slice(TENSOR)
        size = math.prod(layers.get_shape()) * _BYTES[layers.get_dtype()]
        fields = json.loads(text)
        signature, audio = fields["signature"], fields["audio"]
        names = {"signature", "audio", "samples", "checksum"}
        whole = _json(fields) == text and fields.keys() == names
    except (ValueError, KeyError, TypeError, SafetensorError):
        whole = False
    if not whole:
        raise BadEntryError(path, "its header is damaged or of another program")
    expected = folder.name.rpartition("-")[2]
    if signature != expected:
        reason = f"foreign: its signature is {signature}, not {expected}"
        raise BadEntryError(path, reason)
    if path != entry_path(folder, audio):
        raise BadEntryError(path, f"foreign: its audio is {audio}")
    if verify:
        numbers = np.memmap(path, np.uint8, "r")[-size:]  # the file ends with them
        require_checksum(path, fields, numbers)
    return fields, file


def require_checksum(path: Path, fields: dict[str, Any], numbers: Any) -> None:
    """Compare the tensor's bytes with the checksum in what `open_entry` gives.

    `BadEntryError` if they do not fit it.
    """
    signature, audio, samples = (fields[k] for k in ("signature", "audio", "samples"))
    if describe_entry(signature, audio, samples, numbers) != _json(fields):
        raise BadEntryError(path, "corrupt: its bytes do not fit their checksum")


def entry_path(folder: Path, audio: str) -> Path:
    """Say where the entry of an audio file is, or would be."""
    return folder / ENTRIES / audio[:2] / f"{audio}.safetensors"


def folder_name(about: dict[str, Any]) -> str:
    """Name a store's folder by what decides its values."""
    return f"{about['upstream']['model_type']}-{json_digest(about)}"


def read_about(folder: Path) -> dict[str, Any]:
    """Read ``about.json``; an `InputError` if the folder's name does not follow."""
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


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
