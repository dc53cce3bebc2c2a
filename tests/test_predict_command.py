"""`sercorr predict`: what is classified, and how the answers are written."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
from predicting import Loudness, predict, write_clip, write_clips
from releases import make_release
from rich.cells import cell_len
from runs import train

from sercorr.cli import main
from sercorr.inference.inputs import find_inputs, read_list
from sercorr.inference.prediction import Prediction, Segment
from sercorr.inference.rows import TableRows


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, new and empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("stored", [False, True])
def test_the_answers_are_those_of_the_run(here, capsys, stored):
    release = make_release(here / "release", odd=False)
    changes = {"cache_folder": here / "cache"} if stored else {}
    train(release, here / "run", fold=2, **changes)
    truth = {
        row["file"].format(data_root="release"): row
        for row in read_csv(Path("run/fold_2/predictions.csv").read_text())
    }
    capsys.readouterr()
    files = sorted(truth, reverse=True)
    words = ["--model", "run", "--fold", "2", "--device", "cpu", "--format", "csv"]
    for paths, wanted in ((["release/Session2"], files[::-1]), (files, files)):
        with pytest.raises(SystemExit, match="^0$"):
            main(["predict", *paths, *words])
        found = read_csv(capsys.readouterr().out)
        assert [row["file"] for row in found] == wanted
        for row in found:
            known = truth[row["file"]]
            assert row["emotion"] == known["prediction"]
            for label in ("neu", "hap", "ang", "sad"):
                wanted_score = pytest.approx(float(known[label]), abs=2e-6)
                assert float(row[label]) == wanted_score


def test_audformat_reads_the_csv(here):
    audformat = pytest.importorskip("audformat")
    write_clip(here / "a, b.wav", 2.5)
    options = ("--window", 1, "--hop", 0.75, "--outfile", "out.csv")
    assert predict(here / "a, b.wav", *options) == 0
    table = audformat.utils.read_csv("out.csv")
    assert audformat.is_segmented_index(table.index)
    assert set(table.index.get_level_values("file")) == {str(here / "a, b.wav")}
    starts, ends = (
        table.index.get_level_values(name).total_seconds().tolist()
        for name in ("start", "end")
    )
    assert starts == [0, 0.75, 1.5]
    assert ends == [1, 1.75, 2.5]
    assert table.columns.tolist() == ["emotion", "quiet", "loud"]
    assert table.loud.tolist() == pytest.approx([0.2501] * 3, abs=1e-6)


def test_what_a_folder_and_a_pattern_mean(here):
    names = ["d/10.wav", "d/9.FLAC", "d/e f/日本 é.ogg", "d/e f/2.wav"]
    left_out = ["d/._9.wav", "d/.git/x.wav", "d/notes.txt", "d/song.m4a"]
    for name in names + left_out:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("d/e f/back").symlink_to(here / "d")  # a circle
    Path("[x].wav").touch()

    def files(*paths):
        return [clip.file for clip in find_inputs(paths)]

    assert files("d") == ["d/9.FLAC", "d/10.wav", "d/e f/2.wav", "d/e f/日本 é.ogg"]
    assert files("./d/10.wav", "d") == ["./d/10.wav", *files("d")[::2], files("d")[3]]
    assert files("d/**/*.wav") == ["d/10.wav", "d/e f/2.wav"]
    assert files("d/*") == files("d")
    assert files("[x].wav", "gone.wav", "d/notes.txt") == [
        "[x].wav",
        "gone.wav",
        "d/notes.txt",
    ]


def test_a_list_of_parts(here, capsys):
    write_clip(here / "calls" / "ü.wav", 3.0)
    lines = "speaker,file,end,start\nA,ü.wav,,\nB,ü.wav,2.5,0 days 00:00:00.500000\n"
    Path("calls/list.csv").write_text(lines, encoding="utf-8-sig", newline="\r\n")
    Path("calls/more.csv").write_text(
        "file,start,end\nü.wav,0.5,\nü.wav,NaT,\nü.wav,0.5,1.25\n"
    )
    assert read_list("calls/list.csv") == [
        Segment("calls/ü.wav", 0, None),
        Segment("calls/ü.wav", 0.5, 2.5),
    ]
    arguments = ("calls", "--list", "calls/list.csv", "--format", "csv")
    assert predict(*arguments) == 0
    found = read_csv(capsys.readouterr().out)
    assert [(row["file"], row["start"], row["end"]) for row in found] == [
        ("calls/ü.wav", "0.0", "3.0"),
        ("calls/ü.wav", "0.5", "2.5"),
    ]
    assert predict("--list", "calls/more.csv", "--format", "csv") == 0
    found = read_csv(capsys.readouterr().out)
    assert [row["start"] for row in found] == ["0.5", "0.0", "0.5"]
    assert [row["end"] for row in found] == ["3.0", "3.0", "1.25"]


def test_lists_of_other_programs(here):
    whole = "FILE;Start;end\nü.wav;0.5;1\n"
    wanted = [Segment("ü.wav", 0.5, 1.0)]
    for encoding in ("latin-1", "utf-16", "utf-8-sig"):
        Path("list.csv").write_text(whole, encoding=encoding)
        assert read_list("list.csv") == wanted
    Path("list.jsonl").write_text('{"file": "ü.wav", "end": 1, "start": 0.5}\n')
    assert read_list("list.jsonl") == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows"),
        (b"path;start\na.wav;1\n", "no column named file, but path, start"),
        (b"file\n", "no rows"),
        (b"file\na.wav\0\n", "not text"),
        (b"file;start\na.wav;1,5\n", "line 2: start is '1,5', with a comma; write"),
        (b"file,start\na.wav,1\nb.wav,soon\n", "line 3: start is 'soon'; give seconds"),
        (b"file,start\na.wav,inf\n", "line 2: start is 'inf'; give seconds"),
        (b"file,start,end\na.wav,2,1\n", "line 2: start is 2 and end 1; it must be"),
        (b"file,start\na.wav,-1\n", "line 2: start is -1 and end empty"),
        (b"file,x\n,1\n", "line 2: file is empty"),
        (b"file,start\na, b.wav,1\n", "line 2: too many fields"),
        (b'file\n"a.wav\n', "not valid CSV"),
    ],
)
def test_a_list_that_makes_no_sense(here, capsys, content, message):
    Path("list.csv").write_bytes(content)
    model = Loudness()
    assert predict("--list", "list.csv", model=model) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: list.csv")
    assert message in error
    assert error.count("\n") == 1
    assert model.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to classify: name files or folders, or give --list"),
        (["empty"], "empty: no audio files below this folder; those end with aif, "),
        (["*.flac"], "*.flac: neither a file nor a pattern that audio files match"),
        (["--list", "none.csv"], "none.csv: cannot be read (No such file"),
        (["a.wav", "--outfile", "out"], "out: its name does not say what to write"),
        (["a.wav", "--outfile", "o.csv", "--format", "table"], "a table is for the"),
        (["a.wav", "--restart"], "--restart begins an --outfile anew"),
        (["a.wav", "--silence", "50"], "silence is 50.0 dB; full scale is 0 dB"),
        (["a.wav", "--hop", "1"], "hop is 1.0, but there is no window"),
        (["a.wav", "--window", "1", "--hop", "2"], "hop is 2.0 s; it must be"),
        (
            ["a.wav", "/a.wav", "--plot", "p"],
            "/a.wav and a.wav would both be p/a.wav.*",
        ),
    ],
)
def test_a_command_that_makes_no_sense(here, capsys, arguments, message):
    write_clip(here / "a.wav")
    Path("empty").mkdir()
    before = sorted(here.rglob("*"))
    model = Loudness()
    assert predict(*arguments, model=model) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {message}")
    assert output.err.count("\n") == 1
    assert model.calls == []
    assert sorted(here.rglob("*")) == before


def test_a_model_that_is_not_there(here, capsys):
    write_clip(here / "a.wav")
    Path("run").mkdir()
    with pytest.raises(SystemExit) as end:
        main(["predict", "a.wav", "--model", "run", "--outfile", "out.csv"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: run: no trained head there")
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("options", [[], ["--window", "0.4"]])
def test_bad_files_do_not_stop_the_rest(here, capsys, options):
    write_clips(here, 11)
    Path("2.wav").write_bytes(b"")
    Path("5.wav").write_bytes(b"no audio")
    soundfile.write("7.wav", np.zeros(100), 16000)
    paths = [f"{number}.wav" for number in range(12)]
    assert predict(*paths, "--format", "csv", *options) == 1
    output = capsys.readouterr()
    names = list(dict.fromkeys(row["file"] for row in read_csv(output.out)))
    bad = ["2.wav", "5.wav", "7.wav", "11.wav"]
    assert names == [path for path in paths if path not in bad]
    head, *reasons = output.err.splitlines()
    assert head == "4 of 12 inputs could not be classified:"
    expected = ("empty: ", "not readable as audio", "too short: ", "missing: ")
    for reason, name, text in zip(reasons, bad, expected, strict=True):
        assert reason.startswith(f"  {name}: {text}")


def test_a_name_that_is_no_text_is_bad(here, capsys):
    write_clip(here / "a.wav")
    try:
        Path(os.fsdecode(b"b\xff.wav")).write_bytes(Path("a.wav").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such names")
    assert predict("*.wav", "--format", "csv") == 1
    output = capsys.readouterr()
    assert [row["file"] for row in read_csv(output.out)] == ["a.wav"]
    assert "b\\udcff.wav: its name is not valid text; rename it" in output.err


def test_json_lines(here, capsys):
    write_clip(here / "日本.wav", 1.0)
    write_clip(here / "z.wav", 0.5, 0.0)
    assert predict("日本.wav", "z.wav", "--format", "jsonl") == 0
    output = capsys.readouterr()
    first, second = map(json.loads, output.out.splitlines())
    assert first == {
        "file": "日本.wav",
        "start": 0.0,
        "end": 1.0,
        "emotion": "quiet",
        "scores": {"quiet": 0.7499, "loud": 0.2501},
        "silent": False,
    }
    assert "日本.wav" in output.out
    assert second["silent"]
    assert output.err.splitlines() == [
        "z.wav: silent (-inf dB); its label says nothing"
    ]


def test_windows_of_silence_are_left_out(here, capsys):
    sound = np.concatenate([np.zeros(16000), np.full(8000, 0.5), np.zeros(16000)])
    soundfile.write("a.wav", sound, 16000)
    soundfile.write("b.wav", np.zeros(16000), 16000)
    options = ("--format", "csv", "--window", 0.5, "--silence", -60)
    assert predict("a.wav", "b.wav", *options) == 0
    output = capsys.readouterr()
    (row,) = read_csv(output.out)
    assert (row["file"], row["start"], row["end"]) == ("a.wav", "1.0", "1.5")
    assert output.err.splitlines() == [
        "b.wav: silent (-inf dB); its label says nothing",
        "b.wav: all of it is under -60.0 dB: no rows",
    ]
    assert predict("a.wav", "b.wav", "--silence", -60) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1].endswith(" 0.000 silent")


def test_a_table_fits_the_terminal():
    labels = ["anger", "sadness", "joy"]
    scores = {"anger": 0.1, "sadness": 0.7, "joy": 0.2}
    found = Prediction("calls/日本語の電話.wav", 0.5, 4.5, "sadness", scores, None)

    def lines(width):
        table = TableRows(labels, [str(found.file)], width)
        return (table.header() + table.row(found)).splitlines()

    wide = """
