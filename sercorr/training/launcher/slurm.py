"""Slurm's commands and the options of sbatch."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from sercorr.errors import InputError

_COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel")
_OWN = ("array", "dependency", "nodes", "ntasks", "ntasks-per-node", "wrap")
_SHORTEST = 5  # minutes: SIGUSR2 comes 90 s before the end, by up to 60 s too early
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def sbatch_parameters(
    options: Mapping[str, str],
    threads: int = 1,
    after: Sequence[str] = (),
    any_end: bool = False,
) -> dict[str, Any]:
    """Put the options of sbatch together; True stands for one without a value.

    Example
    -------
    >>> sbatch_parameters({"mem": "8G", "exclusive": "true"}, 2, ["7_0", "7_1"])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'job-name': 'sercorr', 'ntasks': '1', 'requeue': True, 'cpus-per-task': '2',
     'dependency': 'afterok:7', 'kill-on-invalid-dep': 'yes',
     'mem': '8G', 'exclusive': True}
    """
    # one task, or --exclusive makes srun start one on every CPU
    parameters: dict[str, Any] = {"job-name": "sercorr", "ntasks": "1"}
    if "no-requeue" not in options:
        parameters["requeue"] = True
    if "cpus-per-gpu" not in options:
        parameters["cpus-per-task"] = str(threads)
    if after:
        kind = "afterany" if any_end else "afterok"
        parameters["dependency"] = ":".join([kind, *arrays(after)])
        parameters["kill-on-invalid-dep"] = "yes"
    for name, value in options.items():
        written = f"--slurm_{name.replace('-', '_')}"
        if name in _OWN:
            raise InputError(
                f"{written} is not for this program: each job is one work on one "
                "machine, and their order is known"
            )
        if not re.fullmatch(r"[a-z][a-z-]*", name):
            raise InputError(f"{written}: sbatch has no such option")
        if not value.strip() or len(value.splitlines()) > 1:
            raise InputError(f"{written} is {value!r}; give a value on one line")
        parameters[name] = True if value == "true" else value
    minutes = _minutes(options.get("time", ""))
    if minutes is not None and minutes < _SHORTEST and "signal" not in options:
        raise InputError(
            f"--slurm_time is {options['time']} ({minutes:g} minutes); give "
            f"{_SHORTEST} or more: jobs are stopped two minutes before the end, to "
            "save what they have"
        )
    return parameters


def arrays(ids: Sequence[str]) -> list[str]:
    """Name arrays in the place of their elements.

    Example
    -------
    >>> arrays(["7_0", "7_1", "9"])
    ['7', '9']
    """
    return list(dict.fromkeys(job.partition("_")[0] for job in ids))


def call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def require_slurm() -> None:
    """Raise `InputError` unless this machine has Slurm's commands."""
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"--launcher slurm: no {missing[0]} on this machine; give the command on a "
            "machine of the cluster (a login node), or use --jobs N without --launcher"
        )


def _minutes(text: str) -> float | None:
    """Read a time limit as sbatch does; None if it is none, or a word.

    Example
    -------
    >>> [_minutes(text) for text in ("30", "1:30", "2:00:00", "1-0", "1-0:30")]
    [30.0, 1.5, 120.0, 1440.0, 1470.0]
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    numbers = [int(number) for number in found.groups()[1:] if number is not None]
    if found[1] is not None:  # D-H[:M[:S]]
        days, (hours, minutes, seconds) = int(found[1]), (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        days, (hours, minutes, seconds) = 0, numbers
    else:  # M[:S]
        days, hours, (minutes, seconds) = 0, 0, (*numbers, 0)[:2]
    return (days * 24 + hours) * 60 + minutes + seconds / 60
