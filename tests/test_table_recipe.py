"""Any corpus that a table describes, through the recipe's programs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from runs import QUICK, quick_training, script_environment
from table_corpora import RATE, make_table, read_rows, write_rows
from train import main as train_main

from sercorr.errors import InputError
from sercorr.training.grid import run_grid

TABLE = Path(__file__).parents[1] / "recipes" / "Table"
SETTINGS = str(TABLE / "hparams" / "train.yaml")


def words(output: Path, **given) -> list[str]:
    """What a program of the recipe gets."""
    settings = {**QUICK, "device": "cpu", "output_folder": output, **given}
    listed = [w for key, value in settings.items() for w in (f"--{key}", str(value))]
    return [SETTINGS, *listed, "--noprogressbar"]


def train(output: Path, **given) -> dict:
    """Train one fold in this process; return the metrics."""
    with quick_training():
        train_main(words(output, **given))
    fold = given.get("fold", 1)
    return json.loads((output / f"fold_{fold}" / "metrics.json").read_text())


def predictions(output: Path, fold: int = 1) -> list[dict]:
    return read_rows(output / f"fold_{fold}" / "predictions.csv")


def refusal(output: Path, **given) -> str:
    with pytest.raises(InputError) as caught:
        train(output, **given)
    assert not output.exists()
    return str(caught.value)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return make_table(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Another corpus with speakers and names of clips like the first one's."""
    folder = tmp_path_factory.mktemp("corpus") / "other"
    made = make_table(folder, ("sad", "happy", "calm"), ("Ann", "Eve"), seed=50)
    return made.rename(folder / "other.csv")


def test_all_folds_of_speakers_and_three_classes_from_a_shell(table, tmp_path):
    import subprocess

    given = {"table": table, "n_folds": 4, "map": "angry=cross,sad=low"}
    command = [sys.executable, str(TABLE / "run_folds.py"), *words(tmp_path, **given)]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=script_environment(),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "speaker  cross  happy  low  all" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert [fold["labels"] for fold in results["folds"]] == [
        ["cross", "happy", "low"]
    ] * 4
    speakers = [
        {row["speaker"] for row in predictions(tmp_path, k)} for k in (1, 2, 3, 4)
    ]
    assert sorted(map(tuple, speakers)) == [("Ann",), ("Bob",), ("Cyd",), ("Dan",)]
    record = json.loads((tmp_path / "fold_1/run.json").read_text())
    assert record["speakers"] == {"test": 1, "shared": 0, "unknown": 0}
    assert record["corpus"] == "table"


def test_help_lists_the_settings_of_the_recipe():
    import subprocess

    done = subprocess.run(
        [sys.executable, str(TABLE / "train.py"), "--help"],
        check=True,
        capture_output=True,
        text=True,
        env=script_environment(),
    )
    assert "--table" in done.stdout
    assert "labels of the table -> classes: happy=hap,excited=hap" in done.stdout


