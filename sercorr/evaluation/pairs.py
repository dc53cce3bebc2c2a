"""Two heads side by side: the folds, seeds, clips and speakers that both have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sercorr.data.utterances import UNKNOWN
from sercorr.errors import InputError
from sercorr.evaluation.comparison import confusion_rates
from sercorr.evaluation.pooled import Pooled, pool_predictions
from sercorr.evaluation.runs import Run, most_folds, settings_of

POOLING = {"pooling", "n_heads", "pooling_layer"}
"""Settings in which heads are meant to differ."""


@dataclass(frozen=True)
class Head:
    """The runs of a head and what they said about the test clips."""

    name: str
    runs: Sequence[Run]
    said: Pooled

    @property
    def corpus(self) -> str:
        """What was trained on, and tested if that is another corpus; maybe empty."""
        record = self.runs[0].record
        names = (record.get("corpus", ""), record.get("test_corpus", ""))
        return ", tested on ".join(filter(None, names))

    @property
    def seeds(self) -> list[Any]:
        """Of each run: its folder's number, or the setting, or None."""
        return [
            run.seed if run.seed is not None else settings_of(run.record).get("seed")
            for run in self.runs
        ]


@dataclass(frozen=True)
class Pair:
    """What two heads made of the same clips; first axes are the head and the seed.

    Attributes
    ----------
    seeds : list or None
        Those that both have, in order. None: there is none in common; fold by fold,
        each head's mean over its own seeds was taken.
    left_out : list of str
        What only one of them has, in words: seeds, folds.
    folds : list of int
        Those that all seeds of both have.
    clips : int
        Test clips of these folds.
    rates : numpy.ndarray
        (2, n, folds), in percent; n is 1 where no seed is common.
    test_by_train : float or None
        Clips tested by clips trained on, averaged over the folds. None: nobody knows.
    counted : bool
        Whether training clips were counted by the runs (or else: all other clips).
    speakers : list of str
        S names, sorted; empty if a clip's is unknown.
    confusions : tuple of numpy.ndarray
        Of each head (seeds, S, K, K).
    differing : list of str
        Settings in which the two differ, other than those of the pooling.
    """

    seeds: list[Any] | None
    left_out: list[str]
    folds: list[int]
    clips: int
    rates: np.ndarray
    test_by_train: float | None
    counted: bool
    speakers: list[str]
    confusions: tuple[np.ndarray, np.ndarray]
    differing: list[str]


def read_head(name: str, runs: Sequence[Run]) -> Head:
    """Read all predictions of a head, see `pool_predictions`."""
    return Head(name, runs, pool_predictions(runs))


def pair_heads(first: Head, second: Head, rate: str) -> Pair:
    """Bring two heads of one corpus and split together.

    Arguments
    ---------
    first, second : Head
        Read by `read_head`.
    rate : str
        One of `COMPARABLE`.

    Returns
    -------
    Pair
        Of the seeds that both have. Where these differ in their folds, the largest set
        of folds is taken that a seed has in both (of equal ones, that of most seeds);
        seeds that lack one of these folds are left out, and `Pair.left_out` says so.

    Raises
    ------
    InputError
        Classes, folds, test clips, their true labels or the manifests differ.
    """
    names = f"{first.name} and {second.name}"
    if set(first.said.labels) != set(second.said.labels):
        one, other = (", ".join(head.said.labels) for head in (first, second))
        raise InputError(
            f"{names}: the classes are {one} and {other}; only heads of the same "
            "classes can be compared"
        )
    common = [seed for seed in first.seeds if seed in second.seeds]
    places, folds = _common(first, second, common)
    if not folds:
        raise InputError(f"{names}: no fold is finished in both; run the others first")
    clips = _same_clips(first, second, places, folds)
    used = [
        [head.runs[index] for index in own]
        for head, own in zip((first, second), places, strict=True)
    ]
    records = [run.records[k] for runs in used for run in runs for k in run.records]
    if len({str(r["manifests"]) for r in records if "manifests" in r}) > 1:
        raise InputError(
            f"{names}: their manifests differ, so they were trained or validated on "
            "other clips; train both with one manifest_folder"
        )
    unknown = any(speaker == UNKNOWN for _, speaker in clips.values())
    speakers = sorted({speaker for _, speaker in clips.values()})
    counts = [
        confusions_of(head, own, folds, speakers)
        for head, own in zip((first, second), places, strict=True)
    ]
    rates = [confusion_rates(c.sum(axis=2), rate) for c in counts]
    if not common:
        rates = [each.mean(axis=0, keepdims=True) for each in rates]
    share, counted = clips_tested_by_trained(
        [run for runs in used for run in runs], folds
    )
    each = (counts[0].sum(axis=1), counts[1].sum(axis=1))
    return Pair(
        [first.seeds[index] for index in places[0]] if common else None,
        _left_out(first, second, places, folds),
        folds,
        len(clips),
        np.array(rates),
        share,
        counted,
        [] if unknown else speakers,
        each,
        differing_settings(used[0][0], used[1][0]),
    )


def differing_settings(first: Run, second: Run) -> list[str]:
    """Name the settings in which two runs differ, other than pooling, seed and fold.

    Beside the settings: the upstream, the number of epochs, run options, features and
    the code of the classes that are named.
    """
    trees = []
    for run in (first, second):
        record, identity = run.record, run.record.get("identity", {})
        tree = dict(settings_of(record))
        for key in ("upstream_source", "upstream_revision", "number_of_epochs"):
            tree[key] = record.get(key)
        for key in ("options", "features", "sources"):
            tree[key] = identity.get(key)
        trees.append(tree)
    keys = dict.fromkeys([*trees[0], *trees[1]])
    skipped = POOLING | {"seed", "fold"}
    return [
        key
        for key in keys
        if key not in skipped and trees[0].get(key) != trees[1].get(key)
    ]


