"""How often do tests see a difference where there is none?

    python -m benchmarks.false_alarms                      # simulated, 3 minutes
    python -m benchmarks.false_alarms --folder FOLDER      # many seeds of one system

Both print a table and write ``benchmarks/results/false_alarms[_real].json``. The
meaning of the columns and of the scenarios is in docs/comparing.md.
"""

import argparse
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from benchmarks.common import print_table
from sercorr.errors import InputError, run_program
from sercorr.evaluation.comparison import (
    confusion_rates,
    corrected_t_test,
    sign_flip_test,
    speaker_bootstrap,
)
from sercorr.evaluation.pairs import confusions_of, read_head, test_by_train
from sercorr.evaluation.runs import read_heads
from sercorr.files import require_writable, write_json

LEVEL = 0.05
RATE = "wa"
SPEAKERS, FOLDS = 10, 5
CLIPS = {"36 clips a speaker": 36, "553 clips a speaker": 553}
SEEDS = (1, 5)
TEST_BY_TRAIN = 1 / 3  # one session tests, one validates, three train


class Scenario(NamedTuple):
    """Standard deviations, in logits, of what differs between the two systems."""

    speakers: float  # a system is better for some speakers, worse for others
    training: float  # ... with some training speakers
    seeds: float = 0.2  # ... in one training than in another


SCENARIOS = {
    "seeds": Scenario(0.0, 0.0),
    "speakers": Scenario(0.35, 0.0),
    "speakers, training sets, small": Scenario(0.2, 0.1),
    "speakers, training sets, middle": Scenario(0.35, 0.2),
    "speakers, training sets, large": Scenario(0.5, 0.35),
}
POWER = "speakers, training sets, small"
SHIFTS = (0.15, 0.3, 0.45, 0.6, 0.8)  # logits by which the first system is better

_MEAN, _SPEAKER, _CLIP, _CLIP_BY_SYSTEM = 0.8, 0.6, 1.5, 0.7  # logits; 65 % are right


class Null(NamedTuple):
    """One comparison: (2, seeds, folds, S, K, K) counts, and clips one alone got."""

    counts: np.ndarray
    only: np.ndarray  # (seeds, 2)


