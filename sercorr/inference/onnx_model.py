"""A model in one ONNX file, used without torch and transformers."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.errors import InputError
from sercorr.files import file_digest
from sercorr.inference.prediction import Answer
from sercorr.inference.predictor import Predictor

METADATA_KEY = "sercorr"
"""Where an ONNX file says, in JSON, what the graph does not."""

FORMAT_VERSION = 1
"""Of that JSON; raised when older releases would misread a file."""


class OnnxRecognizer(Predictor):
    """Classifies the emotion in speech with a file of ``sercorr export --format onnx``.

    It computes on the CPU, needs onnxruntime (``pip install 'sercorr[onnx]'``), and
    may be used from several threads at once.

    Arguments
    ---------
    path : path
        The file.

    Raises
    ------
    InputError
        onnxruntime is not installed; or the file is missing, damaged, of a newer
        format, or not from ``sercorr export``.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.name = os.fspath(path)
        if not Path(path).is_file():
            raise InputError(f"{path}: missing: there is no such file")
        self._session = _open(path)
        about = _read_metadata(path, self._session)
        self.labels: list[str] = about["labels"]
        self.min_samples: int = about["min_samples"]
        self.identity = file_digest(path)[:16]
        self._first, self._step = about["first_frame"], about["frame_step"]
        self._outputs = [output.name for output in self._session.get_outputs()]

    def check_embedding(self, wanted: bool) -> None:
        """Raise an `InputError` if embeddings are wanted of a model without."""
        if wanted and "embedding" not in self._outputs:
            raise InputError(
                f"{self.name} has several heads, or one of one's own, and gives no "
                "embeddings: export a single fold"
            )

    def answer(
        self, waves: Sequence[np.ndarray], embedding: bool = False
    ) -> list[Answer]:
        """Answer for clips (N_i,), float32 at 16 kHz, one by one."""
        self.check_embedding(embedding)
        return [self._answer(wave, embedding) for wave in waves]

    def _answer(self, wave: np.ndarray, embedding: bool) -> Answer:
        found = self._session.run(None, {"waveform": wave[None]})  # batches of one
        rows = {name: row for name, (row,) in zip(self._outputs, found, strict=True)}
        if not np.isfinite(rows["probabilities"]).all():
            raise InputError("the model gives probabilities that are not finite")
        probabilities = rows["probabilities"].astype(np.float64)
        attention = rows.get("attention")
        times = None
        if attention is not None:
            times = self._first + self._step * np.arange(len(attention))
        return Answer(
            probabilities / probabilities.sum(),  # they were rounded to float32
            attention,
            times,
            rows["embedding"] if embedding else None,
        )


def _open(path: str | os.PathLike) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"{path}: onnxruntime is not installed: pip install 'sercorr[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of what it cannot simplify
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no base class of their own
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: onnxruntime cannot load it ({reason}); export the model again"
        ) from error


def _read_metadata(path: str | os.PathLike, session: Any) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise InputError(
            f"{path}: a model of other origin, without labels; give a file that "
            "`sercorr export --format onnx` wrote"
        )
    about = json.loads(text)
    if about["format"] > FORMAT_VERSION:
        raise InputError(
            f"{path}: its format is {about['format']}, but this release of sercorr "
            f"reads formats up to {FORMAT_VERSION}: install a newer one"
        )
    return about
