"""Equations (1) to (8) against float64 loops and NumPy; extreme inputs; gradients."""

import numpy as np
import pytest
import references
import torch

from sercorr import functional
from sercorr.functional import (
    attention_weights,
    correlation_matrix,
    mix_clips,
    mix_layers,
    standard_deviation,
    strict_upper_triangle,
    weighted_moments,
)


def random_weights(generator: torch.Generator, batch: int, size: int) -> torch.Tensor:
    weights = torch.rand(batch, size, generator=generator) + 0.01
    return weights / weights.sum(dim=1, keepdim=True)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_references_agree_with_numpy(generator):
    frames = torch.randn(50, 5, generator=generator).double().numpy()
    uniform = np.full(50, 1 / 50)
    upper = np.triu_indices(5, 1)
    expected = np.corrcoef(frames.T)[upper]
    np.testing.assert_allclose(
        references.correlation(frames, uniform), expected, atol=1e-7
    )
    np.testing.assert_allclose(
        references.mean_std(frames), np.r_[frames.mean(0), frames.std(0)]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_mix_layers_against_einsum_in_float64(generator, dtype):
    layers = torch.randn(3, 5, 11, 7, generator=generator).to(dtype)
    weights = torch.softmax(torch.randn(5, generator=generator), 0).requires_grad_()
    mixed = mix_layers(layers, weights)
    expected = torch.einsum("bltd,l->btd", layers.double(), weights.double())
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.double(), expected, rtol=1e-6, atol=1e-6)
    upstream_gradient = torch.randn(mixed.shape, generator=generator)
    mixed.backward(upstream_gradient)
    slopes = torch.einsum("btd,bltd->l", upstream_gradient.double(), layers.double())
    torch.testing.assert_close(weights.grad.double(), slopes, rtol=1e-5, atol=1e-5)


