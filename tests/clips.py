"""Random clips and padded batches of them."""

import torch

SAMPLES = (16000, 9000, 400, 12345)


def make_clips(samples=SAMPLES, seed=0) -> list[torch.Tensor]:
    """Draw noise of different loudness, each with an offset of its own."""
    generator = torch.Generator().manual_seed(seed)
    return [
        0.02 * (item + 1) * torch.randn(count, generator=generator) + 0.1 * item
        for item, count in enumerate(samples)
    ]


def make_batch(clips, size=None, padding=7.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad clips with a loud constant, which nothing may read."""
    size = size or max(len(clip) for clip in clips)
    wavs = torch.full((len(clips), size), padding)
    for item, clip in enumerate(clips):
        wavs[item, : len(clip)] = clip
    return wavs, torch.tensor([len(clip) / size for clip in clips])
