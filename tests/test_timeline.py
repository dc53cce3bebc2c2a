"""Timelines: cells of one hop, and the files that other programs read."""

import csv
import itertools
import json
import re
import sys

import audformat.utils
import numpy as np
import pympi
import pytest
from heads import LABELS
from praatio import textgrid
from recognizers import RATE, make_noise, make_recognizer, write

from sercorr.cli import main
from sercorr.errors import InputError
from sercorr.inference import EmotionRecognizer, Prediction
from sercorr.inference.timeline import Cell, merge_cells, tile
from sercorr.inference.timeline_formats import (
    Timeline,
    choose_timeline_format,
    timeline_text,
)

SECONDS = 7.3  # no multiple of the hop
QUIET = (2.5, 5.0)


def windows_of(starts, length, seconds, seed=0) -> list[Prediction]:
    """Windows with random probabilities."""
    rows = np.random.default_rng(seed).dirichlet(np.ones(4), len(starts))
    return [
        Prediction(
            "a.wav",
            start,
            min(start + length, seconds),
            LABELS[row.argmax()],
            dict(zip(LABELS, row.tolist(), strict=True)),
            None,
        )
        for start, row in zip(starts, rows, strict=True)
    ]


@pytest.mark.parametrize(
    ("window", "hop", "seconds"),
    [
        (4.0, 1.0, 10.0),
        (4.0, 1.0, 9.3),
        (1.0, 1.0, 3.5),
        (2.0, 0.75, 6.0),
        (3.0, 1.0, 2),
    ],
)
def test_a_cell_is_the_mean_of_the_windows_around_it(window, hop, seconds):
    starts = np.arange(0, max(seconds - window, 0) + hop, hop)
    windows = windows_of(starts, window, seconds)
    windows[-1] = windows_of(starts[-1:], seconds, seconds)[0]
    cells = list(tile(iter(windows), hop, seconds))
    assert [cell.start for cell in cells] == pytest.approx(np.arange(0, seconds, hop))
    assert [c.end for c in cells] == [c.start for c in cells[1:]] + [seconds]
    for cell in cells:
        around = [
            list(w.scores.values())
            for w in windows
            if w.start <= cell.start + 1e-9 and cell.end <= w.end + 1e-9
        ]
        wanted = np.mean(around, axis=0)
        assert list(cell.scores.values()) == pytest.approx(wanted)
        assert cell.label == LABELS[wanted.argmax()]


def test_cells_do_not_drift_from_the_windows():
    # a third of a second is 5333 samples: after 20 minutes, 75 ms less than a multiple
    step, count = 5333 / RATE, 3600
    windows = (
        Prediction(None, i * step, (i + 1) * step, "a", {"a": float(i)}, None)
        for i in range(count)
    )
    cells = list(tile(windows, 1 / 3, count * step))
    assert len(cells) == count
    assert cells[-1] == Cell((count - 1) * step, count * step, "a", {"a": count - 1.0})


def test_windows_that_were_left_out_are_silence():
    windows = windows_of([0.0, 1.0, 4.0, 5.0], 2.0, 6.5)
    cells = list(tile(windows, 1.0, 6.5))
    assert [cell.label is None for cell in cells] == [0, 0, 0, 1, 0, 0, 0]
    assert cells[3] == Cell(3.0, 4.0, None, None)
    assert list(cells[2].scores.values()) == list(windows[1].scores.values())
    assert [c.label for c in tile([], 1.0, 2.5)] == [None] * 3
    assert list(merge_cells(tile([], 1.0, 2.5))) == [Cell(0.0, 2.5, None, None)]


def test_merged_cells_keep_the_whole_and_its_means():
    cells = list(tile(windows_of(np.arange(40.0), 1.0, 39.5), 1.0, 39.5))
    spans = list(merge_cells(cells))
    assert 1 < len(spans) < len(cells)
    assert [s.end for s in spans] == [s.start for s in spans[1:]] + [39.5]
    for one, other in itertools.pairwise(spans):
        assert one.label != other.label
    for span in spans:
        inside = [c for c in cells if span.start <= c.start and c.end <= span.end]
        assert {cell.label for cell in inside} == {span.label}
        for label in LABELS:
            total = sum(c.scores[label] * (c.end - c.start) for c in inside)
            assert span.scores[label] == pytest.approx(total / (span.end - span.start))


@pytest.fixture(scope="module")
def model() -> EmotionRecognizer:
    return make_recognizer()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    samples = make_noise(SECONDS)
    samples[int(QUIET[0] * RATE) : int(QUIET[1] * RATE)] = 0
    return write(tmp_path_factory.mktemp("timeline") / "звонок 1.wav", samples)


