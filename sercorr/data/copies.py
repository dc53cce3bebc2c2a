"""Files of equal bytes, found without reading all of them."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from sercorr.files import file_digest

_THREADS = 8  # more than cores, as they wait for the disk
_AT_ONCE = 32  # files: handing out single ones takes as long as reading their headers
_HEAD = 1 << 16  # bytes that decide whether a whole file must be read

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def find_equal_files(places: Iterable[str], quiet: bool = False) -> list[list[str]]:
    """Find files of equal bytes; only those that may be equal are read as a whole.

    Raises
    ------
    InputError
        A file cannot be read.

    Example
    -------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, text in (("a", "x"), ("b", "y"), ("c", "x")):
    ...     _ = (folder / name).write_text(text)
    >>> found = find_equal_files(os.fspath(folder / name) for name in "abc")
    >>> [[Path(place).name for place in equal] for equal in found]
    [['a', 'c']]
    """
    groups = [list(places)]
    looks: tuple[tuple[Callable[[str], int | bytes | str], str], ...] = (
        (os.path.getsize, "comparing sizes"),
        (_head, "comparing heads"),
        (file_digest, "comparing files"),
    )
    for look, title in looks:
        asked = [place for group in groups for place in group]
        seen = dict(zip(asked, in_threads(look, asked, title, quiet), strict=True))
        finer: dict[tuple[int, int | bytes | str], list[str]] = defaultdict(list)
        for number, group in enumerate(groups):
            for place in group:
                finer[number, seen[place]].append(place)
        groups = [group for group in finer.values() if len(group) > 1]
    return groups


def in_threads(
    work: Callable[[_Item], _Result], items: Sequence[_Item], title: str, quiet: bool
) -> list[_Result]:
    """Do ``work`` on files in threads, in order, with a progress bar of that title."""

    def some(first: int) -> list[_Result]:
        return [work(item) for item in items[first : first + _AT_ONCE]]

    hidden = True if quiet else None  # None: hidden unless it is a terminal
    results: list[_Result] = []
    pool = ThreadPoolExecutor(_THREADS)
    try:
        with tqdm(desc=title, total=len(items), delay=1, disable=hidden) as bar:
            for found in pool.map(some, range(0, len(items), _AT_ONCE)):
                results += found
                bar.update(len(found))
        return results
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption need not wait for the rest


def _head(place: str) -> bytes:
    with open(place, "rb") as file:
        return file.read(_HEAD)
