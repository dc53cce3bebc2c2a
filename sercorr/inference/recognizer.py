"""Trained heads at work on files and samples, with torch."""

import copy
import os
import threading
from collections.abc import Sequence
from typing import Literal, Self, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.features.compute import compute_layers
from sercorr.features.plan import length_groups
from sercorr.inference.parts import ModelParts
from sercorr.inference.pieces import read_whole
from sercorr.inference.prediction import Answer
from sercorr.inference.predictor import Predictor
from sercorr.lengths import real_counts
from sercorr.lobes.head import EmotionHead, project_clips
from sercorr.lobes.pooling import FrameAttention
from sercorr.lobes.upstream import FrozenUpstream

_GPU_SECONDS = 60.0  # most padded audio at once


class EmotionRecognizer(Predictor):
    """Classifies the emotion in speech with trained heads on a frozen upstream.

    It may be used from several threads at once; they take turns.

    Arguments
    ---------
    parts : ModelParts
        From `from_run` or `from_pretrained`, as a rule.
    device : str or None
        Where to compute; None: a GPU if there is one.

    Example
    -------
    >>> from sercorr.lobes import EmotionHead, make_pooling
    >>> from sercorr.lobes.upstream import Upstream
    >>> _ = torch.manual_seed(0)
    >>> head = EmotionHead(1, 80, make_pooling("attentive_corr", 8), 2, 0.0, 8)
    >>> parts = ModelParts(
    ...     "example", ["calm", "tense"], Upstream("fbank"), [head],
    ...     {"stored": None, "precision": "fp32"},
    ... )
    >>> recognizer = EmotionRecognizer(parts, device="cpu")
    >>> (found,) = recognizer.predict(np.full(16000, 0.1, dtype=np.float32))
    >>> found.label in ("calm", "tense"), round(sum(found.scores.values()), 6)
    (True, 1.0)
    """

    def __init__(self, parts: ModelParts, device: str | None = None) -> None:
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(device)
        except RuntimeError:
            raise InputError(
                f"device is {device!r}; give cpu, cuda or cuda:0"
            ) from None
        places = torch.cuda.device_count()
        if self.device.type == "cuda" and (self.device.index or 0) >= places:
            raise InputError(f"device is {device!r}, but {places} GPUs are here")
        self.parts, self.name, self.labels = parts, parts.name, list(parts.labels)
        stored = parts.features["stored"]
        self._stored = None if stored is None else getattr(torch, stored)
        upstream = parts.upstream.load(self.device)
        if parts.features["precision"] == "bf16":
            upstream = copy.deepcopy(upstream).use_bfloat16()
        self.upstream: FrozenUpstream = upstream
        self.heads = [  # copies: others may go on training theirs
            copy.deepcopy(head).to(self.device).requires_grad_(False).eval()
            for head in parts.heads
        ]
        self.identity = parts.identity
        while not self.upstream.frames(self.min_samples):
            self.min_samples += 1
        self._turn = threading.Lock()

    @classmethod
    def from_run(
        cls,
        folder: str | os.PathLike,
        fold: int | Literal["all"] | None = None,
        *,
        upstream_source: str | os.PathLike | None = None,
        device: str | None = None,
    ) -> Self:
        """Use what a training has left in its folder.

        Classes of one's own in the run's settings are loaded and run: use only runs
        that you trust. An exported folder (`from_pretrained`) runs no code.

        Arguments
        ---------
        folder : path
            The ``output_folder`` of a run, or its ``fold_K``.
        fold : int, str or None
            Whose head; ``all``: the mean of all folds' probabilities (speakers that a
            fold was tested on have been trained on by the others); None: that of a
            folder ``fold_K``, else 1.
        upstream_source : str, path or None
            Where the upstream is, if it is not where the run found it.
        device : str or None
            As above.

        Raises
        ------
        InputError
            There is no such run or fold, a file is damaged, or the upstream is not the
            one that the head was trained with.
        """
        from sercorr.inference.runs import read_run  # noqa: PLC0415

        return cls(read_run(folder, fold, upstream_source), device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike,
        revision: str | None = None,
        *,
        upstream_source: str | os.PathLike | None = None,
        device: str | None = None,
    ) -> Self:
        """Use an exported folder, or a SUPERB-style emotion head of the Hub.

        No code from the folder is run.

        Arguments
        ---------
        source : str or path
            A folder that ``sercorr export`` wrote; one with a wav2vec 2.0, HuBERT or
            WavLM ``...ForSequenceClassification`` with a weighted layer sum, such as
            ``superb/hubert-large-superb-er``; or the hub name of one of these.
        revision : str or None
            Commit, tag or branch of a hub name.
        upstream_source, device
            As for `from_run`.

        Raises
        ------
        InputError
            There is no such folder or model, it is incomplete, damaged or of a newer
            format, or the upstream is not the one that the head was trained with.
        """
        from sercorr.inference.pretrained import read_pretrained  # noqa: PLC0415

        return cls(read_pretrained(source, revision, upstream_source), device)

    def answer(
        self, waves: Sequence[np.ndarray], embedding: bool = False
    ) -> list[Answer]:
        """Answer for clips (N_i,), float32 at 16 kHz, each as if it were alone.

        On a CPU they are computed one by one, on a GPU in groups of similar length.
        """
        limit = 0 if self.device.type == "cpu" else round(_GPU_SECONDS * SAMPLE_RATE)
        answers: dict[int, Answer] = {}
        with self._turn, torch.inference_mode():
            for group in length_groups([len(wave) for wave in waves], limit):
                clips = [torch.from_numpy(waves[place]) for place in group]
                padded = compute_layers(self.upstream, clips)
                for place, layers in zip(group, padded, strict=True):
                    samples = len(waves[place])
                    own = layers[:, : self.upstream.frames(samples)]
                    answers[place] = self._classify(own, samples, embedding)
        return [answers[place] for place in range(len(waves))]

    def check_embedding(self, wanted: bool) -> None:
        """Raise an `InputError` if embeddings are wanted of several or other heads."""
        if wanted and len(self.heads) > 1:
            raise InputError(
                f"embeddings are of one head, but {self.name} has {len(self.heads)}, "
                "whose vectors cannot be compared: choose one, such as fold=1 "
                "(--fold 1)"
            )
        if wanted and not is_usual(self.heads[0]):
            raise InputError(f"the head of {self.name} is no EmotionHead: it pools not")

    def classify_file(
        self, path: str | os.PathLike
    ) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Classify one file, as SpeechBrain's classifiers do.

        Returns
        -------
        tuple
            As `classify_batch`, for a batch of one.
        """
        piece = read_whole(os.fspath(path), self.min_samples)
        return self._join(self.answer([piece.samples]))

    def classify_batch(
        self, wavs: Tensor, wav_lens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Classify a padded batch, as SpeechBrain's classifiers do.

        Arguments
        ---------
        wavs : torch.Tensor
            (B, N) or, for one clip, (N,); 16 kHz.
        wav_lens : torch.Tensor or None
            (B,), lengths relative to N; None means full length.

        Returns
        -------
        out_prob : torch.Tensor
            (B, K), probabilities that sum to 1 (some of SpeechBrain's own classifiers
            give log-posteriors here).
        score : torch.Tensor
            (B,), the largest of each row.
        index : torch.Tensor
            (B,), where it is.
        text_lab : list of str
            Its label.
        """
        return self._join(self.answer(self._cut(wavs, wav_lens)))

    def encode_batch(self, wavs: Tensor, wav_lens: Tensor | None = None) -> Tensor:
        """Give the pooled vectors (B, output_size) of a padded batch.

        Arguments are those of `classify_batch`. An `InputError` if there are several
        heads, whose vectors cannot be compared.
        """
        self.check_embedding(True)
        found = self.answer(self._cut(wavs, wav_lens), embedding=True)
        vectors = [answer.embedding for answer in found if answer.embedding is not None]
        return torch.from_numpy(np.stack(vectors))

    def _batch_limit(self, batch_seconds: float | None) -> int:
        if batch_seconds is None and self.device.type != "cpu":
            batch_seconds = _GPU_SECONDS
        return super()._batch_limit(batch_seconds)

    def _cut(self, wavs: Tensor, wav_lens: Tensor | None) -> list[np.ndarray]:
        """Cut a padded batch into its clips (N_i,)."""
        wavs = wavs[None] if wavs.ndim == 1 else wavs
        if wavs.ndim != 2:
            raise ValueError(f"wavs must have shape (B, N) (got {tuple(wavs.shape)})")
        padded = wavs.detach().float().cpu().numpy()
        counts = real_counts(wav_lens, *wavs.shape)
        for item, count in enumerate(counts):
            if count < self.min_samples:
                raise InputError(
                    f"clip {item} of the batch has {count} samples; at least "
                    f"{self.min_samples} are needed: leave it out"
                )
            if not np.isfinite(padded[item, :count]).all():
                raise InputError(
                    f"clip {item} of the batch has samples that are not finite (NaN or "
                    "infinity): leave it out"
                )
        return [clip[:count] for clip, count in zip(padded, counts, strict=True)]

    def _classify(self, layers: Tensor, samples: int, embedding: bool) -> Answer:
        """Answer for the layers (L + 1, T, D) of one clip."""
        rounded = layers if self._stored is None else layers.to(self._stored)
        if not bool(rounded.isfinite().all()):
            raise InputError(
                "the upstream gives features that are not finite (NaN or infinity)"
                + (f" in {self.parts.features['stored']}" if self._stored else "")
                + " for this clip; check the clip and the model"
            )
        found = [_run_head(head, rounded) for head in self.heads]
        logits, vectors, weights = zip(*found, strict=True)
        probabilities = torch.softmax(torch.stack(logits).double(), -1).mean(0)
        attention = times = None
        if all(own is not None for own in weights):
            attention = torch.stack(weights).mean(0).cpu().numpy()
            times = np.array(self.upstream.frame_times(samples))
        vector = vectors[0].float().cpu().numpy() if embedding else None
        return Answer(probabilities.cpu().numpy(), attention, times, vector)

    def _join(self, answers: list[Answer]) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        rows = np.stack([answer.probabilities for answer in answers])
        out_prob = torch.from_numpy(rows).float()
        score, index = out_prob.max(dim=1)
        return out_prob, score, index, [self.labels[place] for place in index.tolist()]


def _run_head(
    head: nn.Module, layers: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Logits (K,), pooled vector and attention (T,) of a clip, as far as there are."""
    if not is_usual(head):
        return head([layers])[0], None, None  # of one's own: only its logits are known
    (frames,) = project_clips([layers], [head])
    pooled = head.pool(frames, [len(frames)])
    weights = None
    attention = getattr(head.pooling, "attention", None)
    if isinstance(attention, FrameAttention):  # one's own may want other inputs
        weights = attention(frames[None])[0]
    return head.classifier(pooled)[0], pooled[0], weights


def is_usual(head: nn.Module) -> TypeGuard[EmotionHead]:
    return isinstance(head, EmotionHead) and type(head).forward is EmotionHead.forward
