"""The trained part: layer mix, channel dropout, the head, equation (9)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sercorr.errors import InputError
from sercorr.lobes import POOLINGS, ChannelDropout, EmotionHead, LayerMix, make_pooling
from sercorr.lobes.head import project_clips
from sercorr.lobes.pooling import MeanPooling

LAYERS, SIZE, WIDTH, FRAMES = 4, 10, 8, (30, 12, 7, 25, 1)


@pytest.fixture(params=["1", "0"], ids=["fast", "plain"])
def both_ways(request, monkeypatch) -> None:
    monkeypatch.setenv("SERCORR_FAST", request.param)


@pytest.fixture
def clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(LAYERS, real, SIZE, generator=generator) for real in FRAMES]


def make_head(pooling="attentive_corr", dropout=0.0, seed=0) -> EmotionHead:
    torch.manual_seed(seed)
    if isinstance(pooling, str):
        pooling = make_pooling(pooling, WIDTH)
    head = EmotionHead(LAYERS, SIZE, pooling, 4, dropout, WIDTH)
    torch.nn.init.normal_(head.layer_mix.weight)
    return head


def pad(
    clips: list[torch.Tensor], longer: int = 0, value: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    size = max(clip.shape[1] for clip in clips) + longer
    padded = [F.pad(c, (0, 0, 0, size - c.shape[1]), value=value) for c in clips]
    return torch.stack(padded), torch.tensor([clip.shape[1] / size for clip in clips])


def gradients(head: EmotionHead, logits: torch.Tensor) -> list[torch.Tensor]:
    head.zero_grad()
    logits.square().sum().backward()
    return [parameter.grad.clone() for parameter in head.parameters()]


def test_layer_mix_starts_uniform_and_follows_softmax(both_ways):
    mix = LayerMix(3)
    layers = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix(layers), layers.mean(dim=1))
    logits = np.array([0.5, -1.0, 2.0])
    mix.weight.data = torch.from_numpy(logits).float()
    gammas = np.exp(logits) / np.exp(logits).sum()
    torch.testing.assert_close(mix.gammas.detach(), torch.tensor(gammas).float())
    expected = sum(g * layers[:, i].double().numpy() for i, g in enumerate(gammas))
    np.testing.assert_allclose(mix(layers).detach(), expected, rtol=1e-5, atol=1e-6)


def test_layer_mix_says_what_is_wrong(clips):
    with pytest.raises(ValueError, match=r"\(B, L, T, D\) \(got \(2, 4, 5\)\)"):
        LayerMix(2)(torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match=r"\(3, T, D\) \(got \(2, 4, 5\)\)"):
        LayerMix(3)(torch.zeros(1, 2, 4, 5))
    with pytest.raises(ValueError, match=r"\(4, T, D\) \(got \(4, 0, 10\)\)"):
        make_head()([*clips, torch.zeros(LAYERS, 0, SIZE)])


def test_layers_that_want_a_gradient_get_it(both_ways, clips):
    """The faster layer mix gives none, so that it stands back."""
    layers = torch.stack([clip[:, :1] for clip in clips]).double().requires_grad_()
    head = make_head("mean").double()
    assert torch.autograd.gradcheck(head, layers)


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
    for p in (-0.1, 1.0):
        with pytest.raises(InputError, match=f"channel_dropout is {p}"):
            ChannelDropout(p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_and_batch_mates_change_no_logit_and_no_gradient(
    both_ways, clips, pooling, dtype
):
    clips = [clip.to(dtype) for clip in clips]
    head = make_head(pooling).eval()
    alone = torch.cat([head([clip]) for clip in clips])
    slopes = gradients(head, alone)
    longer = pad(clips, longer=50, value=float("nan"))
    for together in (head(clips), head(*pad(clips)), head(*longer)):
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        for found, wanted in zip(gradients(head, together), slopes, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_head_is_the_papers_chain(clips, pooling):
    """Mix, projection, dropout, pooling and classifier, one clip after the other."""
    head = make_head(pooling, dropout=0.3)
    torch.manual_seed(9)
    logits = head(clips)
    torch.manual_seed(9)
    kept = head.channel_dropout(torch.ones(len(clips), 1, WIDTH))  # in this order
    assert (kept == 0).any()
    expected = []
    for clip, own in zip(clips, kept, strict=True):
        frames = head.projection(head.layer_mix(clip[None])) * own[None]
        expected.append(head.classifier(head.pooling(frames)))
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_heads_at_once_are_to_the_bit_what_each_is_alone(both_ways, clips, dtype):
    clips = [clip.to(dtype) for clip in clips]
    heads = [make_head(name, 0.3, seed) for seed, name in enumerate(POOLINGS)]
    alone, slopes = [], []
    for head in heads:
        torch.manual_seed(2)
        alone.append(head(clips))
        slopes.append(gradients(head, alone[-1]))
        head.zero_grad()
    together = []
    for head, frames in zip(heads, project_clips(clips, heads), strict=True):
        torch.manual_seed(2)
        together.append(head.classify(frames, FRAMES))
    sum(logits.square().sum() for logits in together).backward()
    for head, logits, wanted, slope in zip(heads, together, alone, slopes, strict=True):
        assert torch.equal(logits, wanted)
        for parameter, gradient in zip(head.parameters(), slope, strict=True):
            assert torch.equal(parameter.grad, gradient)


class BatchPooling(torch.nn.Module):
    """A user's pooling whose result for a clip depends on the whole batch."""

    def __init__(self):
        super().__init__()
        self.input_size = self.output_size = WIDTH
        self.norm = torch.nn.BatchNorm1d(WIDTH, eps=1e-12)

    def forward(self, x, lengths=None):
        return self.norm(MeanPooling(WIDTH)(x, lengths))


