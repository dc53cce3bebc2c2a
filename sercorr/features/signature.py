"""What decides the values in a feature cache, and the name that follows from it."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sercorr.errors import InputError
from sercorr.files import json_digest, read_json, write_json
from sercorr.lobes.upstream.frozen import UpstreamInfo

FORMAT = 1
"""Raised when entries are laid out otherwise."""

AUDIO_VERSION = 1
"""Raised when `sercorr.data.audio.read_audio` gives other samples for the same file."""

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
"""Stored precisions by the name that the setting ``cache_dtype`` gives them."""

ABOUT = "about.json"


@dataclasses.dataclass(frozen=True)
class Signature:
    """The identity of all entries of one folder of a feature cache.

    Arguments
    ---------
    content : dict
        All that decides the values: the upstream (digest of the weights,
        preprocessing, version of the computation), how audio is read, the stored
        precision, the set of layers and the file format.

    Example
    -------
    >>> from sercorr.lobes.upstream import upstream_info
    >>> half = Signature.of(upstream_info("fbank"), "float16")
    >>> full = Signature.of(upstream_info("fbank"), "float32")
    >>> half.name == full.name
    False
    """

    content: dict[str, Any] = dataclasses.field(hash=False)

    @classmethod
    def of(cls, info: UpstreamInfo, dtype: str = "float16") -> "Signature":
        """Sign what an upstream gives at a stored precision.

        Arguments
        ---------
        info : UpstreamInfo
            From `upstream_info`.
        dtype : str
            ``float16``, ``bfloat16`` or ``float32``.

        Raises
        ------
        InputError
            Another precision.
        """
        if dtype not in DTYPES:
            raise InputError(
                f"cache_dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}"
            )
        return cls(
            {
                "format": FORMAT,
                "upstream": info.identity(),
                "audio": AUDIO_VERSION,
                "dtype": dtype,
                "layers": "all",
            }
        )

    @classmethod
    def read(cls, folder: Path) -> "Signature":
        """Read ``about.json`` of a folder and check that the name follows from it.

        Raises
        ------
        InputError
            The file is missing, broken, or made for a folder of another name.
        """
        path = folder / ABOUT
        content = read_json(path)
        signature = cls(content)
        try:
            name = signature.name
        except (KeyError, TypeError):
            name = None
        if name != folder.name:
            raise InputError(
                f"{path}: foreign: it describes {name or 'no feature cache'}, not "
                f"{folder.name}; remove the folder, or extract again"
            )
        return signature

    def write(self, folder: Path) -> None:
        """Write ``about.json``, which people read, into a folder."""
        write_json(folder / ABOUT, self.content)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over the content."""
        return json_digest(self.content)

    @property
    def name(self) -> str:
        """Name of the folder: the kind of model and the digest."""
        return f"{self.content['upstream']['model_type']}-{self.digest}"

    @property
    def dtype(self) -> str:
        """The stored precision."""
        return self.content["dtype"]

    @property
    def num_layers(self) -> int:
        """Layers an entry: L + 1 for a transformer of L blocks."""
        return self.content["upstream"]["num_layers"]

    @property
    def size(self) -> int:
        """Size D of a feature vector."""
        return self.content["upstream"]["output_size"]
