"""The files of a fold, reading them again, and figures over folds and seeds."""

import csv
import json
import math
import re
import statistics

import numpy as np
import pytest
from made_up_results import (
    LABELS,
    make_clips,
    make_predictions,
    make_record,
    make_run,
    snapshot,
)

from sercorr import files
from sercorr.errors import InputError
from sercorr.evaluation import predictions
from sercorr.evaluation.history import KEYS, read_history, record_epoch
from sercorr.evaluation.metrics import classification_metrics
from sercorr.evaluation.results import summarise_seeds, write_fold
from sercorr.evaluation.runs import read_heads

CLIPS = {id_: {"speaker": f"S{id_}", "file": f"{id_}.wav"} for id_ in "xy"}


def write_small(folder, **changes):
    given = {"fold": 1, "ids": ["x", "y"], "truth": ["a", "b"], "labels": ["a", "b"]}
    given |= {"probabilities": np.eye(2), "clips": CLIPS}
    return write_fold(folder, **{**given, **changes})


def read_one(folder):
    return read_heads(folder)["."][0]


# one fold


def test_fold_files(tmp_path):
    ids, truth, probabilities = make_predictions(2)
    clips = make_clips(ids)
    metrics = write_fold(tmp_path, 2, ids, truth, probabilities, LABELS, clips)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    keys = ["fold", "n", "wa", "ua", "macro_f1", "labels", "confusion"]
    assert list(metrics) == keys
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
    columns = ([row[name] for row in rows] for name in ("truth", "prediction"))
    assert {"fold": 2, **classification_metrics(*columns, LABELS)} == metrics


def test_prediction_precedes_rounding_and_ids_are_quoted(tmp_path):
    close = np.array([[0.5 - 1e-9, 0.5 + 1e-9], [0.5, 0.5]])
    name = 'y,"b"'
    clips = {**CLIPS, name: CLIPS["y"]}
    write_small(tmp_path, probabilities=close, ids=["x", name], clips=clips)
    with open(tmp_path / "predictions.csv", newline="") as table:
        rows = list(csv.reader(table))[1:]
    assert rows[0] == ["x", "a", "b", "0.500000", "0.500000", "Sx", "x.wav"]
    assert rows[1] == [name, "b", "a", "0.500000", "0.500000", "Sy", "y.wav"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.eye(3)}, r"shape \(2, 2\).*got \(3, 3\)"),
        ({"probabilities": np.ones(2)}, r"shape \(2, 2\).*got \(2,\)"),
        ({"ids": ["x", "x"]}, r"ids must differ .*x twice"),
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


def test_interrupted_fold_leaves_what_was_there(tmp_path, monkeypatch):
    def full_disk(path, text):
        raise OSError(28, "No space left on device", str(path))

    write_small(tmp_path / "before")
    old = snapshot(tmp_path)
    monkeypatch.setattr(predictions, "write_text", full_disk)
    for name in ("before", "new"):
        with pytest.raises(OSError, match="No space left"):
            write_small(tmp_path / name, truth=["b", "b"])
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
    make_run(tmp_path / "copy", (1,))  # a run below is none of this one's heads
    assert list(read_heads(tmp_path)) == ["."]
    run = read_one(tmp_path)
    assert [fold["fold"] for fold in run.metrics] == [1, 2, 10]
    assert (run.n_folds, run.missing) == (10, [3, 4, 5, 6, 7, 8, 9])
    assert (run.record["fold"], run.differing, run.seed) == (1, [], None)


