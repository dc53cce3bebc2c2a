"""Ranges of the settings: a value that cannot work is refused before any work."""

from collections.abc import Mapping
from typing import Any

from sercorr.errors import InputError


def check_settings(hparams: Mapping[str, Any]) -> None:
    """Check the plain settings of a run; a key that is not there is not checked.

    Arguments
    ---------
    hparams : mapping
        Settings by name, as read from a settings file.

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
    _check_kinds(hparams)
    _check_ranges(hparams)


def _check_kinds(hparams: Mapping[str, Any]) -> None:
    for key in (
        "data_folder",
        "output_folder",
        "manifest_folder",
        "fold_folder",
        "checkpoint_folder",
        "upstream_source",
    ):
        if not hparams.get(key, "not used"):
            raise InputError(f"{key} is {hparams[key]!r}; it must be given")
    for key in ("skip_bad_audio", "use_tensorboard"):
        if not isinstance(hparams.get(key, False), bool):
            raise InputError(f"{key} is {hparams[key]!r}; it must be True or False")
    labels = hparams.get("labels", ["a", "b"])
    texts = isinstance(labels, list) and all(isinstance(name, str) for name in labels)
    if not texts or not len(set(labels)) == len(labels) > 1:
        raise InputError(f"labels is {labels!r}; it must be a list of different names")


def _check_ranges(hparams: Mapping[str, Any]) -> None:
    def check(key: str, kind: type | tuple, low: float, high: float, text: str) -> None:
        value = hparams.get(key, low)
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise InputError(f"{key} is {value!r}; it must be {text}")

    infinity, number = float("inf"), (int, float)
    check("n_folds", int, 1, infinity, "a whole number, at least 1")
    folds = hparams.get("n_folds", 1)
    check("fold", int, 1, folds, f"one of {', '.join(map(str, range(1, folds + 1)))}")
    for key in (
        "number_of_epochs",
        "updates_per_epoch",
        "batch_size",
        "n_heads",
    ):
        check(key, int, 1, infinity, "a whole number, at least 1")
    check("projection_size", int, 2, infinity, "a whole number, at least 2")
    check("num_workers", int, 0, infinity, "a whole number, at least 0")
    check("seed", int, 0, 2**31, "a whole number from 0 to 2^31")
    check("label_smoothing", number, 0, 1, "a number from 0 to 1")
    check("channel_dropout", number, 0, 1 - 1e-9, "a number at least 0, under 1")
    check("lr", number, 1e-12, 1e6, "a number over 0, up to 1e6")
    check("max_batch_seconds", number, 1e-3, infinity, "a number over 0")
