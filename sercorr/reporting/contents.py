"""What the pages of results say: rows, remarks and legends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sercorr.evaluation.folders import Folds, settings_of
from sercorr.evaluation.metrics import RATES, class_recalls
from sercorr.evaluation.results import pool_confusion, summarise, summarise_seeds
from sercorr.reporting.paper import PaperResult, paper_result
from sercorr.reporting.tables import Table, make_table
from sercorr.reporting.wiring import describe

Seeds = Mapping[int | None, Folds]

_WA_UA = "WA: share of the clips that are right. UA: mean of the class recalls."
_STD = "standard deviation over the folds (divided by their number)"


def fold_line(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Say in one line how a fold went.

    Arguments
    ---------
    metrics, record : mapping
        Content of ``metrics.json`` and of ``run.json``; the latter may be empty.

    Example
    -------
    >>> metrics = {"fold": 1, "n": 72, "wa": 65.28, "ua": 64.06}
    >>> fold_line(metrics, {"tested": {"epoch": 12, "valid_wa": 71.0}})
    'fold 1: 72 test clips, WA 65.28 %, UA 64.06 % (epoch 12, validation WA 71.00 %)'
    """
    line = "fold {fold}: {n} test clips, WA {wa:.2f} %, UA {ua:.2f} %".format(**metrics)
    tested = record.get("tested")
    if not tested:
        return line
    of = f" of {tested['epochs']}" if "epochs" in tested else ""
    wa = _number(tested["valid_wa"])
    return f"{line} (epoch {tested['epoch']}{of}, validation WA {wa} %)"


def results_parts(folds: Folds) -> list[str | Table]:
    """Lay out one cross-validation, for `as_text` and `as_markdown`.

    The paper's number stands beside ours where the run can be compared with it and
    all folds are there.
    """
    metrics, labels = folds.metrics, folds.labels
    results = summarise(metrics)
    pooled = pool_confusion(metrics)
    counts = [sum(row) for row in pooled]
    most = counts.index(max(counts))
    chance = dict.fromkeys(("wa", "ua"), 100 / len(labels))
    constant = {
        "wa": 100 * counts[most] / sum(counts),
        "ua": 100 / sum(count > 0 for count in counts),
    }
    rows = []
    for fold in metrics:
        tested = folds.records.get(fold["fold"], {}).get("tested") or {}
        row = {"fold": str(fold["fold"]), "clips": str(fold["n"]), **_rates(fold)}
        if tested:
            row |= {"epoch": str(tested["epoch"])}
            row |= {"validation WA %": _number(tested["valid_wa"])}
        rows.append(row)
    summary = [
        {"fold": "mean", **_rates(results["mean"])},
        {"fold": "std", **_rates(results["std"] or dict.fromkeys(RATES))},
        {"fold": f"chance (1/{len(labels)})", **_rates(chance)},
        {"fold": f"always {labels[most]}", **_rates(constant)},
    ]
    paper = _comparable([folds])
    if paper:
        summary.append({"fold": "paper, mean", **_rates({"wa": paper.mean})})
        summary.append({"fold": "paper, std", **_rates({"wa": paper.std})})
    clips = f"{len(metrics)} of {folds.n_folds} folds, {sum(counts)} clips."
    name = name_of({None: folds})
    legend = [
        _WA_UA,
        f"std: {_STD}.",
        "chance: a guess among the classes; always: only the most frequent class.",
    ]
    if any("epoch" in row for row in rows):
        legend.append("epoch: the one that was tested, the best by validation WA.")
    return [
        f"{name}: {clips}" if name else clips,
        *(r[:1].upper() + r[1:] for r in (*_remarks(folds), *_paper_remarks([folds]))),
        make_table(rows, summary),
        "Recall of each class, %:",
        make_table(
            [
                {"fold": str(fold["fold"]), **_recalls(labels, fold["confusion"])}
                for fold in metrics
            ],
            [
                {"fold": "pooled", **_recalls(labels, pooled)},
                {"fold": "clips", **dict(zip(labels, map(str, counts), strict=True))},
            ],
        ),
        "\n".join(legend),
    ]


