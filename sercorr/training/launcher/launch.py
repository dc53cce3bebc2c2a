"""From the works of a program to what became of them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechbrain.utils.run_opts import RunOptions

from sercorr.errors import InputError
from sercorr.training.launcher.local import run_side_by_side, visible_gpus
from sercorr.training.launcher.options import Launch, take_launch
from sercorr.training.launcher.slurm import arrays
from sercorr.training.launcher.works import (
    FAILED,
    JOBS,
    WAITING,
    Work,
    launch_lock,
    read_works,
    write_works,
)

RESULTS = (sys.executable, "-m", "sercorr", "results")


class Stage(NamedTuple):
    """Works that need the same features."""

    extraction: list[Work]
    """They fill the store; the others begin when all of them are done."""
    training: list[Work]


def read_launch(arguments: Sequence[str]) -> tuple[Launch, list[str]]:
    """Read the options of a launch, see `take_launch`.

    A launcher that is not on this machine is an `InputError` as well: at once, not
    when the corpus has been read.
    """
    launch, rest = take_launch(arguments)
    if launch.launcher is not None:
        from sercorr.training.launcher import cluster  # noqa: PLC0415

        cluster.require(launch)
    return launch, rest


def run_stages(
    stages: Sequence[Stage],
    root: str | os.PathLike,
    launch: Launch,
    threads: int,
    run_opts: RunOptions,
    results: bool = True,
) -> list[str] | None:
    """Run works as they were asked for: on this machine, or through a cluster's queue.

    Arguments
    ---------
    stages : sequence of Stage
        What is to be done.
    root : path
        Where it is on record, see `sercorr.training.launcher.works`.
    launch : Launch
        How.
    threads : int
        Of torch, in each process.
    run_opts : speechbrain.utils.run_opts.RunOptions
        Whether a table is shown, and whether GPUs are dealt: not where ``device``
        names one.
    results : bool
        On a cluster, write the tables of ``root`` when all has ended.

    Returns
    -------
    list of str or None
        Names of works that failed. None: they are in the queue.

    Raises
    ------
    InputError
        Another launch is at work there, or the cluster refuses the works.
    """
    works = [work for stage in stages for work in (*stage.extraction, *stage.training)]
    if not works:
        return []
    with launch_lock(root):
        _refuse_queued(root)
        if launch.launcher is not None:
            _submit(stages, root, launch, threads, results)
            return None
        write_works(root, works)
        return _run_here(stages, launch.jobs or 1, threads, run_opts)


def _run_here(
    stages: Sequence[Stage], jobs: int, threads: int, run_opts: RunOptions
) -> list[str]:
    """Run works on this machine; return the names of those that failed."""
    environment = {"OMP_NUM_THREADS": str(threads), "LOCAL_WORLD_SIZE": str(jobs)}
    failed: list[Work] = []
    for part in zip(*stages, strict=True):  # all extractions, then all trainings
        failed = run_side_by_side(
            [work for of_stage in part for work in of_stage],
            jobs,
            environment,
            visible_gpus() if run_opts.device in (None, "cuda") else [],
            progress=not run_opts.noprogressbar,
        )
        if failed:
            break
    return [work.name for work in failed]


def require_idle(root: str | os.PathLike) -> None:
    """Raise `InputError` while a launch is at work in a folder, or in the queue."""
    if not (Path(root) / JOBS).is_dir():
        return
    with launch_lock(root):
        _refuse_queued(root)


def _refuse_queued(root: str | os.PathLike) -> None:
    if any("job" in work.record for work in read_works(root)):
        from sercorr.training.launcher import cluster  # noqa: PLC0415

        cluster.refuse_queued(root)


def _submit(
    stages: Sequence[Stage],
    root: str | os.PathLike,
    launch: Launch,
    threads: int,
    results: bool,
) -> None:
    from sercorr.training.launcher import cluster  # noqa: PLC0415  # needs submitit

    works = [work for stage in stages for work in (*stage.extraction, *stage.training)]
    last = [Work("results", [*RESULTS, str(root)], root)] if results else []
    write_works(root, [*works, *last])
    try:
        cluster.submit_stages(stages, last, root, launch, threads)
    except InputError as error:
        for work in (*works, *last):
            if work.record["state"] == WAITING:
                work.note(state=FAILED, message=f"not submitted: {error}")
        raise
    ids = arrays([work.record["job"] for work in (*works, *last)])
    print(
        f"{len(works)} works are in the queue (jobs {', '.join(ids)})\n"
        f"watch them: sercorr jobs {root} --watch"
    )
