"""Settings: files based on others, overrides, run options, ranges, help."""

import shutil
from pathlib import Path

import pytest
import torch
from runs import RECIPE, SETTINGS_FILE, make_settings

from sercorr.errors import InputError
from sercorr.training.program import parse_arguments
from sercorr.training.settings import plain_tree

NEEDED = [str(SETTINGS_FILE), "--data_folder", "corpus"]
FBANK = ["--upstream_source", "fbank"]

# Every key that people are told of, with a value that is not its default.
KEYS = {
    "data_folder": "other",
    "output_folder": "out",
    "manifest_folder": "lists",
    "cache_folder": "cache",
    "cache_dtype": "float32",
    "extract_precision": "bf16",
    "fold": 3,
    "n_folds": 4,
    "seed": 7,
    "split_seed": 8,
    "valid_session": 2,
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
    "max_grad_norm": 2.5,
    "num_workers": 1,
    "valid_ratio": 0.3,
    "skip_bad_audio": True,
}


def load(*arguments: str) -> dict:
    return parse_arguments([*NEEDED, *FBANK, *arguments]).load()


def parse(*arguments: str):
    return parse_arguments([*NEEDED, *arguments])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", ["two words", "one word"])
def test_every_key_can_be_given(key, form):
    value = str(KEYS[key])
    words = [f"--{key}", value] if form == "two words" else [f"--{key}={value}"]
    found = parse(*words).tree[key]
    assert found == KEYS[key]
    assert type(found) is type(KEYS[key])


def test_the_defaults_are_the_papers():
    tree = parse().tree
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
        "split_seed": 1234,
        "labels": ["neu", "hap", "ang", "sad"],
    }
    assert {key: tree[key] for key in wanted} == wanted
    assert tree["number_of_epochs"] * tree["updates_per_epoch"] == 30_000


def test_an_override_reaches_what_refers_to_it():
    hparams = load(
        *("--output_folder", "out", "--fold", "4", "--lr", "0.5"),
        *("--projection_size", "12", "--label_smoothing", "0.1"),
    )
    assert hparams["fold_folder"] == "out/fold_4"
    assert str(hparams["checkpointer"].checkpoints_dir) == "out/fold_4/checkpoints"
    assert hparams["corpus"].keywords["data_folder"] == "corpus"
    assert hparams["opt_class"].keywords == {"lr": 0.5}
    assert hparams["loss"].keywords == {"label_smoothing": 0.1}
    assert hparams["head"].projection.out_features == 12
    assert hparams["head"].pooling is hparams["pooling_layer"]


def test_the_head_depends_on_the_seed_alone():
    torch.manual_seed(99)
    first = load("--projection_size", "8")["head"].state_dict()
    torch.manual_seed(1)
    again = load("--projection_size", "8")["head"].state_dict()
    other = load("--projection_size", "8", "--seed", "5")["head"].state_dict()
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    for name in ("projection.weight", "pooling.attention.queries.weight"):
        assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize(
    "path",
    [
        *("/my corpus/a b", "/data/a #1", "C:/x: y", "a=b=c", "0123", "it's"),
        *('"quoted"', "[x]", "{x}", "!tag", "*star", "50 %", "Gef\u00fchle", "a\\b"),
    ],
)
def test_paths_stay_as_they_are(path):
    for words in (["--data_folder", path], [f"--data_folder={path}"]):
        hparams = load(*words)
        assert hparams["data_folder"] == path
        assert hparams["corpus"].keywords["data_folder"] == path


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lr", "1e-4", 1e-4),
        ("lr", "1", 1),
        ("valid_session", "null", None),
        ("valid_session", "2", 2),
        ("cache_folder", "null", None),
        ("skip_bad_audio", "true", True),
        ("labels", "[sad, ang]", ["sad", "ang"]),
    ],
)
def test_numbers_booleans_null_and_lists(key, text, value):
    found = load(f"--{key}", text)[key]
    assert found == value
    assert type(found) is type(value)


