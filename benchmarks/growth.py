"""How time grows with clips, seconds a clip, layers and heads."""

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.common import Bench, Times, print_table, timed
from benchmarks.corpus import random_clips
from benchmarks.grid import measure as measure_grid
from benchmarks.head import make_head, train
from sercorr import SAMPLE_RATE
from sercorr.features import LiveFeatures
from sercorr.lobes import Upstream, load_upstream

ROUNDS = 3


def run(bench: Bench) -> dict[str, Any]:
    """Measure growth; see benchmarks/README.md."""
    scale, factors = bench.scale, bench.scale.growth
    rounds, average = min(ROUNDS, scale.rounds), scale.seconds
    few, some, half = max(scale.clips // 16, 1), max(scale.clips // 4, 1), average / 2
    usual = LiveFeatures(load_upstream(bench.model()))

    def cut(layers: int) -> LiveFeatures:
        return LiveFeatures(load_upstream(bench.model(num_hidden_layers=layers)))

    tables = {
        "extraction, clips": {
            n: _extract(usual, n, average) for n in (few * f for f in factors)
        },
        "extraction, seconds a clip": {
            s: _extract(usual, 2, s) for s in (half * f for f in factors)
        },
        "extraction, transformer layers": {
            n: _extract(cut(n), 2, average) for n in (3 * f for f in factors[:3])
        },
        "update, clips": {
            n: _update(bench, n, average) for n in (some * f for f in factors)
        },
        "update, seconds a clip": {
            s: _update(bench, some, s) for s in (half * f for f in factors)
        },
        "update, layers": {
            n: _update(bench, some, average, n) for n in (3 * f for f in factors)
        },
    }
    seconds = {
        name: Times(cases, rounds, name).medians() for name, cases in tables.items()
    }
    times, _ = measure_grid(bench, rounds)
    seconds["update, heads of a grid"] = {n: times[n] for n in factors}
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
            f"{name}, doubling {number}": ratio
            for name, ratios in doublings.items()
            for number, ratio in enumerate(ratios, start=1)
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


def _extract(features: LiveFeatures, clips: int, seconds: float) -> Callable[[], float]:
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(clips, int(seconds * SAMPLE_RATE), generator=generator)
    names = [f"clip{number}" for number in range(clips)]
    batch = SimpleNamespace(id=names, sig=(waves, torch.ones(clips)))
    return timed(lambda: features.clips(batch))


def _update(
    bench: Bench, clips: int, seconds: float, num_layers: int | None = None
) -> Callable[[], float]:
    """Make a function that times an update of features in memory, without its brain."""
    upstream = Upstream(bench.model())
    sizes = (num_layers or upstream.num_layers, upstream.output_size)
    features = random_clips([int(seconds * SAMPLE_RATE)] * clips, *sizes)
    targets = torch.arange(clips) % 4
    head = make_head(bench, "attentive_corr", *sizes)
    optimiser = torch.optim.Adam(head.parameters())

    def run() -> None:
        train(head, targets, head(features))
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()

    return timed(run)
