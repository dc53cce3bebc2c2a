"""``--help`` of the programs: every key with its comment and default."""

import contextlib
import io
import runpy
from unittest import mock

import pytest
from runs import RECIPE, SETTINGS_FILE

from sercorr.training.help import describe_keys, format_help
from sercorr.training.settings import read_settings


def test_help_lists_every_key_with_its_comment_and_default(tmp_path):
    file = tmp_path / "more.yaml"
    text = SETTINGS_FILE.read_text()
    file.write_text(text + "\n# Mine\nshade: 0.75                # of the lamp\n")
    shown = format_help("train.py", "About.", file)
    words = " ".join(shown.split())
    assert "--shade" in shown
    assert "of the lamp [0.75]" in shown
    for key in read_settings(SETTINGS_FILE)[1]:
        assert key in shown or key.startswith("_")
    assert "the IEMOCAP release (has Session1 ... Session5) [required]" in words
    assert (
        "facebook/wav2vec2-large-lv60, openai/whisper-large-v3, a local folder, fbank"
        in words
    )
    assert "--precision" in shown
    assert "Floating-point precision for training" in shown
    assert "pooling_layer (!apply:sercorr.lobes.make_pooling)" in shown
    lines = [line for line in shown.splitlines() if str(file) not in line]
    assert max(map(len, lines)) <= 100


def test_help_of_a_child_shows_its_own_defaults():
    small = SETTINGS_FILE.with_name("small.yaml")
    described = describe_keys([small, SETTINGS_FILE])
    assert described["number_of_epochs"].default == "20"
    assert described["lr"].section.startswith("Training")
    assert described["cache_folder"].comment == "one store for all runs"


def shown_by(program: str, *words: str) -> str:
    """Run a program in this process and return what it prints."""
    output = io.StringIO()
    with (
        mock.patch("sys.argv", [str(RECIPE / program), *words]),
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(str(RECIPE / program), run_name="__main__")
    assert ended.value.code == 0
    return output.getvalue()


@pytest.mark.parametrize(
    "program", ["train", "run_folds", "run_grid", "extract_features", "evaluate"]
)
def test_every_program_has_help(program):
    shown = shown_by(f"{program}.py", "--help")
    assert shown.startswith(f"usage: python {program}.py HPARAMS.yaml")
    assert "--data_folder" in shown
    assert "the IEMOCAP release" in shown
    assert "--jit " not in shown  # refused


def test_help_of_another_settings_file():
    file = RECIPE.parents[1] / "demo" / "hparams" / "demo.yaml"
    assert "[fbank]" in shown_by("train.py", str(file), "--help")


def test_help_of_an_experiment_names_its_file_and_its_settings():
    shown = shown_by("run_experiment.py", str(RECIPE / "experiments/heads.yaml"), "-h")
    assert shown.startswith("usage: python run_experiment.py EXPERIMENT.yaml [--key")
    assert f"\nSettings, with the defaults of {SETTINGS_FILE}:\n" in shown
