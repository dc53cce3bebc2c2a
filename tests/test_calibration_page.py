"""Calibration of heads as a table, and reliability plots."""

import numpy as np
import pytest
from made_up_results import rows_of
from matplotlib.figure import Figure
from spoken_runs import write_spoken_run

from sercorr.errors import InputError
from sercorr.evaluation.calibration import (
    BINS,
    chance_errors,
    error_interval,
    fold_temperatures,
    reliability,
    score_seeds,
    temper,
)
from sercorr.evaluation.pooled import pool_predictions
from sercorr.evaluation.runs import read_heads
from sercorr.reporting.calibration import calibration_parts, plot_reliability
from sercorr.reporting.layout import render

# table


def table_of(root):
    text = render(calibration_parts(read_heads(root)), "text")
    return rows_of(text), text


def test_table_has_smoothing_side_by_side(tmp_path):
    for name, settings, sharper in (
        ("a", {"label_smoothing": 0.0}, 3.0),
        ("b", {"pooling": "mean"}, 1.0),
        ("c", {"label_smoothing": 0.25}, 1.0),
    ):
        for seed in (1, 2):
            write_spoken_run(
                tmp_path / name / f"seed_{seed}",
                seed=seed,
                sharper=sharper,
                **settings,
            )
    rows, text = table_of(tmp_path)
    assert [name for name in rows if name in ("a", "b", "c")] == ["a", "c", "b"]
    assert [rows[name][1] for name in "abc"] == ["0", "0.25", "0.25"]
    pooled = pool_predictions(read_heads(tmp_path)["a"])
    scores, chance = score_seeds(pooled), chance_errors(pooled)
    low, high = error_interval(pooled, scores.ece, chance)
    temperatures, _ = fold_temperatures(read_heads(tmp_path)["a"])
    after = score_seeds(pooled, temper(pooled, temperatures))
    values = list(temperatures.values())
    assert rows["a"][2:] == [
        f"{scores.ece:.1f} ({low:.1f} to {high:.1f})",
        f"{chance.mean():.1f}",
        f"+{scores.gap:.1f}",
        f"{scores.nll:.3f}",
        f"{scores.brier:.3f}",
        f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})",
        f"{after.ece:.1f}",
        f"{after.nll:.3f}",
    ]
    assert "15 bins" in text
    assert "over 6 speakers" in text
    assert "their speakers train, too, and T may be too small" in text
    assert "No temperature" not in text


def test_table_without_validation_clips_says_how_to_get_them(tmp_path):
    write_spoken_run(tmp_path / "new", seed=1, valid_session=2)
    write_spoken_run(tmp_path / "old", seed=1, validation=False, folds=(1, 3))
    rows, text = table_of(tmp_path)
    assert len(rows["old"]) == len(rows["new"]) - 3
    assert (
        "old: No temperature: 2 of 2 folds have no validation.csv of the tested epoch; "
        "train them anew, it is written with the best epoch." in text
    )
    assert "old: 4 speakers are too few for an interval (at least 5)." in text
    assert "old: Left out, since not finished: folds 2." in text
    assert "speakers train" not in text  # a session is held out


def test_table_of_unknown_speakers_and_extreme_temperatures(tmp_path):
    names = {"Ses01F": "unknown", "Ses02M": "unknown"}
    write_spoken_run(tmp_path, speakers=names, valid_by="speaker")
    for fold in (1, 2):
        path = tmp_path / f"fold_{fold}" / "validation.csv"
        path.write_text(
            "id,truth,prediction,neu,hap,ang,sad\na,neu,neu,0.9,0.1,0.0,0.0\n"
        )
    _, text = table_of(tmp_path)
    assert "over 4 speakers and 25 clips of unknown speakers, corrected" in text
    assert "Where such clips share a speaker, it is too narrow." in text
    assert "In 2 of 3 folds the validation clips want a T beyond" in text
    assert "speakers train" not in text
    assert "attentive_corr" in text  # the head "." is called by what it is


def test_wrong_files_are_named(tmp_path):
    write_spoken_run(tmp_path)
    path = tmp_path / "fold_2" / "predictions.csv"
    whole = path.read_text()
    path.write_text(whole.replace("neu,neu,0", "bored,neu,0"))
    with pytest.raises(InputError, match=r"fold_2/predictions.csv: has clips of bored"):
        table_of(tmp_path)
    path.write_text(whole.replace("neu,hap,ang,sad", "hap,neu,ang,sad"))
    with pytest.raises(InputError, match="fold_2.*the classes are hap, neu, ang, sad"):
        table_of(tmp_path)
    path.write_text("\n".join(whole.splitlines()[:-1]))
    with pytest.raises(InputError, match="fold_2: predictions.csv and metrics.json do"):
        table_of(tmp_path)
    with pytest.raises(InputError, match="no finished fold"):
        calibration_parts({"a": []})


# plot


def test_plot_shows_bins_before_and_after(tmp_path, monkeypatch):
    for name, validation in (("a", True), ("b", False)):
        write_spoken_run(tmp_path / name, sharper=2.0, validation=validation)
    heads, figures = read_heads(tmp_path), []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda self, *a, **k: (figures.append(self), save(self, *a, **k)),
    )
    plot_reliability(heads, tmp_path / "a.png")
    first, counts, second, _ = figures[0].get_axes()
    pooled = pool_predictions(heads["a"])
    before = reliability(pooled.probabilities.max(axis=1), pooled.right)
    drawn = {round(b.get_x() * BINS / 100): b.get_height() for b in first.patches}
    full = np.flatnonzero(before.counts)
    for m in full:
        assert drawn[m] == pytest.approx(100 * before.accuracy[m])
    hollow = {
        round(b.get_x() * BINS / 100)
        for b in first.patches
        if b.get_facecolor()[:3] == (1, 1, 1)
    }
    assert hollow & set(full) == {m for m in full if before.counts[m] < 10}
    shares = [b.get_height() for b in counts.patches[:BINS]]
    np.testing.assert_allclose(shares, 100 * before.counts / before.counts.sum())
    after = reliability(
        temper(pooled, fold_temperatures(heads["a"])[0]).max(axis=1), pooled.right
    )
    points = np.concatenate([line.get_xydata() for line in first.lines[1:]])
    there = after.counts > 0
    wanted = 100 * np.stack([after.confidence, after.accuracy], axis=1)[there]
    np.testing.assert_allclose(sorted(points.tolist()), sorted(wanted.tolist()))
    assert len(second.lines) == 1  # the diagonal: b has no temperature
    plot_reliability(heads, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
