"""Tables and pages: of one fold, of folds, of seeds, of heads; the paper's numbers."""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up_results import (
    GOLDEN,
    LABELS,
    make_predictions,
    make_run,
    make_run_json,
    rows_of,
    snapshot,
    tagged,
)
from matplotlib.figure import Figure

from sercorr.cli import main
from sercorr.errors import InputError
from sercorr.evaluation.metrics import RATES
from sercorr.reporting.paper import describe, paper_result
from sercorr.reporting.report import describe_fold, plot_fold, report_folder

PICTURES = ["confusion.png", "layer_weights.png", "training_curves.png"]
OTHER_POOLING = tagged("!new:other.Pooling", input_size=4)


@pytest.fixture
def fast(monkeypatch):
    """Leave pictures empty where a test does not look at them: they take longest."""
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **kw: path.write_bytes(b"P"))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# one fold


def test_one_fold(tmp_path):
    make_run(tmp_path, (2,))
    plot_fold(tmp_path / "fold_2")
    line = describe_fold(tmp_path / "fold_2")
    plots = tmp_path / "fold_2/plots"
    assert sorted(path.name for path in plots.iterdir()) == PICTURES
    metrics = read(tmp_path / "fold_2/metrics.json")
    rates = f"WA {metrics['wa']:.2f} %, UA {metrics['ua']:.2f} %"
    assert line == (
        f"fold 2: 40 test clips, {rates} (epoch 3 of 30, best by validation WA, "
        "57.00 %)"
    )
    (tmp_path / "fold_2/run.json").unlink()
    assert report_folder(tmp_path / "fold_2") == f"fold 2: 40 test clips, {rates}"
    with pytest.raises(InputError, match=r"fold_1/metrics.json: no such file"):
        describe_fold(tmp_path / "fold_1")


# folds


def test_results_page_is_the_golden_one(tmp_path):
    make_run(tmp_path)
    text = report_folder(tmp_path)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == PICTURES
    first = snapshot(tmp_path)
    report_folder(tmp_path)
    assert snapshot(tmp_path) == first  # byte for byte
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert page == GOLDEN.read_text(encoding="utf-8")
    results = read(tmp_path / "results.json")
    assert results["folds"][4] == read(tmp_path / "fold_5/metrics.json")
    wa = [fold["wa"] for fold in results["folds"]]
    assert results["std"]["wa"] == pytest.approx(statistics.pstdev(wa))
    lines = text.split("\n\n")[2].splitlines()
    ends = [match.end() for match in re.finditer(r"[WU]A %|F1 %", lines[1])]
    for line in lines[3:8]:  # the terminal's columns are aligned
        assert [match.end() for match in re.finditer(r"\d+\.\d\d", line)] == ends
    assert lines[0] == lines[2] == lines[8] == "─" * len(lines[1])


def test_golden_numbers_by_hand():
    """The golden page's numbers, worked out again from the predictions alone."""
    page = GOLDEN.read_text(encoding="utf-8")
    scores, recalls = map(rows_of, page.split("Recall of each class"))
    rates, counts, hits = [], dict.fromkeys(LABELS, 0), dict.fromkeys(LABELS, 0)
    for fold in range(1, 6):
        _, truth, probabilities = make_predictions(fold)
        predicted = [LABELS[int(np.argmax(row))] for row in probabilities]
        right = sum(t == p for t, p in zip(truth, predicted, strict=True))
        rates.append(100 * right / 40)
        for true, guess in zip(truth, predicted, strict=True):
            counts[true] += 1
            hits[true] += true == guess
        row = scores[str(fold)]
        assert row[1:3] == ["40", f"{rates[-1]:.2f}"]
        assert row[-2:] == ["3", f"{55 + fold}.00"]  # the tested epoch
    assert scores["mean"][2] == f"{statistics.fmean(rates):.2f}"
    assert scores["std"][2] == f"{statistics.pstdev(rates):.2f}"
    assert scores["chance (1/4)"][2:4] == ["25.00", "25.00"]
    most = max(counts, key=counts.get)
    assert scores[f"always {most}"][2:4] == [f"{counts[most] / 2:.2f}", "25.00"]
    assert recalls["clips"][1:] == [str(counts[label]) for label in LABELS]
    pooled = [100 * hits[label] / counts[label] for label in LABELS]
    shown = [float(cell) for cell in recalls["pooled"][1:]]
    assert shown == pytest.approx(pooled, abs=0.006)
    assert recalls["4"][4] == "-"  # no sad clip in fold 4


