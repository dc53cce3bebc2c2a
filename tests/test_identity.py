"""A folder answers for one run only: finished, interrupted, evaluated or grown."""

import json
import multiprocessing
import os
import shutil
import sys
import textwrap
import time
from pathlib import Path

import filelock
import pytest
import torch
from releases import make_release
from runs import (
    SETTINGS_FILE,
    cut_after,
    evaluate,
    history,
    outcome,
    run_script,
    train,
)
from runs import command_line as line_of

from sercorr.errors import InputError
from sercorr.files import read_json
from sercorr.training import EmotionBrain

OTHER_POOLINGS = '''
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, input_size):
        super().__init__()
        self.input_size = self.output_size = input_size


class Max(Base):
    """Largest value of each channel."""

    def forward(self, x, lengths=None):
        return x.amax(dim=1)


class Min(Base):
    def forward(self, x, lengths=None):
        return x.amin(dim=1)
'''


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


def write_module(folder: Path, name: str, text: str) -> None:
    """Write a module of one's own as a new process would find it."""
    (folder / f"{name}.py").write_text(text)
    sys.modules.pop(name, None)


def settings_file(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    file = folder / name
    file.write_text(f"based_on: {SETTINGS_FILE}\n{textwrap.dedent(text)}")
    return file


def pooling(name: str) -> str:
    return f"""
        pooling_layer: !new:other_poolings.{name}
            input_size: !ref <projection_size>
    """


@pytest.fixture
def own(tmp_path):
    """Settings files with one's own classes, beside their module."""
    write_module(tmp_path, "other_poolings", OTHER_POOLINGS)
    files = {
        name: settings_file(tmp_path, pooling(name), f"{name}.yaml")
        for name in ("Max", "Min")
    }
    yield files
    sys.path.remove(str(tmp_path))
    sys.modules.pop("other_poolings", None)


class Cut(BaseException):
    """Stands for a kill: nothing but the test may catch it."""


def interrupt(patch: pytest.MonkeyPatch) -> None:
    original, calls = EmotionBrain.optimizers_step, []

    def cut(brain):
        calls.append(1)
        if len(calls) == 5:
            raise Cut
        original(brain)

    patch.setattr(EmotionBrain, "optimizers_step", cut)


@pytest.mark.parametrize("state", ["finished", "interrupted"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pooling", r"pooling_layer\.tag: !new:other_poolings\.Max there, .*Min here"),
        ("optimiser", r"opt_class\.tag: !name:torch\.optim\.Adam there, .*AdamW here"),
        ("edited", "the code of other_poolings has changed"),
    ],
)
def test_another_class_is_another_run(
    release, tmp_path, own, monkeypatch, state, change, message
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if state == "interrupted":
            interrupt(patch)
            with pytest.raises(Cut):
                train(release, out, file=own["Max"], ckpt_interval_steps=1)
        else:
            train(release, out, file=own["Max"])
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    if change == "pooling":
        file = own["Min"]
    elif change == "optimiser":
        file = settings_file(
            tmp_path,
            pooling("Max")
            + """
        opt_class: !name:torch.optim.AdamW
            lr: !ref <lr>
            """,
        )
    else:
        file = own["Max"]
        write_module(tmp_path, "other_poolings", OTHER_POOLINGS.replace("amax", "amin"))
    for program in (train, evaluate):
        with pytest.raises(InputError, match=message):
            program(release, out, file=file)
    assert {path: path.read_bytes() for path in files} == files


def test_comments_and_layout_are_no_other_code(release, tmp_path, own):
    out = tmp_path / "out"
    train(release, out, file=own["Max"])
    write_module(
        tmp_path,
        "other_poolings",
        OTHER_POOLINGS.replace("Largest value of each", "The largest of a")
        + "\n\n# a remark\n",
    )
    assert train(release, out, file=own["Max"])["fold"] == 1


def test_what_ones_own_module_imports_counts(release, tmp_path, own):
    write_module(tmp_path, "own_helper", "SIGN = 1\n")
    text = "from own_helper import SIGN\n" + OTHER_POOLINGS
    write_module(tmp_path, "other_poolings", text)
    out = tmp_path / "out"
    train(release, out, file=own["Max"])
    write_module(tmp_path, "own_helper", "SIGN = -1\n")
    with pytest.raises(InputError, match="the code of own_helper has changed"):
        train(release, out, file=own["Max"])


def test_records_and_tables_name_the_class_that_ran(release, tmp_path, own):
    out = tmp_path / "out"
    train(release, out, file=own["Max"])
    record = read_json(out / "fold_1" / "run.json")
    tags = record["identity"]["settings"]["pooling_layer"]["tag"]
    assert tags == "!new:other_poolings.Max"
    assert set(record["identity"]["sources"]) == {"other_poolings", "sercorr"}
    done = run_script("evaluate.py", line_of(release, out, file=own["Max"]))
    assert done.returncode == 0, done.stderr
    page = (out / "results.md").read_text()
    assert "other_poolings.Max" in page


def test_settings_data_and_features_are_the_runs(release, tmp_path, tiny_models):
    out = tmp_path / "out"
    train(release, out)
    before = outcome(out)
    hubert = tiny_models["hubert", "group"]
    lists = {p: p.read_bytes() for p in out.rglob("manifests/**/*.json")}
    for changes, message in (
        ({"lr": 0.5, "n_heads": 1}, r"fold_1 holds .*lr: 0\.0001 there, 0\.5 here; n_"),
        ({"max_grad_norm": 0.5}, r"max_grad_norm: 1\.0 there, 0\.5 here"),
        ({"precision": "bf16"}, r"precision: None there, bf16 here"),
        ({"valid_ratio": 0.5}, r"valid_ratio: 0\.2 there, 0\.5 here"),
        ({"split_seed": 5}, r"split_seed: 1234 there, 5 here"),
        ({"upstream_source": hubert}, r"upstream\.digest: "),
        (
            {"cache_folder": tmp_path / "store"},
            r"features\.stored: None there, float16",
        ),
    ):
        for program in (train, evaluate):
            with pytest.raises(InputError, match=message) as caught:
                program(release, out, **changes)
            assert "choose another --output_folder" in str(caught.value)
    assert {p: p.read_bytes() for p in lists} == lists  # not prepared for those
    assert train(release, out) == json.loads(before["metrics.json"])
    assert outcome(out) == before


def test_the_stored_type_is_the_runs(release, tmp_path):
    store = {"cache_folder": tmp_path / "store"}
    train(release, tmp_path / "out", **store)
    with pytest.raises(InputError, match=r"features\.stored: float16 there, float32 h"):
        train(release, tmp_path / "out", **store, cache_dtype="float32")
    moved = shutil.copytree(tmp_path / "store", tmp_path / "elsewhere")
    train(release, tmp_path / "out", cache_folder=moved)  # the same, in another place


def test_equal_weights_elsewhere_are_the_same_run(release, tmp_path, tiny_models):
    source = tiny_models["hubert", "group"]
    short = {"number_of_epochs": 1, "updates_per_epoch": 2}
    train(release, tmp_path / "out", upstream_source=source, **short)
    moved = shutil.copytree(source, tmp_path / "moved")
    train(release, tmp_path / "out", upstream_source=moved, **short)


def test_a_corpus_that_has_changed(release, tmp_path):
    corpus = shutil.copytree(release, tmp_path / "corpus")
    train(corpus, tmp_path / "out")
    lists = {p: p.read_bytes() for p in tmp_path.rglob("manifests/**/*.json")}
    clip = sorted(corpus.glob("Session2/sentences/wav/*/*.wav"))[0]
    clip.write_bytes(clip.with_name(sorted(os.listdir(clip.parent))[-1]).read_bytes())
    with pytest.raises(
        InputError, match=r"holds another run .*its clips or their labels are others"
    ):
        train(corpus, tmp_path / "out")
    assert {p: p.read_bytes() for p in lists} == lists


def other_samples(corpus: Path) -> None:
    """Put other samples into a test clip: same name, size, length and time."""
    clip = sorted(corpus.glob("Session1/sentences/wav/*/*.wav"))[0]
    before, content = clip.stat(), bytearray(clip.read_bytes())
    content[2000:2400] = bytes(400)
    clip.write_bytes(content)
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("stored", [False, True])
def test_audio_that_has_changed_under_the_same_names(
    release, tmp_path, monkeypatch, stored
):
    corpus = shutil.copytree(release, tmp_path / "corpus")
    options = {"cache_folder": tmp_path / "store"} if stored else {}
    train(corpus, tmp_path / "finished", **options)
    with monkeypatch.context() as patch:
        cut = cut_after(patch, updates=4)  # in the second epoch
        with pytest.raises(cut):
            train(corpus, tmp_path / "begun", **options)
    before = outcome(tmp_path / "finished")
    moved = shutil.copytree(corpus, tmp_path / "moved")
    train(moved, tmp_path / "finished", **options)  # equal bytes elsewhere: the same
    time.sleep(0.2)  # so that the next change has a time of its own
    other_samples(corpus)
    text = r"holds another run \(its audio is other\)"
    for command, folder, more in (
        (train, "finished", {}),
        (evaluate, "finished", {}),
        (train, "finished", {"number_of_epochs": 3}),
        (train, "begun", {}),
    ):
        with pytest.raises(InputError, match=text):
            command(corpus, tmp_path / folder, **options, **more)
    assert outcome(tmp_path / "finished") == before
    train(corpus, tmp_path / "anew", **options)


# More epochs


def test_more_epochs_go_on_from_those_that_are_there(release, tmp_path, monkeypatch):
    store = {"cache_folder": tmp_path / "store"}
    train(release, tmp_path / "long", number_of_epochs=4, **store)
    train(release, tmp_path / "grown", number_of_epochs=2, **store)
    first = read_json(tmp_path / "grown/fold_1/run.json")["tested"]
    batches = []
    original = EmotionBrain.fit_batch

    def noted(brain, batch):
        batches.append(batch.id)
        return original(brain, batch)

    monkeypatch.setattr(EmotionBrain, "fit_batch", noted)
    train(release, tmp_path / "grown", number_of_epochs=4, **store)
    assert len(batches) == 2 * 3
    assert outcome(tmp_path / "grown") == outcome(tmp_path / "long")
    tested = read_json(tmp_path / "grown/fold_1/run.json")["tested"]
    assert tested["epochs"] == 4
    assert [earlier["epochs"] for earlier in tested["before"]] == [2]
    assert tested["before"][0]["at"] == first["at"]
    with pytest.raises(InputError, match=r"a run of 4 epochs; number_of_epochs is 3"):
        train(release, tmp_path / "grown", number_of_epochs=3, **store)


def test_epochs_that_a_schedule_counts_are_another_run(release, tmp_path):
    text = """
        lr_annealing: !new:speechbrain.nnet.schedulers.LinearScheduler
            initial_value: !ref <lr>
            final_value: 0.0
            epoch_count: !ref <number_of_epochs>
    """
    file = settings_file(tmp_path, text)
    train(release, tmp_path / "out", file=file)
    rates = [record["lr"] for record in history(tmp_path / "out/fold_1")]
    assert rates == [1e-4, 0.0]
    with pytest.raises(InputError, match="number_of_epochs: 2 there, 4 here"):
        train(release, tmp_path / "out", file=file, number_of_epochs=4)


def test_a_debug_run_leaves_nothing_in_the_way(release, tmp_path):
    train(release, tmp_path / "plain")
    done = run_script("train.py", line_of(release, tmp_path / "out", debug=True))
    assert done.returncode == 0, done.stderr
    train(release, tmp_path / "out")
    assert outcome(tmp_path / "out") == outcome(tmp_path / "plain")


# One at a time, and what is written down


def hold(path: str, ready, done) -> None:
    with filelock.FileLock(path):
        ready.set()
        done.wait(60)


def test_a_fold_that_is_running_is_locked(release, tmp_path):
    fold = tmp_path / "fold_1"
    fold.mkdir()
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(str(fold / ".lock"), ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        (fold / "running.json").write_text(
            json.dumps({"pid": holder.pid, "host": "here", "since": "noon"})
        )
        with pytest.raises(
            InputError, match=rf"process {holder.pid} on here \(since noon\) is at work"
        ):
            train(release, tmp_path)
        assert not (fold / "run.json").exists()
    finally:
        done.set()
        holder.join()
    train(release, tmp_path)
    assert not (fold / "running.json").exists()


def test_a_record_says_what_one_asks_a_year_later(release, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        with pytest.raises(Cut):
            train(release, tmp_path, ckpt_interval_steps=1)
    metrics = train(release, tmp_path, ckpt_interval_steps=1)
    record = read_json(tmp_path / "fold_1/run.json")
    best = max(history(tmp_path / "fold_1"), key=lambda r: (r["valid_wa"], -r["epoch"]))
    assert record["tested"]["epoch"] == best["epoch"]
    assert record["tested"]["valid_wa"] == best["valid_wa"]
    recalls = record["tested"]["recalls"]
    assert list(recalls) == metrics["labels"]
    for place, (row, recall) in enumerate(
        zip(metrics["confusion"], recalls.values(), strict=True)
    ):
        assert recall == pytest.approx(100 * row[place] / sum(row))
    assert record["resumes"] == 1
    assert record["device"] == "cpu"
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"filelock", "speechbrain", "python"} <= record["versions"].keys()
    assert isinstance(record["command"], list)
    merged = (tmp_path / "fold_1/hyperparams.yaml").read_text()
    assert "head: !new:sercorr.lobes.EmotionHead" in merged
    for file in ("metrics.json", "predictions.csv", "head.safetensors"):
        assert str(tmp_path) not in (tmp_path / "fold_1" / file).read_text(
            encoding="latin-1"
        )
