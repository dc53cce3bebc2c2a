"""Many heads on the same folds and features, up to eight at a time side by side.

Every head ends with exactly what ``train.py`` gives it with the same settings, in the
folder that ``run_folds.py`` would have written. Heads that see the same batches share
the reading of the features; what they compute is their own.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.utils.logger import setup_logging
from speechbrain.utils.run_opts import RunOptions
from tqdm import tqdm

from sercorr.corpora.tables import table_labels
from sercorr.data.manifests import ManifestPlan
from sercorr.errors import InputError
from sercorr.features import LiveFeatures, StoredFeatures
from sercorr.files import json_digest, require_writable
from sercorr.reporting.report import report_folder
from sercorr.training.brain import EmotionBrain
from sercorr.training.dataio import (
    dataio_prepare,
    open_run_features,
    plan_data,
    read_fold,
    run_option,
)
from sercorr.training.folds import settings_of_folds
from sercorr.training.grid_file import read_grid
from sercorr.training.launcher.launch import Stage, read_launch, run_stages
from sercorr.training.launcher.options import Launch, threads_of
from sercorr.training.launcher.tasks import extraction_works, training_work
from sercorr.training.program import parse_arguments, take_options
from sercorr.training.run import Run
from sercorr.training.settings import Settings, closure, plain_tree

SIDE_BY_SIDE = 8
"""Most heads at once: their activations are all in memory."""


def run_grid(arguments: Sequence[str]) -> int:
    """Train and test all heads of a grid that are not finished, fold by fold.

    What is refused is refused before any head is trained.

    ``arguments`` are what ``run_folds.py`` takes, and ``--grid GRID.yaml``. With
    several tables, ``--test_table a.csv,b.csv``, the grid is trained for each, in a
    folder of its name, with the labels that it shares. Returns 0, or 1 if a head
    failed; the others are trained all the same.
    """
    launch, arguments = read_launch(arguments)
    given, rest = take_options(("grid", "test_table"), arguments)
    if "grid" not in given:
        raise InputError("--grid is missing; give a YAML file: --grid GRID.yaml")
    grid = read_grid(given["grid"])
    tables = given.get("test_table", "").split(",")
    if len(tables) == 1:
        table = ["--test_table", *tables] if tables[0] else []
        plan = plan_heads(grid, settings_of_folds([*rest, *table]))
        return _train_and_report([plan], plan[0], launch)
    names = [Path(table).stem for table in tables]
    if len(set(names)) < len(names) or not all(names):
        raise InputError(
            f"--test_table is {given['test_table']!r}; the tables' names are those of "
            "folders, so they must differ"
        )
    settings = parse_arguments([*rest, "--test_table", tables[0]])
    own = _options_of_tables(settings, tables)
    root = Path(parse_arguments([*rest, *own[0]]).load()["output_folder"])
    _, rest = take_options(("output_folder", "test_map", "test_drop"), rest)
    planned = [
        plan_heads(
            grid,
            settings_of_folds([*rest, "--output_folder", str(root / name), *options]),
        )
        for name, options in zip(names, own, strict=True)
    ]
    return _train_and_report(planned, root, launch)


def _options_of_tables(settings: Settings, tables: Sequence[str]) -> list[list[str]]:
    """Give each table the labels of ``test_map`` and ``test_drop`` that it has.

    A label that no table has stays with all of them, to be refused.
    """
    tree = plain_tree(settings.tree)
    labels = [set(table_labels(table)) for table in tables]
    everywhere = set().union(*labels)

    def own(names: Iterable[str], has: set[str]) -> list[str]:
        return [name for name in names if name in has or name not in everywhere]

    options = []
    for table, has in zip(tables, labels, strict=True):
        mapping, drop = tree.get("test_map") or {}, tree.get("test_drop") or []
        pairs = ",".join(f"{name}={mapping[name]}" for name in own(mapping, has))
        names = ",".join(own(drop, has))
        of_labels = ["--test_map", pairs or "{}", "--test_drop", names or "[]"]
        options.append(["--test_table", table, *of_labels])
    return options


Plan = tuple[Path, ManifestPlan, dict[int, dict[str, Run]]]
"""A folder, the manifests, and fold -> name of a head -> its run."""


def plan_heads(
    grid: Mapping[str, dict[str, Any]], by_fold: Mapping[int, Settings]
) -> Plan:
    """Plan the runs of a grid (see `read_grid`) on some folds (fold -> settings).

    Nothing is written; what cannot be run, or whose folder holds another run, is an
    `InputError`.
    """
    tree = next(iter(by_fold.values())).tree
    common = closure(tree, ["corpus", "data_folder", "labels", "upstream"])
    for name, overrides in grid.items():
        if shared := sorted(common & overrides.keys()):
            raise InputError(
                f"{name}: {shared[0]} decides the corpus or the upstream, which are "
                "the same for all heads; give it on the command line"
            )
    first = next(iter(by_fold.values())).load()
    root, manifests = Path(first["output_folder"]), plan_data(first)
    tried: set[str] = set()  # a head is the same for every fold and seed
    runs: dict[int, dict[str, Run]] = {}
    for fold, settings in by_fold.items():
        runs[fold] = {}
        for name, overrides in grid.items():
            head = name.partition("/")[0]
            runs[fold][name] = _run_of(
                settings, root, name, overrides, manifests, tried=head in tried
            )
            tried.add(head)
    return root, manifests, runs


def _train_and_report(plans: Sequence[Plan], root: Path, launch: Launch) -> int:
    failed = _launch(plans, root, launch) if launch.asked else _train_in_turn(plans)
    if failed is None:
        return 0
    if any(map(count_finished, plans)):
        print(report_folder(root))
    return report_failures(failed)


def _train_in_turn(plans: Sequence[Plan]) -> list[str]:
    failed = []
    for plan in plans:
        failed += run_heads(*plan)
        if len(plans) > 1 and count_finished(plan):
            print(report_folder(plan[0]))
    return failed


def _launch(plans: Sequence[Plan], root: Path, launch: Launch) -> list[str] | None:
    size = group_size(sum(map(count_waiting, plans)), launch)
    settings = _first_run(plans[0]).settings
    return run_stages(
        [stage_of(plan, root, launch, size) for plan in plans],
        root,
        launch,
        threads_of(plain_tree(settings.tree)),
        settings.run_opts,
    )


def count_finished(plan: Plan) -> int:
    """Count the runs of a plan that are finished."""
    return sum(run.is_finished for heads in plan[2].values() for run in heads.values())


def count_waiting(plan: Plan) -> int:
    """Count the runs of a plan that are not finished."""
    return sum(map(len, plan[2].values())) - count_finished(plan)


def group_size(waiting: int, launch: Launch) -> int:
    """Say how many heads a process trains, so that there is work for all.

    Example
    -------
    >>> group_size(5, Launch(jobs=2)), group_size(100, Launch(jobs=2))
    (3, 8)
    """
    return max(1, min(SIDE_BY_SIDE, -(-waiting // (launch.jobs or 1))))


def stage_of(plan: Plan, root: Path, launch: Launch, size: int) -> Stage:
    """Make the works of a plan, and write the manifests that they read.

    ``root`` is the launch's folder; ``size`` heads at most are trained by a process.
    """
    folder, manifests, runs = plan
    require_writable(folder)
    manifests.write()
    manifests.report()
    place = "" if folder == root else f"{folder.relative_to(root)} "
    training = []
    for fold, heads in runs.items():
        waiting = {name: run for name, run in heads.items() if not run.is_finished}
        for group in groups_of(waiting, size):
            name = f"{place}fold {fold}: {', '.join(group)}"
            training.append(training_work(name, root, group))
    if not training:  # then nobody needs to look for features that are missing
        return Stage([], [])
    first = _first_run(plan)
    extraction = extraction_works(
        first.settings,
        first.hparams,
        manifests,
        root,
        launch.shares,
        f"{place}features",
    )
    return Stage(extraction, training)


def _first_run(plan: Plan) -> Run:
    return next(iter(next(iter(plan[2].values())).values()))


def report_failures(failed: Sequence[str]) -> int:
    """Say which heads failed; return the exit status."""
    if not failed:
        return 0
    print(
        f"error: failed: {', '.join(failed)}. Their messages stand above; the others "
        "are finished",
        file=sys.stderr,
    )
    return 1


def run_heads(
    root: Path,
    manifests: ManifestPlan,
    runs: Mapping[int, Mapping[str, Run]],
    bar: tqdm | None = None,
) -> list[str]:
    """Train and test what `plan_heads` has planned and is not finished.

    ``bar`` counts the runs that are done. Returns the names of those that failed,
    whose messages have been printed.
    """
    require_writable(root)
    manifests.write()
    manifests.report()
    setup_logging(
        str(Path(__file__).with_name("log-config.yaml")),
        {"handlers": {"file_handler": {"filename": str(root / "log.txt")}}},
    )
    failed: list[str] = []
    features: StoredFeatures | LiveFeatures | None = None
    for fold, heads in runs.items():
        waiting = {name: run for name, run in heads.items() if not run.is_finished}
        print(f"fold {fold}: {len(waiting)} of {len(heads)} heads to train", flush=True)
        for group in groups_of(waiting):
            run = next(iter(group.values()))
            if features is None:
                features = open_run_features(
                    run.hparams, run.settings.run_opts, manifests.clips
                )
            failed += [f"{name} (fold {fold})" for name in train_heads(group, features)]
            if bar is not None:
                bar.update(len(group))
    return failed


def groups_of(
    runs: Mapping[str, Run], size: int = SIDE_BY_SIDE
) -> Iterator[dict[str, Run]]:
    """Group the heads of a fold (name -> run) that can be trained side by side.

    They must see the same batches and stand at the same update; at most ``size`` of
    them. A Brain of one's own may read any setting, so each of its heads is
    trained alone.
    """
    groups: dict[str, dict[str, Run]] = {}
    for name, run in runs.items():
        groups.setdefault(_stream(name, run), {})[name] = run
    for group in groups.values():
        names = list(group)
        for start in range(0, len(names), size):
            yield {name: group[name] for name in names[start : start + size]}


def train_heads(
    runs: Mapping[str, Run], features: StoredFeatures | LiveFeatures
) -> list[str]:
    """Train a group of `groups_of` and test each head.

    Returns
    -------
    list of str
        Names of the heads that failed; their messages have been printed.
    """
    with contextlib.ExitStack() as stack:
        taken: dict[str, Run] = {}
        for name, run in runs.items():
            try:
                taken[name] = stack.enter_context(run.locked())
            except InputError as error:
                print(f"error: {name}: {error}", file=sys.stderr)
        untaken = [name for name in runs if name not in taken]
        return untaken + (_train(taken, features) if taken else [])


def _train(runs: dict[str, Run], features: StoredFeatures | LiveFeatures) -> list[str]:
    first = next(iter(runs.values()))
    run_opts = first.settings.run_opts
    splits = read_fold(first.hparams, first.manifests)
    loaders = dataio_prepare(first.hparams, run_opts, splits, features)
    for run in runs.values():
        run.start()
        run.hparams["features"] = features
    if len(runs) == 1:
        hparams = first.hparams
        brain = hparams.get("brain_class", EmotionBrain)(
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=hparams["checkpointer"],
        )
    else:
        brain = EmotionBrain.side_by_side(
            {name: run.hparams for name, run in runs.items()}, run_opts
        )
    try:
        brain.fit(first.hparams["epoch_counter"], loaders["train"], loaders["valid"])
        brain.evaluate(loaders["test"], progressbar=False)
    except InputError as error:
        if len(runs) == 1:
            print(f"error: {next(iter(runs))}: {error}", file=sys.stderr)
        return list(runs)
    for run, head in zip(runs.values(), brain.heads, strict=True):
        if head.error is None:
            run.finish(head, splits)
    return [
        name
        for name, head in zip(runs, brain.heads, strict=True)
        if head.error is not None
    ]


def _run_of(
    settings: Settings,
    root: Path,
    name: str,
    overrides: Mapping[str, Any],
    manifests: ManifestPlan,
    tried: bool,
) -> Run:
    places = {"output_folder": root / name, "manifest_folder": manifests.folder}
    try:
        own = settings.override({**overrides, **{k: str(v) for k, v in places.items()}})
        return Run(own, own.load(), manifests, tried)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _stream(name: str, run: Run) -> str:
    """Sign what heads must agree in to be trained side by side."""
    hparams, run_opts = run.hparams, run.settings.run_opts
    alone = (
        hparams.get("brain_class", EmotionBrain) is not EmotionBrain
        or set(hparams["modules"]) != {"head"}
        or run_option("precision", hparams, run_opts) == "fp16"  # one scale for all
    )
    latest = hparams["checkpointer"].find_checkpoint()
    meta = latest.meta if latest else {}
    return json_digest(
        {
            "alone": name if alone else None,
            "stands": [meta.get("updates", 0), "valid_wa" in meta],
            "epochs": plain_tree(run.settings.tree).get("epoch_counter"),
            "limit": run.epochs,
            "threads": run.threads,
            **{
                key: str(hparams.get(key))
                for key in ("seed", "batch_size", "updates_per_epoch")
            },
            **{key: str(run_option(key, hparams, run_opts)) for key in RunOptions()},
        }
    )
