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
    SETTINGS,
    make_predictions,
    make_run,
    make_run_json,
)
from matplotlib.figure import Figure

from sercorr.errors import InputError
from sercorr.evaluation.folders import read_folds
from sercorr.evaluation.metrics import RATES
from sercorr.evaluation.results import summarise
from sercorr.reporting.paper import paper_result
from sercorr.reporting.report import (
    plot_fold,
    report_fold,
    report_folder,
    write_grid,
    write_results,
)
from sercorr.reporting.tables import make_table
from sercorr.reporting.wiring import describe

PICTURES = ["confusion.png", "layer_weights.png", "training_curves.png"]
OTHER_POOLING = {"tag": "!new:other.Pooling", "value": {"input_size": 4}}


def draw_nothing(patch):
    """Leave pictures empty where a test does not look at them: they take longest."""
    patch.setattr(Figure, "savefig", lambda _, path, **kw: path.write_bytes(b"PNG"))


@pytest.fixture
def fast(monkeypatch):
    draw_nothing(monkeypatch)


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(text):
    """Cells of each row that a page or a terminal's table has, by its first cell."""
    lines = [line.strip("| ") for line in text.splitlines()]
    return {cells[0]: cells for line in lines if (cells := re.split(r" \| |  +", line))}


# one fold


def test_pictures_of_one_fold(tmp_path):
    make_run(tmp_path, (2,))
    assert plot_fold(tmp_path / "fold_2") == read_folds(tmp_path).metrics[0]
    plots = tmp_path / "fold_2/plots"
    assert sorted(path.name for path in plots.iterdir()) == PICTURES
    with pytest.raises(InputError, match=r"fold_1/metrics.json: no such file"):
        plot_fold(tmp_path / "fold_1")


def test_a_fold_in_one_line(tmp_path, fast):
    make_run(tmp_path, (2,))
    line = report_fold(tmp_path / "fold_2")
    metrics = read_folds(tmp_path).metrics[0]
    rates = f"WA {metrics['wa']:.2f} %, UA {metrics['ua']:.2f} %"
    assert line == (
        f"fold 2: 40 test clips, {rates} (epoch 3 of 30, validation WA 57.00 %)"
    )
    assert line in report_folder(tmp_path / "fold_2")
    (tmp_path / "fold_2/run.json").unlink()
    assert report_fold(tmp_path / "fold_2") == f"fold 2: 40 test clips, {rates}"


# folds


def test_results_page_is_the_golden_one(tmp_path, fast):
    make_run(tmp_path)
    summary = write_results(tmp_path)
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert page == GOLDEN.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "results.json").read_text()) == summary
    assert summary == summarise(read_folds(tmp_path).metrics)


def test_golden_numbers_by_hand():
    """The golden page's numbers, worked out again from the predictions alone."""
    page = GOLDEN.read_text(encoding="utf-8")
    scores, recalls = page.split("Recall of each class")
    rates, counts, hits = [], dict.fromkeys(LABELS, 0), dict.fromkeys(LABELS, 0)
    for fold in range(1, 6):
        _, truth, probabilities = make_predictions(fold)
        predicted = [LABELS[int(np.argmax(row))] for row in probabilities]
        right = sum(t == p for t, p in zip(truth, predicted, strict=True))
        rates.append(100 * right / 40)
        for true, guess in zip(truth, predicted, strict=True):
            counts[true] += 1
            hits[true] += true == guess
        row = rows_of(scores)[str(fold)]
        assert row[1:3] == ["40", f"{rates[-1]:.2f}"]
        assert row[-2:] == ["3", f"{55 + fold}.00"]  # the tested epoch
    rows = rows_of(scores)
    assert rows["mean"][2] == f"{statistics.fmean(rates):.2f}"
    assert rows["std"][2] == f"{statistics.pstdev(rates):.2f}"
    assert rows["chance (1/4)"][2:4] == ["25.00", "25.00"]
    most = max(counts, key=counts.get)
    assert rows[f"always {most}"][2:4] == [f"{counts[most] / 2:.2f}", "25.00"]
    rows = rows_of(recalls)
    assert rows["clips"][1:] == [str(counts[label]) for label in LABELS]
    pooled = [100 * hits[label] / counts[label] for label in LABELS]
    assert [float(cell) for cell in rows["pooled"][1:]] == pytest.approx(
        pooled, abs=0.006
    )
    assert rows["4"][4] == "-"  # no sad clip in fold 4


