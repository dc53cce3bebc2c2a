"""Random wav2vec 2.0, HuBERT and WavLM models in local folders.

The convolutions keep the real kernels and strides: 400 samples give a frame, and 320
more each further one. All weights are drawn wide enough for every part to matter.
"""

from pathlib import Path

import torch
from transformers import (
    AutoModel,
    HubertConfig,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    WavLMConfig,
)
from transformers.utils import logging

from sercorr.files import write_json

FAMILIES = ("wav2vec2", "hubert", "wavlm")
NORMS = ("group", "layer")

CONFIGS = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig, "wavlm": WavLMConfig}

SHAPES = {
    "tiny": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}


def make_config(
    family: str, norm: str, shape: str = "tiny", **changes
) -> PretrainedConfig:
    """Configure a model whose every source of randomness in training is on."""
    settings = {
        "feat_extract_norm": norm,
        "do_stable_layer_norm": norm == "layer",
        "conv_bias": norm == "layer",
        "hidden_dropout": 0.2,
        "attention_dropout": 0.2,
        "feat_proj_dropout": 0.2,
        "layerdrop": 0.5,
        "mask_time_prob": 0.5,
        "mask_time_length": 2,
        **SHAPES[shape],
        **changes,
    }
    return CONFIGS[family](**settings)


def build_model(
    folder: Path,
    family: str,
    norm: str,
    shape: str = "tiny",
    seed: int = 0,
    do_normalize: bool = True,
    **changes,
) -> Path:
    """Save a random model to ``folder``; ``changes`` go into its configuration."""
    torch.manual_seed(seed)
    model = AutoModel.from_config(make_config(family, norm, shape, **changes))
    if shape == "tiny":
        _widen(model)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": do_normalize,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_value": 0.0,
            "sampling_rate": 16000,
        },
    )
    return folder


@torch.no_grad()
def _widen(model: PreTrainedModel) -> None:
    """Give biases, norms and projections values far from their neutral starts."""
    for name, parameter in model.named_parameters():
        if name.endswith(("layer_norm.weight", "batch_norm.weight", "original0")):
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
        elif name.endswith("bias"):
            parameter.normal_(0, 0.3)
        elif parameter.ndim == 2:
            parameter.normal_(0, 1.5 * parameter.shape[1] ** -0.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
