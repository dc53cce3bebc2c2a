"""One update of the attentive head: live, from memory, from a warm and a cold disk."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.breakdown import break_down
from benchmarks.common import Bench, Times, clip_samples, print_table
from benchmarks.corpus import Corpus, Trainer, bytes_read, fill_cache, make_corpus

LIVE_ROUNDS = 2
IN_FLIGHT = 2
"""Batches that a loader process reads ahead."""

RAM = "cached, in memory"
LIVE = "live upstream"


def run(bench: Bench) -> dict[str, Any]:
    """Measure updates; see benchmarks/README.md."""
    scale = bench.scale
    corpus = update_corpus(bench)
    common = {
        "batch_size": scale.clips,
        "projection_size": scale.projection_size,
        "pooling": "attentive_corr",
        "seed": 0,
    }

    def trainer(name: str, **changes: Any) -> Trainer:
        output = bench.folder / "updates" / name
        return Trainer(corpus.settings(output, **common, **changes))

    in_memory = trainer("memory", preload=True)
    streams = {
        workers: trainer(f"disk{workers}", preload=False, num_workers=workers)
        for workers in (0, 1)
    }
    first_pass = -(-scale.corpus // scale.clips)  # compares the checksums, once a clip
    for stream in streams.values():
        for _ in range(first_pass + 1):
            stream.update()
    read: dict[str, list[float]] = {}
    cases = {RAM: _block(in_memory, scale.updates)}
    for workers, stream in streams.items():
        name = f"disk, {workers} loader process" + "es" * (workers != 1)
        skipped = (IN_FLIGHT + 1) * workers
        cases[f"warm {name}"] = _after(
            corpus.warm, _block(stream, scale.updates, skipped)
        )
        cases[f"cold {name}"] = _block(
            stream, scale.updates, skipped, corpus.evict, read.setdefault(name, [])
        )
    times = Times(cases, scale.rounds, "updates")
    for stream in streams.values():
        stream.close()
    breakdown = break_down(bench, in_memory)

    live = trainer("live", cache_folder=None)
    both = {LIVE: _block(live, 1), RAM: _block(in_memory, 1)}
    against_live = Times(
        both, min(LIVE_ROUNDS, scale.rounds), "live updates", warm_up=0
    )
    seconds = {**times.medians(), LIVE: against_live[LIVE]}
    ratios = {f"{name} / memory": times.ratio(name, RAM) for name in cases}
    del ratios[f"{RAM} / memory"]
    ratios["live / memory"] = against_live.ratio(LIVE, RAM)
    megabytes = {
        f"cold {name}": sum(values) / len(values) / 1e6 for name, values in read.items()
    }
    print_table(
        f"one update: {scale.clips} clips of {scale.seconds} s on average",
        ["what", "seconds", "of memory's", "MB from the disk"],
        [
            [
                name,
                value,
                ratios.get(f"{name.removesuffix(' upstream')} / memory", 1.0),
                f"{megabytes[name]:.0f}" if name in megabytes else "",
            ]
            for name, value in seconds.items()
        ],
    )
    return {
        "seconds": seconds,
        "megabytes_from_disk": megabytes,
        "ratios": ratios,
        "breakdown": breakdown,
    }


def update_corpus(bench: Bench) -> Corpus:
    """Make the corpus of the updates and its cache, once a run of the suite."""
    scale, folder = bench.scale, bench.folder / "corpus"
    # Each batch's worth of clips has the same durations.
    samples = clip_samples(scale.clips, scale.seconds) * (scale.corpus // scale.clips)
    corpus = make_corpus(folder, samples, bench.model())
    if not (folder / "cache").exists():
        fill_cache(corpus)
    return corpus


def _block(
    trainer: Trainer,
    updates: int,
    skipped: int = 0,
    before: Callable[[], None] = lambda: None,
    read: list[float] | None = None,
) -> Callable[[], float]:
    """Make a function that gives the seconds of an update, of a few in a row.

    The first ``skipped`` do not count: loader processes have read for them while other
    cases were measured. ``before`` is called before each update; ``read`` gets the
    bytes that an update reads from the disk.
    """

    def run() -> float:
        total, already = 0.0, 0
        for number in range(skipped + updates):
            before()
            if number == skipped:
                already = bytes_read()
            start = time.perf_counter()
            trainer.update()
            if number >= skipped:
                total += time.perf_counter() - start
        if read is not None:
            read.append((bytes_read() - already) / updates)
        return total / updates

    return run


def _after(first: Callable[[], None], then: Callable[[], float]) -> Callable[[], float]:
    def run() -> float:
        first()
        return then()

    return run
