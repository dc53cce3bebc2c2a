"""``sercorr timeline``: which emotion is heard when in a recording of any length."""

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sercorr.data.audio import read_header
from sercorr.errors import InputError
from sercorr.files import require_writable, write_text
from sercorr.inference.loading import load_chosen
from sercorr.inference.timeline import Cell, tile
from sercorr.inference.timeline_formats import (
    Timeline,
    choose_timeline_format,
    timeline_text,
)


def timeline_command(given: argparse.Namespace) -> int:
    """Run ``sercorr timeline``.

    Arguments
    ---------
    given : argparse.Namespace
        Its options, see `sercorr.cli`.

    Returns
    -------
    int
        Exit status: 0.

    Raises
    ------
    InputError
        The file, an option or the model cannot be used; nothing was written then.
    """
    form = choose_timeline_format(given.format, given.outfile)
    duration = read_header(given.file).seconds
    if given.outfile is not None:
        if os.path.exists(given.outfile) and os.path.samefile(
            given.outfile, given.file
        ):
            raise InputError(
                f"{given.outfile}: it is the recording itself; choose another --outfile"
            )
        require_writable(Path(given.outfile).parent)
    model = load_chosen(given)
    windows = model.predict(given.file, given.window, given.hop, silence=given.silence)
    cells: list[Cell] = []
    bar = tqdm(
        total=duration,
        unit=" s of audio",
        unit_scale=True,
        smoothing=0.05,
        disable=given.quiet or not sys.stderr.isatty(),
    )
    with logging_redirect_tqdm(), bar:
        for cell in tile(windows, given.hop, duration):
            cells.append(cell)
            bar.update(cell.end - cell.start)
    timeline = Timeline(
        file=given.file,
        model=model.name,
        labels=model.labels,
        window=given.window,
        hop=given.hop,
        duration=duration,
        cells=cells,
    )
    if given.outfile is None:
        text = timeline_text(timeline, form)
        sys.stdout.buffer.write(text.encode("utf-8"))  # whatever the terminal's own
        sys.stdout.flush()
    else:
        text = timeline_text(timeline, form, Path(given.outfile).parent)
        write_text(given.outfile, text)
    if not given.quiet:
        print(_summary(timeline, given.outfile), file=sys.stderr)
    return 0


def _summary(timeline: Timeline, outfile: str | None) -> str:
    """Say in a line how much of the time has which emotion.

    Example
    -------
    >>> cells = [Cell(0.0, 3.0, "sad", {"sad": 1.0}), Cell(3.0, 4.0, None, None)]
    >>> _summary(Timeline("a.wav", "m", ["sad"], 1.0, 1.0, 4.0, cells), "a.csv")
    'a.csv: 4.0 s: sad 75 %, silence 25 %'
    """
    times: dict[str, float] = defaultdict(float)
    for cell in timeline.cells:
        times[cell.label or "silence"] += cell.end - cell.start
    shares = ", ".join(
        f"{label} {100 * time / timeline.duration:.0f} %"
        for label, time in sorted(times.items(), key=lambda item: -item[1])
    )
    return f"{outfile or timeline.file}: {timeline.duration:.1f} s: {shares}"
