"""``sercorr corpus``: what it counts, shows, writes and advises."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diary import make_diary, prepare
from looking import block, cells, figures_of, look, make_rows, run, write, write_csv
from matplotlib import image

from sercorr.corpora.tables import read_table
from sercorr.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def rows(tmp_path) -> list[dict]:
    return make_rows(tmp_path)


def test_counts_hours_and_durations_are_those_of_the_files(tmp_path, rows, capsys):
    table = write_csv(tmp_path / "talk.csv", rows)
    text, status = look(capsys, table, "--map", "merry=glad")
    assert status == 0
    total = sum(0.5 + 0.02 * i for i in range(48))
    head = f"talk: 48 clips, {total / 3600:.2f} h, 6 speakers, 3 groups, 3 classes"
    assert text.splitlines()[0] == head
    found = figures_of(tmp_path, table, "--map", "merry=glad")
    assert found["hours"] == pytest.approx(total / 3600, abs=1e-9)
    for row, numbers in (
        ("calm", [2, 6, 10]),
        ("glad", [0, 3, 4, 7]),
        ("sad", [1, 5, 9]),
    ):
        own = [0.5 + 0.02 * i for i in range(48) if i % 4 in {n % 4 for n in numbers}]
        (entry,) = [entry for entry in found["classes"] if entry["class"] == row]
        assert entry["clips"] == len(own)
        assert entry["speakers"] == 6
        assert entry["hours"] == pytest.approx(sum(own) / 3600, abs=1e-9)
        assert entry["mean"] == pytest.approx(np.mean(own), abs=1e-9)
        for key, percent in {
            "min": 0,
            "p5": 5,
            "median": 50,
            "p95": 95,
            "max": 100,
        }.items():
            assert entry[key] == pytest.approx(np.percentile(own, percent), abs=1e-9)
        shown = cells(block(text, "Classes; durations in seconds:"), row)
        assert shown[1:4] == [str(len(own)), f"{100 * len(own) / 48:.1f}", "6"]
        assert shown[5] == f"{min(own):.2f}"
        assert shown[-1] == f"{max(own):.2f}"
    groups = block(text, "Clips by group:")
    assert cells(groups, "group") == ["group", "calm", "glad", "sad", "all"]
    assert cells(groups, "2") == ["2", "4", "8", "4", "16"]
    assert cells(groups, "all") == ["all", "12", "24", "12", "48"]
    assert cells(block(text, "Clips by speaker:"), "p5") == ["p5", "2", "4", "2", "8"]
    assert cells(text, "WAV") == ["WAV", "PCM_16", "16000", "1", "48"]


def test_labels_choose_and_order_the_classes(tmp_path, rows, capsys):
    table = write_csv(tmp_path / "talk.csv", rows)
    text, _ = look(capsys, table, "--labels", "sad,calm", "--drop", "glad,merry")
    assert cells(block(text, "Clips by group:"), "group")[1:] == ["sad", "calm", "all"]
    assert "24 clips are left out, as their labels are dropped: glad (12)" in text
    with pytest.raises(InputError, match=r"not wanted: glad \(12\), merry \(12\)"):
        run(table, "--labels", "sad,calm")


def test_twenty_speakers_are_listed_and_the_rest_is_summed(tmp_path, capsys):
    rows = []
    for i in range(300):  # the n-th of 24 speakers has n clips, s24 the most
        speaker = next(n for n in range(1, 25) if n * (n + 1) // 2 > i)
        rows.append({"file": "a.wav", "start": i, "end": i + 1})
        rows[-1] |= {
            "emotion": "sad" if i % 3 else "glad",
            "speaker": f"s{speaker:02d}",
        }
    write(tmp_path / "a.wav", 300, seed=1, rate=8000)
    text, status = look(capsys, write_csv(tmp_path / "t.csv", rows))
    assert status == 0
    assert "Clips by group" not in text
    shown = block(text, "Clips by speaker:")
    names = [line.split()[0] for line in shown.splitlines() if line.startswith("s")]
    assert names == ["speaker", *(f"s{n:02d}" for n in range(24, 4, -1))]
    few = [row for row in rows if row["speaker"] < "s05"]
    glad = sum(row["emotion"] == "glad" for row in few)
    (line,) = [line for line in shown.splitlines() if "4 others" in line]
    assert line.split()[2:] == [str(glad), str(len(few) - glad), "10"]
    assert cells(text, "WAV")[2:] == ["8000", "1", "1"]  # one file, read once
    assert "1 are not 16000 Hz mono" in text
    assert "longer than 30 s" not in text


def test_an_official_split_that_shares_speakers_is_said(tmp_path, rows, capsys):
    for i, row in enumerate(rows):
        row["split"] = "test" if i < 12 else "train" if i < 40 else "dev"
        if i == 2:
            row["speaker"] = ""
    table = write_csv(tmp_path / "t.csv", rows)
    text, _ = look(capsys, table)
    # p0 has 0..7 but for the unknown one, p1 has 8..15: 4 of 12 are by p1, who trains
    assert cells(block(text, "The official split:"), "1") == (
        ["1", "28", "4", "8", "1", "12", "2", "1"]
    )
    assert "official split: 33.3 % of test clips are by training speakers" in text
    assert "official split: 8.3 % of test clips are by unknown speakers" in text
    assert cells(block(text, "Clips by speaker:"), "unknown")[-1] == "1"
    assert "--fold_by group --n_folds 3" in text  # the split would be refused
    assert re.search(r"Other folds were not taken: .* test speakers also stand", text)


def test_official_folds_and_the_next_command(tmp_path, rows, capsys):
    for row in rows:
        row["fold"] = row["group"]
        del row["group"]
    table = write_csv(tmp_path / "my table.csv", rows)
    text, _ = look(capsys, table, "--map", "merry=glad")
    shown = block(text, "The official folds:")
    assert [cells(shown, fold) for fold in "123"] == [
        [fold, "32", "4", "16", "2", "0"] for fold in "123"
    ]
    words = f"--table '{table}' --map merry=glad --fold_by official --n_folds 3"
    assert f"recipes/Table/hparams/small.yaml {words}" in text


def test_folds_without_a_class_are_named_and_none_are_made_up(tmp_path, rows, capsys):
    for row in rows:
        del row["group"]
        row["emotion"] = "glad" if row["emotion"] == "merry" else row["emotion"]
    for i in (0, 8):
        rows[i]["emotion"] = "rare"  # of two speakers only
    text, _ = look(capsys, write_csv(tmp_path / "t.csv", rows))
    assert "--fold_by speaker --n_folds 5" in text
    assert text.count("tests no clip of rare") == 3
    for row in rows:
        row["speaker"] = "p0"
    text, _ = look(capsys, write_csv(tmp_path / "t.csv", rows))
    assert "No folds that would be fair: only one speaker is known" in text
    assert "run_folds" not in text


def test_a_table_is_written_that_reads_back(tmp_path, rows, capsys):
    table = write_csv(tmp_path / "t.csv", rows)
    new = tmp_path / "new.csv"
    text, _ = look(capsys, table, "--map", "merry=glad", "--outfile", new)
    assert f"{new}: 48 clips written" in text
    assert f"--table {new} --fold_by group --n_folds 3" in text
    first, second = read_table(table, mapping="merry=glad"), read_table(new)
    pairs = zip(first.utterances, second.utterances, strict=True)
    keys = ("id", "wav", "emotion", "speaker", "group")
    for one, other in pairs:
        assert [getattr(one, k) for k in keys] == [getattr(other, k) for k in keys]


def test_the_picture_is_written(tmp_path, rows, capsys):
    table = write_csv(tmp_path / "t.csv", rows)
    for name in ("a.png", "b.svg"):
        text, _ = look(capsys, table, "--plot", tmp_path / name)
        assert f"{tmp_path / name}: picture written" in text
    picture = image.imread(tmp_path / "a.png")
    assert picture.shape[1] == 1200
    assert picture.std() > 0.05
    assert (tmp_path / "b.svg").read_text().startswith("<?xml")
    with pytest.raises(InputError, match=r"--plot a\.pdf: name it \.png or \.svg"):
        run(table, "--plot", "a.pdf")


def test_prepared_manifests_are_looked_at(tmp_path, capsys):
    corpus = make_diary(tmp_path / "data")
    out = tmp_path / "out" / "manifests"
    prepare(corpus, out, valid_session="day3")
    text, status = look(capsys, out.parent, "--data-folder", tmp_path / "data")
    assert status == 0
    assert text.startswith("out: 36 clips, 0.00 h, 6 speakers, 3 days, 3 classes\n")
    assert cells(block(text, "Clips by day:"), "day2") == ["day2", "4", "4", "4", "12"]
    folds = block(text, "Folds:")
    assert cells(folds, "1") == ["1", "12", "2", "12", "2", "12", "2", "0"]
    assert "Next" not in text
    with pytest.raises(InputError, match="do not say where day1/day1-00.wav"):
        run(out)
    with pytest.raises(InputError, match="--map a=b: it says nothing here"):
        run(out, "--map", "a=b")
    path = out / "fold_2" / "train.json"
    entries = json.loads(path.read_text())
    next(iter(entries.values()))["speaker"] = "somebody"
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"train\.json: day1-00 differs from .*fold_1"):
        run(out, "--data-folder", tmp_path / "data")


def test_a_known_corpus_is_recognised_and_its_table_written(tmp_path, capsys):
    folder = tmp_path / "savee"
    for i, name in enumerate(("a01", "a02", "n01", "n02")):
        for speaker in ("DC", "JE"):
            write(folder / speaker / f"{name}.wav", 1, seed=i + 10 * (speaker == "DC"))
    text, _ = look(capsys, folder)
    assert text.startswith("savee: 8 clips")
    assert "note: taken for Surrey Audio-Visual Expressed Emotion database" in text
    assert f"sercorr corpus --known savee {folder} --outfile savee.csv" in text
    assert "expected 120; results will not compare" in text  # neutral
    new = tmp_path / "savee.csv"
    text, _ = look(capsys, "--known", "savee", folder, "--outfile", new)
    assert f"--table {new} --fold_by speaker --n_folds 2" in text
    found = {(c.wav, c.speaker) for c in read_table(new).utterances}
    assert ("savee/JE/n02.wav", "JE") in found
    assert len(found) == 8
    listed, status = look(capsys, "--known", "list")
    assert status == 0
    assert cells(listed, "emodb")[-3:] == ["535", "CC0", "1.0"]
    with pytest.raises(InputError, match="emodbb: not a corpus that is known"):
        run("--known", "emodbb", folder)


def test_piped_text_is_plain_and_needs_no_torch(tmp_path, rows):
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio", "transformers", "speechbrain"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from sercorr.cli import main
main()
"""
    table = write_csv(tmp_path / "t.csv", rows)
    (tmp_path / rows[0]["file"]).unlink()
    for words, status in (["--plot", tmp_path / "a.png"], 1), (["--labels", "x"], 2):
        result = subprocess.run(
            [sys.executable, "-c", program, "corpus", table, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ,
            timeout=60,
        )
        assert result.returncode == status, result.stderr
        assert "\x1b" not in result.stdout
        if status == 1:
            assert result.stderr == ""
            assert "t: 48 clips" in result.stdout
        else:
            assert result.stderr.startswith(f"error: {table}: labels that are not")


def test_an_audformat_database_is_looked_at(tmp_path, capsys):
    audformat = pytest.importorskip("audformat")
    for i in range(20):
        write(tmp_path / "db" / f"{i}.wav", 0.1, seed=i)
    base = audformat.Database("calls", license="CC0-1.0")
    base.schemes["emotion"] = audformat.Scheme(labels=["glad", "sad"])
    base.schemes["speaker"] = audformat.Scheme("str")
    index = audformat.filewise_index([f"{i}.wav" for i in range(20)])
    base["talk"] = audformat.Table(index)
    columns = {"emotion": ["glad", "sad"] * 10, "speaker": ["a"] * 8 + ["b"] * 12}
    for name, values in columns.items():
        base["talk"][name] = audformat.Column(scheme_id=name)
        base["talk"][name].set(values)
    base.save(tmp_path / "db")
    for source in (tmp_path / "db", f"{tmp_path / 'db'}#talk"):
        text, status = look(capsys, source)
        assert status == 0
        assert text.startswith("db: 20 clips, 0.00 h, 2 speakers, 2 classes\n")
        assert cells(block(text, "Clips by speaker:"), "b") == ["b", "6", "6", "12"]
        assert "--fold_by speaker --n_folds 2" in text
