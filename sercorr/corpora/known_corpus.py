"""How the file names of a corpus are read, and what a user must be told of it."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sercorr.data.utterances import Utterance
from sercorr.errors import InputError


@dataclass(frozen=True)
class KnownCorpus:
    r"""How the file names of a corpus are read, and what a user must be told of it.

    Arguments
    ---------
    name : str
        What it is called on the command line.
    title, reference, licence : str
        In full; what to cite; how it may be used.
    pattern : str
        Regular expression of a recording's place, without its suffix and the folders
        that come before. Its named groups ``speaker`` and ``emotion`` say which.
    example : str
        Such a place, for messages.
    emotions : mapping
        What the place has for the emotion -> class.
    published : mapping
        See `Corpus`.
    settings : mapping
        Settings of the folds that give fair numbers: ``fold_by``, ``n_folds``.
    meaning : str
        What a number on it means.
    id : str
        Made of the pattern's groups in braces; a recording that lies elsewhere in some
        copies has the same id in all.
    groups : mapping
        Group -> its speakers, where speakers are not groups themselves. A speaker of no
        group is none of the corpus.
    group_name : str
        See `Corpus`.
    official : bool
        The groups are the folds that everybody uses.
    not_read : mapping
        What else the release holds -> regular expression, as for ``pattern``.
    misnamed : mapping
        Names of files that are wrong in the release -> the right ones, both without
        suffix.
    notes : sequence of str
        See `Corpus`.
    traits : mapping
        What is known of a recording beside its emotion, such as ``gender`` -> word ->
        regular expression of the whole ids that it is true of.

    Raises
    ------
    InputError
        ``pattern``, one of ``not_read`` or of ``traits`` is no regular expression, or
        ``pattern`` lacks a group.

    Example
    -------
    >>> diary = KnownCorpus(
    ...     "diary", "My diary", "", "mine", r"(?P<speaker>\w+)/(?P<emotion>\w)\d+",
    ...     "ann/h1.wav", {"h": "happy", "s": "sad"}, {}, {}, "", "{speaker}_{emotion}",
    ...     traits={"gender": {"female": "(ann|eve)_.*", "male": "bob_.*"}},
    ... )  # fmt: skip
    >>> clip = diary.parse("2024/ann/s1.WAV")
    >>> clip.id, clip.speaker, clip.emotion, clip.wav, clip.traits
    ('ann_s', 'ann', 'sad', '2024/ann/s1.WAV', {'gender': 'female'})
    >>> diary.parse("ann/x1.wav") is None
    True
    """

    name: str
    title: str
    reference: str
    licence: str
    pattern: str
    example: str
    emotions: Mapping[str, str]
    published: Mapping[Any, Mapping[str, int]]
    settings: Mapping[str, Any]
    meaning: str
    id: str
    groups: Mapping[int | str, Sequence[str]] = field(default_factory=dict)
    group_name: str = "speaker"
    official: bool = False
    not_read: Mapping[str, str] = field(default_factory=dict)
    misnamed: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    traits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        more = [some for words in self.traits.values() for some in words.values()]
        for pattern in (self.pattern, *self.not_read.values(), *more):
            try:
                re.compile(pattern, re.ASCII)
            except re.error as error:
                raise InputError(
                    f"{self.name}: {pattern}: no regular expression ({error}); mend it"
                ) from None
        wanted = {"speaker", "emotion", *re.findall(r"\{(\w+)\}", self.id)}
        if missing := wanted - set(re.compile(self.pattern).groupindex):
            raise InputError(
                f"{self.name}: pattern has no group {', '.join(sorted(missing))}; "
                f"write it as (?P<{min(missing)}>...)"
            )

    @property
    def labels(self) -> list[str]:
        """Its classes."""
        return list(dict.fromkeys(self.emotions.values()))

    @property
    def clips(self) -> int:
        """Clips of the full release; 0 where that is not known."""
        return sum(sum(classes.values()) for classes in self.published.values())

    def parse(self, wav: str) -> Utterance | None:
        """Make the utterance of a file; None if its place is not the corpus's.

        ``wav`` is relative to the corpus folder, with ``/`` between its parts.
        """
        found = _match(self.pattern, self._place(wav))
        if not found or found["emotion"] not in self.emotions:
            return None
        speaker = found["speaker"]
        if self.groups and speaker not in self._group_of:
            return None
        group = self._group_of.get(speaker, speaker)
        identity = self.id.format(**found.groupdict())
        traits = {
            trait: word
            for trait, words in self.traits.items()
            for word, pattern in words.items()
            if re.fullmatch(pattern, identity, re.ASCII)
        }
        return Utterance(
            id=identity,
            wav=wav,
            emotion=self.emotions[found["emotion"]],
            speaker=speaker,
            group=group,
            traits=traits or None,
            fold=group if self.official else None,
        )

    def leaves_out(self, wav: str) -> str | None:
        """Say what a file is that the release holds, but is not read."""
        for what, pattern in self.not_read.items():
            if _match(pattern, self._place(wav)):
                return what
        return None

    def folder_of(self, wav: str) -> str:
        """Return the folder that a file's place is relative to; empty if none is."""
        found = _match(self.pattern, self._place(wav))
        return (found and found["folder_before"]) or ""

    @cached_property
    def _group_of(self) -> dict[str, int | str]:
        return {name: group for group, names in self.groups.items() for name in names}

    def _place(self, wav: str) -> str:
        # Archives made by Windows can leave backslashes in names elsewhere.
        folder, slash, name = wav.replace("\\", "/").rpartition("/")
        stem = os.path.splitext(name)[0]
        return folder + slash + self.misnamed.get(stem, stem)


def _match(pattern: str, place: str) -> re.Match[str] | None:
    # as few folders before as can be: all that the pattern takes belong to it
    before = "(?:(?P<folder_before>.+?)/)??"
    return re.fullmatch(f"{before}(?:{pattern})", place, re.ASCII | re.DOTALL)
