"""What is trained: layer mix, projection, channel dropout, pooling, classifier."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from sercorr.errors import InputError
from sercorr.functional import mix_clips
from sercorr.lengths import absolute_to_relative
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop channels of (B, T, D)."""
        if not self.training or self.p == 0:
            return x
        kept = F.dropout(torch.ones_like(x[:, :1]), self.p, training=True)  # (B, 1, D)
        return x * kept


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

    def classify(
        self, frames: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pool projected frames (B, T, projection_size) to logits (B, n_classes)."""
        return self.classifier(self.pooling(self.channel_dropout(frames), lengths))

    def classify_mixed(
        self, mixed: torch.Tensor, counts: Sequence[int]
    ) -> torch.Tensor:
        """Classify clips whose layers are already averaged.

        Arguments
        ---------
        mixed : torch.Tensor
            (T_1 + T_2 + ..., D), from `mix_clips`. No work is spent on padding here,
            because frames do not see each other before the pooling.
        counts : sequence of int
            T_1, T_2, ...

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits.
        """
        frames = self.projection(mixed).split(list(counts))
        lengths = absolute_to_relative(torch.tensor(counts), max(counts))
        return self.classify(
            pad_sequence(frames, batch_first=True), lengths.to(mixed.device)
        )

    def classify_clips(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify clips of layers (L, T_i, D): what `forward` does, without padding.

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits.
        """
        mixed = mix_clips(clips, self.layer_mix.gammas)
        return self.classify_mixed(mixed, [clip.shape[1] for clip in clips])

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
        return self.classify(self.projection(self.layer_mix(layers)), lengths)
