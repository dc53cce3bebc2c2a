"""Small corpora and their caches, for tests of the cache. Nothing here is a test."""

import contextlib
import multiprocessing
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sercorr.features.extraction import CachedClips, extract
from sercorr.features.store import ENTRIES, FeatureStore
from sercorr.lobes.upstream import load_upstream, upstream_info

MAX_SECONDS = 2.5
"""Makes several groups of the clips below, of one to six clips."""

SERVER = multiprocessing.get_context("forkserver")
"""Processes that start quickly and share no threads with this one."""
SERVER.set_forkserver_preload(
    ["sercorr.features.extraction", "transformers.models.hubert.modeling_hubert"]
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


def make_store(cache: Path, source="fbank", dtype="float16") -> FeatureStore:
    """Make the store of an upstream."""
    return FeatureStore(cache, upstream_info(str(source)), dtype)


def fill(
    cache: Path, wavs: dict[str, Path], source="fbank", dtype="float16", **options
) -> CachedClips:
    """Extract all clips without progress bars."""
    store = make_store(cache, source, dtype)
    options = {"max_seconds": MAX_SECONDS, "progress": False, **options}
    return extract(lambda: load_upstream(str(source)), store, wavs, **options)


def entries(store: FeatureStore) -> dict[str, bytes]:
    """Return all files of a store, also temporary ones, by name."""
    return {
        path.name: path.read_bytes()
        for path in (store.folder / ENTRIES).rglob("*")
        if path.is_file()
    }


def flip_bit(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


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
