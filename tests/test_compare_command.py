"""The command ``sercorr compare``: names, files, the picture, what it refuses."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from made_up_systems import compare, make_grid, make_system, make_two

from sercorr.cli import main
from sercorr.errors import InputError
from sercorr.evaluation.metrics import RATES
from sercorr.reporting.comparison_command import compare_command, read_folders
from sercorr.reporting.comparison_plot import plot_comparison


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Three heads, each with three seeds of five folds."""
    return make_grid(tmp_path_factory.mktemp("compare") / "grid")


# names and files


def test_names_are_short_and_choose_the_baseline(tmp_path, grid):
    assert list(read_folders([grid])) == ["att", "corr", "mean"]
    assert list(read_folders([grid / "att", grid / "mean"])) == ["att", "mean"]
    assert list(read_folders([grid, grid / "att"])) == ["att", "corr", "mean"]
    assert list(read_folders([grid / "att/seed_1", grid / "mean/seed_2"])) == [
        "att/seed_1",
        "mean/seed_2",
    ]
    _, data = compare(grid, baseline="mean")
    assert [(p["first"], p["second"]) for p in data["pairs"]] == [
        ("att", "mean"),
        ("corr", "mean"),
    ]


def test_files_of_one_folder(tmp_path, grid, capsys):
    folder = tmp_path / "grid"
    shutil.copytree(grid, folder)
    with pytest.raises(SystemExit) as status:
        main(["compare", str(folder), "--outfile", str(tmp_path / "deep/all.json")])
    assert status.value.code == 0
    text = capsys.readouterr().out
    written = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert written == ["comparison.json", "comparison.md", "comparison.png"]
    assert f"written: {folder}/comparison.json, comparison.md, comparison.png" in text
    data = json.loads((folder / "comparison.json").read_text())
    assert data == json.loads((tmp_path / "deep/all.json").read_text())
    page = (folder / "comparison.md").read_text()
    for pair in data["pairs"]:
        assert pair["sentence"] in page
        assert pair["sentence"] in text
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    before = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()
    }
    with pytest.raises(SystemExit):
        main(["compare", str(folder)])
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_several_folders_write_nothing(grid, tmp_path, capsys):
    given = {"baseline": None, "rate": "ua", "outfile": None}
    folders = [str(grid / "att"), str(grid / "mean")]
    compare_command(SimpleNamespace(folders=folders, **given))
    assert "points UA" in capsys.readouterr().out
    assert not list(grid.rglob("comparison.*"))


def test_the_picture_marks_what_is_not_apart(grid, tmp_path):
    _, data = compare(grid)
    plot_comparison(data, tmp_path / "all.svg")
    picture = (tmp_path / "all.svg").read_text()
    small = data["pairs"][2]["difference"]
    for text in (">+24.7<", ">-24.7<", f">({small:+.1f})<", f">({-small:+.1f})<"):
        assert text in picture
    assert ">(+24.7)<" not in picture
    assert f">{small:+.1f}<" not in picture
    _, data = compare(grid, baseline="mean")
    plot_comparison(data, tmp_path / "base.svg")
    picture = (tmp_path / "base.svg").read_text()
    assert ">+24.7<" in picture
    assert ">-24.7<" not in picture


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom sercorr.cli import make_parser\n"
        "try:\n    make_parser().parse_args(['compare', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "usage: " in result.stdout
    assert result.stdout.endswith("[]\n")


# refusals


def refused(match, *folders, **options):
    with pytest.raises(InputError, match=match):
        compare(*folders, **options)


def test_other_test_clips_are_refused(tmp_path):
    folders = make_two(tmp_path, None, {"size": 20})
    refused(r"/a and .*/b: their test clips differ: 40 of 240 are only in the first, "
            "0 of 200 only in the second", *folders)  # fmt: skip


