"""Extraction: audio-seconds a second, against transformers and matrix products."""

import contextlib
import io
import shutil
from collections.abc import Callable
from typing import Any

import soundfile
import torch
from transformers import AutoModel
from transformers.utils import logging

from benchmarks.arithmetic import BILLION, extraction_operations, matrix_product
from benchmarks.common import (
    NO_AMX,
    Bench,
    Times,
    clip_samples,
    has_amx,
    print_table,
    timed,
)
from benchmarks.corpus import NoiseCorpus, frames_of, make_corpus
from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_audio
from sercorr.features import StoredFeatures, extract
from sercorr.lobes import load_upstream
from sercorr.lobes.upstream import FrozenUpstream
from sercorr.lobes.upstream.waveforms import normalise

ROUNDS = 3
PLAIN, WHOLE, ALONE, HALF = (
    "plain transformers, one clip at a time",
    "sercorr, from audio files to entries",
    "sercorr, the model alone",
    "sercorr in bf16, from audio files to entries",
)


def run(bench: Bench) -> dict[str, Any]:
    """Measure extraction; see benchmarks/README.md."""
    scale = bench.scale
    samples = clip_samples(scale.clips, scale.seconds)
    folder = bench.folder / "extraction"
    corpus = make_corpus(folder, samples, bench.model(), held_out=0)
    upstream = load_upstream(corpus.model)
    config = upstream.model.config
    parts: dict[str, int] = {}
    for size in samples:
        for part, count in extraction_operations(config, size).items():
            parts[part] = parts.get(part, 0) + count
    operations, seconds = sum(parts.values()), sum(samples) / SAMPLE_RATE

    wide = (config.hidden_size, config.intermediate_size)
    shapes = [
        (scale.matrix,) * 3,
        *((frames_of(audio * SAMPLE_RATE), *wide) for audio in (5, 60)),
    ]
    products = {
        f"mm {n}x{k}x{m}": matrix_product(n, k, m, operations / 8) for n, k, m in shapes
    }
    cases = {
        PLAIN: timed(plain_transformers(corpus)),
        WHOLE: timed(to_entries(corpus, upstream)),
        ALONE: timed(model_alone(corpus, upstream)),
        **{name: timed(product) for name, (_, product) in products.items()},
    }
    if has_amx():
        cases[HALF] = timed(to_entries(corpus, load_upstream(corpus.model), "bf16"))
    times = Times(cases, min(ROUNDS, scale.rounds), "extraction", warm_up=0)

    square = next(iter(products))
    of_product_rate = {
        name: times.ratio(square, name) * operations / products[square][0]
        for name in (PLAIN, ALONE, WHOLE)
    }
    rates = {
        name: products.get(name, (operations,))[0] / times[name] / BILLION
        for name in cases
    }
    speeds = {name: seconds / times[name] for name in cases if name not in products}
    gflop = {part: count / seconds / BILLION for part, count in parts.items()}
    gflop["all"] = operations / seconds / BILLION
    ratios = {
        "sercorr to plain transformers": times.ratio(PLAIN, WHOLE),
        "the model alone to plain transformers": times.ratio(PLAIN, ALONE),
        **{f"{name}, of the product rate": r for name, r in of_product_rate.items()},
    }
    if has_amx():
        ratios["bf16 to fp32"] = times.ratio(WHOLE, HALF)
    print_table(
        f"arithmetic of an audio-second ({corpus.model.name} model, stated: 14)",
        ["part", "GFLOP"],
        list(gflop.items()),
    )
    print_table(
        f"extraction: {scale.clips} clips, {seconds:.1f} s of audio",
        ["what", "seconds", "audio-s/s", "GFLOP/s", "of the product rate"],
        [
            [n, times[n], speeds.get(n, ""), rates[n], of_product_rate.get(n, "")]
            for n in cases
        ],
    )
    if not has_amx():
        print(f"bf16: {NO_AMX}")
    print_table("ratios", ["what", "times"], list(ratios.items()))
    return {
        "seconds": times.medians(),
        "audio_seconds": seconds,
        "audio_seconds_per_second": speeds,
        "gflop_per_audio_second": gflop,
        "gflop_per_second": rates,
        "ratios": ratios,
        "skipped": [] if has_amx() else [f"bf16 {NO_AMX}"],
    }


def plain_transformers(corpus: NoiseCorpus) -> Callable[[], dict[str, torch.Tensor]]:
    """Make a function that runs plain transformers on one clip after the other."""
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(corpus.model).eval()

    def run() -> dict[str, torch.Tensor]:
        layers = {}
        with torch.inference_mode():
            for name, path in corpus.wavs.items():
                wave = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
                values = normalise(wave, [wave.shape[1]])
                output = model(values, output_hidden_states=True)
                layers[name] = torch.cat(output.hidden_states)  # (L, T, D)
        return layers

    return run


def model_alone(
    corpus: NoiseCorpus, upstream: FrozenUpstream
) -> Callable[[], dict[str, torch.Tensor]]:
    """Make a function that runs the upstream as an extraction on a CPU does.

    That is one clip at a time, see `sercorr.features.extraction.CPU_SECONDS`.
    """
    waves = {name: read_audio(path)[None] for name, path in corpus.wavs.items()}

    def run() -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            return {name: upstream(wave)[0][0] for name, wave in waves.items()}

    return run


def to_entries(
    corpus: NoiseCorpus, upstream: FrozenUpstream, precision: str = "fp32"
) -> Callable[[], StoredFeatures]:
    """Make a function that fills a fresh store with the corpus, as the programs do."""
    cache = corpus.folder / f"extracted-{precision}"

    def run() -> StoredFeatures:
        shutil.rmtree(cache, ignore_errors=True)
        with contextlib.redirect_stdout(io.StringIO()):
            return extract(
                upstream,
                corpus.wavs,
                cache_folder=cache,
                extract_precision=precision,
                progress=False,
            )

    return run
