"""A head as plain values, from which it can be built again without running code."""

import inspect
from collections.abc import Mapping
from typing import Any

from sercorr.errors import InputError
from sercorr.lobes.head import EmotionHead
from sercorr.lobes.registry import POOLINGS

_NAMES: dict[type, str] = {kind: name for name, kind in POOLINGS.items()}


def describe_head(head: Any) -> dict[str, Any] | None:
    """Describe a head by its shape; None if it, or its pooling, is of one's own.

    Example
    -------
    >>> from sercorr.lobes import make_pooling
    >>> describe_head(EmotionHead(13, 768, make_pooling("corr", 256), 4, 0.0))
    {'pooling': 'corr', 'num_layers': 13, 'input_size': 768, 'projection_size': 256, \
'n_classes': 4, 'eps': 1e-08}
    """
    if type(head) is not EmotionHead or type(head.pooling) not in _NAMES:
        return None
    pooling = head.pooling
    described: dict[str, Any] = {
        "pooling": _NAMES[type(pooling)],
        "num_layers": len(head.layer_mix.weight),
        "input_size": head.projection.in_features,
        "projection_size": head.projection.out_features,
        "n_classes": head.classifier.out_features,
    }
    for option in list(inspect.signature(type(pooling)).parameters)[1:]:
        described[option] = getattr(pooling, option)
    return described


def build_head(described: Mapping[str, Any]) -> EmotionHead:
    """Build the head that `describe_head` describes, with random weights, to be used.

    It is in eval mode, without gradients and channel dropout.

    Raises
    ------
    InputError
        A value is missing, unknown or not usable.

    Example
    -------
    >>> from sercorr.lobes import make_pooling
    >>> head = EmotionHead(13, 768, make_pooling("attentive_corr", 256, 2), 4, 0.25)
    >>> describe_head(build_head(describe_head(head))) == describe_head(head)
    True
    """
    rest = dict(described)
    try:
        name, size = rest.pop("pooling"), rest.pop("projection_size")
        shape = [rest.pop(key) for key in ("num_layers", "input_size", "n_classes")]
        pooling = POOLINGS[name](size, **rest)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"the head is described by {dict(described)}, which this version cannot "
            f"build ({error}); its file is damaged, or made by a newer sercorr"
        ) from None
    layers, channels, classes = shape
    head = EmotionHead(layers, channels, pooling, classes, 0.0, projection_size=size)
    return head.requires_grad_(False).eval()