file                       start       end  emotion  anger  sadness    joy
calls/日本語の電話.wav      0.50      4.50  sadness  0.100    0.700  0.200
"""
    assert lines(None) == lines(200) == wide.strip().splitlines()
    for width, shown in ((70, "…/日本語の電話.wav"), (50, "…語の電話.wav")):
        head, row = lines(width)
        assert row.split()[0] == shown
        assert max(map(cell_len, (head, row))) <= width
        assert row.endswith(
            "0.100    0.700  0.200" if width == 70 else "sadness  0.700"
        )
    assert lines(60)[0].endswith("emotion  prob.")
    assert lines(60)[1].startswith("calls/日本語の電話.wav ")
    assert cell_len(lines(20)[1]) == 44  # less cannot be


def test_vectors_lie_in_files_named_like_the_inputs(here):
    write_clip(here / "x" / "1.wav", 0.5)
    write_clip(here / "y" / "1.wav", 1.0)
    Path("list.csv").write_text("file,start,end\nx/1.wav,0.25,0.5\n")
    assert predict("x", "y", "--list", "list.csv", "--embeddings", "v") == 0
    found = {
        str(path.relative_to("v")): np.load(path) for path in Path("v").rglob("*.npy")
    }
    assert {name: vector[0] for name, vector in found.items()} == {
        "x/1.wav.npy": 8000,
        "y/1.wav.npy": 16000,
        "x/1.wav.00000.250-00000.500.npy": 4000,
    }
    assert {vector.dtype for vector in found.values()} == {np.dtype("float32")}
    assert found["x/1.wav.npy"][1] == pytest.approx(0.2501, abs=1e-6)
    assert predict("y", "--window", 0.5, "--embeddings", "w") == 0
    assert sorted(path.name for path in Path("w/y").iterdir()) == [
        "1.wav.00000.000-00000.500.npy",
        "1.wav.00000.500-00001.000.npy",
    ]


def test_plots(here, capsys):
    write_clips(here / "c", 2)
    Path("c/0.wav").write_bytes(b"")
    place = "sercorr.inference.drawing.plot_recording"
    with mock.patch(place) as plot:
        options = ("--window", 0.2, "--hop", 0.1, "--plot", "p", "--format", "csv")
        assert predict("c", *options) == 1
    rows = read_csv(capsys.readouterr().out)
    ((file, found, out, *rest),) = [call.args for call in plot.call_args_list]
    assert (file, out, rest) == ("c/1.wav", Path("p/c/1.wav.png"), [0.1, 0.0, None])
    assert [f"{window.start:.1f}" for window in found] == [r["start"] for r in rows]
    assert len(found) > 2
    assert predict("c/1.wav", "--plot", "p") == 0
    assert Path("p/c/1.wav.png").read_bytes().startswith(b"\x89PNG")


def test_the_progress_counts_the_seconds_of_all(here, capsys, monkeypatch):
    write_clips(here, 3)
    Path("bad.wav").touch()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert predict("*.wav", "--outfile", "o.csv", "--window", 0.2, "--hop", 0.1) == 1
    bars = capsys.readouterr().err.split("\r")
    seconds = 0.3 + 0.45 + 0.6
    shown = [float(n) for bar in bars for n in re.findall(r"([0-9.]+)/1\.40 \[", bar)]
    assert shown[0] == 0
    assert shown == sorted(shown)
    assert shown[-1] == pytest.approx(seconds, abs=0.01)
    assert "s of audio/s]" in bars[-1]
    assert predict("*.wav", "--restart", "--outfile", "o.csv", "--quiet") == 1
    assert capsys.readouterr().err.startswith("1 of 4 inputs could not")


def test_the_command_itself_needs_no_torch():
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'speechbrain', 'torchaudio'):\n"
        "    sys.modules[name] = None\n"
        "import sercorr.inference.predict_command\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