def test_missing_and_differing_folds_are_named(tmp_path, fast):
    make_run(tmp_path, (1, 3, 5))
    text = report_folder(tmp_path)
    for report in (text, (tmp_path / "results.md").read_text()):
        assert "attentive_corr: 3 of 5 folds, 120 clips." in report
        assert "Missing folds: 2, 4. Mean and deviation are over the others" in report
        assert "75.60" not in report
    make_run(tmp_path, (2, 4), lr=0.5)
    text = report_folder(tmp_path)
    assert "5 of 5 folds" in text
    assert "Settings differ between folds: lr." in text
    assert "75.60" not in text  # not one run, so no published number either


@pytest.mark.parametrize(
    ("key", "value"), [("wa", 99.0), ("ua", "high"), ("macro_f1", 1.5), ("n", 41)]
)
def test_scores_that_the_predictions_do_not_give_are_refused(
    tmp_path, fast, key, value
):
    make_run(tmp_path / "a", (1, 2))
    make_run(tmp_path / "b", (1, 2))
    path = tmp_path / "b/fold_2/metrics.json"
    metrics = read(path)
    path.write_text(json.dumps({**metrics, key: value}))
    before = snapshot(tmp_path)
    message = (
        f"b/fold_2: predictions.csv and metrics.json do not agree: {key} is "
        f"{metrics[key]} in the former, {value} in the latter; run evaluate.py for this"
    )
    for folder in (tmp_path, tmp_path / "b", tmp_path / "b/fold_2"):
        with pytest.raises(InputError, match=re.escape(message)):
            report_folder(folder)
    for command in ("compare", "report"):
        with pytest.raises(SystemExit) as ended:
            main([command, str(tmp_path)])
        assert ended.value.code == 2
    assert snapshot(tmp_path) == before
    (tmp_path / "b/fold_2/predictions.csv").unlink()  # as of old runs
    if key != "ua":
        report_folder(tmp_path)


def test_a_clip_that_is_missing_is_noticed(tmp_path, fast):
    make_run(tmp_path, (1, 4))
    path = tmp_path / "fold_4/predictions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        InputError, match="fold_4: .*: n is 39 in the former, 40 in the"
    ):
        report_folder(tmp_path)


@pytest.mark.parametrize("n_folds", [1, 10])
def test_other_numbers_of_folds(tmp_path, fast, n_folds):
    make_run(tmp_path, range(1, n_folds + 1), n_folds=n_folds)
    text = report_folder(tmp_path)
    assert f"{n_folds} of {n_folds} folds, {40 * n_folds} clips." in text
    assert "75.60" not in text  # the paper has five
    if n_folds == 1:
        assert rows_of(text)["std"] == ["std", "-", "-", "-"]
        null = {"wa": None, "ua": None, "macro_f1": None}
        assert read(tmp_path / "results.json")["std"] == null


def test_folds_without_records(tmp_path, fast):
    make_run(tmp_path, (1, 2))
    for path in tmp_path.rglob("*"):
        if path.name in ("run.json", "history.json", "layer_weights.json"):
            path.unlink()
    assert "No run.json says what was run, or how many" in report_folder(tmp_path)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == PICTURES[:1]
    page = (tmp_path / "results.md").read_text()
    assert "plots/confusion.png" in page
    for absent in ("layer_weights", "training_curves", "## Settings", "| epoch"):
        assert absent not in page


def test_a_new_rate_appears_for_old_folds(tmp_path, monkeypatch, fast):
    make_run(tmp_path, mine="a|b")  # nor does a bar break the page
    monkeypatch.setitem(RATES, "two", ("two %", lambda *_, labels: 0.02))
    assert rows_of(report_folder(tmp_path))["mean"][-1] == "2.00"
    assert r"| `mine` | `a\|b` |" in (tmp_path / "results.md").read_text()


def test_bad_layer_weights_are_named(tmp_path, fast):
    make_run(tmp_path, (1, 2))
    path = tmp_path / "fold_2/layer_weights.json"
    for content, message in (
        ('{"weights": [0.5, "x"]}', r"fold_2/layer_weights.json: must be .*0\.5, 'x'"),
        ("[0.5, 0.5]", r"must be \{\"weights\": \[...\]\} .*found \[0\.5, 0\.5\]"),
        ('{"weights": [0.5, 0.5]}', r"layers \(fold 1: 0, 1, 2, 3, 4; fold 2: 0, 1\)"),
        ('{"weights": [1], "layers": ["6"]}', r"its layers are \['6'\], not the incr"),
        ('{"weights": [0.4, 0.6], "layers": [6, 0]}', r"layers are \[6, 0\], not the"),
    ):
        path.write_text(content)
        old = snapshot(tmp_path)
        with pytest.raises(InputError, match=message):
            report_folder(tmp_path)
        assert snapshot(tmp_path) == old


