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
from sercorr.training.setting_checks import check_settings

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

LEARNING_OPTIONS = (
    "auto_mix_prec",
    "bfloat16_mix_prec",
    "debug",
    "debug_batches",
    "debug_epochs",
    "eval_precision",
    "grad_accumulation_factor",
    "max_grad_norm",
    "nonfinite_patience",
    "optimizer_step_limit",
    "precision",
    "remove_vector_weight_decay",
    "skip_nonfinite_grads",
)
"""SpeechBrain's run options that change what a run learns."""

TEXT_ENDINGS = ("_folder", "_path", "_revision", "_source")
"""Settings of such names are text as it stands: ``/data/a #1`` and ``0123`` are paths,
``12e4567`` is a commit. Only ``null`` has its meaning in YAML."""


BASED_ON = "based_on"
"""Key of a settings file that differs from another in a few values."""


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

    def upstream(self) -> tuple[str, str | None, str | None]:
        """The arguments of `load_upstream` and `upstream_info`."""
        keys = ("upstream_source", "upstream_save_path", "upstream_revision")
        return tuple(self[key] for key in keys)

    def identity(self) -> dict[str, Any]:
        """The plain settings that decide what a run learns, for comparison."""
        options = {
            key: self.run_opts[key]
            for key in LEARNING_OPTIONS
            if key in self.run_opts.overridden_args
        }
        return {
            key: value
            for key, value in sorted({**self.hparams, **options}.items())
            if key not in HOUSEKEEPING and _is_plain(value)
        }


def load_settings(
    arguments: Sequence[str], overrides: dict[str, Any] | None = None
) -> Settings:
    """Read a settings file with overrides, as ``train.py hparams.yaml --key value``.

    A file with the key ``based_on: other.yaml`` (beside it) holds only what differs.

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
    file, inherited = _resolve_base(arguments[0])
    keys = list(_read_tree(file))
    rest, from_command_line = _split(arguments[1:], keys)
    run_opts = _run_options(file, rest, keys)
    given = {**inherited, **from_command_line, **given}
    for name in given:
        if name not in keys:
            raise InputError(f"{name}: {_suggest(name, keys)}")
    try:
        with open(file, encoding="utf-8") as stream:
            hparams = load_hyperpyyaml(stream, given, overrides_must_match=True)
    except InputError:
        raise
    except (ValueError, KeyError, ImportError) as error:
        if "PLACEHOLDER" in str(error):
            key = str(error).split("'")[1]
            raise InputError(f"{key} is not set; add: --{key} VALUE") from None
        raise InputError(f"{file}: {error}") from error
    if "ckpt_interval_steps" in run_opts.overridden_args:
        hparams["ckpt_interval_minutes"] = 0  # SpeechBrain takes one of the two
    settings = Settings(file, given, hparams, run_opts)
    check_settings(hparams)
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


def _resolve_base(file: str) -> tuple[str, dict[str, Any]]:
    """Follow ``based_on``: the file that has all keys, and what is put over it."""
    overrides: dict[str, Any] = {}
    seen = []
    while True:
        seen.append(Path(file).resolve())
        tree = _read_tree(file)
        if BASED_ON not in tree:
            return file, overrides
        base = str(Path(file).with_name(str(tree.pop(BASED_ON))))
        if Path(base).resolve() in seen:
            raise InputError(
                f"{file}: {BASED_ON} leads in a circle; remove one of them"
            )
        overrides = {**tree, **overrides}
        file = base


def _read_tree(file: str) -> dict[str, Any]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file}: no such settings file")
    try:
        tree = ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))
    except ruamel.yaml.YAMLError as error:
        raise InputError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{file}: a mapping of settings was expected")
    return {str(key): value for key, value in tree.items()}


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
        overrides[name] = _scalar(name, value)
    return rest, overrides


def _run_options(file: str, arguments: list[str], keys: Sequence[str]) -> RunOptions:
    """Parse what is left; argparse alone would take ``--prec`` and ignore it."""
    known = [*keys, *RunOptions().keys()]
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        if argument.startswith("--") and name not in known:
            raise InputError(f"--{name}: {_suggest(name, known)}")
    _, run_opts, unknown = RunOptions.from_command_line_args([file, *arguments])
    if unknown:
        name = unknown.split(":")[0].split()[0]
        raise InputError(f"{name}: it belongs to no --key; quote values with spaces")
    return run_opts


def _scalar(name: str, text: str) -> Any:
    if name.endswith(TEXT_ENDINGS) and text not in ("null", "~", ""):
        return text
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
        else (f"the settings are: {', '.join(sorted(set(known)))}")
    )
    return f"no such setting; {hint}"
