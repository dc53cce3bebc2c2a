"""How many clips of which class a corpus has, and whether its full release does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

Counts = dict[Any, dict[str, int]]
"""Group -> class, or code where codes are counted apart -> number of clips."""

_MAX_LISTED = 5  # differences from the full release
_MOST_GROUPS = 40  # that are printed one by one


def require_labels(
    corpus: Corpus, labels: Sequence[str], shared_with: Corpus | None = None
) -> None:
    """Refuse labels of which the corpus has no clip; the message lists what it has.

    ``shared_with`` is the corpus that is trained on where this one is only tested.
    """
    found = corpus.emotions
    missing = [str(label) for label in labels if label not in found]
    if not missing:
        return
    advice = ""
    if shared_with is not None:
        both = [label for label in labels if label in found]
        advice = (
            f"; both corpora have {', '.join(both)}: give --labels {','.join(both)}"
            if len(both) > 1
            else "; rename some with --test_map"
        )
    raise InputError(
        f"labels has {', '.join(missing)}, which no clip of {corpus.name} has; its "
        f"classes are {list_counts(found)}{advice}"
    )


def count_clips(
    corpus: Corpus, clips: Sequence[Utterance], labels: Sequence[str]
) -> Counts:
    """Count the clips of ``labels`` by group and by class or code, zeros included.

    Example
    -------
    >>> clips = [Utterance("a", "a.wav", "hap", "Ann", 1, code="exc")]
    >>> corpus = Corpus("Diary", "/data", clips, codes={"hap": ("hap", "exc")})
    >>> count_clips(corpus, clips, ["neu", "hap"])
    {1: {'neu': 0, 'hap': 0, 'exc': 1}}
    """
    columns = [code for label in labels for code in corpus.codes.get(label, (label,))]
    found = Counter(
        (clip.group, clip.code if clip.emotion in corpus.codes else clip.emotion)
        for clip in clips
    )
    return {
        group: {column: found[group, column] for column in columns}
        for group in corpus.groups
    }


def print_counts(corpus: Corpus, counts: Counts, labels: Sequence[str]) -> None:
    """Print the clips of each group by class, and their sums.

    Of many groups (speakers, for instance) the sums alone.
    """
    columns = [corpus.codes.get(label, (label,)) for label in labels]
    table = Table(corpus.group_name, box=None, header_style="bold", pad_edge=False)
    for title in (*map(" + ".join, columns), "all"):
        table.add_column(title, justify="right")
    total: Counter = Counter()
    for row in counts.values():
        total.update(row)
    few = list(counts.items()) if len(counts) <= _MOST_GROUPS else []
    for name, row in (*few, (f"all {len(counts)}" if not few else "all", total)):
        cells = [" + ".join(str(row[code]) for code in codes) for codes in columns]
        table.add_row(str(name), *cells, str(sum(row.values())))
    # as wide as it is: no class's name may be cut where there is no terminal
    Console(highlight=False, width=1000).print(table)


def print_others(corpus: Corpus, labels: Sequence[str]) -> None:
    """Print how many clips have classes that are not among ``labels``, if any."""
    others = {name: n for name, n in corpus.emotions.items() if name not in labels}
    if others:
        print(f"note: clips of other labels left out: {list_counts(others)}")


def compare_with_full_release(corpus: Corpus, counts: Counts) -> list[str]:
    """Say how counts differ from the published ones, in no or a few lines to print."""
    different, here, there = [], 0, 0
    columns = next(iter(counts.values()))
    sums = {name: sum(row[name] for row in counts.values()) for name in columns}
    for group, full in corpus.published.items():
        row, place = counts.get(group, {}), f"{corpus.group_name} {group}"
        if group == "all":
            row, place = sums, "all"
        for column in columns:
            found, wanted = row.get(column, 0), full.get(column, 0)
            here, there = here + found, there + wanted
            if found != wanted:
                different.append(
                    f"warning: {place}, {column}: {found}, expected {wanted}; results "
                    "will not compare"
                )
    if not different:
        return []
    lines = [
        f"note: not the full release of {corpus.name}: {here} clips of these classes, "
        f"there are {there} in it"
    ]
    return lines + different * (len(different) <= _MAX_LISTED)


def list_counts(counts: Mapping[str, int]) -> str:
    """Return counts as text, in the order of their names."""
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
