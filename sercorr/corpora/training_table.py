"""The table that is trained on, and its classes where another one is tested."""

import contextlib
import os
from collections.abc import Iterator

from sercorr.corpora.label_maps import LabelMap, Names
from sercorr.corpora.tables import read_table, table_labels
from sercorr.data.utterances import Corpus
from sercorr.errors import InputError


def shared_labels(
    table: str | os.PathLike,
    mapping: LabelMap = None,
    drop: Names = None,
    test_table: str | os.PathLike | None = None,
    test_mapping: LabelMap = None,
    test_drop: Names = None,
) -> list[str]:
    """Return the classes of a table that another one has, too; without one, all.

    Arguments are those of `sercorr.corpora.tables.table_labels`, for both tables. An
    `InputError` lists the classes of both if fewer than two are shared.
    """
    labels = table_labels(table, mapping, drop)
    if test_table is None:
        return labels
    with _test_options(test_table):
        others = table_labels(test_table, test_mapping, test_drop)
    shared = [label for label in labels if label in others]
    if len(shared) < 2:
        raise InputError(
            f"{table} has the classes {', '.join(labels)} and {test_table} has "
            f"{', '.join(others)}: {len(shared)} are shared, at least 2 are needed; "
            "rename some with --map and --test_map, as in --test_map happiness=happy"
        )
    return shared


def read_test_table(
    table: str | os.PathLike, mapping: LabelMap = None, drop: Names = None
) -> Corpus:
    """Read a table that is tested alone; messages name its own options."""
    with _test_options(table):
        return read_table(table, mapping=mapping, drop=drop)


def read_training_table(
    table: str | os.PathLike,
    data_folder: str | os.PathLike | None = None,
    mapping: LabelMap = None,
    drop: Names = None,
    labels: Names = None,
    test_table: str | os.PathLike | None = None,
) -> Corpus:
    """Read a table to train on, with `sercorr.corpora.tables.read_table`.

    Where another table is tested, labels that are not among ``labels`` are left out,
    since the other may lack them; else they are refused.
    """
    wanted = labels if test_table is None else None
    return read_table(table, data_folder, mapping, drop, wanted)


@contextlib.contextmanager
def _test_options(table: str | os.PathLike) -> Iterator[None]:
    """Let messages on a table that is tested name its own options."""
    if "," in os.fspath(table) and not os.path.exists(table):
        raise InputError(
            f"test_table is {os.fspath(table)}; give one table, or several to "
            "run_grid.py"
        )
    try:
        yield
    except InputError as error:
        text = str(error)
        for option in ("map", "drop"):
            text = text.replace(f"--{option} ", f"--test_{option} ")
        raise InputError(text) from error