@pytest.fixture(scope="module")
def cells(model, recording) -> list[Cell]:
    windows = model.predict(recording, 1.0, 0.5, silence=-70)
    return list(tile(windows, 0.5, SECONDS))


def test_silence_is_where_no_window_is_loud(cells):
    # windows from 2.5, 3.0, 3.5 and 4.0 to a second later are silent, all others loud
    assert [cell.label is None for cell in cells] == [i in (6, 7, 8) for i in range(15)]


def test_diarize_file(model, recording, cells):
    (path, spans), *rest = model.diarize_file(recording, 1.0, 0.5, -70).items()
    assert (path, rest) == (str(recording), [])
    assert spans == [
        {"start": cell.start, "end": cell.end, "emotion": cell.label}
        for cell in merge_cells(cells)
        if cell.label is not None
    ]
    assert spans[0]["start"] == 0.0
    assert spans[-1]["end"] == SECONDS
    gaps = [b["start"] - a["end"] for a, b in itertools.pairwise(spans)]
    assert max(gaps) == 1.5
    (whole,) = model.diarize_file(recording, 120.0, 120.0).values()
    assert whole == [{**whole[0], "start": 0.0, "end": SECONDS}]


@pytest.fixture
def command(model, recording, monkeypatch, tmp_path):
    """Run ``sercorr timeline`` on the recording; return the outfile."""
    monkeypatch.setattr(
        "sercorr.inference.timeline_command.load_chosen", lambda *_, **__: model
    )

    def run(name, *more):
        words = ["sercorr", "timeline", str(recording), "--model", "m", "--silence=-70"]
        words += ["--window", "1", "--hop", "0.5", *more]
        words += ["--outfile", str(tmp_path / name)] if name else []
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return tmp_path / (name or "")

    return run


def test_csv_is_audformats(command, recording, cells, capsys):
    path = command("a.csv")
    frame = audformat.utils.read_csv(path)
    assert set(frame.index.get_level_values("file")) == {str(recording)}
    for level in ("start", "end"):
        times = frame.index.get_level_values(level).total_seconds()
        assert list(times) == pytest.approx([getattr(cell, level) for cell in cells])
    assert list(frame.columns) == ["emotion", *LABELS]
    for (_, row), cell in zip(frame.iterrows(), cells, strict=True):
        if cell.label is None:
            assert row.isna().all()
        else:
            assert row["emotion"] == cell.label
            found = [row[label] for label in LABELS]
            assert found == pytest.approx(list(cell.scores.values()), abs=1e-6)
    error = capsys.readouterr().err
    assert error.startswith(f"{path}: 7.3 s: ")
    assert f"silence {100 * 1.5 / SECONDS:.0f} %" in error


def test_json(command, recording, model, cells):
    found = json.loads(command("a.json").read_text(encoding="utf-8"))
    assert found["file"] == str(recording)
    assert (found["model"], found["labels"]) == (model.name, LABELS)
    assert (found["window"], found["hop"], found["duration"]) == (1.0, 0.5, SECONDS)
    for name, wanted in (("cells", cells), ("segments", list(merge_cells(cells)))):
        for one, cell in zip(found[name], wanted, strict=True):
            assert (one["start"], one["end"]) == pytest.approx((cell.start, cell.end))
            assert one["emotion"] == cell.label
            if cell.scores is None:
                assert one["scores"] is None
            else:
                assert one["scores"] == pytest.approx(cell.scores, abs=1e-6)


def test_textgrid_is_praats(command, cells):
    path = command("a.TextGrid")
    assert path.read_text(encoding="utf-8").startswith('File type = "ooTextFile"\n')
    assert "intervals [1]:" in path.read_text(encoding="utf-8")  # long, not short
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.tierNames == ("emotion", "probability", "merged")
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, SECONDS)
    for name in grid.tierNames:
        entries = grid.getTier(name).entries
        assert entries[0].start == 0
        assert [e.end for e in entries] == [e.start for e in entries[1:]] + [SECONDS]
        assert all(entry.start < entry.end for entry in entries)
    for name, wanted in (("emotion", cells), ("merged", list(merge_cells(cells)))):
        entries = grid.getTier(name).entries
        assert [entry.label for entry in entries] == [c.label or "" for c in wanted]
        assert [entry.end for entry in entries] == pytest.approx(
            [c.end for c in wanted]
        )
    for entry, cell in zip(grid.getTier("probability").entries, cells, strict=True):
        shown = f"{cell.scores[cell.label]:.3f}" if cell.label else ""
        assert entry.label == shown


