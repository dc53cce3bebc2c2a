"""What a report says of an experiment: what was asked for, what is missing, where."""

import json
from pathlib import Path

from made_up_results import make_run, rows_of

from sercorr.evaluation.runs import read_experiment_record, read_heads
from sercorr.reporting.layout import render
from sercorr.reporting.page.about import about_section
from sercorr.reporting.page.document import document_parts


def about(root: Path) -> str:
    """The section as Markdown."""
    section = about_section(read_heads(root), read_experiment_record(root), root)
    return render(document_parts("About", [section]), "markdown")


def write_record(root: Path, axes: dict, **more) -> None:
    record = {"experiment": "mine", "file": "mine.yaml", "figures": [], "commands": []}
    (root / "experiment.json").write_text(json.dumps({**record, "axes": axes, **more}))


def trainings(text: str) -> dict[str, str]:
    """Head -> how many of its trainings are finished."""
    rows = rows_of(text)
    column = rows["head"].index("trainings")
    return {name: rows[name][column] for name in ("x/a", "x/b", "y/b") if name in rows}


def test_what_was_asked_for_is_counted_and_nothing_else(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path / f"x/a/seed_{seed}", (1, 2), seed=seed)
    make_run(tmp_path / "x/b/seed_1", (1,), seed=1)
    make_run(tmp_path / "y/b/seed_1", (1, 2, 3), seed=1)  # one more than was asked for
    shared = {"corpus": [], "fold": [1, 2]}
    asked = [
        {**shared, "upstream": ["x"], "head": ["a"], "seed": [1, 2]},
        {**shared, "upstream": ["x", "y"], "head": ["b"], "seed": [1]},
        {**shared, "upstream": ["x"], "head": ["c"], "seed": [1]},
    ]
    axes = {**shared, "upstream": ["x", "y"], "head": ["a", "b", "c"], "seed": [1, 2]}
    write_record(tmp_path, axes, asked=asked)
    text = about(tmp_path)
    # 4 + 4 + 2 were asked for; the axes alone would make 24
    assert "Experiment mine: 7 of 10 trainings are finished." in text
    assert trainings(text) == {"x/a": "4 of 4", "x/b": "1 of 2", "y/b": "2 of 2"}
    assert "over the others only:\nfold 2: x/b (seed 1).\nall folds: x/c.\n" in text
    assert "Not asked for: fold 2, 3, 4, 5." not in text
    assert "Not asked for: fold 3, 4, 5. Means" in text
    write_record(tmp_path, axes)  # an earlier version wrote the axes alone
    text = about(tmp_path)
    assert "Experiment mine: 7 of 24 trainings are finished." in text
    assert trainings(text) == {"x/a": "4 of 4", "x/b": "1 of 4", "y/b": "2 of 4"}
    assert "seed 2: x/b; y/b.\n" in text
    (tmp_path / "experiment.json").unlink()
    text = about(tmp_path)
    assert "8 finished trainings" in text
    assert trainings(text) == {"x/a": "4 of 10", "x/b": "1 of 5", "y/b": "3 of 5"}


def test_places_below_the_folder_are_short(tmp_path, monkeypatch):
    root = tmp_path / "mine"
    make_run(root / "a", (1,), n_heads=4)
    make_run(root / "b", (1,), n_heads=1)
    for name, place in (("a", root / "models/tiny"), ("b", tmp_path / "mine2/other")):
        path = root / name / "fold_1/run.json"
        record = json.loads(path.read_text()) | {"upstream_source": str(place)}
        path.write_text(json.dumps(record | {"command": ["train.py", str(root)]}))
    monkeypatch.chdir(tmp_path)
    text = about(Path("mine"))
    other = tmp_path / "mine2/other"
    assert f"| upstream | ./models/tiny; {other} |" in text
    assert "| `./models/tiny` | `4` |" in text
    assert text.count(str(root / "models")) == 0
    assert f"`python train.py {root}`" in text  # can be typed as it stands
