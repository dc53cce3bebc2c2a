"""What is trained: layer mix, projection, channel dropout, pooling, classifier."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from sercorr.errors import InputError
from sercorr.functional import mix_clips
from sercorr.lengths import absolute_to_relative, count_mask
from sercorr.lobes.layer_mix import LayerMix


class ChannelDropout(nn.Module):
    """Drop whole channels of an utterance, in training only (section 3.3).

    A channel is dropped in all frames of one utterance or in none; what remains is
    scaled by 1/(1-p), to which correlations are blind. How far a batch is padded
    does not change what is drawn.

    Arguments
    ---------
    p : float
        p_d, the probability that a channel is dropped, in [0, 1).

    Example
    -------
    >>> _ = torch.manual_seed(0)
    >>> ChannelDropout(0.5)(torch.ones(1, 2, 4))
    tensor([[[0., 0., 2., 0.],
             [0., 0., 2., 0.]]])
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"channel_dropout is {p}; it must be at least 0, under 1")
        self.p = p

    def extra_repr(self) -> str:
        """Show p where the module is printed."""
        return f"p={self.p}"

    def draw(self, batch: int, like: torch.Tensor) -> torch.Tensor | None:
        """Draw what each channel of each utterance is multiplied with.

        Arguments
        ---------
        batch : int
            B.
        like : torch.Tensor
            (..., D), of the wanted type and device.

        Returns
        -------
        torch.Tensor or None
            (B, 1, D), 0 or 1/(1-p); None where nothing is dropped.
        """
        if not self.training or self.p == 0:
            return None
        return F.dropout(like.new_ones(batch, 1, like.shape[-1]), self.p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop channels of (B, T, D)."""
        kept = self.draw(len(x), x)
        return x if kept is None else x * kept


class EmotionHead(nn.Module):
    """From an upstream's layers to the emotions' logits, figure 1 of the paper.

    Arguments
    ---------
    num_layers : int
        Layers of the upstream, L + 1.
    input_size : int
        Channels of the upstream.
    pooling : torch.nn.Module
        Takes ``(x: (B, T, projection_size), lengths)`` and has ``output_size``;
        `make_pooling` makes the paper's four.
    n_classes : int
        K.
    channel_dropout : float
        p_d.
    projection_size : int
        d_v.

    Example
    -------
    >>> from sercorr.lobes.pooling import make_pooling
    >>> head = EmotionHead(13, 768, make_pooling("corr", 256), 4, channel_dropout=0.25)
    >>> head(torch.randn(2, 13, 50, 768), torch.tensor([1.0, 0.7])).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        num_layers: int,
        input_size: int,
        pooling: nn.Module,
        n_classes: int,
        channel_dropout: float,
        projection_size: int = 256,
    ):
        super().__init__()
        if pooling.input_size != projection_size:
            raise ValueError(
                f"the pooling takes {pooling.input_size} channels "
                f"but projection_size is {projection_size}"
            )
        self.layer_mix = LayerMix(num_layers)
        self.projection = nn.Linear(input_size, projection_size)
        self.channel_dropout = ChannelDropout(channel_dropout)
        self.pooling = pooling
        self.classifier = nn.Linear(pooling.output_size, n_classes)

    def classify_projected(
        self, packed: torch.Tensor, counts: Sequence[int], order: Sequence[int]
    ) -> torch.Tensor:
        """Classify clips whose layers are already averaged and projected.

        Little work is spent on padding, because clips of similar length are pooled
        together.

        Arguments
        ---------
        packed : torch.Tensor
            (T_1 + T_2 + ..., projection_size), from `project_clips`.
        counts : sequence of int
            T_1, T_2, ...: not increasing.
        order : sequence of int
            Where each clip stands in the batch.

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits in the batch's order.
        """
        kept = self.channel_dropout.draw(len(counts), packed)
        groups = _similar(counts)
        sizes = [sum(counts[first:last]) for first, last in groups]
        pooled = []
        for (first, last), piece in zip(groups, packed.split(sizes), strict=True):
            frames, lengths = _pad(piece, counts[first:last])
            if kept is not None:
                frames = frames * kept[list(order[first:last])]
            pooled.append(self.pooling(frames, lengths))
        logits = self.classifier(torch.cat(pooled))
        place = torch.tensor(order, device=logits.device).argsort()
        return logits[place]

    def classify_clips(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify clips of layers (L, T_i, D): what `forward` does, without padding.

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits.
        """
        order = longest_first(clips)
        clips = [clips[place] for place in order]
        (packed,) = project_clips(clips, [self])
        return self.classify_projected(packed, [clip.shape[1] for clip in clips], order)

    def forward(
        self, layers: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Classify utterances.

        Arguments
        ---------
        layers : torch.Tensor
            (B, L, T, D).
        lengths : torch.Tensor or None
            (B,), relative.

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits.
        """
        frames = self.channel_dropout(self.projection(self.layer_mix(layers)))
        return self.classifier(self.pooling(frames, lengths))


def project_clips(
    clips: Sequence[torch.Tensor], heads: Sequence[EmotionHead]
) -> list[torch.Tensor]:
    """Average the layers of clips and project them, for several heads at once.

    The layers are read once for all heads.

    Arguments
    ---------
    clips : sequence of torch.Tensor
        (L, T_i, D) each, of one floating type.
    heads : sequence of EmotionHead
        With as many layers and channels.

    Returns
    -------
    list of torch.Tensor
        (T_1 + T_2 + ..., projection_size) for each head, to the bit what it is for
        this head alone.
    """
    gammas = torch.stack([head.layer_mix.gammas for head in heads])
    mixed = mix_clips(clips, gammas)
    return [head.projection(own) for head, own in zip(heads, mixed, strict=True)]


def longest_first(clips: Sequence[torch.Tensor]) -> list[int]:
    """Order clips (L, T_i, D) by falling number of frames.

    Example
    -------
    >>> longest_first([torch.zeros(1, frames, 2) for frames in (3, 9, 3, 5)])
    [1, 3, 0, 2]
    """
    return sorted(range(len(clips)), key=lambda place: -clips[place].shape[1])


def _similar(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Cut falling counts into runs in which none is under 3/4 of the first."""
    starts = [0]
    for place, count in enumerate(counts):
        if count < 0.75 * counts[starts[-1]]:
            starts.append(place)
    return list(zip(starts, [*starts[1:], len(counts)], strict=True))


def _pad(
    packed: torch.Tensor, counts: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn (T_1 + ..., D) into (B, T, D), 0 on padding, and relative lengths.

    One indexed copy: torch's `pad_sequence` copies the whole gradient once a clip.
    """
    lengths = absolute_to_relative(torch.tensor(counts), max(counts)).to(packed.device)
    mask = count_mask(counts, max(counts), packed.device)
    padded = packed.new_zeros(mask.numel(), packed.shape[-1])
    padded = padded.index_copy(0, mask.flatten().nonzero().squeeze(1), packed)
    return padded.view(*mask.shape, -1), lengths
