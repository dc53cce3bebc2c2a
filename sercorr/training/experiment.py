"""Experiments: upstreams x corpora x heads x seeds x folds, from one file.

    <output_folder>/[<upstream>/][<corpus>/]<head>/[seed_S/]fold_K

A bracket is there only where that axis has more than one value; ``experiment.json``
keeps all values that the folder was ever asked for. Every run is one of
`sercorr.training.grid`: what is finished is never trained again.
"""

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from tqdm import tqdm

from sercorr.errors import InputError
from sercorr.evaluation.runs import AXES, EXPERIMENT, read_experiment_record
from sercorr.files import make_folder, require_writable, write_json
from sercorr.reporting.experiment_plots import figure_name
from sercorr.reporting.report import remove_tables, report_folder
from sercorr.training.experiment_file import (
    LISTS,
    Experiment,
    choose_axes,
    read_experiment,
)
from sercorr.training.folds import settings_of_folds
from sercorr.training.grid import (
    count_finished,
    group_size,
    plan_heads,
    report_failures,
    run_heads,
    stage_of,
)
from sercorr.training.grid_file import require_name
from sercorr.training.launcher.launch import read_launch, require_idle, run_stages
from sercorr.training.launcher.options import Launch, threads_of
from sercorr.training.program import take_options
from sercorr.training.settings import Settings, plain_tree

ONE_VALUE = {"upstream_source": "upstreams", "seed": "seeds", "fold": "folds"}
"""What ``train.py`` calls an axis of one value."""

Axes = Mapping[str, Sequence[Any]]
Grids = dict[Path, tuple[dict[str, dict[str, Any]], dict[int, Settings]]]
"""Folder of a grid -> its heads, and the settings by fold."""


@dataclass(frozen=True)
class Layout:
    """Where the runs of an experiment are.

    Attributes
    ----------
    root : pathlib.Path
        The experiment's folder.
    before, asked, axes : mapping
        Axis of `AXES` -> the values that the folder was asked for so far, those that
        are asked for now, and all of these.
    grids : dict
        What is asked for now: one grid for each upstream and corpus.
    """

    root: Path
    before: Axes
    asked: Axes
    axes: Axes
    grids: Grids


def run_experiment(arguments: Sequence[str]) -> int:
    """Train what an experiment lacks, then write its tables and figures.

    What is refused is refused before anything is trained or written.

    ``arguments`` are ``EXPERIMENT.yaml``, ``--settings FILE`` for other settings than
    the experiment's, the axes ``--upstreams A,B``, ``--corpora A,B``, ``--heads a,b``,
    ``--seeds 1,2,3``, ``--folds 1,2``, the options of a launch
    (`sercorr.training.launcher.options`), and what ``train.py`` takes. Returns 0, or 1
    if a run failed; the others are trained all the same.
    """
    if not arguments or arguments[0].startswith("-"):
        raise InputError(
            "the experiment is missing: give its file as the first argument, as in "
            "experiments/table1.yaml; --help explains the rest"
        )
    launch, others = read_launch(arguments[1:])
    given, rest = take_options((*LISTS, *ONE_VALUE, "settings"), others)
    for one, axis in ONE_VALUE.items():
        if one in given and axis in given:
            raise InputError(
                f"--{one} and --{axis} are both given; give --{axis} alone"
            )
        if one in given:
            given[axis] = given.pop(one)
    experiment = choose_axes(read_experiment(arguments[0]), given)
    _refuse_what_all_heads_set(experiment, rest)
    layout = lay_out(experiment, rest)
    require_idle(layout.root)
    finished = _check(layout.grids)
    if _take_place(experiment, layout):
        finished = _check(layout.grids)
    failed = (
        _launch(layout, finished, launch)
        if launch.asked
        else _train(experiment, layout, finished)
    )
    if failed is None:
        return 0
    if any(layout.root.rglob("fold_*/metrics.json")):
        print(report_folder(layout.root))
    return report_failures(failed)


def _train(
    experiment: Experiment, layout: Layout, finished: Mapping[Path, int]
) -> list[str]:
    """Train one grid after the other in this process."""
    failed: list[str] = []
    total = sum(len(heads) * len(folds) for heads, folds in layout.grids.values())
    with tqdm(total=total, desc=experiment.name, unit="run", dynamic_ncols=True) as bar:
        for folder, (heads, by_fold) in layout.grids.items():
            # what was done before does not count for the estimate
            bar.initial += finished[folder]
            bar.update(finished[folder])
            if finished[folder] == len(heads) * len(by_fold):
                continue
            # planned again: the heads of all grids at once would not fit in memory
            names = run_heads(*plan_heads(heads, by_fold), bar)
            place = folder.relative_to(layout.root)
            failed += [str(place / name) for name in names]
    return failed


