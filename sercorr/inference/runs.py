"""The heads that a training has left in its folder."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from safetensors import SafetensorError, safe_open
from speechbrain.utils.run_opts import RunOptions
from torch import nn

from sercorr.errors import InputError
from sercorr.evaluation.runs import read_fold
from sercorr.files import read_json
from sercorr.inference.parts import (
    ModelParts,
    open_upstream,
    require_same_upstream,
)
from sercorr.lobes.described import build_head
from sercorr.training.settings import (
    Settings,
    add_module_folders,
    closure,
    named_classes,
    read_settings,
)
from sercorr.training.sources import source_digests

HEAD = "head.safetensors"
_UPSTREAMS = ("!new:sercorr.lobes.Upstream", "!new:sercorr.lobes.upstream.Upstream")


def read_run(
    folder: str | os.PathLike,
    fold: int | Literal["all"] | None = None,
    upstream_source: str | os.PathLike | None = None,
) -> ModelParts:
    """Read one fold's head, or those of all folds, with their upstream.

    Probabilities are those of ``predictions.csv``, unless the run was evaluated with
    ``--eval_precision`` other than fp32: heads compute in float32 here.

    Arguments and errors are those of `EmotionRecognizer.from_run`.
    """
    folder = Path(folder)
    folders = _fold_folders(folder, fold)
    found = [_read_fold_head(each) for each in folders]
    about, record, _ = found[0]
    for place, (other, _, _) in zip(folders, found, strict=True):
        for key in ("labels", "upstream", "features"):
            if other[key] != about[key]:
                raise InputError(
                    f"{place}: its {key} are not those of {folders[0]}: these are "
                    "different runs; choose one fold"
                )
    own = _has_own_upstream(about)
    upstream = None
    if not own:
        recorded, identity = record["upstream_source"], about["upstream"]
        upstream = open_upstream(
            upstream_source,
            recorded,
            record.get("upstream_revision"),
            identity.get("layers"),
            f"the upstream that the head was trained with, {recorded} "
            f"({identity['model_type']}, digest {identity['digest'][:12]}...)",
        )
    if own and upstream_source is not None:
        raise InputError(
            f"the upstream is {upstream_source}, but the run has one of its own class; "
            "leave this option out"
        )
    heads: list[nn.Module] = []
    for place, (each, its, tensors) in zip(folders, found, strict=True):
        if own or each["head"] is None:
            parts = _load_own_parts(place, its, upstream_source)
            upstream = parts["upstream"] if upstream is None else upstream
            head = parts["modules"]["head"]
        else:
            head = build_head(each["head"])
        try:
            head.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(
                f"{place / HEAD}: its tensors do not fit the head ({error}); "
                "train again"
            ) from None
        heads.append(head)
    assert upstream is not None  # there is at least one head
    require_same_upstream(upstream, about, str(folder))
    read = [read_fold(place) for place in folders if (place / "metrics.json").exists()]
    return ModelParts(
        name=str(folder),
        labels=list(about["labels"]),
        upstream=upstream,
        heads=heads,
        features=about["features"],
        about={
            "upstream_source": upstream.info.source,
            "upstream_revision": upstream.info.revision,
            "folds": [its["fold"] for _, its, _ in found],
            "n_folds": record["n_folds"],
            "metrics": [metrics for metrics, _ in read],
            "settings": about["settings"],
            **{key: record[key] for key in ("corpus", "test_corpus") if key in record},
            "speakers": [its["speakers"] for _, its, _ in found if "speakers" in its],
        },
    )


def _fold_folders(folder: Path, fold: int | str | None) -> list[Path]:
    """Find the folders ``fold_K`` that have the heads."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if (folder / HEAD).is_file():
        only = read_json(folder / "run.json")["fold"]
        if fold not in (None, only):
            raise InputError(
                f"{folder}: fold is {fold}, but this is fold {only} alone; give the "
                "folder above it"
            )
        return [folder]
    fold = 1 if fold is None else fold
    there = {
        int(path.parent.name[5:]): path.parent
        for path in folder.glob(f"fold_*/{HEAD}")
        if re.fullmatch(r"fold_[1-9][0-9]*", path.parent.name)
    }
    if not there:
        deeper = {path.parents[1] for path in folder.rglob(f"fold_*/{HEAD}")}
        heads = sorted(path.relative_to(folder).as_posix() for path in deeper)
        hint = f"choose one of the heads in it: {', '.join(heads)}"
        raise InputError(
            f"{folder}: no trained head there (no fold_K/{HEAD}); "
            + (hint if heads else "give the output_folder of a finished run")
        )
    if fold != "all":
        if fold not in there:
            numbers = ", ".join(map(str, sorted(there)))
            raise InputError(
                f"{folder}: fold is {fold}, but heads are there of fold {numbers}; "
                "choose one of them"
            )
        return [there[int(fold)]]
    record = read_json(there[min(there)] / "run.json")
    missing = sorted(set(range(1, record["n_folds"] + 1)) - there.keys())
    if missing:
        raise InputError(
            f"{folder}: fold is all, but fold {', '.join(map(str, missing))} is not "
            "finished; train it first, or choose one fold"
        )
    return [there[number] for number in sorted(there)]


def _read_fold_head(folder: Path) -> tuple[dict, dict, dict]:
    """Read what a head's file says, the fold's record, and the head's tensors."""
    record = read_json(folder / "run.json")
    path = folder / HEAD
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata["sercorr"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a trained head of sercorr, or damaged ({error}); train again"
        ) from None
    if "head" not in about:
        raise InputError(
            f"{path}: made by an earlier version of sercorr, which did not say what "
            "head it is; train again"
        )
    return about, record, tensors


def _has_own_upstream(about: Mapping[str, Any]) -> bool:
    """Whether the upstream is a class of one's own."""
    upstream = about["settings"].get("upstream")
    tag = upstream.get("tag") if isinstance(upstream, dict) else None
    return tag not in _UPSTREAMS


def _load_own_parts(
    folder: Path, record: Mapping[str, Any], source: str | os.PathLike | None
) -> dict[str, Any]:
    """Construct the head and the upstream that a run's settings name."""
    (file, *_), tree = read_settings(folder / "hyperparams.yaml")
    # the table that they came from may be gone; quoted, as `no` would become False
    tree["labels"] = [DoubleQuotedScalarString(label) for label in record["labels"]]
    wanted = closure(tree, ["modules", "upstream", "labels"])
    for key in [key for key in tree if key not in wanted]:
        del tree[key]
    if source is not None and "upstream_source" in tree:
        tree |= {"upstream_source": os.fspath(source), "upstream_revision": None}
    places = tuple(map(Path, record.get("settings_files", [])))
    settings = Settings((*places, file), tree, RunOptions())
    add_module_folders(settings.files)
    signed = record["identity"]["sources"]
    changed = [
        name
        for name, digest in source_digests(named_classes(tree)).items()
        if name != "sercorr" and signed.get(name) != digest
    ]
    if changed:
        raise InputError(
            f"{folder}: the code of {', '.join(changed)} has changed since the "
            "head was trained; restore it, or train again"
        )
    return settings.load()
