"""What large corpora take: rates of this machine, a model of them, and arithmetic."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from models import build_model
from transformers import AutoConfig

from benchmarks.arithmetic import (
    BILLION,
    PRODUCTS,
    extraction_operations,
    matrix_product,
    update_operations,
)
from benchmarks.common import SERVER, Bench, Times, print_table, timed
from benchmarks.corpus import NoiseCorpus, Trainer, fill_cache, make_corpus
from benchmarks.estimates import IEMOCAP, Assumed, clip_bytes, estimate
from benchmarks.large_store import read_alone
from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.fast.memory import keep_freed_memory
from sercorr.features import StoredFeatures
from sercorr.features.compute import compute_layers
from sercorr.lobes import load_upstream

ROUNDS = 3
CLIPS = 2  # that each process extracts in a round


def run(bench: Bench) -> dict[str, Any]:
    """Measure rates and say what follows; see benchmarks/README.md."""
    models = {
        name: _wavlm(bench, name, norm)
        for name, norm in (("base", "group"), ("large", "layer"))
    }
    extraction = measure_extraction(bench, models)
    updates = measure_updates(bench, models["large"])
    best = max(
        rate
        for name, rate in extraction["audio_seconds_per_second"].items()
        if "large" in name
    )
    seconds = updates["seconds"].values()
    return {
        **updates,
        **extraction,
        "estimates": estimate(Assumed(), best, min(seconds), max(seconds)),
    }


def measure_extraction(bench: Bench, models: dict[str, Path]) -> dict[str, Any]:
    """Measure the models alone, in one process and in many, and predict one's rate."""
    scale, cores = bench.scale, len(os.sched_getaffinity(0))
    samples = _clip_samples(bench)
    audio = CLIPS * samples / SAMPLE_RATE
    done, product = matrix_product(*[scale.matrix] * 3)
    cases: dict[str, Callable[[], float]] = {PRODUCTS: timed(product)}
    counts = dict.fromkeys([(1, cores), (cores, 1)])  # one, if there is one core
    with contextlib.ExitStack() as stack:
        for name, model in models.items():
            for processes, threads in counts:
                started = extracting(model, [samples] * CLIPS, processes, threads)
                case = f"{name}, {processes} x {threads} threads"
                cases[case] = stack.enter_context(started)
        times = Times(cases, min(ROUNDS, scale.rounds), "extraction")
    operations, sizes = {}, {}
    for name, model in models.items():
        config = AutoConfig.from_pretrained(model)
        operations[name] = sum(extraction_operations(config, samples).values())
        layers = config.num_hidden_layers + 1
        sizes[name] = clip_bytes(samples, layers, config.hidden_size)
    rates, speeds, shares, rows = {PRODUCTS: done / times[PRODUCTS]}, {}, {}, []
    for case in list(cases)[1:]:
        name, processes = case.split(",")[0], int(case.split()[1])
        work = processes * CLIPS * operations[name]
        speeds[case] = processes * audio / times[case]
        rates[case] = work / times[case]
        shares[case] = times.ratio(PRODUCTS, case) * work / done
        rows.append([case, speeds[case], rates[case] / BILLION, shares[case]])
    ratios = {f"{case}, of the product rate": share for case, share in shares.items()}
    for processes, threads in counts:
        large, base = (
            f"{n}, {processes} x {threads} threads" for n in ("large", "base")
        )
        ratio = shares[base] / shares[large]
        ratios[f"{base}, of what the model predicts from large"] = ratio
    second = samples / SAMPLE_RATE
    print_table(
        f"MEASURED: random WavLM, clips of {second:.2f} s, the model alone",
        ["processes x threads of each", "audio-s/s", "GFLOP/s", "of the product rate"],
        [[PRODUCTS, "", rates[PRODUCTS] / BILLION, ""], *rows],
    )
    print_table(
        "MODEL: a second of audio, from the configuration, in such clips",
        ["what", "GFLOP", "MB in float16, all layers"],
        [
            [name, operations[name] / second / BILLION, sizes[name] / second / 1e6]
            for name in models
        ],
    )
    print_table("the model, checked", ["what", "times"], list(ratios.items()))
    return {
        "audio_seconds_per_second": speeds,
        "gflop_per_second": {name: rate / BILLION for name, rate in rates.items()},
        "gflop_per_audio_second": {
            name: count / second / BILLION for name, count in operations.items()
        },
        "ratios": ratios,
    }


