"""Models to share: folders that ``sercorr export`` wrote, here or on the hub.

    sercorr.json       labels, shape of the heads, upstream, all else that is known
    head_K.safetensors    the head of fold K; one or several
    upstream/          the upstream's own files, if they were asked for
    README.md          the model card

A SUPERB-style head is read as well, see `read_classifier`. Nothing in a folder is run:
the head is built from a few numbers, and the weights are read as data.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from sercorr.errors import InputError
from sercorr.files import file_digest, read_json
from sercorr.inference.parts import (
    ModelParts,
    open_upstream,
    require_same_upstream,
)
from sercorr.inference.transformers_import import read_classifier
from sercorr.lobes.described import build_head
from sercorr.lobes.head import EmotionHead
from sercorr.lobes.upstream import Upstream
from sercorr.lobes.upstream.model_files import ModelFiles, download

FORMAT = 1
"""Raised when folders are written that earlier versions of the package misread."""

SETTINGS = "sercorr.json"
UPSTREAM = "upstream"

_FIRST = [SETTINGS, "config.json", "preprocessor_config.json"]
_KEYS = {
    "labels": list,
    "heads": list,
    "head": dict,
    "upstream": dict,
    "features": dict,
    "about": dict,
}
_UPSTREAM_KEYS = {
    "source": str,
    "model_type": str,
    "num_layers": int,
    "output_size": int,
    "digest": str,
    "preprocessing": dict,
}
_HEAD_KEYS = {"file": str, "sha256": str}
_STORED = (None, "float16", "bfloat16", "float32")


def read_pretrained(
    source: str | os.PathLike,
    revision: str | None = None,
    upstream_source: str | os.PathLike | None = None,
) -> ModelParts:
    """Read an exported folder, or a SUPERB-style head, from here or from the hub.

    Arguments and errors are those of `EmotionRecognizer.from_pretrained`.
    """
    name = os.fspath(source)
    folder, commit = _find(name, revision)
    if (folder / SETTINGS).is_file():
        if commit is not None:
            wanted = ["head_*.safetensors"]
            wanted += [f"{UPSTREAM}/*"] if upstream_source is None else []
            _download(name, commit, [SETTINGS, *wanted])
        return _read_export(name, folder, upstream_source)
    if (folder / "config.json").is_file():
        return read_classifier(ModelFiles(name, folder, commit), upstream_source)
    if folder.is_file():
        raise InputError(
            f"{name}: a file, not a model; give a folder, a hub name or a .onnx file"
        )
    raise InputError(
        f"{name}: neither {SETTINGS} nor config.json is there; give a folder that "
        "'sercorr export' wrote, or a SUPERB-style emotion model (a run's folder is "
        "given to from_run)"
    )


def _find(name: str, revision: str | None) -> tuple[Path, str | None]:
    """Find a model's folder and, of a hub model, its commit."""
    path = Path(name).expanduser()
    if name and not path.exists() and (path.is_absolute() or name.startswith(".")):
        raise InputError(
            f"{name}: no such folder; give a run's folder, an exported one, or a hub "
            "name such as superb/hubert-large-superb-er"
        )
    if not name or not path.exists():
        folder = _download(name, revision, _FIRST)
        return folder, folder.name
    if revision is not None:
        raise InputError(
            f"revision is {revision!r}, but {name} is a local path, which has no "
            "revisions: leave it out"
        )
    return path, None


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    advice = (
        "check the name and the revision, log in with 'hf auth login' if the hub asks "
        "for it; without a network, give a folder: 'hf download NAME --local-dir "
        "FOLDER' makes one where there is a network"
    )
    return download(name, revision, None, patterns, advice)


