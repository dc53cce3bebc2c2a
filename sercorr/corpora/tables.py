"""Any corpus that a table describes: one row for each clip.

Columns, however they are capitalised: ``file``, ``emotion`` and ``speaker``; and where
there is something to say ``start``, ``end``, ``group``, ``split`` or ``fold``, ``id``,
``gender``, ``style``, ``trait_<name>`` and ``votes_<label>``. Others are not read. The
folder of an audformat database is a table, too.
"""

import csv
import difflib
import functools
import io
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from sercorr.corpora.audformat_tables import (
    is_audformat,
    read_audformat,
    split_audformat,
)
from sercorr.corpora.label_maps import LabelMap, Names, map_labels
from sercorr.corpora.rows import Row, read_rows
from sercorr.corpora.table_clips import TRAIT_PREFIX, TRAITS, default_id, read_clips
from sercorr.corpora.table_notes import describe_clips
from sercorr.corpora.table_votes import PREFIX, add_votes, vote_columns
from sercorr.data.utterances import Corpus
from sercorr.errors import InputError
from sercorr.files import write_text

REQUIRED = ("file", "emotion", "speaker")
COLUMNS = (*REQUIRED, "start", "end", "group", "split", "fold", "id", *TRAITS)
"""Columns with fixed names; beside them ``trait_<name>`` and ``votes_<label>``."""

_HINTS = {
    "file": "name each clip's audio file in it",
    "emotion": "write each clip's label in it",
    "speaker": "name in it who speaks, and write unknown where nobody knows",
}


def read_table(
    table: str | os.PathLike,
    data_folder: str | os.PathLike | None = None,
    mapping: LabelMap = None,
    drop: Names = None,
    labels: Names = None,
) -> Corpus:
    """Read a table of clips.

    Arguments
    ---------
    table : path
        A file as `sercorr.corpora.rows.read_rows` takes it, or the folder of an
        audformat database; ``FOLDER#TABLE`` names the table (or tables, separated by
        commas) of one with several.

        ``file`` is absolute or relative to ``data_folder``. ``start`` and ``end`` are
        seconds, or times as pandas writes them; an empty ``end`` is the file's. A clip
        without an ``emotion`` is left out. An empty ``speaker`` is unknown. ``group``
        is what ``fold_by: group`` leaves out, the speaker if there is no such column.
        ``split`` (train, dev, test) or ``fold`` are official ones. ``id`` is unique; by
        default it is the file and, after #, the part of it. ``votes_<label>`` counts
        the raters that chose a label, or is their share; shares changed by label
        smoothing (see `sercorr.corpora.table_votes.find_smoothing`) are changed back,
        and a note says so. ``gender``, ``style`` and ``trait_<name>`` are what else is
        known of a clip, in any words; an empty cell, or ``unknown``, says nothing.
    data_folder : path, optional
        By default `table_folder`.
    mapping, drop, labels
        See `sercorr.corpora.label_maps.map_labels`. Votes for labels of one class are
        added; those for dropped labels are not kept.

    Returns
    -------
    Corpus
        With all clips: where a label is dropped or missing, ``emotion`` is None.
        ``code`` is the label where the class has another name or several labels.

    Raises
    ------
    InputError
        The file is not such a table, a column is missing, labels are not known, or
        lines make no sense (up to 20 are listed): a clip that is there twice, with two
        labels for instance, or a part of a file with no length.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "calls.csv"
    >>> _ = path.write_text(
    ...     "file,end,emotion,speaker\\na.wav,1.5,happy,Anna\\nb.wav,,sad,Ben\\n"
    ... )
    >>> corpus = read_table(path, mapping="happy=hap")
    >>> [(clip.id, clip.emotion, clip.speaker) for clip in corpus.utterances]
    [('a.wav#0.0-1.5', 'hap', 'Anna'), ('b.wav', 'sad', 'Ben')]
    """
    source = os.fspath(table)
    rows = _read(source)
    voted = vote_columns(source, rows[0])
    counts = Counter(label for row in rows if (label := row.text("emotion")))
    class_of = map_labels(source, counts, voted, mapping, drop, labels)
    folder = table_folder(source) if data_folder is None else os.fspath(data_folder)
    clips, votes = read_clips(source, rows, folder, class_of, voted)
    notes = describe_clips(clips, rows)
    if voted:
        clips, more = add_votes(clips, votes, [class_of[label] for label in voted])
        notes += more
    labels_of: dict[str, list[str]] = {}
    for label in sorted(counts):
        if name := class_of[label]:
            labels_of.setdefault(name, []).append(label)
    return Corpus(
        name=_name(source),
        data_folder=folder,
        utterances=clips,
        group_name="group" if "group" in rows[0] else "speaker",
        codes={name: some for name, some in labels_of.items() if len(some) > 1},
        notes=notes,
    )


def table_labels(
    table: str | os.PathLike, mapping: LabelMap = None, drop: Names = None
) -> list[str]:
    """Return the classes of a table, sorted; a table that has not changed is read once.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "calls.csv"
    >>> _ = path.write_text("file,emotion,speaker\\na.wav,happy,A\\nb.wav,sad,B\\n")
    >>> table_labels(path, mapping="happy=hap")
    ['hap', 'sad']
    """
    source = os.fspath(table)
    counts, voted = _labels(source, _state(source))
    classes = map_labels(source, dict(counts), voted, mapping, drop)
    return sorted({name for label, _ in counts if (name := classes[label])})


