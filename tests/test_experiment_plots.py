"""Figures of an experiment: what they are made of, and what is left out or refused."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up_results import LABELS, make_run
from matplotlib import image

from sercorr.errors import InputError
from sercorr.evaluation.runs import read_heads
from sercorr.reporting.experiment_plots import (
    plot_confusions,
    plot_experiment,
    plot_lines,
)
from sercorr.reporting.experiment_series import confusions_of, series_of
from sercorr.reporting.paper import used_settings

GRID = [(p_d, p_l) for p_l in (0.25, 0.0) for p_d in (0.5, 0.0, 0.1)]
LABELS_OF = {"x_label": "channel dropout p_d", "y_label": "WA, %", "title": "a"}


def make_grid(folder: Path, seeds=(1, 2), folds=(1, 2)) -> Path:
    """Heads with each pair of `GRID`, whose names say nothing."""
    for number, (p_d, p_l) in enumerate(GRID):
        for seed in seeds:
            place = folder / f"head{number}" / f"seed_{seed}"
            settings = {"channel_dropout": p_d, "label_smoothing": p_l}
            make_run(place, folds, seed=10 * number + seed, n_folds=2, **settings)
    return folder


def accuracy(folder: Path, fold: int) -> float:
    """Percent of the rows of a fold's predictions that are right."""
    lines = (folder / f"fold_{fold}" / "predictions.csv").read_text().splitlines()
    pairs = [line.split(",")[1:3] for line in lines[1:]]
    return 100 * sum(truth == answer for truth, answer in pairs) / len(pairs)


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_every_seed_stands_at_its_settings(tmp_path):
    root = make_grid(tmp_path)
    series, notes = series_of(read_heads(root), "channel_dropout", "label_smoothing")
    assert notes == []
    assert [(name, list(line)) for name, line in series.items()] == [
        ("p_l = 0.0", [0.0, 0.1, 0.5]),
        ("p_l = 0.25", [0.0, 0.1, 0.5]),
    ]
    for number, (p_d, p_l) in enumerate(GRID):
        wanted = [
            (accuracy(root / f"head{number}/seed_{seed}", 1)
             + accuracy(root / f"head{number}/seed_{seed}", 2)) / 2
            for seed in (1, 2)
        ]  # fmt: skip
        assert series[f"p_l = {p_l}"][p_d] == pytest.approx(wanted, rel=1e-12)
    turned, _ = series_of(read_heads(root), "label_smoothing", "channel_dropout", "ua")
    assert list(turned) == ["p_d = 0.0", "p_d = 0.1", "p_d = 0.5"]


def test_validation_rates_are_those_of_the_tested_epochs(tmp_path):
    make_run(tmp_path / "a", (1, 2), n_folds=2, n_heads=4)
    heads = read_heads(tmp_path)
    assert series_of(heads, "n_heads", rate="valid_wa")[0] == {"": {4: [56.5]}}
    with pytest.raises(
        InputError, match=r"run\.json: tested has no valid_ua, but epoch"
    ):
        series_of(heads, "n_heads", rate="valid_ua")


def test_settings_are_those_that_the_parts_got(tmp_path):
    make_run(tmp_path / "a", (1,), n_folds=1, n_heads=1)
    path = tmp_path / "a" / "fold_1" / "run.json"

    def rewire(record: dict) -> None:
        tree = record["identity"]["settings"]
        tree["pooling_layer"]["value"]["n_heads"] = "!ref <more>"
        tree["more"] = 7

    edit(path, rewire)
    series, _ = series_of(read_heads(tmp_path), "n_heads")
    assert list(series[""]) == [7]
    record = json.loads(path.read_text())
    used = used_settings(record)
    assert (used["n_heads"], used["more"], used["number_of_epochs"]) == (7, 7, 30)
    assert record["identity"]["settings"]["n_heads"] == 1


