"""Frozen wav2vec 2.0, HuBERT and WavLM models: the same numbers in any batch.

Transformers' models give a padded clip other features than the bare one: the waveform
is normalised over padding, the group norm of base models averages over it, and
masks are optional. Here each clip is normalised and convolved over its own samples,
and the transformer sees a mask, so that batches change nothing (to float32 rounding).

Weights are read as data only (safetensors, or pickle restricted to tensors), and
refused where they leave a part of the network random or were made for another one.
"""

import contextlib
import functools
import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import AutoModel, PretrainedConfig

from sercorr import SAMPLE_RATE, fast
from sercorr.errors import InputError
from sercorr.fast.packed_linear import pack_linear_layers
from sercorr.fast.wavlm_attention import use_fused_attention
from sercorr.lengths import conv_frames, count_mask
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo
from sercorr.lobes.upstream.model_files import ModelFiles

CODE_VERSION = 3
"""Raised whenever the computation below gives other numbers for the same weights."""

_SHAPE_KEYS = (
    "conv_bias", "conv_dim", "conv_kernel", "conv_pos_batch_norm", "conv_stride",
    "do_stable_layer_norm", "feat_extract_activation", "feat_extract_norm",
    "feat_proj_layer_norm", "hidden_act", "layer_norm_eps", "max_bucket_distance",
    "num_attention_heads", "num_buckets", "num_conv_pos_embedding_groups",
    "num_conv_pos_embeddings",
)  # fmt: skip

_USED_PARTS = re.compile(r"(^|\.)(feature_extractor|feature_projection|encoder)\.")


class SSLModel:
    """A self-supervised model that is described, but not built; see `find_model`."""

    def __init__(self, files: ModelFiles) -> None:
        self.files = files
        self.config = files.config()
        self.do_normalize = files.reads_normalised()
        if files.revision is None:
            _ = files.weights  # that a folder lacks them is seen at once
        self.num_layers: int = self.config.num_hidden_layers + 1
        self.output_size: int = self.config.hidden_size
        self._built: SSLUpstream | None = None

    @functools.cached_property
    def info(self) -> UpstreamInfo:
        """Identity of the model; reads the bytes of its weights."""
        config = self.config.to_dict()
        return UpstreamInfo(
            source=self.files.source,
            revision=self.files.revision,
            model_type=self.config.model_type,
            num_layers=self.num_layers,
            output_size=self.output_size,
            digest=self.files.digest(),
            preprocessing={
                "code_version": CODE_VERSION,
                "dtype": "float32",
                "sampling_rate": SAMPLE_RATE,
                "do_normalize": self.do_normalize,
                "network": {
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in config.items()
                    if key in _SHAPE_KEYS
                },
            },
        )

    def frames(self, samples: int) -> int:
        """Count frames: one every 20 ms (320 samples), 400 samples for the first."""
        return conv_frames(samples, self.config.conv_kernel, self.config.conv_stride)

    def load(self, device: str | torch.device = "cpu") -> "SSLUpstream":
        """Build the model in float32, once, and move it to ``device``."""
        if self._built is None or self._built.precision != "fp32":
            self._built = SSLUpstream(self)
        return self._built.to(device)


class SSLUpstream(FrozenUpstream):
    """All layers of a frozen wav2vec 2.0, HuBERT or WavLM model.

    Layer 0 is what the first transformer block receives (``hidden_states[0]`` of
    transformers), layer L the model's output (``last_hidden_state``, after the final
    layer norm where there is one). `InputError` if the weights cannot be read or do
    not fit the configuration.
    """

    def __init__(self, description: SSLModel) -> None:
        super().__init__(description.info)
        self.config = description.config
        self.model = load_network(description.files, description.config)
        self.freeze()

    def frames(self, samples: int) -> int:
        """Count frames: one every 20 ms (320 samples), 400 samples for the first."""
        return conv_frames(samples, self.config.conv_kernel, self.config.conv_stride)

    def frame_times(self, samples: int) -> list[float]:
        """Centres of what the convolutions see for each frame, in seconds."""
        step, width = 1, 1  # samples from one frame to the next, samples that it sees
        for kernel, stride in zip(
            self.config.conv_kernel, self.config.conv_stride, strict=True
        ):
            width += (kernel - 1) * step
            step *= stride
        first = (width - 1) / 2
        return [
            (first + frame * step) / SAMPLE_RATE
            for frame in range(self.frames(samples))
        ]

    def _layers(self, wavs: Tensor, samples: list[int], frames: list[int]) -> Tensor:
        if self.info.preprocessing["do_normalize"]:
            wavs = normalise(wavs, samples)
        features = self._convolve(wavs, samples, frames)  # (B, T, C)
        projected = self.model.feature_projection(features)
        # wav2vec 2.0 and WavLM return the normed features as well
        projected = projected[0] if isinstance(projected, tuple) else projected
        projected = projected.float()  # so that residual sums are, too
        mask = None
        if min(frames) < max(frames):
            mask = count_mask(frames, max(frames), wavs.device)
        batch, size, width = projected.shape
        layers = projected.new_empty(batch, self.num_layers, size, width)
        with self._hooks(layers, mask), warnings.catch_warnings():
            # of transformers' WavLM, whose masks have two types
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            output = self.model.encoder(projected, attention_mask=mask)
        layers[:, -1] = output.last_hidden_state
        if mask is not None:
            layers.masked_fill_(~mask[:, None, :, None], 0.0)
        return layers

    def _hooks(self, layers: Tensor, mask: Tensor | None) -> contextlib.ExitStack:
        """Copy what each transformer block receives into ``layers``[:, block]."""
        encoder, hooks = self.model.encoder, contextlib.ExitStack()
        for index, block in enumerate(encoder.layers):
            copy = functools.partial(_copy_input, layers[:, index])
            hooks.enter_context(block.register_forward_pre_hook(copy))
        norm = getattr(encoder.pos_conv_embed, "batch_norm", None)
        if norm is not None and mask is not None:
            real = mask[:, None, :]  # of (B, D, T): HuBERT's may shift zeros of padding
            zero = norm.register_forward_hook(lambda _norm, _inputs, out: out * real)
            hooks.enter_context(zero)
        return hooks

    def _convolve(self, wavs: Tensor, samples: list[int], frames: list[int]) -> Tensor:
        """Run the convolutional encoder on each clip's own samples.

        A group norm averages over time, so that padding would change it. On a CPU,
        one clip at a time is also faster than a batch, which leaves the cache.
        """
        channels = self.config.conv_dim[-1]
        features = wavs.new_zeros(len(samples), max(frames), channels)
        for item, (count, size) in enumerate(zip(samples, frames, strict=True)):
            clip = self.model.feature_extractor(wavs[item : item + 1, :count])
            features[item, :size] = clip[0].transpose(0, 1)  # (C, t) -> (t, C)
        return features


