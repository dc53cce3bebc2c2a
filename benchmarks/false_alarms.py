"""How often do tests see a difference where there is none?

    python -m benchmarks.false_alarms                      # simulated, 3 to 9 minutes
    python -m benchmarks.false_alarms --folder FOLDER      # many seeds of one system

Both print tables and write ``benchmarks/results/false_alarms[_real].{json,md}``. The
meaning of the columns and of the scenarios is in docs/comparing.md.
"""

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from sercorr.errors import InputError, run_program
from sercorr.evaluation.comparison import (
    confusion_rates,
    corrected_t_test,
    sign_flip_test,
)
from sercorr.evaluation.intervals import bootstrap, expanded_interval
from sercorr.evaluation.pairs import clips_tested_by_trained, confusions_of, read_head
from sercorr.evaluation.runs import read_heads
from sercorr.files import require_writable, write_json, write_text
from sercorr.reporting.layout import Parts, render

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

CLAIM = "sercorr compare claims"
TESTS = (
    "corrected t", "sign flips", CLAIM, "bootstrap, expanded", "bootstrap, percentiles",
    "bootstrap, BCa", "t, folds", "t, folds x seeds", "McNemar, one seed",
    "McNemar, all seeds",
)  # fmt: skip

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


def judge(null: Null, test_by_train: float) -> dict[str, bool]:
    """Say which tests find p < 0.05."""
    rates = confusion_rates(null.counts.sum(axis=3), RATE)
    differences = rates[0] - rates[1]
    speakers = null.counts.sum(axis=2)
    each = confusion_rates(speakers, RATE).mean(axis=1)
    by_speaker = each[0] - each[1]
    clips = speakers[0, 0].sum(axis=(-2, -1))
    # speaker_bootstrap for WA, in one product
    drawn = bootstrap(lambda t: t @ (by_speaker * clips) / (t @ clips), len(clips))
    bca = stats.bootstrap((by_speaker,), np.mean, n_resamples=1000, method="BCa", rng=0)
    found = {
        "corrected t": corrected_t_test(differences.ravel(), test_by_train).p,
        "sign flips": sign_flip_test(by_speaker).p,
        "t, folds": corrected_t_test(differences.mean(axis=0), 0).p,
        "t, folds x seeds": corrected_t_test(differences.ravel(), 0).p,
        "McNemar, one seed": _mcnemar(null.only[:1]),
        "McNemar, all seeds": _mcnemar(null.only),
    }
    intervals = {
        "bootstrap, expanded": expanded_interval(drawn, len(clips)),
        "bootstrap, percentiles": tuple(np.quantile(drawn, [0.025, 0.975])),
        "bootstrap, BCa": bca.confidence_interval,
    }
    alarms = {name: p < LEVEL for name, p in found.items()}
    alarms |= {n: low > 0 or high < 0 for n, (low, high) in intervals.items()}
    alarms[CLAIM] = alarms["corrected t"] and alarms["sign flips"]
    return {name: bool(alarms[name]) for name in TESTS}


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
                power.append({"scenario": POWER, **about, "shift": shift} | found)
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
        share, _ = clips_tested_by_trained(whole, folds)
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
    alarms = {name: sum(one[name] for one in found) for name in TESTS}
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


def _parts(rows: list[dict[str, Any]]) -> Parts:
    """Lay results out: a table for each size, with a column for each scenario."""
    parts: Parts = []
    for clips, seeds in dict.fromkeys((row["clips"], row["seeds"]) for row in rows):
        some = [row for row in rows if (row["clips"], row["seeds"]) == (clips, seeds)]
        table = [
            {"test": test}
            | {
                row["scenario"]: "{:.1f} ({:.1f}-{:.1f})".format(*row["percent"][test])
                for row in some
            }
            for test in TESTS
        ]
        spread = {
            row["scenario"]: f"{row['std_difference']:.1f} points" for row in some
        }
        table.insert(0, {"test": "(std of the difference)"} | spread)
        number = some[0]["comparisons"]
        title = f"{clips}, {seeds} seed{'s' * (seeds > 1)}, {number} comparisons:"
        parts += [title, [table]]
    return parts


def _power_parts(rows: list[dict[str, Any]]) -> Parts:
    """Lay out how often ``sercorr compare`` finds a difference of so many points."""
    table: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        line = table.setdefault((row["clips"], row["seeds"]), {})
        share, low, high = row["percent"][CLAIM]
        found = f"{row['mean_difference']:.1f}: {share:.0f} ({low:.0f}-{high:.0f})"
        line |= {"clips": row["clips"], "seeds": str(row["seeds"])}
        line[f"logits {row['shift']}"] = found
    return [
        f"Where the first system is better ({POWER}), points: % claimed:",
        [list(table.values())],
    ]


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
    parts: Parts = ["p < 0.05 where there is no difference, % (95 % interval):"]
    if given.folder:
        rows = real(Path(given.folder), given.comparisons)
        name, data = "false_alarms_real", {"rows": rows}
        parts += _parts(rows)
    else:
        rows, power = simulated(given.comparisons)
        name, data = "false_alarms", {"rows": rows, "power": power}
        parts += [*_parts(rows), *_power_parts(power)]
    write_json(output / f"{name}.json", data)
    write_text(output / f"{name}.md", render(parts, "markdown") + "\n")
    print(render(parts, "text"))


if __name__ == "__main__":
    run_program(main)
