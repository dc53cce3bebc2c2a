"""A seed that lacks a fold changes no number of its head, and is named."""

import json

import numpy as np
import pytest
from made_up_results import rows_of
from made_up_systems import SKILLS, make_system
from matplotlib.figure import Figure

from sercorr.evaluation.results import FIGURES
from sercorr.evaluation.runs import most_folds, read_heads
from sercorr.reporting.calibration import calibration_parts
from sercorr.reporting.comparison import compare_parts
from sercorr.reporting.experiment_series import confusions_of, series_of
from sercorr.reporting.groups import group_parts
from sercorr.reporting.page.sections import choose_head, heads_section, results_section
from sercorr.reporting.report import report_folder, summarise_heads

REMARK = (
    "Seed 3 lacks fold 2: left out; the numbers are of seeds 1, 2 alone. Train fold 2 "
    "of seed 3 to have all."
)


@pytest.fixture
def root(tmp_path):
    """Two heads, each with two seeds of two folds of five."""
    for head in ("corr", "mean"):
        for seed in (1, 2):
            make_seed(tmp_path, head, seed, 1, 2)
    return tmp_path


def make_seed(root, head, seed, *folds):
    place = root / head / f"seed_{seed}"
    make_system(place, SKILLS[head], seed=seed, folds=folds, pooling=head)


def numbers_of(heads):
    """What pages, tables and figures show of the head `mean`."""
    summary, bars = summarise_heads(heads)
    groups, calibration = group_parts(heads["mean"]), calibration_parts(heads)
    return {
        "figures": [summary["mean"][figure] for figure in FIGURES],
        "bar": next(bar for name, bar in bars.items() if name.startswith("mean")),
        "points": series_of(heads, "pooling")[0][""]["mean"],
        "confusions": confusions_of(heads, ["mean"])[0],
        "drawn": heads_section(heads, "mean", 10**8).content,
        "groups": [part for part in groups if not isinstance(part, str)],
        "calibration": calibration[0],
        "chosen": choose_head(heads),
        "compared": compare_parts(heads)[1]["heads"]["mean"]["mean"],
    }


def test_no_number_changes_by_a_seed_that_lacks_a_fold(root):
    before = numbers_of(read_heads(root))
    make_seed(root, "mean", 3, 1)
    heads = read_heads(root)
    after = numbers_of(heads)
    assert after == before
    wa = [[f["wa"] for f in run.metrics] for run in heads["mean"][:2]]
    mean, over_folds, over_seeds = (figure["wa"] for figure in after["figures"])
    assert mean == pytest.approx(np.mean(wa))
    assert over_folds == pytest.approx(np.std(wa, axis=1).mean())
    assert over_seeds == pytest.approx(np.std(np.mean(wa, axis=1), ddof=1))
    assert after["compared"] == mean
    (pair,) = compare_parts(heads)[1]["pairs"]
    assert (pair["seeds"], pair["folds"]) == ([1, 2], [1, 2])


def test_every_page_names_the_seed_that_is_left_out(root, monkeypatch):
    make_seed(root, "mean", 3, 1)
    figures = []
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda figure, path, **_: figures.append(figure) or path.write_bytes(b"P"),
    )
    text = report_folder(root)
    (picture,) = [f.axes[0] for f in figures if len(f.axes[0].get_yticks()) == 2]
    assert [tick.get_text() for tick in picture.get_yticklabels()] == [
        "corr\n4 of 10 folds",
        "mean\n4 of 15 folds, 2 of 3 seeds",
    ]
    for page in (text, (root / "grid.md").read_text()):
        assert f"mean: {REMARK}" in page
        assert page.count("left out") == 1
        rows = rows_of(page.split("Recall")[0])
        assert rows["mean"][2:4] == ["2 of 3", "4 of 15"]
        assert rows["corr"][2:4] == ["2", "4 of 10"]
    seeds = (root / "mean/seeds.md").read_text()
    assert f"all: {REMARK}" in seeds
    assert rows_of(seeds.split("Recall")[0])["all"][1:] == rows["mean"][1:]
    assert json.loads((root / "grid.json").read_text())["mean"]["left_out"] == [3]
    heads = read_heads(root)
    monkeypatch.undo()
    assert REMARK in group_parts(heads["mean"])
    assert f"mean: {REMARK}" in calibration_parts(heads)
    assert confusions_of(heads, ["mean"])[1] == [f"mean: {REMARK}"]
    assert f"mean: {REMARK}" in results_section(heads, root).content
    drawn = str(heads_section(heads, "mean", 10**8).content)
    assert "Confusion matrix, 2 folds (1, 2), 2 seeds" in drawn


def test_seeds_with_equal_gaps_are_named_together(root):
    for seed in (3, 4):
        make_seed(root, "corr", seed, 1, 2, 4)
    _, *remarks = confusions_of(read_heads(root), ["corr"])
    assert remarks == [
        [
            "corr: Seeds 1, 2 lack fold 4: left out; the numbers are of seeds 3, 4 "
            "alone. Train fold 4 of seeds 1, 2 to have all."
        ]
    ]


def test_folds_come_before_seeds():
    assert most_folds([{1}, {1}, {1, 2}]) == {1, 2}
    assert most_folds([{1, 2}, {1, 3}, {1, 3}]) == {1, 3}
    assert most_folds([]) == set()