def _read_export(
    name: str, folder: Path, upstream_source: str | os.PathLike | None
) -> ModelParts:
    about = _read_settings(folder / SETTINGS)
    heads = [_read_head(folder, entry, about["head"]) for entry in about["heads"]]
    recorded = about["upstream"]
    origin = {key: recorded.pop(key, None) for key in ("source", "revision")}
    layers = recorded.get("layers")
    upstream = _find_upstream(name, folder, origin, layers, upstream_source)
    require_same_upstream(upstream, about, name)
    return ModelParts(
        name=name,
        labels=about["labels"],
        upstream=upstream,
        heads=heads,
        features=about["features"],
        about={
            **about["about"],
            "upstream_source": origin["source"],
            "upstream_revision": origin["revision"],
            "folds": [e["fold"] for e in about["heads"] if e.get("fold") is not None],
        },
    )


def _read_settings(path: Path) -> dict[str, Any]:
    """Read and check ``sercorr.json``."""
    found = read_json(path)
    _require(path, found, {"format": int})
    if found["format"] > FORMAT:
        raise InputError(
            f"{path}: format is {found['format']}, made by a newer sercorr; this one "
            f"reads {FORMAT}: upgrade it (pip install --upgrade sercorr)"
        )
    _require(path, found, _KEYS)
    _require(path, found["upstream"], _UPSTREAM_KEYS, "upstream.")
    if "layers" in found["upstream"]:  # not all of them
        _require(path, found["upstream"], {"layers": list}, "upstream.")
    _require(path, found["features"], {"precision": str}, "features.")
    for entry in found["heads"]:
        _require(path, entry, _HEAD_KEYS, "heads.")
        if Path(entry["file"]).name != entry["file"]:
            raise InputError(
                f"{path}: heads.file is {entry['file']!r}, not in the folder"
            )
    labels, classes = found["labels"], found["head"].get("n_classes")
    if len(set(map(str, labels))) != classes or len(labels) != classes:
        raise InputError(
            f"{path}: labels are {labels}, but the head has {classes} classes; export "
            "the model again"
        )
    if not found["heads"]:
        raise InputError(f"{path}: heads is empty; export the model again")
    stored = found["features"].get("stored")
    if stored not in _STORED:
        raise InputError(
            f"{path}: features.stored is {stored!r}; it must be one of "
            f"{', '.join(map(str, _STORED))}"
        )
    return found


def _require(
    path: Path, found: Any, kinds: Mapping[str, type], prefix: str = ""
) -> None:
    """Require values of some kinds in a JSON object."""
    for key, kind in kinds.items():
        value = found.get(key) if isinstance(found, dict) else None
        if type(value) is not kind:
            raise InputError(
                f"{path}: incomplete: {prefix}{key} is {value!r}, not a "
                f"{kind.__name__}; export or fetch the model again"
            )


def _read_head(
    folder: Path, entry: Mapping[str, Any], described: Mapping[str, Any]
) -> EmotionHead:
    path = folder / entry["file"]
    if not path.is_file():
        raise InputError(
            f"{path}: no such file, but {SETTINGS} lists it; fetch the model again"
        )
    if (digest := file_digest(path)) != entry["sha256"]:
        raise InputError(
            f"{path}: damaged or changed: its SHA-256 is {digest[:12]}..., "
            f"{SETTINGS} says {entry['sha256'][:12]}...; fetch the model again"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not readable ({error}); export it again") from None
    head = build_head(described)
    wanted = {name: tuple(t.shape) for name, t in head.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != wanted:
        differing = sorted(
            name for name in wanted | found if wanted.get(name) != found.get(name)
        )
        shown = ", ".join(
            f"{name}: {found.get(name, 'missing')} there, "
            f"{wanted.get(name, 'nothing')} expected"
            for name in differing[:3]
        )
        raise InputError(
            f"{path}: its tensors are not those of the head in {SETTINGS} ({shown}); "
            "export the model again"
        )
    head.load_state_dict(tensors)
    return head


def _find_upstream(
    name: str,
    folder: Path,
    origin: Mapping[str, Any],
    layers: list[int] | None,
    source: str | os.PathLike | None,
) -> Upstream:
    if source is None and (folder / UPSTREAM).is_dir():
        source = folder / UPSTREAM
    what = f"the upstream of {name}, {origin['source']}"
    return open_upstream(source, origin["source"], origin["revision"], layers, what)
