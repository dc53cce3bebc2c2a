"""``sercorr jobs FOLDER``: what became of the works of a launch."""

import contextlib
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from sercorr.errors import InputError
from sercorr.files import read_json
from sercorr.training.launcher.table import summary, works_table
from sercorr.training.launcher.works import (
    DONE,
    FAILED,
    JOBS,
    LAUNCH,
    LOG,
    LOST,
    RUNNING,
    STOPPED,
    WAITING,
    Work,
    is_launching,
    read_works,
)

_EVERY = 5.0  # seconds between two looks at the queue
_WIDTH = 160  # of tables that go to a file
_UNDONE = (FAILED, STOPPED, LOST)


def jobs_command(folder: str, watch: bool = False) -> int:
    """Print a table of the works that were launched in a folder.

    Arguments
    ---------
    folder : str
        The ``output_folder`` of the launch, or the ``cache_folder`` of an extraction.
    watch : bool
        Until all have ended, print it anew every few seconds.

    Returns
    -------
    int
        1 if a work failed, was stopped or is lost, else 0.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    works, table = _look(folder)
    if watch:
        with (
            contextlib.suppress(KeyboardInterrupt),
            Live(table, console=console, auto_refresh=False, transient=True) as live,
        ):
            live.refresh()
            while any(work.record["state"] in (WAITING, RUNNING) for work in works):
                time.sleep(_EVERY)
                works, table = _look(folder)
                live.update(Group(table, summary(works)), refresh=True)
    console.print(table)
    print("", *_advice(folder, works), sep="\n")
    return int(any(work.record["state"] in _UNDONE for work in works))


def _look(folder: str) -> tuple[list[Work], Table]:
    works = read_works(folder)
    if not works:
        raise InputError(
            f"{folder}: nothing was launched here; give the output_folder of a command "
            "with --jobs or --launcher"
        )
    states: Mapping[str, str] = {}
    queued = [work for work in works if "job" in work.record]
    if queued:
        from sercorr.training.launcher import cluster  # noqa: PLC0415

        states = cluster.queue_states(queued)
    launching = is_launching(folder)
    for work in works:
        if reason := why_lost(work, states, launching):
            work.record |= {"state": LOST, "message": reason}
    return works, works_table(works, states)


def why_lost(work: Work, states: Mapping[str, str], launching: bool) -> str:
    """Say why a work will not go on although its record says so; else nothing.

    ``states`` maps the ids of the jobs that are in the cluster's queue to their states;
    ``launching`` says whether the command that starts the others is at work.
    """
    state, job = work.record["state"], work.record.get("job")
    if state not in (WAITING, RUNNING) or (job is not None and job in states):
        return ""
    if job is not None:
        return _why_its_job_ended(work)
    if state == WAITING and not launching:
        return "the command that would have started it is gone"
    if state == RUNNING and work.record.get("host") == socket.gethostname():
        gone = not psutil.pid_exists(work.record["pid"])
        return "its process is gone: killed, or the machine was restarted" * gone
    return ""


def _why_its_job_ended(work: Work) -> str:
    from sercorr.training.launcher import cluster  # noqa: PLC0415

    job, words = work.record["job"], cluster.last_words(work)
    if work.record["state"] == RUNNING:
        return f"job {job} has ended: killed, or its machine died. {words}".strip()
    return (
        f"job {job} ended before it began: cancelled, or the machines of the cluster "
        f"cannot see {work.folder}. {words}"
    ).strip()


def _advice(folder: str, works: Sequence[Work]) -> list[str]:
    logs = Path(folder) / JOBS / "*" / LOG
    lines = [f"{summary(works)}, of the last command. Logs: {logs}"]
    states = {work.record["state"] for work in works}
    if states & {*_UNDONE} and RUNNING not in states:
        launched = read_json(Path(folder) / JOBS / LAUNCH)
        place, command = map(shlex.join, ([launched["cwd"]], launched["command"]))
        lines.append("To go on, give the same command again:")
        lines.append(f"    cd {place} && python {command}")
    elif states == {DONE}:
        stored = all("features " in work.name for work in works)
        shown = "cache info" if stored else "results"
        lines.append(f"Look at it: sercorr {shown} {folder}")
    return lines
