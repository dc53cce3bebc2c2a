"""Grid files: names of heads, and the settings that are each head's own."""

import re
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.training.settings import read_tree

EXPECTED = "a mapping from names to settings"
"""What heads are in a file."""

SHARED = frozenset(
    """
    allow_shared_speakers brain_class cache_dtype cache_folder checkpoint_folder corpus
    data_folder drop extract_precision fold fold_by fold_folder labels layers
    manifest_folder map max_batch_seconds n_folds num_workers output_folder preload
    skip_bad_audio split_seed table test_drop test_map test_table threads upstream
    upstream_revision upstream_save_path upstream_source valid_by valid_ratio
    valid_session
    """.split()
)
"""Settings that all heads of a grid share: data, folds, upstream and features."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RESERVED = re.compile(r"(fold|seed)_\d+|manifests|features|plots|jobs", re.IGNORECASE)


def read_grid(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a grid file: name -> overrides of one head.

    For instance ``{att4: {n_heads: 4}, mean: {pooling: mean, lr: 0.001}}``. Values
    may be tagged (``opt_class: !name:torch.optim.SGD {lr: 0.1}``), and
    ``seed: [1, 2, 3]`` makes one head for each seed. Of an experiment file, its
    ``heads`` are the grid.

    Returns
    -------
    dict
        Folder below the grid's -> overrides, in the file's order. The folder is the
        head's name, and ``seed_S`` below that where it has several seeds.

    Raises
    ------
    InputError
        No such file, not a mapping of mappings, a name that is no folder's name, or a
        setting that all heads share.
    """
    path = Path(path)
    heads: dict[str, dict[str, Any]] = {}
    grid = read_tree(path, "grid", EXPECTED)
    if "settings" in grid:  # an experiment
        grid = grid.get("heads")
    for name, overrides in check_heads(path, grid).items():
        seeds = overrides.get("seed")
        if isinstance(seeds, list):
            if not seeds:
                raise InputError(f"{path}: {name}: seed is an empty list; give some")
            for seed in seeds:
                heads[f"{name}/seed_{seed}"] = {**overrides, "seed": seed}
        else:
            heads[name] = overrides
    return heads


def check_heads(place: str | Path, heads: Any) -> dict[str, dict[str, Any]]:
    """Check what a file says of heads: name -> overrides of settings.

    ``place`` is the file, for messages. Raises `InputError` where it is no such
    mapping, a name is no folder's, or a setting is one that all heads share.
    """
    if not isinstance(heads, dict) or not heads:
        raise InputError(f"{place}: {EXPECTED} was expected")
    for name, overrides in heads.items():
        require_name(place, name)
        if not isinstance(overrides, dict | None):
            raise InputError(f"{place}: {name}: a mapping of settings was expected")
        if shared := sorted(SHARED & (overrides or {}).keys()):
            raise InputError(
                f"{place}: {name}: {shared[0]} is the same for all heads; give it on "
                "the command line"
            )
    return {str(name): dict(overrides or {}) for name, overrides in heads.items()}


def require_name(place: str | Path, name: Any) -> None:
    """Refuse a name that cannot be that of a folder among the results."""
    if not _NAME.fullmatch(str(name)) or _RESERVED.fullmatch(str(name)):
        raise InputError(
            f"{place}: {str(name)!r} cannot name a head's folder; use letters, digits, "
            "_ and -, and no name such as fold_1"
        )