def test_what_older_folds_lack_is_computed_and_what_differs_is_named(tmp_path):
    make_run(tmp_path, (1, 2))
    new = read_one(tmp_path)
    path = tmp_path / "fold_2/metrics.json"
    old = json.loads(path.read_text())
    del old["ua"], old["macro_f1"]
    path.write_text(json.dumps(old))
    assert read_one(tmp_path).metrics == new.metrics
    make_run(tmp_path, (3,), lr=0.1, n_heads=2)
    assert read_one(tmp_path).differing == ["lr", "n_heads"]
    for record in tmp_path.glob("fold_*/run.json"):
        record.unlink()
    path.unlink()
    run = read_one(tmp_path)
    assert (run.n_folds, run.missing, run.record) == (3, [2], {})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics", "{", "fold_2/metrics.json: not valid JSON"),
        ("metrics", "[]", "fold_2/metrics.json: lacks fold, n, .*; remove it"),
        ("metrics", '{"fold": 2, "n": 3}', "metrics.json: lacks labels, confusion"),
        ("run", "[]", "fold_2/run.json: not the record of a run"),
        ("run", '{"n_folds": 6}', "n_folds is 6 in fold 2 and 5 in .*; move one"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    make_run(tmp_path, (1, 2))
    (tmp_path / f"fold_2/{name}.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_heads(tmp_path)


def test_folds_of_different_experiments_are_refused(tmp_path):
    make_run(tmp_path, (1, 6))
    with pytest.raises(InputError, match="there is a fold 6, .* folds 1 to 5; move"):
        read_heads(tmp_path)
    write_small(tmp_path / "fold_6", fold=6)
    with pytest.raises(InputError, match=r"labels is \['a', 'b'\] in fold 6 and \['ne"):
        read_heads(tmp_path)
    (tmp_path / "fold_1/metrics.json").replace(tmp_path / "fold_6/metrics.json")
    with pytest.raises(InputError, match=r"metrics.json: is of fold 1; .* fold 6 ag"):
        read_heads(tmp_path)


def test_one_folds_own_folder_is_no_folder_of_heads(tmp_path, monkeypatch):
    make_run(tmp_path / "x", (1,))
    with pytest.raises(InputError, match=r"x/fold_1: this is one fold alone; give the "
                       r"folder above it: \S+/x$"):  # fmt: skip
        read_heads(tmp_path / "x/fold_1")
    monkeypatch.chdir(tmp_path / "x/fold_1")
    with pytest.raises(InputError, match=r"above it: \S+/x$"):
        read_heads(".")


def test_heads_are_found_at_any_axis(tmp_path):
    make_run(tmp_path / "a/att16", (1,))
    make_run(tmp_path / "a/att4/seed_10", (1,))
    make_run(tmp_path / "a/att4/seed_2", (1,))
    make_run(tmp_path / "b/iemocap/mean/seed_1", (1,))
    for other in ("a/att4/manifests/fold_1", "manifests/fold_1", "new/fold_1"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "new/fold_1/run.json").write_text("{}")
    found = read_heads(tmp_path)
    assert {head: [run.seed for run in runs] for head, runs in found.items()} == {
        "a/att4": [2, 10],
        "a/att16": [None],
        "b/iemocap/mean": [1],
        "new": [],
    }
    assert list(found) == ["a/att4", "a/att16", "b/iemocap/mean", "new"]
    make_run(tmp_path / "a/att4", (1,))
    with pytest.raises(InputError, match="att4: has folds beside seeds; move"):
        read_heads(tmp_path)


# figures


def test_deviations_over_folds_and_seeds_are_apart(tmp_path):
    for seed in (1, 2, 3):
        make_run(tmp_path / f"seed_{seed}", (1, 2, 3), seed=seed)
    make_run(tmp_path / "seed_4", (1,), seed=4)  # is left out: of other clips
    runs = read_heads(tmp_path)["."]
    wa = [[fold["wa"] for fold in run.metrics] for run in runs]
    joined = summarise_seeds(runs)
    means = [statistics.fmean(values) for values in wa[:3]]
    assert joined["mean"]["wa"] == pytest.approx(statistics.fmean(means))
    assert joined["std_over_seeds"]["wa"] == pytest.approx(statistics.stdev(means))
    spreads = [statistics.pstdev(values) for values in wa[:3]]
    assert joined["std"]["wa"] == pytest.approx(statistics.fmean(spreads))
    assert (joined["folds"], joined["n_folds"], joined["left_out"]) == (9, 20, [4])
    assert [run["folds"] for run in joined["runs"]] == [[1, 2, 3]] * 3 + [[1]]
    alone = summarise_seeds(runs[3:])
    assert alone["std"]["wa"] is alone["std_over_seeds"]["wa"] is None
    assert alone["mean"]["wa"] == wa[3][0]


# history


def test_resumed_epochs_replace_those_that_they_repeat(tmp_path):
    path = tmp_path / "fold_1" / "history.json"
    assert read_history(path) == []
    for epoch in (1, 2, 3, 4):
        record_epoch(path, make_record(epoch))
    record_epoch(path, {**make_record(3), "valid_wa": 0.5})
    records = read_history(path)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert records[2]["valid_wa"] == 0.5
    assert records[1] == make_record(2)
    assert list(records[0]) == [*KEYS, "lr", "seconds"]


def test_bad_records_and_files_change_nothing(tmp_path):
    path = tmp_path / "history.json"
    record_epoch(path, make_record(1))
    old = snapshot(tmp_path)
    for record, message in (
        ({"epoch": 1}, r"a number for each of \['epoch', 'updates', .*got \{'epoch'"),
        ({**make_record(1), "valid_wa": None}, "a number for each of"),
        ({**make_record(1), "train_loss": math.nan}, "not JSON compliant"),
    ):
        with pytest.raises(ValueError, match=message):
            record_epoch(path, record)
    assert snapshot(tmp_path) == old
    for content in ("{}", '[{"epoch": 1}]', "[3]"):
        path.write_text(content)
        with pytest.raises(InputError, match="history.json: not a training.*remove"):
            read_history(path)
