"""Pictures: what they are made of, their size, and that they follow the data."""

import numpy as np
import pytest
from made_up_results import LABELS, make_record
from matplotlib import _pylab_helpers, image
from matplotlib.figure import Figure

from sercorr.reporting.plots import (
    plot_confusion,
    plot_history,
    plot_layer_weights,
    plot_scores,
)

CONFUSION = [[50, 3, 4, 5], [6, 70, 8, 9], [10, 11, 80, 13], [0, 0, 0, 0]]


def pixels(path):
    picture = image.imread(path)
    assert picture.shape[1] == 1200
    assert picture.std() > 0.01
    return picture


def histories(folds, epochs):
    return {
        f"fold {fold}": [make_record(epoch, fold) for epoch in range(1, epochs + 1)]
        for fold in range(1, folds + 1)
    }


def test_confusion_shows_counts_and_percentages(tmp_path, drawn):
    plot_confusion(CONFUSION, LABELS, tmp_path / "a.png", "All folds")
    axes = drawn[0].axes[0]
    texts = {tuple(map(int, t.get_position())): t.get_text() for t in axes.texts}
    for row, counts in enumerate(CONFUSION):
        for column, count in enumerate(counts):
            share = f"{100 * count / sum(counts):.1f} %" if sum(counts) else "-"
            assert texts[column, row] == f"{count}\n{share}"
    assert axes.get_title() == "All folds"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [t.get_text() for t in axes.get_xticklabels()] == LABELS
    assert axes.get_yticklabels()[0].get_text() == "neu\nn = 62"
    pixels(tmp_path / "a.png")


def test_layer_weights_show_every_fold_and_the_uniform_level(tmp_path, drawn):
    weights = {
        f"fold {k}": np.random.default_rng(k).dirichlet([5.0] * 25) for k in (1, 4)
    }
    by_layer = {name: dict(enumerate(values)) for name, values in weights.items()}
    plot_layer_weights(by_layer, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
    assert list(lines) == ["fold 1", "fold 4", "mean", "uniform, 1/25"]
    np.testing.assert_array_equal(lines["fold 4"], weights["fold 4"])
    middle = (weights["fold 1"] + weights["fold 4"]) / 2
    np.testing.assert_allclose(lines["mean"], middle, rtol=1e-12)
    np.testing.assert_allclose(lines["uniform, 1/25"], 0.04, rtol=1e-12)
    low, high = axes.get_ylim()
    assert low <= min(map(min, weights.values()))
    assert high >= max(map(max, weights.values()))
    assert axes.get_xticklabels()[0].get_text() == "0\ninput"
    assert axes.get_xticklabels()[24].get_text() == "24"
    pixels(tmp_path / "a.png")


def test_almost_uniform_weights_look_flat_and_one_layer_gives_a_note(tmp_path, drawn):
    almost = dict(enumerate([0.2501, 0.2499, 0.25, 0.25]))
    plot_layer_weights({"fold 1": almost}, tmp_path / "a.png")
    plot_layer_weights({"fold 1": {0: 1.0}, "fold 2": {0: 1.0}}, tmp_path / "b.png")
    flat, note = (figure.axes[0] for figure in drawn)
    low, high = flat.get_ylim()
    assert (high - low) / 0.25 > 0.2
    assert len(flat.lines) == 2  # no mean over one fold
    assert "one layer" in note.texts[0].get_text()
    assert not note.lines


def test_curves_hold_every_record_and_mark_the_best(tmp_path, drawn):
    data = histories(5, 4)
    data["fold 1"][1]["valid_wa"] = 299.0  # the best is not the last,
    data["fold 1"][2]["valid_wa"] = 299.0  # but the earliest of equals
    plot_history(data, tmp_path / "a.png")
    keys = ["train_loss", "valid_loss", "valid_wa", "valid_ua"]
    for axes, key in zip(drawn[0].axes, keys, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        stars = [line for line in axes.lines if line.get_marker() == "*"]
        for (name, records), star in zip(data.items(), stars, strict=True):
            best = records[1] if name == "fold 1" else records[-1]
            assert list(lines[name].get_xdata()) == [r["updates"] for r in records]
            assert list(lines[name].get_ydata()) == [r[key] for r in records]
            assert list(star.get_xdata()) == [best["updates"]]
            assert list(star.get_ydata()) == [best[key]]
            assert star.get_color() == lines[name].get_color()
    assert [axes.get_xlabel() for axes in drawn[0].axes[2:]] == ["updates"] * 2
    names = [axes.get_ylabel() for axes in drawn[0].axes[::2]]
    assert names == ["loss, nats", "rate, %"]
    pixels(tmp_path / "a.png")


def test_single_epochs_stand_side_by_side(tmp_path, drawn):
    plot_history(histories(5, 1), tmp_path / "a.png")
    stars = [line for line in drawn[0].axes[0].lines if line.get_marker() == "*"]
    places = [float(star.get_xdata()[0]) for star in stars]
    assert np.all(np.diff(places) > 0)
    assert places[2] == pytest.approx(20)
    assert list(drawn[0].axes[0].get_xticks()) == [20]
    pixels(tmp_path / "a.png")


def test_folds_differ_by_colour_and_marker(tmp_path, drawn):
    weights = {f"fold {k}": {0: 0.5, 1: 0.5} for k in range(10)}
    plot_layer_weights(weights, tmp_path / "a.png")
    lines = drawn[0].axes[0].lines[:10]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 10
    assert len({line.get_color() for line in lines}) == 6
    assert len({line.get_marker() for line in lines[:6]}) == 6


def test_scores_show_both_deviations(tmp_path, drawn):
    scores = {"a": (60, 5, 1), "b": (70, None, None), "c": (80, 4, None)}
    plot_scores(scores, tmp_path / "a.png", "WA")
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [60, 70, 80]
    assert [text.get_text() for text in axes.texts] == ["60.0", "70.0", "80.0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.yaxis_inverted()  # the first at the top
    assert {
        bars.get_label(): [list(p[:, 0]) for p in bars.lines[2][0].get_segments()]
        for bars in axes.containers[1:]
    } == {
        "standard deviation over folds": [[55, 65], [76, 84]],
        "standard deviation over seeds": [[59, 61]],
    }
    pixels(tmp_path / "a.png")


def test_pictures_are_whole_or_absent(tmp_path, monkeypatch):
    for name, mean in (("a", 10), ("b", 10), ("c", 40)):
        plot_scores({"a": (mean, 1.0, None)}, tmp_path / f"{name}.png", "title")
    first, same, other = (pixels(tmp_path / f"{name}.png") for name in "abc")
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.5
    assert not _pylab_helpers.Gcf.figs  # nothing is left in pyplot's hands

    def stop(figure, path, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", stop)
    with pytest.raises(KeyboardInterrupt):
        plot_scores({"a": (40.0, 1.0, None)}, tmp_path / "d.png", "title")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]
