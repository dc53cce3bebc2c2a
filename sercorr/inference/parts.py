"""What a recogniser is made of, wherever it was read from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sercorr.files import json_digest
from sercorr.lobes.described import describe_head
from sercorr.lobes.upstream import FrozenUpstream, Upstream


@dataclass(frozen=True)
class ModelParts:
    """What a recogniser is made of, wherever it was read from.

    Attributes
    ----------
    name : str
        The folder or hub name.
    labels : list of str
        The K emotions, in the order of the classes.
    upstream : Upstream or FrozenUpstream
        What gives the layers.
    heads : list of torch.nn.Module
        One, or several whose probabilities are averaged.
    features : dict
        ``stored``: the type that layers are rounded to before the heads see them
        (``float16``, ...; None: not at all), ``precision``: ``fp32`` or ``bf16``.
    about : dict
        What else is known, as JSON can hold it: ``upstream_source``,
        ``upstream_revision``, ``folds``, ``n_folds``, ``metrics``, ``settings``.
    """

    name: str
    labels: list[str]
    upstream: Upstream | FrozenUpstream
    heads: Sequence[nn.Module]
    features: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Digest of all that decides the answers."""
        digest = hashlib.sha256()
        for head in self.heads:
            for name, tensor in sorted(head.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        shapes = [describe_head(head) or type(head).__name__ for head in self.heads]
        upstream = self.upstream.info.at_precision(self.features["precision"])
        return json_digest(
            [
                *(self.labels, upstream.identity(), self.features),
                *(shapes, digest.hexdigest()),
            ]
        )