def test_nothing_finished(tmp_path):
    for inside in ("", "fold_1", "seed_1", "head/fold_1"):
        (tmp_path / inside).mkdir(parents=True, exist_ok=True)
        with pytest.raises(InputError, match="no finished fold"):
            report_folder(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        report_folder(tmp_path / "nowhere")


# seeds and heads


def test_grid(tmp_path, fast):
    """Four heads: with seeds, of another class, of one fold, unfinished."""
    for seed in (1, 2, 10):
        folds = (1, 2) if seed == 2 else (1, 2, 3)
        make_run(tmp_path / f"att16/seed_{seed}", folds, seed=seed, n_folds=3)
    make_run(tmp_path / "att4", pooling_layer=OTHER_POOLING)
    make_run(tmp_path / "mean", (1,), n_folds=1, pooling="mean")
    (tmp_path / "late/fold_1").mkdir(parents=True)
    (tmp_path / "late/fold_1/run.json").write_text(json.dumps(make_run_json(1)))
    text = report_folder(tmp_path)
    means, spreads = [], []
    for seed in (1, 2, 10):
        own = read(tmp_path / f"att16/seed_{seed}/results.json")
        wa = [fold["wa"] for fold in own["folds"]]
        means.append(statistics.fmean(wa))
        spreads.append(statistics.pstdev(wa))
    used = means[::2]  # seed 2 lacks a fold
    mean, std = statistics.fmean(used), statistics.fmean(spreads[::2])
    cell = f"{mean:.2f} ({std:.2f}, {statistics.stdev(used):.2f})"
    remark = (
        "Seed 2 lacks fold 3: left out; the numbers are of seeds 1, 10 alone. Train "
        "fold 3 of seed 2 to have all."
    )
    for report in (text, (tmp_path / "grid.md").read_text()):
        rows = rows_of(report.split("Recall of each class")[0])
        assert rows["att16"][1:5] == ["attentive_corr", "2 of 3", "6 of 9", cell]
        assert all(cell.endswith(" (-, -)") for cell in rows["mean"][-3:])
        assert rows["att4"][1] == "other.Pooling"
        assert "late: No finished fold." in report
        assert f"att16: {remark}" in report
        assert "Missing folds" not in report
        assert list(rows).index("att4") < list(rows).index("att16")
        assert "75.60" not in report  # one is not the paper's class, one not whole
    summary = read(tmp_path / "grid.json")
    assert list(summary) == ["att4", "att16", "mean"]
    runs = summary["att16"]["runs"]
    assert [run["seed"] for run in runs] == [1, 2, 10]
    assert [run["folds"] for run in runs] == [[1, 2, 3], [1, 2], [1, 2, 3]]
    assert summary["att4"]["std"] == summary["att4"]["runs"][0]["std"]
    assert summary["att4"]["std_over_seeds"]["wa"] is None
    assert summary["mean"]["std"]["wa"] is None
    for head in ("att4", "mean", "att16/seed_10"):
        names = {path.name for path in (tmp_path / head).iterdir()}
        assert {"results.json", "results.md", "plots"} <= names
    assert (tmp_path / "grid.png").read_bytes() == b"P"
    assert report_folder(tmp_path) == text

    seeds = report_folder(tmp_path / "att16")  # the same, of one head
    assert read(tmp_path / "att16/seeds.json")["all"] == summary["att16"]
    for page in (seeds, (tmp_path / "att16/seeds.md").read_text()):
        rows, recalls = map(rows_of, page.split("Recall of each class"))
        assert rows["all"][1:] == rows_of(text.split("Recall")[0])["att16"][1:]
        assert recalls["all"][1:] == rows_of(text.split("Recall")[1])["att16"][1:]
        assert f"{means[1]:.2f} ({spreads[1]:.2f}, -)" in rows["seed_2"]
        assert "seed_2: Missing folds: 3." in page
        assert f"all: {remark}" in page


def test_heads_beside_the_paper(tmp_path, fast):
    for seed in (1, 2):
        make_run(tmp_path / f"att/seed_{seed}", seed=seed, n_heads=4)
    make_run(tmp_path / "att16")
    text = report_folder(tmp_path)
    rows = rows_of(text.split("Recall")[0])
    assert rows["att"][-1] == rows["att16"][-1] == "75.60 (2.33)"
    assert "att: Paper, Table 1, corr attentive: 75.60 (2.33); IEMOCAP" in text
    assert "WA. Settings other than the paper's: n_heads 16 (paper: 4)." in text


# the paper's table

PRINTED = """
facebook/hubert-large-ll60k	facebook/wav2vec2-large-lv60	microsoft/wavlm-large
mean	65.73 (2.73)	66.86 (1.76)	69.44 (1.53)
mean_std	69.15 (1.61)	69.92 (1.17)	72.56 (1.67)
corr 0	69.82 (1.35)	68.44 (1.85)	72.34 (1.54)
corr 0.25	69.72 (1.19)	67.85 (1.84)	72.27 (1.45)
attentive_corr	73.86 (2.10)	70.01 (2.20)	75.60 (2.33)
"""


def test_table_1_as_printed():
    head, *lines = PRINTED.strip().splitlines()
    for line in lines:
        name, *numbers = line.split("\t")
        pooling, _, dropout = name.partition(" ")
        regular = 0.25 if pooling == "attentive_corr" else 0.0
        settings = {"pooling": pooling, "n_heads": 4, "label_smoothing": regular}
        settings["channel_dropout"] = float(dropout or regular)
        for source, number in zip(head.split("\t"), numbers, strict=True):
            record = make_run_json(1, **settings) | {"upstream_source": source}
            result = paper_result(record)
            assert f"{result.mean:.2f} ({result.std:.2f})" == number
            assert result.differences == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"pooling": "max"}, "max"),
        ({"pooling": "corr", "channel_dropout": 0.1}, "corr"),
        ({"corpus": "!name:sercorr.corpora.known.read_known"}, "attentive_corr"),
        ({"fold_by": "speaker"}, "attentive_corr"),
        ({"pooling_layer": OTHER_POOLING}, "other.Pooling"),
        ({"pooling_layer": "!ref <mine>", "mine": OTHER_POOLING}, "other.Pooling"),
        (
            {"head": tagged("!new:sercorr.lobes.EmotionHead", pooling=OTHER_POOLING)},
            "other.Pooling",
        ),
        ({"modules": {"head": tagged("!new:a.B")}}, "attentive_corr, head a.B"),
        ({"modules": {"head": "!new:a.B"}}, "attentive_corr, head a.B"),
        ({"opt_class": tagged("!name:a.B", lr=0.1)}, "attentive_corr, opt_class a.B"),
        ({"loss": "!name:other.loss"}, "attentive_corr, loss other.loss"),
        ({"lr_annealing": tagged("!new:a.B")}, "attentive_corr, lr_annealing a.B"),
        ({"brain_class": "!name:a.Brain"}, "attentive_corr, brain_class a.Brain"),
        ({"upstream": tagged("!new:a.B")}, "attentive_corr, upstream a.B"),
    ],
)
def test_what_the_paper_did_not_run(change, name):
    assert paper_result(make_run_json(1)) is not None
    assert paper_result(make_run_json(1, **change)) is None
    assert describe(make_run_json(1, **change)) == name


