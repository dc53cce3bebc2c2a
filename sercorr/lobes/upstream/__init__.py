"""Upstreams by name: log-mel bands, or a frozen speech encoder of transformers.

`Upstream` describes one and loads it when it is used. transformers is imported only
for an encoder of its own.

| encoder | model_type in config.json | frames | shortest clip |
|---|---|---|---|
| wav2vec 2.0, HuBERT, WavLM | wav2vec2, hubert, wavlm | 20 ms | 25 ms |
| data2vec (audio) | data2vec-audio | 20 ms | 25 ms |
| UniSpeech, UniSpeech-SAT | unispeech, unispeech-sat | 20 ms | 25 ms |
| SEW | sew | 40 ms | 45 ms |
| w2v-BERT 2.0 | wav2vec2-bert | 20 ms | 35 ms |
| Whisper's encoder | whisper | 20 ms | 25 ms |

Whisper hears windows of 30 s: a shorter clip takes as long as one of 30 s, a longer
one is cut into windows that do not hear each other.
"""

import os
from typing import Any

import torch

from sercorr.errors import InputError
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo
from sercorr.lobes.upstream.layer_choice import Layers, choose_layers

__all__ = [
    "FrozenUpstream",
    "Upstream",
    "UpstreamInfo",
    "load_upstream",
    "upstream_info",
]


class Upstream:
    """The frozen feature extractor that a settings file names.

    The configuration is read now; the weights are read, and of a hub model
    downloaded, when they are first needed: for `info` or `load`. `InputError` if there
    is no such model, an incomplete one, or one of another kind.

    Arguments
    ---------
    source : str
        ``fbank``; the hub name of a wav2vec 2.0, HuBERT, WavLM, data2vec-audio,
        UniSpeech, UniSpeech-SAT, SEW, w2v-BERT 2.0 or Whisper model; or a local folder
        with such a model, as transformers' ``save_pretrained`` writes it.
    revision : str or None
        Commit, tag or branch of a hub model; None: its main branch.
    save_path : path or None
        Folder for downloads from the hub; None: the hub's own cache.
    layers : str, int, sequence of int or None
        The layers that come out, in increasing order: ``[0, 6, 12]``, ``"0,6,12"``, or
        all of them (``all`` or None). Layer 0 is what the first block receives, layer
        L the output. Their values are those that they have among all layers; blocks
        that none of them needs are neither kept nor computed.

    Example
    -------
    >>> upstream = Upstream("fbank")
    >>> upstream.num_layers, upstream.output_size, upstream.frames(16000)
    (1, 80, 101)
    >>> layers, lengths = upstream.load()(torch.zeros(1, 16000))
    >>> layers.shape
    torch.Size([1, 1, 101, 80])
    """

    def __init__(
        self,
        source: str | os.PathLike,
        revision: str | None = None,
        save_path: str | os.PathLike | None = None,
        layers: Layers = None,
    ) -> None:
        self._model: Any  # has all that this class has
        if source != "fbank":
            # transformers takes seconds to import
            from sercorr.lobes.upstream.model_files import find_model  # noqa: PLC0415
            from sercorr.lobes.upstream.ssl_model import SSLModel  # noqa: PLC0415

            files = find_model(os.fspath(source), save_path, revision)
            self._model = SSLModel(files, layers)
        elif revision is None:
            from sercorr.lobes.upstream.fbank import FbankUpstream  # noqa: PLC0415

            choose_layers(layers, 1, "fbank")
            self._model = FbankUpstream()
        else:
            raise InputError(
                f"upstream_revision is {revision!r}, but fbank has no revisions: "
                "remove the setting"
            )
        self.num_layers: int = self._model.num_layers
        self.output_size: int = self._model.output_size

    @property
    def info(self) -> UpstreamInfo:
        """Identity of the upstream in float32, with the digest of its weights."""
        return self._model.info

    def frames(self, samples: int) -> int:
        """Count the frames of a clip of ``samples`` samples (0: too short)."""
        return self._model.frames(samples)

    def load(self, device: str | torch.device = "cpu") -> FrozenUpstream:
        """Return the upstream in float32 on ``device``, loaded at the first call.

        An upstream that was switched to bfloat16 meanwhile is loaded anew.
        """
        return self._model.load(device)


def load_upstream(
    source: str | os.PathLike,
    save_path: str | os.PathLike | None = None,
    revision: str | None = None,
    precision: str = "fp32",
    layers: Layers = None,
) -> FrozenUpstream:
    """Load the frozen feature extractor that ``source`` names.

    Arguments and errors are those of `Upstream`, and ``precision``, ``fp32`` or
    ``bf16`` (see `FrozenUpstream.use_bfloat16`).

    Example
    -------
    >>> layers, lengths = load_upstream("fbank")(torch.zeros(1, 16000))
    >>> layers.shape
    torch.Size([1, 1, 101, 80])
    """
    described = Upstream(source, revision, save_path, layers)
    described.info.at_precision(precision)  # refuses before anything is loaded
    upstream = described.load()
    return upstream.use_bfloat16() if precision == "bf16" else upstream


def upstream_info(
    source: str | os.PathLike,
    save_path: str | os.PathLike | None = None,
    revision: str | None = None,
    layers: Layers = None,
) -> UpstreamInfo:
    """Say what `load_upstream` would build, without building it.

    The weights are read as bytes, for their digest, and downloaded first if need be.

    Example
    -------
    >>> upstream_info("fbank").model_type
    'fbank'
    """
    return Upstream(source, revision, save_path, layers).info
