"""How many threads torch computes with: last bits of its results depend on it."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Compute with ``count`` threads within it.

    Example
    -------
    >>> with use_threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
