"""The benchmarks run, and measure what they say; their speed is not tested."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from benchmarks import (
    arithmetic,
    corpus,
    extraction,
    growth,
    head,
    memory,
    pieces,
    suite,
)
from benchmarks.common import QUICK, Bench, Times, clip_samples, in_new_process
from sercorr.fast import layer_mix as fast_layer_mix
from sercorr.fast import packed_linear, wavlm_attention
from sercorr.lobes import load_upstream

NUMBERS = {
    "extraction": ("seconds", "audio_seconds_per_second", "gflop_per_audio_second"),
    "update": ("seconds", "ratios"),
    "head": ("seconds", "ratios"),
    "grid": ("seconds", "ratios"),
    "memory": ("peak_megabytes", "ratios"),
    "large_store": ("seconds", "ratios", "disk_megabytes_per_second"),
    "growth": ("seconds", "ratios"),
    "inference": ("seconds", "ratios", "peak_megabytes"),
    "pieces": ("seconds", "peak_megabytes"),
    "scaling": (
        "seconds",
        "ratios",
        "audio_seconds_per_second",
        "megabytes_per_second",
        "estimates",
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    """Quick sizes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    return Bench(folder, folder / "results", QUICK)


def numbers(value) -> list[float]:
    """All numbers in nested dictionaries."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers(inner)]
    return [value]


def test_all_benchmarks_write_positive_numbers(tmp_path):
    suite.run(list(suite.BENCHMARKS), tmp_path, quick=True)
    files = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert files.keys() == NUMBERS.keys()
    for name, keys in NUMBERS.items():
        for key in keys:
            found = numbers(files[name][key])
            assert len(found) > 0
            assert all(math.isfinite(n) and n > 0 for n in found), (name, key)
        assert files[name]["machine"]["torch"] == torch.__version__
    assert max(files["head"]["differences"].values()) < 1e-5
    assert set(files["grid"]["seconds"]) >= {"fp32 on cpu, 1 heads"}
    # a memory-mapped stream, an interpreter and torch: more than 100 MB, under 3 GB
    for name in ("memory", "pieces"):
        peaks = files[name]["peak_megabytes"].values()
        assert all(100 < megabytes < 3000 for megabytes in peaks)
    for name, gain in files["pieces"]["gain_percent"].items():
        waited = files["pieces"]["seconds"]
        usual = waited[f"{name.partition(' without')[0]} without nothing"]
        assert gain == pytest.approx(100 * (waited[name] / usual - 1))


def test_counted_operations_are_those_of_the_model(tiny_models):
    model = AutoModel.from_pretrained(
        tiny_models["hubert", "group"], attn_implementation="eager"
    ).eval()
    samples = 16_000
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, samples))
    counted = arithmetic.extraction_operations(model.config, samples)
    assert sum(counted.values()) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_counted_operations_are_those_of_an_update(bench):
    clips = corpus.random_clips([64_000] * 3, 5, 96)
    own = head.make_head(bench, "attentive_corr", 5, 96)
    with FlopCounterMode(display=False) as counter:
        head.train(own, torch.arange(3), own(clips))
    frames = [clip.shape[1] for clip in clips]
    counted = arithmetic.update_operations(frames, 5, 96, QUICK.projection_size)
    # means and classifier are not in ours
    assert sum(counted.values()) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_all_ways_of_extracting_give_the_same_layers(bench):
    made = corpus.make_corpus(
        bench.folder / "same", clip_samples(5, 0.6), bench.model(), held_out=0
    )
    plain = extraction.plain_transformers(made)()
    alone = extraction.model_alone(made, load_upstream(made.model))()
    entries = extraction.to_entries(made, load_upstream(made.model))()
    for name, wanted in plain.items():
        torch.testing.assert_close(alone[name], wanted, rtol=1e-4, atol=1e-4)
        stored = entries.read(name).float()
        torch.testing.assert_close(stored, wanted, rtol=1e-2, atol=1e-2)


def test_updates_are_those_of_train_py(bench):
    made = corpus.make_corpus(
        bench.folder / "training", clip_samples(8, 0.6), bench.model()
    )
    corpus.fill_cache(made)
    small = {"batch_size": 4, "projection_size": 8, "seed": 3}
    heads = []
    for preload in (True, False):
        trainer = corpus.Trainer(made, bench.folder / "run", preload=preload, **small)
        assert trainer.features.preloaded is preload
        made.evict()
        for _ in range(3):
            trainer.update()
        trainer.close()
        heads.append(trainer.brain.heads[0].module.state_dict())
    output = bench.folder / "trained"
    whole = {**small, "updates_per_epoch": 3, "number_of_epochs": 1}
    in_new_process(memory.train_and_look, made, output, whole)
    wanted = load_file(output / "fold_1" / "head.safetensors")
    for state in heads:
        for name, value in wanted.items():
            assert torch.equal(state[name], value), name


@pytest.mark.parametrize(
    ("missing", "mix", "memory"),
    [
        ("nothing", True, True),
        ("layer mix", False, True),
        ("memory settings", True, False),
        ("everything", False, False),
    ],
)
def test_an_update_is_measured_without_a_piece(
    bench, monkeypatch, missing, mix, memory
):
    calls = set()
    monkeypatch.setenv("SERCORR_FAST", "1")
    monkeypatch.setattr(pieces, "keep_freed_memory", lambda: calls.add("memory"))
    mix_clips = recorded(fast_layer_mix.mix_clips, calls)
    monkeypatch.setattr(fast_layer_mix, "mix_clips", mix_clips)
    pieces.update(bench, 2, missing)
    assert ("memory" in calls) is memory
    assert ("mix_clips" in calls) is mix


@pytest.mark.parametrize(
    ("missing", "linear", "attention"),
    [
        ("nothing", True, True),
        ("memory settings", True, True),
        ("packed linear layers", False, True),
        ("fused attention", True, False),
        ("everything", False, False),
    ],
)
def test_an_extraction_is_measured_without_a_piece(
    bench, monkeypatch, missing, linear, attention
):
    calls = set()
    monkeypatch.setenv("SERCORR_FAST", "1")
    monkeypatch.setattr(pieces, "keep_freed_memory", lambda: None)
    for owner, name in (
        (packed_linear.PackedLinear, "forward"),
        (wavlm_attention, "fused_self_attention"),
    ):
        monkeypatch.setattr(owner, name, recorded(getattr(owner, name), calls))
    pieces.extraction(bench, "wavlm", missing)
    assert ("forward" in calls) is linear
    assert ("fused_self_attention" in calls) is attention


def recorded(function, calls: set):
    def call(*arguments, **settings):
        calls.add(function.__name__)
        return function(*arguments, **settings)

    return call


def test_ratios_are_medians_of_neighbours():
    seconds = {"a": iter([9.0, 1.0, 2.0, 30.0]), "b": iter([9.0, 2.0, 4.0, 10.0])}
    cases = {name: lambda own=own: next(own) for name, own in seconds.items()}
    times = Times(cases, rounds=3, title="made up", warm_up=1)
    assert times.medians() == {"a": 2.0, "b": 4.0}
    assert times.ratio("a", "b") == 0.5


def test_growth_of_a_square_is_two():
    seconds = {size: 3.0 * size**2 for size in (1.0, 2.0, 8.0)}
    assert growth.exponent(seconds) == pytest.approx(2)
    assert growth.per_doubling(seconds) == pytest.approx([4, 4])


def test_readme_names_every_benchmark():
    text = (Path(suite.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in suite.BENCHMARKS)
