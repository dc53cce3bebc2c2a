"""Ctrl-C and SIGTERM: training stops after the update at hand and loses nothing."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from releases import make_release
from runs import (
    command_line,
    grid_of,
    heads_equal,
    outcome,
    script_command,
    script_environment,
    train,
)

from sercorr.training import EmotionBrain
from sercorr.training.stopping import StopRequest


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


@pytest.fixture(scope="module")
def plain(release, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("plain")
    train(release, folder)
    return outcome(folder)


def signal_at(patch, name: str, nth: int, number: int) -> list[int]:
    """Send this process a signal at the nth call of a method; note the updates."""
    original, calls, updates = getattr(EmotionBrain, name), [], []
    step = EmotionBrain.optimizers_step

    def stepping(brain):
        updates.append(brain.optimizer_step + 1)
        step(brain)

    def called(brain, *arguments, **options):
        calls.append(1)
        if len(calls) == nth:
            signal.raise_signal(number)
        return original(brain, *arguments, **options)

    patch.setattr(EmotionBrain, "optimizers_step", stepping)
    patch.setattr(EmotionBrain, name, called)
    return updates


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("name", "nth", "done"),
    [
        ("fit_batch", 2, 2),  # in the second of six updates
        ("fit_batch", 3, 3),  # the last of an epoch
        ("evaluate_batch", 1, 3),  # in the validation after it
        ("evaluate_batch", 2, 3),
        ("fit_batch", 6, 6),  # the last of all
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    release, plain, tmp_path, monkeypatch, capsys, name, nth, done, number
):
    with monkeypatch.context() as patch:
        updates = signal_at(patch, name, nth, number)
        with pytest.raises(KeyboardInterrupt):
            train(release, tmp_path, ckpt_interval_minutes=0)
    assert updates == list(range(1, done + 1))
    assert "stopping after this update" in capsys.readouterr().err
    assert not (tmp_path / "fold_1/metrics.json").exists()
    with monkeypatch.context() as patch:
        updates = signal_at(patch, "fit_batch", 0, number)
        train(release, tmp_path, ckpt_interval_minutes=0)
    assert updates == list(range(done + 1, 7))  # none is computed twice
    assert outcome(tmp_path) == plain


def test_gradients_of_half_an_update_are_not_lost(release, tmp_path, monkeypatch):
    options = {"grad_accumulation_factor": 2, "ckpt_interval_minutes": 0}
    train(release, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        updates = signal_at(patch, "fit_batch", 3, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            train(release, tmp_path / "cut", **options)
    assert updates == [1, 2]  # the batch that belongs to the third was computed, too
    train(release, tmp_path / "cut", **options)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_all_heads_of_a_group_are_saved(release, tmp_path, monkeypatch):
    text = "a: {pooling: mean}\nb: {pooling: corr}\n"

    def line(folder: str) -> list[str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        out = tmp_path / folder / "grid"
        return command_line(release, out, ckpt_interval_minutes=0)

    whole = grid_of(tmp_path, text, line("whole")) and tmp_path / "whole/grid"
    with monkeypatch.context() as patch:
        signal_at(patch, "evaluate_batch", 1, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            grid_of(tmp_path, text, line("cut"))
    grid_of(tmp_path, text, line("cut"))
    for head in ("a", "b"):
        assert heads_equal(whole / head, tmp_path / "cut/grid" / head)


def test_a_second_ctrl_c_interrupts_at_once_and_sigterm_does_not():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # schedulers send it to every process
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_as_they_were_afterwards():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        pass
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_program_that_gets_sigterm_saves_and_says_how_to_go_on(release, tmp_path):
    changes = {"updates_per_epoch": 5000, "ckpt_interval_steps": 20, "num_workers": 1}
    fold = tmp_path / "fold_1"
    process = subprocess.Popen(
        script_command("train.py", command_line(release, tmp_path, **changes)),
        env=script_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 120
    while not any(fold.glob("checkpoints/CKPT+*")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopping after this update" in said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert not (fold / "running.json").exists()
    assert json.loads((fold / "run.json").read_text())["threads"] == 1
