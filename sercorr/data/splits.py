"""Which clips of a corpus are for training, validation and test, fold by fold.

Pure functions of utterances and settings: neither the place of the corpus nor the order
in which its files were found has any influence.
"""

import random
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sercorr.data.utterances import UNKNOWN, Corpus, Utterance
from sercorr.errors import InputError

PARTS = ("train", "valid", "test")
VALID_BY = ("random", "speaker", "group")


def make_splits(
    corpus: Corpus,
    clips: Sequence[Utterance],
    *,
    n_folds: int,
    fold_by: str = "group",
    valid_by: str = "random",
    valid_ratio: float = 0.2,
    valid_session: int | str | None = None,
    split_seed: int = 1234,
    allow_shared_speakers: bool = False,
    test_clips: Sequence[Utterance] | None = None,
) -> dict[int, dict[str, list[str]]]:
    """Split clips into train, validation and test sets.

    Arguments
    ---------
    corpus : Corpus
        Says which groups there are.
    clips : sequence of Utterance
        Those that are used.
    n_folds : int
        Number of folds.
    fold_by : str
        ``group``: fold K tests the K-th group. ``speaker``: each fold tests a share of
        the speakers. ``official``: the folds, or the split, that the corpus brings.
    valid_by : str
        What is validated on, of the clips that are not tested, unless the corpus's
        official split has a validation set. ``random``: a share of the clips, whose
        speakers train, too. ``speaker``: all clips of a share of the speakers, balanced
        by class. ``group``: the group after the tested one (the first follows the
        last).
    valid_ratio : float
        That share.
    valid_session : int or str, optional
        Validate on this group instead. Where a fold tests all of it, the next group
        takes its place.
    split_seed : int
        Seed of all draws.
    allow_shared_speakers : bool
        Accept that speakers of a test set are also in another part.
    test_clips : sequence of Utterance, optional
        Clips of another corpus, which the only fold tests, whatever ``fold_by`` is.

    Returns
    -------
    dict
        Fold (from 1) -> ``train``, ``valid``, ``test`` -> sorted ids.

    Raises
    ------
    InputError
        A setting is out of range or not what the corpus offers; a part would be empty;
        a training set would lack a class; a speaker of a test set is also in another
        part.
    """
    _check_settings(corpus, valid_by, valid_ratio, valid_session)
    if test_clips is None:
        tests = _tests(corpus, clips, n_folds, fold_by, split_seed)
    elif n_folds == 1:
        tests = [set()]
    else:
        raise InputError(
            f"n_folds is {n_folds}, but another corpus is tested, for which there is "
            "one fold; add --n_folds 1"
        )
    splits = {}
    for fold, tested in enumerate(tests, start=1):
        own = [clip for clip in clips if clip.id in tested]
        others = [clip for clip in clips if clip.id not in tested]
        if valid_session is None:
            seed = f"{split_seed}/{fold}"
            valid = _valid(corpus, own, others, fold_by, valid_by, valid_ratio, seed)
        else:
            valid = _hold_out(corpus.groups, others, str(valid_session))
        parts = {
            "train": [clip for clip in others if clip.id not in valid],
            "valid": [clip for clip in others if clip.id in valid],
            "test": list(own if test_clips is None else test_clips),
        }
        _check_parts(f"{corpus.data_folder}: fold {fold}", parts, allow_shared_speakers)
        splits[fold] = {
            part: sorted(clip.id for clip in some) for part, some in parts.items()
        }
    return splits


def require_unheard_speakers(place: str, speakers: Mapping[str, set[str]]) -> None:
    """Refuse test speakers who also train or validate; ``place`` begins the message.

    Of clips whose speaker is `UNKNOWN` nothing can be said.
    """
    test = speakers["test"] - {UNKNOWN}
    for part in ("train", "valid"):
        if shared := test & speakers[part]:
            raise InputError(
                f"{place}: {len(shared)} of the {len(test)} test speakers also stand "
                f"in {part} (the first is {min(shared)}), so the test would not be of "
                "new speakers; split by speaker, or accept it with "
                "--allow_shared_speakers True: every table then says so"
            )