def test_missing_folds_are_named(tmp_path, fast):
    make_run(tmp_path, (1, 3, 5))
    text = report_folder(tmp_path)
    for report in (text, (tmp_path / "results.md").read_text()):
        assert "attentive_corr: 3 of 5 folds, 120 clips." in report
        assert "Folds 2, 4 are missing: mean and deviation are over the oth" in report
        assert "75.60" not in report
    make_run(tmp_path, (2,))
    assert "Fold 4 is missing" in report_folder(tmp_path)
    make_run(tmp_path, (4,), lr=0.5)
    text = report_folder(tmp_path)
    assert "5 of 5 folds" in text
    assert "The folds were run with different settings: lr." in text
    assert "75.60" not in text  # not one run, so no published number either


def test_one_fold_has_no_deviation(tmp_path, fast):
    make_run(tmp_path, (1,), n_folds=1)
    assert rows_of(report_folder(tmp_path))["std"] == ["std", "-", "-", "-"]
    assert json.loads((tmp_path / "results.json").read_text())["std"] is None


def test_ten_folds_and_a_number_given(tmp_path, fast):
    make_run(tmp_path, range(1, 11), n_folds=10)
    text = report_folder(tmp_path)
    assert "10 of 10 folds, 400 clips." in text
    assert "75.60" not in text  # the paper has five
    with pytest.raises(InputError, match="there is a fold 10, but .* 1 to 5"):
        write_results(tmp_path, 5)


def test_folds_without_records(tmp_path, fast):
    make_run(tmp_path, (1, 2))
    for path in tmp_path.rglob("*"):
        if path.name in ("run.json", "history.json", "layer_weights.json"):
            path.unlink()
    text = report_folder(tmp_path)
    assert "No run.json says what was run, or how many folds belong to it." in text
    assert "epoch" not in text
    assert [path.name for path in (tmp_path / "plots").iterdir()] == PICTURES[:1]
    page = (tmp_path / "results.md").read_text()
    assert "plots/confusion.png" in page
    for absent in ("layer_weights", "training_curves", "## Settings"):
        assert absent not in page


def test_a_new_rate_appears_for_old_folds(tmp_path, monkeypatch, fast):
    make_run(tmp_path)
    monkeypatch.setitem(RATES, "two", ("two %", lambda *_: 0.02))
    assert rows_of(report_folder(tmp_path))["mean"][-1] == "2.00"


def test_table_is_aligned(tmp_path, fast):
    make_run(tmp_path)
    lines = report_folder(tmp_path).split("\n\n")[3].splitlines()
    ends = [match.end() for match in re.finditer(r"[WU]A %|F1 %", lines[1])]
    assert len(ends) == 4
    for line in lines[3:8]:
        assert [match.end() for match in re.finditer(r"\d+\.\d\d", line)] == ends
    assert lines[0] == lines[2] == lines[8] == "─" * len(lines[1])
    names = ["mean", "std", "chance", "always", "paper,", "paper,"]
    assert [line.split()[0] for line in lines[9:-1]] == names


def test_cells_of_pages_may_hold_bars():
    page = make_table([{"key": "a|b", "value": "1"}]).markdown()
    assert page.splitlines()[1:] == ["| --- | ---: |", r"| a\|b | 1 |"]


def test_reports_repeat_byte_for_byte(tmp_path):
    make_run(tmp_path, (1, 2))
    write_results(tmp_path)
    first = snapshot(tmp_path)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == PICTURES
    write_results(tmp_path)
    assert snapshot(tmp_path) == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weights": [0.5, "x"]}', r"fold_2/layer_weights.json: must be .*0\.5, 'x'"),
        ("[0.5, 0.5]", r"must be \{\"weights\": \[...\]\} .*found \[0\.5, 0\.5\]"),
        ('{"weights": [0.5, 0.5]}', r"number of layers \(fold 1: 5, fold 2: 2\)"),
    ],
)
def test_bad_layer_weights_are_named(tmp_path, content, message):
    make_run(tmp_path, (1, 2))
    (tmp_path / "fold_2/layer_weights.json").write_text(content)
    old = snapshot(tmp_path)
    with pytest.raises(InputError, match=message):
        write_results(tmp_path)
    assert snapshot(tmp_path) == old