def test_eaf_is_elans(command, recording, cells):
    path = command("a.eaf")
    document = pympi.Eaf(str(path))
    (media,) = document.get_linked_files()
    assert media["MEDIA_URL"] == f"file://{recording}"
    assert (path.parent / media["RELATIVE_MEDIA_URL"]).resolve() == recording
    assert media["MIME_TYPE"] == "audio/x-wav"
    assert set(document.get_tier_names()) == {"emotion", "probability", "merged"}
    for name, wanted in (("emotion", cells), ("merged", merge_cells(cells))):
        assert sorted(document.get_annotation_data_for_tier(name)) == [
            (round(1000 * cell.start), round(1000 * cell.end), cell.label)
            for cell in wanted
            if cell.label is not None
        ]
    shown = document.get_annotation_data_for_tier("probability")
    assert [float(text) for _, _, text in sorted(shown)] == pytest.approx(
        [cell.scores[cell.label] for cell in cells if cell.label], abs=5e-4
    )


def test_audacitys_labels(command, cells):
    lines = command("a.txt").read_text().splitlines()
    wanted = [cell for cell in merge_cells(cells) if cell.label is not None]
    for line, cell in zip(lines, wanted, strict=True):
        start, end, label = line.split("\t")
        assert (float(start), float(end)) == pytest.approx((cell.start, cell.end))
        assert label == cell.label


@pytest.mark.parametrize("form", ["csv", "json", "textgrid", "audacity", "eaf"])
def test_without_an_outfile_the_same_goes_to_the_terminal(command, form, capsysbinary):
    written = command("named.otherwise", "--format", form).read_bytes()
    capsysbinary.readouterr()
    command(None, "--format", form, "--quiet")
    shown = capsysbinary.readouterr()
    assert shown.err == b""
    drop = (b"DATE=", b"<MEDIA_DESCRIPTOR ")  # a time, a relative place
    same = [
        [line for line in text.splitlines() if not any(word in line for word in drop)]
        for text in (written, shown.out)
    ]
    assert same[0] == same[1]
    assert len(same[0]) > 3


def test_progress_is_shown_in_seconds_of_audio(command, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command("a.csv")
    last = capsys.readouterr().err.rpartition("\r")[2]
    assert re.match(r"100%.* 7\.30/7\.30 \[00:\d+<00:00, .* s of audio/s\]", last), last
    command("a.csv", "--quiet")
    assert capsys.readouterr().err == ""


def test_an_outfile_is_replaced_whole_or_not_at_all(
    command, model, monkeypatch, capsys
):
    path = command("a.csv")
    before = path.read_text()
    path.write_text("older")
    assert command("a.csv").read_text() == before

    def fail(waves, embedding=False):
        raise InputError("a fault")

    monkeypatch.setattr(model, "answer", fail)
    with pytest.raises(AssertionError):
        command("a.csv")
    assert "error: " in (error := capsys.readouterr().err)
    assert "звонок 1.wav, 0.00-1.00 s: a fault" in error
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [
        ("a.csv", before)
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--outfile", "a.xyz"], "a.xyz: its name does not say what to write; end it"),
        (["--outfile", "FILE", "--format", "csv"], "it is the recording itself"),
        (["--hop", "9"], "hop is 9.0 s; .*at most the window, 4.0 s"),
        (["--silence", "10"], "silence is 10.0 dB"),
    ],
)
def test_options_that_do_not_work(
    model, recording, monkeypatch, tmp_path, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sercorr.inference.timeline_command.load_chosen", lambda *_, **__: model
    )
    words = [str(recording) if word == "FILE" else word for word in words]
    monkeypatch.setattr(
        sys, "argv", ["sercorr", "timeline", str(recording), "--model", "m", *words]
    )
    content = recording.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert recording.read_bytes() == content
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "name", "library"),
    [("textgrid", "praatio.textgrid", "praatio"), ("eaf", "pympi", "pympi")],
)
def test_a_library_that_is_not_there(monkeypatch, form, name, library):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"needs {library}.*'sercorr.timelines.'"):
        choose_timeline_format(form, None)
    assert choose_timeline_format(None, "A.CSV") == "csv"


def test_names_that_need_care():
    label = 'a "quoted" <label> & ö'
    made = [
        Cell(0.0, 0.1 + 0.2, label, {label: 1.0}),
        Cell(0.1 + 0.2, 1 / 3, None, None),
    ]
    line = Timeline('a,"b".wav', "m", [label], 0.3, 0.3, 1 / 3, made)
    assert f'"{label[:1]} ""quoted"" <label> & ö"' in timeline_text(line, "textgrid")
    assert '>a "quoted" &lt;label&gt; &amp; ö<' in timeline_text(line, "eaf")
    row = next(csv.DictReader(timeline_text(line, "csv").splitlines()))
    assert (row["file"], row["emotion"]) == (line.file, label)
    assert (row["start"], row["end"]) == ("0.0", "0.3")
