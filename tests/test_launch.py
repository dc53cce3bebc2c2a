"""`--jobs N`: processes side by side give the bytes of one after the other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from releases import make_release
from runs import (
    RECIPE,
    SETTINGS_FILE,
    command_line,
    heads_equal,
    outcome,
    quick_training,
    script_command,
    script_environment,
    train,
)
from speechbrain.utils.run_opts import RunOptions

from sercorr.errors import InputError
from sercorr.training.experiment import run_experiment
from sercorr.training.folds import run_folds
from sercorr.training.grid import run_grid
from sercorr.training.launcher import launch as launch_module
from sercorr.training.launcher import local
from sercorr.training.launcher.launch import Stage, require_idle, run_stages
from sercorr.training.launcher.options import Launch, take_launch, threads_of
from sercorr.training.launcher.works import Work, launch_lock, read_works, write_works

PYTHON = (sys.executable, "-c")
SHORT = {"number_of_epochs": 1, "updates_per_epoch": 2}
GRID = "a: {pooling: mean}\nb: {pooling: corr, n_heads: 1}\nc: {lr: 0.001}\n"


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


@pytest.fixture(autouse=True, scope="module")
def environment():
    """Let processes find the package, installed or not."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
            patch.setenv(name, script_environment()[name])
        yield


def entries(cache: Path) -> dict[str, bytes]:
    """All files of a store: name -> bytes."""
    files = cache.glob("*-*/**/*.safetensors")
    return {str(file.relative_to(cache)): file.read_bytes() for file in files}


def states(root: Path) -> dict[str, str]:
    return {work.name: work.record["state"] for work in read_works(root)}


@pytest.fixture(scope="module")
def side_by_side(release, tmp_path_factory) -> dict[int, Path]:
    """Two folds with ``--jobs 1`` and ``--jobs 2``, each with features of its own."""
    folders = {}
    for jobs in (1, 2):
        folders[jobs] = root = tmp_path_factory.mktemp(f"jobs{jobs}")
        line = command_line(release, root / "out", cache_folder=root / "cache", **SHORT)
        words = [*line, "--folds", "1,2", "--jobs", str(jobs)]
        with quick_training():
            assert run_folds(RECIPE / "train.py", words) == 0
    return folders


def test_two_jobs_give_the_bytes_of_one(side_by_side):
    one, two = side_by_side.values()
    assert entries(one / "cache") == entries(two / "cache") != {}
    for fold in (1, 2):
        assert outcome(one / "out", fold) == outcome(two / "out", fold)
    results = [(root / "out/results.json").read_bytes() for root in (one, two)]
    assert results[0] == results[1]
    assert states(two / "out") == {
        **{f"features {share} of 2": "done" for share in (1, 2)},
        **{f"fold {fold}": "done" for fold in (1, 2)},
    }
    record = json.loads((two / "out/fold_1/run.json").read_text())
    assert record["threads"] == 1


def test_they_are_the_bytes_of_a_fold_alone(release, side_by_side, tmp_path):
    train(release, tmp_path, fold=2, cache_folder=tmp_path / "cache", **SHORT)
    assert outcome(tmp_path, 2) == outcome(side_by_side[2] / "out", 2)


def test_what_is_finished_is_not_launched_again(release, side_by_side, capsys):
    root = side_by_side[2]
    line = command_line(release, root / "out", cache_folder=root / "cache", **SHORT)
    before = states(root / "out")
    words = [*line, "--folds", "1,2", "--jobs", "2"]
    assert run_folds(RECIPE / "train.py", words) == 0
    assert capsys.readouterr().out.count("finished before, skipped") == 2
    assert states(root / "out") == before  # nothing was launched


