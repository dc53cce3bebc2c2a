"""What the page of ``sercorr app`` says about a file, before Gradio shows it."""

import base64
import dataclasses
import html
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

from sercorr.data.audio import read_header
from sercorr.errors import InputError
from sercorr.inference.drawing import Envelope, draw_recording, read_envelope
from sercorr.inference.prediction import Prediction
from sercorr.inference.predictor import Predictor
from sercorr.inference.rows import CsvRows
from sercorr.inference.timeline import Cell, merge_cells, tile
from sercorr.inference.windows import LONGEST

_DOTS = 192  # per inch: sharp on screens with small pixels


@dataclass(frozen=True)
class Options:
    """How recordings are answered, and how long they may be.

    Attributes
    ----------
    window, hop : float
        In seconds.
    silence : float or None
        Level in dB of full scale under which windows are left out.
    max_minutes : float
        The longest recording.
    """

    window: float = 4.0
    hop: float = 1.0
    silence: float | None = None
    max_minutes: float = 60.0

    @property
    def longest_clip(self) -> float:
        """Most seconds that are answered as one clip; a longer file gets a timeline."""
        return min(2 * self.window, LONGEST)


@dataclass(frozen=True)
class Result:
    """What a model says about a file.

    Attributes
    ----------
    name : str
        The file's name.
    scores : dict
        Label -> probability; of a timeline, the mean over what is not silent.
    predictions : list of Prediction
        One for a clip; the windows of a timeline, without their attention.
    hop : float or None
        Of the windows; None for a clip.
    envelope : Envelope
        The waveform's outline.
    """

    name: str
    scores: dict[str, float]
    predictions: list[Prediction]
    hop: float | None
    envelope: Envelope

    @property
    def rows(self) -> list[Prediction]:
        """The clip, or the timeline's cells, as rows of a CSV; silence is left out."""
        if self.hop is None:
            return self.predictions
        return [
            Prediction(self.name, cell.start, cell.end, cell.label, cell.scores, None)
            for cell in tile(self.predictions, self.hop, self.envelope.end)
            if cell.label is not None and cell.scores is not None
        ]


def analyse(
    recognizer: Predictor, file: str, options: Options
) -> Iterator[float | Result]:
    """Classify a file, or the windows of a long one.

    Yields
    ------
    float or Result
        The share that is done, now and then; at last the result.

    Raises
    ------
    InputError
        The file cannot be read, is too short or too long, or is silent. The message
        has the file's name, not its folder.
    """
    name = os.path.basename(file)
    try:
        yield from _analyse(recognizer, file, name, options)
    except InputError as error:
        raise InputError(str(error).replace(file, name)) from None


def _analyse(
    recognizer: Predictor, file: str, name: str, options: Options
) -> Iterator[float | Result]:
    seconds = read_header(file).seconds
    if seconds > 60 * options.max_minutes:
        raise InputError(
            f"{name}: too long: {seconds / 60:.1f} minutes (at most "
            f"{options.max_minutes:g}); use sercorr predict or sercorr timeline, which "
            "have no limit"
        )
    clip = seconds <= options.longest_clip
    window, hop = (None, None) if clip else (options.window, options.hop)
    done, windows, silent = 0.0, [], True
    for found in recognizer.predict(file, window, hop, silence=options.silence):
        attention = found.attention if clip else None  # of hours, it takes gigabytes
        windows.append(dataclasses.replace(found, file=name, attention=attention))
        silent &= found.silent
        if not clip and found.end / seconds >= done + 0.01:
            done = found.end / seconds
            yield min(done, 1.0)
    if silent:
        raise InputError(
            f"{name}: silent: there is nothing to hear; is the microphone on?"
        )
    result = Result(name, {}, windows, hop, read_envelope(file))
    (whole,) = merge_cells(
        Cell(row.start, row.end, "", row.scores) for row in result.rows
    )
    yield dataclasses.replace(result, scores=whole.scores or {})


def result_html(result: Result, width: float = 8.0, dark: bool = False) -> str:
    """Show a result's picture and a link to its CSV, in HTML that needs no file.

    Arguments
    ---------
    result : Result
        From `analyse`.
    width : float
        Of the picture, in inches of 96 pixels of the page.
    dark : bool
        The page has a dark ground.
    """
    figure = draw_recording(
        result.envelope, result.predictions, result.hop, width=width, dark=dark,
        bars=False,
    )  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS)
    rows = CsvRows(list(result.scores))
    table = rows.header() + "".join(rows.row(found) for found in result.rows)
    alt = html.escape(_describe(result))
    name = html.escape(os.path.splitext(result.name)[0], quote=True)
    return (
        f'<img alt="{alt}" src="{_data("image/png", picture.getvalue())}">'
        f'<a class="download" download="{name}.csv" '
        f'href="{_data("text/csv;charset=utf-8", table.encode())}">Download CSV</a>'
    )


def _describe(result: Result) -> str:
    """Say in words what the picture shows."""
    if result.hop is None:
        shown = "with the attention over it" if result.predictions[0].attention else ""
        return f"Waveform of {result.name} {shown}".strip()
    total = sum(row.end - row.start for row in result.rows)
    times = dict.fromkeys(result.scores, 0.0)
    for row in result.rows:
        times[row.label] += row.end - row.start
    shares = (f"{label} {100 * time / total:.0f} %" for label, time in times.items())
    return f"Timeline of {result.name}: {', '.join(shares)} of the time"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
