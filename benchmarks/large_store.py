"""Updates from a store that is several times as large as the memory allowed."""

import contextlib
import logging
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import SERVER, Bench, Times, clip_samples, print_table
from benchmarks.corpus import (
    NoiseCorpus,
    Trainer,
    bytes_read,
    fill_cache,
    frames_of,
    make_corpus,
)
from sercorr.errors import InputError
from sercorr.fast.memory import keep_freed_memory
from sercorr.lobes import Upstream

BLOCKS = 2
"""Parts of a pass over the corpus; the cases take turns at them."""

CGROUPS = Path("/sys/fs/cgroup")
RAM, DISK = "in memory", "from disk"


def run(bench: Bench) -> dict[str, Any]:
    """Measure updates under a limit of memory; see benchmarks/README.md."""
    scale = bench.scale
    limit = round(scale.limit_megabytes * 1e6)
    corpus = large_corpus(bench, scale.store_by_limit * limit)
    paths = corpus.entries()
    size = sum(path.stat().st_size for path in paths)
    updates = max(len(paths) // scale.clips // BLOCKS, 1)
    read: dict[str, list[float]] = {RAM: [], DISK: []}
    spawn = multiprocessing.get_context("spawn")
    with (
        # The first one also starts what processes share, which no limit shall count.
        training(bench, corpus, SERVER, preload=True) as in_memory,
        memory_group(limit) as group,
        training(bench, corpus, spawn, group, preload=False) as streamed,
    ):
        pipes = {RAM: in_memory, DISK: streamed}
        cases = {n: _block(pipes[n], corpus, updates, read[n]) for n in pipes}
        # Every entry is compared with its checksum in the first pass.
        passes = {
            title: Times(cases, BLOCKS, title, warm_up=0)
            for title in ("first pass", "later")
        }
        peak = _peak_megabytes(group)
    disk = {f"{depth} at once": read_alone(corpus, depth) for depth in (1, 8)}
    seconds, ratios, rates, rows = {}, {}, {}, []
    for number, (title, times) in enumerate(passes.items()):
        found = sum(read[DISK][number * BLOCKS : (number + 1) * BLOCKS])
        rates[title] = found / (sum(times.seconds[DISK]) * updates) / 1e6
        ratios[f"{title}, from disk / in memory"] = ratio = times.ratio(DISK, RAM)
        seconds |= {f"{title}, {name}": times[name] for name in cases}
        rows += [
            [f"{title}, {RAM}", times[RAM], "", ""],
            [f"{title}, {DISK}", times[DISK], ratio, rates[title]],
        ]
    limited = f"in {limit / 1e9:.1f} GB" if group else "without a limit"
    print_table(
        f"one update: {scale.clips} clips of {scale.seconds} s on average, from a "
        f"store of {size / 1e9:.3g} GB {limited}",
        ["what", "seconds", "of memory's", "MB/s from the disk"],
        rows,
    )
    print_table(
        "the same files alone, in random order",
        ["what", "MB/s from the disk"],
        list(disk.items()),
    )
    return {
        "store_megabytes": size / 1e6,
        "limited": group is not None,
        "peak_megabytes": peak,
        "seconds": seconds,
        "megabytes_per_second": rates,
        "disk_megabytes_per_second": disk,
        "ratios": ratios,
    }


def large_corpus(bench: Bench, size: float) -> NoiseCorpus:
    """Make a corpus whose store has ``size`` bytes, or the next batch more."""
    scale, upstream = bench.scale, Upstream(bench.model())
    samples = clip_samples(scale.clips, scale.seconds)
    values = upstream.num_layers * upstream.output_size  # of a frame, in float16
    batches = -(-size // (2 * values * sum(map(frames_of, samples))))
    free = shutil.disk_usage(bench.folder).free
    if free < 1.2 * size:
        raise InputError(
            f"{bench.folder}: {free / 1e9:.1f} GB free, {1.2 * size / 1e9:.1f} GB "
            "needed; let TMPDIR be a folder with more room"
        )
    corpus = make_corpus(
        bench.folder / "large", samples * max(int(batches), 2), bench.model()
    )
    fill_cache(corpus)
    return corpus


@contextlib.contextmanager
def training(
    bench: Bench,
    corpus: NoiseCorpus,
    context: Any,
    group: Path | None = None,
    **changes: Any,
) -> Iterator[Any]:
    """Start a process that trains, perhaps in a control group; gives a pipe to it."""
    ours, theirs = context.Pipe()
    scale = bench.scale
    given = {
        "batch_size": scale.clips,
        "projection_size": scale.projection_size,
        "pooling": "attentive_corr",
        "seed": 0,
        **changes,
    }
    arguments = (theirs, corpus, bench.folder / "run", given)
    process = context.Process(target=serve, args=arguments)
    with inside(group):
        process.start()
    theirs.close()
    try:
        _answer(ours)
        yield ours
    finally:
        ours.close()
        process.join()


def serve(
    pipe: Any, corpus: NoiseCorpus, output: Path, changes: dict[str, Any]
) -> None:
    """Make as many updates as the pipe asks for, until it is closed.

    It is asked with their number, and answers with the seconds of one and the bytes
    that were read.
    """
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    keep_freed_memory()
    trainer = Trainer(corpus, output, **changes)
    trainer.update()  # the first one is slower
    pipe.send(None)
    while True:
        try:
            updates = pipe.recv()
        except EOFError:
            return trainer.close()
        already, start = bytes_read(), time.perf_counter()
        for _ in range(updates):
            trainer.update()
        seconds = (time.perf_counter() - start) / updates
        pipe.send((seconds, bytes_read() - already))


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path | None]:
    """Make a control group of ``limit`` bytes, or say why it cannot be.

    What its processes have in memory counts, what they share with each other, and the
    files that the system keeps in memory for them.
    """
    root = CGROUPS / "memory" if (CGROUPS / "memory").is_dir() else CGROUPS
    group = root / f"sercorr-{os.getpid()}"
    try:
        group.mkdir()
        _file(group, "memory.limit_in_bytes", "memory.max").write_text(str(limit))
    except OSError as error:
        print(f"memory is not limited here: {error}")
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        for _ in range(50):  # its processes are being cleared away
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


@contextlib.contextmanager
def inside(group: Path | None) -> Iterator[None]:
    """Be in a group for a while; the processes started meanwhile stay there."""
    if group is None:
        yield
        return
    kind = "memory" if group.parent.name == "memory" else ""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    places = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}
    before = group.parent / places[kind].lstrip("/")
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))


