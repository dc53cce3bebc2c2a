"""Modules of the network: the frozen upstream and the parts that are trained."""

from sercorr.lobes.head import ChannelDropout, EmotionHead
from sercorr.lobes.layer_mix import LayerMix
from sercorr.lobes.pooling import (
    POOLINGS,
    AttentiveCorrelationPooling,
    CorrelationPooling,
    MeanPooling,
    MeanStdPooling,
    make_pooling,
)
from sercorr.lobes.upstream import Upstream, load_upstream, upstream_info

__all__ = [
    "POOLINGS",
    "AttentiveCorrelationPooling",
    "ChannelDropout",
    "CorrelationPooling",
    "EmotionHead",
    "LayerMix",
    "MeanPooling",
    "MeanStdPooling",
    "Upstream",
    "load_upstream",
    "make_pooling",
    "upstream_info",
]
