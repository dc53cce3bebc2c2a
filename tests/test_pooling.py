"""All poolings: the numbers of slow loops, padding, extremes, errors."""

import numpy as np
import pytest
import references
import torch

from sercorr.errors import InputError
from sercorr.lobes import (
    POOLINGS,
    CorrelationPooling,
    MeanPooling,
    make_pooling,
)

SIZE = 6
FRAMES = (40, 17, 1, 39)
EACH = pytest.mark.parametrize("name", POOLINGS)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    frames = 1 + 2 * torch.randn(len(FRAMES), max(FRAMES), SIZE, generator=generator)
    for row, real in enumerate(FRAMES):
        frames[row, real:] = 1e3  # what a mask that leaks would show
    return frames, torch.tensor([real / max(FRAMES) for real in FRAMES])


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(5)
    pooling = make_pooling(name, SIZE, n_heads=3)
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter)
    return pooling


PARAMETERS = {
    # W_att, the queries and their biases, in this order
    "attentive_corr": ["projection.weight", "queries.weight", "queries.bias"],
    "attentive_stats": ["hidden.weight", "hidden.bias", "score.weight"],
    "mhfa": ["keys.weight", "queries.weight"],
}
SHOWN = {
    "attentive_corr": references.attention,
    "attentive_stats": references.stats_attention,
    "mhfa": lambda *args: references.head_weights(*args).mean(axis=0),
}


def arrays(module: torch.nn.Module) -> list[np.ndarray]:
    return [parameter.detach().double().numpy() for parameter in module.parameters()]


def expected_row(name: str, pooling: torch.nn.Module, frames: np.ndarray) -> np.ndarray:
    weights = np.full(len(frames), 1 / len(frames))
    if name in PARAMETERS:
        attention = pooling.attention
        assert [key for key, _ in attention.named_parameters()] == PARAMETERS[name]
        weights = SHOWN[name](frames, *arrays(attention))
    mean = references.mean(frames, weights)
    if name == "mhfa":
        (values,) = arrays(pooling.values)
        row = references.mhfa(frames, *arrays(pooling.attention), values)
    elif name == "log_cov":
        row = references.log_covariance(frames, eps=1e-3)
    elif name in ("mean_std", "attentive_stats"):
        row = references.mean_std(frames, weights)
    elif name == "mean":
        row = mean
    else:
        assert name in ("corr", "attentive_corr", "mean_corr")
        row = references.correlation(frames, weights)
        row = np.concatenate([mean, row]) if name == "mean_corr" else row
    return row


@EACH
def test_numbers_of_every_item(name, batch):
    frames, lengths = batch
    pooling = make(name)
    found = pooling(frames, lengths).detach()
    assert found.shape == (len(FRAMES), pooling.output_size)
    for row, real in enumerate(FRAMES):
        expected = expected_row(name, pooling, frames[row, :real].double().numpy())
        np.testing.assert_allclose(found[row], expected, rtol=2e-5, atol=2e-5)
        if name in SHOWN:
            weights = pooling.attention(frames, lengths)[row].detach()
            assert weights.sum().item() == pytest.approx(1)
            assert weights[real:].abs().sum() == 0
            clip = frames[row, :real].double().numpy()
            wanted = SHOWN[name](clip, *arrays(pooling.attention))
            np.testing.assert_allclose(weights[:real], wanted, rtol=2e-5, atol=2e-5)


@EACH
def test_padding_order_and_mates_change_nothing(name, batch):
    frames, lengths = batch
    pooling, close = make(name), {"rtol": 1e-5, "atol": 1e-6}
    whole = pooling(frames, lengths)
    size = max(FRAMES)
    padded = torch.nn.functional.pad(frames, (0, 0, 0, 33), value=float("nan"))
    padded.requires_grad_()
    wider = pooling(padded, lengths * size / (size + 33))
    torch.testing.assert_close(wider, whole, **close)
    wider.square().sum().backward()
    for gradient in (padded.grad, *(p.grad for p in pooling.parameters())):
        assert gradient.isfinite().all()
    order = torch.tensor([2, 0, 3, 1])
    reordered = pooling(frames[order], lengths[order])
    torch.testing.assert_close(reordered, whole[order], **close)
    for row, real in enumerate(FRAMES):
        assert padded.grad[row, real:].abs().max() == 0
        alone = pooling(frames[row : row + 1, :real])
        torch.testing.assert_close(alone, whole[row : row + 1], **close)


def test_correlations_ignore_scale_and_shift_of_channels(batch):
    frames, lengths = batch
    moved = frames * torch.tensor([1.0, 3.0, 0.5, 10.0, 2.0, 0.1]) + torch.arange(SIZE)
    pooling = CorrelationPooling(SIZE)
    found, wanted = pooling(moved, lengths), pooling(frames, lengths)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@EACH
@pytest.mark.parametrize("case", ["one frame", "silence", "constant", "dropped"])
@pytest.mark.parametrize("autocast", [False, True])
def test_extremes_are_finite_with_finite_gradients(name, case, autocast):
    generator = torch.Generator().manual_seed(2)
    frames = torch.randn(2, 1 if case == "one frame" else 9, SIZE, generator=generator)
    if case == "silence":
        frames[:] = 0
    elif case == "constant":
        frames[:, :, 2] = 12345.678
    elif case == "dropped":
        frames[:, :, [0, 4]] = 0
    frames.requires_grad_()
    pooling = make(name)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        pooled = pooling(frames)
    assert pooled.dtype == torch.float32
    assert pooled.isfinite().all()
    if name in ("corr", "attentive_corr") and case in ("one frame", "silence"):
        assert pooled.abs().max() == 0
    (pooled * torch.randn(pooled.shape, generator=generator)).sum().backward()
    assert frames.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in pooling.parameters())


def test_names_and_errors():
    with pytest.raises(InputError) as caught:
        make_pooling("max", 4)
    assert str(caught.value) == (
        "pooling is 'max'; it must be one of mean, mean_std, corr, attentive_corr, "
        "mean_corr, attentive_stats, mhfa, log_cov"
    )
    for name in ("attentive_corr", "mhfa"):
        with pytest.raises(InputError, match="n_heads is 0"):
            make_pooling(name, 4, n_heads=0)
    with pytest.raises(InputError, match="input_size is 1; it must be at least 2"):
        CorrelationPooling(1)
    with pytest.raises(ValueError, match=r"\(B, T, 4\) \(got \(2, 3, 5\)\)"):
        MeanPooling(4)(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match=r"one per item \(got \(3,\)\)"):
        MeanPooling(4)(torch.zeros(2, 3, 4), torch.ones(3))
