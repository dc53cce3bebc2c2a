"""A run's training history: one record an epoch, in ``history.json``."""

import os
from collections.abc import Mapping
from pathlib import Path

from sercorr.errors import InputError
from sercorr.files import read_json, write_json

KEYS = (
    "epoch",
    "updates",
    "train_loss",
    "valid_loss",
    "valid_wa",
    "valid_ua",
)
"""Keys of a record: epoch from 1, updates made since the start of training, mean
losses, rates in percent."""

OPTIONAL_KEYS = ("lr", "seconds")
"""Keys that a record may have: learning rate, duration of the epoch in seconds."""

Record = dict[str, float]


def record_epoch(path: str | os.PathLike, record: Mapping[str, float]) -> None:
    """Add one epoch to a history file, which is written whole or not at all.

    Records of the same and of later epochs are dropped: a run that was resumed from
    a checkpoint makes them again.

    Arguments
    ---------
    path : path
        The ``history.json``; made if missing.
    record : mapping
        One finite number for each of `KEYS`, and for any of `OPTIONAL_KEYS`.

    Raises
    ------
    ValueError
        A key is missing or unknown, or a number is not finite.
    InputError
        The file is there but is no history.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "history.json"
    >>> record = dict.fromkeys(KEYS, 1.0)
    >>> for epoch in (1, 2, 3, 2):
    ...     record_epoch(path, {**record, "epoch": epoch})
    >>> [record["epoch"] for record in read_history(path)]
    [1, 2]
    """
    keys = [key for key in (*KEYS, *OPTIONAL_KEYS) if key in record]
    if len(keys) != len(record) or not set(KEYS) <= set(keys):
        raise ValueError(
            f"a record has the keys {list(KEYS)} and may have {list(OPTIONAL_KEYS)} "
            f"(got {sorted(record)})"
        )
    earlier = [r for r in read_history(path) if r["epoch"] < record["epoch"]]
    write_json(path, [*earlier, {key: record[key] for key in keys}])


def read_history(path: str | os.PathLike) -> list[Record]:
    """Read a history file; a missing file is a history without epochs.

    Raises
    ------
    InputError
        The file is there but is no list of records.

    Example
    -------
    >>> read_history("no/such/history.json")
    []
    """
    if not Path(path).exists():
        return []
    records = read_json(path)
    if not isinstance(records, list) or not all(_is_record(r) for r in records):
        raise InputError(
            f"{path}: not a training history (a list of records with the keys "
            f"{', '.join(KEYS)}); remove it"
        )
    return records


def best_record(records: list[Record]) -> Record:
    """Give the record with the highest validation accuracy.

    Among equals it is the earliest one.

    Example
    -------
    >>> rates = {1: 50.0, 2: 60.0, 3: 60.0, 4: 55.0}
    >>> best_record([{"epoch": e, "valid_wa": wa} for e, wa in rates.items()])
    {'epoch': 2, 'valid_wa': 60.0}
    """
    return max(records, key=lambda record: (record["valid_wa"], -record["epoch"]))


def _is_record(record: object) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(key), int | float) for key in KEYS
    )
