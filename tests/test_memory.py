"""Free memory under limits, and features where memory does not suffice."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from caches import Watched, fill, read_batches, write_clips
from speechbrain.utils.logger import get_logger

from sercorr.errors import InputError
from sercorr.features import compute, open_features
from sercorr.features.memory import free_memory

MACHINE = 1000
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def make_group(folder: Path, names, most, now, cached) -> None:
    """Write a control group's files, as Linux shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{now}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {cached}\nother 1\n")


@pytest.fixture
def system(tmp_path, monkeypatch):
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=MACHINE)
    )
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("lines", "groups", "free"),
    [
        # no groups; a group without a limit; limits of one's own and of the job above
        ("", {}, MACHINE),
        ("0::/\n", {}, MACHINE),
        ("0::/job/step\n", {"job/step": (V2, "max", 50, 0)}, MACHINE),
        ("0::/job/step\n", {"job/step": (V2, 400, 150, 30)}, 400 - 150 + 30),
        ("0::/job/step\n", {"job/step": (V2, 4000, 150, 0)}, MACHINE),
        (
            "0::/job/step\n",
            {"job/step": (V2, "max", 50, 0), "job": (V2, 300, 100, 0)},
            200,
        ),
        ("0::/job\n", {"job": (V2, 300, 310, 5)}, 0),  # for a moment
        (
            "5:cpu,memory:/slurm/job\n0::/\n",
            {"memory/slurm/job": (V1, 500, 100, 40)},
            440,
        ),
        ("4:memory:/x\n", {"memory": (V1, 1 << 63, 600, 0)}, MACHINE),
        # inside of a container the outer place is not there
        ("4:memory:/docker/1f\n", {"memory": (V1, 300, 100, 0)}, 200),
    ],
)
def test_free_memory_under_limits(system, lines, groups, free):
    (system / "proc/self/cgroup").write_text(lines)
    for place, values in groups.items():
        make_group(system / "sys/fs/cgroup" / place, *values)
    assert free_memory(system) == free


def test_free_memory_where_there_are_no_groups(system):
    assert free_memory(system) == MACHINE


@pytest.fixture
def wavs(tmp_path):
    return write_clips(tmp_path / "wavs", 9)


@pytest.fixture
def fresh_warnings(monkeypatch):
    """The warning was not given yet."""
    monkeypatch.setattr(compute, "logger", get_logger("a process of its own"))


def too_small(model, most: int) -> tuple[Watched, list[tuple[int, int]]]:
    """Make an upstream without memory for more than ``most`` padded samples."""
    upstream, asked = Watched(model), []

    def refuse(_module, inputs):
        asked.append(tuple(inputs[0].shape))
        if inputs[0].numel() > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    upstream.upstream.register_forward_pre_hook(refuse)
    return upstream, asked


@pytest.mark.parametrize("stored", [True, False])
def test_groups_are_halved_until_they_fit(
    tmp_path, wavs, tiny_models, caplog, fresh_warnings, stored
):
    model = tiny_models["wavlm", "layer"]
    longest = 12 * 1600

    def features_of(upstream):
        if stored:
            return fill(tmp_path / upstream.name, wavs, upstream, dtype="float32")
        return open_features(upstream, wavs, max_batch_seconds=2.5)

    plain, (small, asked) = Watched(model), too_small(model, longest)
    plain.name, small.name = "plain", "small"
    wanted = read_batches(features_of(plain), wavs)
    found = read_batches(features_of(small), wavs)
    assert found.keys() == wanted.keys() == wavs.keys()
    for key, clip in found.items():
        assert clip.shape == wanted[key].shape
        torch.testing.assert_close(clip, wanted[key], rtol=0, atol=2e-5)
    refused = [shape for shape in asked if shape[0] * shape[1] > longest]
    assert len(refused) > 1
    assert sum(n for n, width in asked if n * width <= longest) == len(wavs)
    messages = [r.getMessage() for r in caplog.records if "memory" in r.getMessage()]
    assert len(messages) == 1
    assert "the memory of cpu does not suffice for a group of clips" in messages[0]
    assert "halves, which can change last bits" in messages[0]


@pytest.mark.parametrize("stored", [True, False])
def test_a_clip_that_does_not_fit_alone_is_named(
    tmp_path, wavs, tiny_models, fresh_warnings, stored
):
    lengths = {key: path.stat().st_size for key, path in wavs.items()}
    largest = max(lengths, key=lengths.get)
    samples = (lengths[largest] - 44) // 2
    upstream, _ = too_small(tiny_models["wavlm", "layer"], samples - 1)
    words = rf"{largest}.*: the memory of cpu .* clip of {samples / 16000:.1f} s: take"
    live = open_features(upstream, wavs, max_batch_seconds=2.5)
    with pytest.raises(InputError, match=words):
        fill(tmp_path / "cache", wavs, upstream) if stored else read_batches(live, wavs)
    assert len(list(tmp_path.rglob("*.safetensors"))) < len(wavs)


def test_the_clip_that_does_not_fit_is_not_another_of_its_group(tiny_models):
    upstream, _ = too_small(tiny_models["wavlm", "layer"], 9000)
    waves = [torch.zeros(n) for n in (8000, 4000, 9001)]
    with pytest.raises(InputError, match=r"^c: the memory of cpu .* of 0.6 s"):
        compute.compute_layers(upstream.upstream, waves, ["a", "b", "c"])
