"""What the programs of all recipes share: command line, help, exit statuses."""

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from speechbrain.utils.run_opts import RunOptions

from sercorr.errors import InputError, run_program
from sercorr.fast.memory import keep_freed_memory
from sercorr.lobes.upstream.layer_choice import parse_layers
from sercorr.training.help import format_help
from sercorr.training.settings import (
    Settings,
    make_yaml,
    plain_tree,
    read_settings,
    read_tree,
    suggest,
)

REFUSED_OPTIONS = {
    "test_only": "use evaluate.py to test without training",
    "data_parallel_backend": "one process trains on one device",
    "jit": "a head is trained as it is written",
    "compile": "a head is trained as it is written",
}
"""SpeechBrain's run options that would be ignored here, and what to do instead."""

_TEXT_ENDINGS = ("_folder", "_path", "_revision", "_source", "table")
_LISTS = ("labels", "drop", "test_drop")
_MAPS = ("map", "test_map")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

DEFAULT = Path("hparams") / "train.yaml"


def program(
    main: Callable[[list[str]], int | None],
    about: str | None,
    settings_of: Callable[[Path], Path] = Path,
) -> None:
    """Run a program of a recipe and exit with its status.

    With ``--help``, the program's docstring and the settings are printed instead:
    those of the settings file that is given, or of ``hparams/train.yaml`` beside the
    program.

    ``main`` takes the command line and returns an exit status, or None for 0;
    ``about`` is the program's docstring; ``settings_of`` finds the settings file
    behind the YAML file that is given.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        run_program(lambda: print(_help(arguments, about or "", settings_of)))
    keep_freed_memory()
    run_program(lambda: main(arguments))


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Parse ``HPARAMS.yaml --key value ...`` as SpeechBrain does.

    ``arguments`` are the settings file, ``--key value`` for its keys, and SpeechBrain's
    run options. Nothing is constructed yet. A key in the file that nothing reads brings
    a warning; an unknown one on the command line is an `InputError`, as is a missing
    file or value.
    """
    if not arguments or arguments[0].startswith("-"):
        raise InputError(
            "the settings file is missing: give it as the first argument, as in "
            "hparams/train.yaml; --help explains the rest"
        )
    files, tree = read_settings(arguments[0])
    taken, rest = take_options(tree, arguments[1:])
    overrides = {name: parse_value(name, text) for name, text in taken.items()}
    settings = Settings(files, tree, _run_options(str(files[0]), rest, list(tree)))
    if "ckpt_interval_steps" in settings.run_opts.overridden_args:
        # SpeechBrain takes only one of the two
        overrides["ckpt_interval_minutes"] = 0
    settings = settings.override({k: v for k, v in overrides.items() if k in tree})
    if settings.tree.get("test_table") is not None and "n_folds" not in overrides:
        settings = settings.override({"n_folds": 1})  # all that trains, all that tests
    first = os.environ.get("RANK", "0") == "0"  # torchrun starts several
    given = [*read_tree(files[0]), *overrides]
    for key in settings.unread_keys(given) if first else ():
        others = [other for other in tree if other != key]
        close = difflib.get_close_matches(key, others, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(
            f"warning: {files[0]}: nothing reads the key {key!r}; it has no effect"
            f"{hint}",
            file=sys.stderr,
        )
    return settings


def parse_value(name: str, text: str) -> Any:
    """Read a value of the command line as YAML; places and revisions are text.

    Classes and layers may be given without brackets: ``--labels sad,happy``,
    ``--map happy=hap,excited=hap``, ``--layers 0,6,12``.

    Example
    -------
    >>> parse_value("lr", "1e-3"), parse_value("upstream_revision", "12e4567")
    (0.001, '12e4567')
    >>> parse_value("labels", "sad,no"), parse_value("map", "a=b,c=b")
    (['sad', 'no'], {'a': 'b', 'c': 'b'})
    >>> parse_value("layers", "0,6,12"), parse_value("layers", "all")
    ([0, 6, 12], 'all')
    """
    if name == "layers" and text[:1] != "!":
        return parse_layers(text.strip("[]")) or "all"
    if name.endswith(_TEXT_ENDINGS) and text not in ("null", "~", ""):
        return text
    if name in (*_LISTS, *_MAPS) and text[:1] not in ("[", "{", "!", ""):
        return _read_classes(name, text)
    try:
        value = float(text) if _NUMBER.fullmatch(text) else make_yaml().load(text)
    except YAMLError:
        return text
    if isinstance(value, (CommentedMap, CommentedSeq, TaggedScalar)):
        return value
    return plain_tree(value) if isinstance(value, (bool, int, float)) else value


def _read_classes(name: str, text: str) -> Any:
    """Read ``a,b`` or ``a=b,c=d``; ``null`` is none of them."""
    if text in ("null", "~"):
        return None
    # quoted, or the settings file's reader would take `no` for False
    words = [DoubleQuotedScalarString(word.strip()) for word in text.split(",")]
    if name in _LISTS:
        return words
    pairs = [word.partition("=") for word in words]
    if not all(old and new for old, _, new in pairs):
        raise InputError(
            f"--{name} is {text!r}; give pairs such as happy=hap,excited=hap"
        )
    quote = DoubleQuotedScalarString
    return {quote(old.strip()): quote(new.strip()) for old, _, new in pairs}


def parse_numbers(name: str, text: str) -> list[int]:
    """Read ``1,2,3`` of an option; what stands there twice is taken once.

    Example
    -------
    >>> parse_numbers("folds", "3,1,3")
    [3, 1]
    """
    try:
        return list(dict.fromkeys(int(number) for number in text.split(",")))
    except ValueError:
        raise InputError(
            f"--{name} is {text!r}; give numbers with commas, as in 1,2,3"
        ) from None


def take_options(
    names: Collection[str], arguments: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Take ``--name value`` and ``--name=value`` of some names out of a command line.

    Returns
    -------
    tuple
        Name -> text of the value, and the other arguments.

    Example
    -------
    >>> take_options(["folds"], ["train.yaml", "--folds", "1,3", "--seed=2"])
    ({'folds': '1,3'}, ['train.yaml', '--seed=2'])
    """
    taken: dict[str, str] = {}
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        option, has_value, value = argument.partition("=")
        name = option.removeprefix("--")
        if not option.startswith("--") or name not in names:
            rest.append(argument)
            continue
        if not has_value:
            value = next(remaining, "--")
            if value.startswith("--"):
                raise InputError(f"--{name}: a value is missing after it")
        taken[name] = value
    return taken, rest


def _help(
    arguments: Sequence[str], about: str, settings_of: Callable[[Path], Path]
) -> str:
    given = [Path(text) for text in arguments if text.endswith((".yaml", ".yml"))]
    file = next(filter(Path.is_file, given), Path(sys.argv[0]).parent / DEFAULT)
    file = settings_of(file)
    first = "HPARAMS.yaml" if settings_of is Path else "EXPERIMENT.yaml"
    name = Path(sys.argv[0]).name
    return format_help(name, about, file, REFUSED_OPTIONS, first)


def _run_options(file: str, arguments: list[str], keys: Sequence[str]) -> RunOptions:
    """Parse what is left; argparse alone would take ``--prec`` and ignore it."""
    defaults = RunOptions().as_dict()
    own = ("param_file", "overridden_args")  # no options, but SpeechBrain's records
    known = [k for k in (*keys, *defaults) if not k.startswith("_") and k not in own]
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        name, has_value, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            continue
        if name in ("jobs", "launcher") or name.startswith("slurm_"):
            raise InputError(
                f"--{name} is for run_folds.py, run_grid.py, run_experiment.py and "
                "extract_features.py, which start processes"
            )
        if name not in known:
            raise InputError(f"--{name}: {suggest(name, known)}")
        if defaults.get(name) is False and (has_value or following[:2] != "--"):
            raise InputError(
                f"--{name} takes no value (found {value or following!r}): give "
                f"--{name} alone to switch it on, or leave it out"
            )
    _, run_opts, unknown = RunOptions.from_command_line_args([file, *arguments])
    if unknown:
        name = unknown.split(":")[0].split()[0]
        raise InputError(f"{name}: it belongs to no --key; quote values with spaces")
    for option, instead in REFUSED_OPTIONS.items():
        if run_opts[option]:
            raise InputError(f"--{option} is not for this program: {instead}")
    limit = run_opts.optimizer_step_limit
    if limit is not None:  # SpeechBrain leaves it as text
        if not str(limit).isdigit():
            raise InputError(f"--optimizer_step_limit is {limit!r}; give a number")
        run_opts = dataclasses.replace(run_opts, optimizer_step_limit=int(limit))
    return run_opts
