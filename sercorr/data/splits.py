"""Which clips of a corpus are for training, validation and test, fold by fold.

Pure functions of utterances and settings: neither the place of the corpus nor the order
in which its files were found has any influence.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sercorr.data.utterances import Corpus, Name, Utterance, natural_order
from sercorr.errors import InputError

PARTS = ("train", "valid", "test")
FOLD_BY = ("group", "speaker", "official")

Ids = set[str]


def make_splits(
    corpus: Corpus,
    clips: Sequence[Utterance],
    *,
    n_folds: int,
    fold_by: str = "group",
    valid_ratio: float = 0.2,
    valid_session: Name | None = None,
    split_seed: int = 1234,
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
    valid_ratio : float
        Share of the clips that are not tested to validate on, drawn at random.
    valid_session : int or str, optional
        Validate on this whole group instead. Where a fold tests all of it, the next
        group takes its place (the first follows the last).
    split_seed : int
        Seed of all draws.

    Returns
    -------
    dict
        Fold (from 1) -> ``train``, ``valid``, ``test`` -> sorted ids.

    Raises
    ------
    InputError
        A setting is out of range or not what the corpus offers; a part would be empty;
        a speaker of a test set is also in another part.
    """
    _check_settings(corpus, n_folds, fold_by, valid_ratio, valid_session, split_seed)
    if not clips:
        raise InputError(f"{corpus.data_folder}: no usable clip of the labels")
    own_valid: Ids = set()
    if fold_by == "group":
        tests = _tests_by_group(corpus, clips, n_folds)
    elif fold_by == "speaker":
        tests = _tests_by_speaker(clips, n_folds, split_seed)
    elif all(clip.split in PARTS for clip in clips):
        _require_folds(corpus, n_folds, 1, "brings one official split")
        tests = {"the official test set": _ids(clips, "split", "test")}
        own_valid = _ids(clips, "split", "valid")
        if own_valid and valid_session is not None:
            raise InputError(
                f"valid_session is {valid_session!r}, but {corpus.name} brings a "
                "validation set of its own; leave the setting out"
            )
    else:
        tests = _official_tests(corpus, clips, n_folds)
    splits = {}
    for fold, (name, test) in enumerate(tests.items(), start=1):
        others = [clip for clip in clips if clip.id not in test]
        if own_valid:
            valid = own_valid
        elif valid_session is not None:
            valid = _hold_out(corpus.groups, others, valid_session)
        else:
            valid = _draw(others, valid_ratio, f"{split_seed}/{fold}")
        train = {clip.id for clip in others} - valid
        parts = {"train": train, "valid": valid, "test": test}
        for part, ids in parts.items():
            if not ids:
                raise InputError(
                    f"{corpus.data_folder}: fold {fold} ({name}) would have an empty "
                    f"{part} set: no usable clip of the labels is left for it"
                )
        speakers = {
            part: {clip.speaker for clip in clips if clip.id in ids}
            for part, ids in parts.items()
        }
        require_unheard_speakers(f"{corpus.data_folder}: fold {fold}", speakers)
        splits[fold] = {part: sorted(ids) for part, ids in parts.items()}
    return splits


def require_unheard_speakers(place: str, speakers: Mapping[str, set[str]]) -> None:
    """Refuse a split whose test speakers also train or validate.

    Arguments
    ---------
    place : str
        Begins the message.
    speakers : mapping
        Part -> its speakers.

    Raises
    ------
    InputError
        A test speaker stands in another part; the message says how many do.

    Example
    -------
    >>> require_unheard_speakers(
    ...     "fold_1", {"train": {"a", "b", "c"}, "valid": {"c"}, "test": {"a", "b"}}
    ... )
    Traceback (most recent call last):
    ...
    sercorr.errors.InputError: fold_1: 2 of the 2 test speakers also stand in train \
(the first is a), so the test would not be of new speakers; split by speaker
    """
    test = speakers["test"]
    for part in ("train", "valid"):
        shared = test & speakers[part]
        if shared:
            raise InputError(
                f"{place}: {len(shared)} of the {len(test)} test speakers also stand "
                f"in {part} (the first is {min(shared)}), so the test would not be of "
                "new speakers; split by speaker"
            )


