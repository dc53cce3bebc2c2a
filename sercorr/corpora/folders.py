"""The audio files of a folder, wherever they lie in it."""

import os
from collections.abc import Iterator

from sercorr.errors import InputError

SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp3 .nist .oga .ogg .opus .rf64 .snd .sph .voc "
    ".w64 .wav .wave".split()
)
"""Of the files that are taken from a folder: what libsndfile reads."""


def find_audio(folder: str | os.PathLike) -> Iterator[str]:
    """Find the audio files of a folder at any depth, in no useful order.

    Files are known by their suffixes; hidden files and folders, such as macOS's
    ``._a.wav``, are left out. Links are followed, to each folder once.

    Raises
    ------
    InputError
        A folder cannot be read.

    Example
    -------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("a.WAV", "._a.WAV", "a.txt"):
    ...     (folder / name).touch()
    >>> [os.path.basename(file) for file in find_audio(folder)]
    ['a.WAV']
    """

    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    folder = os.fspath(folder)
    seen = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        yield from (os.path.join(place, name) for name in files if is_audio(name))
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(place, name))
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept


def is_audio(file: str) -> bool:
    """Say whether a file that is not hidden has the suffix of audio."""
    name = os.path.basename(file)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
