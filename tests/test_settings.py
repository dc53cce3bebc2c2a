"""Settings: overrides as they stand on a command line, run options, ranges."""

from pathlib import Path

import pytest
from runs import SETTINGS_FILE, make_settings

from sercorr.errors import InputError
from sercorr.training.settings import load_settings

NEEDED = [str(SETTINGS_FILE), "--data_folder", "corpus"]

# Every key that people are told of, with a value that is not its default.
KEYS = {
    "data_folder": "other",
    "output_folder": "out",
    "manifest_folder": "lists",
    "cache_folder": "cache",
    "fold": 3,
    "seed": 7,
    "upstream_source": "fbank",
    "upstream_revision": "12e4567",
    "pooling": "mean_std",
    "n_heads": 2,
    "projection_size": 16,
    "channel_dropout": 0.5,
    "label_smoothing": 0,
    "number_of_epochs": 3,
    "batch_size": 5,
    "lr": 1e-3,
    "updates_per_epoch": 9,
    "valid_ratio": 0.3,
    "skip_bad_audio": True,
}


def load(*arguments: str):
    return load_settings([*NEEDED, *arguments])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", ["two words", "one word"])
def test_every_key_can_be_given(key, form):
    value = str(KEYS[key])
    words = [f"--{key}", value] if form == "two words" else [f"--{key}={value}"]
    settings = load(*words)
    assert settings[key] == KEYS[key]
    assert type(settings[key]) is type(KEYS[key])
    assert settings.overrides[key] == KEYS[key]


def test_the_defaults_are_the_papers():
    settings = load()
    wanted = {
        "upstream_source": "microsoft/wavlm-large",
        "pooling": "attentive_corr",
        "n_heads": 4,
        "projection_size": 256,
        "channel_dropout": 0.25,
        "label_smoothing": 0.25,
        "batch_size": 32,
        "lr": 1e-4,
        "max_grad_norm": 1.0,
        "valid_ratio": 0.2,
        "labels": ["neu", "hap", "ang", "sad"],
    }
    assert {key: settings[key] for key in wanted} == wanted
    assert settings["number_of_epochs"] * settings["updates_per_epoch"] == 30_000


def test_an_override_reaches_what_refers_to_it():
    settings = load("--output_folder", "out", "--fold", "4", "--lr", "0.5")
    assert settings["fold_folder"] == "out/fold_4"
    assert settings["checkpoint_folder"] == "out/fold_4/checkpoints"
    assert settings["prepare"].keywords["manifest_folder"] == "out/manifests"
    assert settings["opt_class"].keywords["lr"] == 0.5


@pytest.mark.parametrize(
    "path",
    [
        "/my corpus/a b",
        "/data/a #1",
        "C:/x: y",
        "a=b=c",
        "0123",
        "it's",
        '"quoted"',
        "[x]",
        "{x}",
        "!tag",
        "*star",
        "50 %",
        "Gef\u00fchle",
        "a\\b",
    ],
)
def test_paths_stay_as_they_are(path):
    for words in (["--data_folder", path], [f"--data_folder={path}"]):
        settings = load(*words)
        assert settings["data_folder"] == path
        assert settings["prepare"].keywords["data_folder"] == path


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lr", "1e-4", 1e-4),
        ("lr", "1", 1),
        ("valid_session", "null", None),
        ("valid_session", "2", 2),
        ("cache_folder", "null", None),
        ("skip_bad_audio", "true", True),
        ("use_tensorboard", "False", False),
        ("labels", "[sad, ang]", ["sad", "ang"]),
    ],
)
def test_numbers_booleans_null_and_lists(key, text, value):
    found = load(f"--{key}", text)[key]
    assert found == value
    assert type(found) is type(value)


def test_the_last_of_equal_keys_and_the_callers_win():
    assert load("--fold", "2", "--fold=3")["fold"] == 3
    assert load_settings([*NEEDED, "--fold", "2"], {"fold": 5})["fold"] == 5


def test_run_options_are_speechbrains():
    options = load(
        "--device", "cpu", "--precision=bf16", "--noprogressbar", "--lr", "0.1"
    ).run_opts
    assert (options.device, options.precision) == ("cpu", "bf16")
    assert options.noprogressbar
    assert options.overridden_args == {"device", "precision", "noprogressbar"}


