"""Results for people: a table for the terminal and a page in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from sercorr.evaluation.metrics import RATES, class_recalls
from sercorr.reporting.paper import PaperResult, paper_result

_HEADER = ("fold", "n", "WA %", "UA %", "macro F1 %")
_LEGEND = (
    "WA: utterances that are right. UA: mean of the class recalls.",
    "std: standard deviation over the folds (divided by their number).",
    "chance: a guess among the classes; always: the most frequent class, each time.",
)


def format_table(
    results: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    n_folds: int = 5,
) -> str:
    """Lay the results out as plain text for a terminal or a log file.

    Arguments
    ---------
    results : mapping
        What `sercorr.evaluation.results.summarise` gives.
    settings : mapping or None
        The run's settings; with them the paper's number is shown, where there is one
        and all folds are there.
    n_folds : int
        Number of folds of the whole cross-validation.

    Returns
    -------
    str
        Lines without a line end after the last.

    Example
    -------
    >>> fold = {"fold": 1, "n": 4, "wa": 75.0, "ua": 75.0, "macro_f1": 73.3,
    ...         "labels": ["neu", "sad"], "confusion": [[2, 0], [1, 1]]}
    >>> std = {"wa": 0.0, "ua": 0.0, "macro_f1": 0.0}
    >>> print(format_table({"folds": [fold], "mean": fold, "std": std}, n_folds=1))
    fold          n   WA %   UA %  macro F1 %
    -----------------------------------------
    1             4  75.00  75.00       73.30
    -----------------------------------------
    mean             75.00  75.00       73.30
    std               0.00   0.00        0.00
    chance (1/2)     50.00  50.00
    always neu       50.00  50.00
    <BLANKLINE>
    WA: utterances that are right. UA: mean of the class recalls.
    std: standard deviation over the folds (divided by their number).
    chance: a guess among the classes; always: the most frequent class, each time.
    """
    per_fold, summary = _fold_rows(results), _summary_rows(results)
    paper = _comparable(results, settings, n_folds)
    if paper:
        summary += _paper_rows(paper)
    rows = [_HEADER, *per_fold, *summary]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [_align(row, widths) for row in rows]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines.insert(1 + len(per_fold), rule)
    lines.insert(1, rule)
    lines += ["", *_LEGEND]
    lines += _notes(results, settings, n_folds)
    return "\n".join(lines)


def format_markdown(
    results: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    n_folds: int = 5,
    plots: Mapping[str, str] | None = None,
) -> str:
    """Lay the results out as a page in Markdown.

    Arguments
    ---------
    results, settings, n_folds
        As for `format_table`; the settings are listed.
    plots : mapping or None
        Title -> address of each picture, relative to the page.

    Returns
    -------
    str
        The page, with a line end after the last line.
    """
    folds = results["folds"]
    rows = [*_fold_rows(results), *_summary_rows(results)]
    paper = _comparable(results, settings, n_folds)
    if paper:
        rows += _paper_rows(paper)
    utterances = sum(fold["n"] for fold in folds)
    parts = [
        "# Results",
        f"{len(folds)} of {n_folds} folds, {utterances} utterances.",
        *_notes(results, settings, n_folds),
        _markdown_table(_HEADER, rows),
        "\n".join(_LEGEND),
        "## Recall of each class, %",
        _markdown_table(*_recall_table(folds)),
    ]
    if plots:
        parts.append("## Plots")
        parts += [f"![{title}]({address})" for title, address in plots.items()]
    if settings:
        rows = [(f"`{key}`", f"`{value}`") for key, value in settings.items()]
        parts += ["## Settings", _markdown_table(("setting", "value"), rows, "---")]
    return "\n\n".join(parts) + "\n"


def missing_folds(results: Mapping[str, Any], n_folds: int = 5) -> list[int]:
    """Name the folds that the results lack.

    Example
    -------
    >>> missing_folds({"folds": [{"fold": 1}, {"fold": 3}, {"fold": 5}]})
    [2, 4]
    """
    found = {fold["fold"] for fold in results["folds"]}
    return [fold for fold in range(1, n_folds + 1) if fold not in found]


def pool_confusion(folds: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Add the folds' confusion matrices.

    Example
    -------
    >>> folds = [{"confusion": [[1, 2], [3, 4]]}, {"confusion": [[1, 0], [0, 1]]}]
    >>> pool_confusion(folds)
    [[2, 2], [3, 5]]
    """
    matrices = [fold["confusion"] for fold in folds]
    return [
        [sum(cells) for cells in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]


def _rates(values: Mapping[str, float]) -> list[str]:
    return [f"{values[rate]:.2f}" for rate in RATES]


def _fold_rows(results: Mapping[str, Any]) -> list[Sequence[str]]:
    return [
        (str(fold["fold"]), str(fold["n"]), *_rates(fold)) for fold in results["folds"]
    ]


def _summary_rows(results: Mapping[str, Any]) -> list[Sequence[str]]:
    labels = results["folds"][0]["labels"]
    counts = [sum(row) for row in pool_confusion(results["folds"])]
    share = f"{100 * max(counts) / sum(counts):.2f}"
    guess = f"{100 / len(labels):.2f}"
    constant = f"{100 / sum(count > 0 for count in counts):.2f}"
    return [
        ("mean", "", *_rates(results["mean"])),
        ("std", "", *_rates(results["std"])),
        (f"chance (1/{len(labels)})", "", guess, guess, ""),
        (f"always {labels[counts.index(max(counts))]}", "", share, constant, ""),
    ]


def _paper_rows(paper: PaperResult) -> list[Sequence[str]]:
    return [
        ("paper, mean", "", f"{paper.mean:.2f}", "", ""),
        ("paper, std", "", f"{paper.std:.2f}", "", ""),
    ]


def _recall_table(
    folds: Sequence[Mapping[str, Any]],
) -> tuple[Sequence[str], list[Sequence[str]]]:
    pooled = pool_confusion(folds)
    columns = [class_recalls(matrix) for matrix in (f["confusion"] for f in folds)]
    columns.append(class_recalls(pooled))
    header = ("class", "n", *(f"fold {fold['fold']}" for fold in folds), "pooled")
    rows = [
        (
            label,
            str(sum(pooled[index])),
            *("" if c[index] is None else f"{c[index]:.2f}" for c in columns),
        )
        for index, label in enumerate(folds[0]["labels"])
    ]
    return header, rows


def _comparable(
    results: Mapping[str, Any], settings: Mapping[str, Any] | None, n_folds: int
) -> PaperResult | None:
    return None if missing_folds(results, n_folds) else paper_result(settings)


def _notes(
    results: Mapping[str, Any], settings: Mapping[str, Any] | None, n_folds: int
) -> list[str]:
    """Say which folds are missing, and what the paper's number is."""
    notes = []
    missing = missing_folds(results, n_folds)
    if missing:
        numbers = ", ".join(map(str, missing))
        subject = f"Folds {numbers} are" if len(missing) > 1 else f"Fold {numbers} is"
        notes.append(
            f"{subject} missing: mean and std are over the other folds only, and no "
            "published number is comparable."
        )
    paper = _comparable(results, settings, n_folds)
    if paper:
        notes.append(
            f"Paper: Table 1, {paper.row}: {paper.mean:.2f} ({paper.std:.2f}); "
            "IEMOCAP, for comparison, WA."
        )
    if paper and paper.differences:
        notes.append(
            f"Settings other than the paper's: {', '.join(paper.differences)}."
        )
    return notes


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
    return "  ".join(cells).rstrip()


def _markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], rule: str = "---:"
) -> str:
    rules = ["---", *[rule] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rules, *rows))
