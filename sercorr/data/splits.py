"""Which clips of a corpus are for training, validation and test, fold by fold.

Pure functions of utterances and settings: neither the place of the corpus nor the order
in which its files were found has any influence.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

PARTS = ("train", "valid", "test")


def make_splits(
    corpus: Corpus,
    clips: Sequence[Utterance],
    *,
    n_folds: int,
    fold_by: str = "group",
    valid_ratio: float = 0.2,
    valid_session: int | str | None = None,
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
        Share of the clips that are not tested to validate on, drawn at random (unless
        the corpus's official split has a validation set).
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
    groups = corpus.groups
    if not isinstance(valid_ratio, (int, float)) or not 0 < valid_ratio < 1:
        raise InputError(
            f"valid_ratio is {valid_ratio!r}; it must lie between 0 and 1, such as 0.2"
        )
    if valid_session is not None and str(valid_session) not in map(str, groups):
        raise InputError(
            f"valid_session is {valid_session!r}; it must be one of "
            f"{', '.join(map(str, groups))} (a {corpus.group_name}), or none for a "
            "random share"
        )
    tests = _tests(corpus, clips, n_folds, fold_by, split_seed)
    splits = {}
    for fold, tested in enumerate(tests, start=1):
        others = [clip for clip in clips if clip.id not in tested]
        official = [clip for clip in others if clip.split == "valid"]
        if valid_session is not None:
            valid = _hold_out(groups, others, str(valid_session))
        elif fold_by == "official" and official:
            valid = {clip.id for clip in official}
        else:
            valid = _draw(others, valid_ratio, f"{split_seed}/{fold}")
        parts = {
            "train": [clip for clip in others if clip.id not in valid],
            "valid": [clip for clip in others if clip.id in valid],
            "test": [clip for clip in clips if clip.id in tested],
        }
        for part, some in parts.items():
            if not some:
                raise InputError(
                    f"{corpus.data_folder}: fold {fold} would have an empty {part} "
                    "set: no usable clip of the labels is left for it"
                )
        require_unheard_speakers(
            f"{corpus.data_folder}: fold {fold}",
            {part: {clip.speaker for clip in some} for part, some in parts.items()},
        )
        splits[fold] = {
            part: sorted(clip.id for clip in some) for part, some in parts.items()
        }
    return splits


def require_unheard_speakers(place: str, speakers: Mapping[str, set[str]]) -> None:
    """Refuse test speakers who also train or validate; ``place`` begins the message."""
    test = speakers["test"]
    for part in ("train", "valid"):
        if shared := test & speakers[part]:
            raise InputError(
                f"{place}: {len(shared)} of the {len(test)} test speakers also stand "
                f"in {part} (the first is {min(shared)}), so the test would not be of "
                "new speakers; split by speaker"
            )


def folds_of_speakers(
    clips: Iterable[Utterance], n_folds: int, seed: int
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
    if not 2 <= n_folds <= len(speakers):
        raise InputError(
            f"n_folds is {n_folds}, but there are {len(speakers)} speakers with clips "
            f"of the labels; set it to at least 2 and at most {len(speakers)}"
        )
    # What is equal to scikit-learn it takes in this order: large before small speakers.
    random.Random(f"{seed}/speakers").shuffle(speakers)
    speakers.sort(key=Counter(clip.speaker for clip in clips).__getitem__, reverse=True)
    folds = StratifiedGroupKFold(n_folds).split(
        X=clips,
        y=[clip.emotion for clip in clips],
        groups=[speakers.index(clip.speaker) for clip in clips],
    )
    return [sorted({clips[i].speaker for i in tested}) for _, tested in folds]


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
        fold_of = {
            clip.id: 1 if clip.split == "test" else clip.fold
            for clip in corpus.utterances
        }
    else:
        raise InputError(
            f"fold_by is {fold_by!r}; it must be group, speaker or official"
        )
    names = sorted({name for name in fold_of.values() if name is not None})
    if n_folds != len(names):
        kind = corpus.group_name if fold_by == "group" else "official fold"
        raise InputError(
            f"n_folds is {n_folds}, but {corpus.name} has {len(names)} {kind}s, each "
            f"of which fold_by {fold_by} tests once; use --n_folds {len(names)}, or "
            f"--fold_by speaker for {n_folds} folds of speakers"
        )
    return [{clip.id for clip in clips if fold_of[clip.id] == name} for name in names]


def _draw(others: Sequence[Utterance], ratio: float, seed: str) -> set[str]:
    names = sorted(clip.id for clip in others)
    count = min(max(round(ratio * len(names)), 1), len(names) - 1)
    return set(random.Random(seed).sample(names, max(count, 0)))


def _hold_out(groups: list, others: Sequence[Utterance], wanted: str) -> set[str]:
    first = list(map(str, groups)).index(wanted)
    for group in groups[first:] + groups[:first]:
        if held := {clip.id for clip in others if clip.group == group}:
            return held
    return set()
