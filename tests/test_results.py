"""Fold files, their summary, and the reports made of them."""

import csv
import json
import math
import re
import statistics

import numpy as np
import pytest
from made_up_results import GOLDEN, LABELS, SETTINGS, make_predictions, make_record
from made_up_results import make_run as make_run_in

from sercorr import files, results
from sercorr.errors import InputError
from sercorr.evaluation.history import KEYS, best_record, read_history, record_epoch
from sercorr.evaluation.metrics import classification_metrics
from sercorr.evaluation.results import (
    format_table,
    read_folds,
    summarise,
    write_fold,
    write_results,
)
from sercorr.reporting.paper import paper_result
from sercorr.reporting.tables import missing_folds


@pytest.fixture
def make_run(tmp_path):
    def make(*folds, **options):
        make_run_in(tmp_path, folds or (1, 2, 3, 4, 5), **options)
        return tmp_path

    return make


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# one fold


def test_fold_files(tmp_path):
    ids, truth, probabilities = make_predictions(2)
    metrics = write_fold(tmp_path / "fold_2", 2, ids, truth, probabilities, LABELS)
    assert json.loads((tmp_path / "fold_2/metrics.json").read_text()) == metrics
    keys = ["fold", "n", "wa", "ua", "macro_f1", "labels", "confusion"]
    assert list(metrics) == keys
    with open(tmp_path / "fold_2/predictions.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["id", "truth", "prediction", *LABELS]
    assert [row["id"] for row in rows] == sorted(ids)
    given = dict(zip(ids, zip(truth, probabilities, strict=True), strict=True))
    for row in rows:
        true, values = given[row["id"]]
        assert row["truth"] == true
        assert row["prediction"] == LABELS[max(range(4), key=values.__getitem__)]
        for label, value in zip(LABELS, values, strict=True):
            assert re.fullmatch(r"[01]\.[0-9]{6}", row[label])
            assert float(row[label]) == pytest.approx(value, abs=5.1e-7)
    again = classification_metrics(
        [row["truth"] for row in rows], [row["prediction"] for row in rows], LABELS
    )
    assert {"fold": 2, **again} == metrics


def test_prediction_precedes_rounding(tmp_path):
    close = np.array([[0.5 - 1e-9, 0.5 + 1e-9], [0.5, 0.5]])
    write_fold(tmp_path, 1, ["x", "y"], ["b", "b"], close, ["a", "b"])
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[1:] == ["x,b,b,0.500000,0.500000", "y,b,a,0.500000,0.500000"]


def test_ids_with_commas_survive(tmp_path):
    name = 'a,"b"'
    write_fold(tmp_path, 1, [name], ["a"], np.array([[1.0, 0.0]]), ["a", "b"])
    with open(tmp_path / "predictions.csv", newline="") as table:
        assert next(csv.DictReader(table))["id"] == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.eye(3)}, r"shape \(2, 2\).*got \(3, 3\)"),
        ({"probabilities": np.ones(2)}, r"shape \(2, 2\).*got \(2,\)"),
        ({"ids": ["x", "x"]}, r"ids must differ .*\['x'\]"),
        ({"probabilities": np.array([[1, 0], [0.9, 0.2]])}, r"0\.9, 0\.2.*for y"),
        ({"probabilities": np.array([[1.5, -0.5], [1, 0]])}, r"1\.5, -0\.5.*for x"),
        ({"probabilities": np.array([[1, 0], [math.nan, 1]])}, "nan.*for y"),
        ({"truth": ["a", "c"]}, r"truth has labels \['c'\]"),
        ({"truth": ["a"]}, r"differ in length \(got 1 and 2\)"),
    ],
)
def test_bad_folds_write_nothing(tmp_path, change, message):
    good = {"ids": ["x", "y"], "truth": ["a", "b"], "probabilities": np.eye(2)}
    with pytest.raises(ValueError, match=message):
        write_fold(tmp_path / "fold_1", 1, **{**good, **change}, labels=["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [False, True], ids=["first", "again"])
def test_interrupted_fold_leaves_what_was_there(tmp_path, monkeypatch, before):
    if before:
        write_fold(tmp_path, 1, ["x"], ["a"], np.array([[0.0, 1.0]]), ["a", "b"])
    old = snapshot(tmp_path)

    def full_disk(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(results, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_fold(tmp_path, 1, ["x"], ["a"], np.array([[1.0, 0.0]]), ["a", "b"])
    assert snapshot(tmp_path) == old


def test_metrics_get_their_name_last(tmp_path, monkeypatch):
    named = []
    replace = files.os.replace

    def record(source, target):
        replace(source, target)
        named.append(target.name)

    monkeypatch.setattr(files.os, "replace", record)
    write_fold(tmp_path, 1, ["x"], ["a"], np.array([[1.0, 0.0]]), ["a", "b"])
    assert named[-2:] == ["predictions.csv", "metrics.json"]


# all folds


def test_summary_equals_the_statistics_module(make_run):
    folds = read_folds(make_run())
    summary = summarise(folds)
    assert list(summary) == ["folds", "mean", "std"]
    assert summary["folds"] == folds
    for rate in ("wa", "ua", "macro_f1"):
        values = [fold[rate] for fold in folds]
        assert summary["mean"][rate] == pytest.approx(statistics.fmean(values))
        assert summary["std"][rate] == pytest.approx(statistics.pstdev(values))
        assert summary["std"][rate] > 0.5


def test_one_fold_has_no_deviation(make_run):
    summary = summarise(read_folds(make_run(3)))
    assert set(summary["std"].values()) == {0.0}
    assert summary["mean"]["wa"] == summary["folds"][0]["wa"]


def test_folds_are_sorted_by_number(make_run):
    folder = make_run(10, 2, 1)
    (folder / "fold_3").mkdir()  # not finished
    (folder / "fold_old").mkdir()
    (folder / "fold_old" / "metrics.json").write_text("no fold's file")
    assert [fold["fold"] for fold in read_folds(folder)] == [1, 2, 10]


def test_nothing_to_summarise():
    with pytest.raises(ValueError, match="got 0 folds"):
        summarise([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "fold_2/metrics.json: not valid JSON"),
        ("[]", "fold_2/metrics.json: lacks fold, n, wa, .*; remove it"),
        ('{"fold": 2, "n": 3}', "fold_2/metrics.json: lacks wa, ua, macro_f1, labels"),
    ],
)
def test_broken_metrics_are_named(make_run, content, message):
    folder = make_run(1, 2)
    (folder / "fold_2/metrics.json").write_text(content)
    with pytest.raises(InputError, match=message):
        write_results(folder)
    assert not (folder / "results.json").exists()


def test_another_folds_metrics_are_named(make_run):
    folder = make_run(1)
    (folder / "fold_1").rename(folder / "fold_2")
    with pytest.raises(
        InputError, match=r"fold_2/metrics.json: is of fold 1; .*fold 2"
    ):
        read_folds(folder)


def test_labels_must_agree(make_run):
    folder = make_run(1)
    write_fold(folder / "fold_2", 2, ["x"], ["a"], np.eye(2)[:1], ["a", "b"])
    with pytest.raises(
        InputError, match=r"fold 2 has the labels \['a', 'b'\], fold 1 has"
    ):
        write_results(folder)


@pytest.mark.parametrize(
    ("folds", "message"),
    [((), "no finished fold"), ((1, 6), "there is a fold 6, .* folds 1 to 5")],
)
def test_results_need_the_right_folds(tmp_path, folds, message):
    make_run_in(tmp_path, folds)
    with pytest.raises(InputError, match=message):
        write_results(tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weights": [0.5, "x"]}', r"fold_2/layer_weights.json: must be .*0\.5, 'x'"),
        ("[0.5, 0.5]", r"must be \{\"weights\": \[...\]\} .*found \[0\.5, 0\.5\]"),
        ('{"weights": [0.5, 0.5]}', r"number of layers \(fold 1: 5, fold 2: 2\)"),
    ],
)
def test_bad_layer_weights_are_named(make_run, content, message):
    folder = make_run(1, 2)
    (folder / "fold_2/layer_weights.json").write_text(content)
    with pytest.raises(InputError, match=message):
        write_results(folder)
    assert not (folder / "results.json").exists()


# reports


def test_results_page_is_the_golden_one(make_run):
    folder = make_run()
    summary = write_results(folder, SETTINGS)
    assert (folder / "results.md").read_text(encoding="utf-8") == GOLDEN.read_text(
        encoding="utf-8"
    )
    assert json.loads((folder / "results.json").read_text()) == summary
    assert summary == summarise(read_folds(folder))


def test_golden_numbers_by_hand(make_run):
    """The golden page's numbers, worked out again from the predictions alone."""
    page = GOLDEN.read_text(encoding="utf-8")
    rights, counts, hits = [], dict.fromkeys(LABELS, 0), dict.fromkeys(LABELS, 0)
    for fold in range(1, 6):
        _, truth, probabilities = make_predictions(fold)
        predicted = [LABELS[int(np.argmax(row))] for row in probabilities]
        rights.append(sum(t == p for t, p in zip(truth, predicted, strict=True)))
        for true, guess in zip(truth, predicted, strict=True):
            counts[true] += 1
            hits[true] += true == guess
    for fold, right in enumerate(rights, 1):
        assert f"\n| {fold} | 40 | {100 * right / 40:.2f} |" in page
    rates = [100 * right / 40 for right in rights]
    assert f"\n| mean |  | {statistics.fmean(rates):.2f} |" in page
    assert f"\n| std |  | {statistics.pstdev(rates):.2f} |" in page
    assert "\n| chance (1/4) |  | 25.00 | 25.00 |  |" in page
    most = max(counts, key=counts.get)
    assert f"\n| always {most} |  | {counts[most] / 2:.2f} | 25.00 |  |" in page
    for label in LABELS:
        row = re.search(rf"\n\| {label} \| {counts[label]} \|(.*)\|\n", page)[1]
        pooled = row.split("|")[-1]
        assert float(pooled) == pytest.approx(
            100 * hits[label] / counts[label], abs=0.006
        )
    sad = re.search(r"\n\| sad \|.*\n", page)[0].split("|")
    assert sad[6].strip() == ""  # none in fold 4


def test_paper_is_beside_ours_when_all_folds_are_there(make_run):
    folder = make_run()
    summary = write_results(folder, SETTINGS)
    table = format_table(summary, SETTINGS)
    for text in (table, (folder / "results.md").read_text()):
        assert "corr attentive: 75.60 (2.33); IEMOCAP, for comparison, WA." in text
        assert "n_heads 16 (paper: 4)" in text
        assert "missing" not in text
    assert re.search(r"\npaper, mean +75\.60\npaper, std +2\.33\n", table)
    assert "Paper" not in format_table(summary)
    assert "Paper" not in format_table(
        summary, {**SETTINGS, "upstream_source": "fbank"}
    )


def test_missing_folds_are_named(make_run):
    folder = make_run(1, 3, 5)
    summary = write_results(folder, SETTINGS)
    assert missing_folds(summary) == [2, 4]
    for text in (format_table(summary, SETTINGS), (folder / "results.md").read_text()):
        assert "Folds 2, 4 are missing" in text
        assert "75.60" not in text
    assert "3 of 5 folds, 120 utterances." in (folder / "results.md").read_text()


def test_one_missing_fold_and_other_numbers_of_folds(make_run):
    summary = summarise(read_folds(make_run(1, 2)))
    assert "Fold 3 is missing" in format_table(summary, n_folds=3)
    assert "missing" not in format_table(summary, n_folds=2)


def test_table_is_aligned(make_run):
    table = (
        format_table(summarise(read_folds(make_run()))).split("\n\n")[0].splitlines()
    )
    assert table[0].split() == ["fold", "n", "WA", "%", "UA", "%", "macro", "F1", "%"]
    ends = [match.end() for match in re.finditer(r"[WU]A %|F1 %", table[0])]
    for line in table[2:7]:
        assert [match.end() for match in re.finditer(r"\d+\.\d\d", line)] == ends
    assert table[1] == table[7] == "-" * len(table[0])
    names = ["mean", "std", "chance", "always"]
    assert [line.split()[0] for line in table[8:]] == names


def test_reports_repeat_byte_for_byte(make_run):
    folder = make_run()
    write_results(folder, SETTINGS)
    first = snapshot(folder)
    write_results(folder, SETTINGS)
    assert snapshot(folder) == first
    names = {path.name for path in (folder / "plots").iterdir()}
    assert names == {"confusion.png", "layer_weights.png", "training_curves.png"}


def test_only_what_is_there_is_drawn(make_run):
    folder = make_run(2)
    (folder / "fold_2/history.json").unlink()
    (folder / "fold_2/layer_weights.json").unlink()
    write_results(folder)
    assert [path.name for path in (folder / "plots").iterdir()] == ["confusion.png"]
    page = (folder / "results.md").read_text()
    assert "plots/confusion.png" in page
    assert "layer_weights" not in page
    assert "training_curves" not in page
    assert "## Settings" not in page


# the paper's table


PRINTED = """
mean	65.73 (2.73)	66.86 (1.76)	69.44 (1.53)
mean_std	69.15 (1.61)	69.92 (1.17)	72.56 (1.67)
corr 0	69.82 (1.35)	68.44 (1.85)	72.34 (1.54)
corr 0.25	69.72 (1.19)	67.85 (1.84)	72.27 (1.45)
attentive_corr	73.86 (2.10)	70.01 (2.20)	75.60 (2.33)
"""


def test_table_1_as_printed():
    upstreams = [
        "facebook/hubert-large-ll60k",
        "facebook/wav2vec2-large-lv60",
        "microsoft/wavlm-large",
    ]
    for line in PRINTED.strip().splitlines():
        name, *numbers = line.split("\t")
        pooling, _, dropout = name.partition(" ")
        for source, number in zip(upstreams, numbers, strict=True):
            settings = {"upstream_source": source, "pooling": pooling}
            if dropout:
                settings["channel_dropout"] = float(dropout)
            result = paper_result(settings)
            assert f"{result.mean:.2f} ({result.std:.2f})" == number
            assert result.differences == ()


@pytest.mark.parametrize(
    "change",
    [
        {"upstream_source": "models/microsoft/wavlm-large"},  # a folder: any weights
        {"pooling": "corr", "channel_dropout": 0.1},
        {"pooling": "max"},
    ],
)
def test_what_the_paper_does_not_have(change):
    assert paper_result({**SETTINGS, **change}) is None


def test_settings_other_than_the_papers():
    changed = {"n_heads": 4, "lr": 0.001, "label_smoothing": 0.0}
    result = paper_result({**SETTINGS, **changed})
    assert result.differences == (
        "label_smoothing 0.0 (paper: 0.25)",
        "lr 0.001 (paper: 0.0001)",
    )
    mean = paper_result({**SETTINGS, "pooling": "mean"})
    assert "channel_dropout 0.25 (paper: 0.0)" in mean.differences
    assert not any("n_heads" in text for text in mean.differences)


# history


def test_resumed_epochs_replace_those_that_they_repeat(tmp_path):
    path = tmp_path / "fold_1" / "history.json"
    for epoch in (1, 2, 3, 4):
        record_epoch(path, make_record(epoch))
    record_epoch(path, {**make_record(3), "valid_wa": 0.5})
    records = read_history(path)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert records[2]["valid_wa"] == 0.5
    assert records[1] == make_record(2)
    assert list(records[0]) == [*KEYS, "lr", "seconds"]


def test_records_may_lack_what_is_optional(tmp_path):
    record = {key: make_record(1)[key] for key in KEYS}
    record_epoch(tmp_path / "history.json", record)
    assert read_history(tmp_path / "history.json") == [record]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"epoch": 1}, r"has the keys \['epoch', 'updates', .*got \['epoch'\]"),
        ({**make_record(1), "extra": 1}, "'extra'"),
        ({**make_record(1), "train_loss": math.nan}, "not JSON compliant"),
    ],
)
def test_bad_records_change_nothing(tmp_path, record, message):
    path = tmp_path / "history.json"
    record_epoch(path, make_record(1))
    old = snapshot(tmp_path)
    with pytest.raises(ValueError, match=message):
        record_epoch(path, record)
    assert snapshot(tmp_path) == old


@pytest.mark.parametrize("content", ["{}", '[{"epoch": 1}]', "[3]"])
def test_other_files_are_no_history(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(
        InputError, match=r"history.json: not a training history .*remove"
    ):
        read_history(path)


def test_best_record_is_the_earliest_among_equals():
    records = [make_record(epoch) for epoch in (1, 2, 3, 4)]
    records[1]["valid_wa"] = records[2]["valid_wa"] = 90.0
    assert best_record(records)["epoch"] == 2
    assert best_record(records[::-1])["epoch"] == 2
