"""Experiments: every run is what train.py gives, none is trained twice."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from models import build_model
from releases import make_release
from runs import (
    RECIPE,
    command_line,
    heads_equal,
    quick_training,
    script_command,
    script_environment,
    train,
)

from sercorr.errors import InputError
from sercorr.evaluation.runs import read_heads
from sercorr.reporting.report import report_folder
from sercorr.training.experiment import run_experiment
from sercorr.training.experiment_file import base_settings, read_experiment

EXPERIMENTS = RECIPE / "experiments"
SEED_OF_SETTINGS = 1234
TEXT = f"""
settings: {RECIPE}/hparams/train.yaml
upstreams: [fbank]
folds: [1]
heads:
  att: {{n_heads: 1}}
  mean: {{pooling: mean, channel_dropout: 0.0, label_smoothing: 0.0}}
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("experiment") / "release")


@pytest.fixture
def experiment(release, tmp_path):
    """A function that runs an experiment with some axes, in ``tmp_path / "out"``."""
    file = tmp_path / "mine.yaml"

    def run(*axes: str, text: str = TEXT, out: str = "out") -> Path:
        file.write_text(text)
        line = command_line(release, tmp_path / out)[1:]
        line = [w for w in line if w not in ("--upstream_source", "fbank")]
        store = ["--cache_folder", str(release.with_name("store"))]
        with quick_training():
            assert run_experiment([str(file), *line, *store, *axes]) == 0
        return tmp_path / out

    return run


def finished(root: Path) -> dict[str, int]:
    """Each finished fold -> when its result was written."""
    return {
        path.parent.relative_to(root).as_posix(): path.stat().st_mtime_ns
        for path in sorted(root.rglob("fold_*/metrics.json"))
    }


def test_one_value_of_an_axis_has_no_folder(experiment, release, tmp_path):
    root = experiment()
    assert list(finished(root)) == ["att/fold_1", "mean/fold_1"]
    store = {"cache_folder": release.with_name("store")}
    train(release, tmp_path / "alone", n_heads=1, **store)
    assert heads_equal(root / "att", tmp_path / "alone")


def test_another_seed_and_upstream_move_what_is_there(experiment, tmp_path):
    root = experiment("--heads", "mean", "--seeds", "5")
    before = finished(root)
    assert list(before) == ["mean/fold_1"]
    experiment("--heads", "mean", "--seeds", "5,6")
    both = finished(root)
    assert list(both) == ["mean/seed_5/fold_1", "mean/seed_6/fold_1"]
    assert both["mean/seed_5/fold_1"] == before["mean/fold_1"]
    model = build_model(tmp_path / "tiny", "hubert", "layer")
    experiment("--heads", "mean", "--seeds", "5", "--upstreams", f"fbank,{model}")
    three = finished(root)
    assert list(three) == [
        "fbank/mean/seed_5/fold_1",
        "fbank/mean/seed_6/fold_1",
        "tiny/mean/seed_5/fold_1",
    ]
    assert three["fbank/mean/seed_6/fold_1"] == both["mean/seed_6/fold_1"]
    # fewer values than before: the folders stay as they are
    experiment("--heads", "mean,att", "--seeds", "5")
    assert list(finished(root)) == ["fbank/att/seed_5/fold_1", *three]
    assert {key: finished(root)[key] for key in three} == three
    record = json.loads((root / "experiment.json").read_text())
    assert record["axes"] == {
        "upstream": ["fbank", "tiny"],
        "corpus": [],
        "head": ["mean", "att"],
        "seed": [5, 6],
        "fold": [1],
    }
    asked = [(one["upstream"], one["head"], one["seed"]) for one in record["asked"]]
    assert asked == [
        (["fbank"], ["mean"], [5]),
        (["fbank"], ["mean"], [5, 6]),
        (["fbank", "tiny"], ["mean"], [5]),
        (["fbank"], ["mean", "att"], [5]),
    ]


