"""`sercorr predict` with a model that answers at once. Nothing here is a test."""

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile

from sercorr.cli import main
from sercorr.inference.prediction import Answer
from sercorr.inference.predictor import Predictor


class Loudness(Predictor):
    """Tells loud from quiet clips by their mean absolute sample.

    With ``together``, seconds of a batch, the answer depends on the batch, as last bits
    do on a GPU. The answer number ``stop`` is an interruption from the keyboard.
    """

    def __init__(
        self, identity: str = "1", together: float = 0, stop: int | None = None
    ) -> None:
        self.labels = ["quiet", "loud"]
        self.name, self.identity = f"model {identity}", identity
        self.calls: list[int] = []  # clips in each
        self._together, self._stop = together, stop

    def answer(self, waves: Sequence[np.ndarray], embedding=False) -> list[Answer]:
        if len(self.calls) == self._stop:
            raise KeyboardInterrupt
        self.calls.append(len(waves))
        return [
            Answer(
                np.array([1 - loud, loud]),
                attention=np.array([1.0]),
                times=np.array([0.0125]),
                embedding=np.float32([len(wave), loud]) if embedding else None,
            )
            for wave in waves
            for loud in [np.abs(wave).mean() + 1e-4 * len(waves)]
        ]

    def _batch_limit(self, batch_seconds: float | None) -> int:
        return super()._batch_limit(batch_seconds or self._together)


def predict(*arguments: object, model: Loudness | None = None) -> int:
    """Run the command in this process; return its exit status."""
    place = "sercorr.inference.predict_command.load_chosen"
    with mock.patch(place, return_value=model or Loudness()):
        try:
            main(["predict", *map(str, arguments), "--model", "m"])
        except SystemExit as end:
            return int(end.code or 0)
    raise AssertionError("main always exits")


def write_clip(path: Path, seconds: float = 0.5, level: float = 0.25) -> Path:
    """Write a clip whose samples are ``level`` and minus ``level``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.full(round(seconds * 16000), level)
    samples[::2] *= -1
    soundfile.write(path, samples, 16000)
    return path


def write_clips(folder: Path, count: int) -> Path:
    """Write ``0.wav``, ``1.wav``, ..., each louder and longer than the one before."""
    for number in range(count):
        level = 0.05 + 0.5 * number / count
        write_clip(folder / f"{number}.wav", 0.3 + 0.15 * number, level)
    return folder
