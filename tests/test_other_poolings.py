"""Poolings to compare with: what only they do. The rest is in test_pooling.py."""

import csv

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from clips import make_clips
from heads import random_parts
from recognizers import make_noise, make_recognizer
from releases import make_release
from runs import train

from sercorr.errors import InputError
from sercorr.inference import EmotionRecognizer
from sercorr.inference.model_card import model_card
from sercorr.lobes import (
    POOLINGS,
    AttentiveStatsPooling,
    EmotionHead,
    FactorisedAttentionPooling,
    LogCovariancePooling,
    Upstream,
    make_pooling,
)
from sercorr.lobes.described import build_head, describe_head
from sercorr.lobes.other_poolings import matrix_log

OTHERS = list(POOLINGS)[4:]
SIZE = 5


def symmetric(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    """A matrix with these eigenvalues, (1, D, D) in float64."""
    noise = np.random.default_rng(seed).standard_normal([len(eigenvalues)] * 2)
    basis = np.linalg.qr(noise)[0]
    return torch.from_numpy(basis * np.array(eigenvalues) @ basis.T)[None]


SPECTRA = {
    "apart": [5.0, 3.0, 1.0, 0.5, 0.1],
    "mostly zeros, raised": [4.0, 2.0, 1e-3, 1e-3, 1e-3],
    "all equal": [2.0] * 5,
    "almost equal": [1.0, 1.0 + 1e-12, 1.0 + 1e-7, 3.0, 3.0],
    "far apart": [1e3, 1.0, 1e-3, 1e-5, 1e-5],
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_the_logarithm_and_its_gradient(spectrum):
    matrix = symmetric(spectrum)
    wanted = scipy.linalg.logm(matrix[0].numpy())
    np.testing.assert_allclose(matrix_log(matrix)[0], wanted, rtol=1e-6, atol=1e-6)
    # SciPy's derivative of the exponential, at the logarithm, is the inverse of ours.
    direction = symmetric([1.0, -2.0, 0.5, 3.0, -1.0], seed=1)
    leaf = matrix.clone().requires_grad_()
    matrix_log(leaf).backward(direction)
    back = scipy.linalg.expm_frechet(
        wanted, leaf.grad[0].numpy(), compute_expm=False, check_finite=False
    )
    np.testing.assert_allclose(back, direction[0], rtol=1e-6, atol=1e-5)
    slope, leaf.grad = leaf.grad, None
    matrix_log(leaf).backward(2 * direction.triu(1) + direction.tril(0).triu(0))
    torch.testing.assert_close(leaf.grad, slope, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ["apart", "all equal", "almost equal"])
def test_gradcheck_of_the_logarithm(name):
    matrices = torch.cat([symmetric(SPECTRA[name]), symmetric(SPECTRA[name], 7)])
    matrices.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: matrix_log((m + m.mT) / 2), matrices)


@pytest.mark.parametrize("frames", [2, 3, 12])  # 2 and 3: a singular covariance
def test_gradcheck_of_log_cov(frames):
    generator = torch.Generator().manual_seed(3)
    clips = torch.randn(2, frames, SIZE, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([1.0, 1.0 if frames == 2 else (frames - 1) / frames])
    pooling = LogCovariancePooling(SIZE)
    assert pooling(clips).dtype == torch.float64
    assert torch.autograd.gradcheck(
        lambda x: pooling(x, lengths), clips.requires_grad_(), rtol=1e-4
    )


def test_a_matrix_that_is_not_finite_spoils_no_other():
    spoilt = symmetric(SPECTRA["apart"])
    spoilt[0, 1, 2] = torch.inf
    found = matrix_log(torch.cat([spoilt, symmetric(SPECTRA["apart"])]))
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], matrix_log(symmetric(SPECTRA["apart"])))
    clips = torch.randn(2, 9, SIZE, generator=torch.Generator().manual_seed(0))
    clips[0, 3, 1] = torch.inf
    pooled = LogCovariancePooling(SIZE)(clips)
    assert pooled.isfinite().all(1).tolist() == [False, True]


def test_distances_are_those_of_the_matrices_logarithms():
    generator = torch.Generator().manual_seed(8)
    clips = torch.randn(2, 30, SIZE, generator=generator, dtype=torch.float64)
    pooled = LogCovariancePooling(SIZE, eps=0.0)(clips)
    first, second = (scipy.linalg.logm(np.cov(clip.T, bias=True)) for clip in clips)
    wanted = np.linalg.norm(first - second)
    assert (pooled[0] - pooled[1]).norm().item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("frames", [3, 40])
def test_a_louder_clip_differs_in_the_diagonal_alone(frames):
    generator = torch.Generator().manual_seed(8)
    clip = 10 * torch.randn(1, frames, SIZE, generator=generator)
    pooling = LogCovariancePooling(SIZE)
    moved = pooling(7 * clip + 3) - pooling(clip)
    wanted = torch.zeros(1, pooling.output_size)
    wanted[:, :SIZE] = 2 * np.log(7)
    torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-4)


