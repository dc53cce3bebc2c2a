"""The trained part: layer mix, channel dropout, grouping, equation (9)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sercorr.errors import InputError
from sercorr.features.live import length_groups
from sercorr.lobes import ChannelDropout, EmotionHead, LayerMix, make_pooling

LAYERS, SIZE, FRAMES = 4, 10, (30, 12, 7, 25, 1)


def make_head(pooling: str = "attentive_corr", dropout: float = 0.0) -> EmotionHead:
    torch.manual_seed(0)
    return EmotionHead(LAYERS, SIZE, make_pooling(pooling, 8), 4, dropout, 8)


@pytest.fixture
def layers() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(LAYERS, real, SIZE, generator=generator) for real in FRAMES]


def pad(clips: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(clip.shape[1] for clip in clips)
    padded = torch.stack([F.pad(c, (0, 0, 0, longest - c.shape[1])) for c in clips])
    return padded, torch.tensor([clip.shape[1] / longest for clip in clips])


def test_layer_mix_starts_uniform_and_follows_softmax():
    mix = LayerMix(3)
    layers = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix(layers), layers.mean(dim=1))
    logits = np.array([0.5, -1.0, 2.0])
    with torch.no_grad():
        mix.weight.copy_(torch.from_numpy(logits))
    gammas = np.exp(logits) / np.exp(logits).sum()
    expected = sum(g * layers[:, i].double().numpy() for i, g in enumerate(gammas))
    np.testing.assert_allclose(mix(layers).detach(), expected, rtol=1e-5, atol=1e-6)


def test_channel_dropout_drops_whole_channels_of_single_utterances():
    torch.manual_seed(0)
    dropout = ChannelDropout(0.25)
    dropped = dropout(torch.ones(400, 7, 64))
    assert (dropped == dropped[:, :1]).all()
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    rates = (dropped[:, 0] == 0).float()
    assert rates.mean().item() == pytest.approx(0.25, abs=0.01)
    assert rates.std(dim=0).min() > 0, "utterances draw for themselves"
    dropout.eval()
    assert (dropout(torch.ones(3, 7, 64)) == 1).all()


def test_channel_dropout_does_not_see_padding():
    dropout = ChannelDropout(0.5)
    torch.manual_seed(3)
    short = dropout(torch.ones(4, 5, 32))
    torch.manual_seed(3)
    long = dropout(torch.ones(4, 50, 32))
    assert (short == long[:, :5]).all()


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_channel_dropout_refuses(p):
    with pytest.raises(InputError, match=f"channel_dropout is {p}"):
        ChannelDropout(p)


@pytest.mark.parametrize("pooling", ["mean", "mean_std", "corr", "attentive_corr"])
def test_padding_and_batch_mates_change_no_logit(layers, pooling):
    head = make_head(pooling).eval()
    together = head(*pad(layers))
    for row, clip in enumerate(layers):
        torch.testing.assert_close(
            head(clip.unsqueeze(0)), together[row : row + 1], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_clips_give_the_logits_and_gradients_of_the_padded_batch(layers, dtype):
    layers = [clip.to(dtype) for clip in layers]
    head = make_head(dropout=0.3)
    torch.manual_seed(9)
    expected = head(*pad(layers))
    expected.square().sum().backward()
    gradients = [p.grad.clone() for p in head.parameters()]
    head.zero_grad()
    torch.manual_seed(9)
    logits = head.classify_clips(layers)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    logits.square().sum().backward()
    for parameter, gradient in zip(head.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_length_groups_hold_everything_once_under_the_limit():
    lengths = torch.randint(1, 200, (60,), generator=torch.Generator().manual_seed(1))
    groups = length_groups(lengths.tolist(), limit=400)
    assert sorted(index for group in groups for index in group) == list(range(60))
    assert all(len(g) * max(lengths[g]) <= 400 for g in groups)
    assert length_groups([500, 3], limit=400) == [[0], [1]]


def test_label_smoothing_is_equation_9():
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(9, 4, generator=generator)
    targets = torch.randint(0, 4, (9,), generator=generator)
    total = 0.0
    for row, target in zip(logits.double().numpy(), targets.tolist(), strict=True):
        soft = np.full(4, 0.25 / 4)
        soft[target] += 1 - 0.25
        log_probabilities = row - np.log(np.exp(row).sum())
        total -= (soft * log_probabilities).sum()
    found = F.cross_entropy(logits, targets, label_smoothing=0.25).item()
    assert found == pytest.approx(total / 9, rel=1e-6)


def test_head_refuses_a_pooling_of_another_size():
    with pytest.raises(ValueError, match="takes 16 channels but projection_size is 8"):
        EmotionHead(2, 4, make_pooling("mean", 16), 4, 0.0, projection_size=8)
