"""Works: the commands of a launch, and what is on record of each."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.files import json_digest, make_folder, read_json, write_json
from sercorr.training.locks import hold, is_held, timestamp

JOBS = "jobs"
RECORD, TASK, LOG = "work.json", "task.json", "output.txt"
LAUNCH = "launch.json"

WAITING, RUNNING, DONE = "waiting", "running", "done"
FAILED, STOPPED, LOST = "failed", "stopped", "lost"

INTERRUPTED = 130
"""Exit status of a program that Ctrl-C or SIGTERM has stopped."""

_TAIL = 4096
_LONGEST = 80


class Work:
    """A command that is run in a process of its own.

    Arguments
    ---------
    name : str
        What tables and messages call it; no two works of a launch have the same.
    command : sequence of str
        What is run; after an interruption, the same again goes on.
    root : path
        The launch's folder; the work's own is ``<root>/jobs/<name>``.
    task : mapping or None
        What ``command`` reads from ``task.json`` in the work's folder, whose path is
        put behind it. None: nothing.

    Attributes
    ----------
    record : dict
        What ``work.json`` says: ``name``, ``command``, ``cwd``, ``state`` (`WAITING`,
        `RUNNING`, ...), and as known ``launcher``, ``job``, ``host``, ``pid``,
        ``since``, ``ended``, ``status`` (exit status), ``message``, ``starts``.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        root: str | os.PathLike,
        task: Mapping[str, Any] | None = None,
    ):
        self.folder = Path(root) / JOBS / _slug(name)
        self.task = task
        if task is not None:
            command = [*command, str(self.folder / TASK)]
        self.record: dict[str, Any] = {
            "name": name,
            "command": list(command),
            "cwd": os.getcwd(),
            "state": WAITING,
        }

    @classmethod
    def read(cls, folder: Path) -> "Work":
        """Read a work's record."""
        work = cls.__new__(cls)
        work.folder, work.task = folder, None
        work.record = read_json(folder / RECORD)
        return work

    @property
    def name(self) -> str:
        """What tables and messages call it."""
        return self.record["name"]

    @property
    def log(self) -> Path:
        """The file with all that the command says."""
        return self.folder / LOG

    def write(self) -> None:
        """Write the record and the task."""
        if self.task is not None:
            write_json(self.folder / TASK, self.task)
        write_json(self.folder / RECORD, self.record)

    def note(self, **fields: Any) -> None:
        """Change the record. One that cannot be written any more is kept in memory."""
        self.record |= fields
        with contextlib.suppress(OSError, InputError):  # the disk may be full
            write_json(self.folder / RECORD, self.record)

    def log_tail(self) -> str:
        """Read the end of the log; empty if there is none."""
        try:
            with open(self.log, "rb") as stream:
                stream.seek(max(stream.seek(0, os.SEEK_END) - _TAIL, 0))
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return ""


class Running:
    """A work whose command is a child of this process.

    Arguments
    ---------
    work : Work
        Its record is kept up to date.
    environment : mapping
        Variables over those of this process.
    own_session : bool
        Whether a Ctrl-C of the terminal passes the command by, so that it is told
        by `stop` alone.
    """

    def __init__(
        self, work: Work, environment: Mapping[str, str], own_session: bool = True
    ):
        self.work = work
        make_folder(work.folder)
        with open(work.log, "ab") as log:
            self._child = subprocess.Popen(
                work.record["command"],
                cwd=work.record["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # bars are read from the log now and then
                env={**os.environ, "TQDM_MININTERVAL": "1", **environment},
                start_new_session=own_session,
            )
        work.note(
            state=RUNNING,
            host=socket.gethostname(),
            pid=self._child.pid,
            since=timestamp(),
            starts=work.record.get("starts", 0) + 1,
            message="",
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal; by default one that lets the command save what it has."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        self._child.wait()
        return self.poll() or 0

    def poll(self) -> int | None:
        """Return the exit status, or None while the command is running."""
        status = self._child.poll()
        if status is None or self.work.record["state"] != RUNNING:
            return status
        state = {0: DONE, INTERRUPTED: STOPPED}.get(status, FAILED)
        message = describe_end(status, self.work.log_tail()) if state == FAILED else ""
        self.work.note(state=state, status=status, ended=timestamp(), message=message)
        return status


def describe_end(status: int, tail: str) -> str:
    """Say why a command failed: its last ``error:`` line, or how it ended.

    Example
    -------
    >>> describe_end(2, "fold 1\\nerror: lr is -1; it must be over 0\\n")
    'lr is -1; it must be over 0'
    >>> describe_end(-9, "")
    'killed by SIGKILL: out of memory, or by hand'
    """
    if status < 0:
        name = signal.Signals(-status).name
        hint = ": out of memory, or by hand" if -status == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    lines = [line.strip() for line in re.split(r"[\r\n]+", tail) if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    return lines[-1] if lines else f"exit status {status}, without a word"


def read_works(root: str | os.PathLike) -> list[Work]:
    """Read what is on record of a launch, in the order of the launch."""
    folders = [path.parent for path in (Path(root) / JOBS).glob(f"*/{RECORD}")]
    works = [Work.read(folder) for folder in folders]
    return sorted(works, key=lambda work: (work.record.get("place", 0), work.name))


def write_works(root: str | os.PathLike, works: Sequence[Work]) -> None:
    """Put works on record in the place of those of an earlier launch.

    ``launch.json`` beside them has the command line and the folder of this process.
    """
    command = {"command": sys.argv, "cwd": os.getcwd(), "at": timestamp()}
    write_json(Path(root) / JOBS / LAUNCH, command)
    kept = {work.folder for work in works}
    for path in (Path(root) / JOBS).glob(f"*/{RECORD}"):
        if path.parent not in kept:
            shutil.rmtree(path.parent)
    for place, work in enumerate(works):
        work.record["place"] = place
        work.write()


def is_launching(root: str | os.PathLike) -> bool:
    """Whether a process holds `launch_lock`."""
    return is_held(Path(root) / JOBS)


def launch_lock(root: str | os.PathLike) -> contextlib.AbstractContextManager[None]:
    """Hold a folder while it is launched in.

    Raises
    ------
    InputError
        Another launch on this machine, or on one that shares the disk, holds it.
    """
    place = make_folder(Path(root) / JOBS)
    who = "another launch (process {pid} on {host})"
    return hold(place, "launching.json", root, who, "another launch")


def _slug(name: str) -> str:
    """Make a folder's name of a work's; names of heads and folders stay apart in it.

    Example
    -------
    >>> _slug("hubert fold 1: mean, corr/seed_2")
    'hubert_fold_1=mean+corr@seed_2'
    """
    for sign, instead in ((": ", "="), (", ", "+"), ("/", "@"), (" ", "_")):
        name = name.replace(sign, instead)
    text = re.sub(r"[^A-Za-z0-9_.=+@-]", "_", name)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}_{json_digest(name)}"
    return text


def task_of(path: str | os.PathLike) -> dict[str, Any]:
    """Read a ``task.json``; an `InputError` where this machine cannot see it."""
    if not os.path.exists(path):
        raise InputError(
            f"{path}: it is not on {socket.gethostname()}: the folder must be on a "
            "disk that all machines of the cluster share"
        )
    return read_json(path)
