"""Linear layers whose weights lie as oneDNN's matrix products want them.

MKL, torch's default, puts the weights of a frozen layer in order again in each call,
and reaches three quarters of oneDNN's rate on AMD processors. Torch's own compiler
uses the same two operators for frozen weights.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

_FRAMES = 256
"""Rows that the order is chosen for; other numbers are as correct, and as fast."""

_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")


def pack_linear_layers(model: nn.Module) -> None:
    """Let all linear layers of a frozen model use packed weights, in place.

    The model computes the same to float32 rounding, has the same parameters, and may
    be moved and converted as before. The weights are in memory twice. Nothing
    changes where torch has no oneDNN or lacks the two operators, which are private.
    """
    if not torch.backends.mkldnn.is_available():
        return
    if not all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS):
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = PackedLinear
            cast(PackedLinear, module).pack()


def unpack_linear_layers(model: nn.Module) -> None:
    """Undo `pack_linear_layers`, in place: only torch knows the packed layers."""
    for module in model.modules():
        if type(module) is PackedLinear:
            del module._packed
            cast(nn.Module, module).__class__ = nn.Linear


class PackedLinear(nn.Linear):
    """A linear layer for inference, see `pack_linear_layers`."""

    _packed: Tensor | None = None

    def pack(self) -> None:
        """Order the weights anew, after they have changed."""
        weight, self._packed = self.weight.detach(), None
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _FRAMES)

    def forward(self, x: Tensor) -> Tensor:
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
