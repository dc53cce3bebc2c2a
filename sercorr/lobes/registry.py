"""The poolings by their names in the settings."""

from sercorr.errors import InputError
from sercorr.lobes.other_poolings import (
    AttentiveStatsPooling,
    FactorisedAttentionPooling,
    LogCovariancePooling,
    MeanCorrelationPooling,
)
from sercorr.lobes.pooling import (
    AttentiveCorrelationPooling,
    CorrelationPooling,
    MeanPooling,
    MeanStdPooling,
    Pooling,
)

POOLINGS: dict[str, type[Pooling]] = {
    # the paper's
    "mean": MeanPooling,
    "mean_std": MeanStdPooling,
    "corr": CorrelationPooling,
    "attentive_corr": AttentiveCorrelationPooling,
    # to compare with
    "mean_corr": MeanCorrelationPooling,
    "attentive_stats": AttentiveStatsPooling,
    "mhfa": FactorisedAttentionPooling,
    "log_cov": LogCovariancePooling,
}
"""Names that `make_pooling` knows, and their classes."""


def make_pooling(name: str, input_size: int, n_heads: int = 4) -> Pooling:
    """Make a pooling by its name in the settings.

    ``name`` is one of `POOLINGS`, or an `InputError` is raised; ``input_size`` is D,
    the channels per frame; ``n_heads`` is used by ``attentive_corr`` and ``mhfa``.

    Example
    -------
    >>> {name: make_pooling(name, 256).output_size for name in POOLINGS}
    {'mean': 256, 'mean_std': 512, 'corr': 32640, 'attentive_corr': 32640, \
'mean_corr': 32896, 'attentive_stats': 512, 'mhfa': 512, 'log_cov': 32896}
    """
    if name == "attentive_corr":
        return AttentiveCorrelationPooling(input_size, n_heads)
    if name == "mhfa":
        return FactorisedAttentionPooling(input_size, n_heads)
    if name not in POOLINGS:
        raise InputError(
            f"pooling is {name!r}; it must be one of {', '.join(POOLINGS)}"
        )
    return POOLINGS[name](input_size)
