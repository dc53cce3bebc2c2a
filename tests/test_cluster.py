"""Jobs of a cluster: through submitit's local executor, and with stand-ins for Slurm.

A real Slurm is in `test_slurm`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from speechbrain.utils.run_opts import RunOptions

from sercorr.errors import InputError
from sercorr.training.experiment import run_experiment
from sercorr.training.folds import run_folds
from sercorr.training.grid import run_grid
from sercorr.training.launcher.cluster import (
    last_words,
    queue_states,
    refuse_queued,
    submit,
    submit_stages,
)
from sercorr.training.launcher.extraction import extract_features
from sercorr.training.launcher.launch import Stage, run_stages
from sercorr.training.launcher.options import Launch
from sercorr.training.launcher.slurm import sbatch_parameters
from sercorr.training.launcher.works import (
    DONE,
    FAILED,
    RUNNING,
    Work,
    read_works,
    write_works,
)


def python(name: str, root: Path, code: str) -> Work:
    return Work(name, [sys.executable, "-c", code], root)


def wait_for_end(root: Path, seconds: float = 60) -> dict[str, dict]:
    """Wait until no job is left; return the records of the works by name."""
    end = time.monotonic() + seconds
    while queue_states(read_works(root)) and time.monotonic() < end:
        time.sleep(0.1)
    return {work.name: work.record for work in read_works(root)}


def test_submitits_local_executor_runs_stages_in_order(tmp_path):
    code = f"""
import os
with open({str(tmp_path / "order")!r}, "a") as file:
    print({{!r}}, os.environ["OMP_NUM_THREADS"], file=file)
{{}}"""
    first = [python("a", tmp_path, code.format("a", ""))]
    second = [python("b", tmp_path, code.format("b", "1 / 0"))]
    last = [python("last", tmp_path, code.format("last", ""))]
    write_works(tmp_path, [*first, *second, *last])
    submit_stages([(first, second)], last, tmp_path, Launch(1, "local"), threads=3)
    records = wait_for_end(tmp_path)
    assert (tmp_path / "order").read_text().split() == "a 3 b 3 last 3".split()
    assert [one["state"] for one in records.values()] == [DONE, FAILED, DONE]
    assert records["b"]["message"] == "ZeroDivisionError: division by zero"
    # what depends on the failed one is not begun
    with pytest.raises(InputError, match="^b: failed; see sercorr jobs"):
        submit(
            last,
            tmp_path,
            launcher="local",
            options={},
            at_once=1,
            after=[records["b"]["job"]],
        )


def test_a_job_that_is_stopped_goes_on(tmp_path):
    code = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
been = pathlib.Path({str(tmp_path / "been")!r})
if not been.exists():
    been.touch()
    time.sleep(60)
"""
    write_works(tmp_path, works := [python("a", tmp_path, code)])
    options = {"launcher": "local", "options": {}, "at_once": 1}
    [job] = submit(works, tmp_path, **options)
    end = time.monotonic() + 30
    while not (tmp_path / "been").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert queue_states(read_works(tmp_path)) == {job: RUNNING.upper()}
    with pytest.raises(InputError, match=rf"1 jobs .* are in the queue: {job};"):
        refuse_queued(tmp_path)
    os.kill(int(job), signal.SIGTERM)
    record = wait_for_end(tmp_path)["a"]
    assert (record["state"], record["starts"], record["job"]) == (DONE, 2, job)
    refuse_queued(tmp_path)


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Path:
    """A folder of stand-ins for Slurm's commands, the only ones on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        stand_in(folder, name, "exit 0")
    return folder


def stand_in(folder: Path, name: str, code: str) -> None:
    """Write a command that notes how it was called."""
    file = folder / name
    file.write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/calls\n{code}\n')
    file.chmod(0o755)


# It keeps what it gets, and refuses the third. It must not know of a job around it.
SBATCH = """
[ -z "$SLURM_CPUS_PER_TASK" ] || exit 1
number=0
while [ -e {folder}/script$number ]; do number=$((number + 1)); done
if [ $number = 2 ]; then
    echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2
    echo 'sbatch: error: Batch job submission failed: Job violates a policy' >&2
    exit 1
