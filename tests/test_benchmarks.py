"""The benchmarks run, and measure what they say; their speed is not tested."""

import json
import math
from pathlib import Path

import pytest
import torch
from runs import quick_training
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from benchmarks import arithmetic, corpus, extraction, growth, head, suite
from benchmarks.common import QUICK, Bench, Times, clip_samples
from sercorr.lobes.upstream import load_upstream

NUMBERS = {
    "extraction": ("seconds", "audio_seconds_per_second", "gflop_per_audio_second"),
    "update": ("seconds", "ratios"),
    "head": ("seconds", "ratios"),
    "grid": ("seconds", "ratios"),
    "memory": ("peak_megabytes", "ratios"),
    "growth": ("seconds", "ratios"),
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
    with quick_training():
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
    assert all(100 < n < 3000 for n in files["memory"]["peak_megabytes"].values())


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
        head.train(own, torch.arange(3), own.classify_clips(clips))
    frames = [clip.shape[1] for clip in clips]
    counted = arithmetic.update_operations(frames, 5, 96, QUICK.projection_size)
    # means and classifier are not in ours
    assert sum(counted.values()) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_groups_and_plain_transformers_give_the_same_layers(bench):
    made = corpus.make_corpus(
        bench.folder / "same", clip_samples(5, 0.6), bench.model(), held_out=0
    )
    plain = extraction.plain_transformers(made)()
    groups = extraction.in_groups(made, load_upstream(str(made.model)))()
    entries = extraction.to_entries(made, load_upstream(str(made.model)), "fp32")()
    for name, wanted in zip(made.wavs, plain, strict=True):
        torch.testing.assert_close(groups[name], wanted, rtol=1e-4, atol=1e-4)
        stored = entries.read(name).float()
        torch.testing.assert_close(stored, wanted, rtol=1e-2, atol=1e-2)


def test_streamed_and_preloaded_updates_are_the_same_training(bench):
    made = corpus.make_corpus(
        bench.folder / "training", clip_samples(8, 0.6), bench.model()
    )
    corpus.fill_cache(made)
    heads = {}
    with quick_training():
        for preload in (True, False):
            output = bench.folder / f"training-{preload}"
            trainer = corpus.Trainer(
                made.settings(output, preload=preload, batch_size=4, projection_size=8)
            )
            assert trainer.features.preloaded is preload
            before = trainer.brain.raw_modules["head"].projection.weight.clone()
            made.evict()
            for _ in range(3):
                trainer.update()
            trainer.close()
            state = trainer.brain.raw_modules["head"].state_dict()
            assert not torch.equal(before, state["projection.weight"])
            heads[preload] = state
    for name, value in heads[True].items():
        assert torch.equal(value, heads[False][name]), name


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