def count_speakers(parts: Mapping[str, Iterable[Utterance]]) -> dict[str, int]:
    """Count how far a fold is of new speakers.

    Returns
    -------
    dict
        ``test``: known speakers of the test set; ``shared``: those of them who also
        train or validate; ``unknown``: clips of unknown speakers, in any part.

    Example
    -------
    >>> anna, no_one = (Utterance(s, "", "sad", s, 1) for s in ("Anna", UNKNOWN))
    >>> count_speakers({"train": [anna, no_one], "valid": [], "test": [anna]})
    {'test': 1, 'shared': 1, 'unknown': 1}
    """
    found = {part: [clip.speaker for clip in clips] for part, clips in parts.items()}
    test = set(found["test"]) - {UNKNOWN}
    return {
        "test": len(test),
        "shared": len(test & {*found["train"], *found["valid"]}),
        "unknown": sum(names.count(UNKNOWN) for names in found.values()),
    }


def missing_classes(
    splits: Mapping[int, Mapping[str, Sequence[str]]],
    clips: Mapping[str, Utterance],
    labels: Sequence[str],
) -> list[str]:
    """Say which folds test without a clip of some class, a line for each.

    ``splits`` are what `make_splits` returns, ``clips`` are by id.
    """
    lines = []
    for fold, parts in splits.items():
        found = {clips[identity].emotion for identity in parts["test"]}
        if missing := [label for label in labels if label not in found]:
            lines.append(
                f"fold {fold} tests no clip of {', '.join(missing)}; means over "
                "classes leave them out there"
            )
    return lines


def folds_of_speakers(
    clips: Iterable[Utterance], n_folds: int, seed: int | str
) -> list[list[str]]:
    """Share speakers out so that every fold has about as many clips of each class.

    The seed decides between speakers of equal size.

    Example
    -------
    >>> clips = [
    ...     Utterance(f"{speaker}{i}", "", "neu" if i % 2 else "ang", speaker, 1)
    ...     for speaker, count in (("a", 8), ("b", 4), ("c", 2), ("d", 2))
    ...     for i in range(count)
    ... ]
    >>> folds_of_speakers(clips, 2, seed=1)
    [['a'], ['b', 'c', 'd']]
    """
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 (slow)

    clips = sorted(clips, key=lambda clip: clip.id)
    speakers = sorted({clip.speaker for clip in clips})
    if UNKNOWN in speakers:
        count = sum(clip.speaker == UNKNOWN for clip in clips)
        raise InputError(
            f"fold_by speaker: the speaker of {count} clips is unknown, so nobody can "
            "say who is new in a test; name the speakers, leave these clips out, or "
            "use --fold_by group or official"
        )
    if not 2 <= n_folds <= len(speakers):
        raise InputError(
            f"n_folds is {n_folds}, but there are {len(speakers)} speakers with clips "
            f"of the labels; set it to at least 2 and at most {len(speakers)}"
        )
    # What is equal to scikit-learn it takes in this order: large before small speakers.
    random.Random(f"{seed}/speakers").shuffle(speakers)
    speakers.sort(key=Counter(clip.speaker for clip in clips).__getitem__, reverse=True)
    number = {speaker: place for place, speaker in enumerate(speakers)}
    most = max(Counter(clip.emotion for clip in clips).values())
    if most < n_folds:
        raise InputError(
            f"n_folds is {n_folds}, but no class has more than {most} clips; set it to "
            f"at most {most}"
        )
    folds = StratifiedGroupKFold(n_folds).split(
        X=clips,
        y=[clip.emotion for clip in clips],
        groups=[number[clip.speaker] for clip in clips],
    )
    with warnings.catch_warnings():  # of rare classes, which are refused or noted later
        warnings.simplefilter("ignore", UserWarning)
        return [sorted({clips[i].speaker for i in tested}) for _, tested in folds]


def _check_settings(
    corpus: Corpus, valid_by: str, valid_ratio: float, valid_session: int | str | None
) -> None:
    if not isinstance(valid_ratio, (int, float)) or not 0 < valid_ratio < 1:
        raise InputError(
            f"valid_ratio is {valid_ratio!r}; it must lie between 0 and 1, such as 0.2"
        )
    if valid_by not in VALID_BY:
        raise InputError(
            f"valid_by is {valid_by!r}; it must be one of {', '.join(VALID_BY)}"
        )
    groups = list(map(str, corpus.groups))
    if valid_session is not None and str(valid_session) not in groups:
        raise InputError(
            f"valid_session is {valid_session!r}; it must be one of "
            f"{', '.join(groups)} (a {corpus.group_name}), or none for a random share"
        )