def simulate(
    scenario: Scenario,
    clips: int,
    seeds: int,
    shift: float = 0.0,
    *,
    generator: np.random.Generator,
) -> Null:
    """Draw what two systems make of ten speakers in five folds of two.

    A clip is right if a sum is positive: the mean; its speaker; the clip; then, drawn
    for each system, speaker, training speakers (their mean over those who train the
    fold: three of five pairs, so that folds share them), training (fold and seed),
    clip; and logistic noise for each answer.
    """
    fold = np.repeat(np.arange(FOLDS), SPEAKERS // FOLDS)
    apart = (fold[None, :] - np.arange(FOLDS)[:, None]) % FOLDS  # 0: test, 1: valid
    trains = (apart > 1) / np.sqrt((apart > 1).sum(axis=1, keepdims=True))
    draw = generator.normal
    each = draw(0, scenario.speakers, (2, SPEAKERS))
    each = each + (draw(0, scenario.training, (2, SPEAKERS)) @ trains.T)[:, fold]
    runs = draw(0, scenario.seeds, (2, seeds, FOLDS))[..., fold]
    level = _MEAN + draw(0, _SPEAKER, SPEAKERS) + each[:, None] + runs
    level = level + shift * np.array([0.5, -0.5])[:, None, None]
    own = draw(0, _CLIP, (SPEAKERS, clips)) + draw(
        0, _CLIP_BY_SYSTEM, (2, SPEAKERS, clips)
    )
    noise = generator.logistic(0, 0.55, (2, seeds, SPEAKERS, clips))
    right = level[..., None] + own[:, None] + noise > 0
    counts = np.zeros((2, seeds, FOLDS, SPEAKERS, 2, 2), dtype=np.int64)
    places = (slice(None), slice(None), fold, np.arange(SPEAKERS), 0)
    counts[*places, 0] = right.sum(axis=-1)
    counts[*places, 1] = clips - right.sum(axis=-1)
    return Null(counts, _only(right.reshape(2, seeds, -1)))


def _only(right: np.ndarray) -> np.ndarray:
    """Count clips that one system alone got, for each seed: (seeds, 2)."""
    first, second = right
    alone = [(first & ~second).sum(axis=-1), (second & ~first).sum(axis=-1)]
    return np.stack(alone, axis=-1)


def judge(null: Null, test_by_train: float) -> dict[str, float]:
    """Give the p of every test."""
    rates = confusion_rates(null.counts.sum(axis=3), RATE)
    differences = rates[0] - rates[1]
    speakers = null.counts.sum(axis=2)
    each = confusion_rates(speakers, RATE).mean(axis=1)
    found = {
        "corrected t": corrected_t_test(differences.ravel(), test_by_train).p,
        "sign flips": sign_flip_test(each[0] - each[1]).p,
        "bootstrap": speaker_bootstrap(*speakers, RATE).p,
    }
    drawn = stats.bootstrap(
        (each[0] - each[1],), np.mean, n_resamples=1000, method="BCa", rng=0
    )
    plain = stats.bootstrap(
        (each[0] - each[1],),
        np.mean,
        n_resamples=0,
        method="percentile",
        bootstrap_result=drawn,
    )
    for name, result in (("bootstrap, percentile", plain), ("bootstrap, BCa", drawn)):
        low, high = result.confidence_interval
        found[name] = 0.0 if low > 0 or high < 0 else 1.0  # it has no p of its own
    found |= {
        "t, folds": corrected_t_test(differences.mean(axis=0), 0).p,
        "t, folds x seeds": corrected_t_test(differences.ravel(), 0).p,
        "McNemar, one seed": _mcnemar(null.only[:1]),
        "McNemar, all seeds": _mcnemar(null.only),
        "compare claims": max(found["corrected t"], found["sign flips"]),
    }
    return found


def _mcnemar(only: np.ndarray) -> float:
    first, second = only.sum(axis=0)
    return float(mcnemar([[0, first], [second, 0]], exact=True).pvalue)


def simulated(comparisons: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure false alarms of all scenarios, and in one how often is found what is."""
    rows, power = [], []
    for size, clips in CLIPS.items():
        for seeds in SEEDS:
            about = {"clips": size, "seeds": seeds}
            for name, scenario in SCENARIOS.items():
                rows.append(
                    {"scenario": name, **about}
                    | _measure(_draws(scenario, clips, seeds, 0.0, comparisons))
                )
            for shift in SHIFTS:
                found = _measure(
                    _draws(SCENARIOS[POWER], clips, seeds, shift, comparisons // 4)
                )
                power.append({"scenario": POWER, **about} | found)
    return rows, power


def _draws(
    scenario: Scenario, clips: int, seeds: int, shift: float, number: int
) -> Iterator[tuple[Null, float]]:
    generator = np.random.default_rng(0)
    for _ in range(number):
        null = simulate(scenario, clips, seeds, shift, generator=generator)
        yield null, TEST_BY_TRAIN


def real(folder: Path, comparisons: int) -> list[dict[str, Any]]:
    """Compare seeds of one system with its other seeds, for each head of a folder.

    One seed with one: every pair. Five with five: as many draws of ten seeds as there
    are ``comparisons``. Pairs share seeds, so that intervals are a little too narrow.
    """
    rows = []
    for name, runs in read_heads(folder).items():
        whole = [run for run in runs if not run.missing]
        if len(whole) < 2:
            continue
        head = read_head(name, whole)
        folds = [fold["fold"] for fold in whole[0].metrics]
        speakers = sorted(set(head.said.speakers))
        share, _ = test_by_train(whole, folds)
        if share is None:
            raise InputError(f"{folder}/{name}: nobody knows its training clips")
        counts = confusions_of(head, range(len(whole)), folds, speakers)
        right = head.said.right.reshape(len(whole), -1) > 0
        generator = np.random.default_rng(0)
        ten = (generator.permutation(len(whole))[:10] for _ in range(comparisons))
        chosen = {1: [[[a], [b]] for a, b in combinations(range(len(whole)), 2)]}
        if len(whole) >= 10:
            chosen[5] = [[some[:5], some[5:]] for some in ten]
        for seeds, groups in chosen.items():
            nulls = (
                (Null(counts[np.array(both)], _only(right[np.array(both)])), share)
                for both in groups
            )
            rows.append(
                {"scenario": name, "clips": f"{right.shape[1]} clips", "seeds": seeds}
                | _measure(nulls)
            )
    if not rows:
        raise InputError(f"{folder}: no head has two seeds with all folds")
    return rows


def _measure(nulls: Iterator[tuple[Null, float]]) -> dict[str, Any]:
    """Share of the comparisons with p < 0.05, in percent with Wilson's interval."""
    means, found = [], []
    for null, share in nulls:
        rates = confusion_rates(null.counts.sum(axis=3), RATE)
        means.append(float((rates[0] - rates[1]).mean()))
        found.append(judge(null, share))
    n = len(found)
    alarms = {name: sum(one[name] < LEVEL for one in found) for name in found[0]}
    return {
        "comparisons": n,
        "mean_difference": float(np.mean(means)),
        "std_difference": float(np.std(means)),
        "percent": {
            name: [100 * count / n, *_wilson(count, n)]
            for name, count in alarms.items()
        },
    }


def _wilson(count: int, n: int) -> list[float]:
    return [100 * float(edge) for edge in proportion_confint(count, n, method="wilson")]


def _show(title: str, rows: list[Mapping[str, Any]], *, differences: bool) -> None:
    tests = list(rows[0]["percent"])
    number = "mean_difference" if differences else "std_difference"
    print_table(
        title,
        ["scenario", "clips", "seeds", number.replace("_", " "), "comparisons", *tests],
        [
            [
                row["scenario"],
                row["clips"],
                row["seeds"],
                f"{row[number]:.1f}",
                row["comparisons"],
                *("{:.1f} ({:.1f}-{:.1f})".format(*row["percent"][t]) for t in tests),
            ]
            for row in rows
        ],
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.false_alarms",
        description="How often do tests see a difference where there is none? See "
        "docs/comparing.md.",
    )
    parser.add_argument(
        "--folder", help="results of many seeds of one system [simulated results]"
    )
    parser.add_argument(
        "--comparisons", type=int, default=1000, help="of each kind [1000]"
    )
    parser.add_argument(
        "--output", default="benchmarks/results", help="folder of the JSON file"
    )
    given = parser.parse_args()
    output = require_writable(given.output)
    title = "p < 0.05 where there is no difference, % (95 % interval)"
    if given.folder:
        rows = real(Path(given.folder), given.comparisons)
        write_json(output / "false_alarms_real.json", {"rows": rows})
    else:
        rows, power = simulated(given.comparisons)
        write_json(output / "false_alarms.json", {"rows": rows, "power": power})
        shown = [
            {**row, "percent": {k: row["percent"][k] for k in ("compare claims",)}}
            for row in power
        ]
        _show("p < 0.05 where there is one, %", shown, differences=True)
    _show(title, rows, differences=False)


if __name__ == "__main__":
    run_program(main)