def test_float32_pools_as_float64_does():
    """Few frames: zeros among the eigenvalues, beside which 1e-7 is not small."""
    clips = torch.randn(2, 20, 64, generator=torch.Generator().manual_seed(4))
    clips[:, :, 0] *= 100  # one large eigenvalue
    pooling = LogCovariancePooling(64)
    wanted = pooling(clips.double()).float()
    torch.testing.assert_close(pooling(clips), wanted, rtol=0, atol=1e-6)


def test_mhfa_with_equal_scores_is_the_mean_of_values():
    clips = torch.randn(3, 7, SIZE, generator=torch.Generator().manual_seed(2))
    pooling = FactorisedAttentionPooling(SIZE, n_heads=3, compression_size=4)
    torch.nn.init.zeros_(pooling.attention.queries.weight)
    mean = pooling.values(clips.mean(dim=1))
    torch.testing.assert_close(pooling(clips), mean.repeat(1, 3))
    assert pooling.output_size == 12


@pytest.mark.parametrize("name", POOLINGS)
def test_a_step_down_its_gradient_lowers_the_loss(name):
    torch.manual_seed(3)
    head = EmotionHead(3, 10, make_pooling(name, 8, n_heads=2), 4, 0.0, 8)
    clips = [torch.randn(3, frames, 10) for frames in (30, 12, 25, 5)]
    targets = torch.tensor([0, 1, 2, 3])
    before = F.cross_entropy(head(clips), targets)
    before.backward()
    squares = sum(p.grad.square().sum() for p in head.parameters())
    assert all(p.grad.isfinite().all() for p in head.parameters())
    assert all(p.grad.any() for p in head.pooling.parameters())
    rate = 1e-4 / squares  # small enough that the loss is straight there
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.sub_(rate * parameter.grad)
        fall = before - F.cross_entropy(head(clips), targets)
    assert fall.item() == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_head_is_built_again_from_its_description(name):
    pooling = make_pooling(name, 8, n_heads=3)
    head = EmotionHead(3, 10, pooling, 4, 0.0, 8).eval()
    described = describe_head(head)
    assert described["pooling"] == name
    again = build_head(described)
    again.load_state_dict(head.state_dict())
    clip = torch.randn(3, 20, 10)
    assert torch.equal(again([clip]), head([clip]))
    card = model_card(random_parts(Upstream("fbank"), (1,), name))
    assert f"channels, {name}, linear" not in card  # in words


def test_options_of_ones_own_are_kept():
    for pooling in (
        AttentiveStatsPooling(8, hidden_size=3),
        FactorisedAttentionPooling(8, n_heads=1, compression_size=5),
        LogCovariancePooling(8, eps=0.5),
    ):
        again = build_head(describe_head(EmotionHead(3, 10, pooling, 4, 0.0, 8)))
        assert describe_head(again)["pooling"] in OTHERS
        clip = torch.randn(1, 20, 8)
        again.pooling.load_state_dict(pooling.state_dict())
        torch.testing.assert_close(again.pooling(clip), pooling(clip))


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_release(tmp_path_factory.mktemp("others") / "release", odd=False)


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_is_trained_and_read_again(release, tmp_path, name):
    train(release, tmp_path, pooling=name, lr=0.01)
    with open(tmp_path / "fold_1" / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    recognizer = EmotionRecognizer.from_run(tmp_path)
    files = [row["file"].format(data_root=release) for row in rows]
    for record, row in zip(recognizer.predict(files), rows, strict=True):
        wanted = [float(row[label]) for label in record.scores]
        assert list(record.scores.values()) == pytest.approx(wanted, abs=2e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_what_recognisers_show(name):
    recognizer = make_recognizer(pooling=name)
    (record,) = recognizer.predict(make_noise(1.0), embedding=True)
    assert record.embedding.shape == (recognizer.heads[0].pooling.output_size,)
    if name in ("attentive_stats", "mhfa"):
        assert len(record.attention) == 101
        weights = [weight for _, weight in record.attention]
        assert sum(weights) == pytest.approx(1)
        assert np.ptp(weights) > 1e-4
    else:
        assert record.attention is None


def test_log_cov_is_refused_by_onnx(tmp_path):
    onnx_export = pytest.importorskip("sercorr.inference.onnx_export")
    parts = random_parts(Upstream("fbank"), (1,), "log_cov")
    with pytest.raises(InputError) as caught:
        onnx_export.export_onnx(parts, tmp_path / "a.onnx")
    assert str(caught.value) == (
        "pooling: log_cov cannot be exported to ONNX, which knows no eigenvalues of "
        "matrices: use another format"
    )
    assert list(tmp_path.iterdir()) == []


def test_log_cov_answers_alike_in_any_batch():
    recognizer = make_recognizer(pooling="log_cov")
    clips = [clip.numpy() for clip in make_clips()]
    alone = [next(recognizer.predict(clip)).scores for clip in clips]
    together = [found.scores for found in recognizer.predict(clips)]
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=2e-6)
