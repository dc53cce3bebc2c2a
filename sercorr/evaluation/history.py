"""A run's training history: one record per epoch, in ``history.json``."""

import os
from collections.abc import Mapping
from pathlib import Path

from sercorr.errors import InputError
from sercorr.files import read_json, write_json

KEYS = ("epoch", "updates", "train_loss", "valid_loss", "valid_wa", "valid_ua")
"""What every record has: the epoch from 1, the updates since the start of training,
mean losses in nats, rates in percent. It may hold more numbers, such as ``lr``."""

Record = dict[str, float]


def record_epoch(path: str | os.PathLike, record: Mapping[str, float]) -> None:
    """Add one epoch to a history file, which is written whole or not at all.

    Records of the same and of later epochs are dropped: a run that was resumed from
    a checkpoint makes them again.
    """
    if not _is_record(dict(record)):
        raise ValueError(
            f"a record needs a number for each of {list(KEYS)} (got {dict(record)})"
        )
    earlier = [r for r in read_history(path) if r["epoch"] < record["epoch"]]
    write_json(path, [*earlier, dict(record)])


def read_history(path: str | os.PathLike) -> list[Record]:
    """Read a history file; a missing file is a history without epochs."""
    if not Path(path).exists():
        return []
    records = read_json(path)
    if not isinstance(records, list) or not all(map(_is_record, records)):
        raise InputError(
            f"{path}: not a training history (a list of records with the keys "
            f"{', '.join(KEYS)}); remove it"
        )
    return records


def _is_record(record: object) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(key), int | float) for key in KEYS
    )