def _launch(
    layout: Layout, finished: Mapping[Path, int], launch: Launch
) -> list[str] | None:
    """Train all grids in processes side by side, see `run_stages`."""
    waiting = {
        folder: len(heads) * len(by_fold) - finished[folder]
        for folder, (heads, by_fold) in layout.grids.items()
    }
    size = group_size(sum(waiting.values()), launch)
    stages = [
        # planned again, as above
        stage_of(plan_heads(*layout.grids[folder]), layout.root, launch, size)
        for folder in waiting
        if waiting[folder]
    ]
    first = next(iter(next(iter(layout.grids.values()))[1].values()))
    return run_stages(
        stages,
        layout.root,
        launch,
        threads_of(plain_tree(first.tree)),
        first.run_opts,
    )


def _refuse_what_all_heads_set(experiment: Experiment, rest: Sequence[str]) -> None:
    words = {word.partition("=")[0] for word in rest if word.startswith("--")}
    common = set.intersection(*map(set, experiment.heads.values()))
    if taken := sorted(key for key in common if f"--{key}" in words):
        raise InputError(
            f"--{taken[0]} would have no effect: every head of {experiment.file} sets "
            f"{taken[0]} itself; change it there"
        )


def lay_out(experiment: Experiment, rest: Sequence[str]) -> Layout:
    """Give each grid its settings and its folder; nothing is written.

    ``rest`` is the command line after the axes.
    """
    given, others = take_options(("output_folder", "manifest_folder"), rest)
    root = Path(given.get("output_folder", Path("results") / experiment.name))
    manifests = Path(given.get("manifest_folder", root / "manifests"))
    if experiment.folds:
        others += ["--folds", ",".join(map(str, experiment.folds))]
    settings: dict[str, dict[int, Settings]] = {}
    for corpus in experiment.corpora or [""]:
        own = dict(experiment.corpora.get(corpus, {}))
        file = experiment.settings
        if "settings" in own:
            file = experiment.file.parent / str(own.pop("settings"))
        settings[corpus] = settings_of_folds([str(file), *others], own)
    first = next(iter(settings.values()))
    tree = plain_tree(next(iter(first.values())).tree)
    sources = experiment.upstreams or [str(tree["upstream_source"])]
    upstreams = [_upstream_name(source) for source in sources]
    for name in upstreams:
        if upstreams.count(name) > 1:
            raise InputError(
                f"two upstreams are called {name}, which is the name of their folder; "
                "rename one of the local folders"
            )
    seeds = experiment.seeds or [tree["seed"]]
    every: list[Iterable[Any]] = [
        upstreams,
        experiment.corpora,
        experiment.heads,
        seeds,
        first,
    ]
    asked = {axis: list(values) for axis, values in zip(AXES, every, strict=True)}
    before = _read_axes(experiment, root)
    axes = {
        axis: list(dict.fromkeys([*before.get(axis, []), *values]))
        for axis, values in asked.items()
    }
    if before and bool(before["corpus"]) != bool(experiment.corpora):
        raise InputError(
            f"{root} was made {'with' if before['corpus'] else 'without'} names of "
            "corpora; choose another --output_folder"
        )
    heads = {
        str(_place(axes, "", "", head, seed)): {**overrides, "seed": seed}
        for head, overrides in experiment.heads.items()
        for seed in seeds
    }
    grids: Grids = {}
    pairs = zip(sources, upstreams, strict=True)
    for (source, upstream), corpus in itertools.product(pairs, settings):
        folder = root / _place(axes, upstream, corpus)
        own = {
            "upstream_source": source,
            "output_folder": str(folder),
            # the folds are the same for all upstreams
            "manifest_folder": str(manifests / corpus),
        }
        by_fold = {fold: one.override(own) for fold, one in settings[corpus].items()}
        grids[folder] = (heads, by_fold)
    return Layout(root, before, asked, axes, grids)


def _place(
    axes: Axes, upstream: str, corpus: str, head: str = "", seed: int | None = None
) -> Path:
    """Give a folder below the root; axes of one value have none."""
    parts = [
        upstream if len(axes["upstream"]) > 1 else "",
        corpus if len(axes["corpus"]) > 1 else "",
        head,
        f"seed_{seed}" if seed is not None and len(axes["seed"]) > 1 else "",
    ]
    return Path(*filter(None, parts))


