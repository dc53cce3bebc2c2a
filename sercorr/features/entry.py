"""One file of a feature cache: a header that vouches for every byte, then the layers.

An entry is a safetensors file with one tensor, ``layers`` (L + 1, T, D). Its header
has a fixed size and a single possible form, so that equal features make equal files,
the numbers start at a multiple of 64 bytes, and a damaged header shows by itself. A
CRC-32 over header and numbers finds every flipped bit.
"""

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open

HEADER_BYTES = 512
"""Size of the header, with the eight bytes that hold its length."""

TENSOR = "layers"

_CODES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}  # of safetensors
_NAMES = {code: name for name, code in _CODES.items()}
_SIZES = {"float16": 2, "bfloat16": 2, "float32": 4}
_UNSIGNED = "0" * 8


@dataclasses.dataclass(frozen=True)
class EntryHeader:
    """What an entry says of itself.

    Arguments
    ---------
    signature : str
        Digest of the cache's `Signature`.
    audio : str
        SHA-256 of the audio file's bytes.
    samples : int
        Length of the clip at 16 kHz.
    dtype : str
        Stored precision.
    shape : tuple of int
        (L + 1, T, D).
    checksum : str
        CRC-32 of the header (with zeros in its place) and the numbers, in hexadecimal.
    """

    signature: str
    audio: str
    samples: int
    dtype: str
    shape: tuple[int, int, int]
    checksum: str = _UNSIGNED

    @property
    def data_bytes(self) -> int:
        """Bytes of the numbers."""
        layers, frames, size = self.shape
        return layers * frames * size * _SIZES[self.dtype]

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return HEADER_BYTES + self.data_bytes

    def encode(self) -> bytes:
        """Return the file's first 512 bytes.

        Example
        -------
        >>> header = EntryHeader("ab", "cd", 16000, "float16", (3, 49, 32))
        >>> EntryHeader.decode(header.encode()) == header
        True
        """
        metadata = {
            "audio": self.audio,
            "checksum": self.checksum,
            "frames": str(self.shape[1]),
            "samples": str(self.samples),
            "signature": self.signature,
        }
        tensor = {
            "dtype": _CODES[self.dtype],
            "shape": list(self.shape),
            "data_offsets": [0, self.data_bytes],
        }
        content = {"__metadata__": metadata, TENSOR: tensor}
        text = json.dumps(content, separators=(",", ":")).encode("ascii")
        length = HEADER_BYTES - 8
        return struct.pack("<Q", length) + text.ljust(length)

    @classmethod
    def decode(cls, raw: bytes) -> "EntryHeader":
        """Read what `encode` wrote.

        Raises
        ------
        ValueError
            The bytes are anything else.
        """
        try:
            content = json.loads(raw[8:])
            metadata, tensor = content["__metadata__"], content[TENSOR]
            header = cls(
                signature=metadata["signature"],
                audio=metadata["audio"],
                samples=int(metadata["samples"]),
                dtype=_NAMES[tensor["dtype"]],
                shape=tuple(tensor["shape"]),
                checksum=metadata["checksum"],
            )
            whole = header.encode() == raw
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise ValueError("its header is damaged or of another program")
        return header


def write_entry(file: BinaryIO, header: EntryHeader, layers: torch.Tensor) -> None:
    """Write an entry; its checksum is computed here.

    Arguments
    ---------
    file : binary file
        Open for writing.
    header : EntryHeader
        Without a checksum.
    layers : torch.Tensor
        (L + 1, T, D) in the header's shape and precision, on the CPU.

    Raises
    ------
    ValueError
        Header and layers disagree.
    """
    dtype = str(layers.dtype).removeprefix("torch.")
    if (tuple(layers.shape), dtype) != (header.shape, header.dtype):
        raise ValueError(
            f"layers must be {header.shape} in {header.dtype} "
            f"(got {tuple(layers.shape)} in {dtype})"
        )
    data = _bytes_of(layers)
    signed = dataclasses.replace(header, checksum=_checksum(header, data))
    file.write(signed.encode())
    file.write(data)


def read_header(path: Path) -> EntryHeader:
    """Read an entry's header and compare the file's size with it.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Says what is wrong with the file.
    """
    with open(path, "rb") as file:
        raw = file.read(HEADER_BYTES)
        size = file.seek(0, 2)
    if len(raw) < HEADER_BYTES:
        raise ValueError(f"truncated: it has {size} bytes, its header {HEADER_BYTES}")
    header = EntryHeader.decode(raw)
    if size != header.file_bytes:
        kind = "truncated" if size < header.file_bytes else "too long"
        raise ValueError(
            f"{kind}: it has {size} bytes, its header promises {header.file_bytes}"
        )
    return header


def map_layers(path: Path) -> torch.Tensor:
    """Map an entry's layers (L + 1, T, D) into memory.

    Nothing is read yet, but where the system can be told to, it begins to read ahead.
    """
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
    with safe_open(path, framework="pt", device="cpu") as file:
        return file.get_tensor(TENSOR)


def require_checksum(header: EntryHeader, layers: torch.Tensor) -> None:
    """Read all of an entry's numbers and compare them with the checksum.

    Raises
    ------
    ValueError
        They differ.
    """
    found = _checksum(
        dataclasses.replace(header, checksum=_UNSIGNED), _bytes_of(layers)
    )
    if found != header.checksum:
        raise ValueError(
            f"corrupt: the checksum of its bytes is {found}, its header says "
            f"{header.checksum}"
        )


def _checksum(unsigned: EntryHeader, data: memoryview) -> str:
    return f"{zlib.crc32(data, zlib.crc32(unsigned.encode())):08x}"


def _bytes_of(layers: torch.Tensor) -> memoryview:
    flat = layers.contiguous().reshape(-1).view(torch.uint8)
    return memoryview(flat.numpy())
