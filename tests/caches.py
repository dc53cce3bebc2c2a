"""Small corpora and their caches, for tests of the cache. Nothing here is a test."""

import contextlib
import multiprocessing
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader

from sercorr.features import StoredFeatures, extract, extraction
from sercorr.features.store import FeatureStore
from sercorr.lobes.upstream import load_upstream, upstream_info

MAX_SECONDS = 2.5  # of a group; makes groups of one to six of the clips below

# processes that start quickly and share no threads with this one
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["sercorr.features.sources", "transformers.models.hubert.modeling_hubert"]
)


def write_clips(folder: Path, number: int) -> dict[str, Path]:
    """Write clips of 0.3 to 1.2 s of noise, some equally long: id -> path."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    wavs = {}
    for index in range(number):
        sound = 0.1 * rng.standard_normal(1600 * int(rng.integers(3, 13)))
        wavs[f"clip{index:02d}"] = path = folder / f"clip{index:02d}.wav"
        soundfile.write(path, sound, 16000, subtype="PCM_16")
    return wavs


class Watched:
    """An upstream that notes what is asked of it, and calls ``before(call)``."""

    def __init__(self, source, before=lambda call: None):
        self.upstream = load_upstream(str(source))
        self.info, self.frames = self.upstream.info, self.upstream.frames
        self.loads, self.groups = 0, []

        def watch(_module, inputs):
            self.groups.append(len(inputs[0]))
            assert inputs[0].numel() <= MAX_SECONDS * 16000
            before(len(self.groups))

        self.upstream.register_forward_pre_hook(watch)

    def load(self, device="cpu"):
        self.loads += 1
        return self.upstream.to(device)


def make_store(cache: Path, source="fbank", dtype="float16") -> FeatureStore:
    """Make the store of an upstream."""
    return FeatureStore(cache, upstream_info(str(source)), dtype)


def fill(
    cache: Path, wavs: dict[str, Path], source="fbank", dtype="float16", **options
) -> StoredFeatures:
    """Extract all clips in groups; ``source`` names an upstream, or is one."""
    upstream = source if hasattr(source, "load") else load_upstream(str(source))
    options = {
        "cache_folder": cache,
        "cache_dtype": dtype,
        "progress": False,
        **options,
    }
    with mock.patch.object(extraction, "CPU_SECONDS", MAX_SECONDS):
        return extract(upstream, wavs, **options)


def fill_slowly(cache: Path, wavs: dict[str, Path], model: str) -> None:
    """Extract with a pause before each group: time to be killed in."""
    fill(cache, wavs, Watched(model, lambda call: time.sleep(0.1)))


def entries(store: FeatureStore) -> dict[str, bytes]:
    """Return all entries of a store, also temporary ones, by name."""
    paths = (store.folder / "entries").rglob("*")
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def entry_of(features: StoredFeatures, identity: str) -> Path:
    """Say where a clip's entry is."""
    return features.store.path(features.digests[identity])


def flip_bit(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0] ^ 1 << bit % 8
        file.seek(bit // 8)
        file.write(bytes([byte]))


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk in memory; the test is skipped where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a mounted disk: its size, or ``ro`` for reading only."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def read_batches(features, wavs, workers=0) -> dict[str, torch.Tensor]:
    """Read all clips into memory of their own: what is mapped follows its file."""
    items = {
        key: {"wav": str(path), "start": 0.0, "end": None, "target": 1}
        for key, path in wavs.items()
    }
    dataset = DynamicItemDataset(items)
    features.add_to(dataset)
    dataset.set_output_keys(["id", features.item, "target"])
    found = {}
    loader = DataLoader(dataset, 4, collate_fn=features.collate, num_workers=workers)
    for batch in loader:
        if workers and features.item == "layers":
            # one open file per batch, or there would soon be too many
            assert (
                len({clip.untyped_storage().data_ptr() for clip in batch.layers}) == 1
            )
        clips = features.clips(batch.to("cpu"))
        found |= {k: clip.clone() for k, clip in zip(batch.id, clips, strict=True)}
    return found
