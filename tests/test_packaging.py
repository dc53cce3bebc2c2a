"""The environment that the Makefile makes, and what the requirements declare."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from imported import imported_names
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

import sercorr

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEV_EXTRAS = ("app", "onnx", "timelines", "audformat", "slurm")
PYTHONS = [
    classifier.rpartition(" ")[2]
    for classifier in PROJECT["classifiers"]
    if classifier.startswith("Programming Language :: Python :: 3.")
]


def by_name(lines: Iterable[str]) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): each for each in requirements}


def pins(file: str) -> dict[str, str]:
    """Name -> version; anything but `name==version` is refused."""
    lines = (ROOT / file).read_text().splitlines()
    found = by_name(line for line in lines if line and not line.startswith(("#", "-r")))
    for requirement in found.values():
        assert re.fullmatch(r"[\w.-]+==[\d.]+", str(requirement))
    return {name: str(each.specifier)[2:] for name, each in found.items()}


@pytest.mark.parametrize(
    ("file", "declared"),
    [
        (
            "requirements.txt",
            [*PROJECT["dependencies"], *EXTRAS["demo"], *EXTRAS["tensorboard"]],
        ),
        (
            "requirements-dev.txt",
            [line for name in ("dev", *DEV_EXTRAS) for line in EXTRAS[name]],
        ),
    ],
)
def test_every_pin_is_in_the_range_that_pyproject_declares(file, declared):
    ranges, pinned = by_name(declared), pins(file)
    assert ranges.keys() == pinned.keys()
    outside = {
        name: version
        for name, version in pinned.items()
        if not ranges[name].specifier.contains(version)
    }
    assert outside == {}


def test_torchaudio_is_pinned_to_the_release_made_for_torch():
    pinned, ranges = pins("requirements.txt"), by_name(PROJECT["dependencies"])
    assert pinned["torch"] == pinned["torchaudio"]
    assert ranges["torch"].specifier == ranges["torchaudio"].specifier


def imported_modules(folder: str) -> set[str]:
    """Top-level modules from elsewhere that the files below a folder import."""
    files = list(ROOT.glob(f"{folder}/**/*.py"))
    names = {name.split(".")[0] for path in files for name in imported_names(path)}
    return names - {path.stem for path in files} - {"sercorr"} - sys.stdlib_module_names


def modules_of(declared: Iterable[str]) -> set[str]:
    """Top-level modules that come with the declared distributions."""
    wanted = by_name(declared).keys()
    return {
        module
        for module, distributions in packages_distributions().items()
        if wanted & {canonicalize_name(name) for name in distributions}
    }


USERS_EXTRAS = [line for name in EXTRAS if name != "dev" for line in EXTRAS[name]]


@pytest.mark.parametrize(
    ("folder", "declared"),
    [
        ("sercorr", [*PROJECT["dependencies"], *USERS_EXTRAS]),
        ("recipes", [*PROJECT["dependencies"], *EXTRAS["demo"]]),
    ],
)
def test_every_import_is_declared(folder, declared):
    assert imported_modules(folder) - modules_of(declared) == set()


def imported_at_once(path: Path) -> Iterator[str]:
    """Top-level modules that are imported when a file is, not when a function runs."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            waiting.extend(ast.iter_child_nodes(node))


def test_extras_are_imported_where_they_are_used():
    extras = modules_of(USERS_EXTRAS) - modules_of(PROJECT["dependencies"])
    assert {"audformat", "gradio", "onnxruntime", "praatio", "pympi"} <= extras
    assert "submitit" in extras
    early = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in ROOT.glob("sercorr/**/*.py")
        for module in extras.intersection(imported_at_once(path))
    }
    assert early == set()


def test_all_files_name_the_same_pythons():
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    first, last = (version.replace(".", ", ") for version in (PYTHONS[0], PYTHONS[-1]))
    supported = f"({first}) <= sys.version_info[:2] <= ({last})"
    assert supported in (ROOT / "Makefile").read_text()


def test_the_citation_names_this_version():
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert citation["version"] == sercorr.__version__


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with the Makefile and what its stamp depends on."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", *ROOT.glob("requirements*.txt")):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def fake_python(folder: Path, supported: bool, pip_status: int) -> Path:
    """A command that answers as the Makefile's questions to Python expect."""
    python = folder / "python-fake"
    python.write_text(
        f"""#!/bin/sh
case "$*" in
    *version_info*) exit {0 if supported else 1} ;;
    *ensurepip*) exit 0 ;;
    *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *pip*) echo "$*" >> pip.log; exit {pip_status} ;;
    *pytest*) echo tested ;;
    *) echo Python 3.12.0 ;;
esac
"""
    )
    python.chmod(0o755)
    return python


def test_help_lists_every_target(checkout):
    phony = re.search(r"^\.PHONY: (.+)$", (checkout / "Makefile").read_text(), re.M)
    listed = re.findall(r"^  make ([\w-]+) +\S", make(checkout).stdout, re.M)
    assert sorted(listed) == sorted(phony[1].split())


def test_the_demo_runs_files_that_exist():
    files = re.findall(r"recipes/\S+\.(?:py|yaml)", (ROOT / "Makefile").read_text())
    assert len(files) == 3
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("python", ["/no/such/python", "unsupported"])
def test_a_missing_python_is_said_plainly(checkout, python):
    if python == "unsupported":
        python = str(fake_python(checkout, supported=False, pip_status=0))
    result = make(checkout, "test", f"PYTHON={python}")
    assert result.returncode == 2
    message = f"no Python from {PYTHONS[0]} to {PYTHONS[-1]} runs here"
    assert f"{message} (tried: {python})" in result.stderr
    assert not (checkout / ".venv").exists()


def test_a_failed_installation_leaves_no_stamp(checkout):
    broken = fake_python(checkout, supported=True, pip_status=1)
    assert make(checkout, "test", f"PYTHON={broken}").returncode == 2
    assert not (checkout / ".venv" / ".installed").exists()


def test_installation_happens_once_and_again_when_requirements_change(checkout):
    python = fake_python(checkout, supported=True, pip_status=0)
    for _ in range(2):
        result = make(checkout, "test", f"PYTHON={python}")
        assert result.stdout.endswith("tested\n")
    log = checkout / "pip.log"
    assert len(log.read_text().splitlines()) == 1
    stamp = checkout / ".venv" / ".installed"
    changed = stamp.stat().st_mtime + 5
    os.utime(checkout / "requirements.txt", (changed, changed))
    make(checkout, "test", f"PYTHON={python}")
    assert len(log.read_text().splitlines()) == 2


def test_shell_scripts_parse():
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True, timeout=10)