def test_what_is_not_finished_is_a_gap_and_is_said(tmp_path):
    root = make_grid(tmp_path)
    shutil.rmtree(root / "head0/seed_2/fold_2")
    shutil.rmtree(root / "head4/seed_1/fold_1")
    for seed in (1, 2):
        for fold in (1, 2):
            (root / f"head3/seed_{seed}/fold_{fold}/metrics.json").unlink()
    heads = read_heads(root)
    series, notes = series_of(heads, "channel_dropout", "label_smoothing")
    assert notes == [
        "head0, seed 2: not drawn, as it lacks fold 2",
        "head3: not drawn, as no fold is finished",
        "head4, seed 1: not drawn, as it lacks fold 1",
    ]
    lengths = {n: {x: len(r) for x, r in line.items()} for n, line in series.items()}
    assert lengths == {
        "p_l = 0.0": {0.0: 1, 0.1: 2},
        "p_l = 0.25": {0.0: 2, 0.1: 2, 0.5: 1},
    }
    one = accuracy(root / "head0/seed_1", 1), accuracy(root / "head0/seed_1", 2)
    assert series["p_l = 0.25"][0.5] == [pytest.approx(np.mean(one), rel=1e-12)]


def test_what_would_hide_or_mix_is_refused(tmp_path):
    root = make_grid(tmp_path, seeds=(1,))
    heads = read_heads(root)
    message = "head0 and head3 both have channel_dropout 0.5; a figure has room for"
    with pytest.raises(InputError, match=message):
        series_of(heads, "channel_dropout")
    message = r"fold_1/run\.json: no setting 'n_head' is in it"
    with pytest.raises(InputError, match=message):
        series_of(heads, "n_head", "label_smoothing")
    path = root / "head0/seed_1/fold_2/run.json"
    tree = ("identity", "settings", "channel_dropout", 0.4)
    edit(path, lambda record: record[tree[0]][tree[1]].update({tree[2]: tree[3]}))
    with pytest.raises(InputError, match=r"head0.* channel_dropout is not the same in"):
        series_of(read_heads(root), "channel_dropout", "label_smoothing")


def test_words_stand_in_the_order_of_the_heads(tmp_path):
    for upstream in ("b", "a"):
        for place, pooling in enumerate(("mean", "corr", "attentive_corr")):
            make_run(tmp_path / upstream / f"{place}", (1,), n_folds=1, pooling=pooling)
    heads = read_heads(tmp_path)
    series, _ = series_of(heads, "pooling")
    words = ["mean", "corr", "attentive_corr"]
    assert [(name, list(line)) for name, line in series.items()] == [
        ("a", words),
        ("b", words),
    ]
    rate = accuracy(tmp_path / "b" / "1", 1)
    assert series["b"]["corr"] == [pytest.approx(rate, rel=1e-12)]


def test_lines_bars_and_ticks(tmp_path, drawn):
    series = {
        "p_l = 0.0": {0.0: [60.0, 64.0, 65.0], 0.25: [61.0, 62.0], 0.5: [70.0]},
        "p_l = 0.25": {0.0: [70.0, 72.0, 71.0], 0.5: [50.0, 55.0, 60.0]},
    }
    plot_lines(series, tmp_path / "a.png", **LABELS_OF)
    axes = drawn[0].axes[0]
    lines = {
        line.get_label(): line for line in axes.lines if line.get_label() in series
    }
    places = (0.0, 0.25, 0.5)
    for name, line in lines.items():
        wanted = [float(np.mean(rates)) for rates in series[name].values()]
        np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-12)
        own = [x for x in places if x in series[name]]
        assert list(line.get_xdata()) == own
    shown = [  # pixels of x = 0 and x = 0.5
        [line.get_transform().transform((x, 0.0))[0] for x in (0.0, 0.5)]
        for line in lines.values()
    ]
    width = lines["p_l = 0.0"].get_markersize() * drawn[0].dpi / 72
    apart = np.subtract(shown[1], shown[0])
    assert (apart > 0).all()  # bars beside each other
    assert (apart < width).all()  # and no point at another x
    true = [axes.transData.transform((x, 0.0))[0] for x in (0.0, 0.5)]
    np.testing.assert_allclose(np.mean(shown, axis=0), true, rtol=1e-9)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left < -0.01
    assert right > 0.51
    assert 45.0 < low < 50.0  # 55 - 5, the end of the lowest bar, is inside
    assert 74.0 > high > 72.0
    bars = [bar.lines[2][0].get_segments() for bar in axes.containers[:2]]
    heights = [[(low + high) / 2 for (_, low), (_, high) in some] for some in bars]
    halves = [[(high - low) / 2 for (_, low), (_, high) in some] for some in bars]
    np.testing.assert_allclose(heights[0], [63.0, 61.5], rtol=1e-12)
    np.testing.assert_allclose(halves[0], [7**0.5, 0.5**0.5], rtol=1e-12)
    np.testing.assert_allclose(halves[1], [1.0, 5.0], rtol=1e-12)
    assert list(axes.get_xticks()) == list(places)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.0", "0.25", "0.5"]
    names = [text.get_text() for text in drawn[0].legends[0].texts]
    assert names == [*series, "standard deviation over 1 to 3 seeds"]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines.values()}
    assert len(looks) == 2 == len({line.get_marker() for line in lines.values()})
    labels = axes.get_xlabel(), axes.get_ylabel(), axes.get_title()
    assert labels == tuple(LABELS_OF.values())
    assert image.imread(tmp_path / "a.png").shape[1] == 1200