def test_a_class_can_be_given_on_the_command_line():
    hparams = load("--opt_class", "!name:torch.optim.SGD {lr: 0.3}")
    assert hparams["opt_class"].func is torch.optim.SGD
    assert hparams["opt_class"].keywords == {"lr": 0.3}


def test_a_class_needs_no_arguments():
    hparams = load("--opt_class", "!name:torch.optim.Adam")
    assert hparams["opt_class"]([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] > 0
    with pytest.raises(InputError, match=r"MeanPooling.*input_size"):
        load("--pooling_layer", "!new:sercorr.lobes.MeanPooling")


def test_run_options_are_speechbrains():
    options = parse(
        "--device", "cpu", "--precision=bf16", "--noprogressbar", "--lr", "0.1"
    ).run_opts
    assert (options.device, options.precision) == ("cpu", "bf16")
    assert options.noprogressbar
    assert options.overridden_args == {"device", "precision", "noprogressbar"}


def test_an_interval_in_steps_takes_the_place_of_that_in_minutes():
    assert parse().tree["ckpt_interval_minutes"] > 0
    assert parse("--ckpt_interval_steps", "5").tree["ckpt_interval_minutes"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--poling", "mean"], r"--poling: no such setting; did you mean pooling"),
        (["--jobs", "2"], r"--jobs is for run_folds\.py, run_grid\.py, run_experi"),
        (["--n_head=4"], r"--n_head: .*did you mean n_heads"),
        (["--zzz", "1"], r"--zzz: .*the settings are: .*batch_size.*seed"),
        (["--prec", "bf16"], r"--prec: .*did you mean precision"),
        (["stray"], r"stray: it belongs to no --key"),
        (["--pooling"], r"--pooling: a value is missing"),
        (["--pooling", "--lr", "1"], r"--pooling: a value is missing"),
        (["--test_only"], r"--test_only is not for this program: use evaluate\.py"),
        (["--jit"], r"--jit is not for this program"),
        (["--noprogressbar", "True"], r"--noprogressbar takes no value \(found 'True'"),
        (
            ["--debug=False", "--lr", "1"],
            r"--debug takes no value \(found 'False'\): give",
        ),
    ],
)
def test_words_that_mean_nothing_are_named(words, message):
    with pytest.raises(InputError, match=message):
        parse(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fold", "6"], r"fold is 6; it must be one of 1, 2, 3, 4, 5"),
        (["--fold", "0"], r"fold is 0; it must be one of"),
        (["--fold", "one"], r"fold is 'one'; it must be one of"),
        (["--fold", "1.5"], r"fold is 1\.5; it must be one of"),
        (["--fold", "True"], r"fold is True; it must be one of"),
        (["--n_folds", "x"], r"n_folds is 'x'; it must be a whole number"),
        (["--fold_by", "actor"], r"fold_by is 'actor'; .*group, speaker, official"),
        (["--number_of_epochs", "0"], r"number_of_epochs is 0; .*at least 1"),
        (["--updates_per_epoch", "1e3"], r"updates_per_epoch is 1000\.0; .*whole"),
        (["--batch_size", "0"], r"batch_size is 0; .*at least 1"),
        (["--n_heads", "0"], r"n_heads is 0; .*at least 1"),
        (["--projection_size", "1"], r"projection_size is 1; .*at least 2"),
        (["--num_workers", "-1"], r"num_workers is -1; .*at least 0"),
        (["--seed", "-1"], r"seed is -1; .*from 0 to 2\^31"),
        (["--split_seed", "x"], r"split_seed is 'x'; .*whole"),
        (["--label_smoothing", "1.1"], r"label_smoothing is 1\.1; .*from 0 to 1"),
        (["--label_smoothing", ".nan"], r"label_smoothing is nan; .*from 0 to 1"),
        (["--channel_dropout", "1"], r"channel_dropout is 1; .*under 1"),
        (["--channel_dropout", "-0.1"], r"channel_dropout is -0\.1; .*at least 0"),
        (["--lr", "0"], r"lr is 0; .*over 0"),
        (["--lr", "1e99"], r"lr is 1e\+99; .*over 0"),
        (["--lr", "fast"], r"lr is 'fast'; .*over 0"),
        (["--max_batch_seconds", "0"], r"max_batch_seconds is 0; .*over 0"),
        (["--skip_bad_audio", "maybe"], r"skip_bad_audio is 'maybe'; .*True, False"),
        (["--cache_dtype", "int8"], r"cache_dtype is 'int8'; .*float16, bfloat16"),
        (["--extract_precision", "fp8"], r"extract_precision is 'fp8'; .*fp32, bf16"),
        (["--preload", "yes"], r"preload is 'yes'; it must be one of auto"),
        (["--labels", "[a, a]"], r"labels is \['a', 'a'\]; .*different names"),
        (["--labels", "neu"], r"labels is \['neu'\]; .*list"),
        (["--data_folder", "null"], r"data_folder is None; it must be given"),
        (["--output_folder", ""], r"output_folder is None; it must be given"),
        (["--upstream_source", "null"], r"upstream_source is None; it must be given"),
        (["--pooling", "maen"], r"pooling is 'maen'; it must be one of mean, mean_st"),
    ],
)
def test_values_that_cannot_be_used_are_named(words, message):
    with pytest.raises(InputError, match=message):
        load(*words)


