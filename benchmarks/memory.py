"""Peak memory of whole trainings, each in a process of its own."""

import contextlib
import io
import multiprocessing
import resource
from pathlib import Path
from typing import Any

import train

from benchmarks.common import (
    Bench,
    clip_samples,
    in_new_process,
    peak_megabytes,
    print_table,
)
from benchmarks.corpus import NoiseCorpus, fill_cache, make_corpus
from sercorr.fast.memory import keep_freed_memory


def run(bench: Bench) -> dict[str, Any]:
    """Measure memory; see benchmarks/README.md."""
    scale = bench.scale
    small, large = scale.memory_corpora
    corpora = {}
    for count in (small, large):
        samples = clip_samples(count, scale.seconds)
        folder = bench.folder / f"memory{count}"
        corpora[count] = make_corpus(folder, samples, bench.model())
        fill_cache(corpora[count])
    streamed = {"preload": False}
    cases = {
        f"from disk, {small} clips": (small, streamed),
        f"from disk, {large} clips": (large, streamed),
        f"from disk, {large} clips, loader process": (
            large,
            {**streamed, "num_workers": 1},
        ),
        f"in memory, {large} clips": (large, {"preload": True}),
    }
    peaks, rows = {}, []
    for name, (count, changes) in cases.items():
        print(f"training {name} ...", flush=True)
        corpus, output = corpora[count], bench.folder / "trained" / name
        given = {
            "batch_size": scale.clips,
            "projection_size": scale.projection_size,
            "number_of_epochs": 1,
            "updates_per_epoch": scale.memory_updates,
            **changes,
        }
        own, worker = in_new_process(train_and_look, corpus, output, given)
        peaks[name] = own + worker
        features = sum(path.stat().st_size for path in corpus.entries()) / 1e6
        rows.append([name, f"{own:.0f}", f"{worker:.0f}", f"{features:.0f}"])
    print_table(
        f"peak memory of {scale.memory_updates} updates, validation and test",
        ["training", "MB", "and loader, MB", "features, MB"],
        rows,
    )
    first, second, *_ = peaks.values()
    return {
        "peak_megabytes": peaks,
        "ratios": {f"from disk, {large} / {small} clips": second / first},
    }


def train_and_look(
    corpus: NoiseCorpus, output: Path, changes: dict[str, Any]
) -> tuple[float, float]:
    """Run ``train.py``; return this process's peak and its loader process's, in MB.

    The latter counts what it shares with its parent. Without one it is 0.
    """
    keep_freed_memory()
    multiprocessing.set_start_method("fork", force=True)  # of its loaders, as there
    with contextlib.redirect_stdout(io.StringIO()):
        train.main(corpus.arguments(output, **changes))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    worker = children if changes.get("num_workers") else 0
    return peak_megabytes(), worker * 1024 / 1e6  # it is in KiB
