"""Imports of the package run one way; files stay short; help is quick."""

import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from imported import imported_names

ROOT = Path(__file__).parents[1]

# From the lowest to the highest. A module imports from its own entry and from lines
# above its own; entries of one line do not import each other.
ORDER = [
    ["sercorr"],  # the package's own __init__
    ["sercorr.errors"],
    ["sercorr.files"],
    ["sercorr.lengths", "sercorr.threads"],
    ["sercorr.functional"],
    ["sercorr.fast"],
    ["sercorr.lobes", "sercorr.data"],
    ["sercorr.corpora"],
    ["sercorr.features"],
    ["sercorr.evaluation"],
    ["sercorr.reporting"],
    ["sercorr.training"],
    ["sercorr.inference"],
    ["sercorr.cli"],
    ["sercorr.__main__"],
]
LEVELS = {entry: level for level, line in enumerate(ORDER) for entry in line}


def module_name(path: Path, root: Path) -> str:
    """`sercorr/lobes/__init__.py` is `sercorr.lobes`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Modules of the package `root/sercorr`, each with those that it imports."""
    files = {module_name(path, root): path for path in root.glob("sercorr/**/*.py")}

    def module_of(name: str) -> str | None:
        while name not in files and "." in name:
            name = name.rpartition(".")[0]
        return name if name in files else None

    graph = {}
    for module, path in files.items():
        is_package = path.name == "__init__.py"
        package = module if is_package else module.rpartition(".")[0]
        targets = {module_of(name) for name in imported_names(path, package)}
        graph[module] = targets - {module, None}
    return graph


def entry_of(module: str) -> str:
    """The entry of ORDER that a module belongs to: its first two names."""
    return ".".join(module.split(".")[:2])


def wrong_imports(graph: dict[str, set[str]]) -> list[str]:
    """Imports against ORDER, as `module -> imported module`."""
    return sorted(
        f"{module} -> {target}"
        for module, targets in graph.items()
        for target in targets
        if entry_of(module) != entry_of(target)
        and LEVELS[entry_of(target)] >= LEVELS[entry_of(module)]
    )


def test_every_module_has_its_place_in_the_order():
    assert {entry_of(module) for module in import_graph(ROOT)} == set(LEVELS)


def test_imports_run_one_way():
    assert wrong_imports(import_graph(ROOT)) == []


def test_no_imports_in_a_circle():
    # static_order raises CycleError, which names the modules of the circle.
    order = list(graphlib.TopologicalSorter(import_graph(ROOT)).static_order())
    assert "sercorr.functional" in order


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("functional", "from sercorr.fast import covariance", "fast"),
        ("functional", "from .lobes import pooling", "lobes.pooling"),
        ("lobes/pooling", "def f():\n    from sercorr.data import audio", "data.audio"),
        ("lobes/pooling", "from ..training.brain import Brain", "training"),
        ("lobes/__init__", "from ..features import Store", "features"),
        ("data/audio", "import sercorr.lobes.pooling", "lobes.pooling"),
        ("features/__init__", "import_module('sercorr.training')", "training"),
        ("evaluation/__init__", "from sercorr import training, errors", "training"),
    ],
)
def test_an_import_against_the_order_is_found(tmp_path, module, line, found):
    for folder in ("fast", "lobes", "data", "features", "evaluation", "training"):
        (tmp_path / "sercorr" / folder).mkdir(parents=True)
        (tmp_path / "sercorr" / folder / "__init__.py").touch()
    for name in ("errors", "functional", "lobes/pooling", "data/audio"):
        (tmp_path / f"sercorr/{name}.py").touch()
    path = tmp_path / f"sercorr/{module}.py"
    path.write_text(line)
    expected = f"{module_name(path, tmp_path)} -> sercorr.{found}"
    assert wrong_imports(import_graph(tmp_path)) == [expected]


def test_no_file_is_longer_than_one_sitting():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("sercorr", "recipes", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    }
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["results", "--help"],
        ["corpus", "--help"],
        ["report", "--help"],
        ["cache", "info", "--help"],
    ],
)
def test_help_imports_no_heavy_library(arguments):
    program = (
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_module('sercorr', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    heavy = {'torch', 'torchaudio', 'transformers', 'speechbrain'}\n"
        "    print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: sercorr")
    assert result.stdout.endswith("heavy: []\n")


def test_importing_is_lazy_and_prediction_needs_no_torch(tmp_path):
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio", "transformers", "speechbrain"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy as np
from sercorr.inference import OnnxRecognizer, Prediction, Segment, load_recognizer
from sercorr.inference.prediction import Answer
from sercorr.inference.predictor import Predictor
import sercorr.inference.timeline_formats
class Loudness(Predictor):
    name, labels, identity = "loudness", ["quiet", "loud"], "1"
    def answer(self, waves, embedding=False):
        loud = [min(1.0, float(np.abs(wave).mean())) for wave in waves]
        return [Answer(np.array([1 - p, p])) for p in loud]
model = Loudness()
assert [r.label for r in model.predict(sys.argv[1], 1.0)] == ["quiet", "loud"]
assert model.diarize_file(sys.argv[1], 1.0, 1.0)[sys.argv[1]][1]["start"] == 1.0
assert len(list(model.stream([np.zeros(8000)], 8000, 0.5, 0.5))) == 2
print("done")
"""
    samples = np.repeat([0.1, 0.9], 44100).astype(np.float32)
    path = str(tmp_path / "a.wav")
    soundfile.write(path, samples, 44100, subtype="FLOAT")
    result = subprocess.run(
        [sys.executable, "-c", program, path],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert result.stdout == "done\n", result.stderr
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        __import__("sercorr.inference").inference.Nothing  # noqa: B018


def test_no_path_of_one_machine_in_tracked_files():
    # Folders of users and workplaces, and the one that this repository lies in.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository")
    own = re.escape(f"{ROOT}/")
    pattern = re.compile(rf"(?<![\w.}})])(?:{own}|/(?:home|root|Users|work)/\w)")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():  # a removed file stays listed until it is committed
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{name}: {hit[0]}" for hit in pattern.finditer(text)]
    assert found == []