def test_a_key_that_must_be_given():
    with pytest.raises(InputError, match="data_folder is not set; add: --data_folder"):
        parse_arguments([str(SETTINGS_FILE), *FBANK]).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such settings file"),
        ("a: [1, 2", "not valid YAML"),
        ("- a\n- b\n", "a mapping of settings was expected"),
        ("a: !new:no.such.Thing\n", r"no\.such\.Thing: there is no such class"),
        ("a: !new:torch.nn.Linear {in_features: 2}\n", "TypeError.*out_features"),
        ("a: !ref <b>\n", "b"),
    ],
)
def test_settings_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        parse_arguments([str(path)]).load()
    assert str(path) in str(caught.value) or "no.such.Thing" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["--fold", "1"]])
def test_the_settings_file_comes_first(arguments):
    with pytest.raises(InputError, match="settings file is missing"):
        parse_arguments(arguments)


# Files based on others


def test_small_yaml_holds_what_differs(tmp_path):
    small = parse_arguments(
        [
            str(SETTINGS_FILE.with_name("small.yaml")),
            *NEEDED[1:],
            *FBANK,
            "--lr",
            "0.02",
        ]
    )
    plain = parse(*FBANK, "--lr", "0.02")
    ours, theirs = plain_tree(small.tree), plain_tree(plain.tree)
    changed = {key for key in theirs if ours[key] != theirs[key]}
    assert changed == {"number_of_epochs", "updates_per_epoch", "cache_folder"}
    assert small.load()["opt_class"].keywords == {"lr": 0.02}
    assert list(small.tree) == list(plain.tree)


def child(folder: Path, text: str, base: Path = SETTINGS_FILE) -> list[str]:
    file = folder / "child.yaml"
    file.write_text(f"based_on: {base}\n{text}")
    return [str(file), *NEEDED[1:], *FBANK]


def test_a_key_of_the_child_replaces_the_whole_key_class_and_all(tmp_path):
    line = child(tmp_path, "opt_class: !name:torch.optim.SGD\n    lr: 0.25\n")
    optimiser = parse_arguments(line).load()["opt_class"]
    assert optimiser.func is torch.optim.SGD
    assert optimiser.keywords == {"lr": 0.25}
    line = child(tmp_path, "pooling_layer: !new:sercorr.lobes.MeanPooling\n"
                           "    input_size: !ref <projection_size>\n")  # fmt: skip
    assert type(parse_arguments(line).load()["head"].pooling).__name__ == "MeanPooling"
    line = child(tmp_path, "lr: !ref <batch_size>\nbatch_size: 5\n")
    assert parse_arguments(line).load()["opt_class"].keywords == {"lr": 5}


