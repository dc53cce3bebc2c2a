"""What was run, and how to run it again."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sercorr.data.utterances import UNKNOWN
from sercorr.evaluation.pooled import pool_predictions
from sercorr.evaluation.runs import AXES, Run, shown_settings
from sercorr.reporting.layout import Parts, Table
from sercorr.reporting.page.document import Block, Folded, Section
from sercorr.reporting.paper import describe

_MANY = 12  # heads; more are folded
_FEW = 3  # are named even where they are all

Heads = Mapping[str, Sequence[Run]]


def about_section(heads: Heads, experiment: Mapping[str, Any]) -> Section:
    """Say what was run and what is missing, with commands, versions and settings.

    Arguments
    ---------
    heads : mapping
        From `sercorr.evaluation.runs.read_heads`.
    experiment : mapping
        From `sercorr.evaluation.runs.read_experiment_record`; may be empty.
    """
    runs = [run for some in heads.values() for run in some]
    records = [record for run in runs for record in run.records.values()]
    table: Block = [[_head(name, some) for name, some in heads.items()]]
    if len(heads) > _MANY:
        table = Folded(f"The {len(heads)} heads", [table])
    content: list[Block] = [
        *_extent(runs, experiment),
        table,
        *_gaps(heads, experiment),
        "The data and the machine:",
        [_facts(heads, records)],
    ]
    commands = [
        one[1:] if one[:1] == ["python"] else one
        for one in [
            *experiment.get("commands", []),
            *([] if experiment else (r["command"] for r in records if "command" in r)),
        ]
    ]
    lines = dict.fromkeys(shlex.join(["python", *map(str, one)]) for one in commands)
    if lines:
        content += ["How to run it again:", [[{"command": f"`{c}`"} for c in lines]]]
    else:
        content.append("No run.json says by which command these runs were made.")
    return Section("about", "What was run", [*content, *_settings(heads)])


def _head(name: str, runs: Sequence[Run]) -> dict[str, str]:
    seeds = [str(run.seed) for run in runs if run.seed is not None]
    finished = sum(len(run.metrics) for run in runs)
    return {
        "head": name,
        "pooling": _joined(describe(run.record) for run in runs),
        "upstream": _joined(run.record.get("upstream_source") for run in runs),
        "corpus": _joined(_corpus(run.record) for run in runs),
        "seeds": ", ".join(seeds),
        "trainings": f"{finished} of {sum(run.n_folds for run in runs)}",
    }


def _extent(runs: Sequence[Run], experiment: Mapping[str, Any]) -> Parts:
    """Say how many trainings there are, and what an experiment asked for."""
    finished = sum(len(run.metrics) for run in runs)
    if not experiment:
        return [f"{finished} finished trainings (head x seed x fold)."]
    axes = experiment["axes"]
    asked = 1
    for values in axes.values():
        asked *= max(1, len(values))
    listed = [
        f"{axis}: {', '.join(map(str, axes[axis])) if few else len(axes[axis])}"
        for axis in AXES
        for few in [len(axes[axis]) <= _MANY]
        if axes[axis]
    ]
    return [
        f"Experiment {experiment['experiment']}: {finished} of {asked} trainings are "
        "finished.\n" + "\n".join(listed)
    ]


def _gaps(heads: Heads, experiment: Mapping[str, Any]) -> list[str]:
    """Name what is not finished, and what nobody asked for."""
    axes = experiment.get("axes", {})
    runs = [run for some in heads.values() for run in some]
    missing: dict[str, list[str]] = {}
    unasked: set[int] = set()
    for name, some in heads.items():
        if not some:
            missing.setdefault("all folds", []).append(name)
        for run in some:
            where = name if run.seed is None else f"{name} (seed {run.seed})"
            asked = [f for f in run.missing if f in axes.get("fold", run.missing)]
            unasked |= set(run.missing) - set(asked)
            if asked:
                text = f"fold {', '.join(map(str, asked))}"
                missing.setdefault(text, []).append(where)
        there = {run.seed for run in some}
        absent = [str(seed) for seed in axes.get("seed", []) if seed not in there]
        if len(axes.get("seed", [])) > 1 and some and absent:
            missing.setdefault(f"seed {', '.join(absent)}", []).append(name)
    gaps = []
    if missing:
        lines = []
        for what, at in missing.items():
            every = len(at) > _FEW and len(at) in {len(heads), len(runs)}
            lines.append(f"{what}: {'all' if every else '; '.join(at)}.")
        text = "Missing, so that means are over the others only:\n"
        gaps.append(text + "\n".join(lines))
    if unasked:
        listed = ", ".join(map(str, sorted(unasked)))
        gaps.append(
            f"Not asked for: fold {listed}. Means are over the other folds, and no "
            "published number is comparable."
        )
    return gaps


def _facts(heads: Heads, records: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    dates = [record["started"] for record in records if "started" in record]
    dates += [r["tested"]["at"] for r in records if "at" in (r.get("tested") or {})]
    versions = _joined(
        ", ".join(f"{name} {version}" for name, version in r["versions"].items())
        for r in records
        if "versions" in r
    )
    facts = {
        "corpus": _joined(map(_corpus, records)),
        "classes": _joined(", ".join(r.get("labels", ())) for r in records),
        "tested": _tested(heads),
        "upstream": _joined(r.get("upstream_source") for r in records),
        "trained": " to ".join(dict.fromkeys([min(dates), max(dates)]))
        if dates
        else "",
        "git commit": _joined(_commit(r.get("git") or {}) for r in records),
        "device": _joined(r.get("device") for r in records),
        "threads": _joined(r.get("threads") for r in records),
        "versions": versions,
    }
    return [{"what": name, "value": value} for name, value in facts.items() if value]


def _tested(heads: Heads) -> str:
    """Count the test clips and speakers of each corpus."""
    counts: dict[str, None] = {}
    for runs in heads.values():
        for run in runs[:1]:
            pooled = pool_predictions([run])
            speakers = len(set(pooled.speakers.tolist()) - {UNKNOWN})
            who = f" of {speakers} speakers" if speakers else ""
            folds = f"{len(run.metrics)} of {run.n_folds} folds"
            counts[f"{len(pooled.ids)} clips{who} in {folds}"] = None
    return "; ".join(counts)


def _commit(git: Mapping[str, Any]) -> str:
    changed = " (files were changed)" if git.get("changed") else ""
    return f"{git['commit']}{changed}" if git.get("commit") else ""


def _corpus(record: Mapping[str, Any]) -> str:
    corpus, other = record.get("corpus", ""), record.get("test_corpus")
    return f"{corpus}, tested on {other}" if other else str(corpus)


def _settings(heads: Heads) -> list[Block]:
    """Lay out what all runs share, and in what the heads differ."""
    trees = {name: _tree(runs[0].record) for name, runs in heads.items() if runs}
    names = list(dict.fromkeys(key for tree in trees.values() for key in tree))
    first = next(iter(trees.values()))
    differing = [
        name
        for name in names
        if any(tree.get(name) != first.get(name) for tree in trees.values())
    ]
    content: list[Block] = []
    if differing:
        rows = [
            {"head": head}
            | {name: f"`{tree[name]}`" if name in tree else "" for name in differing}
            for head, tree in trees.items()
        ]
        content += ["Settings in which the heads differ:", [rows]]
    shared: Table = [
        [
            {"setting": f"`{name}`", "value": f"`{first[name]}`"}
            for name in names
            if name not in differing
        ]
    ]
    if shared[0]:
        content += ["Settings that all have:", shared]
    return [Folded("Settings", content)] if content else []


def _tree(record: Mapping[str, Any]) -> dict[str, str]:
    """Give the settings as one line each, without those that number the runs."""
    return {
        name: json.dumps(value, ensure_ascii=False).replace('"', "").replace("`", "'")
        for name, value in shown_settings(record).items()
        if name not in ("fold", "seed")
    }


def _joined(values: Iterable[Any]) -> str:
    """Join the different values that are known."""
    known = dict.fromkeys(str(value) for value in values if value not in (None, ""))
    return "; ".join(known)
