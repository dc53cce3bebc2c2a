"""``sercorr corpus``: what it finds wrong with files, and what it refuses."""

from pathlib import Path

import pytest
from looking import figures_of, look, make_rows, run, write, write_csv

from sercorr.corpora.tables import read_table
from sercorr.data.copies import find_equal_files
from sercorr.data.utterances import read_durations
from sercorr.errors import InputError


@pytest.fixture
def rows(tmp_path) -> list[dict]:
    return make_rows(tmp_path)


def test_faults_are_counted_by_kind_and_named(tmp_path, rows, capsys):
    (tmp_path / rows[0]["file"]).unlink()
    (tmp_path / rows[1]["file"]).unlink()
    cut = tmp_path / rows[2]["file"]
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / rows[3]["file"]).write_text("no audio")
    write(tmp_path / rows[4]["file"], 0.02, seed=1)
    beyond = {**rows[5], "start": 0.2, "end": 9.0}
    table = write_csv(tmp_path / "t.csv", [*rows[:5], beyond, *rows[6:]])
    text, status = look(capsys, table)
    assert status == 1
    kinds = "missing: 2, unreadable: 2, too short: 1, beyond the end: 1"
    assert f"6 clips cannot be used ({kinds}):" in text
    assert (
        f"00.wav: missing: there is no such file (labelled in {table}, line 2)" in text
    )
    assert "02.wav: truncated: its header promises" in text
    assert "03.wav: not readable as audio" in text
    assert "04.wav: too short: 320 samples" in text
    assert "no part from 0.2 s to 9.0 s: the file lasts 0.600 s" in text
    hours = sum(0.5 + 0.02 * i for i in range(6, 48)) / 3600
    found = figures_of(tmp_path, table)
    assert found["hours"] == pytest.approx(hours, abs=1e-9)
    assert found["clips"] == 48
    assert list(found["faults"]["missing"]) == ["wavs/00.wav", "wavs/01.wav"]
    corpus = read_table(table)  # what the recipes would refuse, word for word
    _, refused, _ = read_durations(corpus, corpus.utterances)
    named = {k: v for some in found["faults"].values() for k, v in some.items()}
    assert named == refused
    capsys.readouterr()
    quiet, status = look(capsys, table, "--quiet")
    assert status == 1
    assert quiet.startswith("6 clips cannot be used")
    assert len(quiet.splitlines()) == 7


def test_many_faults_leave_room_for_each_kind(tmp_path, rows, capsys):
    for row in rows[1:]:
        (tmp_path / row["file"]).unlink()
    (tmp_path / rows[0]["file"]).write_text("no audio")
    text, _ = look(capsys, write_csv(tmp_path / "t.csv", rows), "--quiet")
    lines = text.splitlines()
    assert lines[0] == "48 clips cannot be used (unreadable: 1, missing: 47):"
    assert "not readable as audio" in lines[1]
    assert lines[-1] == "and 37 more"
    assert len(lines) == 13


def test_copies_with_two_labels_or_speakers_come_first(tmp_path, rows, capsys):
    def copy(source: int, target: int) -> None:
        data = (tmp_path / rows[source]["file"]).read_bytes()
        (tmp_path / rows[target]["file"]).write_bytes(data)

    copy(0, 4)  # the same label and speaker
    copy(8, 20)  # another speaker
    copy(16, 17)  # another label
    changed = bytearray((tmp_path / rows[24]["file"]).read_bytes())
    changed[-1] ^= 1  # as large, and other in the last byte
    (tmp_path / rows[25]["file"]).write_bytes(changed)
    table = write_csv(tmp_path / "t.csv", rows)
    text, status = look(capsys, table)
    assert status == 0
    title = "Copies: 3 recordings byte for byte the same, 2 of them with two labels"
    lines = text[text.index(title) :].splitlines()
    assert lines[1:4] == [
        "wavs/16.wav (glad, p2) = wavs/17.wav (sad, p2)  <- another class",
        "wavs/08.wav (glad, p1) = wavs/20.wav (glad, p2)  <- another speaker",
        "wavs/00.wav (glad, p0) = wavs/04.wav (glad, p0)",
    ]
    assert figures_of(tmp_path, table)["copies"][0]["differ"] == ["class"]
    assert "Copies: not looked for" in look(capsys, table, "--no-hash")[0]
    assert figures_of(tmp_path, table, "--no-hash")["copies"] is None


def test_other_parts_of_equal_files_are_no_copies(tmp_path, capsys):
    write(tmp_path / "a.wav", 3, seed=1)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    keys = ("file", "start", "end", "emotion", "speaker")
    parts = [("a", 0, 1, "x"), ("b", 1, 2, "y"), ("a", 2, "", "x"), ("b", 2, 3, "y")]
    rows = [dict(zip(keys, (f"{f}.wav", *rest, f), strict=True)) for f, *rest in parts]
    text, _ = look(capsys, write_csv(tmp_path / "t.csv", rows))
    assert "Copies: 1 recording byte for byte the same" in text
    same = "a.wav#2.0- (x, a) = b.wav#2.0-3.0 (y, b)  <- another class and speaker"
    assert same in text.splitlines()


def test_only_files_that_may_be_equal_are_read(tmp_path, monkeypatch):
    head = bytes(100_000)
    contents = [head + b"1", head + b"2", head + b"1", b"9" * 100_001, b"short"]
    places = [str(tmp_path / str(i)) for i in range(len(contents))]
    for place, content in zip(places, contents, strict=True):
        Path(place).write_bytes(content)
    read = []
    real = find_equal_files.__globals__["file_digest"]

    def digest(place):
        read.append(place)
        return real(place)

    monkeypatch.setitem(find_equal_files.__globals__, "file_digest", digest)
    assert find_equal_files(places, quiet=True) == [[places[0], places[2]]]
    assert sorted(read) == places[:3]


def test_what_is_none_of_this_is_refused_with_what_there_could_be(tmp_path):
    for name in ("x.wav", "y.wav", "z.mp3"):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as error:
        run(tmp_path)
    for text in (r".mp3 (1), .wav (2)", "--known list", "file, emotion, speaker"):
        assert text in str(error.value)
    assert f"OUTPUT_FOLDER/manifests --data-folder {tmp_path}" in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no audio files"):
        run(tmp_path / "empty")
    with pytest.raises(InputError, match="name a table or the folder of a corpus"):
        run()
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        run(tmp_path / "nowhere.csv")
