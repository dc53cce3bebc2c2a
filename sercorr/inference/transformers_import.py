"""Emotion heads of transformers: SUPERB's models as this package's ``mean`` head.

A ``ForSequenceClassification`` model with a weighted layer sum averages the layers,
projects them, takes the mean over time and classifies: what `EmotionHead` does with
`MeanPooling`. Its layer L is ``last_hidden_state`` here: s3prl trained the published
heads so, and transformers 4 computed so.
"""

import os
import pickle
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sercorr.errors import InputError
from sercorr.files import read_json
from sercorr.inference.parts import ModelParts
from sercorr.lobes.described import build_head
from sercorr.lobes.head import EmotionHead
from sercorr.lobes.upstream import Upstream
from sercorr.lobes.upstream.model_files import ModelFiles

TENSORS = {
    "layer_weights": "layer_mix.weight",
    "projector.weight": "projection.weight",
    "projector.bias": "projection.bias",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}
"""Names of a transformers head's tensors -> those of `EmotionHead`."""

CLASSIFIERS = {
    "wav2vec2": "Wav2Vec2ForSequenceClassification",
    "hubert": "HubertForSequenceClassification",
    "wavlm": "WavLMForSequenceClassification",
}
"""Families whose heads are read and written -> transformers' class."""


def read_classifier(
    files: ModelFiles, upstream_source: str | os.PathLike | None = None
) -> ModelParts:
    """Read a sequence classifier of transformers.

    Arguments
    ---------
    files : ModelFiles
        Its folder.
    upstream_source : str, path or None
        Another place of the upstream; None: the same folder, whose weights hold it.

    Returns
    -------
    ModelParts
        With one head, of which no scores are known.

    Raises
    ------
    InputError
        The model is of another kind, or its files are incomplete or do not fit.
    """
    _require_kind(files)
    labels = _read_labels(files)
    if upstream_source is None:
        upstream = Upstream(files.source, files.revision)
    else:
        upstream = Upstream(upstream_source)
    head = _build(files, _read_tensors(files), len(labels))
    shape = (len(head.layer_mix.weight), head.projection.in_features)
    if shape != (upstream.num_layers, upstream.output_size):
        raise InputError(
            f"{files.name}: its head takes {shape[0]} layers of {shape[1]} channels, "
            f"but {upstream_source or 'its config.json'} gives {upstream.num_layers} "
            f"of {upstream.output_size}; use files of one model"
        )
    return ModelParts(
        name=files.source,
        labels=labels,
        upstream=upstream,
        heads=[head],
        features={"stored": None, "precision": "fp32"},
        about={
            "upstream_source": files.source,
            "upstream_revision": files.revision,
            "folds": [],
            "metrics": [],
            "settings": {},
        },
    )


def _require_kind(files: ModelFiles) -> None:
    path = files.folder / "config.json"
    config = read_json(path)
    kinds = config.get("architectures") if isinstance(config, dict) else None
    if not isinstance(kinds, list) or not set(kinds) & set(CLASSIFIERS.values()):
        raise InputError(
            f"{files.name}: config.json says architectures {kinds}, which is no "
            "emotion head that this package knows "
            f"({', '.join(CLASSIFIERS.values())}, with use_weighted_layer_sum); give "
            "one of those, or a model made by 'sercorr export'"
        )
    if config.get("use_weighted_layer_sum") is not True:
        raise InputError(
            f"{files.name}: config.json says use_weighted_layer_sum "
            f"{config.get('use_weighted_layer_sum')}: this model classifies the last "
            "layer alone, the heads of this package average all layers; use "
            "transformers' pipeline for it"
        )


def _read_labels(files: ModelFiles) -> list[str]:
    names: dict[int, str] = files.config(CLASSIFIERS).id2label
    labels = [names[index] for index in sorted(names)]
    if sorted(names) != list(range(len(names))) or len(set(labels)) != len(labels):
        raise InputError(
            f"{files.name}: config.json says id2label {names}; it must name the "
            "outputs 0, 1, 2, ..., each differently"
        )
    return labels


def _build(
    files: ModelFiles, found: dict[str, torch.Tensor], n_classes: int
) -> EmotionHead:
    if lacks := [name for name in TENSORS if name not in found]:
        raise InputError(
            f"{files.name}: the weights lack {', '.join(lacks)}, parts of the head "
            "that config.json promises; fetch the model again"
        )
    layers = found["layer_weights"].numel()
    shape = tuple(found["projector.weight"].shape)
    if len(shape) != 2:
        raise InputError(
            f"{files.name}: projector.weight has shape {shape}, but it is a matrix; "
            "fetch the model again"
        )
    projection, channels = shape
    head = build_head(
        {
            "pooling": "mean",
            "num_layers": layers,
            "input_size": channels,
            "projection_size": projection,
            "n_classes": n_classes,
        }
    )
    wanted = head.state_dict()
    for name, own in TENSORS.items():
        if found[name].shape != wanted[own].shape:
            raise InputError(
                f"{files.name}: {name} has shape {tuple(found[name].shape)}; with "
                f"{n_classes} labels and a projection of {channels} channels to "
                f"{projection}, {tuple(wanted[own].shape)} was expected: use files of "
                "one model"
            )
    head.load_state_dict({own: found[name] for name, own in TENSORS.items()})
    return head


def _read_tensors(files: ModelFiles) -> dict[str, torch.Tensor]:
    """Read the head's tensors, as data only, from whichever files hold them."""
    found: dict[str, Any] = {}
    unreadable = (OSError, ValueError, RuntimeError, EOFError, KeyError)
    for path in files.weights:
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt") as stream:
                    names = TENSORS.keys() & set(stream.keys())
                    found |= {name: stream.get_tensor(name) for name in names}
            else:
                weights = torch.load(path, map_location="cpu", weights_only=True)
                names = TENSORS.keys() & set(weights)
                found |= {name: weights[name] for name in names}
        except (*unreadable, pickle.UnpicklingError, SafetensorError) as error:
            raise InputError(
                f"{path}: the weights cannot be read ({error}); fetch the model again"
            ) from error
    return found
