"""Settings of a run: a HyperPyYAML file, command-line overrides, run options.

A HyperPyYAML file can construct any Python object: run only files that you trust.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

from sercorr.errors import InputError

HOUSEKEEPING = frozenset(
    {
        "data_folder",
        "output_folder",
        "manifest_folder",
        "cache_folder",
        "cache_dtype",
        "fold_folder",
        "checkpoint_folder",
        "upstream_save_path",
        "num_workers",
        "preload",
        "max_batch_seconds",
        "use_tensorboard",
        "ckpt_interval_minutes",
        "ckpt_interval_steps",
    }
)
"""Settings that do not change what a run learns: they may differ on resuming."""


@dataclass(frozen=True)
class Settings:
    """What one command runs with.

    Attributes
    ----------
    file : str
        The HyperPyYAML file.
    overrides : dict
        Settings given on the command line.
    hparams : dict
        The constructed settings.
    run_opts : speechbrain.utils.run_opts.RunOptions
        Device, precision and the like.
    """

    file: str
    overrides: dict[str, Any]
    hparams: dict[str, Any]
    run_opts: RunOptions

    def __getitem__(self, key: str) -> Any:
        """Look one setting up; a missing one is an `InputError`."""
        try:
            return self.hparams[key]
        except KeyError:
            raise InputError(
                f"{self.file}: the key {key!r} is missing; add it"
            ) from None

    def identity(self) -> dict[str, Any]:
        """The plain settings that decide what a run learns, for comparison."""
        return {
            key: value
            for key, value in sorted(self.hparams.items())
            if key not in HOUSEKEEPING and _is_plain(value)
        }


def load_settings(
    arguments: Sequence[str], overrides: dict[str, Any] | None = None
) -> Settings:
    """Read a settings file with overrides, as ``train.py hparams.yaml --key value``.

    Arguments
    ---------
    arguments : sequence of str
        The settings file, ``--key value`` for its keys, and SpeechBrain's run options
        (``--device``, ``--precision``, ``--noprogressbar`` ...).
    overrides : dict
        More overrides; they win over ``arguments``.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        No such file or key, a value out of range, or a key that must be given.
    """
    arguments, given = list(arguments), dict(overrides or {})
    if not arguments or arguments[0].startswith("--"):
        raise InputError("the settings file is missing: give it as the first argument")
    file = arguments[0]
    keys = _top_level_keys(file)
    rest, from_command_line = _split(arguments[1:], keys)
    _, run_opts, unknown = RunOptions.from_command_line_args([file, *rest])
    if unknown:
        name = unknown.split(":")[0].split()[0]
        raise InputError(f"--{name}: {_suggest(name, [*keys, *RunOptions().keys()])}")
    given = {**from_command_line, **given}
    for name in given:
        if name not in keys:
            raise InputError(f"{name}: {_suggest(name, keys)}")
    try:
        with open(file, encoding="utf-8") as stream:
            hparams = load_hyperpyyaml(stream, given, overrides_must_match=True)
    except InputError:
        raise
    except (ValueError, KeyError) as error:
        if "PLACEHOLDER" in str(error):
            key = str(error).split("'")[1]
            raise InputError(f"{key} is not set; add: --{key} VALUE") from None
        raise InputError(f"{file}: {error}") from error
    settings = Settings(file, given, hparams, run_opts)
    _check_ranges(settings)
    return settings


def digest(value: Any) -> str:
    """Short SHA-256 of a JSON-able value, the same for the same content.

    Example
    -------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _top_level_keys(file: str) -> list[str]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file}: no such settings file")
    try:
        tree = ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))
    except ruamel.yaml.YAMLError as error:
        raise InputError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{file}: a mapping of settings was expected")
    return [str(key) for key in tree]


def _split(
    arguments: Sequence[str], keys: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """Take ``--key value`` and ``--key=value`` of the file's keys out of the rest."""
    own = set(keys) - set(RunOptions().keys())
    rest: list[str] = []
    overrides: dict[str, Any] = {}
    remaining = iter(arguments)
    for argument in remaining:
        name, has_value, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in own:
            rest.append(argument)
            continue
        if not has_value:
            value = next(remaining, None)
            if value is None or value.startswith("--"):
                raise InputError(f"--{name}: a value is missing after it")
        overrides[name] = _scalar(value)
    return rest, overrides


def _scalar(text: str) -> Any:
    try:
        value = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except ruamel.yaml.YAMLError:
        return text
    return value if _is_plain(value) else text


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    hint = (
        f"did you mean {' or '.join(close)}?"
        if close
        else (f"the settings are: {', '.join(sorted(known))}")
    )
    return f"no such setting; {hint}"


def _check_ranges(settings: Settings) -> None:
    def check(key: str, kind: type | tuple, low: float, high: float, text: str) -> None:
        value = settings.hparams.get(key, low)
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise InputError(f"{key} is {value!r}; it must be {text}")

    infinity, number = float("inf"), (int, float)
    folds = settings.hparams.get("n_folds", 1)
    check("fold", int, 1, folds, f"one of {', '.join(map(str, range(1, folds + 1)))}")
    for key in (
        "number_of_epochs",
        "updates_per_epoch",
        "batch_size",
        "n_heads",
        "projection_size",
    ):
        check(key, int, 1, infinity, "a whole number, at least 1")
    check("num_workers", int, 0, infinity, "a whole number, at least 0")
    check("seed", int, 0, 2**31, "a whole number from 0 to 2^31")
    check("label_smoothing", number, 0, 1, "a number from 0 to 1")
    check("channel_dropout", number, 0, 1 - 1e-9, "a number at least 0, under 1")
    check("lr", number, 1e-12, infinity, "a number over 0")
    check("max_batch_seconds", number, 1e-3, infinity, "a number over 0")