def test_mix_layers_gradients():
    generator = torch.Generator().manual_seed(1)
    layers = torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(3, generator=generator, dtype=torch.float64)
    layers.requires_grad_(), weights.requires_grad_()
    assert torch.autograd.gradcheck(mix_layers, (layers, weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_mix_of_long_clips_in_chunks(generator, dtype, monkeypatch):
    monkeypatch.setitem(functional._CHUNK, "cpu", 4 * 3 * 10)  # 10 frames at a time
    clips = [
        torch.randn(4, size, 3, generator=generator).to(dtype) for size in (25, 1, 10)
    ]
    weights = torch.rand(4, generator=generator).requires_grad_()
    (mixed,) = mix_clips(clips, weights.unsqueeze(0))
    expected = torch.cat(
        [torch.einsum("ltd,l->td", c.double(), weights.double()) for c in clips]
    )
    torch.testing.assert_close(mixed.double(), expected, rtol=1e-6, atol=1e-6)
    gradient = torch.randn(mixed.shape, generator=generator)
    mixed.backward(gradient)
    whole = torch.cat(clips, dim=1).double()
    slopes = torch.einsum("td,ltd->l", gradient.double(), whole)
    torch.testing.assert_close(weights.grad.double(), slopes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_several_mixes_at_once_are_to_the_bit_what_each_is_alone(generator, dtype):
    clips = [torch.randn(4, n, 8, generator=generator).to(dtype) for n in (9, 30)]
    weights = torch.rand(5, 4, generator=generator)
    gradient = torch.randn(5, 39, 8, generator=generator)
    together = weights.clone().requires_grad_()
    mixed = mix_clips(clips, together)
    torch.autograd.backward(mixed, gradient.unbind())
    for row in range(5):
        alone = weights[row : row + 1].clone().requires_grad_()
        (single,) = mix_clips(clips, alone)
        single.backward(gradient[row])
        assert torch.equal(single, mixed[row])
        assert torch.equal(alone.grad[0], together.grad[row])


def test_mix_layers_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"\(B, 3, T, D\) \(got \(1, 2, 4, 5\)\)"):
        mix_layers(torch.zeros(1, 2, 4, 5), torch.ones(3))
    with pytest.raises(ValueError, match=r"\(3, T, D\) \(got \(2, 4, 5\)\)"):
        mix_clips([torch.zeros(2, 4, 5)], torch.ones(1, 3))


def test_moments_against_loops(generator):
    frames = 3 + 2 * torch.randn(4, 30, 6, generator=generator)
    weights = random_weights(generator, 4, 30)
    mean, covariance = weighted_moments(frames, weights, "covariance")
    _, variance = weighted_moments(frames, weights, "variance")
    for row in range(4):
        x, w = frames[row].double().numpy(), weights[row].double().numpy()
        centre = sum(weight * frame for weight, frame in zip(w, x, strict=True))
        expected = sum(
            weight * np.outer(frame - centre, frame - centre)
            for weight, frame in zip(w, x, strict=True)
        )
        np.testing.assert_allclose(mean[row], centre, rtol=1e-6)
        np.testing.assert_allclose(covariance[row], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variance[row], np.diag(expected), rtol=1e-5)


def test_moments_gradients():
    generator = torch.Generator().manual_seed(3)
    frames = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    frames.requires_grad_(), logits.requires_grad_()

    def moments(x, z):
        mean, covariance = weighted_moments(x, torch.softmax(z, 1), "covariance")
        return torch.cat(
            [mean, strict_upper_triangle(correlation_matrix(covariance))], 1
        )

    assert torch.autograd.gradcheck(moments, (frames, logits))


def test_frames_of_weight_zero_do_not_exist(generator):
    frames = torch.randn(1, 6, 3, generator=generator)
    weights = torch.tensor([[0.0, 0.5, 0.25, 0.25, 0.0, 0.0]])
    expected = weighted_moments(frames[:, 1:4], weights[:, 1:4], "covariance")
    frames[:, 0] = float("nan")
    frames[:, 4:] = float("inf")
    found = weighted_moments(frames, weights, "covariance")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("level", [0.0, 0.1, 1000.1, -3e7])
def test_constant_channels_have_exactly_no_variance(generator, level):
    frames = torch.randn(2, 77, 4, generator=generator)
    frames[:, :, 1] = level
    frames[:, :, 3] = level / 3
    weights = random_weights(generator, 2, 77)
    _, covariance = weighted_moments(frames, weights, "covariance")
    assert covariance[:, [1, 3]].abs().max() == 0
    correlations = correlation_matrix(covariance)
    assert correlations[:, 1].abs().max() == 0


def test_moments_are_float32_under_autocast(generator):
    frames = torch.randn(2, 40, 8, generator=generator)
    weights = random_weights(generator, 2, 40)
    expected = weighted_moments(frames, weights, "covariance")[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = weighted_moments(frames, weights, "covariance")[1]
        scores = torch.randn(2, 40, 3, generator=generator).bfloat16()
        attended = attention_weights(scores, torch.ones(2, 40, dtype=torch.bool))
    assert found.dtype == attended.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(attended.sum(1), torch.ones(2))


def test_moments_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"weights \(B, T\).*\(2, 3\)"):
        weighted_moments(torch.zeros(2, 4, 5), torch.ones(2, 3))
    with pytest.raises(ValueError, match="got std"):
        weighted_moments(torch.zeros(2, 4, 5), torch.ones(2, 4), "std")


def test_epsilon_stands_on_the_product_of_deviations():
    # Deviations of 1e-2 and 1e-6, perfectly correlated: their product is epsilon, so
    # the correlation halves. Epsilon inside each variance would give about 0.01.
    covariance = torch.tensor([[[1e-4, 1e-8], [1e-8, 1e-12]]], dtype=torch.float64)
    found = correlation_matrix(covariance)[0, 0, 1].item()
    assert found == pytest.approx(0.5, rel=1e-6)


def test_deviation_of_nothing_has_a_finite_gradient():
    variance = torch.tensor([0.0, 1e-30, 4.0], requires_grad=True)
    deviation = standard_deviation(variance)
    deviation.sum().backward()
    torch.testing.assert_close(deviation.detach(), torch.tensor([0.0, 1e-15, 2.0]))
    assert variance.grad.isfinite().all()


def test_upper_triangle_goes_row_by_row(generator):
    matrices = torch.randn(3, 6, 6, generator=generator)
    rows, columns = np.triu_indices(6, 1)
    np.testing.assert_array_equal(
        strict_upper_triangle(matrices), matrices.numpy()[:, rows, columns]
    )


def test_attention_weights_on_extreme_scores():
    scores = torch.tensor([[[500.0, -500.0], [500.0, 0.0], [9e9, 9e9]]])
    mask = torch.tensor([[True, True, False]])
    scores.requires_grad_()
    weights = attention_weights(scores, mask)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]]))
    assert weights[0, 2] == 0
    weights[0, 0].backward()
    assert scores.grad.isfinite().all()
