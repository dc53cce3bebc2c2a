"""What the benchmarks share: sizes, timing in turns, processes, tables, the machine."""

import dataclasses
import datetime
import gc
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from models import build_model
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from sercorr import SAMPLE_RATE, __version__
from sercorr.files import write_json


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is."""

    shape: str = "base"  # of the models (group norm, random weights), or tiny
    clips: int = 32  # per batch
    seconds: float = 5.0  # of a clip, on average
    corpus: int = 128  # training clips that updates draw from
    projection_size: int = 256
    rounds: int = 5  # of each measurement
    updates: int = 4  # of each kind in a round
    memory_corpora: tuple[int, int] = (64, 512)  # training clips
    memory_updates: int = 20
    limit_megabytes: float = 1500  # of processes that read a large store
    store_by_limit: float = 4  # size of that store
    growth: tuple[int, ...] = (1, 2, 4, 8)  # factors
    long_minutes: tuple[float, ...] = (1, 5, 60)  # of recordings cut into windows
    matrix: int = 2048  # rows of the square matrices whose products are timed


FULL = Scale()
QUICK = Scale(
    shape="tiny",
    clips=4,
    seconds=0.5,
    corpus=8,
    projection_size=16,
    rounds=1,
    updates=1,
    memory_corpora=(4, 8),
    memory_updates=2,
    store_by_limit=1e-6,
    growth=(1, 2),
    long_minutes=(0.1, 0.2, 0.3),
    matrix=64,
)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Folders, sizes and models of a run."""

    folder: Path  # for whatever is written meanwhile; removed at the end
    output: Path  # gets the JSON files
    scale: Scale

    def model(self, family: str = "hubert", **changes: Any) -> Path:
        """Make a random model with group norm, once; return its folder."""
        changed = (f"{key}{value}" for key, value in changes.items())
        name = "-".join([family, self.scale.shape, *changed])
        folder = self.folder / "models" / name
        if not folder.exists():
            build_model(folder, family, "group", self.scale.shape, **changes)
        return folder

    def finish(self, name: str, result: dict[str, Any]) -> dict[str, Any]:
        """Write a benchmark's file and return what it holds."""
        about = {"machine": machine(), "scale": dataclasses.asdict(self.scale)}
        write_json(self.output / f"{name}.json", about | result)
        gc.collect()
        return about | result


def clip_samples(count: int, seconds: float, seed: int = 0) -> list[int]:
    """Draw clips' samples, from 0.4 to about twice the mean, which is met exactly.

    Example
    -------
    >>> seconds = np.array(clip_samples(32, 5.0)) / SAMPLE_RATE
    >>> bool(abs(seconds.mean() - 5) < 1e-3), bool(seconds.max() > 7)
    (True, True)
    """
    drawn = 0.4 + 1.6 * np.random.default_rng(seed).beta(1.5, 2.5, count)
    return [int(value) for value in drawn / drawn.mean() * seconds * SAMPLE_RATE]


def timed(function: Callable[[], Any]) -> Callable[[], float]:
    """Make a function that calls another and returns the seconds that it took."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

    def run() -> float:
        wait()
        start = time.perf_counter()
        function()
        wait()
        return time.perf_counter() - start

    return run


class Times:
    """Seconds of several cases, measured in turns: A B A B.

    What disturbs a machine lasts longer than one measurement; a ratio of neighbours
    suffers less from it than one of medians. A case does its work and returns its
    seconds. The first ``warm_up`` rounds do not count.
    """

    def __init__(
        self,
        cases: Mapping[Any, Callable[[], float]],
        rounds: int,
        title: str,
        warm_up: int = 1,
    ):
        self.seconds: dict[Any, list[float]] = {name: [] for name in cases}
        bar = tqdm(total=(rounds + warm_up) * len(cases), desc=title, leave=False)
        with bar:
            for number in range(rounds + warm_up):
                for name, case in cases.items():
                    bar.set_postfix_str(str(name))
                    seconds = case()
                    if number >= warm_up:
                        self.seconds[name].append(seconds)
                    bar.update()

    def __getitem__(self, name: Any) -> float:
        """Median of a case's seconds."""
        return median(self.seconds[name])

    def medians(self) -> dict[Any, float]:
        """Median seconds of every case."""
        return {name: self[name] for name in self.seconds}

    def ratio(self, name: Any, base: Any) -> float:
        """Median over the rounds of one case's seconds by another's."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return median(a / b for a, b in pairs)


SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["benchmarks.suite"])


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that has nothing but the imports in memory."""
    with ProcessPoolExecutor(1, mp_context=SERVER) as pool:
        return pool.submit(function, *arguments).result()


def peak_megabytes() -> float:
    """Largest resident memory that this process ever had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6  # it is in KiB


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Print rows under a title; the first column to the left, the others right.

    Example
    -------
    >>> print_table("speed", ["what", "s"], [["short", 0.5], ["longer", 12.25]])
    speed
      what        s
      short   0.500
      longer   12.2
    <BLANKLINE>
    """
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(_shown, row))
    # a log file has no width, and numbers must not be broken
    console = Console(file=sys.stdout, width=200, markup=False, highlight=False)
    console.print(title, table, "", sep="\n")


def _shown(cell: Any) -> str:
    return f"{cell:#.3g}".rstrip(".") if isinstance(cell, float) else str(cell)


def machine() -> dict[str, Any]:
    """Describe where and with what the numbers were taken."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_info("model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "amx": has_amx(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sercorr": __version__,
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
    }


def has_amx() -> bool:
    """Whether the processor multiplies bfloat16 matrices by itself (AMX)."""
    return "amx_bf16" in _cpu_info("flags").split()


NO_AMX = "skipped: the processor has no AMX (amx_bf16 in /proc/cpuinfo)"


def _cpu_info(key: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(found, "")
