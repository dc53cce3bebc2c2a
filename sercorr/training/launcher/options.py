"""``--jobs``, ``--launcher`` and ``--slurm_...`` of the programs that launch works."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sercorr.errors import InputError
from sercorr.training.program import take_options

LAUNCHERS = ("slurm", "local")
"""Values of ``--launcher``: Slurm, or submitit's processes on this machine."""

PREFIX = "--slurm_"

SHARES = 8
"""Jobs of an extraction on a cluster, unless ``--jobs`` says."""

HELP = """\
Processes side by side:

    --jobs N                  so many at once, each with --threads threads (1); the
                              results are the same for every N. GPUs are dealt in turn
    --launcher slurm          submit them to Slurm instead (--jobs: at most so many at
                              once); needs pip install 'sercorr[slurm]'
    --slurm_KEY VALUE         any option of sbatch: --slurm_partition gpu
                              --slurm_time 2:00:00 --slurm_gpus 1 --slurm_mem 16G
                              --slurm_account NAME

    sercorr jobs FOLDER       what became of them, FOLDER being the output_folder (of
                              extract_features.py: the cache_folder)
"""


@dataclasses.dataclass(frozen=True)
class Launch:
    """How works are run.

    Attributes
    ----------
    jobs : int or None
        Most processes at once.
    launcher : str or None
        One of `LAUNCHERS`; None: processes of this machine, see
        `sercorr.training.launcher.local`.
    options : dict
        Options of sbatch: name, without dashes -> value.
    """

    jobs: int | None = None
    launcher: str | None = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def shares(self) -> int:
        """Processes among which an extraction is shared."""
        return self.jobs or SHARES

    @property
    def asked(self) -> bool:
        """Whether works are to be launched in processes of their own."""
        return self.jobs is not None or self.launcher is not None


def take_launch(arguments: Sequence[str]) -> tuple[Launch, list[str]]:
    """Take the options of a launch out of a command line; return also the rest.

    Example
    -------
    >>> take_launch(["train.yaml", "--jobs", "2", "--seed", "1"])
    (Launch(jobs=2, launcher=None, options={}), ['train.yaml', '--seed', '1'])
    """
    words = [word.partition("=")[0] for word in arguments]
    names = [word.removeprefix("--") for word in words if word.startswith(PREFIX)]
    given, rest = take_options(("jobs", "launcher", *names), arguments)
    jobs = given.pop("jobs", None)
    if jobs is not None and not (jobs.isdigit() and int(jobs) > 0):
        raise InputError(
            f"--jobs is {jobs!r}; give the number of processes side by side, as in "
            "--jobs 4"
        )
    launcher = given.pop("launcher", None)
    if launcher is not None and launcher not in LAUNCHERS:
        raise InputError(
            f"--launcher is {launcher!r}; it must be one of {', '.join(LAUNCHERS)}"
        )
    if given and launcher != "slurm":
        raise InputError(f"--{next(iter(given))} is for --launcher slurm; add that")
    options = {
        name.removeprefix("slurm_").replace("_", "-"): value
        for name, value in given.items()
    }
    return Launch(int(jobs) if jobs else None, launcher, options), rest


def threads_of(hparams: Mapping[str, Any]) -> int:
    """Say how many threads each process of a launch has, whatever its ``--jobs``.

    As the settings or the variable ``OMP_NUM_THREADS`` say, else 1.
    """
    given = hparams.get("threads") or os.environ.get("OMP_NUM_THREADS", "1")
    return int(given) if str(given).isdigit() else 1
