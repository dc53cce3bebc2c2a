"""What the README tells people to write works as it stands there."""

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
from releases import make_release
from runs import RECIPE, outcome, train
from sklearn.metrics import matthews_corrcoef

from sercorr.cli import make_parser
from sercorr.errors import InputError
from sercorr.evaluation import metrics, predictions, results
from sercorr.files import read_json
from sercorr.training.grid_file import read_grid
from sercorr.training.settings import plain_tree

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASE = "recipes/IEMOCAP/emotion_corr/hparams/train.yaml"
_BLOCK = re.compile(r"```\w+\n# (\S+)\n(.*?)```", re.DOTALL)


def sections() -> dict[str, dict[str, str]]:
    """Heading -> name of a file -> its text, from the chapter "Change it"."""
    chapter = README.split("\n## Change it\n")[1].split("\n## ")[0]
    found = {}
    for section in chapter.split("\n### ")[1:]:
        heading, _, text = section.partition("\n")
        found[heading] = dict(_BLOCK.findall(text))
    return found


TRAINED = [
    heading
    for heading, files in sections().items()
    if any(name.endswith(".yaml") for name in files)
]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("readme") / "release", odd=False)


@pytest.fixture(scope="module")
def plain(release) -> dict:
    train(release, release.with_name("plain"))
    return outcome(release.with_name("plain"))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write the files of a section; return its settings file."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    modules = set(sys.modules)

    def write(heading: str) -> Path:
        for name, text in sections()[heading].items():
            (tmp_path / name).write_text(text.replace(BASE, str(ROOT / BASE)))
        (file,) = tmp_path.glob("*.yaml")
        return file

    yield write
    for name in set(sys.modules) - modules:
        if not name.startswith(("sercorr", "torch", "speechbrain", "transformers")):
            del sys.modules[name]


def make_corpus(folder: Path) -> Path:
    """Make what the example of a corpus reads: anna/happy_03.wav."""
    generator = np.random.default_rng(0)
    for speaker in ("anna", "ben", "cleo"):
        for emotion in ("neutral", "happy", "angry"):
            for number in range(2):
                file = folder / speaker / f"{emotion}_{number}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, generator.normal(0, 0.1, 8000), 16000)
    return folder


def test_every_question_has_its_answer():
    wanted = {
        *("A pooling", "A corpus", "A loss", "An upstream family", "The split"),
        *("Optimiser and learning rate", "A metric", "A plot"),
        "Training the upstream's top layers too",
        "A column of predictions.csv",
    }
    assert wanted <= set(sections())


@pytest.mark.parametrize("heading", TRAINED)
def test_settings_files_train_what_they_say(release, plain, written, tmp_path, heading):
    file, out, changes = written(heading), tmp_path / "out", {}
    corpus = release
    if heading == "A corpus":
        corpus = make_corpus(tmp_path / "corpus")
    metrics = train(corpus, out, file=file, **changes)
    tree = read_json(out / "fold_1/run.json")["identity"]["settings"]
    keys = re.findall(r"^(\w+):", file.read_text(), re.MULTILINE)
    for key in set(keys) - {"based_on"}:
        assert key in tree
    assert outcome(out)["head.safetensors"] != plain["head.safetensors"]
    if heading == "A corpus":
        assert metrics["labels"] == ["neutral", "happy", "angry"]
        rows = (out / "fold_1/predictions.csv").read_text().splitlines()[1:]
        assert {row.split(",")[0].split("_")[0] for row in rows} == {"anna"}
    if heading == "The split":
        assert len(list((out / "manifests").glob("fold_*"))) == 4


def test_a_metric_is_in_scores_old_and_new(monkeypatch):
    monkeypatch.setattr(metrics, "RATES", dict(metrics.RATES))
    exec(sections()["A metric"]["metric.py"], {})
    truth, predicted = list("aaabbc"), list("aabbcc")
    scores = metrics.classification_metrics(truth, predicted, list("abc"))
    expected = 100 * matthews_corrcoef(truth, predicted)
    assert scores["mcc"] == pytest.approx(expected)
    old = {key: value for key, value in scores.items() if key != "mcc"}
    assert metrics.complete_metrics(old)["mcc"] == pytest.approx(expected)


def test_a_plot_and_a_column(release, tmp_path, monkeypatch):
    wanted: dict = {}
    exec(sections()["A column of predictions.csv"]["columns.py"], wanted)
    for module in (predictions, results):
        monkeypatch.setattr(module, "CLIP_COLUMNS", wanted["CLIP_COLUMNS"])
    train(release, tmp_path)
    fold = tmp_path / "fold_1"
    with open(fold / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    manifest = read_json(tmp_path / "manifests/fold_1/test.json")
    assert rows
    for row in rows:
        assert float(row["duration"]) == manifest[row["id"]]["duration"]
        assert row["file"] == manifest[row["id"]]["wav"]
    found = predictions.read_predictions(fold / "predictions.csv")
    assert found.files == [row["file"] for row in rows]
    assert found.labels == ["neu", "hap", "ang", "sad"]
    exec(sections()["A plot"]["speakers.py"], wanted)
    wanted["plot_speakers"](fold)
    assert matplotlib.image.imread(fold / "speakers.png").std() > 0


def test_an_upstream_among_the_modules_is_refused(release, tmp_path):
    file = tmp_path / "mine.yaml"
    modules = "modules: {head: !ref <head>, up: !ref <upstream>}"
    file.write_text(f"based_on: {ROOT / BASE}\n{modules}\n")
    with pytest.raises(InputError, match="the upstream is among them, but it is froz"):
        train(release, tmp_path / "out", file=file)


def test_programs_and_files_that_it_names_are_there():
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in set(re.findall(r"\$R/([\w/]+\.(?:py|yaml))", README)):
        assert (RECIPE / name).exists(), name


def test_the_grid_file_is_one(tmp_path):
    text = README.split("A grid file maps names to settings:\n\n")[1].split("\n\n")[0]
    file = tmp_path / "grid.yaml"
    file.write_text("\n".join(line.strip() for line in text.splitlines()))
    heads = read_grid(file)
    assert list(heads) == ["att4/seed_1", "att4/seed_2", "att4/seed_3", "sgd", "mean"]
    assert heads["att4/seed_2"]["seed"] == 2
    assert plain_tree(heads["sgd"]["opt_class"])["tag"] == "!name:torch.optim.SGD"


def test_every_command_that_it_shows_is_one():
    shown = re.findall(
        r"(?m)(?:`|^ {4}(?:\.venv/bin/)?)(sercorr [a-z].*?)(?:`|$)", README
    )
    commands = [text.partition("#")[0] for text in shown]
    assert len(commands) >= 10
    for command in commands:
        given = make_parser().parse_args(shlex.split(command)[1:])
        assert callable(given.run)


def test_a_model_is_used_in_three_lines(plain, release, tmp_path, monkeypatch, capsys):
    clip, signal = next(release.rglob("*.wav")), np.zeros(48000 * 6)
    chapter = README.split("\n## Use a model\n")[1].split("\n## ")[0]
    first, second = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    shutil.copy(clip, tmp_path / "my_recording.wav")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/results").symlink_to(release.with_name("plain"))
    names = {"blocks": [signal[:50000], signal[50000:]]}
    exec(first, names)
    assert capsys.readouterr().out.startswith("my_recording.wav ")
    exec(second, names)
    assert len(capsys.readouterr().out.splitlines()) == 3  # at 0, 1 and 2 seconds
