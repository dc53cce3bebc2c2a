"""Works side by side in processes of this machine."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch

from sercorr.training.launcher.table import Progress
from sercorr.training.launcher.works import DONE, Running, Work

_LOOK = 0.2  # seconds between two looks at the processes


def run_side_by_side(
    works: Sequence[Work],
    jobs: int,
    environment: Mapping[str, str],
    gpus: Sequence[str],
    progress: bool,
) -> list[Work]:
    """Run works, ``jobs`` at a time, and show a table of them.

    Ctrl-C, SIGTERM or a closed terminal tells every process to stop, which saves what
    it has, and waits for them; a second Ctrl-C kills them.

    Arguments
    ---------
    works : sequence of Work
        On record already.
    jobs : int
        Most processes at once.
    environment : mapping
        Variables for all of them.
    gpus : sequence of str
        Dealt in turn: each process sees one of them. Empty: all see all.
    progress : bool
        Show the table.

    Returns
    -------
    list of Work
        Those that failed.

    Raises
    ------
    KeyboardInterrupt
        It was stopped; all processes have ended.
    """
    slots: dict[int, Running] = {}
    waiting = list(works)
    with _interrupted_by_signals(), Progress(works, enable=progress) as table:
        try:
            while waiting or slots:
                for slot, running in list(slots.items()):
                    if running.poll() is not None:
                        table.ended(running.work)
                        del slots[slot]
                for slot in range(jobs):
                    if waiting and slot not in slots:
                        own = dict(environment)
                        if gpus:
                            own["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
                        slots[slot] = Running(waiting.pop(0), own)
                table.refresh()
                time.sleep(_LOOK)
        finally:  # nothing is left here unless it was interrupted
            _stop(list(slots.values()), table.say)
    return [work for work in works if work.record["state"] != DONE]


def visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` does."""
    count = torch.cuda.device_count()
    named = [n for n in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if n]
    return (named or [str(number) for number in range(count)])[:count]


def _stop(running: Sequence[Running], say: Callable[[str], None]) -> None:
    """Tell processes to stop and wait for them."""
    if not running:
        return
    say(f"stopping {len(running)} processes, which save what they have ...")
    number = signal.SIGTERM
    while True:
        try:
            for one in running:
                one.stop(number)
            for one in running:
                one.wait()
            return
        except KeyboardInterrupt:
            number = signal.SIGKILL


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal be what Ctrl-C is."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before: dict[Any, Any] = {}
    try:
        for name in names:
            number = getattr(signal, name)
            before[number] = signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()