def folds_of_speakers(
    clips: Sequence[Utterance], n_folds: int, seed: int
) -> list[list[str]]:
    """Share speakers out so that every fold has about as many clips of each class.

    Speakers with large shares of the classes come first, equal ones in a seeded order;
    each goes to the fold where the sum of squared shares grows least. No fold stays
    empty.

    Arguments
    ---------
    clips : sequence of Utterance
        In any order.
    n_folds : int
        At most the number of speakers.
    seed : int
        Decides between speakers of equal size.

    Returns
    -------
    list of list of str
        The speakers of each fold, sorted.

    Raises
    ------
    InputError
        There are fewer speakers than folds.

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
    counts: dict[str, Counter] = {}
    for clip in clips:
        counts.setdefault(clip.speaker, Counter())[clip.emotion] += 1
    if n_folds > len(counts):
        raise InputError(
            f"n_folds is {n_folds}, but there are {len(counts)} speakers with clips of "
            f"the labels; set it to at most {len(counts)}"
        )
    totals = Counter(clip.emotion for clip in clips)
    speakers = sorted(counts)
    random.Random(f"{seed}/speakers").shuffle(speakers)
    weights = {s: _added_squares(counts[s], Counter(), totals) for s in speakers}
    speakers.sort(key=weights.__getitem__, reverse=True)  # stable
    folds: list[list[str]] = [[] for _ in range(n_folds)]
    filled: list[Counter] = [Counter() for _ in folds]
    for speaker in speakers:
        costs = [
            (_added_squares(counts[speaker], filled[k], totals), filled[k].total(), k)
            for k in range(n_folds)
        ]
        best = min(costs)[-1]
        folds[best].append(speaker)
        filled[best] += counts[speaker]
    return [sorted(fold) for fold in folds]


def _added_squares(own: Counter, filled: Counter, totals: Counter) -> float:
    """By how much a speaker raises a fold's sum of squared shares of the classes.

    It is least for an empty fold. ``fsum`` makes it the same in any order of classes.
    """
    return math.fsum(
        own[emotion] * (2 * filled[emotion] + own[emotion]) / total**2
        for emotion, total in totals.items()
    )


def _tests_by_group(
    corpus: Corpus, clips: Sequence[Utterance], n_folds: int
) -> dict[str, Ids]:
    groups, name = corpus.groups, corpus.group_name
    if n_folds != len(groups):
        listed = ", ".join(map(str, groups[:10])) + (", ..." if groups[10:] else "")
        raise InputError(
            f"n_folds is {n_folds}, but {corpus.name} has {len(groups)} {name}s "
            f"({listed}) and fold_by group tests each {name} once; use --n_folds "
            f"{len(groups)}, or --fold_by speaker for {n_folds} folds of speakers"
        )
    return {f"{name} {group}": _ids(clips, "group", group) for group in groups}


def _tests_by_speaker(
    clips: Sequence[Utterance], n_folds: int, seed: int
) -> dict[str, Ids]:
    if n_folds < 2:
        raise InputError(f"n_folds is {n_folds}; folds of speakers are at least 2")
    return {
        f"speakers {', '.join(speakers)}": {
            c.id for c in clips if c.speaker in speakers
        }
        for speakers in folds_of_speakers(clips, n_folds, seed)
    }


def _official_tests(
    corpus: Corpus, clips: Sequence[Utterance], n_folds: int
) -> dict[str, Ids]:
    without = [clip.id for clip in clips if clip.fold is None]
    if without:
        raise InputError(
            f"fold_by is official, but {corpus.name} brings no official fold for "
            f"{len(without)} of {len(clips)} clips (the first is {without[0]}); "
            "use --fold_by group or --fold_by speaker"
        )
    folds = {clip.fold for clip in corpus.utterances if clip.fold is not None}
    _require_folds(corpus, n_folds, len(folds), f"has {len(folds)} official folds")
    ordered = sorted(folds, key=natural_order)
    return {f"official fold {fold}": _ids(clips, "fold", fold) for fold in ordered}


def _require_folds(corpus: Corpus, n_folds: int, offered: int, text: str) -> None:
    if n_folds != offered:
        raise InputError(
            f"n_folds is {n_folds}, but {corpus.name} {text}; use --n_folds {offered}, "
            f"or --fold_by speaker for {n_folds} folds of speakers"
        )


def _ids(clips: Iterable[Utterance], field: str, value: Name) -> Ids:
    return {clip.id for clip in clips if getattr(clip, field) == value}


def _draw(others: Sequence[Utterance], ratio: float, seed: str) -> Ids:
    names = sorted(clip.id for clip in others)
    count = min(max(round(ratio * len(names)), 1), len(names) - 1)
    return set(random.Random(seed).sample(names, max(count, 0)))


def _hold_out(groups: list[Name], others: Sequence[Utterance], wanted: Name) -> Ids:
    first = list(map(str, groups)).index(str(wanted))
    for group in groups[first:] + groups[:first]:
        held = _ids(others, "group", group)
        if held:
            return held
    return set()


def _check_settings(
    corpus: Corpus,
    n_folds: int,
    fold_by: str,
    valid_ratio: float,
    valid_session: Name | None,
    split_seed: int,
) -> None:
    for key, value in (("n_folds", n_folds), ("split_seed", split_seed)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{key} is {value!r}; it must be a whole number")
    if n_folds < 1:
        raise InputError(f"n_folds is {n_folds}; it must be at least 1")
    if fold_by not in FOLD_BY:
        raise InputError(f"fold_by is {fold_by!r}; it must be {' or '.join(FOLD_BY)}")
    if not isinstance(valid_ratio, (int, float)) or not 0 < valid_ratio < 1:
        raise InputError(
            f"valid_ratio is {valid_ratio!r}; it must lie between 0 and 1, such as 0.2"
        )
    names = [str(group) for group in corpus.groups]
    if valid_session is not None and str(valid_session) not in names:
        raise InputError(
            f"valid_session is {valid_session!r}; it must be one of {', '.join(names)} "
            f"(a {corpus.group_name}), or none for a random share"
        )
