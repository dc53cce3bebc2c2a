"""Tables that another rate leads, that raters stand in, that remark on speakers."""

import json
import re
import statistics

import pytest
from made_up_results import LABELS, make_clips, make_predictions, make_run, rows_of
from matplotlib.figure import Figure
from sklearn.metrics import f1_score

from sercorr.evaluation.raters import rater_agreement
from sercorr.evaluation.results import write_fold
from sercorr.reporting import report
from sercorr.reporting.plots import plot_history
from sercorr.reporting.report import describe_fold, report_folder


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    """Leave pictures empty; collect the figures."""
    figures = []

    def save(figure, path, **_):
        figures.append(figure)
        path.write_bytes(b"P")

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def make(folder, changes=None, settings=None, **options):
    """Make a run; ``changes`` are put over each fold's run.json."""
    make_run(folder, **options, **(settings or {}))
    for path in folder.rglob("run.json"):
        record = json.loads(path.read_text())
        for key, value in (changes or {}).items():
            old = record.get(key)
            record[key] = {**old, **value} if isinstance(old, dict) else value
        path.write_text(json.dumps(record))
        history = json.loads(path.with_name("history.json").read_text())
        for line, f1 in zip(history, (61.0, 70.0, 62.0), strict=True):
            line["valid_macro_f1"] = f1
        path.with_name("history.json").write_text(json.dumps(history))


def chosen_by(rate: str) -> dict:
    known = {"valid_ua": 41.25, "valid_macro_f1": 42.75, "epoch": 2}
    return {"tested": {"select_by": rate, **known}}


