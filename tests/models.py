"""Random wav2vec 2.0, HuBERT and WavLM models in local folders.

The convolutions keep the real kernels and strides: 400 samples give a frame, and 320
more each further one. All weights are drawn wide enough for every part to matter.
"""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)
from transformers.utils import logging

FAMILIES = ("wav2vec2", "hubert", "wavlm")
NORMS = ("group", "layer")

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
DRAWS = {  # every source of randomness in training is on
    "hidden_dropout": 0.2,
    "attention_dropout": 0.2,
    "feat_proj_dropout": 0.2,
    "layerdrop": 0.5,
    "mask_time_prob": 0.5,
    "mask_time_length": 2,
}


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
    layered = norm == "layer"
    norms = {"do_stable_layer_norm": layered, "conv_bias": layered}
    settings = {"feat_extract_norm": norm, **norms, **DRAWS, **SHAPES[shape]}
    save_random(folder, family, settings | changes, seed, wide=shape == "tiny")
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return folder


def save_random(
    folder: Path, family: str, settings: dict, seed: int = 0, wide: bool = True
) -> None:
    """Save a random network of a configuration, without its preprocessing."""
    torch.manual_seed(seed)
    model = AutoModel.from_config(AutoConfig.for_model(family, **settings))
    if wide:
        _widen(model)
    logging.disable_progress_bar()
    model.save_pretrained(folder)


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
