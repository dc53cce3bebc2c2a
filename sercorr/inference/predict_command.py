"""``sercorr predict``: classify files, and write a row for each, or for its windows."""

import argparse
import contextlib
import dataclasses
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sercorr.data.audio import read_header
from sercorr.errors import InputError
from sercorr.files import atomic_path, require_writable
from sercorr.inference.inputs import find_inputs
from sercorr.inference.loading import load_chosen
from sercorr.inference.outfile import Key, Outfile
from sercorr.inference.prediction import Prediction, Segment
from sercorr.inference.predictor import Predictor
from sercorr.inference.rows import CsvRows, JsonRows, Rows, TableRows, choose_format
from sercorr.inference.windows import require_gate, window_samples

_TOGETHER = 8
"""Clips given to a model at once. These eights are counted in the whole list, finished
or not, so that a model that answers for several at once gets the same ones again."""


def predict_command(given: argparse.Namespace) -> int:
    """Run ``sercorr predict``.

    Arguments
    ---------
    given : argparse.Namespace
        Its options, see `sercorr.cli`.

    Returns
    -------
    int
        Exit status: 1 if an input could not be classified.

    Raises
    ------
    InputError
        An option is unusable, or the model or the outfile is; no row was written then.
    """
    form = choose_format(given.format, given.outfile)
    if given.restart and given.outfile is None:
        raise InputError("--restart begins an --outfile anew, but there is none")
    require_gate(given.silence)
    clips = find_inputs(given.paths, given.list)
    for folder in (given.embeddings, given.plot):
        if folder is not None:
            _require_different_places(clips, folder)
    model = load_chosen(given)
    model.check_embedding(given.embeddings is not None)
    if given.window is not None or given.hop is not None:
        window_samples(given.window, given.hop, model.min_samples)
    for folder in (given.embeddings, given.plot):
        if folder is not None:
            require_writable(folder)
    with contextlib.ExitStack() as stack:
        rows = _make_rows(form, model.labels, clips)
        outfile = None
        if given.outfile is not None:
            settings = {"model": model.identity, "format": form, **_settings(given)}
            names = {"model": model.name}
            outfile = stack.enter_context(
                Outfile(given.outfile, settings, names, rows.header(), given.restart)
            )
        stack.enter_context(logging_redirect_tqdm())
        command = _Command(given, model, clips, rows, outfile)
        with command.bar:
            command.run()
    command.report()
    return 1 if command.failures else 0


class _Command:
    """One call of the command, at work."""

    def __init__(
        self,
        given: argparse.Namespace,
        model: Predictor,
        clips: Sequence[Segment],
        rows: Rows,
        outfile: Outfile | None,
    ) -> None:
        self.given, self.model, self.clips = given, model, clips
        self.rows, self.outfile = rows, outfile
        done: set[Key] = set() if outfile is None else outfile.finished
        self.before = done.intersection(clips)
        self.failures: list[InputError] = []
        self.written = 0  # rows
        self.late = 0  # clips whose rows stand behind those of later ones
        off = given.quiet or not sys.stderr.isatty()
        self._seconds: dict[Key, float] = {}
        if not off:
            self._seconds = {clip: _seconds(clip) for clip in clips}
        self.bar = tqdm(
            total=round(sum(self._seconds.values()) + 0.05, 1),  # never under the sum
            initial=round(sum(self._seconds.get(clip, 0) for clip in self.before), 1),
            unit=" s of audio",
            unit_scale=True,
            smoothing=0.05,
            disable=off,
        )

    def run(self) -> None:
        """Classify what is not finished."""
        if self.outfile is None:
            _print(self.rows.header())
        last = max(
            (place for place, clip in enumerate(self.clips) if clip in self.before),
            default=-1,
        )
        size = _TOGETHER if self.given.window is None else 1
        for first in range(0, len(self.clips), size):
            group = self.clips[first : first + size]
            if self.before.issuperset(group):
                continue
            for place, (clip, answers) in enumerate(self._answers(group), first):
                if clip in self.before:
                    deque(answers, maxlen=0)
                elif self._take(clip, answers) and place < last:
                    self.late += 1

    def report(self) -> None:
        """Say on stderr what was done, and which inputs were bad."""
        done = len(self.clips) - len(self.before) - len(self.failures)
        if self.outfile is not None and not self.given.quiet:
            place = self.outfile.path
            if self.before and not done:
                _say(f"{place}: nothing to add")
            else:
                rows, inputs = _count(self.written, "row"), _count(done, "input")
                _say(f"{place}: {rows} added, of {inputs}")
            if self.before:
                _say(f"  answered before: {_count(len(self.before), 'input')}")
            if self.late:
                late = _count(self.late, "input")
                _say(f"  out of order, behind the rows that were there: {late}")
        if self.failures:
            inputs = _count(len(self.clips), "input")
            _say(f"{len(self.failures)} of {inputs} could not be classified:")
            for error in self.failures:
                _say(f"  {error}")

    def _answers(
        self, group: Sequence[Segment]
    ) -> Iterator[tuple[Segment, Iterator[Prediction | InputError]]]:
        """Give the answers for each clip; what is not read of them is not computed."""
        if self.given.window is None:
            each = self._predict(group)  # one for each clip
            for clip in group:
                yield clip, islice(each, 1)
        else:
            for clip in group:
                yield clip, self._predict([clip])

    def _predict(self, group: Sequence[Segment]) -> Iterator[Prediction | InputError]:
        """Give answers and errors, in order."""
        errors: deque[InputError] = deque()
        for found in self.model.predict(
            [_plain(clip) for clip in group],
            self.given.window,
            self.given.hop,
            embedding=self.given.embeddings is not None,
            silence=self.given.silence,
            on_error=lambda _, error: errors.append(error),
        ):
            while errors:
                yield errors.popleft()
            yield found
        yield from errors

    def _take(self, clip: Segment, answers: Iterator[Prediction | InputError]) -> bool:
        """Write the rows of a clip; False if it is bad, and has none then."""
        error: InputError | None = None
        kept: list[Prediction] = []
        heard, count = clip.start, 0
        for found in answers:
            if isinstance(found, InputError):
                error = found
                break
            self._write(clip, found)
            count += 1
            if self.given.plot is not None:
                kept.append(_shorten(found) if kept else found)
            self.bar.update(max(0.0, found.end - heard))
            heard = max(heard, found.end)
        self.bar.update(max(0.0, self._seconds.get(clip, 0.0) + clip.start - heard))
        if kept and error is None:
            error = self._plot(clip, kept)
        if error is not None:
            self.failures.append(error)
            if self.outfile is not None:
                self.outfile.discard()
            return False
        if self.outfile is not None:
            self.outfile.finish(clip)
        self.written += count
        if count == 0:
            _say(f"{clip.file}: all of it is under {self.given.silence} dB: no rows")
        return True

    def _write(self, clip: Segment, found: Prediction) -> None:
        if found.embedding is not None:
            times = clip.start, clip.end
            if self.given.window is not None:
                times = found.start, found.end
            place = _place(self.given.embeddings, clip, times, ".npy")
            with atomic_path(place) as temporary:
                np.save(temporary, found.embedding)
        line = self.rows.row(found)
        if self.outfile is None:
            _print(line)
        else:
            self.outfile.write(line)

    def _plot(self, clip: Segment, found: list[Prediction]) -> InputError | None:
        from sercorr.inference.drawing import plot_recording  # noqa: PLC0415

        hop = self.given.window if self.given.hop is None else self.given.hop
        place = _place(self.given.plot, clip, (clip.start, clip.end), ".png")
        try:
            plot_recording(clip.file, found, place, hop, clip.start, clip.end)
        except InputError as error:
            return error
        return None


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    """All that decides the rows, or what else is written with them, but the model."""
    folders = {
        name: None if folder is None else os.path.abspath(folder)
        for name, folder in (("embeddings", given.embeddings), ("plot", given.plot))
    }
    hop = given.window if given.hop is None else given.hop
    return {"window": given.window, "hop": hop, "silence": given.silence, **folders}