def test_parts_of_files_give_what_they_would_as_files_of_their_own(table, tmp_path):
    """Cut and uncut, stored and live: the same predictions to the last digit."""
    rows, together = read_rows(table), []
    for speaker in ("Ann", "Bob", "Cyd", "Dan"):
        own = [row for row in rows if row["speaker"] == speaker]
        sounds = [soundfile.read(table.parent / row["file"])[0] for row in own]
        gap = np.zeros(RATE // 10)
        whole = np.concatenate([part for sound in sounds for part in (gap, sound)])
        soundfile.write(tmp_path / f"{speaker}.wav", whole, RATE, subtype="FLOAT")
        for row, sound in zip(own, sounds, strict=True):
            soundfile.write(tmp_path / Path(row["file"]).name, sound, RATE, "FLOAT")
        start = 0.0
        for row, sound in zip(own, sounds, strict=True):
            start += len(gap) / RATE
            end = start + len(sound) / RATE
            together.append(
                {
                    "file": f"{speaker}.wav",
                    "start": start,
                    "end": end,
                    "emotion": row["emotion"],
                    "speaker": speaker,
                    "id": row["file"],
                }
            )
            start = end
    apart = [
        {**row, "file": Path(row["id"]).name, "start": 0, "end": ""} for row in together
    ]
    one = write_rows(tmp_path / "parts.csv", together)
    many = write_rows(tmp_path / "files.csv", apart)
    given = {"n_folds": 4, "fold": 2}
    cut = train(tmp_path / "a", table=many, **given)
    uncut = train(tmp_path / "b", table=one, **given)
    cache = tmp_path / "cache"
    stored = {"cache_folder": cache, "cache_dtype": "float32"}
    train(tmp_path / "c", table=one, **given, **stored)
    assert cut == uncut
    keys = ("id", "truth", "happy", "sad", "angry")
    found = [
        [[row[key] for key in keys] for row in predictions(tmp_path / name, 2)]
        for name in "abc"
    ]
    assert found[0] == found[1] == found[2]
    assert len(list(cache.rglob("*.safetensors"))) == 48
    entry = json.loads((tmp_path / "b/manifests/fold_2/test.json").read_text())
    first = next(iter(entry.values()))
    assert first["end"] - first["start"] == pytest.approx(first["duration"])


def test_a_part_behind_the_end_of_its_file_is_named(table, tmp_path):
    rows = [{**row, "start": 0, "end": ""} for row in read_rows(table)]
    rows[5] |= {"start": 0.2, "end": 0.6}
    made = write_rows(table.parent / "beyond.csv", rows)
    text = refusal(tmp_path / "out", table=made, n_folds=4)
    assert "there is no part from 0.2 s to 0.6 s: the file lasts 0.400 s" in text
    assert "(labelled in" in text
    assert "beyond.csv, line 7)" in text


def test_labels_that_nobody_asked_for_are_refused(table, tmp_path):
    text = refusal(tmp_path / "out", table=table, n_folds=4, labels="happy,sad")
    assert "angry (16)" in text
    assert "--drop angry" in text


def test_a_small_and_a_large_word_for_no_are_labels(table, tmp_path):
    """``no`` is text, whatever a reader of YAML thinks of it."""
    given = {
        "table": table,
        "n_folds": 4,
        "map": "happy=no,sad=no",
        "labels": "no,angry",
    }
    metrics = train(tmp_path / "out", **given)
    assert metrics["labels"] == ["no", "angry"]
    assert [sum(row) for row in metrics["confusion"]] == [8, 4]


def test_shared_speakers_are_refused_or_counted_and_said(table, tmp_path, capsys):
    rows = [{**row, "fold": i % 2} for i, row in enumerate(read_rows(table))]
    made = write_rows(table.parent / "shared.csv", rows)
    given = {"table": made, "fold_by": "official", "n_folds": 2}
    text = refusal(tmp_path / "out", **given)
    assert "4 of the 4 test speakers also stand in train (the first is Ann)" in text
    train(tmp_path / "out", **given, allow_shared_speakers=True)
    record = json.loads((tmp_path / "out/fold_1/run.json").read_text())
    assert record["speakers"] == {"test": 4, "shared": 4, "unknown": 0}
    from sercorr.reporting.report import report_folder

    assert "4 of 4 test speakers also train or validate" in report_folder(
        tmp_path / "out"
    )


def test_training_on_one_corpus_and_testing_another(table, other, tmp_path):
    """The classes of both; speakers and ids of the same name are not the same."""
    metrics = train(tmp_path / "out", table=table, test_table=other)
    assert metrics["labels"] == ["happy", "sad"]
    assert [sum(row) for row in metrics["confusion"]] == [8, 8]
    rows = predictions(tmp_path / "out")
    assert {row["speaker"] for row in rows} == {"other/Ann", "other/Eve"}
    assert all(row["id"].startswith("other/wavs/") for row in rows)
    assert all(row["file"].startswith("{test_root}/wavs/") for row in rows)
    record = json.loads((tmp_path / "out/fold_1/run.json").read_text())
    assert (record["corpus"], record["test_corpus"]) == ("table", "other")
    manifests = tmp_path / "out/manifests/fold_1"
    heard = [
        json.loads((manifests / f"{p}.json").read_text()) for p in ("train", "valid")
    ]
    assert sum(map(len, heard)) == 32  # all of the first corpus's two classes


def test_two_corpora_that_cannot_be_compared(table, other, tmp_path):
    text = refusal(
        tmp_path / "out", table=table, test_table=other, test_map="happy=glad"
    )
    assert "1 are shared, at least 2 are needed" in text
    assert "calm, glad, sad" in text
    both = {"table": table, "test_table": other, "labels": "happy,sad,angry"}
    text = refusal(tmp_path / "out", **both)
    assert "labels has angry, which no clip of other has" in text
    assert "give --labels happy,sad" in text
    text = refusal(tmp_path / "out", table=table, test_table=table)
    assert "both corpora are called table" in text
    text = refusal(tmp_path / "out", table=table, test_table=other, n_folds=4)
    assert "n_folds is 4, but another corpus is tested" in text


def test_a_grid_over_corpora(table, other, tmp_path, capsys):
    """One command; each corpus as if it were the only one, and a table of all."""
    third = make_table(tmp_path / "third", ("angry", "sad"), ("Flo", "Gus"), seed=80)
    third = third.rename(third.with_name("third.csv"))
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        yaml.safe_dump({"m": {"pooling": "mean"}, "c": {"pooling": "corr"}})
    )
    given = {"table": table, "grid": grid}
    with quick_training():
        both = words(tmp_path / "both", **given, test_table=f"{other},{third}")
        assert run_grid(both) == 0
        assert run_grid(words(tmp_path / "one", **given, test_table=third)) == 0
    for head in ("m", "c"):
        one, among = tmp_path / "one" / head, tmp_path / "both/third" / head
        for name in ("metrics.json", "predictions.csv", "head.safetensors"):
            assert (one / "fold_1" / name).read_bytes() == (
                among / "fold_1" / name
            ).read_bytes()
    page = (tmp_path / "both/grid.md").read_text()
    assert "other/m" in page
    assert "third/c" in page
    text = refusal(tmp_path / "two", table=table, test_table=f"{other},{third}")
    assert "give one table, or several to run_grid.py" in text
    with pytest.raises(InputError, match="names are those of folders, so they must"):
        run_grid(words(tmp_path / "two", **given, test_table=f"{other},{other}"))
    bad = f"{other},{tmp_path / 'gone.csv'}"
    with pytest.raises(InputError, match=r"gone\.csv"):
        run_grid(words(tmp_path / "two", **given, test_table=bad))
    assert not (tmp_path / "two").exists()


