"""Tables of results: their rows, and how they look in a terminal and in Markdown."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from sercorr.evaluation.metrics import RATES, class_recalls
from sercorr.evaluation.results import FIGURES, pool_confusion, summarise
from sercorr.evaluation.runs import Run
from sercorr.reporting.paper import PaperResult, describe, paper_result

# Blocks of rows, with a line between blocks; a row maps headings to cells.
Table = list[list[dict[str, str]]]
# Paragraphs and tables, in the order in which they are read.
Parts = list[str | Table]

_WA_UA = "WA: share of the clips that are right. UA: mean of the class recalls."
_STD = "standard deviation over the folds (divided by their number)"


def run_parts(run: Run) -> Parts:
    """Lay out one cross-validation, for `render`."""
    labels, results = run.metrics[0]["labels"], summarise(run.metrics)
    pooled = pool_confusion(run.metrics)
    counts = [sum(row) for row in pooled]
    rows, recalls = [], []
    for fold in run.metrics:
        number = {"fold": str(fold["fold"])}
        row = {**number, "clips": str(fold["n"]), **_rates(fold)}
        if tested := run.records.get(fold["fold"], {}).get("tested"):
            row["epoch"] = str(tested["epoch"])
            row["validation WA %"] = _number(tested["valid_wa"])
        rows.append(row)
        recalls.append({**number, **_recalls(labels, fold["confusion"])})
    always = {
        "wa": 100 * max(counts) / sum(counts),
        "ua": 100 / sum(count > 0 for count in counts),
    }
    summary = {
        "mean": results["mean"],
        "std": results["std"],
        f"chance (1/{len(labels)})": dict.fromkeys(("wa", "ua"), 100 / len(labels)),
        f"always {labels[counts.index(max(counts))]}": always,
    }
    if paper := _paper([run]):
        summary |= {"paper, mean": {"wa": paper.mean}, "paper, std": {"wa": paper.std}}
    clips = f"{len(run.metrics)} of {run.n_folds} folds, {sum(counts)} clips."
    return [
        ": ".join(filter(None, [describe(run.record), clips])),
        *_run_remarks(run),
        *_paper_remarks([run]),
        [rows, [{"fold": name, **_rates(rates)} for name, rates in summary.items()]],
        "Recall of each class, %:",
        [
            recalls,
            [
                {"fold": "pooled", **_recalls(labels, pooled)},
                {"fold": "clips", **dict(zip(labels, map(str, counts), strict=True))},
            ],
        ],
        f"{_WA_UA}\nstd: {_STD}.\n"
        "chance: a guess among the classes; always: only the most frequent class.\n"
        "epoch: the one that was tested, the best by validation WA.",
    ]


def heads_parts(
    heads: Mapping[str, Sequence[Run]],
    summaries: Mapping[str, Mapping[str, Any]],
    root: Path,
) -> Parts:
    """Lay out several heads, or the seeds of one, for `render`.

    ``heads`` gives the runs of each (one per seed, or none), ``summaries`` what the
    page's ``.json`` holds of those that have any; ``root`` is the page's folder.
    """
    remarks: dict[str, list[str]] = {}  # what holds for several is said once
    rows, recalls = [], []
    for name, runs in heads.items():
        for remark in _paper_remarks(runs) if runs else ["No finished fold."]:
            remarks.setdefault(remark, []).append(name)
        for run in runs:
            for remark in _run_remarks(run):
                at = run.folder.relative_to(root).as_posix()
                remarks.setdefault(remark, []).append(at)
    for name, summary in summaries.items():
        runs = heads[name]
        seeds = sum(run.seed is not None for run in runs)
        row = {"run": name, "pooling": summary["pooling"], "seeds": str(seeds or "")}
        row["folds"] = f"{summary['folds']} of {summary['n_folds']}"
        for rate, (title, _) in RATES.items():
            figures = [_number(summary[key][rate]) for key in FIGURES]
            row[f"{title} (folds, seeds)"] = "{} ({}, {})".format(*figures)
        if paper := _paper(runs):
            row["paper WA % (folds)"] = f"{paper.mean:.2f} ({paper.std:.2f})"
        rows.append(row)
        pooled = pool_confusion([fold for run in runs for fold in run.metrics])
        recalls.append({"run": name, **_recalls(runs[0].metrics[0]["labels"], pooled)})
    return [
        *(f"{', '.join(dict.fromkeys(at))}: {text}" for text, at in remarks.items()),
        [rows],
        "Recall of each class over all folds, %:",
        [recalls],
        f"{_WA_UA}\nIn brackets: {_STD}, averaged over the seeds;\n"
        "then that of the seeds' means (divided by their number less one).\n"
        "-: there is only one.",
    ]


def render(parts: Parts, *, markdown: bool) -> str:
    """Join parts to a page in Markdown or for a terminal."""
    show = _as_markdown if markdown else _as_text
    return "\n\n".join(p if isinstance(p, str) else show(p) for p in parts)


def _as_text(table: Table) -> str:
    shown = RichTable(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True)
    columns = _columns(table)
    for name, numeric in columns.items():
        heading = name.replace(" (", "\n(")
        shown.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for block in table:
        for row in block:
            shown.add_row(*(row.get(name, "") for name in columns))
        shown.add_section()
    text = io.StringIO()
    # as wide as it is: a log file has no width, and numbers must not be broken
    Console(file=text, width=1000, markup=False, highlight=False).print(shown)
    return "\n".join(line[1:].rstrip() for line in text.getvalue().splitlines())


def _as_markdown(table: Table) -> str:
    columns = _columns(table)
    rules = {name: "---:" if numeric else "---" for name, numeric in columns.items()}
    rows = [dict(zip(columns, columns, strict=True)), rules, *chain(*table)]
    cells = [[row.get(c, "").replace("|", "\\|") for c in columns] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _columns(table: Table) -> dict[str, bool]:
    """Say of each heading whether numbers stand below; empty columns are left out."""
    cells: dict[str, list[str]] = {}
    for row in chain(*table):
        for name, cell in row.items():
            cells.setdefault(name, []).append(cell)
    return {
        name: all(re.match(r"[0-9]|-?$", cell) for cell in column)
        for name, column in cells.items()
        if any(column)
    }


def _paper(runs: Sequence[Run]) -> PaperResult | None:
    """Give the paper's number if each of the runs is whole and may stand beside it."""
    if any(run.missing or run.differing for run in runs):
        return None
    first, *others = [paper_result(run.record) for run in runs]
    return first if all(result == first for result in others) else None


