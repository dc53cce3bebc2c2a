"""From files and samples to predictions, whatever computes them.

`Predictor` names the answers of a model; what answers is a subclass:
`EmotionRecognizer` with torch, `OnnxRecognizer` without.
"""

import abc
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_header
from sercorr.errors import InputError
from sercorr.inference.pieces import Piece, read_pieces, read_stream
from sercorr.inference.prediction import Answer, Prediction
from sercorr.inference.timeline import merge_cells, tile
from sercorr.inference.windows import SILENCE, level, require_gate, window_samples

Failure = Callable[[Any, InputError], None]


class Predictor(abc.ABC):
    """What all models that classify emotions can do.

    Attributes
    ----------
    name : str
        How messages call the model: its folder, file or hub name.
    labels : list of str
        The K emotions, in the order of the probabilities.
    identity : str
        Short digest of all that decides the answers.
    min_samples : int
        The shortest clip, at 16 kHz.
    """

    name: str
    labels: list[str]
    identity: str
    min_samples: int = 400

    @abc.abstractmethod
    def answer(
        self, waves: Sequence[np.ndarray], embedding: bool = False
    ) -> list[Answer]:
        """Answer for clips (N_i,), float32 at 16 kHz, each as if it were alone."""

    def check_embedding(self, wanted: bool) -> None:  # noqa: B027  most have them
        """Raise an `InputError` if embeddings are wanted of a model without."""

    def predict(
        self,
        inputs: Any,
        window: float | None = None,
        hop: float | None = None,
        *,
        batch_seconds: float | None = None,
        embedding: bool = False,
        silence: float | None = None,
        on_error: Failure | None = None,
    ) -> Iterator[Prediction]:
        """Classify files or samples, one after the other.

        A clip gets the same answer alone and in any batch, and a window the one that
        its samples at 16 kHz would get as a file.

        Arguments
        ---------
        inputs : object
            A file of any rate, number of channels and format that libsndfile reads; a
            `Segment` of one; an array or tensor (N,) at 16 kHz; a pair ``(signal,
            rate)``, where a signal with several channels is (N, channels) as soundfile
            returns it; or an iterable of these.
        window, hop : float or None
            In seconds: classify windows, one every ``hop`` (default: the window), that
            cover the file to its end, as `sercorr.inference.windows.cut_windows` says.
            Files may be hours long then: they are read in blocks.
        batch_seconds : float or None
            Most padded seconds of audio that are computed at once; None: one clip at a
            time, which is the fastest on a CPU, and 60 on a GPU.
        embedding : bool
            Give the pooled vectors, too.
        silence : float or None
            A level in dB of full scale, such as -50: windows under it are left out,
            and whole clips under it are marked as ``silent``.
        on_error : callable or None
            Called with an input and the `InputError` that it causes, in the order of
            the inputs; then the rest goes on. None: the error is raised.

        Yields
        ------
        Prediction
            In the order of the inputs.

        Raises
        ------
        InputError
            A file cannot be read, is too short (25 ms), has samples that are not
            finite, or is too long to be one clip (two minutes); a window is not usable.
        """
        self.check_embedding(embedding)
        require_gate(silence)
        window_hop = None
        if window is not None or hop is not None:
            window_hop = window_samples(window, hop, self.min_samples)
        pieces = read_pieces(inputs, window_hop, self.min_samples)
        if window_hop is not None:
            pieces = _loud_ones(pieces, silence)
        return self._predict(pieces, batch_seconds, embedding, silence, on_error)

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        rate: int = SAMPLE_RATE,
        window: float = 4.0,
        hop: float = 1.0,
        *,
        silence: float | None = None,
        embedding: bool = False,
    ) -> Iterator[Prediction]:
        """Classify a live signal window by window, as `predict` would its recording.

        A window is answered as soon as its samples and 25 ms more have come (at
        another rate than 16 kHz 26 ms): the first after ``window`` + 0.025 seconds of
        the signal, then one every ``hop``. The rest follows when the blocks end.

        Arguments
        ---------
        blocks : iterable of numpy.ndarray
            (n,) or (n, channels), each of any length.
        rate : int
            Of the blocks, in hertz.
        window, hop, silence, embedding
            As for `predict`.

        Yields
        ------
        Prediction
            ``file`` is None; times are from the beginning of the signal.
        """
        self.check_embedding(embedding)
        require_gate(silence)
        size, step = window_samples(window, hop, self.min_samples)
        pieces = read_stream(blocks, rate, size, step, self.min_samples)
        return self._predict(_loud_ones(pieces, silence), 0.0, embedding, silence, None)

    def diarize_file(
        self,
        path: str | os.PathLike,
        window: float = 4.0,
        hop: float = 1.0,
        silence: float | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Say which emotion is heard when, as SpeechBrain's emotion diarisation does.

        Arguments are those of `predict`. A moment has the mean probabilities of the
        windows around it.

        Returns
        -------
        dict
            ``{path: [{"start": 0.0, "end": 3.0, "emotion": "sad"}, ...]}``, seconds;
            equal neighbours are merged, silence is left out.
        """
        seconds = read_header(path).seconds
        windows = self.predict(path, window, hop, silence=silence)
        spans = merge_cells(tile(windows, hop, seconds))
        return {
            os.fspath(path): [
                {"start": cell.start, "end": cell.end, "emotion": cell.label}
                for cell in spans
                if cell.label is not None
            ]
        }

    def _predict(
        self,
        pieces: Iterable[Piece],
        batch_seconds: float | None,
        embedding: bool,
        silence: float | None,
        on_error: Failure | None,
    ) -> Iterator[Prediction]:
        limit = self._batch_limit(batch_seconds)
        for batch in _batches(pieces, limit):
            for piece, answer in self._answer_batch(batch, embedding):
                if isinstance(answer, InputError):
                    if on_error is None:
                        raise answer
                    on_error(piece.source, answer)
                else:
                    yield self._record(piece, answer, silence)

    def _batch_limit(self, batch_seconds: float | None) -> int:
        """Samples of a padded batch; 0: each clip alone."""
        return round((batch_seconds or 0.0) * SAMPLE_RATE)

    def _answer_batch(
        self, batch: list[Piece], embedding: bool
    ) -> list[tuple[Piece, Answer | InputError]]:
        """Answer for each piece; one that fails does not take the others along."""
        if batch[0].error is not None:
            return [(batch[0], batch[0].error)]
        try:
            waves = [piece.samples for piece in batch]
            return list(zip(batch, self.answer(waves, embedding), strict=True))
        except InputError as error:
            if len(batch) > 1:
                singles = [self._answer_batch([piece], embedding) for piece in batch]
                return list(itertools.chain.from_iterable(singles))
            piece = batch[0]
            place = f"{piece.file or 'the signal'}, {piece.start:.2f}-{piece.end:.2f} s"
            return [(piece, InputError(f"{place}: {error}"))]

    def _record(
        self, piece: Piece, answer: Answer, silence: float | None
    ) -> Prediction:
        """Turn an answer into a record."""
        attention = None
        if answer.attention is not None and answer.times is not None:
            centres = (answer.times + piece.start).tolist()
            attention = list(zip(centres, answer.attention.tolist(), strict=True))
        return Prediction(
            file=piece.file,
            start=piece.start,
            end=piece.end,
            label=self.labels[int(answer.probabilities.argmax())],
            scores=dict(zip(self.labels, answer.probabilities.tolist(), strict=True)),
            attention=attention,
            embedding=answer.embedding,
            silent=level(piece.samples) < (SILENCE if silence is None else silence),
        )


def _loud_ones(pieces: Iterator[Piece], silence: float | None) -> Iterator[Piece]:
    """Leave out what is under the gate; errors stay."""
    if silence is None:
        return pieces
    return (p for p in pieces if p.error is not None or level(p.samples) >= silence)


def _batches(pieces: Iterable[Piece], limit: int) -> Iterator[list[Piece]]:
    """Put neighbours together while they, padded, have at most ``limit`` samples."""
    batch: list[Piece] = []
    for piece in pieces:
        longest = max([len(piece.samples), *(len(other.samples) for other in batch)])
        alone = piece.error is not None or (batch and batch[0].error is not None)
        if batch and (alone or (len(batch) + 1) * longest > limit):
            yield batch
            batch = []
        batch.append(piece)
        if limit == 0:  # nothing is held back
            yield batch
            batch = []
    if batch:
        yield batch
