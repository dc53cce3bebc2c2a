"""Learned average over the layers of an upstream model, equation (1)."""

import torch
from torch import nn

from sercorr.functional import mix_layers


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
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1 (got {num_layers})")
        self.weight = nn.Parameter(torch.zeros(num_layers))

    @property
    def gammas(self) -> torch.Tensor:
        """The layers' weights (L,): not negative, summing to 1."""
        return torch.softmax(self.weight.float(), dim=0)

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        """Average the layers.

        Arguments
        ---------
        layers : torch.Tensor
            (B, L, T, D), of any floating type.

        Returns
        -------
        torch.Tensor
            (B, T, D), float32 at least.
        """
        return mix_layers(layers, self.gammas)
