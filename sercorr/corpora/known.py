"""Corpora whose file names say everything, as ``known_corpora.yaml`` describes them.

A recording's place in the corpus says who speaks in which emotion, so that a corpus
needs an entry in that file and no code.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ruamel.yaml
from ruamel.yaml.error import YAMLError

from sercorr.corpora.folders import find_audio
from sercorr.corpora.known_corpus import KnownCorpus
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

__all__ = ["KnownCorpus", "known_corpora", "read_known", "recognise"]

_FILE = Path(__file__).with_name("known_corpora.yaml")


def known_corpora(file: str | os.PathLike | None = None) -> dict[str, KnownCorpus]:
    """Read which corpora are known by the names of their files.

    Arguments
    ---------
    file : path, optional
        A YAML file of one's own, in the form of ``known_corpora.yaml`` beside this
        module, instead of that.

    Returns
    -------
    dict
        Name -> `KnownCorpus`, in the order of the file.

    Raises
    ------
    InputError
        The file is missing, broken, or lacks a key.

    Example
    -------
    >>> corpora = known_corpora()
    >>> list(corpora)
    ['ravdess', 'emodb', 'savee', 'tess', 'emovo', 'casia', 'esd', 'shemo']
    >>> corpora["emodb"].licence, corpora["emodb"].clips
    ('CC0 1.0', 535)
    """
    path = Path(_FILE if file is None else file)
    try:
        entries = ruamel.yaml.YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path}: no corpus is in it; it maps names to descriptions")
    corpora = {}
    for name, entry in entries.items():
        try:
            corpora[name] = KnownCorpus(name, **entry)
        except (TypeError, AttributeError) as error:
            # a key that is missing, unknown, or what is no text or mapping
            raise InputError(f"{path}: {name}: {error}; mend the entry") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return corpora


def read_known(
    name: str, data_folder: str | Path, file: str | os.PathLike | None = None
) -> Corpus:
    """Read a corpus whose file names say everything; no audio is opened.

    In a settings file: ``corpus: !name:sercorr.corpora.known.read_known``, with
    ``name`` and ``data_folder`` below it.

    Arguments
    ---------
    name : str
        One of `known_corpora`.
    data_folder : path
        The corpus, or a folder that it lies in, and no other.
    file : path, optional
        See `known_corpora`.

    Returns
    -------
    Corpus
        Of all its recordings that are there.

    Raises
    ------
    InputError
        An unknown name; there is no recording; an audio file whose name is not the
        corpus's; a recording twice.
    """
    known = _choose(name, file)
    clips, others = [], []
    left_out: Counter[str] = Counter()
    for wav in _list_audio(data_folder):
        if clip := known.parse(wav):
            clips.append(clip)
        elif what := known.leaves_out(wav):
            left_out[what] += 1
        else:
            others.append(wav)
    if others or not clips:
        more = f" and {len(others) - 1} more" * (len(others) > 1)
        found = f"{others[0]}{more}" if others else "no audio file"
        fault, remedy = f"no recording of {known.name} in it", ""
        if clips:
            fault = f"not named as recordings of {known.name} are"
            remedy = "; mend the names, or keep other recordings elsewhere"
        raise InputError(
            f"{data_folder}: {fault}: {found}; expected names such as {known.example}, "
            f"with an emotion of {', '.join(known.emotions)}{remedy}"
        )
    _require_once(known, data_folder, clips)
    notes = [f"not read: {what} ({count})" for what, count in left_out.items()]
    return Corpus(
        known.name,
        data_folder,
        clips,
        known.group_name,
        published=known.published,
        notes=[*known.notes, *notes],
    )


def recognise(data_folder: str | os.PathLike) -> str | None:
    """Say which corpus lies in a folder: that which most of its audio files belong to.

    Returns
    -------
    str or None
        One of `known_corpora`; None if at most half of the files have names of one
        corpus, or as many have names of another.
    """
    files = _list_audio(data_folder)
    shares = {}
    for name, known in known_corpora().items():
        rest = [wav for wav in files if not known.leaves_out(wav)]
        shares[name] = sum(map(bool, map(known.parse, rest))) / max(len(rest), 1)
    best = max(shares.values())
    names = [name for name, share in shares.items() if share == best]
    return names[0] if best > 0.5 and len(names) == 1 else None


def _choose(name: str, file: str | os.PathLike | None) -> KnownCorpus:
    corpora = known_corpora(file)
    if name not in corpora:
        raise InputError(
            f"{name}: not a corpus that is known by its file names; these are: "
            f"{', '.join(corpora)}"
        )
    return corpora[name]


def _list_audio(data_folder: str | os.PathLike) -> list[str]:
    """List audio files relative to the folder, with ``/``, sorted."""
    if not os.path.isdir(data_folder):
        kind = "not a folder; unpack it" if os.path.exists(data_folder) else "missing"
        raise InputError(f"{data_folder}: {kind}; name the folder of the corpus")
    root = os.fspath(data_folder)
    files = (os.path.relpath(file, root) for file in find_audio(root))
    return sorted(file.replace(os.sep, "/") for file in files)


def _require_once(
    known: KnownCorpus, data_folder: str | os.PathLike, clips: Sequence[Utterance]
) -> None:
    first: dict[str, str] = {}
    twice = [
        (earlier, clip.wav)
        for clip in clips
        if (earlier := first.setdefault(clip.id, clip.wav)) != clip.wav
    ]
    if twice:
        folders = _copies(*map(known.folder_of, twice[0]))
        raise InputError(
            f"{data_folder}: {len(twice)} recordings of {known.name} are there more "
            f"than once, such as {' and '.join(twice[0])}; keep one copy"
            + ", or name the folder of one: " * bool(folders)
            + " or ".join(str(Path(data_folder) / folder) for folder in folders)
        )


def _copies(first: str, second: str) -> list[str]:
    """Return those of two folders that do not hold the other."""
    return [
        folder
        for folder, other in ((first, second), (second, first))
        if folder and not f"{other}/".startswith(f"{folder}/")
    ]
