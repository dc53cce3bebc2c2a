"""How many processes extract: measured on a CPU, one for each GPU."""

import pytest
import torch
from releases import make_release
from runs import command_line

from sercorr.features import processes
from sercorr.features.plan import plan_groups
from sercorr.features.processes import Speed, choose_processes
from sercorr.lobes.upstream import Upstream
from sercorr.training.launcher import extraction
from sercorr.training.launcher.extraction import extract_features

RATES = {1: 10.0, 2: 10.4, 4: 20.0, 8: 20.5}


@pytest.fixture
def measured(monkeypatch) -> list[tuple[int, int]]:
    """Rates of a machine that is not there; which were asked for."""
    asked = []

    def measure(_upstream, _precision, waves, count, threads):
        assert [len(group) for group in waves] == [1, 1, 1]
        asked.append((count, threads))
        return Speed(count, threads, RATES[count], 10**9)

    monkeypatch.setattr(processes, "_measure", measure)
    monkeypatch.setattr(processes, "free_memory", lambda: 9 * 10**9)
    return asked


@pytest.fixture
def groups(tmp_path):
    from caches import write_clips

    from sercorr.data.digests import as_parts, hash_clips

    wavs = write_clips(tmp_path / "wavs", 9)
    return plan_groups(hash_clips(wavs, False), as_parts(wavs), 0.0)


def choose(groups, cores, threads=None) -> tuple[int, int]:
    best = choose_processes(Upstream("fbank"), "fp32", groups, cores, threads)[0]
    return best.processes, best.threads


def test_more_processes_must_be_clearly_faster(measured, groups):
    assert choose(groups, 8) == (4, 2)  # neither 2 nor 8: too little is gained
    assert measured == [(1, 8), (2, 4), (4, 2), (8, 1)]


def test_memory_bounds_the_processes(measured, groups, monkeypatch):
    monkeypatch.setattr(processes, "free_memory", lambda: 3 * 10**9)
    assert choose(groups, 8) == (1, 8)
    assert measured == [(1, 8), (2, 4)]


def test_threads_that_are_given_are_kept_without_measuring(measured, groups):
    assert choose(groups, 8, threads=2) == (4, 2)
    assert choose(groups, 2, threads=4) == (1, 4)
    assert choose(groups, 1) == (1, 1)
    assert measured == []


def test_processes_are_really_measured(groups, monkeypatch):
    monkeypatch.setattr(processes, "_SECONDS", 0.01)
    speeds = choose_processes(Upstream("fbank"), "fp32", groups, 2)
    assert sorted((s.processes, s.threads) for s in speeds) == [(1, 2), (2, 1)]
    assert all(speed.rate > 0 and speed.memory > 10**7 for speed in speeds)


@pytest.mark.parametrize(("options", "count"), [({}, 3), ({"device": "cuda:1"}, None)])
def test_one_process_for_each_gpu(tmp_path, monkeypatch, options, count):
    release = make_release(tmp_path / "release", odd=False)
    line = command_line(release, tmp_path / "out", cache_folder=tmp_path / "cache")
    device = line.index("--device")
    del line[device : device + 2]
    for key, value in options.items():
        line += [f"--{key}", value]
    launched = []

    class Done(Exception):
        pass

    def note(*_arguments, **given):
        launched.append(given.get("share", "here"))
        raise Done

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(
        extraction,
        "run_stages",
        lambda stages, *_a, **_k: note(share=len(stages[0].extraction)),
    )
    monkeypatch.setattr(extraction, "extract", note)
    with pytest.raises(Done):
        extract_features(line)
    assert launched == [count if count else "here"]