def test_other_labels_of_clips_are_refused(tmp_path):
    folders = make_two(tmp_path)
    path = tmp_path / "b/fold_2"
    said = (path / "predictions.csv").read_text().splitlines()
    cells = said[1].split(",")
    old, new = cells[1], "sad" if cells[1] != "sad" else "neu"
    said[1] = ",".join([cells[0], new, *cells[2:]])
    (path / "predictions.csv").write_text("\n".join(said) + "\n")
    refused("fold_2: predictions.csv and metrics.json do not agree", *folders)
    metrics = json.loads((path / "metrics.json").read_text())
    column = metrics["labels"].index(cells[2])
    for label, change in ((old, -1), (new, 1)):
        metrics["confusion"][metrics["labels"].index(label)][column] += change
    for rate in RATES:  # worked out from the confusion again
        del metrics[rate]
    (path / "metrics.json").write_text(json.dumps(metrics))
    refused("the label of 1 of 240 test clips differs", *folders)


def test_other_speakers_are_refused(tmp_path):
    own = {"who": lambda fold: [f"Ses0{fold}F", f"Ses0{fold}M"]}
    folders = make_two(tmp_path, own)
    path = tmp_path / "a/fold_1/predictions.csv"
    path.write_text(path.read_text().replace(",Ses01F,", ",Eve,"))
    refused("the speaker of 24 of 240 test clips differs", *folders)


def test_other_classes_and_manifests_are_refused(tmp_path):
    folders = make_two(tmp_path, {"record": {"manifests": "other"}})
    refused("a and b: their manifests differ, so they were trained", *folders)
    for path in (tmp_path / "a").rglob("metrics.json"):
        path.write_text(path.read_text().replace('"sad"', '"fea"'))
    for path in (tmp_path / "a").rglob("predictions.csv"):
        path.write_text(path.read_text().replace("sad", "fea"))
    refused("the classes are neu, hap, ang, fea and neu, hap, ang, sad", *folders)


def test_classes_in_another_order_are_the_same(tmp_path):
    folders = make_two(tmp_path)
    _, wanted = compare(*folders, rate="macro_f1")
    turned = ["sad", "ang", "hap", "neu"]
    for path in (tmp_path / "a").rglob("metrics.json"):
        metrics = json.loads(path.read_text())
        metrics["labels"] = turned
        metrics["confusion"] = [row[::-1] for row in metrics["confusion"][::-1]]
        path.write_text(json.dumps(metrics))
    for path in (tmp_path / "a").rglob("predictions.csv"):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        rows = [row[:3] + row[6:2:-1] + row[7:] for row in rows]
        path.write_text("\n".join(map(",".join, rows)) + "\n")
    _, found = compare(*folders, rate="macro_f1")
    assert found["pairs"][0]["tests"] == wanted["pairs"][0]["tests"]


def test_nothing_to_compare(tmp_path, grid):
    refused(
        "mean/../mean: this folder is given twice; name it once",
        grid / "mean/../mean",
        grid / "mean",
    )
    refused("there are no two heads of one corpus to compare", grid / "att")
    folders = make_two(
        tmp_path, {"record": {"corpus": "A"}}, {"record": {"corpus": "B"}}
    )
    refused("found a of A; b of B", *folders)
    shutil.rmtree(tmp_path)
    folders = make_two(tmp_path, {"folds": [1, 2]}, {"folds": [3]})
    refused("a and b: no fold is finished in both", *folders)


def test_unknown_baseline_rate_and_outfile(grid, tmp_path):
    refused(
        "baseline is 'max'; it must be one of att, corr, mean", grid, baseline="max"
    )
    refused("rate is 'mcc'; it must be one of wa, ua", grid, rate="mcc")
    for upstream in ("wavlm", "hubert"):
        make_system(tmp_path / upstream / "mean", 0.5, record={"corpus": "C"})
        make_system(tmp_path / upstream / "att", 0.5, record={"corpus": "C"})
    refused(
        "baseline is 'mean', which may be hubert/mean or wavlm/mean; name one of them",
        tmp_path,
        baseline="mean",
    )
    given = {"folders": [grid], "baseline": None, "rate": None, "outfile": "x.csv"}
    with pytest.raises(InputError, match=r"--outfile x.csv: name it \.json"):
        compare_command(SimpleNamespace(**given))
    assert not list(grid.rglob("comparison.*"))
