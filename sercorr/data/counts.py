"""How many clips of which class a corpus has, and whether its full release does."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sercorr.data.utterances import Corpus, Name, Utterance
from sercorr.errors import InputError

Counts = dict[Name, dict[str, int]]
"""Group -> class, or code where codes are counted apart -> number of clips."""


def check_labels(corpus: Corpus, labels: Sequence[str]) -> list[str]:
    """Return the labels as a list; refuse those of which the corpus has no clip.

    Arguments
    ---------
    corpus : Corpus
        The corpus.
    labels : sequence of str
        The classes that are asked for.

    Returns
    -------
    list of str
        The same.

    Raises
    ------
    InputError
        Fewer than two, or one of them twice, or one that no clip has; the message
        lists the corpus's classes with their counts.
    """
    found = Counter(clip.emotion for clip in corpus.utterances if clip.emotion)
    has = ", ".join(f"{name} ({count})" for name, count in sorted(found.items()))
    wanted = [] if isinstance(labels, str) else [str(label) for label in labels]
    if len(wanted) < 2 or len(set(wanted)) < len(wanted):
        raise InputError(
            f"labels is {labels!r}; give at least two different ones of {corpus.name}'s"
            f' classes, such as --labels "[{",".join(sorted(found)[:2])}]"; it has '
            f"{has}"
        )
    missing = [label for label in wanted if label not in found]
    if missing:
        raise InputError(
            f"labels has {', '.join(missing)}, which no clip of {corpus.name} has; its "
            f"classes are {has}"
        )
    return wanted


def count_clips(
    corpus: Corpus, clips: Sequence[Utterance], labels: Sequence[str]
) -> Counts:
    """Count clips by group and by class or code, zeros included.

    Arguments
    ---------
    corpus : Corpus
        Says which groups there are, and which codes are counted apart.
    clips : sequence of Utterance
        Those that are used.
    labels : sequence of str
        Their classes.

    Returns
    -------
    dict
        Group -> class or code -> number of clips.

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
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(corpus.group_name, overflow="fold")
    for codes in columns:
        table.add_column(" + ".join(codes), justify="right")
    table.add_column("all", justify="right")
    total: Counter = Counter()
    for row in counts.values():
        total.update(row)
    for name, row in (*counts.items(), ("all", total)):
        cells = [" + ".join(str(row[code]) for code in codes) for codes in columns]
        table.add_row(str(name), *cells, str(sum(row.values())))
    Console(highlight=False).print(table)


def full_release_remarks(
    corpus: Corpus, counts: Counts, labels: Sequence[str]
) -> list[str]:
    """Compare with the published counts of the full release.

    Arguments
    ---------
    corpus : Corpus
        Brings the published counts.
    counts : dict
        From `count_clips`.
    labels : sequence of str
        The classes.

    Returns
    -------
    list of str
        Lines to print: none where all agree, a note where this is plainly not the full
        release, warnings where it should be but differs.
    """
    if not corpus.published:
        return []
    columns = list(next(iter(counts.values())))
    full = {
        group: {column: row.get(column, 0) for column in columns}
        for group, row in corpus.published.items()
    }
    totals = list(corpus.totals.values())
    if counts == full and all(found == wanted for found, wanted in totals):
        return []

    def describe(table: Counts, side: int) -> str:
        clips = sum(sum(row.values()) for row in table.values())
        named = [f"{pair[side]} {name}" for name, pair in corpus.totals.items()]
        return ", ".join([*named, f"{clips} clips in {len(labels)} classes"])

    if totals and totals[0][0] != totals[0][1]:
        return [f"note: not the full release of {corpus.name}: {describe(counts, 0)}"]
    return [
        f"warning: the full release of {corpus.name} has {describe(full, 1)}, but here "
        f"are {describe(counts, 0)}; results will not compare",
        *(
            f"warning: {corpus.group_name} {group}, {column}: {here}, expected {wanted}"
            for group, row in full.items()
            for column, wanted in row.items()
            if (here := counts.get(group, {}).get(column, 0)) != wanted
        ),
    ]
