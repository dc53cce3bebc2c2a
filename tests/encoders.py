"""Random models of the newer families, and what plain transformers makes of a clip."""

import functools
from pathlib import Path

import torch
from clips import make_batch
from models import DRAWS, NORMS, build_model, save_random
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

_SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_POSITIONS = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}

SETTINGS = {
    "data2vec-audio": {
        **_SIZES,
        "intermediate_size": 48,
        "conv_dim": (16,) * 7,
        "conv_bias": True,
        "num_conv_pos_embeddings": 3,
        "num_conv_pos_embedding_groups": 4,
        "conv_pos_kernel_size": 7,
    },
    "sew": {
        **_SIZES,
        **_POSITIONS,
        "intermediate_size": 48,
        "conv_dim": (16,) * 13,
    },
    "wav2vec2-bert": {
        **_SIZES,
        "intermediate_size": 48,
        "left_max_position_embeddings": 5,
        "right_max_position_embeddings": 3,
        "conv_depthwise_kernel_size": 5,
    },
    "whisper": {
        "d_model": 32,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_layers": 1,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 48,
        "vocab_size": 50,
        "max_source_positions": 50,  # one second, so that tests are quick
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "decoder_start_token_id": 0,
        "begin_suppress_tokens": (0,),
        "encoder_layerdrop": 0.5,
        "dropout": 0.2,
        "attention_dropout": 0.2,
        "activation_dropout": 0.2,
        "apply_spec_augment": True,
        "mask_time_prob": 0.5,
        "mask_time_length": 2,
    },
}
EXTRACTORS = {
    "wav2vec2-bert": SeamlessM4TFeatureExtractor(padding_value=1.0),  # as published
    "whisper": WhisperFeatureExtractor(chunk_length=1),
}

VARIANTS = {
    "data2vec-audio": ("data2vec-audio", {}),
    "data2vec-audio-even": ("data2vec-audio", {"conv_pos_kernel_size": 8}),
    **{
        f"{family}-{norm}": (family, {"norm": norm})
        for family in ("unispeech", "unispeech-sat")
        for norm in NORMS
    },
    "sew": ("sew", {}),
    "sew-layer": ("sew", {"feat_extract_norm": "layer", "conv_bias": True}),
    "sew-of-three": ("sew", {"squeeze_factor": 3, "hidden_size": 36}),
    "sew-odd-positions": ("sew", {"num_conv_pos_embeddings": 15}),
    "sew-of-one-width": ("sew", {"conv_dim": (32,) * 13}),  # no projection
    "wav2vec2-bert": ("wav2vec2-bert", {}),
    **{
        f"wav2vec2-bert-{kind}": ("wav2vec2-bert", {"position_embeddings_type": kind})
        for kind in ("relative", "rotary", None)
    },
    "whisper": ("whisper", {}),
}
"""What is tested: a name -> its family and what it changes."""

FIRST = {"sew": 720, "sew-of-three": 1040, "wav2vec2-bert": 560}
"""Samples of the first frame, where they are not 400, by variant or family."""


def first_frame(variant: str) -> int:
    """Return how many samples make the first frame."""
    return FIRST.get(variant, FIRST.get(VARIANTS[variant][0], 400))


def build_encoder(folder: Path, variant: str, **changes) -> Path:
    """Save a random model to ``folder``; ``changes`` go into its configuration."""
    family, own = VARIANTS[variant]
    own = own | changes
    if "norm" in own:
        return build_model(folder, family, own.pop("norm"), **own)
    given = SETTINGS[family] | ({} if family == "whisper" else DRAWS) | own
    save_random(folder, family, given)
    EXTRACTORS.get(family, Wav2Vec2FeatureExtractor()).save_pretrained(folder)
    return folder


@torch.no_grad()
def plain_encoder(folder: Path, clip: torch.Tensor) -> torch.Tensor:
    """Run plain transformers on a bare clip: (L, T, D).

    The last layer is what the last block gives, after the final norm where there is
    one. A clip of Whisper's is cut into windows.
    """
    model, extractor = _plain(folder)
    family = model.config.model_type
    if family == "whisper":
        return torch.cat(
            [_window(model, extractor, w) for w in clip.split(extractor.n_samples)], 1
        )
    inputs = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    if family == "wav2vec2-bert":
        output = model(**inputs, output_hidden_states=True)
        real = int(inputs["attention_mask"].sum())
        return torch.cat(output.hidden_states)[:, :real]
    output = model(inputs["input_values"], output_hidden_states=True)
    if family == "sew":  # whose output is stretched
        return torch.cat(output.hidden_states)
    return torch.cat([*output.hidden_states[:-1], output.last_hidden_state])


@functools.lru_cache(maxsize=2)
def _plain(folder: Path) -> tuple[PreTrainedModel, object]:
    model = AutoModel.from_pretrained(folder).eval()
    return model, AutoFeatureExtractor.from_pretrained(folder)


def _window(model, extractor, window: torch.Tensor) -> torch.Tensor:
    inputs = extractor(window.numpy(), sampling_rate=16000, return_tensors="pt")
    output = model.encoder(inputs["input_features"], output_hidden_states=True)
    layers = torch.cat([*output.hidden_states[:-1], output.last_hidden_state])
    return layers[:, : -(-len(window) // 320)]


def require_equal_to_alone(upstream, alone, clips, size=None) -> None:
    """Run the clips as one batch and compare each with its features ``alone``."""
    layers, lengths = upstream(*make_batch(clips, size))
    frames = [reference.shape[1] for reference in alone]
    assert frames == [upstream.frames(len(clip)) for clip in clips]
    assert layers.shape[1:3] == (upstream.num_layers, max(frames))
    torch.testing.assert_close(lengths, torch.tensor(frames) / max(frames))
    for got, wanted, count in zip(layers, alone, frames, strict=True):
        errors = (got[:, :count] - wanted).abs().amax(dim=(1, 2))
        assert (errors / wanted.abs().amax(dim=(1, 2))).max() < 1e-5  # of each layer
        assert (got[:, count:] == 0).all()