def test_a_child_stands_in_another_folder_and_adds_keys(tmp_path, capsys):
    (tmp_path / "own_parts.py").write_text(
        "import torch\nclass Own(torch.optim.SGD):\n    pass\n"
    )
    line = child(
        tmp_path,
        "momentum: 0.5\ngamma: 0.1\nlrr: 3\nopt_class: !name:own_parts.Own\n"
        "    lr: !ref <lr>\n    momentum: !ref <momentum>\n",
    )
    settings = parse_arguments([*line, "--momentum", "0.75"])
    optimiser = settings.load()["opt_class"]
    assert optimiser.func.__name__ == "Own"
    assert optimiser.keywords == {"lr": 1e-4, "momentum": 0.75}
    message = capsys.readouterr().err
    assert "nothing reads the key 'gamma'" in message
    assert "nothing reads the key 'lrr'; it has no effect; did you mean lr?" in message
    assert "momentum" not in message


def test_the_command_line_wins_over_every_file(tmp_path):
    base, middle, top = (
        tmp_path / f"{name}.yaml" for name in ("base", "middle", "top")
    )
    base.write_text("a: 1\nb: 1\nc: 1\nd: 1\n")
    middle.write_text("based_on: base.yaml\nb: 2\nc: 2\nd: 2\n")
    top.write_text("based_on: middle.yaml\nc: 3\nd: 3\n")
    hparams = parse_arguments([str(top), "--d", "4", "--d=5"]).load()
    assert [hparams[key] for key in "abcd"] == [1, 2, 3, 5]


def test_files_based_on_what_cannot_be(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("based_on: second.yaml\n")
    with pytest.raises(InputError, match=r"second\.yaml: no such .* is relative to"):
        parse_arguments([str(first)])
    second.write_text("based_on: first.yaml\n")
    with pytest.raises(InputError, match="based_on leads in a circle"):
        parse_arguments([str(first)])


# Identity


def identity(tmp_path, **changes):
    return make_settings(Path("corpus"), tmp_path, **changes).identity()


def test_identity_holds_what_decides_the_outcome(tmp_path):
    plain = identity(tmp_path)
    for changes in (
        {"seed": 1},
        {"split_seed": 1},
        {"lr": 0.5},
        {"fold": 2},
        {"skip_bad_audio": "True"},
        {"max_grad_norm": 2.5},
        {"loss": "!name:torch.nn.functional.cross_entropy"},
    ):
        (key, _), *_ = changes.items()
        found = identity(tmp_path, **changes)
        assert found["settings"].pop(key) != plain["settings"][key]
        rest = {k: v for k, v in plain["settings"].items() if k != key}
        assert found == {**plain, "settings": rest}
    for options in ({"precision": "bf16"}, {"grad_accumulation_factor": 2}):
        assert identity(tmp_path, **options) == {**plain, "options": options}
    places = {"output_folder": "elsewhere", "num_workers": 2, "max_batch_seconds": 1}
    assert identity(tmp_path, **places, ckpt_interval_steps=3) == plain


def test_the_number_of_epochs_counts_only_where_more_than_the_counter_reads_it(
    tmp_path,
):
    assert identity(tmp_path) == identity(tmp_path, number_of_epochs=9)
    schedule = "!new:speechbrain.nnet.schedulers.LinearScheduler {initial_value: 1.0, "
    schedule += "final_value: 0.1, epoch_count: !ref <number_of_epochs>}"
    assert identity(tmp_path, lr_annealing=schedule) != identity(
        tmp_path, lr_annealing=schedule, number_of_epochs=9
    )


def test_recipes_need_nothing_but_their_folder(tmp_path):
    """A settings file is found together with the modules of its recipe's folder."""
    recipe = tmp_path / "MyCorpus"
    (recipe / "hparams").mkdir(parents=True)
    shutil.copy(RECIPE / "iemocap_prepare.py", recipe / "my_own_prepare.py")
    (recipe / "hparams" / "train.yaml").write_text(
        f"based_on: {SETTINGS_FILE}\ncorpus: !name:my_own_prepare.read_iemocap\n"
        "    data_folder: !ref <data_folder>\n"
    )
    line = [str(recipe / "hparams" / "train.yaml"), *NEEDED[1:], *FBANK]
    corpus = parse_arguments(line).load()["corpus"]
    assert corpus.func.__module__ == "my_own_prepare"