def test_records_of_other_experiments():
    for change in (
        {"upstream_source": "models/microsoft/wavlm-large"},  # a folder: any weights
        {"labels": ["neu", "ang", "sad"]},
        {"n_folds": 10},
        {"identity": {}},
    ):
        assert paper_result(make_run_json(1) | change) is None


def test_settings_other_than_the_papers():
    adam = tagged("!name:torch.optim.Adam", lr=0.01, weight_decay=0.1)
    record = make_run_json(1, n_heads=4, label_smoothing=0.0, opt_class=adam)
    record["identity"]["features"] = {"stored": "float16", "precision": "bf16"}
    record["identity"]["options"] = {"grad_accumulation_factor": 2}
    assert paper_result({**record, "number_of_epochs": 3}).differences == [
        "label_smoothing 0.0 (paper: 0.25)",
        "lr 0.01 (paper: 0.0001)",
        "number_of_epochs 3 (paper: 30)",
        "precision bf16 (paper: fp32)",
        "grad_accumulation_factor 2 (paper: not set)",
        "opt_class weight_decay 0.1 (paper: not set)",
    ]
    mean = paper_result(make_run_json(1, pooling="mean")).differences
    assert "channel_dropout 0.25 (paper: 0.0)" in mean
    assert not any("n_heads" in text for text in mean)


def test_no_heavy_imports():
    code = (
        "import sys, sercorr.reporting.report, sercorr.evaluation.history\n"
        "heavy = {'torch', 'speechbrain', 'transformers'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
