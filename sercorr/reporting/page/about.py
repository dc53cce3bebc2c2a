"""What was run, and how to run it again."""

import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.data.utterances import UNKNOWN
from sercorr.evaluation.pooled import pool_predictions
from sercorr.evaluation.runs import AXES, Run, asked_trainings, shown_settings
from sercorr.reporting.layout import Parts, Table
from sercorr.reporting.page.document import Block, Folded, Section
from sercorr.reporting.paper import describe

_MANY = 12  # heads; more are folded
_FEW = 3  # are named even where they are all

Heads = Mapping[str, Sequence[Run]]


def about_section(heads: Heads, experiment: Mapping[str, Any], root: Path) -> Section:
    """Say what was run and what is missing, with commands, versions and settings.

    Arguments
    ---------
    heads : mapping
        From `sercorr.evaluation.runs.read_heads`.
    experiment : mapping
        From `sercorr.evaluation.runs.read_experiment_record`; may be empty.
    root : pathlib.Path
        The folder of the heads: tables show places below it as ``./...``.
    """
    asked = asked_trainings(experiment)
    runs = [run for some in heads.values() for run in some]
    records = [record for run in runs for record in run.records.values()]
    rows = [_head(name, some, asked.get(name)) for name, some in heads.items()]
    table: Block = _nearby([rows], root)
    if len(heads) > _MANY:
        table = Folded(f"The {len(heads)} heads", [table])
    content: list[Block] = [
        *_extent(heads, experiment),
        table,
        *_gaps(heads, experiment),
        "The data and the machine:",
        _nearby([_facts(heads, records)], root),
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
    return Section("about", "What was run", [*content, *_settings(heads, root)])


def _nearby(table: Table, root: Path) -> Table:
    """Show places below ``root`` as ``./...``."""
    whole = os.path.join(os.path.abspath(root), "")
    return [
        [
            {name: cell.replace(whole, "./") for name, cell in row.items()}
            for row in rows
        ]
        for rows in table
    ]


def _expected(run: Run, asked: Mapping[int, set[int]] | None) -> set[int]:
    """Give the folds of a run that were asked for; without an experiment, all."""
    if asked is None:
        return set(range(1, run.n_folds + 1))
    if run.seed is None and len(asked) == 1:
        return next(iter(asked.values()))
    return asked.get(run.seed, set()) if run.seed is not None else set()


def _head(
    name: str, runs: Sequence[Run], asked: Mapping[int, set[int]] | None
) -> dict[str, str]:
    seeds = [str(run.seed) for run in runs if run.seed is not None]
    finished = sum(len(run.metrics) for run in runs)
    expected = sum(len(_expected(run, None)) for run in runs)
    if asked is not None:
        finished = sum(len(_finished(run) & _expected(run, asked)) for run in runs)
        expected = sum(map(len, asked.values()))
    return {
        "head": name,
        "pooling": _joined(describe(run.record) for run in runs),
        "upstream": _joined(run.record.get("upstream_source") for run in runs),
        "corpus": _joined(_corpus(run.record) for run in runs),
        "seeds": ", ".join(seeds),
        "trainings": f"{finished} of {expected}",
    }


def _finished(run: Run) -> set[int]:
    return {fold["fold"] for fold in run.metrics}


def _extent(heads: Heads, experiment: Mapping[str, Any]) -> Parts:
    """Say how many trainings there are, and what an experiment asked for."""
    if not experiment:
        finished = sum(len(run.metrics) for runs in heads.values() for run in runs)
        return [f"{finished} finished trainings (head x seed x fold)."]
    asked = asked_trainings(experiment)
    finished = sum(
        len(_finished(run) & _expected(run, asked.get(name, {})))
        for name, runs in heads.items()
        for run in runs
    )
    total = sum(len(folds) for seeds in asked.values() for folds in seeds.values())
    axes = experiment["axes"]
    listed = [
        f"{axis}: {', '.join(map(str, axes[axis])) if few else len(axes[axis])}"
        for axis in AXES
        for few in [len(axes[axis]) <= _MANY]
        if axes[axis]
    ]
    return [
        f"Experiment {experiment['experiment']}: {finished} of {total} trainings are "
        "finished.\n" + "\n".join(listed)
    ]


def _gaps(heads: Heads, experiment: Mapping[str, Any]) -> list[str]:
    """Name what is not finished, and what nobody asked for."""
    asked = asked_trainings(experiment)
    runs = [run for some in heads.values() for run in some]
    missing: dict[str, list[str]] = {}
    unasked: set[int] = set()
    for name in dict.fromkeys([*heads, *asked]):
        some = heads.get(name, [])
        own = asked.get(name, {} if asked else None)
        if not some:
            missing.setdefault("all folds", []).append(name)
            continue
        for run in some:
            where = name if run.seed is None else f"{name} (seed {run.seed})"
            expected = _expected(run, own)
            unasked |= set(run.missing) - expected
            if lacking := sorted(expected & set(run.missing)):
                text = f"fold {', '.join(map(str, lacking))}"
                missing.setdefault(text, []).append(where)
        there = {run.seed for run in some}
        absent = [str(seed) for seed in own or () if seed not in there]
        if None not in there and absent:
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


def _settings(heads: Heads, root: Path) -> list[Block]:
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
        content += ["Settings in which the heads differ:", _nearby([rows], root)]
    shared: Table = [
        [
            {"setting": f"`{name}`", "value": f"`{first[name]}`"}
            for name in names
            if name not in differing
        ]
    ]
    if shared[0]:
        content += ["Settings that all have:", _nearby(shared, root)]
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