def test_an_interval_in_steps_takes_the_place_of_that_in_minutes():
    assert load()["ckpt_interval_minutes"] > 0
    assert load("--ckpt_interval_steps", "5")["ckpt_interval_minutes"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--poling", "mean"], r"--poling: no such setting; did you mean pooling"),
        (["--n_head=4"], r"--n_head: .*did you mean n_heads"),
        (["--zzz", "1"], r"--zzz: .*the settings are: .*batch_size.*seed"),
        (["--prec", "bf16"], r"--prec: .*did you mean precision"),
        (["stray"], r"stray: it belongs to no --key"),
        (["--pooling"], r"--pooling: a value is missing"),
        (["--pooling", "--lr", "1"], r"--pooling: a value is missing"),
        (["--fold", "6"], r"fold is 6; it must be one of 1, 2, 3, 4, 5"),
        (["--fold", "0"], r"fold is 0; it must be one of"),
        (["--fold", "one"], r"fold is 'one'; it must be one of"),
        (["--fold", "1.5"], r"fold is 1\.5; it must be one of"),
        (["--fold", "True"], r"fold is True; it must be one of"),
        (["--n_folds", "x"], r"n_folds is 'x'; it must be a whole number"),
        (["--number_of_epochs", "0"], r"number_of_epochs is 0; .*at least 1"),
        (["--updates_per_epoch", "1e3"], r"updates_per_epoch is 1000\.0; .*whole"),
        (["--batch_size", "0"], r"batch_size is 0; .*at least 1"),
        (["--n_heads", "0"], r"n_heads is 0; .*at least 1"),
        (["--projection_size", "1"], r"projection_size is 1; .*at least 2"),
        (["--num_workers", "-1"], r"num_workers is -1; .*at least 0"),
        (["--seed", "-1"], r"seed is -1; .*from 0 to 2\^31"),
        (["--label_smoothing", "1.1"], r"label_smoothing is 1\.1; .*from 0 to 1"),
        (["--label_smoothing", ".nan"], r"label_smoothing is nan; .*from 0 to 1"),
        (["--channel_dropout", "1"], r"channel_dropout is 1; .*under 1"),
        (["--channel_dropout", "-0.1"], r"channel_dropout is -0\.1; .*at least 0"),
        (["--lr", "0"], r"lr is 0; .*over 0"),
        (["--lr", "1e99"], r"lr is 1e\+99; .*over 0"),
        (["--lr", "fast"], r"lr is 'fast'; .*over 0"),
        (["--max_batch_seconds", "0"], r"max_batch_seconds is 0; .*over 0"),
        (["--skip_bad_audio", "maybe"], r"skip_bad_audio is 'maybe'; .*True or False"),
        (["--use_tensorboard", "2"], r"use_tensorboard is 2; .*True or False"),
        (["--labels", "[a, a]"], r"labels is \['a', 'a'\]; .*different names"),
        (["--labels", "neu"], r"labels is 'neu'; .*list"),
        (["--data_folder", "null"], r"data_folder is None; it must be given"),
        (["--output_folder", ""], r"output_folder is None; it must be given"),
        (["--upstream_source", "null"], r"upstream_source is None; it must be given"),
    ],
)
def test_what_cannot_be_used_is_named(words, message):
    with pytest.raises(InputError, match=message):
        load(*words)


def test_a_key_that_must_be_given():
    with pytest.raises(InputError, match="data_folder is not set; add: --data_folder"):
        load_settings([str(SETTINGS_FILE)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such settings file"),
        ("a: [1, 2", "not valid YAML"),
        ("- a\n- b\n", "a mapping of settings was expected"),
        ("a: !new:no.such.Thing\n", "no.such.Thing|no module|not be located"),
    ],
)
def test_settings_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_settings([str(path)])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["--fold", "1"]])
def test_the_settings_file_comes_first(arguments):
    with pytest.raises(InputError, match="settings file is missing"):
        load_settings(arguments)


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(InputError, match=r"the key 'pooling' is missing; add it"):
        load_settings([str(path)])["pooling"]


def test_identity_holds_what_decides_the_outcome(tmp_path):
    def identity(**changes):
        return make_settings(Path("corpus"), tmp_path, **changes).identity()

    plain = identity()
    for changes in (
        {"seed": 1},
        {"lr": 0.5},
        {"fold": 2},
        {"skip_bad_audio": True},
        {"precision": "bf16"},
        {"max_grad_norm": 2.5},
        {"grad_accumulation_factor": 2},
    ):
        (key, value), *_ = changes.items()
        assert identity(**changes) == {**plain, key: value}
    places = {"output_folder": "elsewhere", "num_workers": 2, "max_batch_seconds": 1}
    assert identity(**places, ckpt_interval_steps=3) == plain


def test_a_file_based_on_another_holds_what_differs():
    small = load_settings(
        [str(SETTINGS_FILE.with_name("small.yaml")), *NEEDED[1:], "--lr", "0.02"]
    )
    plain = load("--lr", "0.02")
    assert small["number_of_epochs"] == small["updates_per_epoch"] == 20
    assert small["cache_folder"] == f"{small['output_folder']}/features"
    changed = {"number_of_epochs", "updates_per_epoch"}
    same = plain.identity().keys() - changed
    assert {k: small.identity()[k] for k in same} == {
        k: plain.identity()[k] for k in same
    }
    assert small["opt_class"].keywords == {"lr": 0.02}


def test_the_command_line_wins_over_every_file(tmp_path):
    base, middle, top = (
        tmp_path / f"{name}.yaml" for name in ("base", "middle", "top")
    )
    base.write_text("a: 1\nb: 1\nc: 1\nd: 1\n")
    middle.write_text("based_on: base.yaml\nb: 2\nc: 2\nd: 2\n")
    top.write_text("based_on: middle.yaml\nc: 3\nd: 3\n")
    settings = load_settings([str(top), "--d", "4"])
    assert [settings[key] for key in "abcd"] == [1, 2, 3, 4]


def test_files_based_on_what_cannot_be(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("based_on: second.yaml\n")
    with pytest.raises(InputError, match=r"second\.yaml: no such settings file"):
        load_settings([str(first)])
    second.write_text("based_on: first.yaml\n")
    with pytest.raises(InputError, match="based_on leads in a circle"):
        load_settings([str(first)])
    second.write_text("a: 1\n")
    first.write_text("based_on: second.yaml\nb: 2\n")
    with pytest.raises(InputError, match="b: no such setting"):
        load_settings([str(first)])
