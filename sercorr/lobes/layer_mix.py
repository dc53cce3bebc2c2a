"""Learned average over the layers of an upstream model, equation (1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sercorr import fast, functional
from sercorr.fast import layer_mix as fast_layer_mix


class LayerMix(nn.Module):
    """Softmax-weighted sum of layers, equation (1), as in SUPERB.

    Arguments
    ---------
    num_layers : int
        L + 1 of the paper: the transformer's input and its L outputs.

    Example
    -------
    >>> mix = LayerMix(3)
    >>> layers = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1)
    >>> mix(layers).item()  # untrained: the plain mean
    3.0
    """

    def __init__(self, num_layers: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_layers))

    @property
    def gammas(self) -> Tensor:
        """The layers' weights (L,): not negative, summing to 1."""
        return functional.layer_weights(self.weight)

    def forward(self, layers: Tensor) -> Tensor:
        """Average (B, L, T, D), of any floating type, to (B, T, D), float32 or more."""
        if layers.dim() != 4:
            raise ValueError(
                f"layers must have shape (B, L, T, D) (got {tuple(layers.shape)})"
            )
        (mixed,) = mix_clips(layers.unbind(0), [self])
        return mixed.view(len(layers), *layers.shape[2:])


def mix_clips(clips: Sequence[Tensor], mixes: Sequence[LayerMix]) -> list[Tensor]:
    """Average the layers of clips of any lengths, with several sets of weights.

    Arguments
    ---------
    clips : sequence of torch.Tensor
        (L, T_i, D) each, of one floating type.
    mixes : sequence of LayerMix
        Of the same number of layers.

    Returns
    -------
    list of torch.Tensor
        For each mix, (T_1 + T_2 + ..., D), the clips one after the other: to the bit
        what it is for this mix alone.
    """
    gammas = torch.stack([mix.gammas for mix in mixes])  # (K, L)
    for clip in clips:
        if clip.dim() != 3 or len(clip) != gammas.shape[1] or clip.shape[1] < 1:
            raise ValueError(
                f"clips must have shape ({gammas.shape[1]}, T, D) "
                f"(got {tuple(clip.shape)})"
            )
    if fast.enabled() and not any(clip.requires_grad for clip in clips):
        return fast_layer_mix.mix_clips(clips, gammas)
    return [
        torch.cat([functional.mix_layers(clip, own) for clip in clips])
        for own in gammas
    ]