def tables(root: Path) -> list[str]:
    """All files below that are no part of a run: tables, figures, what a user put."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file()
        and "manifests" not in path.parts
        and not any(part.startswith("fold_") for part in path.parts)
        and path.name not in ("log.txt", "experiment.json")
    )


@pytest.fixture
def fast(monkeypatch):
    """Leave pictures empty: they take longest, and nobody looks at them."""
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **kw: path.write_bytes(b"P"))


def test_tables_and_figures_of_the_old_layout_do_not_stay(experiment, tmp_path, fast):
    figures = "figures:\n  - {x: n_heads, lines: label_smoothing}\n"
    text, drawn = TEXT + figures, "figures/n_heads_by_label_smoothing.png"
    root = experiment("--seeds", "5", text=text)
    assert drawn in tables(root)
    mine = ["att/note.txt", "figures/mine.png", "fbank_notes.md", "manifests.txt"]
    made = ["comparison.json", "comparison.md", "comparison.png"]
    made += ["report.html", "report.md", "report.tex"]
    for name in [*mine, *made]:
        (root / name).write_text("mine")
    run = ["plots/confusion.png", "plots/training_curves.png"]
    run += ["plots/layer_weights.png", "results.json", "results.md"]
    experiment("--seeds", "5,6", text=text)
    seeds = [f"seeds.{ending}" for ending in ("json", "md", "png")]
    head = [*seeds, *(f"seed_{n}/{name}" for n in (5, 6) for name in run)]
    grid = [f"grid.{ending}" for ending in ("json", "md", "png")]
    heads = [f"{name}/{one}" for name in ("att", "mean") for one in head]
    rest = [drawn, "att/seed_5/note.txt", *mine[1:]]
    assert tables(root) == sorted([*grid, *heads, *rest])
    (root / "report.md").write_text("of my own")  # there is no report.html
    model = build_model(tmp_path / "tiny", "hubert", "layer")
    both = ("--upstreams", f"fbank,{model}")
    experiment("--seeds", "5", "--heads", "mean", *both, text=text)
    tiny = [*seeds, *(f"seed_5/{name}" for name in run)]
    assert tables(root) == sorted(
        [*grid, *(f"fbank/{name}" for name in heads), *mine[1:], "report.md"]
        + [f"tiny/mean/{name}" for name in tiny]
        + ["fbank/att/seed_5/note.txt"]
        + [f"figures/{one}_n_heads_by_label_smoothing.png" for one in ("fbank", "tiny")]
    )
    assert not (root / "mean").exists()
    with pytest.raises(InputError, match=r"out/att: no such folder; its runs are in "
                       r"\S+/fbank/att$"):  # fmt: skip
        read_heads(root / "att")
    (root / "mean").mkdir()
    with pytest.raises(InputError, match=r"out/mean: no finished fold .*; its runs are "
                       r"in \S+/fbank/mean, \S+/tiny/mean$"):  # fmt: skip
        read_heads(root / "mean")


def test_one_more_corpus_moves_a_folder_with_all_that_stands_in_it(
    experiment, release, tmp_path, fast
):
    model = build_model(tmp_path / "tiny", "hubert", "layer")
    text = f"{TEXT}corpora:\n  one: {{data_folder: {release}}}\n"
    text += "  two: {labels: [neu, sad]}\n"
    axes = ("--heads", "mean", "--corpora")
    root = experiment(*axes, "one", "--upstreams", f"fbank,{model}", text=text)
    report_folder(root / "fbank")
    before = {
        name: (root / "fbank" / name).read_bytes() for name in tables(root / "fbank")
    }
    assert {"grid.md", "mean/results.md"} <= before.keys()
    experiment(*axes, "one,two", "--upstreams", "fbank", text=text)
    assert list(finished(root)) == [
        "fbank/one/mean/fold_1",
        "fbank/two/mean/fold_1",
        "tiny/one/mean/fold_1",
    ]
    assert tables(root / "fbank/one") == list(before)
    for name in ("grid.json", "grid.md", "grid.png"):
        assert (root / "fbank/one" / name).read_bytes() == before[name]
        assert not (root / "fbank" / name).exists()
    both = r"its runs are in \S+fbank/one/mean/fold_1, \S+fbank/two/mean/fold_1$"
    with pytest.raises(InputError, match=both):
        read_heads(root / "fbank/mean/fold_1")


def test_what_is_in_the_way_is_not_overwritten(experiment, fast):
    root = experiment("--heads", "mean", "--seeds", "5")
    (root / "mean/seed_5").mkdir()
    (root / "mean/seed_5/mine.txt").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with pytest.raises(InputError, match="seed_5: it is in the way of .*/mean, which"):
        experiment("--heads", "mean", "--seeds", "5,6")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_seed_of_the_settings_is_a_seed(experiment):
    root = experiment("--heads", "mean")
    experiment("--heads", "mean", "--seeds", f"{SEED_OF_SETTINGS},7")
    assert list(finished(root)) == ["mean/seed_7/fold_1", "mean/seed_1234/fold_1"][::-1]


def test_options_of_train_are_axes_of_one_value(experiment, tmp_path):
    root = experiment("--heads", "mean", "--fold", "2", "--seed", "9")
    assert list(finished(root)) == ["mean/fold_2"]
    settings = (root / "mean/fold_2/hyperparams.yaml").read_text()
    assert "\nseed: 9" in settings
    model = build_model(tmp_path / "tiny", "hubert", "layer")
    experiment("--heads", "mean", "--upstream_source", str(model), out="other")
    record = json.loads((tmp_path / "other/mean/fold_1/run.json").read_text())
    assert record["upstream_source"] == str(model)


def test_tables_follow_the_experiment(experiment):
    text = TEXT.replace("  att:", "  zeta:")
    root = experiment(text=text)
    assert list(read_heads(root)) == ["zeta", "mean"]
    assert list(json.loads((root / "grid.json").read_text())) == ["zeta", "mean"]


def test_a_figure_that_cannot_be_drawn_costs_no_result(experiment, capsys):
    figures = """
figures:
  - {x: n_heads}
  - {x: n_heads, heads: [att]}
  - {confusions: [att, mean]}
