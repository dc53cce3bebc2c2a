"""What a table of results must say of its runs, beside the numbers."""

from collections.abc import Sequence
from typing import Any

from sercorr.evaluation.metrics import rate_name
from sercorr.evaluation.runs import Run, same_folds
from sercorr.reporting.paper import PaperResult, paper_result


def run_remarks(run: Run) -> list[str]:
    """Say what is missing, mixed or shared between training and test."""
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
    if other := run.record.get("test_corpus"):
        own = run.record.get("corpus", "another corpus")
        remarks.append(f"Tested on {other}, trained on {own}.")
    return remarks + _speaker_remarks(run)


def seed_remarks(runs: Sequence[Run]) -> list[str]:
    """Say which seeds of a head are left out of its numbers, see `same_folds`."""
    used = same_folds(runs)
    gaps: dict[str, list[str]] = {}
    for run in runs:
        if run not in used:
            gap = _numbers("fold", sorted(used[0].finished - run.finished))
            gaps.setdefault(gap, []).append(str(run.seed))
    kept = _numbers("seed", [run.seed for run in used])
    return [
        f"{_numbers('seed', seeds).capitalize()} lack{'s' * (len(seeds) == 1)} {gap}: "
        f"left out; the numbers are of {kept} alone. Train {gap} of "
        f"{_numbers('seed', seeds)} to have all."
        for gap, seeds in gaps.items()
    ]


def sum_of(runs: Sequence[Run]) -> str:
    """Say of which folds and seeds a head's confusion matrix is the sum.

    ``runs`` have the same folds. Folds are named unless they are all.
    """
    folds = sorted(runs[0].finished)
    said = _numbers("fold", folds)
    if len(folds) > 1:
        named = f" ({', '.join(map(str, folds))})" if runs[0].missing else ""
        said = f"{len(folds)} folds{named}"
    return said + f", {len(runs)} seeds" * (len(runs) > 1)


def _numbers(what: str, numbers: Sequence[Any]) -> str:
    return f"{what}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def paper_remarks(runs: Sequence[Run]) -> list[str]:
    """Give the paper's number, and in which settings these runs are not the paper's."""
    paper = paper_of(runs)
    if paper is None:
        return []
    number = f"{paper.row}: {paper.mean:.2f} ({paper.std:.2f})"
    remark = f"Paper, Table 1, {number}; IEMOCAP, for comparison, WA."
    if paper.differences:
        remark += f" Settings other than the paper's: {', '.join(paper.differences)}."
    return [remark]


def paper_of(runs: Sequence[Run]) -> PaperResult | None:
    """Give the paper's number if each of the runs is whole and may stand beside it."""
    if any(run.missing or run.differing for run in runs):
        return None
    first, *others = [paper_result(run.record) for run in runs]
    return first if all(result == first for result in others) else None


def choice_remarks(runs: Sequence[Run]) -> list[str]:
    """Say by which validation rates the tested epochs were chosen."""
    tested = [
        record["tested"]
        for run in runs
        for record in run.records.values()
        if record.get("tested")
    ]
    rates = dict.fromkeys(rate_name(one.get("select_by", "wa")) for one in tested)
    if not rates:
        return []
    return [f"Tested epoch: the best by validation {' or '.join(rates)}."]


def _speaker_remarks(run: Run) -> list[str]:
    """Say how many test speakers were heard in training, and how many are unknown."""
    counts = {
        fold: record["speakers"]
        for fold, record in run.records.items()
        if "speakers" in record
    }
    shared = {
        fold: f"{count['shared']} of {count['test']}"
        for fold, count in counts.items()
        if count["shared"]
    }
    remarks = []
    if shared:
        text = next(iter(shared.values()))
        if len(set(shared.values())) > 1 or len(shared) < len(counts):
            text = ", ".join(f"{part} (fold {fold})" for fold, part in shared.items())
        remarks.append(
            f"Speaker-dependent: {text} test speakers also train or validate."
        )
    if copies := sum(count.get("copies", 0) for count in counts.values()):
        remarks.append(
            f"{copies} test clips are copies of clips that train or validate: the "
            "numbers are too high."
        )
    if same := max(
        (count.get("same_names", 0) for count in counts.values()), default=0
    ):
        remarks.append(
            f"{same} test speakers have names of training speakers; if they are the "
            "same people, this is speaker-dependent."
        )
    unknown = max((count["unknown"] for count in counts.values()), default=0)
    if unknown:
        remarks.append(
            f"{unknown} clips have no known speaker: they may also be among the others."
        )
    return remarks