def test_a_clip_that_is_too_short_for_the_encoder_is_named(table, tmp_path):
    """SEW joins frames, so that it needs more than the 25 ms of others."""
    from encoders import build_encoder

    rows = [{**row, "start": 0, "end": ""} for row in read_rows(table)]
    rows[7] |= {"end": 0.030}
    made = write_rows(table.parent / "short.csv", rows)
    given = {"upstream_source": build_encoder(tmp_path / "sew", "sew"), "n_folds": 4}
    with pytest.raises(InputError, match=r"Ann_sad_3.wav: 0\.0300 s are too short for"):
        train(tmp_path / "out", table=made, **given)


def test_each_table_of_a_grid_takes_its_own_labels_of_the_map(table, other, tmp_path):
    third = make_table(tmp_path / "third", ("angry", "calm"), ("Flo", "Gus"), seed=80)
    third = third.rename(third.with_name("third.csv"))
    grid = tmp_path / "grid.yaml"
    grid.write_text("m: {pooling: mean}")
    given = {"table": table, "grid": grid, "test_table": f"{other},{third}"}
    maps = {"test_map": "angry=sad,calm=happy,sad=angry"}  # the last one in `other`
    with quick_training():
        assert run_grid(words(tmp_path / "out", **given, **maps)) == 0
    found = [
        json.loads((tmp_path / "out" / name / "m/fold_1/metrics.json").read_text())
        for name in ("other", "third")
    ]
    assert [one["labels"] for one in found] == [["angry", "happy"], ["happy", "sad"]]
    assert [one["n"] for one in found] == [24, 16]
    bad = words(tmp_path / "two", **given, test_map="calmer=happy")
    with pytest.raises(InputError, match=r"--test_map has the label 'calmer', which"):
        run_grid(bad)