def _paper_remarks(runs: Sequence[Run]) -> list[str]:
    paper = _paper(runs)
    if paper is None:
        return []
    number = f"{paper.row}: {paper.mean:.2f} ({paper.std:.2f})"
    remark = f"Paper, Table 1, {number}; IEMOCAP, for comparison, WA."
    if paper.differences:
        remark += f" Settings other than the paper's: {', '.join(paper.differences)}."
    return [remark]


def _run_remarks(run: Run) -> list[str]:
    """Say which folds are missing, and in which settings they differ."""
    remarks = []
    if run.missing:
        remarks.append(
            f"Missing folds: {', '.join(map(str, run.missing))}. Mean and deviation "
            "are over the others only, and no published number is comparable."
        )
    if run.differing:
        remarks.append(f"Settings differ between folds: {', '.join(run.differing)}.")
    if not run.records:
        remarks.append("No run.json says what was run, or how many folds belong to it.")
    return remarks


def _recalls(labels: list[str], confusion: list[list[int]]) -> dict[str, str]:
    return dict(zip(labels, map(_number, class_recalls(confusion)), strict=True))


def _rates(rates: Mapping[str, float | None]) -> dict[str, str]:
    return {RATES[key][0]: _number(rates[key]) for key in RATES if key in rates}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