class NormedMeanPooling(MeanPooling):
    """A user's pooling derived from ours, which depends on the whole batch as well."""

    def forward(self, x, lengths=None):
        pooled = super().forward(x, lengths)
        return (pooled - pooled.mean(dim=0)) / pooled.std(dim=0, correction=0)


@pytest.mark.parametrize("pooling", [BatchPooling(), NormedMeanPooling(WIDTH)])
def test_a_pooling_that_looks_at_the_batch_gets_all_of_it(clips, pooling):
    head, seen = make_head(pooling), []
    head.pooling.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    frames = [head.projection(head.layer_mix(clip[None]))[0] for clip in clips]
    pooled = torch.stack([clip.mean(dim=0) for clip in frames])
    normed = (pooled - pooled.mean(dim=0)) / pooled.std(dim=0, correction=0)
    expected = head.classifier(normed)
    torch.testing.assert_close(head(clips), expected, rtol=1e-4, atol=1e-5)
    assert (head(*pad(clips)) - head(clips)).abs().max() < 1e-5
    padded, lengths = seen[0]
    assert padded.shape == (len(FRAMES), max(FRAMES), WIDTH)
    assert lengths.tolist() == pytest.approx([real / max(FRAMES) for real in FRAMES])


def test_our_poolings_are_given_clips_of_similar_length(clips):
    head, shapes = make_head("corr"), []
    head.pooling.register_forward_pre_hook(lambda _, x: shapes.append(x[0].shape[:2]))
    head(clips)
    assert shapes == [(2, 30), (1, 12), (1, 7), (1, 1)]


def test_poolings_and_inputs_that_do_not_fit(clips):
    message = "MeanPooling takes 16 channels but projection_size is 8"
    with pytest.raises(InputError, match=message):
        make_head(make_pooling("mean", 16))
    bare = torch.nn.Identity()
    with pytest.raises(InputError, match="Identity has no input_size; .*that it takes"):
        make_head(bare)
    bare.input_size = WIDTH
    with pytest.raises(InputError, match="has no output_size; .*returns"):
        make_head(bare)
    head = make_head()
    with pytest.raises(ValueError, match="leave lengths out"):
        head(clips, torch.ones(len(clips)))
    with pytest.raises(ValueError, match=r"\(B, L, T, D\) \(got \(4, 2, 10\)\)"):
        head(torch.zeros(LAYERS, 2, SIZE))
    with pytest.raises(ValueError, match=r"\(1,\), one per item \(got \(2,\)\)"):
        head(torch.zeros(1, LAYERS, 2, SIZE), torch.ones(2))


def test_label_smoothing_is_equation_9():
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(9, 4, generator=generator)
    targets = torch.randint(0, 4, (9,), generator=generator)
    soft = np.full((9, 4), 0.25 / 4) + 0.75 * np.eye(4)[targets]
    exponentials = np.exp(logits.double().numpy())
    logarithms = np.log(exponentials / exponentials.sum(axis=1, keepdims=True))
    found = F.cross_entropy(logits, targets, label_smoothing=0.25).item()
    assert found == pytest.approx(-(soft * logarithms).sum(axis=1).mean(), rel=1e-6)
