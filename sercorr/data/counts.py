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


def require_labels(corpus: Corpus, labels: Sequence[str]) -> None:
    """Refuse labels of which the corpus has no clip; the message lists what it has."""
    found = Counter(clip.emotion for clip in corpus.utterances if clip.emotion)
    missing = [str(label) for label in labels if label not in found]
    if missing:
        raise InputError(
            f"labels has {', '.join(missing)}, which no clip of {corpus.name} has; its "
            f"classes are {list_counts(found)}"
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
    """Print the clips of each group by class, and their sums."""
    columns = [corpus.codes.get(label, (label,)) for label in labels]
    table = Table(corpus.group_name, box=None, header_style="bold", pad_edge=False)
    for title in (*map(" + ".join, columns), "all"):
        table.add_column(title, justify="right")
    total: Counter = Counter()
    for row in counts.values():
        total.update(row)
    for name, row in (*counts.items(), ("all", total)):
        cells = [" + ".join(str(row[code]) for code in codes) for codes in columns]
        table.add_row(str(name), *cells, str(sum(row.values())))
    Console(highlight=False).print(table)


def compare_with_full_release(corpus: Corpus, counts: Counts) -> list[str]:
    """Say how counts differ from the published ones, in no or a few lines to print."""
    different, here, there = [], 0, 0
    for group, full in corpus.published.items():
        for column in next(iter(counts.values())):
            found, wanted = counts.get(group, {}).get(column, 0), full.get(column, 0)
            here, there = here + found, there + wanted
            if found != wanted:
                different.append(
                    f"warning: {corpus.group_name} {group}, {column}: {found}, "
                    f"expected {wanted}; results will not compare"
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
