"""How much memory this process may still take."""

from collections.abc import Iterator
from pathlib import Path

import psutil

_FILES = {
    # of a control group: most bytes, bytes now, and of them what the system gives back
    "": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory": (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}


def free_memory(system: Path = Path("/")) -> int:
    """Count the bytes that are free on this machine and for this process.

    Linux can limit groups of processes, as containers and Slurm's jobs are, to less
    than the machine has (control groups, version 1 or 2); each group above limits its
    own, too. Files that the system keeps in memory count as free. ``system`` is where
    ``proc`` and ``sys`` are.
    """
    free = psutil.virtual_memory().available
    return max(min([free, *_left_in_groups(system)]), 0)


def _left_in_groups(system: Path) -> Iterator[int]:
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:  # number:controllers:place, as in 4:memory:/job_1
        _, controllers, place = line.split(":", 2)
        for kind in {"", "memory"}.intersection(controllers.split(",")):
            root = system / "sys/fs/cgroup" / kind
            group = root / place.lstrip("/")
            # in a container, `place` may be what only the machine outside sees
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    yield from _left(folder, *_FILES[kind])


def _left(
    group: Path, limit: str, usage: str, cached: tuple[str, ...]
) -> Iterator[int]:
    try:
        most, now = (int((group / name).read_text()) for name in (limit, usage))
        lines = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return
    counts = dict(line.split() for line in lines)
    yield most - now + sum(int(counts.get(name, 0)) for name in cached)
