"""Results of a head for each group of the test clips, as tables."""

from collections.abc import Sequence

import numpy as np

from sercorr.data.utterances import UNKNOWN
from sercorr.evaluation.groups import (
    AGREEMENT_ORDER,
    NOT_KNOWN,
    Group,
    Interval,
    by_agreement,
    by_duration,
    by_trait,
    compare_groups,
    entries_of,
)
from sercorr.evaluation.intervals import FEWEST
from sercorr.evaluation.pooled import Pooled, pool_predictions
from sercorr.evaluation.runs import Run, same_folds
from sercorr.reporting.layout import Parts
from sercorr.reporting.remarks import seed_remarks

_MOST_SPEAKERS = 40  # more are cut to the lowest and the highest
_MOST_WORDS = 12  # a trait with more is no grouping


def group_parts(runs: Sequence[Run]) -> Parts:
    """Lay out the results by speaker, trait, duration and agreement, for `render`.

    Traits, durations and votes are in the manifests; without them only speakers are
    shown, and a paragraph says why.

    Arguments
    ---------
    runs : sequence of Run
        The seeds of one head.

    Returns
    -------
    list
        A table for each grouping, and what they mean.

    Raises
    ------
    InputError
        There is no finished fold, or a ``predictions.csv`` is missing or broken.
    """
    left_out = seed_remarks(runs)
    runs = same_folds(runs)
    pooled = pool_predictions(runs)
    entries = entries_of(runs, pooled)
    without = sum(not entry for entry in entries)
    parts = _speaker_parts(pooled)
    remarks = left_out
    if without:
        whose = "the" if without == len(entries) else f"{without} of {len(entries)}"
        remarks.append(
            f"Of {whose} answers nothing but the speaker is known: run.json does not "
            "say where their manifests are (runs of older versions), or these are "
            "missing or of other data by now."
        )
    if without < len(entries):
        traits = by_trait(entries)
        for trait, names in traits.items():
            words = len(set(names) - {NOT_KNOWN})
            if words > _MOST_WORDS:
                remarks.append(f"{trait}: {words} different words are no groups.")
            else:
                parts += _grouping(trait, compare_groups(pooled, names))
        durations, order = by_duration(entries)
        if order:
            groups = compare_groups(pooled, durations, order)
            parts += _grouping("duration (quarters of the test clips)", groups)
        agreement = by_agreement(entries)
        if set(agreement) - {NOT_KNOWN}:
            groups = compare_groups(pooled, agreement, AGREEMENT_ORDER)
            parts += _grouping("raters' votes", groups)
        else:
            remarks.append("No raters' votes are known: no groups by their agreement.")
        if not traits:
            remarks.append(
                "No traits are known: no groups by gender, style and the like."
            )
    missing = {fold for run in runs for fold in run.missing}
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        remarks.append(f"Folds that are not finished are left out: {listed}.")
    return [*parts, _meaning(pooled), *remarks]


def _speaker_parts(pooled: Pooled) -> Parts:
    names = [NOT_KNOWN if s == UNKNOWN else s for s in pooled.speakers.tolist()]
    groups = compare_groups(pooled, names)
    known = [group for group in groups if group.name != NOT_KNOWN]
    parts = _grouping("speaker", groups)
    if len(known) > _MOST_SPEAKERS:
        ranked = sorted(known, key=lambda group: (group.wa, group.name))
        half = _MOST_SPEAKERS // 2
        shown = [*ranked[:half], *ranked[-half:], *groups[len(known) :]]
        parts = [
            f"{half} speakers with the lowest WA and {half} with the highest, of "
            f"{len(known)}:",
            _grouping("speaker", shown)[-1],
        ]
    if len(known) > 1:
        rates = np.array([group.wa for group in known])
        low, middle, high = np.quantile(rates, [0, 0.5, 1])
        parts.append(
            f"WA of {len(known)} speakers: {low:.2f} to {high:.2f} %, median "
            f"{middle:.2f} %, standard deviation {rates.std(ddof=1):.2f}."
        )
    return parts


def _grouping(title: str, groups: Sequence[Group]) -> Parts:
    first = title.partition(" (")[0]
    ends = " (95 %)" if any(group.interval for group in groups) else ""
    rows = []
    for group in groups:
        row = {first: group.name, "clips": str(group.clips)}
        if first != "speaker":
            row["speakers"] = str(group.speakers)
        row[f"WA %{ends}"] = f"{group.wa:.2f}{_ends(group.interval)}"
        row["UA %"] = "" if group.ua is None else f"{group.ua:.2f}"
        row[f"less the others{ends}"] = _difference(group)
        rows.append(row)
    return [f"By {title}:", [rows]]


def _difference(group: Group) -> str:
    if group.difference is None:
        return ""
    return f"{group.difference:+.2f}{_ends(group.difference_interval, '+')}"


def _ends(interval: Interval, sign: str = "") -> str:
    if interval is None:
        return ""
    low, high = interval
    return f" ({low:{sign}.2f} to {high:{sign}.2f})"


def _meaning(pooled: Pooled) -> str:
    seeds = len(np.unique(pooled.seeds))
    speakers = len(set(pooled.speakers.tolist()) - {UNKNOWN})
    lines = [f"Means over {seeds} seeds."] if seeds > 1 else []
    lines += [
        "UA is left out where a class does not occur. less the others: WA less that of "
        "the other clips, in points.",
        "In brackets: 95 % intervals for other speakers, by a bootstrap over "
        f"{speakers} speakers; none for groups (or others) of fewer than {FEWEST}.",
        "Of many intervals some leave out the true value; groups may also differ in "
        "their classes.",
    ]
    if (pooled.speakers == UNKNOWN).any():
        lines.append(
            "Clips of unknown speakers are drawn one by one: where they share a "
            "speaker, intervals are too narrow."
        )
    return "\n".join(lines)
