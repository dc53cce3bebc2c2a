"""What is trained: layer mix, projection, channel dropout, pooling, classifier."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from sercorr.errors import InputError
from sercorr.lengths import absolute_to_relative, relative_to_absolute
from sercorr.lobes.layer_mix import LayerMix, mix_clips


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
        Called with frames (B, T, projection_size), 0 on padding, and their relative
        lengths (B,); has the attributes ``input_size``, equal to projection_size, and
        ``output_size``. `make_pooling` makes the paper's four. Where its own class
        (not a base class) says ``pools_clips_independently = True``, clips of similar
        length are pooled together, which saves padding; otherwise the whole batch.
    n_classes : int
        K.
    channel_dropout : float
        p_d.
    projection_size : int
        d_v.

    Raises
    ------
    InputError
        The pooling lacks a size, or takes another than ``projection_size``.

    Example
    -------
    >>> from sercorr.lobes.pooling import make_pooling
    >>> head = EmotionHead(13, 768, make_pooling("corr", 256), 4, channel_dropout=0.25)
    >>> head(torch.randn(2, 13, 50, 768), torch.tensor([1.0, 0.7])).shape
    torch.Size([2, 4])
    >>> head([torch.randn(13, 50, 768), torch.randn(13, 35, 768)]).shape
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
        output_size = _output_size(pooling, projection_size)
        self.layer_mix = LayerMix(num_layers)
        self.projection = nn.Linear(input_size, projection_size)
        self.channel_dropout = ChannelDropout(channel_dropout)
        self.pooling = pooling
        self.classifier = nn.Linear(output_size, n_classes)

    def forward(
        self,
        layers: torch.Tensor | Sequence[torch.Tensor],
        lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Classify utterances.

        Arguments
        ---------
        layers : torch.Tensor or sequence of torch.Tensor
            A padded batch (B, L, T, D), or clips (L, T_i, D) of any lengths; of any
            floating type.
        lengths : torch.Tensor or None
            (B,), relative, for a padded batch; None means full length.

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits.
        """
        clips = _as_clips(layers, lengths)
        (frames,) = project_clips(clips, [self])
        return self.classify(frames, [clip.shape[1] for clip in clips])

    def classify(self, frames: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """Classify clips whose layers are already averaged and projected.

        Arguments
        ---------
        frames : torch.Tensor
            (T_1 + T_2 + ..., projection_size), the clips one after the other, from
            `project_clips`.
        counts : sequence of int
            T_1, T_2, ...

        Returns
        -------
        torch.Tensor
            (B, n_classes), logits in the order of the clips.
        """
        kept = self.channel_dropout.draw(len(counts), frames)
        clips = frames.split(list(counts))
        groups = [list(range(len(clips)))]
        # The class itself must say so: one derived from ours may look at all clips.
        if vars(type(self.pooling)).get("pools_clips_independently", False):
            groups = _similar(counts)
        pooled = []
        for group in groups:
            padded, lengths = _pad([clips[place] for place in group])
            if kept is not None:
                padded = padded * kept[group]
            pooled.append(self.pooling(padded, lengths))
        order = torch.tensor([place for group in groups for place in group])
        logits = self.classifier(torch.cat(pooled))
        return logits[order.argsort().to(logits.device)]


def project_clips(
    clips: Sequence[torch.Tensor], heads: Sequence[EmotionHead]
) -> list[torch.Tensor]:
    """Average the layers of clips and project them, for several heads at once.

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
    mixed = mix_clips(clips, [head.layer_mix for head in heads])
    return [head.projection(own) for head, own in zip(heads, mixed, strict=True)]


def _output_size(pooling: nn.Module, projection_size: int) -> int:
    """Say how many channels a pooling returns, once it takes those that it gets."""
    name, sizes = type(pooling).__name__, []
    for attribute, verb in (("input_size", "takes"), ("output_size", "returns")):
        size = getattr(pooling, attribute, None)
        if not isinstance(size, int):
            raise InputError(
                f"the pooling {name} has no {attribute}; give it this attribute, the "
                f"number of channels that it {verb}"
            )
        sizes.append(size)
    if sizes[0] != projection_size:
        raise InputError(
            f"the pooling {name} takes {sizes[0]} channels but projection_size is "
            f"{projection_size}; make them equal"
        )
    return sizes[1]


def _as_clips(
    layers: torch.Tensor | Sequence[torch.Tensor], lengths: torch.Tensor | None
) -> list[torch.Tensor]:
    """Cut a padded batch (B, L, T, D) into its clips (L, T_i, D)."""
    if not isinstance(layers, torch.Tensor):
        if lengths is not None:
            raise ValueError("a list of clips has no padding: leave lengths out")
        return list(layers)
    if layers.dim() != 4 or (lengths is not None and len(lengths) != len(layers)):
        raise ValueError(
            "layers must have shape (B, L, T, D) and lengths (B,) (got "
            f"{tuple(layers.shape)} and {None if lengths is None else len(lengths)})"
        )
    if lengths is None:
        return list(layers)
    counts = relative_to_absolute(lengths, layers.shape[2]).tolist()
    return [clip[:, :count] for clip, count in zip(layers, counts, strict=True)]


def _similar(counts: Sequence[int]) -> list[list[int]]:
    """Group places, longest first, so that no count is under 3/4 of its group's first.

    Example
    -------
    >>> _similar([30, 100, 80, 30, 60])
    [[1, 2], [4], [0, 3]]
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(counts)), key=lambda place: -counts[place]):
        if groups and counts[place] >= 0.75 * counts[groups[-1][0]]:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _pad(clips: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn clips (T_i, D) into (B, T, D), 0 on padding, and relative lengths.

    torch's `pad_sequence` would copy the whole gradient once per clip.
    """
    counts = torch.tensor([len(clip) for clip in clips])
    size = int(counts.max())
    padded = torch.stack([F.pad(clip, (0, 0, 0, size - len(clip))) for clip in clips])
    return padded, absolute_to_relative(counts, size).to(padded.device)
