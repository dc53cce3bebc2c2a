"""Rounding in one place: exact round trips, masks, frame counts."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from sercorr.lengths import (
    absolute_to_relative,
    conv_frames,
    frame_mask,
    relative_to_absolute,
)


def test_round_trip_is_exact_up_to_a_minute_of_samples():
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 3, 49, 1699, 544_000, 960_000):
        counts = torch.randint(1, size + 1, (500,), generator=generator)
        relative = absolute_to_relative(counts, size)
        assert relative.dtype == torch.float32
        assert torch.equal(relative_to_absolute(relative, size), counts)


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, float("nan")])
def test_lengths_outside_their_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        relative_to_absolute(torch.tensor([0.5, bad]), 10)


def test_mask_against_a_loop():
    counts = [5, 1, 3]
    mask = frame_mask(
        absolute_to_relative(torch.tensor(counts), 5), 3, 5, torch.device("cpu")
    )
    for row, count in enumerate(counts):
        assert mask[row].tolist() == [t < count for t in range(5)]
    assert frame_mask(None, 2, 3, torch.device("cpu")).all()


def test_frame_counts_are_those_of_transformers():
    config = Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        conv_dim=(4,) * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    model = Wav2Vec2Model(config)
    for samples in (400, 401, 719, 720, 16000, 16001, 40123):
        made = model.feature_extractor(torch.zeros(1, samples)).shape[-1]
        assert conv_frames(samples, config.conv_kernel, config.conv_stride) == made
