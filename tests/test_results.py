"""The files of a fold, reading them again, and figures over folds and seeds."""

import csv
import json
import math
import re
import statistics

import numpy as np
import pytest
from made_up_results import LABELS, make_clips, make_predictions, make_record, make_run

from sercorr import files
from sercorr.errors import InputError
from sercorr.evaluation import results
from sercorr.evaluation.folders import find_heads, read_folds, read_seeds
from sercorr.evaluation.history import KEYS, best_record, read_history, record_epoch
from sercorr.evaluation.metrics import classification_metrics
from sercorr.evaluation.results import summarise, summarise_seeds, write_fold

CLIPS = {id_: {"speaker": f"S{id_}", "file": f"{id_}.wav"} for id_ in "xy"}
KEYS_OF_METRICS = ["fold", "n", "wa", "ua", "macro_f1", "labels", "confusion"]


def write_small(folder, **changes):
    given = {
        "fold": 1,
        "ids": ["x", "y"],
        "truth": ["a", "b"],
        "probabilities": np.eye(2),
        "labels": ["a", "b"],
        "clips": CLIPS,
    }
    return write_fold(folder, **{**given, **changes})


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# one fold


def test_fold_files(tmp_path):
    ids, truth, probabilities = make_predictions(2)
    clips = make_clips(ids)
    metrics = write_fold(tmp_path, 2, ids, truth, probabilities, LABELS, clips)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert list(metrics) == KEYS_OF_METRICS
    with open(tmp_path / "predictions.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["id", "truth", "prediction", *LABELS, "speaker", "file"]
    assert [row["id"] for row in rows] == sorted(ids)
    given = dict(zip(ids, zip(truth, probabilities, strict=True), strict=True))
    for row in rows:
        true, values = given[row["id"]]
        assert row["truth"] == true
        assert row["prediction"] == LABELS[max(range(4), key=values.__getitem__)]
        assert row["speaker"] == row["id"][:6]
        assert row["file"] == f"{{data_root}}/{row['id']}.wav"
        for label, value in zip(LABELS, values, strict=True):
            assert re.fullmatch(r"[01]\.[0-9]{6}", row[label])
            assert float(row[label]) == pytest.approx(value, abs=5.1e-7)
    again = classification_metrics(
        [row["truth"] for row in rows], [row["prediction"] for row in rows], LABELS
    )
    assert {"fold": 2, **again} == metrics


def test_prediction_precedes_rounding(tmp_path):
    close = np.array([[0.5 - 1e-9, 0.5 + 1e-9], [0.5, 0.5]])
    write_small(tmp_path, probabilities=close)
    lines = (tmp_path / "predictions.csv").read_text().splitlines()[1:]
    assert lines[0] == "x,a,b,0.500000,0.500000,Sx,x.wav"
    assert lines[1] == "y,b,a,0.500000,0.500000,Sy,y.wav"


def test_ids_with_commas_survive(tmp_path):
    name = 'a,"b"'
    write_small(tmp_path, ids=["x", name], clips={**CLIPS, name: CLIPS["y"]})
    with open(tmp_path / "predictions.csv", newline="") as table:
        assert [row["id"] for row in csv.DictReader(table)] == [name, "x"]


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
        ({"clips": {"x": CLIPS["x"]}}, "clips has no speaker and no file of y"),
    ],
)
def test_bad_folds_write_nothing(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_small(tmp_path / "fold_1", **change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [False, True], ids=["first", "again"])
def test_interrupted_fold_leaves_what_was_there(tmp_path, monkeypatch, before):
    if before:
        write_small(tmp_path)
    old = snapshot(tmp_path)

    def full_disk(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(results, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_small(tmp_path, truth=["b", "b"])
    assert snapshot(tmp_path) == old


def test_metrics_get_their_name_last(tmp_path, monkeypatch):
    named = []
    replace = files.os.replace

    def record(source, target):
        replace(source, target)
        named.append(target.name)

    monkeypatch.setattr(files.os, "replace", record)
    write_small(tmp_path)
    assert named[-2:] == ["predictions.csv", "metrics.json"]


# reading folds


def test_folds_are_sorted_by_number(tmp_path):
    make_run(tmp_path, (10, 2, 1), n_folds=10)
    (tmp_path / "fold_3").mkdir()  # not finished
    (tmp_path / "fold_old").mkdir()
    (tmp_path / "fold_old" / "metrics.json").write_text("no fold's file")
    folds = read_folds(tmp_path)
    assert [fold["fold"] for fold in folds.metrics] == [1, 2, 10]
    assert folds.n_folds == 10
    assert folds.missing == [3, 4, 5, 6, 7, 8, 9]
    assert folds.labels == LABELS
    assert folds.record["fold"] == 1
    assert folds.differing == []


def test_rates_that_older_folds_lack_are_computed(tmp_path):
    make_run(tmp_path, (1, 2))
    new = read_folds(tmp_path)
    path = tmp_path / "fold_2/metrics.json"
    old = json.loads(path.read_text())
    del old["ua"], old["macro_f1"]
    path.write_text(json.dumps(old))
    assert read_folds(tmp_path).metrics == new.metrics


def test_number_of_folds_without_records(tmp_path):
    for fold in (1, 3):
        write_small(tmp_path / f"fold_{fold}", fold=fold)
    assert read_folds(tmp_path).n_folds == 3
    assert read_folds(tmp_path, 5).missing == [2, 4, 5]
    assert read_folds(tmp_path).record == {}


def test_settings_in_which_folds_differ_are_named(tmp_path):
    make_run(tmp_path, (1, 2))
    make_run(tmp_path, (3,), lr=0.1, n_heads=2)
    assert read_folds(tmp_path).differing == ["lr", "n_heads"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics", "{", "fold_2/metrics.json: not valid JSON"),
        ("metrics", "[]", "fold_2/metrics.json: lacks fold, n, .*; remove it"),
        ("metrics", '{"fold": 2, "n": 3}', "metrics.json: lacks labels, confusion"),
        ("run", "[]", "fold_2/run.json: not the record of a run"),
        ("run", '{"n_folds": 6}', "n_folds is 6 in fold 2 and 5 in fold 1: .*move one"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    make_run(tmp_path, (1, 2))
    (tmp_path / f"fold_2/{name}.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_folds(tmp_path)


def test_folds_of_different_experiments_are_refused(tmp_path):
    make_run(tmp_path, (1,))
    write_small(tmp_path / "fold_2", fold=2)
    with pytest.raises(InputError, match=r"labels is \['a', 'b'\] in fold 2 and \['ne"):
        read_folds(tmp_path)
    (tmp_path / "fold_1/metrics.json").replace(tmp_path / "fold_2/metrics.json")
    with pytest.raises(InputError, match=r"metrics.json: is of fold 1; .* fold 2 ag"):
        read_folds(tmp_path)


@pytest.mark.parametrize(
    ("folds", "message"),
    [((), "no finished fold"), ((1, 6), "there is a fold 6, .* folds 1 to 5; move")],
)
def test_results_need_the_right_folds(tmp_path, folds, message):
    make_run(tmp_path, folds)
    with pytest.raises(InputError, match=message):
        read_folds(tmp_path)


def test_heads_are_found_at_any_axis(tmp_path):
    make_run(tmp_path / "a/att16", (1,))
    make_run(tmp_path / "a/att4/seed_2", (1,))
    make_run(tmp_path / "b/iemocap/mean", (1,))
    (tmp_path / "a/att4/manifests/fold_1").mkdir(parents=True)
    (tmp_path / "manifests/fold_1").mkdir(parents=True)
    (tmp_path / "new/fold_1").mkdir(parents=True)
    (tmp_path / "new/fold_1/run.json").write_text("{}")
    found = find_heads(tmp_path)
    assert list(found) == ["a/att4", "a/att16", "b/iemocap/mean", "new"]
    assert [list(read_seeds(path)) for path in found.values()] == [
        [2],
        [None],
        [None],
        [],
    ]
    with pytest.raises(InputError, match="nothing_here: no such folder"):
        find_heads(tmp_path / "nothing_here")


def test_folds_beside_seeds_are_refused(tmp_path):
    make_run(tmp_path, (1,))
    make_run(tmp_path / "seed_1", (1,))
    with pytest.raises(InputError, match="has folds beside seeds; move"):
        read_seeds(tmp_path)


# figures


def test_summary_equals_the_statistics_module(tmp_path):
    make_run(tmp_path)
    folds = read_folds(tmp_path).metrics
    summary = summarise(folds)
    assert list(summary) == ["folds", "mean", "std"]
    assert summary["folds"] == folds
    for rate in ("wa", "ua", "macro_f1"):
        values = [fold[rate] for fold in folds]
        assert summary["mean"][rate] == pytest.approx(statistics.fmean(values))
        assert summary["std"][rate] == pytest.approx(statistics.pstdev(values))
        assert summary["std"][rate] > 0.5
    assert summarise(folds[:1])["std"] is None
    with pytest.raises(ValueError, match="got 0 folds"):
        summarise([])


def test_deviations_over_folds_and_seeds_are_apart(tmp_path):
    for seed in (1, 2, 3):
        make_run(tmp_path / f"seed_{seed}", (1, 2, 3), seed=seed)
    make_run(tmp_path / "seed_4", (1,), seed=4)
    seeds = read_seeds(tmp_path)
    assert list(seeds) == [1, 2, 3, 4]
    wa = [[fold["wa"] for fold in folds.metrics] for folds in seeds.values()]
    joined = summarise_seeds([summarise(folds.metrics) for folds in seeds.values()])
    means = [statistics.fmean(values) for values in wa]
    assert joined["mean"]["wa"] == pytest.approx(statistics.fmean(means))
    assert joined["std_over_seeds"]["wa"] == pytest.approx(statistics.stdev(means))
    spreads = [statistics.pstdev(values) for values in wa[:3]]  # the last has none
    assert joined["std"]["wa"] == pytest.approx(statistics.fmean(spreads))
    alone = summarise_seeds([summarise(seeds[4].metrics)])
    assert alone["std"] is None
    assert alone["std_over_seeds"] is None
    assert alone["mean"]["wa"] == wa[3][0]


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


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"epoch": 1}, r"a number for each of \['epoch', 'updates', .*got \{'epoch'"),
        ({**make_record(1), "valid_wa": None}, "a number for each of"),
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
    with pytest.raises(InputError, match="history.json: not a training hist.*remove"):
        read_history(path)


def test_best_record_is_the_earliest_among_equals():
    records = [make_record(epoch) for epoch in (1, 2, 3, 4)]
    records[1]["valid_wa"] = records[2]["valid_wa"] = 90.0
    assert best_record(records)["epoch"] == 2
    assert best_record(records[::-1])["epoch"] == 2