def test_one_seed_has_no_bars_and_points_at_their_places(tmp_path, drawn):
    series = {"": {1: [70.0], 4: [72.0], 16: [71.0], 32: [71.5]}}
    plot_lines(series, tmp_path / "a.png", **LABELS_OF)
    plot_lines({"a": {2: [70.0], 8: [72.0]}}, tmp_path / "b.png", **LABELS_OF)
    words = {"a": {"mean": [1.0], "corr": [2.0]}, "b": {"corr": [3.0], 4: [4.0]}}
    plot_lines(words, tmp_path / "c.png", **LABELS_OF)
    wide, narrow, categories = (figure.axes[0] for figure in drawn)
    assert not wide.containers
    assert not drawn[0].legends  # one line without a name
    np.testing.assert_allclose(wide.lines[0].get_xdata(), [0, 2, 4, 5], atol=1e-12)
    assert [t.get_text() for t in wide.get_xticklabels()] == ["1", "4", "16", "32"]
    assert list(narrow.lines[0].get_xdata()) == [2, 8]
    ticks = [t.get_text() for t in categories.get_xticklabels()]
    assert ticks == ["4", "mean", "corr"]
    assert {line.get_linestyle() for line in categories.lines} == {"None"}
    assert [list(line.get_xdata()) for line in categories.lines] == [[1, 2], [2, 0]]


def test_confusions_are_added_and_stand_side_by_side(tmp_path, drawn):
    for seed in (1, 2):
        make_run(tmp_path / "a" / f"seed_{seed}", (1, 3), seed=seed, n_folds=3)
    make_run(tmp_path / "b", (2,), n_folds=3)
    heads = read_heads(tmp_path)
    matrices, notes = confusions_of(heads, ["b", "a"])
    assert notes == []
    titles = [title for title, _, _ in matrices]
    assert titles == ["b\nfold 2", "a\n2 folds (1, 3), 2 seeds"]
    counts = np.zeros((4, 4), int)
    for path in (tmp_path / "a").rglob("predictions.csv"):
        for line in path.read_text().splitlines()[1:]:
            truth, answer = line.split(",")[1:3]
            counts[LABELS.index(truth), LABELS.index(answer)] += 1
    np.testing.assert_array_equal(matrices[1][1], counts)
    plot_confusions(matrices, tmp_path / "a.png")
    left, right, bar = drawn[0].axes
    for axes, (title, confusion, labels) in zip((left, right), matrices, strict=True):
        assert axes.get_title() == title
        assert [t.get_text() for t in axes.get_xticklabels()] == labels
        texts = {tuple(map(int, t.get_position())): t.get_text() for t in axes.texts}
        share = 100 * confusion[2][1] / sum(confusion[2])
        assert texts[1, 2] == f"{confusion[2][1]}\n{share:.1f} %"
        assert axes.images[0].get_clim() == (0, 100)
    assert left.get_position().y0 == pytest.approx(right.get_position().y0)
    assert bar.get_xlabel() == "share of the true class, %"
    edit(tmp_path / "b/fold_2/metrics.json", lambda m: m.update(labels=LABELS[::-1]))
    assert confusions_of(read_heads(tmp_path), ["b"])[0][0][2] == LABELS[::-1]
    for name in ("1", "3"):
        path = tmp_path / f"a/seed_2/fold_{name}/metrics.json"
        edit(path, lambda metrics: metrics.update(labels=LABELS[::-1]))
    with pytest.raises(InputError, match="a: seeds have different labels"):
        confusions_of(read_heads(tmp_path), ["a"])


