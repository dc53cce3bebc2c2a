"""The record of a run, ``run.json``: what decides its result, to tell runs apart."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.files import read_json

_MOST_SHOWN = 5


def require_same_run(path: Path, record: dict[str, Any]) -> None:
    """Check that a folder's ``run.json`` records the run that is to go on there.

    Versions of libraries may differ, and so may the place of the same weights.

    Arguments
    ---------
    path : pathlib.Path
        The ``run.json``.
    record : dict
        What it would be now.

    Raises
    ------
    InputError
        The settings, the upstream or the data differ; it says which.
    """
    differences = _differences(_identity(read_json(path)), _identity(record))
    if differences:
        more = len(differences) - _MOST_SHOWN
        shown = differences[:_MOST_SHOWN] + [f"{more} more"] * (more > 0)
        raise InputError(
            f"{path.parent} holds a run with other settings ({'; '.join(shown)}); "
            "choose another --output_folder, or remove that folder"
        )


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide about last bits."""
    names = ("torch", "torchaudio", "transformers", "speechbrain", "numpy")
    return {"python": platform.python_version(), **{n: version(n) for n in names}}


def file_digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a small file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not make it another run: the same weights elsewhere."""
    places = {"source", "upstream_source", "upstream_revision", "revision"}
    return {
        part: {key: value for key, value in content.items() if key not in places}
        if isinstance(content, dict)
        else content
        for part, content in record.items()
        if part != "versions"
    }


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else key
            found += _differences(old.get(key), new.get(key), inner)
        return found
    # JSON has no tuples: compare what both look like in the file
    same = old == (list(new) if isinstance(new, tuple) else new)
    return (
        [] if same else [f"{name.removeprefix('settings.')}: {old} there, {new} here"]
    )
