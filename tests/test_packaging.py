"""The environment that the Makefile makes, and what the requirements declare."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"([A-Za-z0-9_.-]+)==[0-9.]+(?:; python_version [<>=]+ \"3\.\d+\")?")


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_modules() -> set[str]:
    """Top-level names that the package and the recipes import."""
    sources = [*ROOT.glob("sercorr/**/*.py"), *ROOT.glob("recipes/**/*.py")]
    names = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    own = {path.stem for path in sources} | {"sercorr"}
    return names - own - set(sys.stdlib_module_names)


def test_every_requirement_is_pinned():
    assert all(PIN.fullmatch(line) for line in requirements())
    pins = dict(line.split(";")[0].split("==") for line in requirements())
    assert pins["torch"] == pins["torchaudio"]


def test_every_import_is_declared():
    declared = {normalised(PIN.fullmatch(line)[1]) for line in requirements()}
    distributions = packages_distributions()
    undeclared = {
        module
        for module in imported_modules()
        if not declared & {normalised(d) for d in distributions.get(module, [module])}
    }
    assert undeclared == set()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with the Makefile and what its stamp depends on."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
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
    listed = re.findall(r"^  make (\w+) +\S", make(checkout).stdout, re.M)
    assert sorted(listed) == sorted(phony[1].split())


@pytest.mark.parametrize("python", ["/no/such/python", "unsupported"])
def test_a_missing_python_is_said_plainly(checkout, python):
    if python == "unsupported":
        python = str(fake_python(checkout, supported=False, pip_status=0))
    result = make(checkout, "test", f"PYTHON={python}")
    assert result.returncode == 2
    assert f"no Python from 3.10 to 3.12 runs here (tried: {python})" in result.stderr
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
