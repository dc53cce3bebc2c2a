"""The figures of a corpus as tables and sentences, to be laid out by `render`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sercorr import SAMPLE_RATE
from sercorr.data.utterances import UNKNOWN
from sercorr.reporting.corpus_figures import LONG, QUANTILES, Figures
from sercorr.reporting.layout import Parts

_MOST = 20  # rows of groups and speakers; faults; copies
_SECONDS = {"p5": "5 %", "p95": "95 %"}  # headings other than the key


def corpus_parts(figures: Figures) -> Parts:
    """Lay out all figures of `sercorr.reporting.corpus_figures`."""
    return [
        _head(figures),
        *_class_parts(figures),
        *_group_parts(figures),
        *_speaker_parts(figures),
        *_fold_parts(figures),
        *_vote_parts(figures),
        *_format_parts(figures),
        *fault_parts(figures),
        *_copy_parts(figures),
        *_notes(figures),
    ]


def fault_parts(figures: Figures) -> Parts:
    """Say which clips cannot be used, and why: 20 of them, some of every kind."""
    faults: Mapping[str, Mapping[str, str]] = figures["faults"]
    if not faults:
        return []
    counts = {kind: len(some) for kind, some in faults.items()}
    total = sum(counts.values())
    listed = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
    lines = [f"{_count(total, 'clip')} cannot be used ({listed}):"]
    each = max(1, _MOST // len(faults))
    shown = [text for some in faults.values() for text in list(some.values())[:each]]
    return ["\n".join([*lines, *shown, *_more(total - len(shown))])]


def _head(figures: Figures) -> str:
    groups = _count(len(figures["groups"]), figures["group_name"])
    items = [
        _count(figures["clips"], "clip"),
        f"{figures['hours']:.2f} h",
        _count(figures["speakers"], "speaker"),
        *([] if figures["groups_are_speakers"] else [groups]),
        _count(len(figures["classes"]), "class", "classes"),
    ]
    line = f"{figures['name']}: {', '.join(items)}"
    if figures["classes_left_out"]:
        line += f"\nclasses left out: {_listed(figures['classes_left_out'])}"
    for trait, words in figures["traits"].items():
        counts = list(words.items())
        if rest := sum(count for _, count in counts[_MOST:]):
            counts = [*counts[:_MOST], (f"{len(words) - _MOST} others", rest)]
        if unknown := figures["clips"] - sum(words.values()):
            counts.append((UNKNOWN, unknown))
        line += f"\n{trait}: {_listed(dict(counts))}"
    return line


def _class_parts(figures: Figures) -> Parts:
    rows = [
        _class_row(row["class"], row, figures["clips"]) for row in figures["classes"]
    ]
    whole = [_class_row("all", figures["all"], figures["clips"])]
    return ["Classes; durations in seconds:", [rows, whole]]


def _class_row(name: str, row: Mapping[str, Any], total: int) -> dict[str, str]:
    shown = {"class": name, "clips": str(row["clips"])}
    shown["%"] = f"{100 * row['clips'] / total:.1f}"
    shown["speakers"] = str(row["speakers"])
    shown["hours"] = f"{row['hours']:.2f}"
    keys = list(QUANTILES)
    keys.insert(keys.index("median") + 1, "mean")
    for key in keys:
        number = row[key]
        shown[_SECONDS.get(key, key)] = "-" if number is None else f"{number:.2f}"
    return shown


def _group_parts(figures: Figures) -> Parts:
    if figures["groups_are_speakers"] or len(figures["groups"]) < 2:
        return []
    name = figures["group_name"]
    rows = [_clips_row(name, str(r["name"]), r["clips"]) for r in figures["groups"]]
    return [f"Clips by {name}:", _cut(rows, figures["groups"], name)]


def _speaker_parts(figures: Figures) -> Parts:
    speakers = figures["clips_of_speakers"]
    rows = [_clips_row("speaker", row["name"], row["clips"]) for row in speakers]
    return ["Clips by speaker:", _cut(rows, speakers, "speaker")]


def _clips_row(heading: str, name: str, clips: Mapping[str, int]) -> dict[str, str]:
    numbers = {f" {label}": str(count) for label, count in clips.items()}
    return {heading: name, **numbers, "all": str(sum(clips.values()))}


def _cut(
    rows: list[dict[str, str]], figures: Sequence[Mapping[str, Any]], heading: str
) -> list[list[dict[str, str]]]:
    """Sum the rows beyond the first, and all."""
    blocks = [rows if len(rows) <= _MOST + 1 else rows[:_MOST]]
    if rest := figures[len(blocks[0]) :]:
        title = f"{len(rest)} others"
        blocks.append([_clips_row(heading, title, _sum(rest))])
    return [*blocks, [_clips_row(heading, "all", _sum(figures))]]


def _sum(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows:
        for label, count in row["clips"].items():
            total[label] += count  # not update: a class may have none
    return dict(total)


def _fold_parts(figures: Figures) -> Parts:
    folds: Sequence[Mapping[str, Any]] = figures["folds"]["folds"]
    if not folds:
        return []
    official = figures["folds"]["kind"] == "official"
    rows = []
    for fold in folds:
        row = {"fold": fold["fold"]}
        for part in ("train", "valid", "test"):
            if fold[f"{part}_clips"]:
                row[f"{part} (clips)"] = str(fold[f"{part}_clips"])
                row[f"{part} (speakers)"] = str(fold[f"{part}_speakers"])
        row["shared (speakers)"] = str(fold["shared_speakers"])
        rows.append(row)
    title = "official folds" if official and len(folds) > 1 else "official split"
    parts: Parts = [f"The {title}:" if official else "Folds:", [rows]]
    tested = sum(fold["test_clips"] for fold in folds)
    shared = sum(fold["test_clips_of_shared_speakers"] for fold in folds)
    unknown = sum(fold["test_clips_of_unknown_speakers"] for fold in folds)
    named = title if official else "these folds"
    if shared:
        share = f"{100 * shared / tested:.1f} % of test clips are by training speakers"
        parts.append(f"{named}: {share}, so a score is not that of new speakers")
    if unknown:
        share = f"{100 * unknown / tested:.1f} % of test clips are by unknown speakers"
        parts.append(f"{named}: {share}, who may train as well")
    return parts


def _vote_parts(figures: Figures) -> Parts:
    votes = figures["agreement"]
    if votes is None:
        return []
    kappa = "not known, as the table has shares of the votes, not their numbers"
    if votes["votes_per_clip"] is not None:
        kappa = "-" if votes["kappa"] is None else f"{votes['kappa']:.3f}"
        kappa += f" ({votes['votes_per_clip']:.1f} raters a clip; 0 is chance)"
    shares = {
        key: f"{100 * votes[key] / votes['clips']:.1f} %"
        for key in ("label_first", "label_tied", "label_not_first")
    }
    return [
        f"Raters: {_count(votes['clips'], 'clip')} with votes.\n"
        f"Fleiss' kappa: {kappa}\n"
        f"share of a clip's votes for its most frequent class, mean: "
        f"{100 * votes['majority_share']:.1f} %\n"
        f"the label is what most raters chose: {shares['label_first']}; it shares the "
        f"first place: {shares['label_tied']}; it does not: {shares['label_not_first']}"
    ]


def _format_parts(figures: Figures) -> Parts:
    rows = [
        {
            "format": form["name"],
            "rate, Hz": str(form["sample_rate"]),
            "channels": str(form["channels"]),
            "files": str(form["files"]),
        }
        for form in figures["formats"]
    ]
    if not rows:
        return []
    parts: Parts = ["Files:", [rows]]
    other = sum(
        form["files"]
        for form in figures["formats"]
        if (form["sample_rate"], form["channels"]) != (SAMPLE_RATE, 1)
    )
    if other:
        parts.append(f"{other} are not {SAMPLE_RATE} Hz mono; reading converts them")
    return parts


def _copy_parts(figures: Figures) -> Parts:
    copies = figures["copies"]
    if copies is None:
        return ["Copies: not looked for"]
    if not copies:
        return ["Copies: no two clips are the same part of files of equal bytes"]
    differing = sum(bool(same["differ"]) for same in copies)
    lines = [f"Copies: {_count(len(copies), 'recording')} byte for byte the same:"]
    if differing:
        lines[0] = (
            f"Copies: {_count(len(copies), 'recording')} byte for byte the same, "
            f"{differing} of them with two labels or speakers, an error of the corpus; "
            "leave them out:"
        )
    for same in copies[:_MOST]:
        rows = zip(same["clips"], same["classes"], same["speakers"], strict=True)
        text = " = ".join(f"{clip} ({label}, {who})" for clip, label, who in rows)
        mark = f"  <- another {' and '.join(same['differ'])}" if same["differ"] else ""
        lines.append(f"{text}{mark}")
    return ["\n".join([*lines, *_more(len(copies) - _MOST)])]


def _notes(figures: Figures) -> Parts:
    lines = []
    if long := figures["long"]:
        name, seconds = next(iter(long.items()))
        lines.append(
            f"note: {_count(len(long), 'clip')} longer than {LONG:.0f} s, the longest "
            f"{seconds:.1f} s ({name})"
        )
    for note in figures["notes"]:
        begins = note.startswith(("note: ", "warning: "))
        lines.append(note if begins else f"note: {note}")
    return ["\n".join(lines)] if lines else []


def _count(number: int, name: str, names: str = "") -> str:
    return f"{number} {name if number == 1 else names or name + 's'}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _more(number: int) -> list[str]:
    return [f"and {number} more"] if number > 0 else []
