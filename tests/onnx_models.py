"""Small models of all kinds, which tests export to ONNX. Nothing here is a test."""

import dataclasses

import numpy as np
import torch

from sercorr.inference.parts import ModelParts
from sercorr.lengths import count_mask, real_counts
from sercorr.lobes import EmotionHead, make_pooling

WIDTH = 12
LABELS = ["neu", "hap", "ang"]
SAMPLES = (400, 401, 719, 720, 5000, 16000, 41237)


class MaxPooling(torch.nn.Module):
    """The README's example of a pooling of one's own."""

    def __init__(self):
        super().__init__()
        self.input_size = self.output_size = WIDTH

    def forward(self, x, lengths=None):
        batch, size, _ = x.shape
        mask = count_mask(real_counts(lengths, batch, size), size, x.device)
        return x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(dim=1)


@dataclasses.dataclass(frozen=True)
class Case:
    upstream: tuple[str, ...]
    poolings: tuple[str, ...]
    stored: str | None
    precision: str = "fp32"
    changes: tuple[tuple[str, object], ...] = ()
    layers: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return "-".join([*self.upstream, *self.poolings, str(self.stored)])


def make_head(upstream, pooling, seed=0) -> EmotionHead:
    """A head whose answers depend on every part of it."""
    torch.manual_seed(seed)
    if pooling == "max":
        pooling = MaxPooling()
    elif isinstance(pooling, str):
        pooling = make_pooling(pooling, WIDTH, n_heads=2)
    head = EmotionHead(
        upstream.num_layers, upstream.output_size, pooling, len(LABELS), 0.25, WIDTH
    )
    for parameter in head.parameters():
        scale = 1.5 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5
        torch.nn.init.normal_(parameter, 0, scale)
    return head.requires_grad_(False).eval()


def make_parts(upstream, *poolings, stored="float16", precision="fp32") -> ModelParts:
    heads = [make_head(upstream, each, seed) for seed, each in enumerate(poolings)]
    features = {"stored": stored, "precision": precision}
    return ModelParts("the model", LABELS, upstream, heads, features)


def make_wave(samples, seed=0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    loudness = 0.05 * (1.2 + np.sin(np.arange(samples) / 900))
    noise = generator.standard_normal(samples)
    return (0.02 + loudness * noise).astype(np.float32)


WAVES = [make_wave(samples) for samples in SAMPLES]