def read_alone(corpus: NoiseCorpus, depth: int) -> float:
    """Read all entries from a cold disk, some at once; megabytes a second."""
    paths = corpus.entries()
    random.Random(0).shuffle(paths)
    corpus.evict()
    start = time.perf_counter()
    with ThreadPoolExecutor(depth) as pool:
        size = sum(pool.map(lambda path: len(path.read_bytes()), paths))
    return size / (time.perf_counter() - start) / 1e6


def _block(
    pipe: Any, corpus: NoiseCorpus, updates: int, read: list[float]
) -> Callable[[], float]:
    """Make a function that gives the seconds of an update, of many in a row."""

    def run() -> float:
        corpus.evict()
        pipe.send(updates)
        seconds, found = _answer(pipe)
        read.append(found)
        return seconds

    return run


def _answer(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise InputError(
            "a training process ended early; if it was killed for its memory (`dmesg` "
            "tells), the limit is too small for it"
        ) from None


def _file(group: Path, *names: str) -> Path:
    """Return the group's file under its name in version 1, or else in version 2."""
    return next((group / n for n in names if (group / n).exists()), group / names[-1])


def _peak_megabytes(group: Path | None) -> float | None:
    if group is None:
        return None
    file = _file(group, "memory.max_usage_in_bytes", "memory.peak")
    return int(file.read_text(encoding="ascii")) / 1e6