def heads_parts(
    heads: Mapping[str, Seeds],
    unfinished: Sequence[str] = (),
    together: Seeds | None = None,
) -> list[str | Table]:
    """Lay out several heads, each with the folds of one seed or several.

    Arguments
    ---------
    heads : mapping
        Name -> seed -> folds, as `sercorr.evaluation.folders.read_seeds` gives.
    unfinished : sequence of str
        Heads without a finished fold, to be named.
    together : mapping or None
        If ``heads`` are one head's seeds, all of them: they get a row of their own.
    """
    remarks = [f"No finished fold: {', '.join(unfinished)}."] if unfinished else []
    for head, seeds in heads.items():
        for seed, folds in seeds.items():
            name = head if seed is None else f"{head}, seed {seed}"
            remarks += [f"{name}: {remark}" for remark in _remarks(folds)]
    for head, seeds in heads.items() if together is None else [("all", together)]:
        remarks += [f"{head}: {remark}" for remark in _paper_remarks(seeds.values())]
    column = "head" if together is None else "seed"
    blocks = [heads] if together is None else [heads, {"all": together}]
    seeded = any(None not in seeds for block in blocks for seeds in block.values())
    legend = f"In brackets: {_STD}"
    if seeded:
        legend += (
            ", averaged over the seeds;\nthen the standard deviation of the seeds' "
            "means (divided by their number less one)"
        )
    return [
        *remarks,
        make_table(
            *[
                [{column: name, **_head_row(r, seeded)} for name, r in block.items()]
                for block in blocks
            ]
        ),
        "Recall of each class over all folds, %:",
        make_table(
            *[
                [{column: name, **_head_recalls(r)} for name, r in block.items()]
                for block in blocks
            ]
        ),
        f"{_WA_UA}\n{legend}.\n-: there is only one.",
    ]


def seeds_parts(seeds: Seeds) -> list[str | Table]:
    """Lay out the seeds of one head, and what they give together."""
    alone: dict[str, Seeds] = {f"seed {s}": {None: f} for s, f in seeds.items()}
    return heads_parts(alone, together=seeds)


def name_of(seeds: Seeds) -> str:
    """Name what was run: its pooling, and classes that are not the recipe's."""
    names = [describe(settings_of(folds.record)) for folds in seeds.values()]
    return "; ".join(dict.fromkeys(names))


def count_folds(seeds: Seeds) -> str:
    """Say how many folds are finished, as in ``13 of 15``."""
    finished = sum(len(folds.metrics) for folds in seeds.values())
    return f"{finished} of {sum(folds.n_folds for folds in seeds.values())}"


def _head_row(seeds: Seeds, seeded: bool) -> dict[str, str]:
    summary = summarise_seeds([summarise(folds.metrics) for folds in seeds.values()])
    spreads = [summary["std"], summary["std_over_seeds"]][: 2 if seeded else 1]
    row = {
        "pooling": name_of(seeds),
        "seeds": "" if None in seeds else str(len(seeds)),
        "folds": count_folds(seeds),
    }
    for rate, (title, _) in RATES.items():
        shown = ", ".join(_number(spread and spread[rate]) for spread in spreads)
        heading = f"{title} ({'folds, seeds' if seeded else 'folds'})"
        row[heading] = f"{_number(summary['mean'][rate])} ({shown})"
    paper = _comparable(seeds.values())
    if paper:
        row["paper WA % (folds)"] = f"{paper.mean:.2f} ({paper.std:.2f})"
    return row


def _head_recalls(seeds: Seeds) -> dict[str, str]:
    metrics = [fold for folds in seeds.values() for fold in folds.metrics]
    return _recalls(metrics[0]["labels"], pool_confusion(metrics))


def _recalls(
    labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> dict[str, str]:
    return dict(zip(labels, map(_number, class_recalls(confusion)), strict=True))


def _comparable(runs: Iterable[Folds]) -> PaperResult | None:
    """Give the paper's number if each of the runs is whole and may stand beside it."""
    found = [
        None if folds.missing or folds.differing else paper_result(folds.record)
        for folds in runs
    ]
    return found[0] if all(result == found[0] for result in found) else None


def _remarks(folds: Folds) -> list[str]:
    """Say which folds are missing, and in which settings they differ."""
    remarks = []
    if folds.missing:
        missing = ", ".join(map(str, folds.missing))
        subject = "folds {} are" if len(folds.missing) > 1 else "fold {} is"
        remarks.append(
            f"{subject.format(missing)} missing: mean and deviation are over the "
            "others only, and no published number is comparable."
        )
    if folds.differing:
        names = ", ".join(folds.differing)
        remarks.append(f"the folds were run with different settings: {names}.")
    if not folds.records:
        remarks.append("no run.json says what was run, or how many folds belong to it.")
    return remarks


def _paper_remarks(runs: Iterable[Folds]) -> list[str]:
    paper = _comparable(runs)
    if paper is None:
        return []
    number = f"{paper.row}: {paper.mean:.2f} ({paper.std:.2f})"
    remarks = [f"paper, Table 1, {number}; IEMOCAP, for comparison, WA."]
    if paper.differences:
        differences = ", ".join(paper.differences)
        remarks.append(f"settings other than the paper's: {differences}.")
    return remarks


def _rates(values: Mapping[str, float | None]) -> dict[str, str]:
    return {
        title: _number(values[rate])
        for rate, (title, _) in RATES.items()
        if rate in values
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