def test_manifests_of_another_command_are_refused(table, other, tmp_path):
    """Two commands with one manifest_folder: the first's plan is not the second's."""
    shared = tmp_path / "manifests"
    third = make_table(tmp_path / "third", ("angry", "sad"), ("Flo", "Gus"), seed=80)
    third = third.rename(third.with_name("third.csv"))
    grid = tmp_path / "grid.yaml"
    given = {"table": table, "grid": grid, "manifest_folder": shared}
    line = words(tmp_path / "out", **given, test_table=f"{other},{third}")
    with quick_training():
        grid.write_text("m: {pooling: mean}")
        assert run_grid(line) == 0
        grid.write_text("m: {pooling: mean}\nc: {pooling: corr}")
        with pytest.raises(InputError, match=r"\.json: it is not of this corpus"):
            run_grid(line)
    assert not (tmp_path / "out/third/c/fold_1/metrics.json").exists()


def test_a_grid_cannot_change_what_decides_the_corpus(table, tmp_path):
    grid, mine = tmp_path / "grid.yaml", tmp_path / "mine.yaml"
    grid.write_text("a: {kind: x}")
    mine.write_text(
        f"based_on: {SETTINGS}\nkind: y\n"
        "corpus: !name:sercorr.corpora.tables.read_table\n"
        "    table: !ref <table>\n    drop: !ref <kind>\n"
    )
    line = words(tmp_path / "out", table=table, grid=grid)
    with pytest.raises(InputError, match="a: kind decides the corpus or the upstream"):
        run_grid([str(mine), *line[1:]])


def test_folds_of_other_data_are_not_averaged_in_silence(table, tmp_path):
    from sercorr.reporting.report import report_folder

    rows = read_rows(table)
    fewer = write_rows(table.parent / "fewer.csv", rows[1:])
    train(tmp_path / "out", table=table, n_folds=2)
    train(tmp_path / "out", table=fewer, n_folds=2, fold=2)
    text = report_folder(tmp_path / "out")
    assert "Settings differ between folds: manifests." in text
    train(tmp_path / "same", table=table, n_folds=2)
    train(tmp_path / "same", table=table, n_folds=2, fold=2)
    assert "differ" not in report_folder(tmp_path / "same")


def test_names_and_copies_in_both_corpora(table, other, tmp_path, capsys):
    from sercorr.reporting.report import report_folder

    train(tmp_path / "out", table=table, test_table=other)
    assert "note: 1 test speakers have names that table has, too" in (
        capsys.readouterr().out
    )
    record = json.loads((tmp_path / "out/fold_1/run.json").read_text())
    assert record["speakers"] == {
        "test": 2, "shared": 0, "unknown": 0, "same_names": 1,
    }  # fmt: skip
    assert "1 test speakers have names of training speakers" in report_folder(
        tmp_path / "out"
    )
    copies = tmp_path / "copies"
    copies.mkdir()
    rows = []
    for number, row in enumerate(read_rows(table)):
        (copies / f"{number}.wav").write_bytes(
            (table.parent / row["file"]).read_bytes()
        )
        rows.append({**row, "file": f"{number}.wav", "speaker": f"new{number % 3}"})
    made = write_rows(copies / "copies.csv", rows)
    text = refusal(tmp_path / "no", table=table, test_table=made)
    assert "48 of the 48 clips of copies are of files that table has, too" in text
    same = write_rows(tmp_path / "table.csv", read_rows(other))
    text = refusal(
        tmp_path / "no", table=table, test_table=same
    )  # whose files are not even looked for
    assert "both corpora are called table" in text


def test_the_same_sound_cannot_train_and_test(table, tmp_path):
    """Two people in one part of a recording: a fold would hear what it tests."""
    rows = [{**row, "start": 0, "end": 0.4} for row in read_rows(table)]
    twin = {**rows[0], "speaker": "Bob", "emotion": "sad"}
    made = write_rows(table.parent / "twin.csv", [*rows, {**twin, "start": 0.15}])
    text = refusal(tmp_path / "out", table=made, n_folds=4)
    assert "most of which is in wavs/Ann_happy_0.wav#0.0-0.4, which trains" in text
    apart = write_rows(table.parent / "twin.csv", [*rows, {**twin, "end": 0.1}])
    text = refusal(tmp_path / "out", table=apart, n_folds=4)
    assert "tests wavs/Ann_happy_0.wav#0.0-0.1, most of which" in text
    crosstalk = [{**row, "end": 0.25} for row in rows]
    twin = {**twin, "start": 0.2, "end": 0.4}
    made = write_rows(table.parent / "twin.csv", [*crosstalk, twin])
    train(tmp_path / "out", table=made, n_folds=4)
