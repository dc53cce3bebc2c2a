"""Checkpoints: whole or absent, whenever a save or a removal is cut short."""

import os
import shutil

import pytest
import torch
from caches import remount, small_disk
from speechbrain.utils.checkpoints import Checkpointer

from sercorr.errors import InputError
from sercorr.files import write_text
from sercorr.training.checkpoints import AtomicCheckpointer, best_first, is_scored


def test_a_full_disk_is_named(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        parts = {"head": torch.nn.Linear(100, 400)}
        checkpointer = AtomicCheckpointer(disk / "checkpoints", parts)
        with pytest.raises(InputError, match="a checkpoint cannot be written .*free"):
            checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
        assert checkpointer.list_checkpoints() == []
        remount(disk, "size=1m")
        checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
        assert len(checkpointer.list_checkpoints()) == 1


def test_a_file_that_a_full_disk_does_not_take_is_named(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        write_text(disk / "whole.json", "old")
        with pytest.raises(OSError, match="No space left") as raised:
            write_text(disk / "whole.json", "x" * 100_000)
        assert raised.value.filename == str(disk / "whole.json")
        assert [path.name for path in disk.iterdir()] == ["whole.json"]
        assert (disk / "whole.json").read_text() == "old"


class Cut(BaseException):
    """Stands for a kill: nothing but the test may catch it."""


def make(folder, value: float = 0.0) -> tuple[AtomicCheckpointer, dict]:
    parts = {name: torch.nn.Linear(1, 1, bias=False) for name in ("head", "other")}
    checkpointer = AtomicCheckpointer(folder, parts)
    checkpointer.remove_leftovers()
    fill(parts, value)
    return checkpointer, parts


def fill(parts: dict, value: float) -> None:
    for part in parts.values():
        torch.nn.init.constant_(part.weight, value)


def values(parts: dict) -> list[float]:
    return [part.weight.item() for part in parts.values()]


def recovered(folder) -> list[float]:
    checkpointer, parts = make(folder)
    checkpointer.recover_if_possible()
    return values(parts)


def save_scores(checkpointer, parts, scores: dict[int, float]) -> None:
    for epoch, score in scores.items():
        fill(parts, float(epoch))
        checkpointer.save_and_keep_only(
            meta={"epoch": epoch, "valid_wa": score},
            importance_keys=[best_first("wa")],
            ckpt_predicate=is_scored,
        )


def test_nothing_is_written_before_the_first_checkpoint(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path / "deep" / "down")
    assert checkpointer.list_checkpoints() == []
    assert checkpointer.recover_if_possible() is None
    assert list(tmp_path.iterdir()) == []


def test_a_round_trip(tmp_path):
    checkpointer, parts = make(tmp_path, 3.0)
    saved = checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    assert saved in checkpointer.list_checkpoints()
    assert saved.meta["valid_wa"] == 50.0
    assert [path.name for path in tmp_path.iterdir()] == [saved.path.name]
    fill(parts, 9.0)
    checkpointer.load_checkpoint(saved)
    assert values(parts) == [3.0, 3.0]
    assert recovered(tmp_path) == [3.0, 3.0]


@pytest.mark.parametrize(
    ("owner", "name", "nth"),
    [(torch, "save", 0), (torch, "save", 1), (os, "replace", 0)],
)
def test_a_save_cut_short_leaves_the_one_before(
    tmp_path, monkeypatch, owner, name, nth
):
    checkpointer, parts = make(tmp_path, 1.0)
    checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    fill(parts, 2.0)
    original, calls = getattr(owner, name), []

    def cut(*arguments, **options):
        if len(calls) == nth:
            raise Cut
        calls.append(1)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, cut)
        with pytest.raises(Cut):
            checkpointer.save_checkpoint({"epoch": 2, "valid_wa": 60.0})
    assert recovered(tmp_path) == [1.0, 1.0]
    assert len(list(tmp_path.iterdir())) == 1  # what was begun is cleared away
    again, parts = make(tmp_path, 2.0)
    again.save_checkpoint({"epoch": 2, "valid_wa": 60.0})
    assert recovered(tmp_path) == [2.0, 2.0]


def test_saving_goes_on_in_the_right_folder_after_an_error(tmp_path, monkeypatch):
    checkpointer, parts = make(tmp_path, 1.0)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    assert checkpointer.list_checkpoints() == []
    fill(parts, 2.0)
    checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    assert recovered(tmp_path) == [2.0, 2.0]


@pytest.mark.parametrize("lost", ["CKPT.yaml", "head.ckpt", "other.ckpt"])
def test_a_removal_cut_short_is_finished(tmp_path, lost):
    checkpointer, parts = make(tmp_path, 1.0)
    checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    fill(parts, 2.0)
    newest = checkpointer.save_checkpoint({"epoch": 2, "valid_wa": 60.0})
    (newest.path / lost).unlink()
    assert recovered(tmp_path) == [1.0, 1.0]
    assert not newest.path.exists()


def test_only_an_empty_folder_left_of_a_removal(tmp_path):
    checkpointer, _ = make(tmp_path, 1.0)
    saved = checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    shutil.rmtree(saved.path)
    saved.path.mkdir()
    again, parts = make(tmp_path, 7.0)
    assert again.recover_if_possible() is None
    assert values(parts) == [7.0, 7.0]


def test_best_and_newest_are_kept(tmp_path):
    checkpointer, parts = make(tmp_path)
    save_scores(checkpointer, parts, {1: 50.0, 2: 70.0, 3: 60.0, 4: 40.0})
    kept = {c.meta["epoch"] for c in checkpointer.list_checkpoints()}
    assert kept == {2, 4}
    assert recovered(tmp_path) == [4.0, 4.0]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({1: 50.0, 2: 60.0, 3: 60.0, 4: 60.0}, 2),
        ({1: 50.0, 2: 50.0, 3: 50.0}, 1),
        ({1: 60.0, 2: 50.0, 3: 60.0}, 1),
        ({1: 10.0, 2: 20.0, 3: 30.0}, 3),
        ({9: 50.0, 10: 50.0}, 9),
    ],
)
def test_the_best_is_the_earliest_of_equals(tmp_path, scores, best):
    checkpointer, parts = make(tmp_path)
    save_scores(checkpointer, parts, scores)
    checkpointer.recover_if_possible(
        importance_key=best_first("wa"), ckpt_predicate=is_scored
    )
    assert values(parts) == [float(best)] * 2


def test_checkpoints_within_an_epoch_are_not_scored(tmp_path):
    checkpointer, parts = make(tmp_path)
    save_scores(checkpointer, parts, {1: 50.0})
    fill(parts, 5.0)
    checkpointer.save_checkpoint({"intra": True}, end_of_epoch=False)
    found = checkpointer.find_checkpoint(
        importance_key=best_first("wa"), ckpt_predicate=is_scored
    )
    assert found.meta["epoch"] == 1
    assert recovered(tmp_path) == [5.0, 5.0]  # resuming takes the newest of all


def test_speechbrains_own_checkpointer_reads_them(tmp_path):
    checkpointer, _ = make(tmp_path, 4.0)
    checkpointer.save_checkpoint({"epoch": 1, "valid_wa": 50.0})
    parts = {name: torch.nn.Linear(1, 1, bias=False) for name in ("head", "other")}
    Checkpointer(tmp_path, parts).recover_if_possible()
    assert values(parts) == [4.0, 4.0]
