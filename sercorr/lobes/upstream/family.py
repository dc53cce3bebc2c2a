"""What a family of speech encoders does in its own way, and what all families share.

Transformers' models give a padded clip other features than the bare one: the input is
normalised over padding, group norms average over it, positions are convolved over
it, and masks are optional. A family prepares each clip from its own samples and keeps
padding at zero wherever frames mix, so that batches change nothing (to float32
rounding).
"""

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig

from sercorr.lengths import count_mask
from sercorr.lobes.upstream.layer_choice import Layers, choose_layers
from sercorr.lobes.upstream.model_files import ModelFiles


class Family:
    """A model's configuration, and how a network of its family is run.

    A subclass says what it reads of the configuration (`shape_keys`, `read_input`),
    how many frames a clip has and where (`frames`, `grid`), how clips become the input
    of the encoder (`embed`), and where padding leaks into the encoder (`leaks`); or it
    gives `layers` of its own. No weights are needed to make one.
    """

    shape_keys: tuple[str, ...] = ()
    """Keys of config.json that decide values and do not show in the weights."""
    used_parts = re.compile(r"(^|\.)(feature_extractor|feature_projection|encoder)\.")
    """Finds the names of weights that the features depend on."""
    attention = "sdpa"
    """The kernel of transformers for attention."""

    def __init__(
        self, files: ModelFiles, config: PretrainedConfig, layers: Layers = None
    ) -> None:
        self.config = config
        count = config.num_hidden_layers + 1
        self.layer_numbers = choose_layers(layers, count, files.name)
        self.num_layers = len(self.layer_numbers)
        self.has_all_layers = self.num_layers == count
        self.output_size: int = config.hidden_size
        self.input: dict[str, Any] = self.read_input(files)

    def read_input(self, files: ModelFiles) -> dict[str, Any]:
        """Read what preprocessor_config.json says of the input; `InputError` if bad.

        It is a part of the model's identity.
        """
        raise NotImplementedError

    @property
    def network(self) -> Any:
        """What loads the network, by ``from_pretrained``."""
        return AutoModel

    def shape(self) -> dict[str, Any]:
        """Return what config.json says of `shape_keys`, as JSON can hold it."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in self.config.to_dict().items()
            if key in self.shape_keys
        }

    def frames(self, samples: int) -> int:
        """Count the frames of a clip of ``samples`` samples (0: too short)."""
        raise NotImplementedError

    def grid(self) -> tuple[float, int]:
        """Return the first frame's centre and the step to the next, in samples."""
        raise NotImplementedError

    def embed(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Turn (B, N) into what the encoder takes, (B, T, D)."""
        raise NotImplementedError

    def leaks(self, _model: Any) -> list[nn.Module]:
        """Return modules whose output (B, D, T) must be 0 on padding, and is not."""
        return []

    def speed_up(self, model: Any) -> None:
        """Put faster pieces into a network, in place."""

    def layers(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Compute the layers of a padded batch.

        Arguments
        ---------
        model : torch.nn.Module
            The family's network.
        wavs : torch.Tensor
            (B, N), waveforms at 16 kHz; what stands on padding is not read.
        samples, frames : list of int
            The clips' lengths.

        Returns
        -------
        torch.Tensor
            (B, K, T, D), float32, for the K of ``layer_numbers``: what each block
            receives, and what the encoder gives. Padding holds anything.
        """
        # in float32, so that residual sums are, too
        embedded = self.embed(model, wavs, samples, frames).float()
        mask = None
        if min(frames) < max(frames):
            mask = count_mask(frames, max(frames), wavs.device)
        batch, size, width = embedded.shape
        layers = embedded.new_empty(batch, self.num_layers, size, width)
        leaks = self.leaks(model) if mask is not None else []
        with self.block_inputs(model, layers), zero_padding(leaks, mask):
            output = model.encoder(embedded, attention_mask=mask)
        if self.has_output_layer:
            layers[:, -1] = output.last_hidden_state
        return layers

    @property
    def has_output_layer(self) -> bool:
        """Whether layer L, the output of the encoder, is among the layers."""
        return self.layer_numbers[-1] == self.config.num_hidden_layers

    @contextlib.contextmanager
    def block_inputs(self, model: Any, layers: Tensor) -> Iterator[None]:
        """Copy what blocks receive, as far as it fits, into ``layers`` (B, K, T, D)."""
        blocks = model.encoder.layers
        with contextlib.ExitStack() as hooks:
            for place, number in enumerate(self.layer_numbers):
                if number < len(blocks):
                    copy = functools.partial(_copy_input, layers[:, place])
                    hooks.enter_context(blocks[number].register_forward_pre_hook(copy))
            yield

    def drop_blocks(self, model: Any) -> None:
        """Remove blocks behind the last layer that comes out, in place.

        The one that receives it stays: the encoder's output may be normed.
        """
        del model.encoder.layers[self.layer_numbers[-1] + 1 :]


def _copy_input(target: Tensor, _block: nn.Module, inputs: tuple[Any, ...]) -> None:
    target.copy_(inputs[0][:, : target.shape[1]])


@contextlib.contextmanager
def zero_padding(modules: Iterable[nn.Module], mask: Tensor | None) -> Iterator[None]:
    """Multiply outputs (B, D, T) by the mask (B, T)."""
    with contextlib.ExitStack() as hooks:
        for module in modules:
            assert mask is not None
            real = mask[:, None, :]
            hook = module.register_forward_hook(lambda _m, _in, out, r=real: out * r)
            hooks.enter_context(hook)
        yield