def headings(text: str, first: str) -> list[str]:
    """Headings of the page's table that begins with one."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} "))
    return line.strip("| ").split(" | ")


# The rate that chose the tested epoch


def test_the_rate_that_chose_leads_a_runs_table(tmp_path, pictures):
    make(tmp_path, chosen_by("macro_f1"))
    text = report_folder(tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert headings(page, "fold")[2:] == [
        *("macro F1 %", "WA %", "UA %", "epoch", "validation macro F1 %")
    ]
    folds = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("*/metrics.json"))]
    mean = statistics.fmean(fold["macro_f1"] for fold in folds)
    for shown in (text, page):
        rows = rows_of(shown.split("Recall of each class")[0])
        assert rows["mean"][-3] == f"{mean:.2f}"
        assert rows["1"][-2:] == ["2", "42.75"]
        assert "Tested epoch: the best by validation macro F1." in shown
        assert "validation WA" not in shown
    titles = [axes.get_title() for axes in pictures[-1].axes]
    assert titles[2:] == ["validation macro F1", "validation WA"]
    for axes, key in zip(pictures[-1].axes[2:], (70.0, 50.0), strict=True):
        stars = [line for line in axes.lines if line.get_marker() == "*"]
        assert {float(star.get_xdata()[0]) for star in stars} == {40}  # the second
        assert stars[0].get_ydata()[0] == pytest.approx(key, abs=1.01)
    assert "best epoch, by validation macro F1" in pictures[-1].get_suptitle()
    line = describe_fold(tmp_path / "fold_2")
    wa, f1 = folds[1]["wa"], folds[1]["macro_f1"]
    assert line.startswith(f"fold 2: 40 test clips, macro F1 {f1:.2f} %, WA {wa:.2f} %")
    assert "(epoch 2 of 30, best by validation macro F1, 42.75 %)" in line


def test_by_ua_the_curves_are_those_of_ua_and_wa(tmp_path, pictures):
    make(tmp_path, chosen_by("ua"))
    report_folder(tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert headings(page, "fold")[2:4] == ["UA %", "WA %"]
    assert [a.get_title() for a in pictures[-1].axes[2:]] == [
        "validation UA",
        "validation WA",
    ]


def test_always_the_same_class_has_a_macro_f1(tmp_path):
    make(tmp_path)
    text = report_folder(tmp_path)
    truth = [name for fold in range(1, 6) for name in make_predictions(fold)[1]]
    most = max(LABELS, key=truth.count)
    always = [most] * len(truth)
    expected = 100 * f1_score(truth, always, average="macro", zero_division=0)
    assert rows_of(text)[f"always {most}"][-1] == f"{expected:.2f}"
    assert "known speaker" not in text


def test_the_rate_that_chose_leads_a_table_of_heads_if_all_agree(tmp_path, pictures):
    for name in ("a", "b"):
        make(tmp_path / name, chosen_by("macro_f1"))
    text = report_folder(tmp_path)
    page = (tmp_path / "grid.md").read_text()
    assert [h.split(" (")[0] for h in headings(page, "run")][3:6] == [
        *("macro F1 %", "WA %", "UA %")
    ]
    assert text.count("Tested epoch: the best by validation macro F1.") == 1
    assert "![macro F1](grid.png)" in page
    bars = pictures[-1].axes[0]
    mean = json.loads((tmp_path / "grid.json").read_text())["a"]["mean"]["macro_f1"]
    assert bars.get_title() == "macro F1"
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([mean, mean])

    make(tmp_path / "c", chosen_by("ua"))
    make(tmp_path / "old")  # made before there was a choice
    text = report_folder(tmp_path)
    page = (tmp_path / "grid.md").read_text()
    assert headings(page, "run")[3].startswith("WA %")
    assert "a, b: Tested epoch: the best by validation macro F1." in text
    assert "c: Tested epoch: the best by validation UA." in text
    assert "old: Tested epoch: the best by validation WA." in text
    assert pictures[-1].axes[0].get_title() == "Weighted accuracy"


def test_a_run_that_was_chosen_or_trained_otherwise_is_not_the_papers(tmp_path):
    settings = {"select_by": "ua", "class_weights": "balanced", "targets": "votes"}
    settings |= {"valid_by": "speaker", "n_heads": 4}
    make(tmp_path, settings=settings)
    text = report_folder(tmp_path)
    assert "Settings other than the paper's: valid_by speaker (paper: random)" in text
    for difference in (
        "class_weights balanced (paper: none)",
        "targets votes (paper: labels)",
        "select_by ua (paper: wa)",
    ):
        assert difference in text


def test_the_star_is_the_earliest_of_equals(tmp_path, pictures):
    make(tmp_path, folds=(1,))
    records = json.loads((tmp_path / "fold_1/history.json").read_text())
    records[2]["valid_macro_f1"] = 70.0
    plot_history({"fold 1": records}, tmp_path / "a.png", "macro_f1")
    star = next(x for x in pictures[-1].axes[0].lines if x.get_marker() == "*")
    assert list(star.get_xdata()) == [40]


# Agreement with the raters


def voted_fold(folder, fold: int) -> dict:
    ids, truth, probabilities = make_predictions(fold)
    clips = make_clips(ids)
    for number, id_ in enumerate(ids):
        clips[id_]["vote_counts"] = {LABELS[number % 4]: 2, truth[number]: 1}
    write_fold(folder / f"fold_{fold}", fold, ids, truth, probabilities, LABELS, clips)
    votes = [clips[id_]["vote_counts"] for id_ in ids]
    return rater_agreement(votes, probabilities, LABELS)


def test_agreement_stands_beside_the_rates(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name)
    found = [voted_fold(tmp_path / "a", fold) for fold in range(1, 6)]
    kl = [one["kl"] for one in found]
    run = report_folder(tmp_path / "a")
    page = (tmp_path / "a/results.md").read_text()
    assert headings(page, "fold")[5:7] == ["KL, nats", "top-2 %"]
    for shown in (run, page):
        rows = rows_of(shown.split("Recall of each class")[0])
        assert rows["2"][5:7] == [f"{kl[1]:.2f}", f"{found[1]['top2']:.2f}"]
        assert rows["mean"][-2] == f"{statistics.fmean(kl):.2f}"
        assert "KL(votes || probabilities)" in shown
    assert "KL" not in report_folder(tmp_path / "b")
    text = report_folder(tmp_path)
    rows = rows_of(text.split("Recall of each class")[0])
    mean, std = statistics.fmean(kl), statistics.pstdev(kl)
    assert f"{mean:.2f} ({std:.2f}, -)" in rows["a"]
    assert len(rows["a"]) == len(rows["b"]) + 2
    assert text.count("KL(votes || probabilities)") == 1


# Speakers and corpora


def speakers(test: int, shared: int, unknown: int = 0) -> dict:
    return {"speakers": {"test": test, "shared": shared, "unknown": unknown}}


def test_speaker_dependent_runs_say_so_everywhere(tmp_path):
    make(tmp_path / "a", speakers(12, 12))
    make(tmp_path / "b", speakers(12, 12))
    make(tmp_path / "c", speakers(12, 0))
    remark = "Speaker-dependent: 12 of 12 test speakers also train or validate."
    grid = report_folder(tmp_path)
    assert f"a, b: {remark}" in grid
    assert f"a, b: {remark}" in (tmp_path / "grid.md").read_text()
    for name in ("a", "b"):
        assert remark in report_folder(tmp_path / name)
        assert remark in (tmp_path / name / "results.md").read_text()
    assert "Speaker" not in report_folder(tmp_path / "c")
    assert "known speaker" not in grid


@pytest.mark.parametrize(
    ("shared", "text"),
    [
        ((2, 0, 5, 0, 0), "2 of 5 (fold 1), 5 of 5 (fold 3) test speakers"),
        ((0, 0, 5, 0, 0), "5 of 5 (fold 3) test speakers"),
        ((5, 5, 5, 5, 5), "5 of 5 test speakers"),
    ],
)
def test_folds_that_share_some_speakers_are_told_apart(tmp_path, shared, text):
    make(tmp_path)
    for fold, count in enumerate(shared, start=1):
        path = tmp_path / f"fold_{fold}/run.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | speakers(5, count)))
    assert f"Speaker-dependent: {text} also train" in report_folder(tmp_path)


def test_unknown_speakers_are_counted(tmp_path):
    make(tmp_path, speakers(30, 0, unknown=17))
    text = report_folder(tmp_path)
    assert "17 clips have no known speaker: they may also be among the others." in text
    assert "Speaker-dependent" not in text


def test_another_corpus_stands_beside_no_paper(tmp_path):
    make(tmp_path, {"test_corpus": "emodb", "corpus": "IEMOCAP"})
    text = report_folder(tmp_path)
    assert "Tested on emodb, trained on IEMOCAP." in text
    assert "75.60" not in text
    assert "Paper" not in text


def test_corpora_by_heads_make_a_matrix(tmp_path):
    runs = [("emodb", "att"), ("emodb", "mean"), ("ravdess", "att")]
    for number, (corpus, head) in enumerate(runs):
        make(tmp_path / corpus / head, seed=number)
    text = report_folder(tmp_path)
    summary = json.loads((tmp_path / "grid.json").read_text())
    cells = {
        name: f"{one['mean']['wa']:.2f} ({one['std']['wa']:.2f})"
        for name, one in summary.items()
    }
    assert len(set(cells.values())) == 3
    for shown in (text, (tmp_path / "grid.md").read_text()):
        matrix = shown.split("corpus x pooling: WA %")[1]
        rows = rows_of(matrix)
        assert rows["corpus"][:3] == ["corpus", "att", "mean"]
        assert rows["emodb"][1:3] == [cells["emodb/att"], cells["emodb/mean"]]
        assert re.sub(r"\W+$", "", rows["ravdess"][1]) in cells["ravdess/att"]


def test_other_tables_have_no_matrix(tmp_path):
    make(tmp_path / "emodb/att")
    make(tmp_path / "emodb/mean")
    assert " x pooling" not in report_folder(tmp_path)  # one corpus
    make(tmp_path / "plain")
    assert " x pooling" not in report_folder(tmp_path)  # not all are of a corpus


def test_upstreams_are_not_called_corpora(tmp_path):
    for upstream in ("one", "two"):
        for head in ("att", "mean"):
            make(tmp_path / upstream / head, {"upstream_source": upstream})
    assert "upstream x pooling: WA %" in report_folder(tmp_path)


def test_the_matrix_is_of_the_leading_rate(tmp_path):
    for corpus in ("emodb", "ravdess"):
        for head in ("att", "mean"):
            make(tmp_path / corpus / head, chosen_by("macro_f1"))
    text = report_folder(tmp_path)
    mean = json.loads((tmp_path / "grid.json").read_text())["emodb/att"]["mean"]
    rows = rows_of(text.split("corpus x pooling: macro F1 %")[1])
    assert rows["emodb"][1].startswith(f"{mean['macro_f1']:.2f} (")
    assert report.report_folder(tmp_path) == text