"""
    text = TEXT.replace("att: {n_heads: 1}", "att: {lr: 0.001}") + figures
    root = experiment(text=text)
    assert {path.name for path in (root / "figures").iterdir()} == {
        "n_heads.png",
        "confusions_att_mean.png",
    }
    said = capsys.readouterr().out
    assert (
        "figure {'x': 'n_heads'}: not drawn: att and mean both have n_heads 2" in said
    )


def test_corpora_are_an_axis(experiment, release, tmp_path):
    other = make_release(tmp_path / "other")
    text = f"""{TEXT}
corpora:
  one: {{data_folder: {release}}}
  two: {{data_folder: {other}, labels: [neu, sad]}}
"""
    root = experiment("--heads", "mean", text=text)
    assert list(finished(root)) == ["one/mean/fold_1", "two/mean/fold_1"]
    labels = [
        json.loads((root / name / "mean/fold_1/metrics.json").read_text())["labels"]
        for name in ("one", "two")
    ]
    assert labels == [["neu", "hap", "ang", "sad"], ["neu", "sad"]]
    assert list(finished(experiment("--corpora", "two", text=text, out="b"))) == [
        "att/fold_1",
        "mean/fold_1",
    ]


def test_killed_and_resumed_it_equals_an_unbroken_one(experiment, release, tmp_path):
    whole = experiment("--seeds", "1,2", "--ckpt_interval_steps", "1", out="whole")
    root = tmp_path / "broken"
    line = command_line(release, root, ckpt_interval_steps=1)[1:]
    line = [w for w in line if w not in ("--upstream_source", "fbank")]
    store = ["--cache_folder", str(release.with_name("store"))]
    command = script_command(
        "run_experiment.py",
        [tmp_path / "mine.yaml", *line, *store, "--seeds", "1,2"],
    )
    environment = script_environment()
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(root.rglob("CKPT*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(finished(root)) < 4
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(finished(root)) == list(finished(whole))
    for fold in finished(whole):
        for name in ("head.safetensors", "predictions.csv", "validation.csv"):
            there, here = (top / fold / name for top in (root, whole))
            assert there.read_bytes() == here.read_bytes(), (fold, name)


def test_the_papers_experiments():
    sizes = {
        path.stem: len(read_experiment(path).heads)
        for path in sorted(EXPERIMENTS.glob("*.yaml"))
    }
    assert {k: sizes[k] for k in ("heads", "smoothing_dropout", "table1")} == {
        "heads": 4,
        "smoothing_dropout": 28,
        "table1": 9,
    }
    table = read_experiment(EXPERIMENTS / "table1.yaml")
    assert len(table.upstreams) == 3
    assert not table.folds
    assert base_settings(EXPERIMENTS / "table1.yaml").samefile(
        RECIPE / "hparams/train.yaml"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heads: {a: {}}", "the key 'settings' is missing"),
        ("settings: x.yaml", "the key 'heads' is missing"),
        (TEXT + "sedes: [1]", "sedes: an experiment has no such key; did you mean see"),
        (TEXT + "seeds: 3", "seeds is 3; a list of whole numbers was expected"),
        (TEXT + "seeds: [1, 1]", "one stands there twice"),
        (TEXT.replace("n_heads: 1", "seed: 2"), "att: seed is an axis"),
        (TEXT.replace("n_heads: 1", "fold: 2"), "att: fold is the same for all"),
        (TEXT + "corpora: [a]", "corpora: a mapping of names to settings"),
        (TEXT + "figures: [{confusions: [max]}]", "there is no head 'max'"),
        (TEXT + "figures: [{y: lr}]", "y is none of x, lines, heads, confusions"),
    ],
)
def test_experiment_files_that_are_none(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_experiment(file)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["--heads", "att,men"], "has no 'men'; it has att, mean"),
        (["--corpora", "a"], "has no 'a'; it has none"),
        (["--seeds", "a"], "--seeds is 'a'; give numbers with commas"),
        (["--upstreams", "no/such-model"], "no/such-model, revision main: no such"),
        (["--upstreams", "fbank,/x/fbank"], "cannot name a head's folder"),
        (["--n_heads", "3", "--heds", "a"], "heds: no such setting"),
        (["--seed", "3", "--seeds", "4"], "--seed and --seeds are both given"),
        (["--pooling", "corr", "--heads", "mean"], "--pooling would have no effect"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(
    experiment, tmp_path, axes, message
):
    with pytest.raises(InputError, match=message):
        experiment(*axes)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_experiment_or_of_other_settings(experiment, tmp_path):
    root = experiment("--heads", "mean")
    before = finished(root)
    with pytest.raises(InputError, match=r"mean: .*holds another run \(.*lr"):
        experiment("--heads", "mean", "--lr", "0.5")
    (root / "experiment.json").write_text(
        (root / "experiment.json").read_text().replace('"mine"', '"theirs"')
    )
    with pytest.raises(InputError, match="holds the experiment theirs, not mine"):
        experiment("--heads", "mean")
    assert finished(root) == before
