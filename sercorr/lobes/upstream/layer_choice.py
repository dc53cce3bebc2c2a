"""Which layers of an upstream come out: all of them, or a chosen few."""

import re
from collections.abc import Sequence
from typing import Any

from sercorr.errors import InputError

Layers = str | int | Sequence[int] | None
"""What a person gives: ``all`` or None, one number, ``"0,6,12"`` or ``[0, 6, 12]``."""


def parse_layers(layers: Layers) -> list[int] | None:
    """Read chosen layers in increasing order; None for all of them.

    `InputError` for anything that is no list of different numbers from 0 on.

    Example
    -------
    >>> parse_layers("6,0,12"), parse_layers([2]), parse_layers("all")
    ([0, 6, 12], [2], None)
    """
    if layers is None or layers == "all":
        return None
    given = layers
    if isinstance(given, str) and re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", given):
        given = [int(number) for number in given.split(",")]
    numbers: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    if not numbers or not whole or len(set(numbers)) < len(numbers):
        raise InputError(
            f"layers is {_shown(layers)}; give numbers of layers, each once, with "
            "commas between them, as in 0,6,12; or all"
        )
    return sorted(int(number) for number in numbers)  # YAML has classes of its own


def choose_layers(layers: Layers, count: int, source: str) -> tuple[int, ...]:
    """Return the numbers of the layers that come out of a model, in increasing order.

    Arguments
    ---------
    layers : str, int, sequence of int or None
        What was asked for, see `Layers`.
    count : int
        Number of layers that the model has, L + 1.
    source : str
        Its name, for the `InputError` about a layer that it has not.

    Example
    -------
    >>> choose_layers("all", 3, "a model"), choose_layers("2,0", 3, "a model")
    ((0, 1, 2), (0, 2))
    """
    chosen = parse_layers(layers)
    if chosen is None:
        return tuple(range(count))
    if not 0 <= chosen[0] <= chosen[-1] < count:
        has = f"the layers 0 to {count - 1}" if count > 1 else "one layer, 0"
        raise InputError(
            f"layers is {_shown(layers)}; {source} has {has}: choose among them"
        )
    return tuple(chosen)


def _shown(layers: Layers) -> str:
    if isinstance(layers, list | tuple) and layers:
        return ",".join(map(str, layers))
    return repr(layers)
