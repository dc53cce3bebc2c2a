"""From the labels of a table to classes: ``happy=hap,excited=hap``."""

import difflib
import shlex
from collections.abc import Iterable, Mapping

from sercorr.data.counts import list_counts
from sercorr.errors import InputError

LabelMap = Mapping[str, str] | str | None
"""Label -> class, or text such as ``happy=hap,excited=hap``; None or "": none."""

Names = Iterable[str] | str | None
"""Names, or text such as ``other,xxx``; None or "": none."""


def map_labels(
    source: str,
    counts: Mapping[str, int],
    voted: Iterable[str] = (),
    mapping: LabelMap = None,
    drop: Names = None,
    labels: Names = None,
) -> dict[str, str | None]:
    """Find the class of every label of a table.

    Arguments
    ---------
    source : str
        The table, for messages.
    counts : mapping
        Label -> number of clips.
    voted : iterable of str
        Labels that raters could choose, whether or not a clip has them.
    mapping : mapping or str, optional
        Label -> class, such as ``happy=hap,excited=hap``; other labels are classes
        themselves. A class is not mapped again: ``a=b,b=a`` exchanges two.
    drop : iterable of str, optional
        Labels, as they stand in the table, whose clips are left out.
    labels : iterable of str, optional
        The classes wanted; None for all.

    Returns
    -------
    dict
        Label -> class, or None where it is dropped.

    Raises
    ------
    InputError
        Labels that are neither wanted nor dropped: the message says what to add.
        ``mapping`` or ``drop`` has a label that the table has not, or both have it.

    Example
    -------
    >>> map_labels("a.csv", {"happy": 2, "sad": 3}, mapping="happy=hap", drop="sad")
    {'happy': 'hap', 'sad': None}
    >>> map_labels("a.csv", {"happy": 2, "sad": 3, "calm": 1}, labels=["happy", "sad"])
    Traceback (most recent call last):
    ...
    sercorr.errors.InputError: a.csv: labels that are not wanted: calm (1); wanted are \
happy, sad; to leave them out, add --drop calm; to count one as another, such as \
--map calm=happy
    """
    known = list(dict.fromkeys([*counts, *voted]))
    to, dropped = _read_map(mapping), _read_names(drop)
    for option, names in (("map", list(to)), ("drop", dropped)):
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                close = [each for each in known if _same(each, name)] or close
                hint = f"did you mean {close[0]}? " if close else ""
                raise InputError(
                    f"{source}: --{option} has the label {name!r}, which is not in the "
                    f"table; {hint}its labels are {list_counts(counts)}"
                )
    if both := [name for name in dropped if name in to]:
        raise InputError(
            f"{source}: --map and --drop both have the label {both[0]!r}; remove it "
            "from one of them"
        )
    class_of = {name: None if name in dropped else to.get(name, name) for name in known}
    if labels is not None:
        _require_wanted(source, counts, class_of, to, dropped, _read_names(labels))
    classes = {class_of[name] for name in counts}
    for name in voted:
        voted_for = class_of[name]
        close = [each for each in classes if each and _same(each, voted_for or "")]
        if close and voted_for not in classes:
            raise InputError(
                f"{source}: votes are for {voted_for!r}, the class is {close[0]!r}: "
                f"write them alike, such as --map {shlex.quote(f'{name}={close[0]}')}"
            )
    return class_of


def _require_wanted(
    source: str,
    counts: Mapping[str, int],
    class_of: Mapping[str, str | None],
    to: Mapping[str, str],
    dropped: list[str],
    wanted: list[str],
) -> None:
    others = [name for name in sorted(counts) if class_of[name] not in (None, *wanted)]
    if not others:
        return
    alike = {
        name: label for name in others for label in wanted if _same(name, label)
    } or {others[0]: wanted[0] if wanted else "CLASS"}
    texts = {
        "drop": ",".join([*dropped, *others]),
        "map": ",".join(f"{name}={label}" for name, label in {**to, **alike}.items()),
    }
    drop, new = (f"--{name} {shlex.quote(text)}" for name, text in texts.items())
    hint = ""
    for name in wanted:
        if name not in class_of.values():
            close = difflib.get_close_matches(name, others, n=1)
            hint += f"; {name} is none, did you mean {close[0]}?" if close else ""
    found = ", ".join(
        f"{name} ({counts[name]}{f', as {to[name]}' if name in to else ''})"
        for name in others
    )
    raise InputError(
        f"{source}: labels that are not wanted: {found}; wanted are "
        f"{', '.join(wanted)}{hint}; to leave them out, add {drop}; to count one as "
        f"another, such as {new}"
    )


def _read_map(given: LabelMap) -> dict[str, str]:
    if isinstance(given, Mapping):
        pairs = [
            (str(label).strip(), str(name).strip()) for label, name in given.items()
        ]
    else:
        pairs = []
        for pair in _read_names(given):
            label, mark, name = pair.rpartition("=")
            if not mark:
                raise InputError(f"--map has {pair!r}; write happy=hap,excited=hap")
            pairs.append((label.strip(), name.strip()))
    found: dict[str, str] = {}
    for label, name in pairs:
        if not label or not name:
            raise InputError(f"--map has '{label}={name}'; write happy=hap,excited=hap")
        if found.setdefault(label, name) != name:
            raise InputError(
                f"--map has two classes for {label!r}: {found[label]} and {name}"
            )
    return found


def _read_names(given: Names) -> list[str]:
    parts = given.split(",") if isinstance(given, str) else given or ()
    return list(dict.fromkeys(filter(None, (str(part).strip() for part in parts))))


def _same(first: str, second: str) -> bool:
    return first.casefold() == second.casefold()
