"""Modules of the network: the frozen upstream and the parts that are trained."""

from sercorr.lobes.head import ChannelDropout, EmotionHead
from sercorr.lobes.layer_mix import LayerMix
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
)
from sercorr.lobes.registry import POOLINGS, make_pooling
from sercorr.lobes.upstream import Upstream, load_upstream, upstream_info

__all__ = [
    "POOLINGS",
    "AttentiveCorrelationPooling",
    "AttentiveStatsPooling",
    "ChannelDropout",
    "CorrelationPooling",
    "EmotionHead",
    "FactorisedAttentionPooling",
    "LayerMix",
    "LogCovariancePooling",
    "MeanCorrelationPooling",
    "MeanPooling",
    "MeanStdPooling",
    "Upstream",
    "load_upstream",
    "make_pooling",
    "upstream_info",
]
