"""Ranges of the settings: a value that cannot work is refused before any work."""

from collections.abc import Collection, Mapping
from typing import Any

from sercorr.data.splits import VALID_BY
from sercorr.errors import InputError
from sercorr.evaluation.metrics import RATES

_WHOLE, _NUMBER = (int,), (int, float)
_RANGES: dict[str, tuple[tuple[type, ...], float, float, str]] = {
    "n_folds": (_WHOLE, 1, float("inf"), "a whole number, at least 1"),
    "number_of_epochs": (_WHOLE, 1, float("inf"), "a whole number, at least 1"),
    "updates_per_epoch": (_WHOLE, 1, float("inf"), "a whole number, at least 1"),
    "batch_size": (_WHOLE, 1, float("inf"), "a whole number, at least 1"),
    "n_heads": (_WHOLE, 1, float("inf"), "a whole number, at least 1"),
    "projection_size": (_WHOLE, 2, float("inf"), "a whole number, at least 2"),
    "num_workers": (_WHOLE, 0, float("inf"), "a whole number, at least 0"),
    "seed": (_WHOLE, 0, 2**31, "a whole number from 0 to 2^31"),
    "split_seed": (_WHOLE, 0, 2**31, "a whole number from 0 to 2^31"),
    "label_smoothing": (_NUMBER, 0, 1, "a number from 0 to 1"),
    "channel_dropout": (_NUMBER, 0, 1 - 1e-9, "a number at least 0, under 1"),
    "lr": (_NUMBER, 1e-12, 1e6, "a number over 0, up to 1e6"),
    "max_batch_seconds": (_NUMBER, 1e-3, float("inf"), "a number over 0"),
}
_CHOICES: dict[str, Collection[Any]] = {
    "skip_bad_audio": (True, False),
    "preload": ("auto", True, False),
    "cache_dtype": ("float16", "bfloat16", "float32"),
    "extract_precision": ("fp32", "bf16"),
    "fold_by": ("group", "speaker", "official"),
    "valid_by": VALID_BY,
    "allow_shared_speakers": (False, True),
    "select_by": RATES,
    "class_weights": ("none", "balanced"),
    "targets": ("labels", "votes"),
}
_REQUIRED = (
    "data_folder",
    "output_folder",
    "manifest_folder",
    "fold_folder",
    "checkpoint_folder",
    "upstream_source",
)


def check_settings(values: Mapping[str, Any]) -> None:
    """Check the plain settings of a run; what is not there, or refers, is not checked.

    Arguments
    ---------
    values : mapping
        Settings by name, see `sercorr.training.settings.plain_tree`.

    Raises
    ------
    InputError
        A value is of the wrong kind or out of range; it names the key, the value and
        what is possible.

    Example
    -------
    >>> check_settings({"fold": 9, "n_folds": 5})
    Traceback (most recent call last):
    ...
    sercorr.errors.InputError: fold is 9; it must be one of 1, 2, 3, 4, 5
    """
    for key in _REQUIRED:
        if not values.get(key, "not used"):
            raise InputError(f"{key} is {values[key]!r}; it must be given")
    for key, choices in _CHOICES.items():
        value = values.get(key, next(iter(choices)))
        if not _refers(value) and not any(value is c or value == c for c in choices):
            raise InputError(
                f"{key} is {value!r}; it must be one of {', '.join(map(str, choices))}"
            )
    labels = values.get("labels", ["a", "b"])
    texts = isinstance(labels, list) and all(isinstance(name, str) for name in labels)
    if not _refers(labels) and not (texts and len(set(labels)) == len(labels) > 1):
        raise InputError(f"labels is {labels!r}; it must be a list of different names")
    if values.get("threads") is not None:
        text = "a whole number, at least 1, or null"
        _check_range(values, "threads", _WHOLE, 1, float("inf"), text)
    for key, (kinds, low, high, text) in _RANGES.items():
        _check_range(values, key, kinds, low, high, text)
    folds = values.get("n_folds", 1)
    if not _refers(folds):
        text = f"one of {', '.join(map(str, range(1, min(folds, 20) + 1)))}"
        _check_range(values, "fold", _WHOLE, 1, folds, text)


def _check_range(
    values: Mapping[str, Any],
    key: str,
    kinds: tuple[type, ...],
    low: float,
    high: float,
    text: str,
) -> None:
    value = values.get(key, low)
    if _refers(value):
        return
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if key not in values or (fits and low <= value <= high):
        return
    raise InputError(f"{key} is {value!r}; it must be {text}")


def _refers(value: Any) -> bool:
    """Whether a value is made when the file is loaded, by a tag or a reference."""
    tagged = isinstance(value, dict) and "tag" in value
    return tagged or (isinstance(value, str) and value.startswith("!"))