def test_a_grid_is_split_among_processes(release, side_by_side, tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(GRID)
    options = {"cache_folder": side_by_side[2] / "cache", **SHORT}
    for name, jobs in (("plain", []), ("jobs", ["--jobs", "2"])):
        line = command_line(release, tmp_path / name, **options)
        with quick_training():
            words = [*line, "--folds", "1", "--grid", str(file), *jobs]
            assert run_grid(words) == 0
    assert set(states(tmp_path / "jobs")) == {"fold 1: a, b", "fold 1: c"}
    for head in ("a", "b", "c"):
        assert heads_equal(tmp_path / "plain" / head, tmp_path / "jobs" / head)
    scores = [(tmp_path / n / "grid.json").read_bytes() for n in ("plain", "jobs")]
    assert scores[0] == scores[1]
    record = json.loads((tmp_path / "jobs/a/fold_1/run.json").read_text())
    assert "worker" not in " ".join(record["command"])


def test_an_experiment_is_launched_in_one_go(release, side_by_side, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"settings: {SETTINGS_FILE}\nupstreams: [fbank]\nseeds: [1, 2]\n"
        "heads:\n  mean: {pooling: mean}\n"
    )
    options = {"cache_folder": side_by_side[2] / "cache", **SHORT}
    line = command_line(release, tmp_path / "jobs", **options)[1:]
    given = line.index("--upstream_source")
    del line[given : given + 2]  # the experiment's own
    with quick_training():
        words = [str(file), *line, "--folds", "1", "--jobs", "2"]
        assert run_experiment(words) == 0
    for seed in (1, 2):
        train(release, tmp_path / f"{seed}", pooling="mean", seed=seed, **options)
        place = tmp_path / f"jobs/mean/seed_{seed}"
        assert heads_equal(place, tmp_path / f"{seed}")
    assert set(states(tmp_path / "jobs")) == {
        f"fold 1: mean/seed_{seed}" for seed in (1, 2)
    }


def test_ctrl_c_stops_all_and_the_same_command_goes_on(release, side_by_side, tmp_path):
    options = {
        "cache_folder": side_by_side[2] / "cache",
        "updates_per_epoch": 300,
        "ckpt_interval_steps": 20,
        "number_of_epochs": 1,
    }
    words = [
        *command_line(release, tmp_path / "cut", **options),
        *("--folds", "1,2", "--jobs", "2"),
    ]
    process = subprocess.Popen(
        script_command("run_folds.py", words),
        env=script_environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    folds = [tmp_path / "cut" / f"fold_{fold}" for fold in (1, 2)]
    end = time.monotonic() + 120
    while time.monotonic() < end and not all(
        any(fold.glob("checkpoints/CKPT+*")) for fold in folds
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "stopping 2 processes" in said
    assert states(tmp_path / "cut") == {"fold 1": "stopped", "fold 2": "stopped"}
    assert not any((fold / "metrics.json").exists() for fold in folds)
    with quick_training():
        assert run_folds(RECIPE / "train.py", words) == 0
    record = json.loads((folds[1] / "run.json").read_text())
    assert record["resumes"] == 1
    train(release, tmp_path / "whole", fold=2, **options)
    assert outcome(tmp_path / "cut", 2) == outcome(tmp_path / "whole", 2)


# Works that are not trainings


def launch(root: Path, works: list[Work], jobs: int = 2) -> list[str] | None:
    return run_stages([Stage([], works)], root, Launch(jobs), 1, RunOptions())


def work(root: Path, name: str, code: str) -> Work:
    return Work(name, [*PYTHON, code], root)


def test_as_many_run_at_once_as_asked_for(tmp_path):
    code = (
        "import os, time; open({!r}, 'a').write('+'); time.sleep(0.5);"
        "open({!r}, 'a').write('-')"
    ).format(*[str(tmp_path / "diary")] * 2)
    works = [work(tmp_path, f"part {number}", code) for number in range(4)]
    assert launch(tmp_path, works, jobs=2) == []
    diary = (tmp_path / "diary").read_text()
    running = [
        diary[: end + 1].count("+") - diary[: end + 1].count("-") for end in range(8)
    ]
    assert max(running) == 2


def test_a_work_that_fails_stops_no_other(tmp_path, capsys):
    works = [
        work(tmp_path, "bad", "import sys; sys.exit('error: lr is -1; give another')"),
        work(tmp_path, "good", "print('fine')"),
        work(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)"),
    ]
    assert launch(tmp_path, works) == ["bad", "killed"]
    assert states(tmp_path) == {"bad": "failed", "good": "done", "killed": "failed"}
    said = capsys.readouterr().err
    assert "bad: failed: lr is -1; give another (log: " in said
    assert "killed: failed: killed by SIGKILL: out of memory, or by hand" in said
    assert "fine" in (tmp_path / "jobs/good/output.txt").read_text()


def test_training_waits_for_the_features_and_does_not_begin_without(tmp_path):
    diary = tmp_path / "diary"
    note = "open({!r}, 'a').write({!r})"
    slow = "import time; time.sleep(0.5);" + note.format(str(diary), "f")
    features = work(tmp_path, "features", slow)
    training = work(tmp_path, "training", note.format(str(diary), "t"))
    stage = Stage([features], [training])
    assert run_stages([stage], tmp_path, Launch(4), 1, RunOptions()) == []
    assert diary.read_text() == "ft"
    stage = Stage([work(tmp_path, "features", "exit(1)")], [training])
    found = run_stages([stage], tmp_path, Launch(4), 1, RunOptions())
    assert found == ["features"]
    assert diary.read_text() == "ft"


def test_gpus_are_dealt_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(launch_module, "visible_gpus", lambda: ["2", "5"])
    code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(1)"
    works = [work(tmp_path, f"part {number}", code) for number in range(3)]
    assert launch(tmp_path, works, jobs=3) == []
    texts = [one.log.read_text().strip() for one in works]
    assert texts == ["2", "5", "2"]
    works = [work(tmp_path, "part", "import os; print(os.environ)")]
    stages = [Stage([], works)]
    run_stages(stages, tmp_path, Launch(1), 1, RunOptions(device="cuda:1"))
    assert "CUDA_VISIBLE_DEVICES" not in works[0].log.read_text()


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [("", 2, ["0", "1"]), ("3,GPU-ab", 2, ["3", "GPU-ab"]), ("", 0, []), ("3", 0, [])],
)
def test_visible_gpus(monkeypatch, value, count, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    monkeypatch.setattr(local.torch.cuda, "device_count", lambda: count)
    assert local.visible_gpus() == expected


def test_a_second_launch_in_a_folder_is_refused(tmp_path):
    with (
        launch_lock(tmp_path),
        pytest.raises(InputError, match=f"another launch .process {os.getpid()} on "),
    ):
        launch(tmp_path, [work(tmp_path, "part", "pass")])
    assert launch(tmp_path, [work(tmp_path, "part", "pass")]) == []


def test_a_folder_is_idle_when_nothing_is_at_work(tmp_path):
    require_idle(tmp_path)
    assert list(tmp_path.iterdir()) == []  # asking makes no folder
    launch(tmp_path, [work(tmp_path, "part", "pass")])
    require_idle(tmp_path)
    with launch_lock(tmp_path), pytest.raises(InputError, match="is at work there"):
        require_idle(tmp_path)


def test_nothing_is_launched_while_jobs_are_in_the_queue(tmp_path, monkeypatch):
    one = work(tmp_path, "part", "pass")
    write_works(tmp_path, [one])
    one.note(launcher="local", job=str(os.getpid()))  # a job that is at work
    for launching in (lambda: launch(tmp_path, [one]), lambda: require_idle(tmp_path)):
        with pytest.raises(InputError, match="1 jobs of an earlier launch are in the"):
            launching()
    assert states(tmp_path) == {"part": "waiting"}


def test_a_full_disk_of_one_work_stops_no_other(tmp_path):
    full = work(tmp_path, "full", "f = open('/dev/full', 'w', 1); f.write('text\\n')")
    good = work(tmp_path, "good", "pass")
    assert launch(tmp_path, [full, good]) == ["full"]
    assert "No space left on device" in full.record["message"]


# The command line


def test_options_of_a_launch():
    words = (
        "x.yaml --jobs=3 --launcher slurm --slurm_gpus 1 --slurm_mail_type=END --lr 1"
    )
    launch, rest = take_launch(words.split())
    assert launch == Launch(3, "slurm", {"gpus": "1", "mail-type": "END"})
    assert rest == ["x.yaml", "--lr", "1"]
    assert not take_launch(["x.yaml"])[0].asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--jobs 0", "--jobs is '0'; give the number of processes"),
        ("--jobs two", "--jobs is 'two'"),
        ("--jobs", "--jobs: a value is missing"),
        ("--launcher pbs", "--launcher is 'pbs'; it must be one of slurm, local"),
        ("--slurm_gpus 1", "--slurm_gpus is for --launcher slurm; add that"),
        ("--jobs 2 --slurm_mem 1G", "--slurm_mem is for --launcher slurm"),
    ],
)
def test_options_that_make_no_sense(words, message):
    with pytest.raises(InputError) as raised:
        take_launch(["train.yaml", *words.split()])
    assert message in str(raised.value)


def test_threads_are_those_of_the_settings_or_the_environment_or_one(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of({"threads": 2}) == 2
    assert threads_of({"threads": None}) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_of({}) == 1