def table_folder(table: str | os.PathLike) -> str:
    """Return what the files of a table are relative to: its folder.

    Example
    -------
    >>> table_folder("calls/table.csv"), table_folder("table.csv")
    ('calls', '.')
    """
    source = os.fspath(table)
    folder = split_audformat(source)[0] if is_audformat(source) else ""
    return folder or os.path.dirname(source) or "."


def write_table(corpus: Corpus, path: str | os.PathLike) -> int:
    """Write the clips of a corpus as a table that `read_table` reads back.

    Arguments
    ---------
    corpus : Corpus
        Codes and the raters' own words are not written: a table has no column for them.
    path : path
        Where to write CSV. Files in its folder, at any depth, are written relative to
        it; others are absolute.

    Returns
    -------
    int
        Clips that are left out, as they belong to no class.

    Raises
    ------
    InputError
        There are clips with an official split and clips with an official fold, or a
        place where nothing can be written.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "table.csv"
    >>> from sercorr.data.utterances import Utterance
    >>> clips = [Utterance("a", "a.wav", "sad", "Ann", 1, vote_counts={"sad": 3})]
    >>> write_table(Corpus("Diary", path.parent, clips), path)
    0
    >>> print(path.read_text(), end="")
    file,emotion,speaker,group,id,votes_sad
    a.wav,sad,Ann,1,a,3
    """
    clips = [clip for clip in corpus.utterances if clip.emotion is not None]
    kinds = [
        k for k in ("split", "fold") if any(getattr(c, k) is not None for c in clips)
    ]
    if len(kinds) == 2:
        raise InputError(f"{path}: a table cannot have both a split and folds")
    folder = Path(os.path.abspath(path)).parent.as_posix()
    data_folder = os.path.abspath(corpus.data_folder)
    classes = sorted({name for clip in clips for name in clip.vote_counts or ()})
    traits = sorted({name for clip in clips for name in clip.traits or ()})
    rows = []
    for clip in clips:
        file = Path(data_folder, clip.wav).as_posix().removeprefix(f"{folder}/")
        given, words = clip.vote_counts, clip.traits or {}
        rows.append(
            {
                "file": file,
                "start": str(float(clip.start)) if clip.start else "",
                "end": _text(clip.end and float(clip.end)),
                "emotion": clip.emotion,
                "speaker": clip.speaker,
                "group": "" if clip.group == clip.speaker else str(clip.group),
                **{kind: _text(getattr(clip, kind)) for kind in kinds},
                "id": ""
                if clip.id == default_id(file, clip.start, clip.end)
                else clip.id,
                **{
                    name if name in TRAITS else TRAIT_PREFIX + name: words.get(name, "")
                    for name in traits
                },
                **{
                    PREFIX + name: "" if given is None else f"{given.get(name, 0)}"
                    for name in classes
                },
            }
        )
    used = [c for c in rows[0] if any(row[c] for row in rows)] if rows else REQUIRED
    for row, clip in zip(rows, clips, strict=True):
        row |= {"group": str(clip.group), "id": clip.id}  # all, if one is needed
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, used, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
    return len(corpus.utterances) - len(clips)


def require_columns(
    source: str | os.PathLike, columns: Collection[str], required: Iterable[str]
) -> None:
    """Refuse a table without a column; the message has what is nearest to its name."""
    for name in required:
        if name not in columns:
            by_name = {column.lower(): column for column in columns}
            close = difflib.get_close_matches(name, by_name)
            near = [by_name[each] for each in close if by_name[each] not in COLUMNS][:1]
            raise InputError(
                f"{source}: no column named {name}, but {', '.join(columns)}; "
                + (f"did you mean {near[0]}? rename it" if near else _HINTS[name])
            )


def _read(source: str) -> list[Row]:
    rows = (
        read_audformat(source) if is_audformat(source) else read_rows(source, COLUMNS)
    )
    require_columns(source, rows[0], REQUIRED)
    if "split" in rows[0] and "fold" in rows[0]:
        raise InputError(f"{source}: columns named split and fold; remove one of them")
    return rows


def _name(source: str) -> str:
    place = Path(split_audformat(source)[0]).absolute()
    return place.name if place.is_dir() else place.stem


def _text(value: int | str | float | None) -> str:
    return "" if value is None else str(value)


def _state(source: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of what `_read` reads: the file, or the database's."""
    place = Path(split_audformat(source)[0])
    files = sorted(place.glob("db*")) if place.is_dir() else [place]
    found = [(file, file.stat()) for file in files if file.exists()]
    return tuple((str(f.absolute()), s.st_size, s.st_mtime_ns) for f, s in found)


@functools.lru_cache(maxsize=8)
def _labels(
    source: str, state: tuple[tuple[str, int, int], ...]
) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """Return labels with their numbers of clips, and those with a column of votes."""
    rows = _read(source)
    counts = Counter(label for row in rows if (label := row.text("emotion")))
    return tuple(counts.items()), tuple(vote_columns(source, rows[0]))
