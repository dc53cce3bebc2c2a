"""A ``mean`` head as a sequence classifier of transformers, for its pipelines."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.files import atomic_folder, write_text
from sercorr.inference.model_card import model_card
from sercorr.inference.parts import ModelParts
from sercorr.inference.recognizer import EmotionRecognizer
from sercorr.inference.transformers_import import CLASSIFIERS, TENSORS
from sercorr.lobes.described import describe_head
from sercorr.lobes.upstream.model_files import ModelFiles, find_model
from sercorr.lobes.upstream.weights import quiet_transformers


def export_transformers(parts: ModelParts, out: str | os.PathLike) -> str:
    """Write a ``mean`` head as ``<Family>ForSequenceClassification``.

    The folder holds the upstream, too, and runs in
    ``pipeline("audio-classification")``. It appears whole or not at all.

    Arguments
    ---------
    parts : ModelParts
        With one ``mean`` head.
    out : path
        A new folder.

    Returns
    -------
    str
        How far the probabilities of this installation's transformers are from this
        package's, measured on made-up clips, and why.

    Raises
    ------
    InputError
        The model has several heads, another pooling or another kind of upstream, or
        something is at ``out``.
    """
    head = _require_mean_head(parts)
    info = parts.upstream.info
    files = find_model(info.source, None, info.revision)
    with atomic_folder(out) as folder, quiet_transformers():
        model = _build(files, parts.labels, head, info.layer_numbers)
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(
            do_normalize=info.preprocessing["do_normalize"],
            # as transformers says: models with a group norm were trained without
            return_attention_mask=model.config.feat_extract_norm == "layer",
        ).save_pretrained(folder)
        note = _compare(parts, folder)
        write_text(folder / "README.md", model_card(parts, note))
    return note


def _require_mean_head(parts: ModelParts) -> torch.nn.Module:
    if len(parts.heads) != 1:
        raise InputError(
            f"{parts.name}: transformers' classifiers have one head, this model has "
            f"{len(parts.heads)}; choose one, such as --fold 1"
        )
    (head,) = parts.heads
    pooling = (describe_head(head) or {}).get("pooling", "one of its own")
    if pooling != "mean":
        raise InputError(
            f"{parts.name}: its pooling is {pooling}, but transformers' classifiers "
            "know the mean alone; use --format sercorr or onnx"
        )
    if parts.upstream.info.model_type not in CLASSIFIERS:
        raise InputError(
            f"{parts.name}: its upstream is {parts.upstream.info.source}, but "
            f"transformers' format is for {', '.join(CLASSIFIERS)} alone; use "
            "--format sercorr or onnx"
        )
    return head


def _build(
    files: ModelFiles, labels: list[str], head: torch.nn.Module, layers: Sequence[int]
) -> PreTrainedModel:
    """Build transformers' model from the upstream's weights and a head.

    ``layers`` are those that the head averages: transformers averages all of them, the
    others with weights of exactly 0.
    """
    tensors = head.state_dict()
    config = files.config(CLASSIFIERS)
    scores = torch.full((config.num_hidden_layers + 1,), -torch.inf)  # softmax gives 0
    scores[list(layers)] = tensors["layer_mix.weight"].cpu()
    tensors["layer_mix.weight"] = scores
    config.use_weighted_layer_sum = True
    config.classifier_proj_size = len(tensors["projection.bias"])
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if getattr(config, "add_adapter", False):
        config.add_adapter = False  # behind the layers, which do not see it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a mask embedding that is missing is drawn
        model = AutoModelForAudioClassification.from_pretrained(
            files.folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # of a head that is there already
        )
    own = {name: tensors[here].cpu() for name, here in TENSORS.items()}
    model.load_state_dict(own, strict=False)
    return model.eval()


_ON_SPEECH = (
    " These clips are noise: on speech it may be many times that, and change labels. "
    "Compare both on clips of your own before you rely on the pipeline."
)


def _compare(parts: ModelParts, folder: Path) -> str:
    """Say how far transformers' probabilities are from this package's."""
    clips = _made_up_clips()
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    answers = EmotionRecognizer(parts, device="cpu").answer(clips)
    differences = []
    for clip, answer in zip(clips, answers, strict=True):
        inputs = extractor(clip, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            logits = model(inputs.input_values).logits[0]  # no padding, so no mask
        found = torch.softmax(logits.double(), -1).numpy()
        differences.append(np.abs(found - answer.probabilities).max())
    largest = max(differences)
    amount = "less than 1e-06" if largest < 1e-6 else f"up to {largest:.1e}"
    reasons = []
    if model.config.do_stable_layer_norm:
        reasons.append(
            "transformers 5 leaves the final layer norm out of the last layer, which "
            "the head was trained on (transformers 4 did not)"
        )
    if (stored := parts.features["stored"]) not in (None, "float32"):
        reasons.append(f"sercorr rounds the layers to {stored}, as in training")
    if parts.features["precision"] != "fp32":
        reasons.append(f"sercorr computes the layers in {parts.features['precision']}")
    return (
        f"Probabilities of transformers {transformers.__version__} differ from "
        f"sercorr's by {amount} on {len(clips)} made-up clips"
        + (f": {'; '.join(reasons)}." if reasons else ".")
        + (_ON_SPEECH if model.config.do_stable_layer_norm else "")
    )


def _made_up_clips() -> list[np.ndarray]:
    """Draw clips (N_i,) of noise whose loudness rises and falls."""
    generator, clips = np.random.default_rng(0), []
    for seconds in (0.5, 1.0, 2.0, 4.0):
        noise = generator.standard_normal(round(seconds * SAMPLE_RATE))
        loudness = 0.1 + 0.1 * np.sin(np.linspace(0, 9, len(noise)))
        clips.append((loudness * noise).astype(np.float32))
    return clips
