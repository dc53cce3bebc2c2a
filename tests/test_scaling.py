"""The arithmetic behind docs/scaling.md, against entries, torch and the settings."""

import math
from pathlib import Path

import pytest
import torch
from runs import RECIPE
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from benchmarks import arithmetic, estimates
from benchmarks.common import clip_samples
from sercorr import SAMPLE_RATE
from sercorr.features.store import FeatureStore
from sercorr.lobes import Upstream
from sercorr.training import grid
from sercorr.training.experiment_file import read_experiment
from sercorr.training.settings import make_yaml


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_counted_operations_are_those_of_wavlm(tiny_models, norm):
    model = AutoModel.from_pretrained(tiny_models["wavlm", norm]).eval()
    samples = 16_000
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, samples))
    counted = arithmetic.extraction_operations(model.config, samples)
    assert sum(counted.values()) == pytest.approx(counter.get_total_flops(), rel=1e-3)


@pytest.mark.parametrize("layers", ["all", "0,2"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_bytes_are_those_of_an_entry(tiny_models, tmp_path, layers, dtype):
    upstream = Upstream(tiny_models["wavlm", "layer"], layers=layers)
    store = FeatureStore(tmp_path, upstream.info, dtype)
    sizes = upstream.num_layers, upstream.output_size
    for samples in (400, 16_000, 72_793):
        frames = upstream.frames(samples)
        counted = estimates.clip_bytes(samples, *sizes, store.dtype.itemsize)
        store.write("0" * 64, torch.zeros(sizes[0], frames, sizes[1]), samples)
        # what is left is the header
        assert 0 < store.path("0" * 64).stat().st_size - counted <= 512
        header = store.entry_bytes(0)
        assert counted == store.entry_bytes(frames) - header


def test_clips_of_the_mean_length_take_the_bytes_of_all():
    samples = clip_samples(500, 4.55)
    corpus = estimates.Spoken("made up", 500, 500 * 4.55 / 3600, 1, 0)
    every = sum(estimates.clip_bytes(count, 25, 1024) for count in samples)
    assert estimates.store_bytes(corpus, 25, 1024) == pytest.approx(every, rel=5e-3)


def test_the_documentation_has_these_numbers():
    text = (Path(estimates.__file__).parents[1] / "docs/scaling.md").read_text("utf-8")
    assert estimates.IEMOCAP.samples / SAMPLE_RATE == pytest.approx(4.55, abs=0.005)
    stored, read = [], []
    for corpus in estimates.CORPORA:
        # 50 frames a second, less one or two of each clip
        rough = corpus.hours * 3600 * 50 * 25 * 1024 * 2
        stored.append(estimates.store_bytes(corpus, 25, 1024))
        assert stored[-1] == pytest.approx(rough, rel=0.01)
        read.append(estimates.reading_bytes(corpus, 25, 1024) / 1e12)
    assert f"{stored[0] / 1e9:.1f} GB | {stored[1] / 1e12:.2f} TB |" in text
    assert f"would be {stored[2] / 1e12:.2f} TB with all layers" in text
    assert f"IEMOCAP, one run | {read[0]:.1f} |" in text
    assert f"MSP-Podcast 2.0, one run | {read[1]:.1f} |" in text
    audio = estimates.IEMOCAP.hours * 3600
    gflop = estimates.extraction_work(estimates.IEMOCAP) / audio / 1e9
    assert f"A second of audio takes {gflop:.1f} GFLOP" in text


def test_an_extraction_waits_for_what_is_slower():
    work = estimates.extraction_work(estimates.IEMOCAP)
    computing = estimates.extraction_hours(work, 0, 1, 1e12, math.inf)
    assert computing == pytest.approx(work / 3.6e15)
    eight = estimates.extraction_hours(work, 0, 8, 1e12, math.inf)
    assert eight == pytest.approx(computing / 8)
    assert estimates.extraction_hours(work, 3.6e12, 8, 1e15, 1e9) == pytest.approx(1)


def test_updates_read_a_batch_each_and_epochs_the_validation_set():
    corpus = estimates.Spoken("made up", 1000, 1.0, 1, valid=100)
    # 3.6 s are 179 frames
    once = (30_000 * 32 + 30 * 100) * 25 * 179 * 1024 * 2
    assert estimates.reading_bytes(corpus, 25, 1024) == once
    assert estimates.reading_bytes(corpus, 25, 1024, times=7) == 7 * once


def test_what_is_counted_is_in_the_recipe():
    settings = make_yaml().load((RECIPE / "hparams/train.yaml").read_text("utf-8"))
    epochs, batch = settings["number_of_epochs"], settings["batch_size"]
    assert (epochs, batch) == (estimates.EPOCHS, estimates.BATCH)
    assert epochs * settings["updates_per_epoch"] == estimates.UPDATES
    table1 = read_experiment(RECIPE / "experiments/table1.yaml")
    assert len(table1.heads) == estimates.HEADS
    assert len(table1.upstreams) == estimates.UPSTREAMS
    assert grid.SIDE_BY_SIDE == estimates.SIDE_BY_SIDE
