"""Rounding in one place: exact round trips, counts, masks, frames."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from sercorr.lengths import (
    absolute_to_relative,
    conv_frames,
    count_mask,
    real_counts,
    relative_to_absolute,
)


def test_round_trip_is_exact_up_to_a_minute_of_samples():
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 3, 49, 1699, 544_000, 960_000):
        counts = torch.randint(1, size + 1, (500,), generator=generator)
        relative = absolute_to_relative(counts, size)
        assert relative.dtype == torch.float32
        assert torch.equal(relative_to_absolute(relative, size), counts)
        assert real_counts(relative, 500, size) == counts.tolist()


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, float("nan")])
def test_lengths_outside_their_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        real_counts(torch.tensor([0.5, bad]), 2, 10)


def test_mask_against_a_loop():
    mask = count_mask([5, 1, 3], 5, torch.device("cpu"))
    wanted = [[place < count for place in range(5)] for count in (5, 1, 3)]
    assert mask.tolist() == wanted


def test_frame_counts_are_those_of_transformers():
    model = Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=1, conv_dim=(4,) * 7))
    kernels, strides = model.config.conv_kernel, model.config.conv_stride
    for samples in (400, 401, 719, 720, 16000, 16001, 40123):
        made = model.feature_extractor(torch.zeros(1, samples)).shape[-1]
        assert conv_frames(samples, kernels, strides) == made
