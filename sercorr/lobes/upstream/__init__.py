"""Upstreams by name: log-mel bands, or a frozen self-supervised model.

`load_upstream` builds one, `upstream_info` says what it is without building it.
"""

import os

from sercorr.errors import InputError
from sercorr.lobes.upstream.fbank import FbankUpstream, fbank_info
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo
from sercorr.lobes.upstream.model_files import find_model
from sercorr.lobes.upstream.model_loading import read_model_info
from sercorr.lobes.upstream.ssl_model import SSLUpstream

__all__ = [
    "FbankUpstream",
    "FrozenUpstream",
    "SSLUpstream",
    "UpstreamInfo",
    "load_upstream",
    "upstream_info",
]


def load_upstream(
    source: str,
    save_path: str | os.PathLike | None = None,
    revision: str | None = None,
) -> SSLUpstream | FbankUpstream:
    """Build the frozen feature extractor that ``source`` names.

    Arguments
    ---------
    source : str
        ``fbank``; the hub name of a wav2vec 2.0, HuBERT or WavLM model; or a local
        folder with such a model, as transformers' ``save_pretrained`` writes it.
    save_path : path or None
        Folder for downloads from the hub; None: the hub's own cache.
    revision : str or None
        Commit, tag or branch of a hub model; None: its main branch.

    Returns
    -------
    SSLUpstream or FbankUpstream
        With ``info``, ``num_layers``, ``output_size``, ``frames(samples)`` and
        ``forward(wavs, wav_lens)``.

    Raises
    ------
    InputError
        No such model, an incomplete one, or one of another kind.

    Example
    -------
    >>> import torch
    >>> layers, lengths = load_upstream("fbank")(torch.zeros(1, 16000))
    >>> layers.shape
    torch.Size([1, 1, 101, 80])
    """
    source = os.fspath(source)
    if source == "fbank":
        _fbank_has_no_revision(revision)
        return FbankUpstream()
    return SSLUpstream(find_model(source, save_path, revision))


def upstream_info(
    source: str,
    save_path: str | os.PathLike | None = None,
    revision: str | None = None,
) -> UpstreamInfo:
    """Say what `load_upstream` would build, without building it.

    The arguments and errors are those of `load_upstream`. The weights are read as
    bytes, for their digest, and downloaded first if need be.

    Example
    -------
    >>> upstream_info("fbank").model_type
    'fbank'
    """
    source = os.fspath(source)
    if source == "fbank":
        _fbank_has_no_revision(revision)
        return fbank_info()
    return read_model_info(find_model(source, save_path, revision))


def _fbank_has_no_revision(revision: str | None) -> None:
    if revision is not None:
        raise InputError(
            f"upstream_revision is {revision!r}, but fbank has no revisions: "
            "remove the setting"
        )
