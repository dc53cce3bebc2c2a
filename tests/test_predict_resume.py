"""`sercorr predict --outfile`: stopped anywhere, the same command goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from predicting import Loudness, predict, write_clip, write_clips
from releases import contents

from sercorr.inference.outfile import Outfile

MODES = {
    "whole": ([], {}),
    "together": ([], {"together": 2.5}),
    "windows": (["--window", "0.4", "--hop", "0.2"], {}),
    "jsonl": (["--format", "jsonl", "--embeddings", "vectors"], {}),
}


@pytest.fixture
def clips(tmp_path, monkeypatch) -> str:
    """Nineteen clips, more than two eights, below the working folder."""
    monkeypatch.chdir(tmp_path)
    write_clips(tmp_path / "clips", 19)
    return "clips"


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupted_file_becomes_the_unbroken_one(clips, mode, capsys):
    options, kind = MODES[mode]
    whole = Loudness(**kind)
    assert predict(clips, "--outfile", "whole.csv", *options, model=whole) == 0
    assert sum(whole.calls) > len(whole.calls) or mode != "together"
    wanted = Path("whole.csv").read_bytes()
    for stop in range(0, len(whole.calls), 3):
        broken = Path(f"broken{stop}.csv")
        arguments = (clips, "--outfile", broken, *options)
        model = Loudness(**kind, stop=stop)
        assert predict(*arguments, model=model) == 130
        assert wanted.startswith(broken.read_bytes())
        again = Loudness(**kind)
        assert predict(*arguments, model=again) == 0
        assert broken.read_bytes() == wanted
        if mode != "together":  # at most eight clips, or one's windows, are done again
            assert len(again.calls) <= len(whole.calls) - stop + 15
    assert "interrupted: run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["together", "windows"])
def test_what_a_power_cut_leaves_is_gone_on_with(clips, mode):
    options, kind = MODES[mode]
    arguments = (clips, "--outfile", "out.csv", *options)
    assert predict(*arguments, model=Loudness(**kind)) == 0
    rows, journal = Path("out.csv"), Path(".out.csv.sercorr")
    wanted, notes = rows.read_bytes(), journal.read_bytes()
    for size in range(0, len(wanted), len(wanted) // 25):
        rows.write_bytes(wanted[:size])
        journal.write_bytes(notes)
        assert predict(*arguments, model=Loudness(**kind)) == 0
        assert rows.read_bytes() == wanted
    for size in (notes.index(b"\n") + 1, len(notes) // 2, len(notes) - 1):
        rows.write_bytes(wanted + b"clips/0.wav,0.0,0.4,lou")
        journal.write_bytes(notes[:size])
        assert predict(*arguments, model=Loudness(**kind)) == 0
        assert rows.read_bytes() == wanted
        assert journal.read_bytes() == notes


def test_a_finished_file_is_left_alone(clips, capsys):
    assert predict(clips, "--outfile", "out.csv") == 0
    assert "out.csv: 19 rows added, of 19 inputs" in capsys.readouterr().err
    before = Path("out.csv").stat()
    model = Loudness()
    assert predict(clips, "--outfile", "out.csv", model=model) == 0
    assert model.calls == []
    after = Path("out.csv").stat()
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)
    assert "out.csv: nothing to add" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "identity", "message"),
    [
        ([], "2", "model: model 1 (1) then, model 2 (2) now"),
        (["--window", "1", "--hop", "0.5"], "1", "window: none then, 1.0 now; hop: no"),
        (["--silence", "-50"], "1", "silence: none then, -50.0 now"),
        (["--format", "jsonl"], "1", "format: csv then, jsonl now"),
        (["--embeddings", "vectors"], "1", "embeddings: none then, "),
    ],
)
def test_a_file_of_other_settings_is_refused(clips, capsys, options, identity, message):
    assert predict(clips, "--outfile", "out.csv") == 0
    before = contents(Path())
    arguments = (clips, "--outfile", "out.csv", *options)
    assert predict(*arguments, model=Loudness(identity)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "--restart" in error
    assert contents(Path()) == before
    assert predict(*arguments, "--restart", model=Loudness(identity)) == 0
    assert predict(*arguments, model=Loudness(identity)) == 0
    new = Path("out.csv").read_bytes()
    predict(clips, "--outfile", "new.csv", *options, model=Loudness(identity))
    assert new == Path("new.csv").read_bytes()


def test_a_moved_model_is_the_same_model(clips):
    assert predict(clips, "--outfile", "out.csv") == 0
    model = Loudness()
    model.name = "moved"
    assert predict(clips, "--outfile", "out.csv", model=model) == 0


@pytest.mark.parametrize("options", [(), ("--restart",)])
def test_a_file_of_someone_else_is_never_touched(clips, capsys, options):
    Path("labels.csv").write_text("file,emotion\nmine,sad\n")
    assert predict(clips, "--outfile", "labels.csv", *options) == 2
    assert "labels.csv: something is there that this" in capsys.readouterr().err
    assert Path("labels.csv").read_text() == "file,emotion\nmine,sad\n"


def test_a_changed_file_is_refused(clips, capsys):
    assert predict(clips, "--outfile", "out.csv") == 0
    changed = "a note\n" + Path("out.csv").read_text()
    Path("out.csv").write_text(changed)
    write_clip(Path("clips/20.wav"))
    assert predict(clips, "--outfile", "out.csv") == 2
    assert "out.csv: it was changed since it was written" in capsys.readouterr().err
    assert Path("out.csv").read_text() == changed


def test_a_mended_file_is_answered_then(clips, capsys):
    good = Path("clips/3.wav").read_bytes()
    Path("clips/3.wav").write_bytes(good[:100])
    assert predict(clips, "--outfile", "out.csv") == 1
    first = Path("out.csv").read_text()
    assert "clips/3.wav" not in first
    assert predict(clips, "--outfile", "out.csv") == 1
    assert Path("out.csv").read_text() == first
    error = capsys.readouterr().err
    assert error.count("1 of 19 inputs could not be classified:\n  clips/3.wav: ") == 2
    Path("clips/3.wav").write_bytes(good)
    assert predict(clips, "--outfile", "out.csv") == 0
    added = Path("out.csv").read_text().removeprefix(first)
    assert added.startswith("clips/3.wav,0.0,")
    assert added.count("\n") == 1
    error = capsys.readouterr().err
    assert "out.csv: 1 row added, of 1 input\n  answered before: 18 inputs\n" in error
    assert "out of order, behind the rows that were there: 1 input\n" in error
    predict(clips, "--outfile", "new.csv")
    lines = [Path(name).read_text().splitlines() for name in ("out.csv", "new.csv")]
    assert sorted(lines[0]) == sorted(lines[1])


def test_a_file_that_is_bad_half_way_has_no_rows(clips, capsys):
    samples = np.full(21 * 16000, 0.1, dtype=np.float32)
    samples[-1] = np.nan  # found two blocks after the first rows
    soundfile.write("clips/3.wav", samples, 16000, subtype="FLOAT")
    model = Loudness()
    assert predict(clips, "--outfile", "out.csv", "--window", 4, model=model) == 1
    assert len(model.calls) > 18
    Path("clips/3.wav").unlink()
    assert predict(clips, "--outfile", "new.csv", "--window", 4) == 0
    assert Path("out.csv").read_bytes() == Path("new.csv").read_bytes()
    assert "clips/3.wav: 1 of 16000 samples are not finite" in capsys.readouterr().err


def test_two_commands_do_not_write_one_file(clips, capsys):
    with Outfile("out.csv", {}, {}, "header\n"):
        assert predict(clips, "--outfile", "out.csv") == 2
    assert "out.csv: another process is writing it" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["clips/0.wav/out.csv", "clips", "/dev/null"])
def test_a_place_that_cannot_be_written(clips, capsys, place):
    model = Loudness()
    assert predict(clips, "--outfile", place, "--format", "csv", model=model) == 2
    assert model.calls == []
    assert capsys.readouterr().err.startswith("error: ")


def test_a_journal_of_another_version_is_refused(clips, capsys):
    assert predict(clips, "--outfile", "out.csv") == 0
    journal = Path(".out.csv.sercorr")
    about, *rest = journal.read_text().splitlines()
    newer = json.dumps({**json.loads(about), "format": 99})
    journal.write_text("\n".join([newer, *rest, ""]))
    assert predict(clips, "--outfile", "out.csv") == 2
    assert "of another version of sercorr" in capsys.readouterr().err
    assert predict(clips, "--outfile", "out.csv", "--restart") == 0
