"""The command ``sercorr report``: all results of a folder as one HTML file.

Beside it, all tables as Markdown and as LaTeX.
"""

import argparse
import math
from pathlib import Path

from sercorr.errors import InputError
from sercorr.evaluation.pooled import check_folds
from sercorr.evaluation.runs import read_experiment_record, read_heads
from sercorr.files import require_writable, write_text
from sercorr.inference.report_clips import Listener
from sercorr.reporting.layout import render
from sercorr.reporting.page.about import about_section
from sercorr.reporting.page.document import (
    document_parts,
    latex_document,
    make_document,
)
from sercorr.reporting.page.listening import listening_section
from sercorr.reporting.page.sections import (
    calibration_section,
    choose_head,
    comparison_section,
    figures_section,
    groups_section,
    heads_section,
    results_section,
)

_WORDS = 2500  # bytes about a clip beside its waveform and sound


def report_command(given: argparse.Namespace) -> None:
    """Write the report of a folder.

    Arguments
    ---------
    given : argparse.Namespace
        The options of ``sercorr report``, see `sercorr.cli`.

    Raises
    ------
    InputError
        The folder has no results, or an option cannot be used; nothing was written.
    """
    folder = Path(given.folder)
    out = Path(given.outfile or folder / "report.html")
    if out.suffix != ".html":
        raise InputError(f"--outfile is {out}; its name must end with .html")
    if given.clips < 0:
        raise InputError(f"--clips is {given.clips}; it must be 0 or more")
    if not 0 < given.max_mb < math.inf:
        raise InputError(f"--max-mb is {given.max_mb}; it must be more than 0")
    if given.data_folder is not None and not Path(given.data_folder).is_dir():
        raise InputError(f"--data-folder {given.data_folder}: no such folder")
    name = folder.resolve().name
    heads = {name if head == "." else head: r for head, r in read_heads(folder).items()}
    check_folds(run for runs in heads.values() for run in runs)
    chosen, why = choose_head(heads, given.head)
    require_writable(out.parent)
    experiment = read_experiment_record(folder)
    figures = experiment.get("figures", [])
    limit = round(given.max_mb * 1e6)
    runs = heads[chosen]
    sections = [
        about_section(heads, experiment, folder),
        results_section(heads, folder),
        comparison_section(heads, chosen, why),
        *([figures_section(heads, figures)] if figures else []),
        heads_section(heads, chosen, limit // 2),
        calibration_section(heads, chosen),
        groups_section(heads, chosen, why),
    ]
    title = f"Results of {experiment.get('experiment', name)}"
    # what is left is for the sounds
    taken = len(make_document(title, sections).encode())
    room = limit - taken - _WORDS * (2 * given.clips + 1)
    listener = Listener(runs[0], room, given.data_folder, given.upstream, given.device)
    sections.append(listening_section(runs, why, given.clips, listener.hear))
    page = make_document(title, sections)
    parts = document_parts(title, sections)
    write_text(out, page)
    write_text(out.with_suffix(".md"), render(parts, "markdown") + "\n")
    write_text(out.with_suffix(".tex"), latex_document(parts))
    size = len(page.encode()) / 1e6
    print(
        f"written: {out} ({size:.1f} MB), {out.with_suffix('.md').name}, "
        f"{out.with_suffix('.tex').name}"
    )
    if size > given.max_mb:
        print(f"The tables and figures alone are larger than --max-mb {given.max_mb:g}")
