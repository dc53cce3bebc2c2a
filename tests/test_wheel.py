"""The built package, installed without the repository: every command is there."""

import argparse
import csv
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sercorr
from sercorr.cli import make_parser
from sercorr.inference import EmotionRecognizer
from sercorr.inference.export import export_folder
from sercorr.inference.parts import ModelParts
from sercorr.lobes import EmotionHead, Upstream, make_pooling

ROOT = Path(__file__).parents[1]
SOURCES = ("sercorr", "pyproject.toml", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from the repository and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package, built from a copy of its sources without any network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "wheel", *offline, "--wheel-dir", folder, "./source", cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel) -> Path:
    """Programs of an environment with the wheel, and the libraries of this one.

    A .pth file shows it the libraries; those in the libraries' own folder are not
    followed, so that no link to the repository counts.
    """
    folder = wheel.parent / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=wheel.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet")
    run(*pip, "install", "--no-index", "--no-deps", wheel, cwd=wheel.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(libraries))
    where = run(python, "-c", "import sercorr; print(sercorr.__file__)", cwd=folder)
    assert where.strip() == str(site / "sercorr" / "__init__.py")
    return python.parent


def test_the_wheel_holds_every_file_of_the_package(wheel):
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sercorr").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert "sercorr/py.typed" in there
    inside = {
        name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name
    }
    assert inside == there


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> list:
    """The words of every command, with those that only lead to others."""
    found = [words]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found += commands(below, (*words, name))
    return found


def test_every_command_has_help(environment, tmp_path):
    every = commands(make_parser())
    assert {("predict",), ("export",), ("app",), ("cache", "info")} <= set(every)
    for words in every:
        shown = run(environment / "sercorr", *words, "--help", cwd=tmp_path)
        assert shown.startswith(" ".join(["usage: sercorr", *words]))
    version = run(environment / "sercorr", "--version", cwd=tmp_path)
    assert version.strip() == sercorr.__version__


def test_it_predicts_with_an_exported_folder(environment, tmp_path):
    torch.manual_seed(0)
    head = EmotionHead(1, 80, make_pooling("attentive_corr", 8, 2), 3, 0.0, 8)
    features = {"stored": "float16", "precision": "fp32"}
    parts = ModelParts("made up", ["a", "b", "c"], Upstream("fbank"), [head], features)
    export_folder(parts, tmp_path / "model")
    noise = np.random.default_rng(0).normal(0, 0.1, 12_000)
    soundfile.write(tmp_path / "clip.wav", noise, 16_000)
    (expected,) = EmotionRecognizer(parts, "cpu").predict(tmp_path / "clip.wav")
    options = ("--model", "model", "--format", "csv", "--quiet", "--device", "cpu")
    shown = run(environment / "sercorr", "predict", "clip.wav", *options, cwd=tmp_path)
    (row,) = csv.DictReader(io.StringIO(shown))
    assert (row["file"], row["emotion"]) == ("clip.wav", expected.label)
    found = [float(row[label]) for label in "abc"]
    assert found == pytest.approx(list(expected.scores.values()), abs=2e-6)
