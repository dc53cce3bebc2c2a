"""What the benchmarks share: sizes, timing in turns, tables, files, the machine."""

import dataclasses
import datetime
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from models import build_model
from tqdm import tqdm

from sercorr import SAMPLE_RATE, __version__
from sercorr.files import write_json


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes
    ----------
    shape : str
        Of the HuBERT model (group norm, random weights): ``base`` or ``tiny``.
    clips, seconds : int, float
        Batch size, and mean duration of a clip.
    corpus : int
        Training clips that updates draw from.
    projection_size : int
        d_v of the head.
    rounds, updates : int
        Rounds of each measurement; updates of each kind in a round.
    memory_corpora : tuple of int
        Training clips of the smaller and the larger corpus.
    memory_updates : int
        Updates of each training whose memory is measured.
    growth : tuple of int
        Factors by which sizes grow.
    matrix : int
        Rows of the square matrices that the rate of matrix products is measured with.
    """

    shape: str = "base"
    clips: int = 32
    seconds: float = 5.0
    corpus: int = 128
    projection_size: int = 256
    rounds: int = 5
    updates: int = 4
    memory_corpora: tuple[int, int] = (64, 512)
    memory_updates: int = 20
    growth: tuple[int, ...] = (1, 2, 4, 8)
    matrix: int = 2048


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
    growth=(1, 2),
    matrix=64,
)


class Bench:
    """Folders, sizes and models of a run.

    Arguments
    ---------
    folder : pathlib.Path
        For whatever is written meanwhile; removed at the end.
    output : pathlib.Path
        Gets the JSON files.
    scale : Scale
        How large everything is.
    """

    def __init__(self, folder: Path, output: Path, scale: Scale):
        self.folder = folder
        self.output = output
        self.scale = scale

    def model(self, **changes: Any) -> Path:
        """Make a random HuBERT model with group norm, once; return its folder."""
        name = "-".join([self.scale.shape, *(f"{k}{v}" for k, v in changes.items())])
        folder = self.folder / "models" / name
        if not folder.exists():
            build_model(folder, "hubert", "group", self.scale.shape, **changes)
        return folder

    def finish(self, name: str, result: dict[str, Any]) -> dict[str, Any]:
        """Write a benchmark's file and return what it holds."""
        result = {
            "machine": machine(),
            "scale": dataclasses.asdict(self.scale),
            **result,
        }
        write_json(self.output / f"{name}.json", result)
        print(flush=True)
        gc.collect()
        return result


def clip_samples(count: int, seconds: float, seed: int = 0) -> list[int]:
    """Draw durations from 0.4 to about twice the mean, which is met exactly.

    Returns
    -------
    list of int
        Samples a clip.

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

    def run() -> float:
        synchronise()
        start = time.perf_counter()
        function()
        synchronise()
        return time.perf_counter() - start

    return run


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Times:
    """Seconds of several cases, measured in turns: A B A B.

    What disturbs a machine lasts longer than one measurement; a ratio of neighbours
    suffers less from it than one of medians.

    Arguments
    ---------
    cases : mapping
        Name -> callable that does the work and returns its seconds.
    rounds : int
        Measurements of each.
    title : str
        Of the progress bar.
    warm_up : int
        Rounds before, which do not count.
    """

    def __init__(
        self,
        cases: Mapping[str, Callable[[], float]],
        rounds: int,
        title: str,
        warm_up: int = 1,
    ):
        self.seconds: dict[str, list[float]] = {name: [] for name in cases}
        bar = tqdm(total=(rounds + warm_up) * len(cases), desc=title, leave=False)
        with bar:
            for number in range(rounds + warm_up):
                for name, case in cases.items():
                    bar.set_postfix_str(name)
                    seconds = case()
                    if number >= warm_up:
                        self.seconds[name].append(seconds)
                    bar.update()

    def __getitem__(self, name: str) -> float:
        """Median of a case's seconds."""
        return median(self.seconds[name])

    def medians(self) -> dict[str, float]:
        """Median seconds of every case."""
        return {name: self[name] for name in self.seconds}

    def ratio(self, name: str, base: str) -> float:
        """Median over the rounds of one case's seconds by another's."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return median(a / b for a, b in pairs)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Print rows under a title; the first column to the left, the others right.

    Example
    -------
    >>> print_table("speed", ["what", "s"], [["short", 0.5], ["longer", 12.25]])
    speed
      what         s
      short    0.500
      longer    12.2
    <BLANKLINE>
    """
    table = [list(columns), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(title)
    for first, *rest in table:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True)]
        print(f"  {'   '.join(cells)}".rstrip())
    print(flush=True)


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
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(found, "")
