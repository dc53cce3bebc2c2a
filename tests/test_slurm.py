"""Launches on a real Slurm of one node, see `slurm_node`: ``make test-slurm``."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from releases import make_release
from runs import command_line, outcome, run_script
from slurm_node import Node, install, running_node, slurm, wait_for

from sercorr.errors import InputError
from sercorr.training.launcher.cluster import (
    last_words,
    queue_states,
    refuse_queued,
    submit,
    submit_stages,
)
from sercorr.training.launcher.options import Launch
from sercorr.training.launcher.works import (
    DONE,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    Work,
    read_works,
    write_works,
)

if "SERCORR_TEST_SLURM" not in os.environ:
    pytest.skip("it starts Slurm: make test-slurm", allow_module_level=True)

# Counts to the second number in tenths of a second, in a file, from where it stopped.
COUNT = """
import pathlib, signal, sys, time
file, goal, stop = pathlib.Path(sys.argv[1]), int(sys.argv[2]), []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
print("ready", flush=True)
number = int(file.read_text()) if file.exists() else 0
while number < goal and not stop:
    time.sleep(0.1)
    number += 1
file.write_text(str(number))
sys.exit(0 if number == goal else 130)
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Iterator[Node]:
    if to_do := install():
        pytest.exit(f"Slurm: {to_do}", returncode=2)
    with running_node(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(autouse=True)
def empty_queue(node) -> Iterator[None]:
    yield
    slurm("scancel", "--me")
    wait_for(lambda: not slurm("squeue", "-h"), "an empty queue")


def python(name: str, root: Path, code: str, *arguments: object) -> Work:
    return Work(name, [sys.executable, "-c", code, *map(str, arguments)], root)


def counting(root: Path, goal: int, name: str = "count") -> Work:
    return python(name, root, COUNT, root / f"{name}.txt", goal)


def count_is_ready(root: Path) -> None:
    """Wait until the program takes SIGTERM."""
    log = root / "jobs/count/output.txt"
    wait_for(lambda: log.exists() and log.read_text(), "the program")


def ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def launch(root: Path, works: Sequence[Work], **options: str) -> list[str]:
    write_works(root, works)
    return submit(works, root, launcher="slurm", options=options, at_once=None)


def record(root: Path, place: int = 0) -> dict:
    return read_works(root)[place].record


def reach(root: Path, *states: str) -> dict:
    wait_for(lambda: record(root)["state"] in states, f"{states}: {record(root)}", 90)
    return record(root)


def gone(root: Path) -> bool:
    return not queue_states(read_works(root))


def hurry(job: str) -> None:
    """Let a requeued job start: Slurm would wait for two minutes."""
    wait_for(lambda: "PENDING" in slurm("squeue", "-h", "-j", job, "-o", "%T"), "it")
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_arrays_run_in_their_order_and_the_last_work_in_any_case(tmp_path):
    file = tmp_path / "order.txt"
    code = f"print('x', file=open({str(file)!r}, 'a')); 1 / {{}}"
    code = "import os; print(os.environ['OMP_NUM_THREADS']); " + code

    def works(stage: str, *numbers: int) -> list[Work]:
        names = [f"{stage} {place}" for place in range(len(numbers))]
        return [
            python(name, tmp_path, code.replace("'x'", repr(name)).format(number))
            for name, number in zip(names, numbers, strict=True)
        ]

    good, bad = (works("a", 1, 1), works("b", 1)), (works("c", 1, 0), works("d", 1))
    last = works("last", 1)
    write_works(tmp_path, [*good[0], *good[1], *bad[0], *bad[1], *last])
    submit_stages([good, bad], last, tmp_path, Launch(1, "slurm"), threads=2)
    wait_for(lambda: gone(tmp_path), "the end", 120)
    order = file.read_text().split("\n")
    assert sorted(order[:-1]) == ["a 0", "a 1", "b 0", "c 0", "c 1", "last 0"]
    assert order.index("b 0") > max(order.index("a 0"), order.index("a 1"))
    assert order[-2] == "last 0"
    ended = {work.name: work.record for work in read_works(tmp_path)}
    assert [ended[name]["state"] for name in ("a 1", "b 0", "c 0", "last 0")] == [
        DONE
    ] * 4
    assert ended["c 1"]["state"] == FAILED
    assert ended["c 1"]["message"] == "ZeroDivisionError: division by zero"
    assert ended["d 0"]["state"] == WAITING  # its jobs can never be started
    assert ended["a 1"]["job"].endswith("_1")
    assert (tmp_path / "jobs/a_0/output.txt").read_text() == "2\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "gpu"}, "invalid partition specified: gpu; "),
        ({"mem": "900T"}, "Memory specification can not be satisfied; "),
        ({"gpus": "1"}, "Invalid generic resource (gres) specification"),
        ({"colour": "red"}, "unrecognized option '--colour=red'"),
    ],
)
def test_a_refusal_is_in_slurms_words(tmp_path, capfd, options, words):
    with pytest.raises(InputError) as refused:
        launch(tmp_path, [counting(tmp_path, 1)], **options)
    assert str(refused.value).startswith(f"Slurm refuses the jobs: {words}")
    assert "job" not in record(tmp_path)
    assert capfd.readouterr().err == ""