fi
while read -r line; do echo "$line"; done < $1 > {folder}/script$number
echo Submitted batch job $((number + 7))
"""


def test_what_is_submitted_and_what_a_refusal_undoes(
    tmp_path, commands, monkeypatch, capfd
):
    stand_in(commands, "sbatch", SBATCH.format(folder=commands))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "99")  # as within a job
    first = [Work(f"a {n}", ["true"], tmp_path) for n in range(2)]
    second, last = [[Work(name, ["true"], tmp_path)] for name in ("b", "last")]
    write_works(tmp_path, [*first, *second, *last])
    launch = Launch(1, "slurm", {"partition": "gpu", "time": "2:00:00"})
    refusal = (
        "^Slurm refuses the jobs: QOSMaxSubmitJobPerUserLimit; Batch job submission "
        "failed: Job violates a policy$"
    )
    with pytest.raises(InputError, match=refusal):
        submit_stages([(first, second)], last, tmp_path, launch, threads=4)
    assert capfd.readouterr() == ("", "")
    jobs = [work.record.get("job") for work in read_works(tmp_path)]
    assert jobs == ["7_0", "7_1", "8", None]
    assert (commands / "calls").read_text().split("\n")[-2] == "scancel 7 8"
    scripts = [(commands / f"script{n}").read_text().split("\n") for n in range(2)]
    given = [
        dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in script)
        for script in scripts
    ]
    for script, options in zip(scripts, given, strict=True):
        assert options["partition"] == "gpu"
        assert options["time"] == "2:00:00"
        assert options["cpus-per-task"] == "4"
        assert options["ntasks"] == "1"
        assert "#SBATCH --requeue" in script
        assert "--ntasks=1 --cpus-per-task=4" in script[-2]
    assert given[0]["array"] == "0-1%1"
    assert given[1]["dependency"] == "afterok:7"
    assert os.environ["SLURM_CPUS_PER_TASK"] == "99"


def test_the_time_limit_is_slurms_own_unless_it_is_given(tmp_path, commands):
    stand_in(commands, "sbatch", SBATCH.format(folder=commands))
    write_works(tmp_path, works := [Work("a", ["true"], tmp_path)])
    submit(works, tmp_path, launcher="slurm", options={}, at_once=None)
    assert "--time" not in (commands / "script0").read_text()


def test_the_queue_is_read_and_a_second_launch_refused(tmp_path, commands):
    works = [Work(name, ["true"], tmp_path) for name in "abcd"]
    for work, job in zip(works, ("7_0", "7_1", "8", "9"), strict=True):
        work.record |= {"launcher": "slurm", "job": job}
    works[3].record["state"] = DONE
    write_works(tmp_path, works)
    answer = "7_0|RUNNING|None\n7_1|PENDING|Priority\n7_2|PENDING|Priority"
    stand_in(commands, "squeue", f"echo '{answer}'")
    assert queue_states(works) == {"7_0": "RUNNING", "7_1": "PENDING (Priority)"}
    message = r"2 jobs .* are in the queue: 7; wait .* end them: scancel 7$"
    with pytest.raises(InputError, match=message):
        refuse_queued(tmp_path)
    assert (commands / "calls").read_text().split("\n")[-2].endswith("--jobs=7,8")
    # so it answers when it has forgotten the only job that it is asked for
    error = "slurm_load_jobs error: Invalid job id specified"
    stand_in(commands, "squeue", f"echo '{error}' >&2; exit 1")
    refuse_queued(tmp_path)
    error = "squeue: error: Unable to contact slurm controller"
    stand_in(commands, "squeue", f"echo '{error}' >&2; exit 1")
    with pytest.raises(InputError, match=f"^Slurm does not answer: {error}$"):
        refuse_queued(tmp_path)


def test_a_machine_without_slurm_or_submitit(tmp_path, commands, monkeypatch):
    works = [Work("a", ["true"], tmp_path)]
    (commands / "sbatch").unlink()
    with pytest.raises(
        InputError, match="^--launcher slurm: no sbatch on this machine"
    ):
        submit(works, tmp_path, launcher="slurm", options={}, at_once=None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"pip install 'sercorr\[slurm\]'$"):
        submit(works, tmp_path, launcher="slurm", options={}, at_once=None)
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"array": "0-3"}, "--slurm_array is not for this program"),
        ({"ntasks-per-node": "2"}, "--slurm_ntasks_per_node is not for this program"),
        ({"mem": ""}, "--slurm_mem is ''; give a value on one line"),
        ({"mem": "1G\n#SBATCH --x"}, r"--slurm_mem is '1G\\n#SBATCH --x'"),
        ({"mem\n": "1G"}, "sbatch has no such option"),
        ({"time": "4"}, r"--slurm_time is 4 \(4 minutes\); give 5 or more"),
        ({"time": "0:4:30"}, r"--slurm_time is 0:4:30 \(4.5 minutes\)"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        sbatch_parameters(options)


def test_options_take_the_place_of_defaults():
    given = {"requeue", "cpus-per-task", "job-name", "ntasks"}
    assert sbatch_parameters({}).keys() == given
    assert sbatch_parameters({"no-requeue": "true"}) == {
        "job-name": "sercorr",
        "ntasks": "1",
        "cpus-per-task": "1",
        "no-requeue": True,
    }
    assert "cpus-per-task" not in sbatch_parameters({"cpus-per-gpu": "8"})
    assert sbatch_parameters({"cpus-per-task": "8"}, threads=2)["cpus-per-task"] == "8"
    assert sbatch_parameters({"time": "1", "signal": "USR2@20"})["time"] == "1"
    any_end = sbatch_parameters({}, after=["7_0", "7_1", "8"], any_end=True)
    assert any_end["dependency"] == "afterany:7:8"


def test_the_last_error_of_slurms_log(tmp_path):
    work = Work("a", ["true"], tmp_path)
    assert last_words(work) == ""
    work.record["job"] = "7_0"
    log = tmp_path / "jobs/.slurm/7_0_0_log.err"
    log.parent.mkdir(parents=True)
    log.write_text(
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0\n"
        "srun: error: node3: task 0: Out Of Memory\n"
        "srun: Force Terminated StepId=7.0\n"
    )
    assert last_words(work) == "srun: error: node3: task 0: Out Of Memory"


def test_what_a_job_runs_needs_neither_torch_nor_speechbrain():
    code = (
        "import sys, sercorr.training.launcher.job; "
        "sys.exit(bool({'torch', 'speechbrain'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_program_on_its_way_out_takes_no_notice_of_a_second_sigterm():
    code = """
import signal, sys, time
from sercorr.errors import run_program
def main():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGTERM)
        print("saved", flush=True)
run_program(main)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (130, b"saved\n")


def test_nothing_is_read_where_slurm_is_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["no.yaml", "--launcher", "slurm", "--slurm_mem", "1G"]
    for program in (run_grid, run_experiment, extract_features):
        with pytest.raises(InputError, match="no sbatch on this machine"):
            program(words)
    with pytest.raises(InputError, match="no sbatch on this machine"):
        run_folds("train.py", words)


def test_works_that_slurm_refuses_are_on_record_as_such(tmp_path, commands):
    stand_in(commands, "sbatch", "echo sbatch: error: invalid account >&2; exit 1")
    works = [python("a", tmp_path, "pass")]
    with pytest.raises(InputError, match="^Slurm refuses the jobs: .*invalid account"):
        run_stages([Stage([], works)], tmp_path, Launch(None, "slurm"), 1, RunOptions())
    found = {work.name: work.record for work in read_works(tmp_path)}
    assert {one["state"] for one in found.values()} == {FAILED}
    assert "not submitted: Slurm refuses the jobs" in found["a"]["message"]
