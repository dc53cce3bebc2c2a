"""Peak memory of whole trainings, each in a process of its own."""

import contextlib
import io
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.common import Bench, clip_samples, print_table
from benchmarks.corpus import Corpus, fill_cache, make_corpus
from sercorr.fast.memory import keep_freed_memory
from sercorr.training.experiment import train_fold

SERVER = multiprocessing.get_context("forkserver")
"""Fresh processes that have nothing but the imports in memory."""
SERVER.set_forkserver_preload(["benchmarks.memory"])


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
    cases = {
        f"from disk, {small} clips": (small, {"preload": False}),
        f"from disk, {large} clips": (large, {"preload": False}),
        f"from disk, {large} clips, loader process": (
            large,
            {"preload": False, "num_workers": 1},
        ),
        f"in memory, {large} clips": (large, {"preload": True}),
    }
    peaks, rows = {}, []
    for name, (count, changes) in cases.items():
        print(f"training {name} ...", flush=True)
        own, worker = peak_of_training(bench, corpora[count], **changes)
        peaks[name] = own + worker
        entries = (corpora[count].folder / "cache").rglob("*.safetensors")
        features = sum(path.stat().st_size for path in entries) / 1e6
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


def peak_of_training(
    bench: Bench, corpus: Corpus, **changes: Any
) -> tuple[float, float]:
    """Train a fold in a fresh process.

    Returns
    -------
    tuple of float
        Peak resident megabytes of that process, and of a loader process of its (which
        counts what it shares with its parent), 0 without one.
    """
    name = "-".join(["training", *(f"{k}{v}" for k, v in changes.items())])
    given = {
        "batch_size": bench.scale.clips,
        "projection_size": bench.scale.projection_size,
        "number_of_epochs": 1,
        "updates_per_epoch": bench.scale.memory_updates,
        **changes,
    }
    with ProcessPoolExecutor(1, mp_context=SERVER) as pool:
        return pool.submit(_train, corpus, corpus.folder / name, given).result()


def _train(
    corpus: Corpus, output: Path, changes: dict[str, Any]
) -> tuple[float, float]:
    """Do what ``train.py`` does and look at this process's peak."""
    keep_freed_memory()
    multiprocessing.set_start_method("fork", force=True)  # of its loaders, as there
    packages = mock.patch(  # listing them takes seconds and has no part in this
        "speechbrain.utils.logger.get_environment_description", return_value=""
    )
    with packages, contextlib.redirect_stdout(io.StringIO()):
        train_fold(corpus.settings(output, **changes))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own = int(status.split("VmHWM:")[1].split()[0])
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    worker = children if changes.get("num_workers") else 0
    return own * 1024 / 1e6, worker * 1024 / 1e6  # both are in KiB
