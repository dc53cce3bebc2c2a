"""Reading a self-supervised model: its description and its weights.

Weights are read as data only (safetensors, or pickle restricted to tensors), and
refused where they leave a part of the network random or were made for another one.
"""

import contextlib
import logging
import pickle
import re
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from torch.nn.utils import parametrize
from transformers import AutoConfig, AutoModel, PretrainedConfig

from sercorr import SAMPLE_RATE, fast
from sercorr.errors import InputError
from sercorr.fast.packed_linear import pack_linear_layers
from sercorr.fast.wavlm_attention import use_fused_attention
from sercorr.lobes.upstream.model_files import ModelFiles

logger = logging.getLogger(__name__)

MODEL_TYPES = ("wav2vec2", "hubert", "wavlm")

CODE_VERSION = 2
"""Raised whenever the computation below gives other numbers for the same weights."""

_SHAPE_KEYS = (
    "conv_bias",
    "conv_dim",
    "conv_kernel",
    "conv_pos_batch_norm",
    "conv_stride",
    "do_stable_layer_norm",
    "feat_extract_activation",
    "feat_extract_norm",
    "feat_proj_layer_norm",
    "hidden_act",
    "layer_norm_eps",
    "max_bucket_distance",
    "num_attention_heads",
    "num_buckets",
    "num_conv_pos_embedding_groups",
    "num_conv_pos_embeddings",
)

_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, KeyError),
    *(pickle.UnpicklingError, SafetensorError),
)

_USED_PARTS = re.compile(r"(^|\.)(feature_extractor|feature_projection|encoder)\.")


def read_config(files: ModelFiles) -> PretrainedConfig:
    """Read a model's configuration; `InputError` if it is none of `MODEL_TYPES`."""
    values = files.read("config.json") or {}
    found = values.get("model_type")
    if found not in MODEL_TYPES:
        raise InputError(
            f"{files.name}: config.json says model_type {found!r}; accepted are "
            f"{', '.join(MODEL_TYPES)}: choose another upstream_source"
        )
    try:
        with _quiet_transformers():
            return AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise InputError(
            f"{files.name}: config.json is not a {found} configuration ({error}); "
            "replace the file"
        ) from error


def read_preprocessing(files: ModelFiles, config: PretrainedConfig) -> dict[str, Any]:
    """Say what decides a model's features besides its weights."""
    shape = {key: getattr(config, key) for key in _SHAPE_KEYS if hasattr(config, key)}
    return {
        "code_version": CODE_VERSION,
        "dtype": "float32",
        "sampling_rate": SAMPLE_RATE,
        "do_normalize": _reads_normalised(files),
        "network": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in shape.items()
        },
    }


def load_network(files: ModelFiles, config: PretrainedConfig) -> nn.Module:
    """Build a model with its weights, ready for inference.

    It is transformers' Wav2Vec2Model, HubertModel or WavLMModel, in float32, with the
    weight norm of the positional convolution folded into its kernel. Weights that
    cannot be read or do not fit the configuration are an `InputError`.
    """
    weights = files.weights()
    # WavLM knows no other name for its own attention.
    attention = "eager" if config.model_type == "wavlm" else "sdpa"
    try:
        with _quiet_transformers():
            model, report = AutoModel.from_pretrained(
                files.folder,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
            )
    except _UNREADABLE as error:
        names = ", ".join(path.name for path in weights)
        raise InputError(
            f"{files.name}: the weights in {names} cannot be read ({error}); "
            "fetch the model again"
        ) from error
    _require_fitting_weights(files, config.model_type, report)
    _fold_weight_norm(model.encoder.pos_conv_embed.conv)
    _own_memory(model)
    if fast.enabled():
        if config.model_type == "wavlm":
            use_fused_attention(model)
        pack_linear_layers(model)
    return model


def _reads_normalised(files: ModelFiles) -> bool:
    """Say whether the model was trained on normalised waveforms."""
    values = files.read("preprocessor_config.json")
    if values is None:
        logger.warning(
            "%s: no preprocessor_config.json; waveforms are normalised to zero mean "
            "and unit variance, as transformers does by default",
            files.name,
        )
        return True
    rate = values.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise InputError(
            f"{files.name}: preprocessor_config.json says sampling_rate {rate}; only "
            f"models of {SAMPLE_RATE} Hz are supported: choose another"
        )
    do_normalize = values.get("do_normalize", True)
    if not isinstance(do_normalize, bool):
        raise InputError(
            f"{files.name}: preprocessor_config.json says do_normalize "
            f"{do_normalize!r}; it must be true or false"
        )
    return do_normalize


def _require_fitting_weights(
    files: ModelFiles, model_type: str, report: dict[str, Any]
) -> None:
    """Refuse weights that leave a part random or were made for another network."""
    missing = {name for name in report["missing_keys"] if name != "masked_spec_embed"}
    missing = {name for name in missing if _USED_PARTS.search(name)}
    mismatched = {
        f"{name} {tuple(found)} instead of {tuple(wanted)}"
        for name, found, wanted in report["mismatched_keys"]
        if _USED_PARTS.search(name)
    }
    surplus = {name for name in report["unexpected_keys"] if _USED_PARTS.search(name)}
    for fault, names in (
        ("lack", missing),
        ("have another shape:", mismatched),
        ("have besides", surplus),
    ):
        if names:
            few = ", ".join(sorted(names)[:3])
            raise InputError(
                f"{files.name}: the weights do not fit the {model_type} model of "
                f"config.json; they {fault} {few} ({len(names)} in all): put the "
                "weights and the configuration of one model there"
            )


def _fold_weight_norm(convolution: nn.Module) -> None:
    """Compute the weight-normed kernel once and for all instead of in each call."""
    if parametrize.is_parametrized(convolution, "weight"):
        parametrize.remove_parametrizations(convolution, "weight")


def _own_memory(model: nn.Module) -> None:
    """Move the weights out of the mapped file.

    They lie there at any byte offset, on which the last bits of results depend, and
    would change with the file.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars and loading reports for a while."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
