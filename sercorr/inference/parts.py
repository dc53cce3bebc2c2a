"""What a recogniser is made of, wherever it was read from."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sercorr.errors import InputError
from sercorr.files import json_digest
from sercorr.lobes.described import describe_head
from sercorr.lobes.upstream import FrozenUpstream, Upstream

logger = logging.getLogger(__name__)


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


def open_upstream(
    place: str | os.PathLike | None,
    source: str,
    revision: str | None,
    layers: list[int] | None,
    what: str,
) -> Upstream:
    """Open a head's upstream at ``place`` or, if that is None, where it was recorded.

    ``layers`` are those that the head takes; None: all. ``what`` begins the message of
    the `InputError` that it is not there any more.
    """
    if place is not None:
        return Upstream(place, layers=layers)
    try:
        return Upstream(source, revision, layers=layers)
    except InputError as error:
        raise InputError(
            f"{what}, is not to be had: {error}. If it lies elsewhere, say where: "
            "--upstream FOLDER, or upstream_source=FOLDER"
        ) from None


def require_same_upstream(
    upstream: Upstream | FrozenUpstream, about: Mapping[str, Any], name: str
) -> None:
    """Refuse an upstream that is not the one a head was trained with.

    If only the version of this package's code that computes the layers is another one,
    a warning says so.

    ``about`` has ``features`` and ``upstream``, the identity that was recorded.
    """
    wanted = about["upstream"]
    sizes = (wanted["num_layers"], wanted["output_size"])
    if (upstream.num_layers, upstream.output_size) != sizes:
        raise InputError(
            f"{name}: the head takes {sizes[0]} layers of {sizes[1]} channels, but "
            f"{upstream.info.source} gives {upstream.num_layers} of "
            f"{upstream.output_size}; give the upstream that it was trained with"
        )
    info = upstream.info.at_precision(about["features"]["precision"])
    found = json.loads(json.dumps(info.identity()))
    versions = [each["preprocessing"].get("code_version") for each in (found, wanted)]
    if versions[0] != versions[1]:
        logger.warning(
            "%s: the head was trained on features of version %s of the code, these are "
            "of version %s: probabilities may differ a little",
            name,
            versions[1],
            versions[0],
        )
        found["preprocessing"]["code_version"] = versions[1]
    if found != wanted:
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        shown = ", ".join(
            f"{key}: {found.get(key)} there, {wanted[key]} in training"
            for key in differing or sorted(found.keys() - wanted.keys())
        )
        raise InputError(
            f"{info.source} is not the upstream that the head of {name} was trained "
            f"with ({shown}); give that one, or train again"
        )
