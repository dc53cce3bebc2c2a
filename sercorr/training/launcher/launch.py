"""From the works of a program to what became of them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechbrain.utils.run_opts import RunOptions

from sercorr.training.launcher.local import run_side_by_side, visible_gpus
from sercorr.training.launcher.options import Launch
from sercorr.training.launcher.works import (
    JOBS,
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
    if launch.launcher is not None:
        _submit(stages, root, launch, threads, results)
        return None
    jobs = launch.jobs or 1
    environment = {"OMP_NUM_THREADS": str(threads), "LOCAL_WORLD_SIZE": str(jobs)}
    failed: list[Work] = []
    with launch_lock(root):
        write_works(root, works)
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
    last = [Work("results", [*RESULTS, str(root)], root)] if results and works else []
    with launch_lock(root):
        cluster.refuse_queued(root)
        write_works(root, [*works, *last])
        cluster.submit_stages(stages, last, root, launch, threads)
    ids = sorted({work.record["job"].partition("_")[0] for work in [*works, *last]})
    print(
        f"{len(works)} works are in the queue (jobs {', '.join(ids)})\n"
        f"watch them: sercorr jobs {root} --watch"
    )
