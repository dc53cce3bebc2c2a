"""Extraction: audio-seconds a second, against transformers and matrix products."""

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch
from transformers import AutoModel
from transformers.utils import logging

from benchmarks.arithmetic import BILLION, extraction_operations, product_rates
from benchmarks.common import (
    NO_AMX,
    Bench,
    Times,
    clip_samples,
    has_amx,
    print_table,
    timed,
)
from benchmarks.corpus import Corpus, frames_of, make_corpus
from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_audio
from sercorr.features.extraction import CPU_SECONDS, extract
from sercorr.features.plan import hash_files, plan_groups
from sercorr.features.store import FeatureStore
from sercorr.lengths import absolute_to_relative
from sercorr.lobes.upstream import load_upstream
from sercorr.lobes.upstream.frozen import FrozenUpstream
from sercorr.lobes.upstream.ssl_model import normalise

ROUNDS = 3
MAX_SECONDS = CPU_SECONDS
PLAIN, WHOLE, GROUPS, HALF = (
    "plain transformers, one clip at a time",
    "sercorr, from audio files to entries",
    "sercorr, the model alone",
    "sercorr in bf16, from audio files to entries",
)


def run(bench: Bench) -> dict[str, Any]:
    """Measure extraction; see benchmarks/README.md."""
    scale = bench.scale
    corpus = make_corpus(
        bench.folder / "extraction",
        clip_samples(scale.clips, scale.seconds),
        bench.model(),
        held_out=0,
    )
    upstream = load_upstream(str(corpus.model))
    config = upstream.model.config
    parts: dict[str, int] = {}
    for samples in corpus.samples.values():
        for part, count in extraction_operations(config, samples).items():
            parts[part] = parts.get(part, 0) + count
    operations = sum(parts.values())
    seconds = sum(corpus.samples.values()) / SAMPLE_RATE

    products = product_rates(
        [
            (scale.matrix,) * 3,
            (
                frames_of(int(5 * SAMPLE_RATE)),
                config.hidden_size,
                config.intermediate_size,
            ),
            (
                frames_of(int(60 * SAMPLE_RATE)),
                config.hidden_size,
                config.intermediate_size,
            ),
        ],
        operations / 8,
    )
    cases = {
        PLAIN: timed(plain_transformers(corpus)),
        WHOLE: timed(to_entries(corpus, upstream, "fp32")),
        GROUPS: timed(in_groups(corpus, upstream)),
        **{name: timed(product) for name, (_, product) in products.items()},
    }
    if has_amx():
        cases[HALF] = timed(
            to_entries(corpus, load_upstream(str(corpus.model)), "bf16")
        )
    times = Times(cases, min(ROUNDS, scale.rounds), "extraction", warm_up=0)

    square = next(iter(products))
    rates = {
        name: count / times[name] / BILLION for name, (count, _) in products.items()
    }
    rates |= {
        name: operations / times[name] / BILLION for name in cases if name not in rates
    }
    count_of_square = products[square][0]
    of_product_rate = {
        name: times.ratio(square, name) * operations / count_of_square
        for name in (PLAIN, GROUPS, WHOLE)
    }
    gflop = {part: count / seconds / BILLION for part, count in parts.items()}
    gflop["all"] = operations / seconds / BILLION
    print_table(
        f"arithmetic of an audio-second ({corpus.model.name} model, stated: 14)",
        ["part", "GFLOP"],
        list(gflop.items()),
    )
    print_table(
        f"extraction: {scale.clips} clips, {seconds:.1f} s of audio",
        ["what", "seconds", "audio-s/s", "GFLOP/s", "of the product rate"],
        [
            [
                name,
                times[name],
                seconds / times[name] if name not in products else "",
                rates[name],
                of_product_rate.get(name, ""),
            ]
            for name in cases
        ],
    )
    ratios = {
        "sercorr to plain transformers": times.ratio(PLAIN, WHOLE),
        "the model alone to plain transformers": times.ratio(PLAIN, GROUPS),
        **{f"{name}, of the product rate": r for name, r in of_product_rate.items()},
    }
    if has_amx():
        ratios["bf16 to fp32"] = times.ratio(WHOLE, HALF)
    else:
        print(f"bf16: {NO_AMX}")
    print_table("ratios", ["what", "times"], list(ratios.items()))
    return {
        "seconds": times.medians(),
        "audio_seconds": seconds,
        "audio_seconds_per_second": {
            name: seconds / times[name] for name in cases if name not in products
        },
        "gflop_per_audio_second": gflop,
        "gflop_per_second": rates,
        "ratios": ratios,
        "skipped": [] if has_amx() else [f"bf16 {NO_AMX}"],
    }


def plain_transformers(corpus: Corpus) -> Callable[[], list[torch.Tensor]]:
    """Make a function that runs plain transformers on one clip after the other."""
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(corpus.model).eval()

    def one(path: Path) -> torch.Tensor:
        wave = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        values = normalise(wave, [wave.shape[1]])
        output = model(values, output_hidden_states=True)
        return torch.cat(output.hidden_states)  # (L, T, D)

    def run() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [one(path) for path in corpus.wavs.values()]

    return run


def in_groups(
    corpus: Corpus, upstream: FrozenUpstream
) -> Callable[[], dict[str, torch.Tensor]]:
    """Make a function that runs the extraction's groups through the upstream alone."""
    digests = hash_files(corpus.wavs, progress=False)
    plan = plan_groups(digests, corpus.wavs, MAX_SECONDS)
    batches = []
    for group in plan:
        waves = [read_audio(clip.path) for clip in group]
        padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
        samples = torch.tensor([clip.samples for clip in group])
        batches.append((padded, absolute_to_relative(samples, padded.shape[1])))

    def run() -> dict[str, torch.Tensor]:
        layers = {}
        with torch.inference_mode():
            for group, (padded, lengths) in zip(plan, batches, strict=True):
                output, _ = upstream(padded, lengths)
                for clip, own in zip(group, output, strict=True):
                    layers[clip.path.stem] = own[:, : upstream.frames(clip.samples)]
        return layers

    return run


def to_entries(
    corpus: Corpus, upstream: FrozenUpstream, precision: str
) -> Callable[[], Any]:
    """Make a function that fills a fresh cache with the corpus, as the programs do."""
    cache = corpus.folder / f"extracted-{precision}"

    def run() -> Any:
        shutil.rmtree(cache, ignore_errors=True)
        info = upstream.info.at_precision(precision)
        with contextlib.redirect_stdout(io.StringIO()):
            return extract(
                lambda: upstream,
                FeatureStore(cache, info),
                corpus.wavs,
                MAX_SECONDS,
                precision=precision,
                progress=False,
            )

    return run