def _make_rows(form: str, labels: Sequence[str], clips: Sequence[Segment]) -> Rows:
    if form == "csv":
        return CsvRows(labels)
    if form == "jsonl":
        return JsonRows()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return TableRows(labels, [str(clip.file) for clip in clips], width)


def _plain(clip: Segment) -> Segment | str:
    """Give a whole file as such."""
    return str(clip.file) if clip.start == 0 and clip.end is None else clip


def _seconds(clip: Segment) -> float:
    """Say how long a clip is, for the progress bar; a bad one takes no time."""
    try:
        end = read_header(clip.file).seconds if clip.end is None else clip.end
    except InputError:
        return 0.0
    return max(0.0, end - clip.start)


def _shorten(found: Prediction) -> Prediction:
    """Drop what a drawing of many windows does not show: hours have many."""
    return dataclasses.replace(found, attention=None, embedding=None)


def _place(
    folder: str, clip: Segment, times: tuple[float, float | None], suffix: str
) -> Path:
    """Name the file that belongs to a clip, or to a window of it.

    Example
    -------
    >>> str(_place("plots", Segment("calls/a.wav"), (0.0, None), ".png"))
    'plots/calls/a.wav.png'
    >>> str(_place("vectors", Segment("../a.wav"), (0.5, 4.5), ".npy"))
    'vectors/__/a.wav.00000.500-00004.500.npy'
    """
    start, end = times
    part = ""
    if start > 0 or end is not None:
        part = f".{start:09.3f}-" + ("end" if end is None else f"{end:09.3f}")
    path = Path(os.path.normpath(clip.file))
    parts = path.parts[1:] if path.anchor else path.parts
    inside = Path(folder, *("__" if name == ".." else name for name in parts))
    return inside.with_name(f"{inside.name}{part}{suffix}")


def _require_different_places(clips: Sequence[Segment], folder: str) -> None:
    taken: dict[Path, Segment] = {}
    for clip in clips:
        place = _place(folder, clip, (clip.start, clip.end), "")
        if (other := taken.setdefault(place, clip)) != clip:
            raise InputError(
                f"{clip.file} and {other.file} would both be {place}.* ; classify "
                "them by two commands"
            )


def _say(text: str) -> None:
    """Write a line to stderr, above the progress bar."""
    _print(f"{text}\n", sys.stderr)


def _print(text: str, file: TextIO | None = None) -> None:
    """Write to stdout, above the progress bar; what cannot be encoded is escaped."""
    file = sys.stdout if file is None else file
    encoding = file.encoding or "utf-8"
    with tqdm.external_write_mode(file=file):
        file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        file.flush()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