def _check_parts(
    place: str, parts: Mapping[str, Sequence[Utterance]], allow_shared_speakers: bool
) -> None:
    """Refuse a fold that cannot be trained, or tests what it has heard."""
    for part, clips in parts.items():
        if not clips:
            raise InputError(
                f"{place} would have an empty {part} set: no usable clip of the "
                "labels is left for it"
            )
    classes = {part: {clip.emotion for clip in parts[part]} for part in parts}
    if unheard := {*classes["valid"], *classes["test"]} - classes["train"]:
        names = ", ".join(sorted(map(str, unheard)))
        raise InputError(
            f"{place} would train without a clip of {names}; "
            "choose other folds (fold_by, n_folds, valid_by, valid_ratio), or leave "
            "the class out (--labels, of a table --drop)"
        )
    if not allow_shared_speakers:
        speakers = {part: {clip.speaker for clip in parts[part]} for part in parts}
        require_unheard_speakers(place, speakers)


def _tests(
    corpus: Corpus, clips: Sequence[Utterance], n_folds: int, fold_by: str, seed: int
) -> list[set[str]]:
    """Return the ids that each fold tests."""
    fold_of: dict[str, Any]
    if fold_by == "speaker":
        return [
            {clip.id for clip in clips if clip.speaker in speakers}
            for speakers in folds_of_speakers(clips, n_folds, seed)
        ]
    if fold_by == "group":
        fold_of = {clip.id: clip.group for clip in corpus.utterances}
    elif fold_by == "official":
        lost = [clip for clip in clips if clip.fold is None and clip.split is None]
        if lost and len(lost) < len(clips):
            raise InputError(
                f"fold_by official: {len(lost)} clips have no official fold or split "
                f"(the first is {lost[0].id}); give them one, or leave them out"
            )
        fold_of = {
            clip.id: 1 if clip.split == "test" else clip.fold
            for clip in corpus.utterances
        }
    else:
        raise InputError(
            f"fold_by is {fold_by!r}; it must be group, speaker or official"
        )
    names = sorted({name for name in fold_of.values() if name is not None})
    if not names:
        raise InputError(
            f"fold_by official: {corpus.name} has no official folds or split (of a "
            "table, the column fold or split); use --fold_by speaker"
        )
    if n_folds != len(names):
        kind = corpus.group_name if fold_by == "group" else "official fold"
        raise InputError(
            f"n_folds is {n_folds}, but {corpus.name} has {len(names)} {kind}s, each "
            f"of which fold_by {fold_by} tests once; use --n_folds {len(names)}, or "
            f"--fold_by speaker for {n_folds} folds of speakers"
        )
    return [{clip.id for clip in clips if fold_of[clip.id] == name} for name in names]


def _valid(
    corpus: Corpus,
    tested: Sequence[Utterance],
    others: Sequence[Utterance],
    fold_by: str,
    valid_by: str,
    valid_ratio: float,
    seed: str,
) -> set[str]:
    """Return the ids that a fold validates on."""
    official = {clip.id for clip in others if clip.split == "valid"}
    if fold_by == "official" and official:
        return official
    if valid_by == "group":
        groups = corpus.groups
        last = max((groups.index(clip.group) for clip in tested), default=-1)
        return _hold_out(groups, others, str(groups[(last + 1) % len(groups)]))
    if valid_by == "speaker":
        return _draw_speakers(others, valid_ratio, seed)
    return _draw(others, valid_ratio, seed)


def _draw(others: Sequence[Utterance], ratio: float, seed: str) -> set[str]:
    names = sorted(clip.id for clip in others)
    count = min(max(round(ratio * len(names)), 1), len(names) - 1)
    return set(random.Random(seed).sample(names, max(count, 0)))


def _draw_speakers(others: Sequence[Utterance], ratio: float, seed: str) -> set[str]:
    """Draw whole speakers with about a share of the clips of each class."""
    known = [clip for clip in others if clip.speaker != UNKNOWN]
    speakers = {clip.speaker for clip in known}
    if len(speakers) < 2:
        raise InputError(
            f"valid_by speaker: {len(speakers)} known speakers are left to train and "
            "validate; use --valid_by random"
        )
    n_folds = min(max(round(1 / ratio), 2), len(speakers))
    drawn = folds_of_speakers(known, n_folds, seed)[0]
    return {clip.id for clip in known if clip.speaker in drawn}


def _hold_out(groups: list, others: Sequence[Utterance], wanted: str) -> set[str]:
    first = list(map(str, groups)).index(wanted)
    for group in groups[first:] + groups[:first]:
        if held := {clip.id for clip in others if clip.group == group}:
            return held
    return set()
