"""An extraction at work: read ahead, compute, write behind, and say how far it is."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_audio
from sercorr.errors import InputError
from sercorr.features.plan import Clip
from sercorr.features.store import FeatureStore, audio_digest
from sercorr.lengths import absolute_to_relative
from sercorr.lobes.upstream.frozen import FrozenUpstream

_BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}, {remaining} left]"


@dataclasses.dataclass(frozen=True)
class _Converted:
    """A clip's layers (L + 1, T, D), as computed and as they will be stored."""

    clip: Clip
    layers: torch.Tensor
    stored: torch.Tensor
    extremes: tuple[torch.Tensor, torch.Tensor]
    """Smallest and largest of ``stored``; NaN where there is one."""

    def require_finite(self) -> None:
        if all(map(_is_finite, self.extremes)):
            return
        largest = self.layers.abs().max()
        if not _is_finite(largest):
            raise InputError(
                f"{self.clip.path}: the upstream gives features that are not finite "
                "(NaN or infinity) for this clip; check the clip and the model"
            )
        raise InputError(
            f"{self.clip.path}: a feature of size {largest.item():.6g} is too large "
            "for cache_dtype float16 (65504 at most); set cache_dtype to bfloat16 or "
            "float32"
        )


class Extraction:
    """Groups of clips on their way through the upstream.

    While the upstream is at one group, the next is read and the last is written.

    Arguments
    ---------
    upstream : FrozenUpstream
        On its device.
    store : FeatureStore
        Open for writing.
    missing, damaged : set of str
        From `find_missing`.
    progress : bool
        Show a progress bar.
    """

    def __init__(
        self,
        upstream: FrozenUpstream,
        store: FeatureStore,
        missing: set[str],
        damaged: set[str],
        progress: bool = True,
    ):
        self.upstream = upstream
        self.store = store
        self.missing = missing
        self.damaged = damaged
        self.progress = progress
        self.device = next(
            (tensor.device for tensor in _tensors(upstream)), torch.device("cpu")
        )

    def run(self, groups: list[list[Clip]]) -> None:
        """Compute groups and write the entries that are missing."""
        total = sum(clip.samples for group in groups for clip in group)
        bar = tqdm(total=total, bar_format=_BAR, disable=not self.progress)
        done, of_all = 0, sum(map(len, groups))
        written: Future | None = None
        with ThreadPoolExecutor(2) as pool, bar, logging_redirect_tqdm():
            for group, waves in _read_ahead(pool, groups, self._read):
                if waves is not None:
                    converted = self._convert(group, self._compute(waves))
                    if written is not None:
                        written.result()
                    written = pool.submit(self._write, converted)
                done += len(group)
                bar.update(sum(clip.samples for clip in group))
                elapsed = max(bar.format_dict["elapsed"], 1e-9)
                bar.set_description_str(
                    f"extracting {done}/{of_all} clips, "
                    f"{bar.n / SAMPLE_RATE / elapsed:.1f} audio-seconds/s",
                    refresh=False,
                )
            if written is not None:
                written.result()

    def switch_to_bfloat16(self, group: list[Clip]) -> torch.Tensor:
        """Compute in bfloat16 from now on, and measure what that changes.

        Arguments
        ---------
        group : list of Clip
            To measure on.

        Returns
        -------
        torch.Tensor
            (L + 1,), relative error of each layer: norm of the difference to float32
            over the norm.
        """
        waves = [read_audio(clip.path) for clip in group]
        wanted = self._compute(waves)  # (B, L + 1, T, D)
        self.upstream.use_bfloat16()
        difference = self._compute(waves) - wanted
        return _norms(difference) / _norms(wanted)

    def _read(self, group: list[Clip]) -> list[torch.Tensor] | None:
        """Read a group's clips; None if its entries have appeared meanwhile."""
        if not any(self._lacks(clip) for clip in group):
            return None
        waves = [read_audio(clip.path) for clip in group]
        for clip in group:
            if audio_digest(clip.path) != clip.digest:
                raise InputError(
                    f"{clip.path}: the file changed while features were extracted; "
                    "run the same command again"
                )
        return waves

    def _compute(self, waves: list[torch.Tensor]) -> torch.Tensor:
        padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)  # (B, N)
        samples = torch.tensor([len(wave) for wave in waves])
        relative = absolute_to_relative(samples, padded.shape[1])
        with torch.inference_mode():
            layers, _ = self.upstream(padded.to(self.device), relative.to(self.device))
        return layers

    def _convert(self, group: list[Clip], layers: torch.Tensor) -> list[_Converted]:
        """Convert (B, L + 1, T, D) to the stored precision, without waiting for it.

        This is for the thread that computes: another one would have torch start as
        many threads again, and processors share badly between the two teams.
        """
        converted = []
        for clip, padded in zip(group, layers, strict=True):
            own = padded[:, : self.upstream.frames(clip.samples)]
            stored = own.to(self.store.dtype)
            converted.append(_Converted(clip, own, stored, torch.aminmax(stored)))
        return converted

    def _write(self, converted: list[_Converted]) -> None:
        for entry in converted:
            if self._lacks(entry.clip):
                entry.require_finite()
                self.store.write(entry.clip.digest, entry.stored, entry.clip.samples)

    def _lacks(self, clip: Clip) -> bool:
        """Whether a clip's entry is still to be written."""
        if clip.digest in self.damaged:
            return True
        return clip.digest in self.missing and not self.store.has(clip.digest)


def _is_finite(number: torch.Tensor) -> bool:
    return math.isfinite(number.item())


def _norms(layers: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(layers, dim=(0, 2, 3))  # (B, L, T, D) -> (L,)


def _read_ahead(
    pool: ThreadPoolExecutor,
    groups: Sequence[list[Clip]],
    read: Callable[[list[Clip]], list[torch.Tensor] | None],
) -> Iterator[tuple[list[Clip], list[torch.Tensor] | None]]:
    """Yield each group with its audio; the next group's is being read meanwhile."""
    ahead = pool.submit(read, groups[0]) if groups else None
    for index, group in enumerate(groups):
        waves = ahead.result()
        if index + 1 < len(groups):
            ahead = pool.submit(read, groups[index + 1])
        yield group, waves


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