@pytest.mark.parametrize(("classes", "shape"), [(6, (1, 2)), (8, (3, 1))])
def test_many_classes_and_an_odd_number_of_matrices(tmp_path, drawn, classes, shape):
    labels = [f"class{n}" for n in range(classes)]
    one = np.eye(classes, dtype=int).tolist()
    number = shape[0] * shape[1]
    plot_confusions([(f"{n}", one, labels) for n in range(number)], tmp_path / "a.png")
    plot_confusions([("a", one, labels)] * 3, tmp_path / "b.png")
    grid = drawn[0].axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape
    shown = [axes for axes in drawn[1].axes[:4] if axes.images]
    assert len(shown) == 3


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_figures_of_an_experiment(tmp_path, suffix):
    for upstream in ("fbank", "hub--large"):
        make_grid(tmp_path / "runs" / upstream)
    heads = read_heads(tmp_path / "runs")
    figures = [
        {"x": "channel_dropout", "lines": "label_smoothing"},
        {"confusions": ["head0", "head5"]},
    ]
    paths, notes = plot_experiment(heads, figures, tmp_path / "out", suffix)
    assert notes == []
    assert [path.name for path in paths] == [
        f"fbank_channel_dropout_by_label_smoothing{suffix}",
        f"hub--large_channel_dropout_by_label_smoothing{suffix}",
        f"fbank_confusions_head0_head5{suffix}",
        f"hub--large_confusions_head0_head5{suffix}",
    ]
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)
    if suffix == ".svg":
        text = "".join(ElementTree.parse(paths[1]).getroot().itertext())
        assert "WA by channel dropout p_d, hub--large" in text
        assert "p_l = 0.25" in text
        assert "WA, %, mean of folds 1, 2" in text
        first = paths[1].read_bytes()
        plot_experiment(heads, figures[:1], tmp_path / "out", suffix)
        assert paths[1].read_bytes() == first


def test_upstreams_are_lines_where_no_setting_is(tmp_path, drawn):
    for upstream in ("fbank", "tiny"):
        for number in (1, 4):
            place = tmp_path / upstream / f"heads{number}"
            make_run(place, (1,), n_folds=5, n_heads=number)
    paths, _ = plot_experiment(read_heads(tmp_path), [{"x": "n_heads"}], tmp_path)
    assert [path.name for path in paths] == ["n_heads.png"]
    lines = drawn[0].axes[0].lines
    assert [line.get_label() for line in lines] == ["fbank", "tiny"]
    assert drawn[0].axes[0].get_ylabel() == "WA, %, fold 1"


def test_nothing_is_drawn_where_nothing_is_finished(tmp_path):
    make_run(tmp_path / "a" / "done", (1,), n_folds=1, n_heads=1)
    make_run(tmp_path / "b" / "other", (1,), n_folds=1, n_heads=1)
    (tmp_path / "b" / "other" / "fold_1" / "metrics.json").unlink()
    figures = [{"x": "n_heads", "lines": "pooling"}, {"confusions": ["other"]}]
    paths, notes = plot_experiment(read_heads(tmp_path), figures, tmp_path)
    assert [path.name for path in paths] == ["a_n_heads_by_pooling.png"]
    assert notes == ["b/other: not drawn, as no fold is finished"]