def test_a_second_launch_is_refused_while_jobs_are_in_the_queue(tmp_path):
    launch(tmp_path, [counting(tmp_path, 1), counting(tmp_path, 1, "b")], hold="true")
    array = record(tmp_path)["job"].partition("_")[0]
    message = f"2 jobs .* are in the queue: {array}; .* end them: scancel {array}$"
    with pytest.raises(InputError, match=message):
        refuse_queued(tmp_path)
    assert queue_states(read_works(tmp_path)) == {
        f"{array}_{place}": "PENDING (JobHeldUser)" for place in range(2)
    }
    slurm("scancel", array)
    wait_for(lambda: gone(tmp_path), "the end")
    refuse_queued(tmp_path)


def test_sigterm_saves_and_requeues(tmp_path):
    [job] = launch(tmp_path, [counting(tmp_path, 60)])
    reach(tmp_path, RUNNING)
    count_is_ready(tmp_path)
    slurm("scancel", "--signal=TERM", job)
    reach(tmp_path, WAITING)
    assert 0 <= int((tmp_path / "count.txt").read_text()) < 60
    hurry(job)
    assert reach(tmp_path, DONE)["starts"] == 2
    assert (tmp_path / "count.txt").read_text() == "60"


def test_preemption_saves_and_requeues(tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    [job] = launch(low, [counting(low, 100)], exclusive="true")
    reach(low, RUNNING)
    count_is_ready(low)
    launch(high, [counting(high, 5)], partition="high", exclusive="true")
    reach(low, WAITING)
    reach(high, DONE)
    hurry(job)
    assert reach(low, DONE)["starts"] == 2
    assert (low / "count.txt").read_text() == "100"


def test_a_run_longer_than_the_time_limit_ends_in_the_end(tmp_path):
    options = {"time": "1", "signal": "USR2@40"}
    [job] = launch(tmp_path, [counting(tmp_path, 330)], **options)
    reach(tmp_path, RUNNING)
    while reach(tmp_path, WAITING, DONE)["state"] == WAITING:
        hurry(job)
        reach(tmp_path, RUNNING)
    assert record(tmp_path)["starts"] > 1
    assert (tmp_path / "count.txt").read_text() == "330"


def test_a_cancelled_job_saves_and_is_not_requeued(tmp_path):
    [job] = launch(tmp_path, [counting(tmp_path, 600)])
    reach(tmp_path, RUNNING)
    count_is_ready(tmp_path)
    slurm("scancel", job)
    reach(tmp_path, STOPPED)
    wait_for(lambda: gone(tmp_path), "the end")
    assert record(tmp_path)["state"] == STOPPED
    assert record(tmp_path)["starts"] == 1
    assert int((tmp_path / "count.txt").read_text()) < 600


def test_a_killed_command_has_failed(tmp_path):
    launch(tmp_path, [counting(tmp_path, 600)])
    psutil.Process(reach(tmp_path, RUNNING)["pid"]).kill()
    assert "killed by SIGKILL" in reach(tmp_path, FAILED)["message"]
    wait_for(lambda: gone(tmp_path), "the end")


def test_a_killed_job_takes_its_command_along_and_is_lost(tmp_path):
    launch(tmp_path, [counting(tmp_path, 600)])
    command = psutil.Process(reach(tmp_path, RUNNING)["pid"])
    command.parent().kill()
    wait_for(lambda: gone(tmp_path), "the end")
    wait_for(lambda: ended(command), "its end")
    assert record(tmp_path)["state"] == RUNNING
    assert "Killed" in last_words(read_works(tmp_path)[0])


def test_a_work_goes_on_when_its_node_is_back(tmp_path, node):
    [job] = launch(tmp_path, [counting(tmp_path, 50)])
    command = psutil.Process(reach(tmp_path, RUNNING)["pid"])
    node.kill()
    wait_for(lambda: ended(command), "its end")
    wait_for(lambda: "PENDING" in queue_states(read_works(tmp_path))[job], "requeuing")
    node.start()
    time.sleep(10)  # slurmctld 22.05 crashes if a job starts there too soon
    hurry(job)
    assert reach(tmp_path, DONE)["starts"] == 2


def test_a_folder_that_the_node_cannot_see(tmp_path):
    root = tmp_path / "root"
    [job] = launch(root, [counting(root, 1)], hold="true")
    root.rename(tmp_path / "elsewhere")
    slurm("scontrol", "release", job)
    wait_for(lambda: not slurm("squeue", "-h"), "the end")
    (tmp_path / "elsewhere").rename(root)
    assert record(root)["state"] == WAITING
    assert gone(root)
    assert last_words(read_works(root)[0]) == ""


def test_a_folder_for_commands_that_the_node_cannot_see(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    work = counting(tmp_path, 1)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "here")
    launch(tmp_path, [work])
    message = f"{tmp_path / 'here'}: No such file or directory on "
    assert reach(tmp_path, FAILED)["message"].startswith(message)


def test_a_training_that_is_stopped_and_killed_ends_with_the_same_bytes(tmp_path):
    release = make_release(tmp_path / "release", odd=False)
    changes = {"updates_per_epoch": 300, "ckpt_interval_steps": 20, "folds": "1,2"}
    changes |= {"num_workers": 1, "cache_folder": tmp_path / "store"}
    plain, root = tmp_path / "plain", tmp_path / "slurm"

    def run(output: Path, *options: str) -> None:
        line = [*command_line(release, output, **changes), *options]
        done = run_script("run_folds.py", line)
        assert done.returncode == 0, done.stderr

    def checkpoints() -> set[Path]:
        return set((root / "fold_1/checkpoints").glob("CKPT+*"))

    run(plain, "--jobs", "1")
    run(root, "--launcher", "slurm")
    work = next(work for work in read_works(root) if work.name == "fold 1")
    wait_for(checkpoints, "a checkpoint", 120)
    slurm("scancel", "--signal=TERM", work.record["job"])
    wait_for(lambda: Work.read(work.folder).record["state"] == WAITING, "requeuing")
    before = checkpoints()
    assert before
    hurry(work.record["job"])
    wait_for(lambda: checkpoints() - before, "another checkpoint", 120)
    os.kill(Work.read(work.folder).record["pid"], signal.SIGKILL)
    wait_for(lambda: gone(root), "the end", 120)
    ended = Work.read(work.folder).record
    assert (ended["state"], ended["starts"]) == (FAILED, 2)
    run(root, "--launcher", "slurm")
    wait_for(lambda: gone(root), "the end", 120)
    assert {work.record["state"] for work in read_works(root)} == {DONE}
    for fold in (1, 2):
        assert outcome(root, fold) == outcome(plain, fold)
