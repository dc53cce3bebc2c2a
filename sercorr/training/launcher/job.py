"""What a job does: it runs one work, and stops it when Slurm says so.

Slurm warns jobs before it ends them: SIGUSR2 90 s before the time limit, SIGTERM before
preemption. The command then gets SIGTERM, saves what it has, and the job goes back into
the queue, where the same command goes on. A job that the user cancels does not.
"""

import contextlib
import signal
import socket
import time
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.files import read_json
from sercorr.training.launcher.slurm import call
from sercorr.training.launcher.works import (
    FAILED,
    INTERRUPTED,
    RECORD,
    STOPPED,
    WAITING,
    Running,
    Work,
)

_LOOK = 0.2  # seconds between two looks at the command
_PATIENCE = 60  # seconds until a file must be visible on another machine


def run_work(folder: str, threads: int) -> None:
    """Run a work in a job: start its command, stop it when Slurm says so, wait.

    Arguments
    ---------
    folder : str
        The work's.
    threads : int
        Of the command.

    Raises
    ------
    RuntimeError
        The command has failed, or was stopped for good: the job has failed, too.
    SystemExit
        The job is in the queue again.
    """
    environment = import_submitit().JobEnvironment()
    work = _on_record(Path(folder), environment)
    asked: list[int] = []
    user = (signal.SIGUSR1, signal.SIGUSR2)
    for number in (signal.SIGTERM, *user):
        signal.signal(number, lambda number, _frame: asked.append(number))
    # Slurm signals all processes of a job: the command keeps these two blocked. It
    # stays in the job's process group, by which Slurm may have to kill it.
    signal.pthread_sigmask(signal.SIG_BLOCK, user)
    try:
        running = Running(work, {"OMP_NUM_THREADS": str(threads)}, own_session=False)
    except OSError as error:
        message = f"{error.filename}: {error.strerror} on {socket.gethostname()}"
        work.note(state=FAILED, message=message)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, user)
    told = False
    while running.poll() is None:
        if asked and not told:
            told = True
            running.stop()
        time.sleep(_LOOK)
    status = running.wait()
    # by SIGTERM: it came before the program was there to take it
    if asked and status in (INTERRUPTED, -signal.SIGTERM):
        _requeue(work, environment)
    if status:
        message = work.record.get("message") or work.record["state"]
        raise RuntimeError(f"{work.name}: {message}; its log: {work.log}")


def _requeue(work: Work, environment: Any) -> None:
    """Put the job of a stopped work into the queue again, unless Slurm has ended it."""
    from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE  # noqa: PLC0415

    if environment.cluster == "slurm":
        job = environment.raw_job_id
        state = call("squeue", "-h", "-o", "%T", f"--jobs={job}").stdout.strip()
        if state != "RUNNING":  # cancelled, out of time, or requeued by Slurm itself
            work.note(state=STOPPED, message="")
            return
        work.note(state=WAITING, message="")
        answer = call("scontrol", "requeue", job)
        if answer.returncode:
            message = f"cannot be requeued: {answer.stderr.strip()}"
            work.note(state=STOPPED, message=message)
            return
    else:
        work.note(state=WAITING, message="")
    raise SystemExit(LOCAL_REQUEUE_RETURN_CODE)  # Slurm does not ask for the status


def _on_record(folder: Path, environment: Any) -> Work:
    """Wait until the submission has put the job on record; then it writes no more."""
    job = environment.job_id
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(InputError):
            if read_json(folder / RECORD).get("job") == job:
                return Work.read(folder)
        time.sleep(_LOOK)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: it is not on {socket.gethostname()}; the output_folder must be "
            "on a disk that all machines of the cluster share"
        )
    work = Work.read(folder)
    work.note(launcher=environment.cluster, job=job)
    return work


def import_submitit() -> Any:
    """Import submitit; an `InputError` if the extra ``slurm`` is not installed."""
    try:
        import submitit  # noqa: PLC0415  # of the extra slurm
    except ImportError:
        raise InputError(
            "--launcher needs submitit: pip install 'sercorr[slurm]'"
        ) from None
    return submitit