def _upstream_name(source: str) -> str:
    """Name an upstream's folder: a hub name with ``--``, a local folder's own name."""
    path = Path(source)
    name = path.resolve().name if path.is_dir() else source.replace("/", "--")
    require_name(f"upstream {source}", name)
    return name


def _check(grids: Grids) -> dict[Path, int]:
    """Refuse what cannot be run; count the finished runs of each grid."""
    finished = {}
    for folder, grid in tqdm(grids.items(), "checking", unit="grid", leave=False):
        finished[folder] = count_finished(plan_heads(*grid))
    return finished


def _read_axes(experiment: Experiment, root: Path) -> dict[str, list[Any]]:
    """Read what the folder was asked for before; empty if it is new."""
    record = read_experiment_record(root)
    name = record.get("experiment", experiment.name)
    if name != experiment.name:
        raise InputError(
            f"{root} holds the experiment {name}, not {experiment.name}; choose "
            "another --output_folder"
        )
    return dict(record.get("axes", {}))


def _take_place(experiment: Experiment, layout: Layout) -> bool:
    """Record what is asked for; move what lies elsewhere now that an axis grew.

    Returns whether anything was moved.
    """
    root, moves = layout.root, _moves(layout)
    with contextlib.ExitStack() as stack:
        for old, new in moves.items():
            if new.exists():
                raise InputError(
                    f"{new}: it is in the way of {old}, which has to be moved there; "
                    "move it away"
                )
            for path in old.rglob("fold_*/.lock"):
                try:
                    stack.enter_context(filelock.FileLock(path, blocking=False))
                except filelock.Timeout:
                    raise InputError(
                        f"{path.parent}: another process is at work there, and the "
                        "folder has to be moved; wait for it"
                    ) from None
    require_writable(root)
    _remove_tables(layout, moves)  # first: a kill leaves none of the old layout
    for old, new in moves.items():
        aside = old
        if new.is_relative_to(old):
            aside = root / f".moving_{os.getpid()}"
            shutil.move(old, aside)
        make_folder(new.parent)
        shutil.move(aside, new)
        print(f"moved {old} to {new}")
    command = ["python", *sys.argv]
    record = read_experiment_record(root)
    commands = [*(one for one in record.get("commands", []) if one != command), command]
    asked = record.get("asked", [])
    write_json(
        root / EXPERIMENT,
        {
            "experiment": experiment.name,
            "file": os.path.abspath(experiment.file),
            "axes": {axis: list(values) for axis, values in layout.axes.items()},
            "asked": [*(one for one in asked if one != layout.asked), layout.asked],
            "figures": experiment.figures,
            "commands": commands,
        },
    )
    return bool(moves)


def _moves(layout: Layout) -> dict[Path, Path]:
    """Give the folders that lie elsewhere now: the old and the new place.

    What lies beside the runs in a folder (tables of seeds, plots) moves with them.
    """
    if not layout.before:
        return {}
    moves: dict[Path, Path] = {}
    for values in itertools.product(
        *(layout.before[axis] or [""] for axis in AXES[:4])
    ):
        old, new = (_place(axes, *values) for axes in (layout.before, layout.axes))
        if old == new or not any((layout.root / old).glob("fold_*")):
            continue
        while len(old.parts) > 1 and old.name == new.name:
            old, new = old.parent, new.parent
        moves[layout.root / old] = layout.root / new
    # what another one moves into is moved away first
    inward = sorted(moves.items(), key=lambda move: not move[1].is_relative_to(move[0]))
    return dict(inward)


def _remove_tables(layout: Layout, moves: Iterable[Path]) -> None:
    """Remove tables, figures and reports over folders that move, in those above."""
    root = layout.root
    above = {top for old in moves for top in old.parents if top.is_relative_to(root)}
    pairs = itertools.product(*(layout.before.get(a) or [""] for a in AXES[:2]))
    places = ["", *(_place(layout.before, *pair).as_posix() for pair in pairs if moves)]
    figures = read_experiment_record(root).get("figures", [])
    removed = [path for top in sorted(above) for path in remove_tables(top)]
    if root in above:
        for place, figure in itertools.product(dict.fromkeys(places), figures):
            path = root / "figures" / f"{figure_name(figure, place)}.png"
            if path.exists():
                path.unlink()
                removed.append(path)
    if removed:
        print(f"removed, as folders move: {', '.join(map(str, removed))}")
