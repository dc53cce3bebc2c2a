"""One update of the attentive head: live, from memory, from a warm and a cold disk."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.breakdown import break_down
from benchmarks.common import Bench, Times, clip_samples, print_table
from benchmarks.corpus import NoiseCorpus, Trainer, bytes_read, fill_cache, make_corpus

LIVE_ROUNDS = 2
IN_FLIGHT = 2
"""Batches that a loader process reads ahead."""

RAM = "cached, in memory"
LIVE = "live upstream"


def run(bench: Bench) -> dict[str, Any]:
    """Measure updates; see benchmarks/README.md."""
    scale = bench.scale
    corpus = update_corpus(bench)
    in_memory = make_trainer(bench, preload=True)
    streams = {
        workers: make_trainer(bench, preload=False, num_workers=workers)
        for workers in (0, 1)
    }
    first_pass = -(-scale.corpus // scale.clips)  # compares each clip's checksum once
    for stream in streams.values():
        for _ in range(first_pass + 1):
            stream.update()
    read: dict[str, list[float]] = {}
    cases = {RAM: _block(in_memory, scale.updates)}
    for workers, stream in streams.items():
        name = f"disk, {workers} loader process" + "es" * (workers != 1)
        settings = {"updates": scale.updates, "skipped": (IN_FLIGHT + 1) * workers}
        cases[f"warm {name}"] = _block(stream, first=corpus.warm, **settings)
        found = read[f"cold {name}"] = []
        cases[f"cold {name}"] = _block(
            stream, before=corpus.evict, read=found, **settings
        )
    times = Times(cases, scale.rounds, "updates")
    for stream in streams.values():
        stream.close()
    breakdown = break_down(bench, in_memory)

    live = make_trainer(bench, cache_folder="null")
    both = {LIVE: _block(live, 1), RAM: _block(in_memory, 1)}
    against_live = Times(
        both, min(LIVE_ROUNDS, scale.rounds), "live updates", warm_up=0
    )
    seconds = {**times.medians(), LIVE: against_live[LIVE]}
    ratios = {name: times.ratio(name, RAM) for name in cases}
    ratios[LIVE] = against_live.ratio(LIVE, RAM)
    megabytes = {name: sum(n) / len(n) / 1e6 for name, n in read.items()}
    shown = {name: f"{value:.0f}" for name, value in megabytes.items()}
    print_table(
        f"one update: {scale.clips} clips of {scale.seconds} s on average",
        ["what", "seconds", "of memory's", "MB from the disk"],
        [[name, seconds[name], ratios[name], shown.get(name, "")] for name in seconds],
    )
    del ratios[RAM]
    return {
        "seconds": seconds,
        "megabytes_from_disk": megabytes,
        "ratios": {
            f"{name.removesuffix(' upstream')} / memory": ratio
            for name, ratio in ratios.items()
        },
        "breakdown": breakdown,
    }


def update_corpus(bench: Bench) -> NoiseCorpus:
    """Make the corpus of the updates and its store, once a run of the suite."""
    scale = bench.scale
    # Each batch's worth of clips has the same durations.
    samples = clip_samples(scale.clips, scale.seconds) * (scale.corpus // scale.clips)
    corpus = make_corpus(bench.folder / "corpus", samples, bench.model())
    fill_cache(corpus)
    return corpus


def make_trainer(bench: Bench, **changes: Any) -> Trainer:
    """Make a training of the paper's head on this corpus."""
    scale = bench.scale
    given = {
        "batch_size": scale.clips,
        "projection_size": scale.projection_size,
        "pooling": "attentive_corr",
        "seed": 0,
        **changes,
    }
    return Trainer(update_corpus(bench), bench.folder / "run", **given)


def _block(
    trainer: Trainer,
    updates: int,
    skipped: int = 0,
    first: Callable[[], None] = lambda: None,
    before: Callable[[], None] = lambda: None,
    read: list[float] | None = None,
) -> Callable[[], float]:
    """Make a function that gives the seconds of an update, of a few in a row.

    The first ``skipped`` do not count: loader processes have read for them while other
    cases were measured. ``first`` is called once, ``before`` before each update;
    ``read`` gets the bytes that an update reads from the disk.
    """

    def run() -> float:
        first()
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
