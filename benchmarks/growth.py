"""How time grows with clips, seconds a clip, layers and heads."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.common import Bench, Times, print_table, timed
from benchmarks.corpus import random_clips
from benchmarks.grid import measure as measure_grid
from benchmarks.head import make_head, train
from benchmarks.update import update_corpus
from sercorr import SAMPLE_RATE
from sercorr.features.live import LiveFeatures
from sercorr.lobes.upstream import load_upstream, upstream_info

ROUNDS = 3
Cases = dict[int, Callable[[], float]]


def run(bench: Bench) -> dict[str, Any]:
    """Measure growth; see benchmarks/README.md."""
    rounds = min(ROUNDS, bench.scale.rounds)
    tables = {
        "extraction, clips": _extraction_by_clips(bench),
        "extraction, seconds a clip": _extraction_by_seconds(bench),
        "extraction, transformer layers": _extraction_by_layers(bench),
        "update, clips": _update_by_clips(bench),
        "update, seconds a clip": _update_by_seconds(bench),
        "update, layers": _update_by_layers(bench),
    }
    seconds = {
        name: Times(cases, rounds, name).medians() for name, cases in tables.items()
    }
    corpus = update_corpus(bench)
    times, _ = measure_grid(bench, corpus, rounds)
    seconds["update, heads of a grid"] = {n: times[n] for n in bench.scale.growth}
    exponents = {name: exponent(values) for name, values in seconds.items()}
    doublings = {name: per_doubling(values) for name, values in seconds.items()}
    print_table(
        "growth: time is about proportional to size to the power of the exponent",
        ["what", "sizes", "seconds", "exponent", "ratio per doubling"],
        [
            [
                name,
                " ".join(f"{size:g}" for size in values),
                " ".join(f"{value:#.2g}".rstrip(".") for value in values.values()),
                f"{exponents[name]:.2f}",
                " ".join(f"{ratio:.2f}" for ratio in doublings[name]),
            ]
            for name, values in seconds.items()
        ],
    )
    return {
        "seconds": {
            name: {f"{size:g}": value for size, value in values.items()}
            for name, values in seconds.items()
        },
        "exponents": exponents,
        "ratios": {
            f"{name}, doubling {number + 1}": ratio
            for name, ratios in doublings.items()
            for number, ratio in enumerate(ratios)
        },
    }


def exponent(seconds: dict[float, float]) -> float:
    """Slope of log time over log size, by least squares.

    Example
    -------
    >>> round(exponent({1: 2.0, 2: 8.0, 4: 32.0}), 6)
    2.0
    """
    sizes, values = zip(*seconds.items(), strict=True)
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def per_doubling(seconds: dict[float, float]) -> list[float]:
    """Growth from each size to the next, as if that were twice as large.

    Example
    -------
    >>> per_doubling({1: 1.0, 2: 3.0, 8: 12.0})
    [3.0, 2.0]
    """
    items = list(seconds.items())
    return [
        (after / before) ** (1 / math.log2(larger / smaller))
        for (smaller, before), (larger, after) in itertools.pairwise(items)
    ]


def _extraction_by_clips(bench: Bench) -> Cases:
    features = _features(bench)
    sizes = [max(bench.scale.clips // 16, 1) * factor for factor in bench.scale.growth]
    return {n: _extract(features, n, bench.scale.seconds) for n in sizes}


def _extraction_by_seconds(bench: Bench) -> Cases:
    features, seconds = _features(bench), bench.scale.seconds
    sizes = [seconds / 2 * factor for factor in bench.scale.growth]
    return {size: _extract(features, 2, size) for size in sizes}


def _extraction_by_layers(bench: Bench) -> Cases:
    cases = {}
    for factor in bench.scale.growth[:3]:
        features = _features(bench, num_hidden_layers=3 * factor)
        cases[3 * factor] = _extract(features, 2, bench.scale.seconds)
    return cases


def _features(bench: Bench, **changes: Any) -> LiveFeatures:
    return LiveFeatures(load_upstream(str(bench.model(**changes))))


class _Waves:
    """A batch of noise as `LiveFeatures` takes it."""

    def __init__(self, clips: int, seconds: float):
        generator = torch.Generator().manual_seed(0)
        size = int(seconds * SAMPLE_RATE)
        self.sig = (torch.randn(clips, size, generator=generator), torch.ones(clips))


def _extract(features: LiveFeatures, clips: int, seconds: float) -> Any:
    batch = _Waves(clips, seconds)
    return timed(lambda: features.clips(batch))


def _update_by_clips(bench: Bench) -> Cases:
    sizes = [max(bench.scale.clips // 4, 1) * factor for factor in bench.scale.growth]
    return {n: _update(bench, n, bench.scale.seconds) for n in sizes}


def _update_by_seconds(bench: Bench) -> Cases:
    sizes = [bench.scale.seconds / 2 * factor for factor in bench.scale.growth]
    return {n: _update(bench, max(bench.scale.clips // 4, 1), n) for n in sizes}


def _update_by_layers(bench: Bench) -> Cases:
    clips = max(bench.scale.clips // 4, 1)
    return {
        3 * factor: _update(bench, clips, bench.scale.seconds, 3 * factor)
        for factor in bench.scale.growth
    }


def _update(
    bench: Bench, clips: int, seconds: float, num_layers: int | None = None
) -> Any:
    """Make a function that times an update of features in memory, without its brain."""
    info = upstream_info(str(bench.model()))
    num_layers = num_layers or info.num_layers
    samples = [int(seconds * SAMPLE_RATE)] * clips
    features = random_clips(samples, num_layers, info.output_size)
    targets = torch.arange(clips) % 4
    head = make_head(bench, "attentive_corr", num_layers, info.output_size)
    optimiser = torch.optim.Adam(head.parameters())

    def run() -> None:
        train(head, targets, head.classify_clips(features))
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()

    return timed(run)