@pytest.mark.parametrize("inside", ["", "fold_1", "seed_1", "head/fold_1"])
def test_nothing_finished(tmp_path, inside):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError, match="no finished fold"):
        report_folder(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        report_folder(tmp_path / "nowhere")


# seeds and heads


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A folder of four heads: with seeds, another class, one fold, unfinished."""
    root = tmp_path_factory.mktemp("grid")
    for seed in (1, 2, 10):
        folds = (1, 2) if seed == 2 else (1, 2, 3)
        make_run(root / f"att16/seed_{seed}", folds, seed=seed, n_folds=3)
    make_run(root / "att4", pooling_layer=OTHER_POOLING)
    make_run(root / "mean", (1,), n_folds=1, pooling="mean")
    (root / "late/fold_1").mkdir(parents=True)
    (root / "late/fold_1/run.json").write_text(json.dumps(make_run_json(1)))
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        return root, report_folder(root)


def test_grid_tells_deviations_apart(grid):
    root, text = grid
    means, spreads = [], []
    for seed in (1, 2, 10):
        folder = root / f"att16/seed_{seed}"
        wa = [fold["wa"] for fold in read_folds(folder).metrics]
        means.append(statistics.fmean(wa))
        spreads.append(statistics.pstdev(wa))
        own = json.loads((folder / "results.json").read_text())
        assert own["mean"]["wa"] == pytest.approx(means[-1])
    mean, std = statistics.fmean(means), statistics.fmean(spreads)
    over_seeds = statistics.stdev(means)
    for report in (text, (root / "grid.md").read_text()):
        rows = rows_of(report.split("Recall of each class")[0])
        cell = f"{mean:.2f} ({std:.2f}, {over_seeds:.2f})"
        assert rows["att16"][1:5] == ["attentive_corr", "3", "8 of 9", cell]
        assert all(cell.endswith(" (-, -)") for cell in rows["mean"][-3:])
        assert "No finished fold: late." in report
        assert "att16, seed 2: fold 3 is missing" in report
        assert list(rows).index("att4") < list(rows).index("att16")


def test_grid_names_the_class_that_was_run(grid):
    _, text = grid
    rows = rows_of(text.split("Recall of each class")[0])
    assert rows["att4"][1] == "other.Pooling"
    assert "75.60" not in text  # one is not the paper's class, the other not whole


def test_grid_files(grid, fast):
    root, text = grid
    assert (root / "grid.png").read_bytes() == b"PNG"
    summary = write_grid(root)
    assert summary == json.loads((root / "grid.json").read_text())
    assert list(summary) == ["att4", "att16", "mean"]
    assert [run["seed"] for run in summary["att16"]["runs"]] == [1, 2, 10]
    assert [run["folds"] for run in summary["att16"]["runs"]][1] == [1, 2]
    assert summary["att4"]["runs"][0]["seed"] is None
    assert summary["att4"]["std_over_seeds"] is None
    assert summary["att4"]["std"] == summary["att4"]["runs"][0]["std"]
    assert summary["mean"]["std"] is None
    assert summary["att16"] == json.loads((root / "att16/seeds.json").read_text())
    for head in ("att4", "mean", "att16/seed_10"):
        names = {path.name for path in (root / head).iterdir()}
        assert {"results.json", "results.md", "plots"} <= names
    assert report_folder(root) == text


def test_seeds_of_one_head(grid, fast):
    root, text = grid
    report = report_folder(root / "att16")
    head = rows_of(text.split("Recall of each class")[0])["att16"]
    for page in (report, (root / "att16/seeds.md").read_text()):
        scores, recalls = page.split("Recall of each class")
        rows = rows_of(scores)
        assert rows["all"] == ["all", *head[1:]]
        own = json.loads((root / "att16/seed_2/results.json").read_text())
        cell = f"{own['mean']['wa']:.2f} ({own['std']['wa']:.2f}, -)"
        assert cell in rows["seed 2"]
        assert "seed 2: fold 3 is missing" in page
        assert (
            rows_of(recalls)["all"][1:] == rows_of(text.split("Recall")[1])["att16"][1:]
        )


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
        regular = 0.25 if pooling == "attentive_corr" else 0.0
        settings = {"pooling": pooling, "n_heads": 4, "label_smoothing": regular}
        settings["channel_dropout"] = float(dropout or regular)
        for source, number in zip(upstreams, numbers, strict=True):
            record = make_run_json(1, **settings) | {"upstream_source": source}
            result = paper_result(record)
            assert f"{result.mean:.2f} ({result.std:.2f})" == number
            assert result.differences == []


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "max"},
        {"pooling": "corr", "channel_dropout": 0.1},
        {"corpus": {"tag": "!apply:ravdess_prepare.read_ravdess", "value": {}}},
        {"pooling_layer": OTHER_POOLING},
        {"head": {**SETTINGS["head"], "tag": "!new:other.Head"}},
        {"head": {"tag": SETTINGS["head"]["tag"], "value": {"pooling": OTHER_POOLING}}},
        {"modules": {"head": "!new:other.Head"}},
        {"opt_class": {**SETTINGS["opt_class"], "tag": "!name:torch.optim.AdamW"}},
        {"opt_class": "!name:torch.optim.SGD"},
        {"loss": "!name:other.loss"},
        {"lr_annealing": {"tag": "!new:speechbrain.nnet.schedulers.NewBobScheduler"}},
        {"brain_class": "!name:other.Brain"},
        {"upstream": {"tag": "!new:other.Upstream", "value": {}}},
    ],
)
def test_what_the_paper_did_not_run(change):
    assert paper_result(make_run_json(1)) is not None
    assert paper_result(make_run_json(1, **change)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"upstream_source": "models/microsoft/wavlm-large"},  # a folder: any weights
        {"labels": ["neu", "ang", "sad"]},
        {"n_folds": 10},
        {"identity": {}},
    ],
)
def test_records_of_other_experiments(change):
    assert paper_result(make_run_json(1) | change) is None
    assert paper_result({}) is None


def test_settings_other_than_the_papers():
    changed = {"n_heads": 4, "lr": 0.001, "label_smoothing": 0.0}
    assert paper_result(make_run_json(1, **changed)).differences == [
        "label_smoothing 0.0 (paper: 0.25)",
        "lr 0.001 (paper: 0.0001)",
    ]
    mean = paper_result(make_run_json(1, pooling="mean")).differences
    assert "channel_dropout 0.25 (paper: 0.0)" in mean
    assert not any("n_heads" in text for text in mean)


def test_arguments_that_are_no_references():
    adam = {"tag": "!name:torch.optim.Adam", "value": {"lr": 0.01, "weight_decay": 0.1}}
    changed = {"n_heads": 4, "opt_class": adam}
    assert paper_result(make_run_json(1, **changed)).differences == [
        "lr 0.01 (paper: 0.0001)",
        "opt_class weight_decay 0.1 (paper: not set)",
    ]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "attentive_corr"),
        ({"pooling": "corr"}, "corr"),
        ({"pooling_layer": OTHER_POOLING}, "other.Pooling"),
        ({"pooling_layer": "!ref <mine>", "mine": OTHER_POOLING}, "other.Pooling"),
        (
            {
                "head": {
                    "tag": SETTINGS["head"]["tag"],
                    "value": {"pooling": OTHER_POOLING},
                }
            },
            "other.Pooling",
        ),
        ({"loss": "!name:other.loss"}, "attentive_corr, loss other.loss"),
        ({"modules": {"head": {"tag": "!new:a.B"}}}, "attentive_corr, head a.B"),
    ],
)
def test_names_of_runs(change, name):
    assert describe({**SETTINGS, **change}) == name


def test_no_heavy_imports():
    """Tables of results need no PyTorch, and the tables alone no scikit-learn."""
    code = (
        "import sys, sercorr.reporting.tables, sercorr.reporting.contents\n"
        "heavy = {'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "import sercorr.reporting.report, sercorr.evaluation.history\n"
        "heavy |= {'torch', 'speechbrain', 'transformers'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
