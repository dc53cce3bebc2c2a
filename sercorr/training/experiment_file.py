"""Experiment files: which upstreams, corpora, heads, seeds and folds to run."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.training.grid_file import check_heads, require_name
from sercorr.training.program import parse_numbers
from sercorr.training.settings import plain_tree, read_tree

LISTS = ("upstreams", "corpora", "heads", "seeds", "folds")
"""Axes of an experiment, as its file and the command line name them."""

_KEYS = ("settings", *LISTS, "figures")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What an experiment file says, see `read_experiment`.

    Attributes
    ----------
    file : pathlib.Path
        The file; its name without the ending is the experiment's.
    settings : pathlib.Path
        The settings file that all runs share.
    upstreams : list of str
        Values of ``upstream_source``; none: that of the settings.
    corpora : dict
        Name -> what differs for a corpus: ``settings``, another settings file, and
        values of its keys. None: the corpus of the settings.
    heads : dict
        Name -> overrides of one head, as in a grid.
    seeds, folds : list of int
        None: the seed of the settings, all folds.
    figures : list of dict
        What to draw, see `sercorr.reporting.experiment_plots`.
    """

    file: Path
    settings: Path
    upstreams: list[str]
    corpora: dict[str, dict[str, Any]]
    heads: dict[str, dict[str, Any]]
    seeds: list[int]
    folds: list[int]
    figures: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.file.stem


def read_experiment(path: str | Path) -> Experiment:
    """Read an experiment file.

    It is a mapping: ``settings``, a settings file relative to this one; ``heads``, as
    in a grid; and, as wanted, ``upstreams``, ``corpora``, ``seeds``, ``folds`` and
    ``figures``.

    Raises
    ------
    InputError
        No such file, an unknown key, or a value of another kind.
    """
    path = Path(path)
    tree = read_tree(path, "experiment", "a mapping with settings and heads")
    for key in tree:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else ""
            raise InputError(
                f"{path}: {key}: an experiment has no such key; "
                f"{hint or 'it has ' + ', '.join(_KEYS)}"
            )
    for key in ("settings", "heads"):
        if key not in tree:
            raise InputError(f"{path}: the key {key!r} is missing; add it")
    heads = check_heads(path, tree["heads"])
    for name, overrides in heads.items():
        if "seed" in overrides:
            raise InputError(f"{path}: {name}: seed is an axis; give seeds: [1, 2]")
    plain = plain_tree(tree)
    corpora = plain.get("corpora") or {}
    if not isinstance(corpora, dict) or not all(
        isinstance(value, dict) for value in corpora.values()
    ):
        raise InputError(f"{path}: corpora: a mapping of names to settings is expected")
    for name in corpora:
        require_name(path, name)
    figures = _values(path, plain, "figures", dict)
    for figure in figures:
        keys = {"confusions"} if "confusions" in figure else {"x", "lines", "heads"}
        if unknown := sorted(figure.keys() - keys):
            raise InputError(
                f"{path}: figures: {figure}: {unknown[0]} is none of x, lines, "
                "heads, confusions; give {x: SETTING, lines: SETTING, heads: [a, b]} "
                "or {confusions: [a, b]}"
            )
        for name in (*figure.get("confusions", ()), *figure.get("heads", ())):
            if name not in heads:
                raise InputError(
                    f"{path}: figures: there is no head {name!r}; there are "
                    f"{', '.join(heads)}"
                )
    return Experiment(
        path,
        path.parent / str(plain["settings"]),
        _values(path, plain, "upstreams", str),
        {name: dict(tree["corpora"][name]) for name in corpora},
        heads,
        _values(path, plain, "seeds", int),
        _values(path, plain, "folds", int),
        figures,
    )


def base_settings(path: Path) -> Path:
    """Give the settings file of an experiment, or a settings file itself."""
    if path.is_file() and "heads" in read_tree(path):
        return read_experiment(path).settings
    return path


def _values(path: Path, tree: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    values = tree.get(key) or []
    if not isinstance(values, list) or any(
        not isinstance(value, kind) or isinstance(value, bool) for value in values
    ):
        what = {str: "names", int: "whole numbers", dict: "mappings"}[kind]
        raise InputError(f"{path}: {key} is {values!r}; a list of {what} was expected")
    if kind is not dict and len(set(values)) < len(values):
        raise InputError(f"{path}: {key} is {values!r}; one stands there twice")
    return values


def choose_axes(experiment: Experiment, given: Mapping[str, str]) -> Experiment:
    """Put axes of the command line over those of the file.

    ``given`` maps ``upstreams``, ``corpora``, ``heads``, ``seeds``, ``folds`` and
    ``settings`` to their texts, with commas between values.
    """
    chosen: dict[str, Any] = {}
    for axis in ("seeds", "folds"):
        if axis in given:
            chosen[axis] = parse_numbers(axis, given[axis])
    if "upstreams" in given:
        chosen["upstreams"] = list(dict.fromkeys(given["upstreams"].split(",")))
    for axis in ("heads", "corpora"):
        if axis not in given:
            continue
        known = getattr(experiment, axis)
        names = list(dict.fromkeys(given[axis].split(",")))
        for name in names:
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise InputError(f"--{axis}: {experiment.file} has no {name!r}; {has}")
        chosen[axis] = {name: known[name] for name in names}
    if "settings" in given:
        chosen["settings"] = Path(given["settings"])
    return dataclasses.replace(experiment, **chosen)
