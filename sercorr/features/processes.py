"""How many processes extract fastest on the cores of this machine: measured."""

import multiprocessing
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil
import torch

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.features.compute import compute_layers, read_group
from sercorr.features.memory import free_memory
from sercorr.features.plan import Clip
from sercorr.features.stored import load_at

WORTH_MEASURING = 600.0
"""Seconds of audio: fewer are extracted by one process in the time of measuring."""

_SECONDS = 4.0  # of computing in a measurement
_PATIENCE = 600.0  # seconds in which a process must have loaded its model and computed
_BETTER = 1.05  # a gain in speed that is worth twice as many processes


class Speed(NamedTuple):
    """What a number of processes does in a second.

    Attributes
    ----------
    processes, threads : int
        Side by side, and in each.
    rate : float
        Seconds of audio in a second, all processes together.
    memory : int
        Bytes of the largest process.
    """

    processes: int
    threads: int
    rate: float
    memory: int


def choose_processes(
    upstream: Any,
    precision: str,
    groups: Sequence[list[Clip]],
    cores: int,
    threads: int | None = None,
) -> list[Speed]:
    """Measure on some clips how many processes extract fastest.

    One process with all cores, two with half of them each, and so on, as far as memory
    goes; or as many as there are cores for, where the number of ``threads`` of each is
    given.

    Arguments
    ---------
    upstream : Upstream or FrozenUpstream
        What is at work.
    precision : str
        ``fp32`` or ``bf16``.
    groups : sequence of list of Clip
        What is to be computed; three of them are.
    cores : int
        All threads together.
    threads : int or None
        Of each process; None: any.

    Returns
    -------
    list of Speed
        All that were measured, the best first. Twice as many processes must be 5 %
        faster to be better.
    """
    counts = [2**power for power in range(cores.bit_length())]  # 1, 2, 4 ... cores
    wanted = [(count, cores // count) for count in counts]
    if threads is not None:
        wanted = [(max(cores // threads, 1), threads)]
    if len(wanted) == 1:
        return [Speed(*wanted[0], 0.0, 0)]
    places = sorted({len(groups) * part // 4 for part in (1, 2, 3)})
    waves = [read_group(groups[place]) for place in places]
    speeds: list[Speed] = []
    for count, each in wanted:
        if speeds and count * speeds[-1].memory > free_memory():
            break
        speeds.append(_measure(upstream, precision, waves, count, each))
    best = speeds[0]
    for speed in speeds[1:]:
        if speed.rate > _BETTER * best.rate:
            best = speed
    return [best, *(speed for speed in speeds if speed is not best)]


def _measure(
    upstream: Any,
    precision: str,
    waves: list[list[torch.Tensor]],
    count: int,
    threads: int,
) -> Speed:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    children = [
        context.Process(
            target=_compute,
            args=(upstream, precision, waves, threads, barrier, results),
        )
        for _ in range(count)
    ]
    for child in children:
        child.start()
    try:
        found = [_result(results, children) for _ in children]
    finally:
        for child in children:
            child.kill()
            child.join()
    rates, memory = zip(*found, strict=True)
    return Speed(count, threads, sum(rates), max(memory))


def _result(results: Any, children: Sequence[Any]) -> tuple[float, int]:
    """Wait for a process's rate; an `InputError` if one has ended without."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            return results.get(timeout=1.0)
        except queue.Empty:
            if any(child.exitcode not in (None, 0) for child in children):
                break
    raise InputError(
        f"{len(children)} processes could not be measured; say how many: --jobs 1"
    )


def _compute(
    upstream: Any,
    precision: str,
    waves: list[list[torch.Tensor]],
    threads: int,
    barrier: Any,
    results: Any,
) -> None:
    """Compute the same clips again and again, together with the other processes."""
    torch.set_num_threads(threads)
    model = load_at(upstream, "cpu", precision)
    compute_layers(model, waves[0])
    barrier.wait()
    start = time.monotonic()
    seconds = 0.0
    while time.monotonic() - start < _SECONDS:
        for own in waves:
            compute_layers(model, own)
            seconds += sum(map(len, own)) / SAMPLE_RATE
    rate = seconds / (time.monotonic() - start)
    barrier.wait()  # none is measured while others have ended
    results.put((rate, psutil.Process().memory_info().rss))
