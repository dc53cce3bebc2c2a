"""Tables of results: of one cross-validation, and of many heads or seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.evaluation.metrics import RATES, class_recalls, complete_metrics
from sercorr.evaluation.raters import AGREEMENT
from sercorr.evaluation.results import FIGURES, pool_confusion, scores_of, summarise
from sercorr.evaluation.runs import Run, agreed_rate, same_folds
from sercorr.reporting.layout import Parts
from sercorr.reporting.paper import describe
from sercorr.reporting.remarks import (
    choice_remarks,
    paper_of,
    paper_remarks,
    run_remarks,
    seed_remarks,
)

_WA_UA = "WA: share of the clips that are right. UA: mean of the class recalls."
_FEW = 6  # heads or runs are named even where they are all
_STD = "standard deviation over the folds (divided by their number)"


def run_parts(run: Run) -> Parts:
    """Lay out one cross-validation, for `render`."""
    lead = run.select_by
    labels, results = run.metrics[0]["labels"], summarise(run.metrics)
    pooled = pool_confusion(run.metrics)
    counts = [sum(row) for row in pooled]
    rows, recalls = [], []
    for fold in run.metrics:
        number = {"fold": str(fold["fold"])}
        row = {**number, "clips": str(fold["n"]), **_scores(fold, lead)}
        if tested := run.records.get(fold["fold"], {}).get("tested"):
            rate = tested.get("select_by", "wa")
            row["epoch"] = str(tested["epoch"])
            row[f"validation {_heading(rate)}"] = _number(tested[f"valid_{rate}"])
        rows.append(row)
        recalls.append({**number, **_recalls(labels, fold["confusion"])})
    most = counts.index(max(counts))
    answers = [[n * (most == k) for k in range(len(counts))] for n in counts]
    always = complete_metrics({"labels": labels, "confusion": answers})
    summary = {
        "mean": results["mean"],
        "std": results["std"],
        f"chance (1/{len(labels)})": dict.fromkeys(("wa", "ua"), 100 / len(labels)),
        f"always {labels[most]}": always,
    }
    if paper := paper_of([run]):
        summary |= {"paper, mean": {"wa": paper.mean}, "paper, std": {"wa": paper.std}}
    clips = f"{len(run.metrics)} of {run.n_folds} folds, {sum(counts)} clips."
    return [
        ": ".join(filter(None, [describe(run.record), clips])),
        *run_remarks(run),
        *paper_remarks([run]),
        [
            rows,
            [{"fold": name, **_scores(some, lead)} for name, some in summary.items()],
        ],
        "Recall of each class, %:",
        [
            recalls,
            [
                {"fold": "pooled", **_recalls(labels, pooled)},
                {"fold": "clips", **dict(zip(labels, map(str, counts), strict=True))},
            ],
        ],
        f"{_WA_UA}\nstd: {_STD}.\n"
        "chance: a guess among the classes; always: only the most frequent class.",
        *choice_remarks([run]),
        *_agreement_notes([run]),
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
    lead = leading_rate(heads)
    used = {name: same_folds(runs) for name, runs in heads.items()}
    chosen = {tuple(choice_remarks(runs)) for runs in used.values() if runs}
    remarks: dict[str, list[str]] = {}  # what holds for several is said once
    rows, recalls = [], []
    for name, runs in used.items():
        said = paper_remarks(runs) if runs else ["No finished fold."]
        said += seed_remarks(heads[name])
        for remark in said + (choice_remarks(runs) if len(chosen) > 1 else []):
            remarks.setdefault(remark, []).append(name)
        for run in runs:
            for remark in run_remarks(run):
                at = run.folder.relative_to(root).as_posix()
                remarks.setdefault(remark, []).append(at)
    for name, summary in summaries.items():
        runs = used[name]
        seeds = str(sum(run.seed is not None for run in runs) or "")
        if left_out := len(summary["left_out"]):
            seeds += f" of {len(runs) + left_out}"
        row = {"run": name, "pooling": summary["pooling"], "seeds": seeds}
        row["folds"] = f"{summary['folds']} of {summary['n_folds']}"
        for key in _order(summary["mean"], lead):
            figures = [_number(summary[figure][key]) for figure in FIGURES]
            row[f"{_heading(key)} (folds, seeds)"] = "{} ({}, {})".format(*figures)
        if paper := paper_of(runs):
            row["paper WA % (folds)"] = f"{paper.mean:.2f} ({paper.std:.2f})"
        rows.append(row)
        pooled = pool_confusion([fold for run in runs for fold in run.metrics])
        recalls.append({"run": name, **_recalls(runs[0].metrics[0]["labels"], pooled)})
    return [
        *(f"{_named(at, heads)}: {text}" for text, at in remarks.items()),
        [rows],
        "Recall of each class over all folds, %:",
        [recalls],
        f"{_WA_UA}\nIn brackets: {_STD}, averaged over the seeds;\n"
        "then that of the seeds' means (divided by their number less one).\n"
        "-: there is only one.",
        *(chosen.pop() if len(chosen) == 1 else []),
        *_agreement_notes([run for runs in used.values() for run in runs]),
        *_matrix(heads, summaries, lead),
    ]


def _named(at: Sequence[str], heads: Mapping[str, Sequence[Run]]) -> str:
    """Name heads or runs; where they are many and all, say so."""
    names = list(dict.fromkeys(at))
    sizes = {len(heads), sum(map(len, heads.values()))}
    return "All" if len(names) > _FEW and len(names) in sizes else ", ".join(names)


def leading_rate(heads: Mapping[str, Sequence[Run]]) -> str:
    """Give the rate that stands first: the one by which all chose the tested epoch."""
    return agreed_rate(
        record
        for runs in heads.values()
        for run in runs
        for record in run.records.values()
    )


def _matrix(
    heads: Mapping[str, Sequence[Run]],
    summaries: Mapping[str, Mapping[str, Any]],
    lead: str,
) -> Parts:
    """Lay several heads of several corpora, ``<corpus>/<head>``, out as a square."""
    cells: dict[str, dict[str, str]] = {}
    for name, summary in summaries.items():
        first, _, head = name.partition("/")
        figures = [_number(summary[figure][lead]) for figure in ("mean", "std")]
        cells.setdefault(first, {})[head] = "{} ({})".format(*figures)
    columns = list(dict.fromkeys(head for row in cells.values() for head in row))
    if "" in columns or min(len(cells), len(columns)) < 2:
        return []
    sources = {
        first: {
            run.record.get("upstream_source")
            for name in summaries
            if name.partition("/")[0] == first
            for run in heads[name]
        }
        for first in cells
    }
    kind = "corpus" if len(set().union(*sources.values())) == 1 else "upstream"
    rows = [
        {kind: first, **{head: row.get(head, "") for head in columns}}
        for first, row in cells.items()
    ]
    classes: dict[str, list[str]] = {}
    for name in summaries:
        first = name.partition("/")[0]
        classes.setdefault(first, heads[name][0].metrics[0]["labels"])
    remarks = []
    if len(set(map(tuple, classes.values()))) > 1:
        listed = "; ".join(
            f"{one}: {', '.join(names)}" for one, names in classes.items()
        )
        remarks = [
            f"Rows are of different classes, with another chance each ({listed}); only "
            "numbers of one row can be compared."
        ]
    return [
        f"{kind} x pooling: {_heading(lead)} (std over the folds)",
        [rows],
        *remarks,
    ]


def _recalls(labels: list[str], confusion: list[list[int]]) -> dict[str, str]:
    return dict(zip(labels, map(_number, class_recalls(confusion)), strict=True))


def _scores(scores: Mapping[str, Any], lead: str) -> dict[str, str]:
    known = scores_of(scores)
    return {_heading(key): _number(known[key]) for key in _order(known, lead)}


def _order(keys: Iterable[str], lead: str) -> list[str]:
    """Put the leading rate first."""
    return sorted(keys, key=lambda key: key != lead)


def _heading(key: str) -> str:
    return RATES[key][0] if key in RATES else AGREEMENT.get(key, key)


def _agreement_notes(runs: Iterable[Run]) -> list[str]:
    """Explain the agreement with the raters, where there is any."""
    if not any("agreement" in fold for run in runs for fold in run.metrics):
        return []
    return [
        "Agreement with the raters, over the clips with votes for these classes.\n"
        "KL: mean of KL(votes || probabilities), 0 where they are the same.\n"
        "top-2: the predicted class is one of the two that most raters chose."
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
