"""What a SpeechBrain user extends: loss, schedule, optimiser, Brain, run options."""

import sys
import textwrap
from pathlib import Path

import pytest
import safetensors.torch
import torch
from releases import make_release
from runs import (
    command_line,
    cut_after,
    grid_of,
    heads_equal,
    history,
    outcome,
    settings_file,
    train,
)

from sercorr.errors import InputError
from sercorr.training import EmotionBrain, heads
from sercorr.training.schedules import Schedule

NEWBOB = """
lr_annealing: !new:speechbrain.nnet.schedulers.NewBobScheduler
    initial_value: !ref <lr>
    annealing_factor: 0.5
    improvement_threshold: 0.0025
"""

ONE_CYCLE = """
lr_annealing: !name:torch.optim.lr_scheduler.OneCycleLR
    max_lr: 0.01
    total_steps: 6
"""

WARMUP_BRAIN = '''
from sercorr.training import EmotionBrain, heads


class WarmupBrain(EmotionBrain):
    """Raises the learning rate over the first updates."""

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        if should_step:
            for optimizer in self.optimizers_dict.values():
                for group in optimizer.param_groups:
                    group["lr"] = 0.001 * self.optimizer_step
'''


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


@pytest.fixture
def store(release) -> dict:
    return {"cache_folder": release.with_name("store")}


# Loss and optimiser


def test_a_loss_of_ones_own_is_one_line(release, tmp_path, store):
    (tmp_path / "own_loss.py").write_text(
        "import torch\n\n\ndef margin(logits, targets):\n"
        "    return torch.nn.functional.multi_margin_loss(logits, targets)\n"
    )
    file = settings_file(tmp_path, "loss: !name:own_loss.margin\n")
    train(release, tmp_path / "own", file=file, **store)
    train(release, tmp_path / "plain", **store)
    own, plain = (history(tmp_path / n / "fold_1") for n in ("own", "plain"))
    assert own[0]["train_loss"] != plain[0]["train_loss"]
    # untrained logits are all near 0: the margin loss is 3/4, the entropy log 4
    assert own[0]["train_loss"] == pytest.approx(0.75, abs=0.15)
    assert own[0]["valid_loss"] == pytest.approx(1.386, abs=0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss: !name:torch.nn.functional.cross_entropy {reduction: none}", "one numb"),
        (
            "opt_class: !name:torch.optim.SGD {learning_rate: 1}",
            "opt_class: .*learning",
        ),
        ("lr_annealing: !name:torch.optim.lr_scheduler.StepLR", "lr_annealing: .*step"),
        ("lr_annealing: !new:collections.Counter", "lr_annealing is a Counter"),
        ("pooling_layer: !new:torch.nn.Identity", "pooling.*input_size"),
        ("labels: [neu, hap, ang, sad, fru]", "fru"),
        ("head: !new:torch.nn.Flatten", "head: it fails|head: for 2 clips"),
        ("modules: {head: !new:torch.nn.Linear [2, 4]}", "recoverables lack head"),
        ("modules: {}", "the key 'head' is missing"),
    ],
)
def test_parts_that_do_not_work_are_refused_before_anything_is_written(
    release, tmp_path, text, message
):
    with pytest.raises(InputError, match=message):
        train(release, tmp_path / "out", file=settings_file(tmp_path, text))
    assert not (tmp_path / "out").exists()


# Schedules


def test_newbob_gets_an_error_rate_and_halves_when_it_does_not_fall(
    release, tmp_path, store, monkeypatch
):
    scores = iter([50.0, 60.0, 40.0, 40.0])
    real = heads.classification_metrics
    monkeypatch.setattr(
        heads,
        "classification_metrics",
        lambda *given: {**real(*given), "wa": next(scores)},
    )
    file = settings_file(tmp_path, NEWBOB)
    train(release, tmp_path / "out", file=file, number_of_epochs=4, **store)
    rates = [record["lr"] for record in history(tmp_path / "out/fold_1")]
    # 40 % is worse than 60 %: halved for the epoch after it
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 5e-5])


def test_torchs_schedules_step_with_the_updates(release, tmp_path, store):
    file = settings_file(tmp_path, ONE_CYCLE)
    train(release, tmp_path / "out", file=file, **store)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    expected = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=6)
    rates = []
    for update in range(1, 7):
        optimizer.step()
        expected.step() if update < 6 else None
        if update in (3, 6):
            rates.append(optimizer.param_groups[0]["lr"])
    found = [record["lr"] for record in history(tmp_path / "out/fold_1")]
    assert found[0] == pytest.approx(rates[0])


@pytest.mark.parametrize("text", [NEWBOB, ONE_CYCLE.replace("6", "60")])
def test_a_schedule_is_resumed(release, tmp_path, store, monkeypatch, text):
    file = settings_file(tmp_path, text)
    train(release, tmp_path / "whole", file=file, number_of_epochs=3, **store)
    with monkeypatch.context() as patch:
        cut = cut_after(patch, 5)
        with pytest.raises(cut):
            train(
                release, tmp_path / "cut", file=file, number_of_epochs=3,
                ckpt_interval_steps=2, **store,
            )  # fmt: skip
    train(release, tmp_path / "cut", file=file, number_of_epochs=3, **store)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_a_schedule_that_cannot_be_saved_is_refused():
    class Own:
        def __call__(self, opt):
            self.count = 1

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(InputError, match="Own cannot be saved in a checkpoint"):
        Schedule(Own(), optimizer).saved()


