"""What one ONNX graph computes: upstream, heads and softmax, for one clip.

The modules here do what `SSLUpstream`, `FbankUpstream` and `EmotionHead` do, without
batches, padding and what exists for speed, which a traced graph cannot hold.
"""

import contextlib
import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sercorr import functional
from sercorr.errors import InputError
from sercorr.fast.packed_linear import unpack_linear_layers
from sercorr.inference.recognizer import is_usual
from sercorr.lobes.other_poolings import LogCovariancePooling
from sercorr.lobes.pooling import FrameAttention
from sercorr.lobes.upstream import FrozenUpstream
from sercorr.lobes.upstream.fbank import SETTINGS, FbankUpstream
from sercorr.lobes.upstream.ssl_model import SSLUpstream

EXPORTABLE = (
    "wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat",
    "fbank",
)  # fmt: skip
"""The upstreams that a graph can hold, by ``model_type``."""


class ClipGraph(nn.Module):
    """From the waveform of one clip to its answer.

    Arguments
    ---------
    upstream : FrozenUpstream
        One of `EXPORTABLE`, in float32, or an `InputError` is raised; it is copied.
    heads : sequence of torch.nn.Module
        Whose probabilities, and attention if all have one, are averaged. With pooling
        ``log_cov`` an `InputError` is raised.
    stored : str or None
        The type that layers are rounded to; None: not at all.

    Attributes
    ----------
    outputs : list of str
        Names of what comes out, see `sercorr.inference.onnx_export.export_onnx`.
    output_size : int or None
        Of the embedding, if there is one.
    """

    def __init__(
        self,
        upstream: FrozenUpstream,
        heads: Sequence[nn.Module],
        stored: str | None,
    ) -> None:
        super().__init__()
        _require_exportable(heads)
        self.layers = _plain_layers(upstream)
        self.heads = nn.ModuleList(heads)
        self.stored = None if stored is None else getattr(torch, stored)
        self.has_attention = all(_attention_of(head) for head in heads)
        self.output_size: int | None = None
        self.outputs = ["probabilities"]
        if self.has_attention:
            self.outputs.append("attention")
        if len(heads) == 1 and is_usual(heads[0]):
            self.outputs.append("embedding")
            self.output_size = heads[0].classifier.in_features

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """Turn (1, N) into what ``outputs`` names, a row each."""
        layers = self.layers(waveform)  # (L, T, D)
        if self.stored is not None:
            layers = layers.to(self.stored)
        probabilities: list[Tensor] = []
        weights: list[Tensor] = []
        found: dict[str, Tensor] = {}
        for head in self.heads:
            if is_usual(head):
                mixed = functional.mix_layers(layers, head.layer_mix.gammas)
                frames = head.projection(mixed)[None]
                pooling: Any = head.pooling
                found["embedding"] = pooling(frames)
                logits = head.classifier(found["embedding"])
                if self.has_attention:
                    weights.append(pooling.attention(frames))
            else:
                logits = head([layers])
            probabilities.append(logits.double().softmax(-1))
        found["probabilities"] = torch.stack(probabilities).mean(0).float()
        if self.has_attention:
            found["attention"] = torch.stack(weights).mean(0)
        return [found[name] for name in self.outputs]


def _attention_of(head: Any) -> bool:
    return is_usual(head) and isinstance(
        getattr(head.pooling, "attention", None), FrameAttention
    )


def _require_exportable(heads: Sequence[nn.Module]) -> None:
    for head in heads:
        if isinstance(getattr(head, "pooling", None), LogCovariancePooling):
            raise InputError(
                "pooling: log_cov cannot be exported to ONNX, which knows no "
                "eigenvalues of matrices: use another format"
            )


class _SSLLayers(nn.Module):
    """The layers (L, T, D) of one clip (1, N), as `SSLUpstream` gives them."""

    def __init__(self, upstream: SSLUpstream) -> None:
        super().__init__()
        self.network = copy.deepcopy(upstream.model)
        unpack_linear_layers(self.network)
        self.do_normalize: bool = upstream.info.preprocessing["do_normalize"]
        self.numbers = upstream.info.layer_numbers

    def forward(self, waveform: Tensor) -> Tensor:
        network: Any = self.network
        if self.do_normalize:
            clip = waveform.double()
            clip = clip - clip.mean()
            waveform = (clip / torch.sqrt(clip.square().mean() + 1e-7)).float()
        features = network.feature_extractor(waveform).transpose(1, 2)
        projected = network.feature_projection(features)
        projected = projected[0] if isinstance(projected, tuple) else projected
        layers: list[Tensor] = []

        def note(_block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            layers.append(args[0])
            # While it is traced, transformers makes a mask for a clip without padding.
            return args, {**kwargs, "attention_mask": None}

        with contextlib.ExitStack() as hooks:
            for block in network.encoder.layers:
                hook = block.register_forward_pre_hook(note, with_kwargs=True)
                hooks.enter_context(hook)
            output = network.encoder(projected)
        layers.append(output.last_hidden_state)
        return torch.cat([layers[number] for number in self.numbers])


class _BandLayers(nn.Module):
    """The one layer (1, T, D) of a clip (1, N), as `FbankUpstream` gives it."""

    def __init__(self, upstream: FbankUpstream) -> None:
        super().__init__()
        self.fbank = copy.deepcopy(upstream.fbank)

    def forward(self, waveform: Tensor) -> Tensor:
        return (self.fbank(waveform) - SETTINGS["centre_db"]) / SETTINGS["scale_db"]


def _plain_layers(upstream: FrozenUpstream) -> nn.Module:
    if isinstance(upstream, FbankUpstream):
        return _BandLayers(upstream)
    name = type(upstream).__name__
    if isinstance(upstream, SSLUpstream):
        name = upstream.info.model_type
        if name in EXPORTABLE:
            return _SSLLayers(upstream)
    raise InputError(
        f"upstream: {name} cannot be exported to ONNX; {', '.join(EXPORTABLE)} can: "
        "use another format"
    )
