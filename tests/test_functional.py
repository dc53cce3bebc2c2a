"""Equations (1) to (8) against float64 loops and NumPy; extreme inputs; gradients."""

import numpy as np
import pytest
import references
import torch

from sercorr.functional import (
    attention_scores,
    attention_weights,
    correlation_matrix,
    layer_weights,
    mix_layers,
    standard_deviation,
    strict_upper_triangle,
    weighted_covariance,
    weighted_mean,
    weighted_variance,
)

MOMENTS = (weighted_mean, weighted_variance, weighted_covariance)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def random_weights(generator: torch.Generator, batch: int, size: int) -> torch.Tensor:
    weights = torch.rand(batch, size, generator=generator) + 0.01
    return weights / weights.sum(dim=1, keepdim=True)


def test_references_agree_with_numpy(generator):
    frames = torch.randn(50, 5, generator=generator).double().numpy()
    uniform = np.full(50, 1 / 50)
    np.testing.assert_allclose(
        references.correlation(frames, uniform),
        np.corrcoef(frames.T)[np.triu_indices(5, 1)],
        atol=1e-7,
    )
    covariance = references.covariance(frames, uniform)
    np.testing.assert_allclose(covariance, np.cov(frames.T, bias=True))
    moments = np.r_[frames.mean(0), frames.std(0)]
    np.testing.assert_allclose(references.mean_std(frames), moments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_layer_mix_in_every_type(generator, dtype):
    layers = torch.randn(5, 11, 7, generator=generator).to(dtype)
    scores = torch.randn(5, generator=generator).to(dtype)
    gammas = np.exp(scores.double().numpy())
    gammas /= gammas.sum()
    pairs = zip(gammas, layers.double().numpy(), strict=True)
    expected = sum(gamma * layer for gamma, layer in pairs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mix_layers(layers, layer_weights(scores))
    assert mixed.dtype == torch.float32
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)


def test_moments_against_loops(generator):
    frames = 3 + 2 * torch.randn(4, 30, 6, generator=generator)
    weights = random_weights(generator, 4, 30)
    mean, variance, covariance = (moment(frames, weights) for moment in MOMENTS)
    for row in range(4):
        x, w = frames[row].double().numpy(), weights[row].double().numpy()
        expected = references.covariance(x, w)
        np.testing.assert_allclose(mean[row], references.mean(x, w), rtol=1e-6)
        np.testing.assert_allclose(covariance[row], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variance[row], np.diag(expected), rtol=1e-5)


def test_gradients_of_all_moments_and_of_the_attention(generator):
    shapes = ((2, 5, 3), (3, 3), (2, 3), (2,))
    leaves = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])

    def attentive_statistics(x, *parameters):
        weights = attention_weights(attention_scores(x, *parameters), mask)
        covariance = weighted_covariance(x, weights)
        deviations = standard_deviation(weighted_variance(x, weights))
        correlations = strict_upper_triangle(correlation_matrix(covariance))
        mean = weighted_mean(x, weights)
        return torch.cat([mean, deviations, covariance.flatten(1), correlations], dim=1)

    assert torch.autograd.gradcheck(attentive_statistics, leaves)


@pytest.mark.parametrize("moment", MOMENTS)
def test_frames_of_weight_zero_do_not_exist(generator, moment):
    frames = torch.randn(1, 6, 3, generator=generator)
    weights = torch.tensor([[0.0, 0.5, 0.25, 0.25, 0.0, 0.0]])
    expected = moment(frames[:, 1:4], weights[:, 1:4])
    frames[:, 0] = float("nan")
    frames[:, 4:] = float("inf")
    frames.requires_grad_()
    found = moment(frames, weights)
    torch.testing.assert_close(found.detach(), expected)
    found.square().sum().backward()
    assert frames.grad.isfinite().all()
    assert frames.grad[:, [0, 4, 5]].abs().max() == 0


@pytest.mark.parametrize("level", [0.0, 0.1, 1000.1, -3e7])
def test_constant_channels_have_exactly_no_variance(generator, level):
    frames = torch.randn(2, 77, 4, generator=generator)
    frames[:, :, 1] = level
    frames[:, :, 3] = level / 3
    weights = random_weights(generator, 2, 77)
    assert weighted_variance(frames, weights)[:, [1, 3]].abs().max() == 0
    covariance = weighted_covariance(frames, weights)
    assert covariance[:, [1, 3]].abs().max() == 0
    assert correlation_matrix(covariance)[:, 1].abs().max() == 0


def test_statistics_are_float32_under_autocast(generator):
    frames = torch.randn(2, 40, 8, generator=generator)
    weights = random_weights(generator, 2, 40)
    for moment in MOMENTS:
        expected = moment(frames, weights)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(moment(frames, weights), expected)
        assert moment(frames.bfloat16(), weights).dtype == torch.float32
    parameters = [torch.randn(shape) for shape in ((8, 8), (3, 8), (3,))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = attention_scores(frames, *parameters)
        attended = attention_weights(scores, torch.ones(2, 40, dtype=torch.bool))
    assert scores.dtype == attended.dtype == torch.float32
    torch.testing.assert_close(attended.sum(1), torch.ones(2))


def test_epsilon_stands_on_the_product_of_deviations():
    # Deviations of 1e-2 and 1e-6, perfectly correlated: their product is epsilon, so
    # the correlation halves. Epsilon inside each variance would give about 0.01.
    covariance = torch.tensor([[[1e-4, 1e-8], [1e-8, 1e-12]]], dtype=torch.float64)
    found = correlation_matrix(covariance)[0, 0, 1].item()
    assert found == pytest.approx(0.5, rel=1e-6)


def test_attention_on_extreme_scores():
    scores = torch.tensor([[500.0, 500.0, 9e9]], requires_grad=True)
    weights = attention_weights(scores, torch.tensor([[True, True, False]]))
    assert weights.tolist() == [[0.5, 0.5, 0.0]]
    weights[0, 0].backward()
    assert scores.grad.isfinite().all()
    # one head far above the others decides, and nothing overflows
    queries = torch.tensor([[500.0], [-500.0]])
    frames, biases = torch.ones(1, 1, 1), torch.zeros(2)
    assert attention_scores(frames, torch.eye(1), queries, biases).item() == 500.0
