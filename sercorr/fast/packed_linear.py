"""Linear layers whose weights lie as oneDNN's matrix products want them.

MKL, torch's default, puts the weights of a frozen layer in order again in each call,
and reaches three quarters of oneDNN's rate on AMD processors. Torch's own compiler
uses the same two operators for frozen weights.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

_FRAMES = 256
"""Rows that the order is chosen for; other numbers are as correct, and as fast."""

_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")


def pack_linear_layers(model: nn.Module) -> None:
    """Let all linear layers of a frozen model use packed weights.

    The model computes the same to float32 rounding, has the same parameters, and may
    be moved and converted as before. The weights are in memory twice. Nothing
    changes where torch has no oneDNN or lacks the two operators, which are private.

    Arguments
    ---------
    model : torch.nn.Module
        Changed in place.
    """
    if not torch.backends.mkldnn.is_available():
        return
    if not all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS):
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = PackedLinear
            cast(PackedLinear, module).pack()


class PackedLinear(nn.Linear):
    """A linear layer for inference, see `pack_linear_layers`.

    Example
    -------
    >>> layer = nn.Sequential(nn.Linear(2, 1))
    >>> _ = nn.init.ones_(layer[0].weight), nn.init.zeros_(layer[0].bias)
    >>> pack_linear_layers(layer)
    >>> with torch.no_grad():
    ...     layer(torch.tensor([[1.0, 2.0]]))
    tensor([[3.]])
    """

    _packed: torch.Tensor | None = None

    def pack(self) -> None:
        """Order the weights anew, after they have changed."""
        weight = self.weight.detach()
        fits = weight.device.type == "cpu" and weight.dtype == torch.float32
        self._packed = (
            torch.ops.mkldnn._reorder_linear_weight(weight, _FRAMES) if fits else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (..., in_features)."""
        if self._packed is None or torch.is_grad_enabled():
            return super().forward(x)
        return torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, "none", [], ""
        )

    def _apply(self, fn: Callable, recurse: bool = True) -> "PackedLinear":
        super()._apply(fn, recurse)  # to another device or type
        self.pack()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # no copy or pickle of it exists

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.pack()