# Run options


def test_an_update_is_a_step_of_the_optimiser(release, tmp_path, store, monkeypatch):
    sizes = []
    original = EmotionBrain.optimizers_step

    def noted(brain):
        sizes.append(brain.step)
        original(brain)

    monkeypatch.setattr(EmotionBrain, "optimizers_step", noted)
    train(release, tmp_path, grad_accumulation_factor=2, **store)
    assert sizes == [2, 4, 6] * 2
    assert [record["updates"] for record in history(tmp_path / "fold_1")] == [3, 6]


@pytest.mark.parametrize("after", [3, 5, 8])
def test_no_gradient_is_lost_in_an_accumulation(
    release, tmp_path, store, monkeypatch, after
):
    options = {"grad_accumulation_factor": 2, "ckpt_interval_steps": 1, **store}
    train(release, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        cut = cut_after(patch, after)
        with pytest.raises(cut):
            train(release, tmp_path / "cut", **options)
    train(release, tmp_path / "cut", **options)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_clipping_covers_all_groups_of_parameters(
    release, tmp_path, store, monkeypatch
):
    norms = []
    original = torch.optim.Adam.step

    def noted(optimizer, *arguments, **options):
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        norms.append(torch.sqrt(sum(g.double().square().sum() for g in gradients)))
        assert len(optimizer.param_groups) == 2
        return original(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    train(
        release, tmp_path, remove_vector_weight_decay=True, max_grad_norm=0.01, **store
    )
    assert [float(norm) for norm in norms] == pytest.approx([0.01] * 6, rel=1e-3)


def test_clipping_can_be_switched_off(release, tmp_path, store):
    train(release, tmp_path / "off", max_grad_norm=-1, **store)
    train(release, tmp_path / "wide", max_grad_norm=1e9, **store)
    off, wide = (outcome(tmp_path / n)["predictions.csv"] for n in ("off", "wide"))
    assert off == wide


def test_a_limit_of_steps_ends_the_run(release, tmp_path, store):
    train(release, tmp_path, optimizer_step_limit=4, **store)
    assert [record["updates"] for record in history(tmp_path / "fold_1")] == [3, 4]


# A Brain of one's own


@pytest.fixture
def warmup(tmp_path):
    (tmp_path / "warmup_brain.py").write_text(WARMUP_BRAIN)
    yield settings_file(tmp_path, "brain_class: !name:warmup_brain.WarmupBrain\n")
    sys.modules.pop("warmup_brain", None)
    sys.path.remove(str(tmp_path))


def test_hooks_of_ones_own_brain_are_called_alone_and_in_a_grid(
    release, tmp_path, store, warmup
):
    train(release, tmp_path / "alone", file=warmup, **store)
    rates = [record["lr"] for record in history(tmp_path / "alone/fold_1")]
    assert rates == pytest.approx([0.003, 0.006])
    line = command_line(release, tmp_path / "grid", file=warmup, **store)
    root = grid_of(tmp_path, "one: {}\ntwo: {n_heads: 1}\n", line)
    assert heads_equal(root / "one", tmp_path / "alone")
    assert [r["lr"] for r in history(root / "two/fold_1")] == pytest.approx(rates)


@pytest.mark.parametrize(
    "options",
    [
        {"grad_accumulation_factor": 2},
        {"optimizer_step_limit": 4},
        {"remove_vector_weight_decay": True, "max_grad_norm": 0.01},
        {"precision": "bf16"},
    ],
)
def test_a_grid_honours_run_options(release, tmp_path, store, options):
    train(release, tmp_path / "alone", **options, **store)
    line = command_line(release, tmp_path / "grid", **options, **store)
    root = grid_of(tmp_path, "one: {}\ntwo: {pooling: mean}\n", line)
    assert heads_equal(root / "one", tmp_path / "alone")


def test_heads_of_a_grid_have_losses_schedules_and_optimisers_of_their_own(
    release, tmp_path, store
):
    text = """
        plain: {}
        sgd: {opt_class: !name:torch.optim.SGD {lr: 0.5}}
        cycle:
            lr_annealing: !name:torch.optim.lr_scheduler.OneCycleLR
                max_lr: 0.01
                total_steps: 6
        margin: {loss: !name:torch.nn.functional.multi_margin_loss }
    """
    line = command_line(release, tmp_path / "grid", **store)
    root = grid_of(tmp_path, textwrap.dedent(text), line)
    alone = {
        "plain": "",
        "sgd": "opt_class: !name:torch.optim.SGD {lr: 0.5}",
        "cycle": ONE_CYCLE,
        "margin": "loss: !name:torch.nn.functional.multi_margin_loss",
    }
    heads = set()
    for name, own in alone.items():
        train(release, tmp_path / name, file=settings_file(tmp_path, own), **store)
        assert heads_equal(root / name, tmp_path / name), name
        head = safetensors.torch.load_file(root / name / "fold_1/head.safetensors")
        heads.add(tuple(head["classifier.bias"].tolist()))
    assert len(heads) == 4