def _copy_input(
    target: Tensor, _block: torch.nn.Module, inputs: tuple[Any, ...]
) -> None:
    target.copy_(inputs[0])


def normalise(wavs: Tensor, samples: list[int]) -> Tensor:
    """Give each clip of (B, N) zero mean and unit variance over its own samples.

    (x - mean) / sqrt(variance + 1e-7) with the variance's 1/N form, as
    transformers' Wav2Vec2FeatureExtractor; float32, and 0 on padding.

    Example
    -------
    >>> normalise(torch.tensor([[1.0, 3.0, 9.0]]), [2]).round(decimals=4)
    tensor([[-1.,  1.,  0.]])
    """
    result = torch.zeros_like(wavs, dtype=torch.float32)
    for item, count in enumerate(samples):
        clip = wavs[item, :count].double()
        variance, mean = torch.var_mean(clip, correction=0)
        result[item, :count] = (clip - mean) / torch.sqrt(variance + 1e-7)
    return result


def load_network(files: ModelFiles, config: PretrainedConfig) -> Any:
    """Build transformers' model with its weights, in float32, ready for inference."""
    weights = files.weights
    unreadable = (OSError, ValueError, RuntimeError, EOFError, KeyError)
    # WavLM knows no other name for its own attention.
    attention = "eager" if config.model_type == "wavlm" else "sdpa"
    try:
        with quiet_transformers():
            model, report = AutoModel.from_pretrained(
                files.folder,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
            )
    except (*unreadable, pickle.UnpicklingError, SafetensorError) as error:
        names = ", ".join(path.name for path in weights)
        raise InputError(
            f"{files.name}: the weights in {names} cannot be read ({error}); "
            "fetch the model again"
        ) from error
    _require_fitting_weights(files.name, config.model_type, report)
    convolution = model.encoder.pos_conv_embed.conv
    if parametrize.is_parametrized(convolution, "weight"):
        # the weight norm's kernel: once and for all instead of in each call
        with _one_thread():
            parametrize.remove_parametrizations(convolution, "weight")
    for parameter in model.parameters():
        # Out of the mapped file: there they lie at any byte offset, on which the last
        # bits of results depend, and would change with the file.
        parameter.data = parameter.data.clone()
    if fast.enabled():
        if config.model_type == "wavlm":
            use_fused_attention(model)
        pack_linear_layers(model)
    return model


def _require_fitting_weights(
    name: str, model_type: str, report: dict[str, Any]
) -> None:
    """Refuse weights that leave a part random or were made for another network."""
    faults = {
        "lack": report["missing_keys"],
        "have another shape:": [
            f"{key} {tuple(found)} instead of {tuple(wanted)}"
            for key, found, wanted in report["mismatched_keys"]
        ],
        "have besides": report["unexpected_keys"],
    }
    for fault, keys in faults.items():
        used = sorted(key for key in keys if _USED_PARTS.search(key))
        if used:
            raise InputError(
                f"{name}: the weights do not fit the {model_type} model of "
                f"config.json; they {fault} {', '.join(used[:3])} ({len(used)} in "
                "all): put the weights and the configuration of one model there"
            )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: last bits of a sum over many must not depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars and loading reports for a while."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
