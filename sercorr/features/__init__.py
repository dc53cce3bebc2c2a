"""Layers of the frozen upstream: computed when needed, or read from a store.

`open_features` and `extract` are all that a recipe needs. Both are imported when they
are first asked for, so that looking after a store (`maintenance`) imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sercorr.features.extraction import extract
    from sercorr.features.sources import (
        LiveFeatures,
        open_features,
        require_precision,
    )
    from sercorr.features.stored import StoredFeatures

__all__ = [
    "LiveFeatures",
    "StoredFeatures",
    "extract",
    "open_features",
    "require_precision",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sercorr.features import sources  # noqa: PLC0415

    return getattr(sources, name)
