"""Small corpora and their caches, for tests of the cache. Nothing here is a test."""

import contextlib
import multiprocessing
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader

from sercorr.features.extraction import StoredClips
from sercorr.features.store import FeatureStore
from sercorr.lobes.upstream import load_upstream, upstream_info

MAX_SECONDS = 2.5
"""Makes several groups of the clips below, of one to six clips."""

SERVER = multiprocessing.get_context("forkserver")
"""Processes that start quickly and share no threads with this one."""
SERVER.set_forkserver_preload(
    ["sercorr.features.sources", "transformers.models.hubert.modeling_hubert"]
)


def write_clips(folder: Path, number: int, seed: int = 0) -> dict[str, Path]:
    """Write clips of 0.3 to 1.2 s of noise: id -> path."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    wavs = {}
    for index in range(number):
        samples = int(rng.uniform(0.3, 1.2) * 16000)
        path = folder / f"clip{index:02d}.wav"
        sound = 0.1 * rng.standard_normal(samples)
        soundfile.write(path, sound, 16000, subtype="PCM_16")
        wavs[path.stem] = path
    return wavs


class Watched:
    """An upstream in the place of a lazy one, which notes what is asked of it.

    Arguments
    ---------
    source : path
        A model's folder, or ``fbank``.
    before : callable or None
        Called with the number of the call before each group is computed.
    """

    def __init__(self, source, before=None):
        self.upstream = load_upstream(str(source))
        self.info, self.frames = self.upstream.info, self.upstream.frames
        self.loads, self.groups = 0, []

        def watch(_module, inputs):
            self.groups.append(len(inputs[0]))
            if before is not None:
                before(len(self.groups))

        self.upstream.register_forward_pre_hook(watch)

    def load(self, device="cpu"):
        """Give the upstream."""
        self.loads += 1
        return self.upstream.to(device)


def make_store(cache: Path, source="fbank", dtype="float16") -> FeatureStore:
    """Make the store of an upstream."""
    return FeatureStore(cache, upstream_info(str(source)), dtype)


def fill(
    cache: Path,
    wavs: dict[str, Path],
    source="fbank",
    dtype="float16",
    *,
    verify: bool = False,
    **options,
) -> StoredClips:
    """Extract all clips in groups, without progress bars.

    ``source`` names an upstream, or is one.
    """
    upstream = source if hasattr(source, "load") else load_upstream(str(source))
    options = {"max_seconds": MAX_SECONDS, "progress": False, **options}
    stored = StoredClips(upstream, wavs, cache, dtype, **options)
    stored.fill(verify)
    return stored


def entries(store: FeatureStore) -> dict[str, bytes]:
    """Return all entries of a store, also temporary ones, by name."""
    return {
        path.name: path.read_bytes()
        for path in (store.folder / "entries").rglob("*")
        if path.is_file()
    }


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
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a mounted disk: its size, or ``ro`` for reading only."""
    command = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(command, check=True)


def read_batches(
    features, wavs: dict[str, Path], workers: int = 0, size: int = 4
) -> dict[str, list[torch.Tensor]]:
    """Read clips once through a dataset and a loader: id -> its layers."""
    dataset = DynamicItemDataset(
        {key: {"wav": str(path), "target": 1} for key, path in wavs.items()}
    )
    features.add_to(dataset)
    dataset.set_output_keys(["id", features.item, "target"])
    loader = DataLoader(dataset, size, collate_fn=features.collate, num_workers=workers)
    found: dict[str, list[torch.Tensor]] = {}
    for batch in loader:
        for key, clip in zip(batch.id, features.clips(batch.to("cpu")), strict=True):
            found.setdefault(key, []).append(clip)
    return found
