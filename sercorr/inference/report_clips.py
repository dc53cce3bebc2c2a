"""The sounds of a report: clips as they were tested, with the attention of one seed."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_samples
from sercorr.errors import InputError
from sercorr.evaluation.hardest import Clip
from sercorr.evaluation.predictions import manifest_of, read_test_predictions
from sercorr.evaluation.runs import Run
from sercorr.inference.drawing import read_envelope
from sercorr.inference.prediction import Prediction, Segment
from sercorr.reporting.page.clips import Sound, player_html

LONGEST = 10.0  # seconds that are embedded
_COLUMNS = 400  # of a waveform
_TOLERANCE = 0.01  # between a probability now and in predictions.csv


class Listener:
    """Finds the clips of one head, and plays what fits.

    Arguments
    ---------
    run : Run
        Whose attention is shown: one seed of the head.
    room : int
        Bytes that all sounds together may take in the page.
    data_folder : str, optional
        Where the recordings are, if not where ``run.json`` says.
    upstream, device : str, optional
        As for `sercorr.inference.EmotionRecognizer.from_run`.
    """

    def __init__(
        self,
        run: Run,
        room: int,
        data_folder: str | None = None,
        upstream: str | None = None,
        device: str | None = None,
    ) -> None:
        self.run, self.room = run, room
        self.data_folder, self.upstream, self.device = data_folder, upstream, device
        self._recognizers: dict[int, Any] = {}  # fold -> a recogniser, or why not
        self._manifests: dict[int, dict[str, dict[str, Any]] | None] = {}
        self._sounds: dict[tuple[int, str], tuple[Sound | None, list[str]]] = {}

    def hear(self, clip: Clip) -> tuple[Sound | None, list[str]]:
        """Give what can be played of a clip, and notes on what cannot."""
        key = (clip.fold, clip.id)
        if key not in self._sounds:
            try:
                self._sounds[key] = self._read(clip)
            except InputError as error:
                self._sounds[key] = None, [f"Not to be played: {error}."]
        return self._sounds[key]

    def _read(self, clip: Clip) -> tuple[Sound | None, list[str]]:
        part, notes = self._find(clip)
        samples = read_samples(part.file, part.start, part.end)
        played = samples[: round(LONGEST * SAMPLE_RATE)]
        audio = io.BytesIO()
        soundfile.write(
            audio, np.clip(played, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16"
        )
        seconds = len(samples) / SAMPLE_RATE
        if len(played) < len(samples):
            notes.append(
                f"The first {LONGEST:.0f} s of {seconds:.1f} s can be played; the rest "
                "of the waveform is pale."
            )
        attention = None
        try:
            attention = self._attend(clip, part)
        except InputError as error:
            notes.append(f"No attention: {error}.")
        envelope = read_envelope(part.file, part.start, part.end, columns=_COLUMNS)
        sound = Sound(
            seconds,
            envelope.low,
            envelope.high,
            audio.getvalue(),
            len(played) / SAMPLE_RATE,
            attention,
        )
        size = len(player_html(clip.id, sound).encode())
        if size > self.room:
            text = "Not embedded: the file would become larger than --max-mb."
            return None, [text]
        self.room -= size
        return sound, notes

    def _find(self, clip: Clip) -> tuple[Segment, list[str]]:
        """Say where a clip is, and what is not sure about it."""
        fold = clip.fold
        if fold not in self._manifests:
            self._manifests[fold] = manifest_of(self.run, fold)
        entry = (self._manifests[fold] or {}).get(clip.id)
        notes = []
        if entry is None:
            entry = {"wav": clip.file}
            notes.append(
                "The manifest is not there any more: if the clip is a part of the "
                "file, this is the whole file."
            )
        file = str(entry["wav"])
        places = self.run.records.get(fold, {}).get("places", {})
        for name, place in places.items():
            if name.startswith("{"):
                file = file.replace(name, str(self.data_folder or place), 1)
        if file.startswith("{data_root}") and self.data_folder:
            file = file.replace("{data_root}", self.data_folder, 1)
        if not Path(file).is_file():
            raise InputError(
                f"{file}: there is no such file; say where the recordings are with "
                "--data-folder"
            )
        return Segment(file, entry.get("start") or 0.0, entry.get("end")), notes

    def _attend(self, clip: Clip, part: Segment) -> list[tuple[float, float]] | None:
        """Give the attention from the clip's beginning; None where there is none."""
        (found,) = self._recognizer(clip.fold).predict(part)
        self._compare(clip, found)
        if found.attention is None:
            return None
        return [(time - part.start, weight) for time, weight in found.attention]

    def _recognizer(self, fold: int) -> Any:
        from sercorr.inference.recognizer import EmotionRecognizer  # noqa: PLC0415

        if fold not in self._recognizers:
            try:
                self._recognizers[fold] = EmotionRecognizer.from_run(
                    self.run.folder,
                    fold,
                    upstream_source=self.upstream,
                    device=self.device,
                )
            except InputError as error:
                self._recognizers[fold] = error
        if isinstance(self._recognizers[fold], InputError):
            raise self._recognizers[fold]
        return self._recognizers[fold]

    def _compare(self, clip: Clip, found: Prediction) -> None:
        """Refuse attention of other samples or another head than was tested."""
        tested = read_test_predictions(self.run, clip.fold)
        row = tested.probabilities[tested.ids.index(clip.id)]
        now = np.array([found.scores[label] for label in tested.labels])
        if np.abs(now - row).max() > _TOLERANCE:
            raise InputError(
                "the head gives other probabilities now than in predictions.csv: the "
                "recording, the head or the upstream is another one"
            )