def measure_updates(bench: Bench, model: Path) -> dict[str, Any]:
    """Measure updates of one head and of many, and what the disk gives and takes."""
    scale, samples = bench.scale, _clip_samples(bench)
    corpus = make_corpus(
        bench.folder / "scaling", [samples] * 2 * scale.clips, model, held_out=4
    )
    start = time.perf_counter()
    fill_cache(corpus)
    written = time.perf_counter() - start
    size = sum(path.stat().st_size for path in corpus.entries())
    disk = {"written, by one process": size / written / 1e6}
    for depth in (1, 8):
        disk[f"read, {depth} at once"] = read_alone(corpus, depth)
    many = max(scale.growth)
    given = {
        "batch_size": scale.clips,
        "projection_size": scale.projection_size,
        "pooling": "attentive_corr",
        "seed": 0,
        "preload": True,
    }
    output = bench.folder / "run"
    one = Trainer(corpus, output, **given)
    trainers = {
        1: one,
        many: Trainer(corpus, output, many, one.features, **given),
    }
    batch = next(one.batches)
    disk["read as training does, in memory already"] = _reading(corpus, one.features)
    times = Times(
        {
            count: timed(lambda trainer=trainer: trainer.update(batch))
            for count, trainer in trainers.items()
        },
        scale.rounds,
        "updates",
    )
    clips = one.features.clips(batch)
    layers, _, width = clips[0].shape
    frames = [clip.shape[1] for clip in clips]
    read = sum(clip.numel() * clip.element_size() for clip in clips)
    work = sum(update_operations(frames, layers, width, scale.projection_size).values())
    print_table(
        f"MEASURED: one update, {scale.clips} clips of {samples / SAMPLE_RATE:.2f} s, "
        f"{layers} x T x {width} in memory: {read / 1e6:.0f} MB, "
        f"{work / BILLION:.1f} GFLOP a head",
        ["heads", "seconds", "a head", "of one head's"],
        [
            [str(count), times[count], times[count] / count, times.ratio(count, 1)]
            for count in trainers
        ],
    )
    print_table(
        f"MEASURED: the disk, {size / 1e6:.0f} MB of entries",
        ["what", "MB/s"],
        list(disk.items()),
    )
    return {
        "seconds": {f"update, {count} heads": times[count] for count in trainers},
        "update_megabytes": read / 1e6,
        "megabytes_per_second": disk,
    }


@contextlib.contextmanager
def extracting(
    model: Path, samples: list[int], processes: int, threads: int
) -> Iterator[Callable[[], float]]:
    """Start processes that have the model loaded.

    Gives a function that lets each of them extract clips of noise of these lengths, and
    returns the seconds until all have done so.
    """
    pipes, children = [], []
    for _ in range(processes):
        ours, theirs = SERVER.Pipe()
        arguments = (theirs, model, samples, threads)
        children.append(SERVER.Process(target=_extract, args=arguments))
        children[-1].start()
        theirs.close()
        pipes.append(ours)

    def extract_all() -> None:
        for pipe in pipes:
            pipe.send(None)
        _await(pipes)

    try:
        _await(pipes)
        yield timed(extract_all)
    finally:
        for pipe in pipes:
            pipe.close()
        for child in children:
            child.join()


def _extract(pipe: Any, model: Path, samples: list[int], threads: int) -> None:
    """Extract whenever the pipe asks for it, until it is closed."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    upstream = load_upstream(model)
    generator = torch.Generator().manual_seed(0)
    waves = [0.1 * torch.randn(count, generator=generator) for count in samples]
    pipe.send(None)
    with contextlib.suppress(EOFError):
        while True:
            pipe.recv()
            for wave in waves:
                compute_layers(upstream, [wave])
            pipe.send(None)


def _await(pipes: list[Any]) -> None:
    for pipe in pipes:
        try:
            pipe.recv()
        except EOFError:
            raise InputError(
                "a process that extracts ended early; is there memory for it?"
            ) from None


def _reading(corpus: NoiseCorpus, features: StoredFeatures) -> float:
    """Read entries as a training without preloading does, MB a second, in memory."""
    corpus.warm()
    digests = list(features.digests.values())
    start = time.perf_counter()
    size = 0
    for digest in digests:
        layers = features.store.read(digest, verify=False)
        size += layers.numel() * layers.element_size()
    return size / (time.perf_counter() - start) / 1e6


def _clip_samples(bench: Bench) -> int:
    """Length of all clips here: IEMOCAP's mean."""
    seconds = min(bench.scale.seconds, IEMOCAP.samples / SAMPLE_RATE)
    return round(seconds * SAMPLE_RATE)


def _wavlm(bench: Bench, name: str, norm: str) -> Path:
    """Make a random WavLM of base or large shape; both are tiny at quick sizes."""
    folder = bench.folder / "models" / f"scaling-{name}"
    if not folder.exists():
        shape = bench.scale.shape if bench.scale.shape == "tiny" else name
        build_model(folder, "wavlm", norm, shape)
    return folder
