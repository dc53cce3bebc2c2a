r"""The table and the figure of attention.md, from the runs of its experiment.

    python docs/attention_figure.py results/attention/runs docs/images/attention.png
    python docs/attention_figure.py results/attention/runs/whole/att_ls/seed_1 \
        results/attention/trimmed.csv

The second command says how much attention the silence at both ends of whole clips gets.
Rates are of the validation clips at the tested epoch; intervals are those of the
corrected resampled t-test over folds x seeds.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sercorr.corpora.tables import read_table
from sercorr.evaluation.comparison import Estimate, corrected_t_test
from sercorr.evaluation.predictions import read_predictions
from sercorr.evaluation.runs import read_heads
from sercorr.inference import EmotionRecognizer

PAIRS = {
    "attention, p_l = 0": ("att", "corr"),
    "attention, p_l = 0.25": ("att_ls", "corr_ls"),
    "attention, p_l = 0.25, p_d = 0": ("att_ls_p0", "corr_ls_p0"),
    "H = 1 instead of 4": ("att_ls_h1", "att_ls"),
    "H = 16 instead of 4": ("att_ls_h16", "att_ls"),
    "smoothing, no attention": ("corr_ls", "corr"),
}
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"))

Rates = dict[tuple[int | None, int], float]


def read_rates(folder: Path) -> tuple[dict[str, dict[str, Rates]], float]:
    """Corpus -> head -> seed and fold -> validation WA; validated by trained clips."""
    rates: dict[str, dict[str, Rates]] = {}
    shares = []
    for place, runs in read_heads(folder).items():
        corpus, _, head = place.partition("/")
        for run in runs:
            for fold, record in run.records.items():
                own = rates.setdefault(corpus, {}).setdefault(head, {})
                own[run.seed, fold] = record["tested"]["valid_wa"]
                shares.append(record["clips"]["valid"] / record["clips"]["train"])
    return rates, float(np.mean(shares))


def difference(first: Rates, second: Rates, share: float) -> Estimate:
    """Compare two heads on the folds and seeds that both have."""
    both = sorted(first.keys() & second.keys())
    return corrected_t_test([first[key] - second[key] for key in both], share)


def main(folder: Path, picture: Path) -> None:
    """Print the tables, draw the figure."""
    rates, share = read_rates(folder)
    heads = list(next(iter(rates.values())))
    print(f"| validation WA, % | runs | {' | '.join(f'`{head}`' for head in heads)} |")
    print("|---" * (len(heads) + 2) + "|")
    for corpus, of_heads in rates.items():
        means = [f"{np.mean(list(of_heads[head].values())):.1f}" for head in heads]
        runs = len(of_heads[heads[0]])
        print(f"| {corpus.replace('_', ' ')} | {runs} | {' | '.join(means)} |")
    print(f"\n| difference, points | {' | '.join(name for name in rates)} |")
    print("|---" * (len(rates) + 1) + "|")
    figure = Figure(figsize=(8, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.4", linewidth=1)
    for number, (name, (first, second)) in enumerate(PAIRS.items()):
        found = [difference(own[first], own[second], share) for own in rates.values()]
        cells = [f"{d:+.1f} ({low:+.1f} to {high:+.1f})" for d, low, high, _ in found]
        print(f"| {name} | {' | '.join(cells)} |")
        if number < len(STYLES):
            colour, marker = STYLES[number]
            places = np.arange(len(found)) + 0.16 * (number - 1)
            middle = np.array([one.difference for one in found])
            ends = np.array([[one.low, one.high] for one in found], dtype=float).T
            spread = np.abs(ends - middle)
            look = {"color": colour, "capsize": 3, "label": name}
            axes.errorbar(places, middle, spread, fmt=marker, **look)
    print("\nWhat attention gains on whole clips more than on trimmed ones, points:")
    for name, (first, second) in list(PAIRS.items())[: len(STYLES)]:
        gains = [
            {k: own[first][k] - own[second][k] for k in own[first] if k in own[second]}
            for own in (rates["whole"], rates["trimmed"])
        ]
        more = difference(gains[0], gains[1], share)
        print(f"{name}: {more.difference:+.1f} ({more.low:+.1f} to {more.high:+.1f})")
    names = [name.replace("_", " ") for name in rates]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("attentive corr less corr,\nvalidation WA, points")
    axes.set_title("What attention gains, with 95 % intervals (corrected t)")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)


def attention_on_silence(run: Path, table: Path) -> None:
    """Print the share of time and of attention outside the trimmed parts.

    Of the validation clips of each fold, which did not train its head.
    """
    parts = {clip.id: clip for clip in read_table(table).utterances}
    time, weight = [], []
    for fold in sorted(int(path.name[5:]) for path in run.glob("fold_*")):
        recognizer = EmotionRecognizer.from_run(run, fold=fold)
        ids = read_predictions(run / f"fold_{fold}" / "validation.csv").ids
        files = [str(table.parent / parts[name].wav) for name in ids]
        for name, found in zip(ids, recognizer.predict(files), strict=True):
            moments, weights = np.array(found.attention).T
            end = parts[name].end or np.inf
            outside = (moments < parts[name].start) | (moments > end)
            time.append(outside.mean())
            weight.append(weights[outside].sum() / weights.sum())
    print(
        f"{len(time)} clips: {100 * np.mean(time):.1f} % of the frames are silence at "
        f"both ends; they get {100 * np.mean(weight):.1f} % of the attention"
    )


if __name__ == "__main__":
    if sys.argv[2].endswith(".csv"):
        attention_on_silence(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