def _common(
    first: Head, second: Head, seeds: Sequence[Any]
) -> tuple[tuple[list[int], list[int]], list[int]]:
    """Give the runs of each head that are used, and the folds that all of them have.

    ``seeds`` are those that both have; none: each head's own are used.
    """
    done = [[run.finished for run in head.runs] for head in (first, second)]
    if not seeds:
        most = [most_folds(each) for each in done]
        folds = most[0] & most[1]
        own = [[n for n, has in enumerate(each) if folds <= has] for each in done]
        return (own[0], own[1]), sorted(folds)
    places = [
        (first.seeds.index(seed), second.seeds.index(seed)) for seed in sorted(seeds)
    ]
    both = [done[0][one] & done[1][other] for one, other in places]
    folds = most_folds(both)
    used = [
        place for place, has in zip(places, both, strict=True) if folds and folds <= has
    ]
    return ([one for one, _ in used], [other for _, other in used]), sorted(folds)


def _left_out(
    first: Head,
    second: Head,
    places: tuple[list[int], list[int]],
    folds: Sequence[int],
) -> list[str]:
    """Say which seeds and folds are not compared, if any, and why."""
    said = []
    heads = (first, second)
    common = set(first.seeds) & set(second.seeds)
    for head, other, own in zip(heads, heads[::-1], places, strict=True):
        unused = [n for n in range(len(head.runs)) if n not in own]
        alone = [str(head.seeds[n]) for n in unused if head.seeds[n] not in common]
        if common and alone:
            said.append(
                f"Seeds of {head.name} left out, as {other.name} has none of them: "
                f"{', '.join(alone)}."
            )
        for n in unused:
            gap = sorted(set(folds) - head.runs[n].finished)
            if gap and (not common or head.seeds[n] in common):
                said.append(
                    f"Seed {head.seeds[n]} of {head.name} lacks fold "
                    f"{', '.join(map(str, gap))}: left out"
                    f"{' of both heads' if common else ''}."
                )
    total = max(run.n_folds for head in heads for run in head.runs)
    if gap := [fold for fold in range(1, total + 1) if fold not in folds]:
        said.append(
            f"Folds {', '.join(map(str, folds))} of {total} are compared; not "
            f"finished in both: {', '.join(map(str, gap))}."
        )
    return said


def _same_clips(
    first: Head,
    second: Head,
    places: tuple[list[int], list[int]],
    folds: Sequence[int],
) -> dict[tuple[int, str], tuple[str, str]]:
    """Give (fold, id) -> (truth, speaker) of the clips, the same for all runs used."""
    clips = _clips(first, places[0][0], folds)
    for head, own in zip((first, second), places, strict=True):
        for place in own:
            other = _clips(head, place, folds)
            of = f"{first.runs[places[0][0]].folder} and {head.runs[place].folder}"
            alone = len(clips.keys() - other.keys()), len(other.keys() - clips.keys())
            if any(alone):
                raise InputError(
                    f"{of}: their test clips differ: {alone[0]} of {len(clips)} are "
                    f"only in the first, {alone[1]} of {len(other)} only in the "
                    "second; compare results on the same clips, fold by fold"
                )
            for what, column in (("label", 0), ("speaker", 1)):
                if apart := sum(clips[k][column] != other[k][column] for k in clips):
                    raise InputError(
                        f"{of}: the {what} of {apart} of {len(clips)} test clips "
                        "differs; compare results on the same data"
                    )
    return clips


def _clips(
    head: Head, place: int, folds: Sequence[int]
) -> dict[tuple[int, str], tuple[str, str]]:
    said = head.said
    rows = np.flatnonzero((said.seeds == place) & np.isin(said.folds, folds))
    return {
        (int(said.folds[row]), said.ids[row]): (
            said.labels[said.truth[row]],
            said.speakers[row],
        )
        for row in rows
    }


def confusions_of(
    head: Head, places: Sequence[int], folds: Sequence[int], speakers: Sequence[str]
) -> np.ndarray:
    """Count (seeds, folds, S, K, K), classes in the order of their names."""
    said, size = head.said, len(head.said.labels)
    number = {speaker: index for index, speaker in enumerate(speakers)}
    rank = np.argsort(np.argsort(np.array(said.labels)))
    counts = np.zeros((len(places), len(folds), len(speakers), size, size), np.int64)
    for row_of_seed, place in enumerate(places):
        for row_of_fold, fold in enumerate(folds):
            rows = (said.seeds == place) & (said.folds == fold)
            who = np.array([number[name] for name in said.speakers[rows]])
            where = (who, rank[said.truth[rows]], rank[said.prediction[rows]])
            np.add.at(counts[row_of_seed, row_of_fold], where, 1)
    return counts


def clips_tested_by_trained(
    runs: Sequence[Run], folds: Sequence[int]
) -> tuple[float | None, bool]:
    """Average n_test / n_train over the folds; say if the runs counted them."""
    for run in runs:
        tested = {f["fold"]: f["n"] for f in run.metrics}
        counts = [run.records.get(fold, {}).get("clips") for fold in folds]
        known = [c["train"] for c in counts if c and c.get("train")]
        if len(known) == len(folds):
            shares = [
                tested[fold] / train for fold, train in zip(folds, known, strict=True)
            ]
            return float(np.mean(shares)), True
    run = max(runs, key=lambda run: len(run.metrics))
    tested = {fold["fold"]: fold["n"] for fold in run.metrics}
    total = sum(tested.values())
    if len(tested) < 2 or "test_corpus" in run.record:
        return None, False
    return float(np.mean([tested[k] / (total - tested[k]) for k in folds])), False
