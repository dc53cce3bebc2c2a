"""``sercorr jobs``: what became of works, from their records and logs."""

import os
import sys
from pathlib import Path

import pytest
from speechbrain.utils.run_opts import RunOptions

from sercorr.cli import main
from sercorr.training.launcher.launch import Stage, run_stages
from sercorr.training.launcher.options import Launch
from sercorr.training.launcher.table import last_bar
from sercorr.training.launcher.works import Work, launch_lock, write_works


def work(root: Path, name: str, code: str) -> Work:
    return Work(name, [sys.executable, "-c", code], root)


def launch(root: Path, works: list[Work]) -> None:
    run_stages([Stage([], works)], root, Launch(2), 1, RunOptions())


def jobs_of(folder: Path, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["jobs", str(folder)])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_a_table_of_what_became_of_works(tmp_path, capsys):
    works = [
        work(tmp_path, "bad", "import sys; sys.exit('error: no such file [a.wav]')"),
        work(tmp_path, "good", "pass"),
    ]
    launch(tmp_path, works)
    capsys.readouterr()
    status, text = jobs_of(tmp_path, capsys)
    assert status == 1
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "failed" in rows["bad"]
    assert "no such file [a.wav]" in rows["bad"]
    assert "done" in rows["good"]
    assert "1 of 2 done, 1 failed" in text
    assert "give the same command again" in text
    launch(tmp_path, [work(tmp_path, "good", "pass")])
    status, text = jobs_of(tmp_path, capsys)
    assert status == 0
    assert f"sercorr results {tmp_path}" in text
    launch(tmp_path, [work(tmp_path, "features 1 of 1", "pass")])
    assert f"sercorr cache info {tmp_path}" in jobs_of(tmp_path, capsys)[1]


def test_works_that_nobody_will_start_are_lost(tmp_path, capsys):
    write_works(tmp_path, [work(tmp_path, "part", "pass")])
    with launch_lock(tmp_path):
        assert jobs_of(tmp_path, capsys)[0] == 0
    status, text = jobs_of(tmp_path, capsys)
    assert status == 1
    assert "the command that would have started it is gone" in text
    assert f"cd {os.getcwd()} && python " in text


def test_a_work_whose_process_is_gone_is_lost(tmp_path, capsys):
    one = work(tmp_path, "part", "pass")
    launch(tmp_path, [one])
    one.note(state="running")  # as a machine that lost its power leaves it
    capsys.readouterr()
    status, text = jobs_of(tmp_path, capsys)
    assert status == 1
    assert "lost" in text
    assert "its process is gone" in text


def test_a_folder_without_a_launch(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["jobs", str(tmp_path)])
    assert ended.value.code == 2
    assert "nothing was launched here" in capsys.readouterr().err


def test_bars_of_logs():
    text = (
        "hashing audio: 100%|####| 9/9 [00:00<00:00, 9.1file/s]\n"
        "8 heads:  10%|#    | 100/1000 [00:20<03:00, 5.0update/s, loss=1.2, "
        "best valid WA=61.2 %]\r"
        "8 heads:  12%|#    | 120/1000 [00:24<02:56, 5.0update/s, loss=1.1, "
        "best valid WA=61.2 %]"
    )
    bar = last_bar(text)
    assert (bar.what, bar.done, bar.left) == ("8 heads", 0.12, "02:56")
    assert bar.says == "loss=1.1, best valid WA=61.2 %"
    bar = last_bar(
        "extracting 400 clips  43%|###|  31.2 audio-seconds/s [00:20, 00:30 left]"
    )
    assert (bar.done, bar.left, bar.says) == (0.43, "00:30", "31.2 audio-seconds/s")
    assert last_bar("hashing audio:  10%|#| 1/9 [00:00<00:01, 9.1file/s]").done is None
    assert last_bar("error: something") is None
