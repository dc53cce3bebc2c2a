"""Works as jobs of Slurm, or of submitit's executor on this machine."""

import contextlib
import functools
import io
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from sercorr.errors import InputError
from sercorr.files import make_folder
from sercorr.training.launcher.job import import_submitit, run_work
from sercorr.training.launcher.local import visible_gpus
from sercorr.training.launcher.options import Launch
from sercorr.training.launcher.slurm import (
    arrays,
    call,
    require_slurm,
    sbatch_parameters,
)
from sercorr.training.launcher.works import DONE, FAILED, JOBS, Work, read_works

FOLDER = ".slurm"
"""Of submitit's files and Slurm's logs, below ``<root>/jobs``."""

_LOOK = 0.2  # seconds between two looks at processes


def require(launch: Launch) -> None:
    """Raise `InputError` where a launch cannot be submitted, before anything is done.

    submitit or Slurm is not on this machine, or an option makes no sense.
    """
    sbatch_parameters(launch.options)
    import_submitit()
    if launch.launcher == "slurm":
        require_slurm()


def submit_stages(
    stages: Sequence[tuple[Sequence[Work], Sequence[Work]]],
    last: Sequence[Work],
    root: str | os.PathLike,
    launch: Launch,
    threads: int,
) -> None:
    """Submit works that are on record, those of a stage's second part after its first.

    Arguments
    ---------
    stages : sequence of tuple
        Works that come first, and works that begin when all of them are done.
    last : sequence of Work
        They begin when all others have ended, whatever became of these.
    root : path
        The launch's folder.
    launch : Launch
        Launcher, options, and most jobs of an array at once.
    threads : int
        Of each command.

    Raises
    ------
    InputError
        See `submit`; what was submitted before is cancelled.
    """
    send = functools.partial(
        submit,
        root=root,
        launcher=launch.launcher or "slurm",
        options=launch.options,
        at_once=launch.jobs,
        threads=threads,
    )
    ids: list[str] = []
    try:
        for first, second in stages:
            before = send(first)
            ids += before
            ids += send(second, after=before)
        send(last, after=ids, any_end=True)
    except InputError:
        if ids and launch.launcher != "local":
            call("scancel", *arrays(ids))
        raise


def submit(
    works: Sequence[Work],
    root: str | os.PathLike,
    *,
    launcher: str,
    options: Mapping[str, str],
    at_once: int | None,
    after: Sequence[str] = (),
    any_end: bool = False,
    threads: int = 1,
) -> list[str]:
    """Submit works that are on record as one array, and put their jobs on record.

    Arguments
    ---------
    works : sequence of Work
        Written already, see `write_works`.
    root : path
        The launch's folder, on a disk that all machines share.
    launcher : str
        ``"slurm"``, or ``"local"`` for processes of this machine through submitit:
        these are started ``at_once`` (1) at a time, so that the call takes until the
        last one has started.
    options : mapping
        Options of sbatch: name, without dashes -> value; ``"true"`` for those without
        a value.
    at_once : int or None
        Most jobs of the array at once.
    after : sequence of str
        Jobs that have to be done before; of an array, all are waited for.
    any_end : bool
        Whether they may also have failed.
    threads : int
        Of each command; as many CPUs has its job, unless ``options`` say otherwise.

    Returns
    -------
    list of str
        Job ids, one per work.

    Raises
    ------
    InputError
        Slurm or submitit is not on this machine, an option makes no sense, Slurm
        refuses the jobs, or an earlier one has failed (``"local"``).
    """
    if not works:
        return []
    parameters = sbatch_parameters(options, threads, after, any_end)
    submitit = import_submitit()
    folder = Path(root).resolve() / JOBS / FOLDER
    folders = [str(work.folder.resolve()) for work in works]
    calls = [functools.partial(run_work, one, threads) for one in folders]
    if launcher == "local":
        _wait_for(root, after, any_end)
        executor = submitit.LocalExecutor(make_folder(folder))
        executor.update_parameters(timeout_min=10**6, **_all_gpus())
        return _start(executor, works, calls, at_once or 1)
    require_slurm()
    executor = submitit.SlurmExecutor(make_folder(folder))
    cpus = parameters.get("cpus-per-task")
    executor.update_parameters(
        # None: not submitit's own value, but Slurm's or that of the options
        **{"time": None, "job_name": None, "wckey": None},
        array_parallelism=at_once or len(works),
        # srun takes neither over from sbatch (the second since Slurm 22.05)
        srun_args=["--ntasks=1", *([f"--cpus-per-task={cpus}"] if cpus else [])],
        additional_parameters=parameters,
    )
    try:
        # submitit prints what it raises
        with contextlib.redirect_stderr(io.StringIO()), _outside_of_a_job():
            ids = [job.job_id for job in executor.submit_array(calls)]
    except (
        submitit.core.utils.FailedJobError,
        submitit.core.utils.FailedSubmissionError,
    ) as error:
        words = re.sub(r"sbatch: (error: )?", "", str(error)).split("\n")
        raise InputError(
            f"Slurm refuses the jobs: {'; '.join(filter(None, words))}"
        ) from None
    for work, job in zip(works, ids, strict=True):
        work.note(launcher=launcher, job=job)
    return ids


