"""What is trained: layer mix, projection, channel dropout, pooling, classifier."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sercorr.errors import InputError
from sercorr.lengths import absolute_to_relative, real_counts
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

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels of (B, T, D)."""
        ones = x.new_ones(len(x), 1, x.shape[-1])
        return x * F.dropout(ones, self.p, self.training)


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
        ``output_size``; otherwise an `InputError` is raised. Where its own class
        (not a base class) says ``pools_clips_independently = True``, clips of similar
        length are pooled together, which saves padding; otherwise the whole batch.
    n_classes : int
        K.
    channel_dropout : float
        p_d.
    projection_size : int
        d_v.

    Example
    -------
    >>> from sercorr.lobes.registry import make_pooling
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
        self, layers: Tensor | Sequence[Tensor], lengths: Tensor | None = None
    ) -> Tensor:
        """Classify utterances: logits (B, n_classes).

        ``layers`` are a padded batch (B, L, T, D) with relative ``lengths`` (B,), None
        for full length; or clips (L, T_i, D) of any lengths. Of any floating type.
        """
        clips = _cut(layers, lengths)
        (frames,) = project_clips(clips, [self])
        return self.classify(frames, [clip.shape[1] for clip in clips])

    def classify(self, frames: Tensor, counts: Sequence[int]) -> Tensor:
        """Classify clips whose layers are already averaged and projected.

        ``frames`` are (T_1 + T_2 + ..., projection_size), from `project_clips`, and
        ``counts`` T_1, T_2, ...; the logits (B, n_classes) are in the clips' order.
        """
        pooled, places = self._pool(frames, counts)
        return self.classifier(pooled)[places]

    def pool(self, frames: Tensor, counts: Sequence[int]) -> Tensor:
        """Pool clips, as `classify` does: (B, output_size)."""
        pooled, places = self._pool(frames, counts)
        return pooled[places]

    def _pool(self, frames: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pool clips in groups: rows in the groups' order, and where each clip is."""
        # drawn in the order of the clips, whatever their lengths and groups
        kept = self.channel_dropout(frames.new_ones(len(counts), 1, frames.shape[1]))
        clips = frames.split(list(counts))
        groups = [list(range(len(clips)))]
        # The class itself must say so: one derived from ours may look at all clips.
        if vars(type(self.pooling)).get("pools_clips_independently", False):
            groups = _similar(counts)
        pooled = []
        for group in groups:
            padded, lengths = _pad([clips[place] for place in group])
            pooled.append(self.pooling(padded * kept[group], lengths))
        order = torch.tensor([place for group in groups for place in group])
        joined = torch.cat(pooled)
        return joined, order.argsort().to(joined.device)


def project_clips(
    clips: Sequence[Tensor], heads: Sequence[EmotionHead]
) -> list[Tensor]:
    """Average the layers of clips and project them, for several heads at once.

    ``clips`` (L, T_i, D) of one floating type give (T_1 + T_2 + ..., projection_size)
    for each head, to the bit what it is for this head alone.
    """
    mixed = mix_clips(clips, [head.layer_mix for head in heads])
    return [head.projection(own) for head, own in zip(heads, mixed, strict=True)]


def shares_projection(module: nn.Module) -> bool:
    """Say whether a head's ``forward`` is `EmotionHead`'s: project, then classify."""
    return isinstance(module, EmotionHead) and type(module).forward is (
        EmotionHead.forward
    )


def _output_size(pooling: nn.Module, projection_size: int) -> int:
    """Say how many channels a pooling returns, once it takes those that it gets."""
    name = type(pooling).__name__
    for attribute in ("input_size", "output_size"):
        if not isinstance(getattr(pooling, attribute, None), int):
            raise InputError(
                f"the pooling {name} has no {attribute}; give it input_size and "
                "output_size, the numbers of channels that it takes and returns"
            )
    if pooling.input_size != projection_size:
        raise InputError(
            f"the pooling {name} takes {pooling.input_size} channels but "
            f"projection_size is {projection_size}; make them equal"
        )
    return cast(int, pooling.output_size)


def _cut(layers: Tensor | Sequence[Tensor], lengths: Tensor | None) -> list[Tensor]:
    """Cut a padded batch (B, L, T, D) into its clips (L, T_i, D)."""
    if not isinstance(layers, Tensor):
        if lengths is not None:
            raise ValueError("a list of clips has no padding: leave lengths out")
        return list(layers)
    if layers.dim() != 4:
        raise ValueError(
            f"layers must have shape (B, L, T, D) (got {tuple(layers.shape)})"
        )
    counts = real_counts(lengths, len(layers), layers.shape[2])
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


def _pad(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Turn clips (T_i, D) into (B, T, D), 0 on padding, and relative lengths.

    torch's `pad_sequence` would copy the whole gradient once per clip.
    """
    counts = torch.tensor([len(clip) for clip in clips])
    size = int(counts.max())
    padded = torch.stack([F.pad(clip, (0, 0, 0, size - len(clip))) for clip in clips])
    return padded, absolute_to_relative(counts, size).to(padded.device)