def queue_states(works: Sequence[Work]) -> dict[str, str]:
    """Ask which jobs of works are in the queue.

    Returns
    -------
    dict
        Job id -> state, and reason if there is one: ``"PENDING (Priority)"``. Jobs
        that have ended are not in it.

    Raises
    ------
    InputError
        Slurm is not on this machine, or does not answer.
    """
    ids = {name: _jobs_of(works, name) for name in ("slurm", "local")}
    states = {job: "RUNNING" for job in ids["local"] if _is_alive(job)}
    if not ids["slurm"]:
        return states
    require_slurm()
    given = ",".join(arrays(ids["slurm"]))
    answer = call("squeue", "-h", "-r", "-o", "%i|%T|%r", f"--jobs={given}")
    # it says so of a single job that has ended some time ago
    if answer.returncode and "Invalid job id" not in answer.stderr:
        raise InputError(f"Slurm does not answer: {answer.stderr.strip()}")
    for line in answer.stdout.splitlines():
        job, state, reason = line.split("|", 2)
        if job in ids["slurm"]:
            states[job] = state if reason == "None" else f"{state} ({reason})"
    return states


def refuse_queued(root: str | os.PathLike) -> None:
    """Raise `InputError` if works of an earlier launch are still in the queue."""
    works = [w for w in read_works(root) if w.record["state"] not in (DONE, FAILED)]
    states = queue_states(works)
    if not states:
        return
    jobs = arrays(list(states))
    command = "scancel" if set(states) <= set(_jobs_of(works, "slurm")) else "kill"
    raise InputError(
        f"{root}: {len(states)} jobs of an earlier launch are in the queue: "
        f"{', '.join(jobs)}; wait for them (sercorr jobs {root}), or end them: "
        f"{command} {' '.join(jobs)}"
    )


def last_words(work: Work) -> str:
    """Find Slurm's last error in the log of a work's job; empty if there is none.

    It says why a job ended that says nothing itself, such as ``Out Of Memory``.
    """
    log = work.folder.parent / FOLDER / f"{work.record.get('job')}_0_log.err"
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        errors = [one.strip() for one in lines if "error" in one.lower()]
        return next((one for one in reversed(errors) if "exit code" not in one), "")
    return ""


def _start(
    executor: Any, works: Sequence[Work], calls: Sequence[Any], at_once: int
) -> list[str]:
    """Start processes of submitit's local executor, not all of them at once."""
    ids: list[str] = []
    for work, run in zip(works, calls, strict=True):
        while sum(map(_is_alive, ids)) >= at_once:
            time.sleep(_LOOK)
        ids.append(executor.submit(run).job_id)
        work.note(launcher="local", job=ids[-1])
    return ids


def _wait_for(root: str | os.PathLike, ids: Sequence[str], any_end: bool) -> None:
    """Wait for processes of submitit's local executor, which knows no dependencies."""
    while any(map(_is_alive, ids)):
        time.sleep(_LOOK)
    ended = [work for work in read_works(root) if work.record.get("job") in ids]
    failed = [work.name for work in ended if work.record["state"] != DONE]
    if failed and not any_end:
        raise InputError(f"{', '.join(failed)}: failed; see sercorr jobs {root}")


def _all_gpus() -> dict[str, Any]:
    """Let processes of submitit's local executor see what this one sees."""
    numbers = [int(name) for name in visible_gpus() if name.isdigit()]
    return {"gpus_per_node": len(numbers), "visible_gpus": numbers}


def _is_alive(job: str) -> bool:
    try:
        return psutil.Process(int(job)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _jobs_of(works: Sequence[Work], launcher: str) -> list[str]:
    records = [work.record for work in works]
    return [r["job"] for r in records if r.get("launcher") == launcher and "job" in r]


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Hide what Slurm tells a job of itself: other jobs would take it over."""
    names = [n for n in os.environ if n.startswith(("SLURM_", "SUBMITIT_"))]
    hidden = {n: os.environ.pop(n) for n in names if n != "SLURM_CONF"}
    try:
        yield
    finally:
        os.environ.update(hidden)
