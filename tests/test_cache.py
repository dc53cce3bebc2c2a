"""The feature store: what is written is read, and nothing else is believed."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from caches import entries, entry_of, fill, flip_bit, make_store, write_clips
from models import build_model
from safetensors import safe_open
from safetensors.torch import load_file

from sercorr.errors import InputError
from sercorr.features.entry import BadEntryError, MissingEntryError
from sercorr.features.maintenance import prune_cache, show_info, verify_cache
from sercorr.features.store import DTYPES, FeatureStore
from sercorr.lobes.upstream import upstream_info

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def store(cache):
    """Return a store with one entry of random features."""
    store = make_store(cache)
    layers = torch.randn(1, 9, 80, generator=torch.Generator().manual_seed(0))
    store.write(KEY, layers, samples=1280)
    return store


@pytest.fixture
def filled(tmp_path, cache):
    """Return the features of five clips."""
    return fill(cache, write_clips(tmp_path / "wavs", 5))


def make_old(*paths, days):
    """Set the times of files back."""
    then = time.time() - days * 86400
    for path in paths:
        os.utime(path, (then, then))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read(tmp_path, dtype):
    store = make_store(tmp_path, dtype=dtype)
    layers = 100 * torch.randn(1, 7, 80, generator=torch.Generator().manual_seed(1))
    store.write(KEY, layers, samples=960)
    got = store.read(KEY)
    assert got.dtype == getattr(torch, dtype)
    assert torch.equal(got, layers.to(got.dtype))
    assert torch.equal(store.read(KEY, verify=False), got)
    size = store.path(KEY).stat().st_size
    assert got.nbytes < size <= store.entry_bytes(7) < size + 512
    # any program reads it as safetensors
    assert torch.equal(load_file(store.path(KEY))["layers"], got)
    with safe_open(store.path(KEY), "pt") as file:
        assert file.metadata() == {
            "sercorr": json.dumps(store.check(KEY)).replace(" ", "")
        }
    assert (store.check(KEY)["audio"], store.check(KEY)["samples"]) == (KEY, 960)
    # equal features make equal files
    content = store.path(KEY).read_bytes()
    store.write(KEY, layers.transpose(0, 1).contiguous().transpose(0, 1), samples=960)
    assert store.path(KEY).read_bytes() == content


def test_every_flipped_bit_is_found(store):
    path = store.path(KEY)
    good = path.read_bytes()
    header = 8 * (len(good) - 9 * 80 * 2)
    generator = torch.Generator().manual_seed(5)
    numbers = torch.randint(header, 8 * len(good), (60,), generator=generator)
    for bit in [*range(header), *numbers.tolist()]:
        flip_bit(path, bit)
        with pytest.raises(BadEntryError, match=f"{KEY}.*extract"):
            store.check(KEY)
        if bit >= header:
            assert store.has(KEY)  # it looks whole
            with pytest.raises(BadEntryError, match=f"{KEY}.*corrupt.*checksum"):
                store.read(KEY)
        flip_bit(path, bit)
    assert path.read_bytes() == good
    assert store.check(KEY)
    path.unlink()
    with pytest.raises(MissingEntryError, match=f"{KEY}.*extract the features"):
        store.read(KEY)


def test_truncated_and_foreign_entries_are_found_quickly(store, tmp_path):
    """Other sizes, another precision's entry, another clip's, and no entry at all."""
    path = store.path(KEY)
    good = path.read_bytes()
    other = make_store(tmp_path / "other", dtype="bfloat16")
    other.write(KEY, torch.zeros(1, 9, 80), samples=1280)
    store.write("cd" * 32, torch.zeros(1, 9, 80), samples=1280)
    damaged = "truncated, too long or damaged"
    for content, message in (
        *((good[:size], damaged) for size in (0, 7, 200, -1)),
        (good + b"0", damaged),
        (b"RIFF" + bytes(2000), damaged),
        (other.path(KEY).read_bytes(), "foreign: its signature is"),
        (store.path("cd" * 32).read_bytes(), f"foreign: its audio is {'cd' * 32}"),
    ):
        path.write_bytes(content)
        assert not store.has(KEY)
        with pytest.raises(BadEntryError, match=message):
            store.read(KEY, verify=False)


def test_the_folder_follows_from_all_that_decides_the_values(tmp_path):
    for name, options in {
        "a": {},
        "b": {"seed": 1},
        "c": {"do_normalize": False},
    }.items():
        build_model(tmp_path / name, "wav2vec2", "group", **options)
    stores = [make_store(tmp_path, tmp_path / name) for name in "abc"]
    stores += [make_store(tmp_path, tmp_path / "a", d) for d in ("bfloat16", "float32")]
    half = upstream_info(str(tmp_path / "a")).at_precision("bf16")
    stores.append(FeatureStore(tmp_path, half))
    assert len({store.folder for store in stores}) == 6
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    moved = make_store(tmp_path, tmp_path / "elsewhere")
    assert moved.folder == stores[0].folder  # the path decides nothing
    with pytest.raises(InputError, match="cache_dtype is 'int8'; it must be one of"):
        make_store(tmp_path, dtype="int8")


def test_info_and_verification_import_no_torch(filled, cache, tmp_path):
    program = (
        "import sys\nfrom sercorr.features import maintenance as m\n"
        f"m.show_info({str(cache)!r})\nm.verify_cache({str(cache)!r})\n"
        "assert not {'torch', 'transformers', 'speechbrain'} & sys.modules.keys()"
    )
    out = subprocess.check_output([sys.executable, "-c", program], text=True)
    *_, row, free, verified = out.splitlines()
    samples = [filled.store.check(d)["samples"] for d in filled.digests.values()]
    assert row.strip().startswith(f"{filled.store.folder.name} ")
    assert "fbank, 1 x 80, weights" in row
    hours = f"{sum(samples) / 16000 / 3600:.2f}"
    assert row.split()[-5:-2] == ["float16", "5", hours]
    assert free.endswith(f" free in {cache}")
    assert verified == "5 files checked, 0 bad"
    for folder in (tmp_path / "wavs", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="give the cache_folder of a run"):
            show_info(folder)


def test_verify_names_and_removes_what_is_bad(filled, cache, capsys):
    flipped, cut = entry_of(filled, "clip00"), entry_of(filled, "clip01")
    flip_bit(flipped, 8 * 2000 + 3)
    os.truncate(cut, 1000)
    misplaced = flipped.with_name(entry_of(filled, "clip02").name)
    shutil.copy(entry_of(filled, "clip02"), misplaced)
    about = filled.store.folder / "about.json"
    about.write_text(about.read_text().replace("float16", "float32"))
    assert verify_cache(cache) == 1
    out = capsys.readouterr().out
    assert "6 files checked, 4 bad" in out
    for path, reason in (
        (about, "foreign: it describes fbank-"),
        (flipped, "corrupt: its bytes do not fit their checksum"),
        (cut, "truncated"),
        (misplaced, f"foreign: its audio is {misplaced.stem}"),
    ):
        assert f"{path}: {reason}" in out
    assert verify_cache(cache, remove=True) == 1
    assert capsys.readouterr().out.count("; removed") == 3
    filled.store.open_for_writing()
    assert verify_cache(cache) == 0
    assert capsys.readouterr().out == "3 files checked, 0 bad\n"


def test_prune_takes_leftovers_and_damaged_files_only(filled, cache, capsys):
    store, cut = filled.store, entry_of(filled, "clip01")
    good = entries(store)
    os.truncate(cut, 1000)
    leftover, fresh = cut.with_name(".leftover.tmp"), cut.with_name(".fresh.tmp")
    about = store.folder / ".about.x.json"
    for path in (leftover, fresh, about):
        path.write_bytes(bytes(500))
    make_old(leftover, about, days=0.1)
    prune_cache(cache, dry_run=True)
    assert "would remove 3 files and folders, 2.0 kB" in capsys.readouterr().out
    assert all(path.exists() for path in (cut, leftover, about))
    prune_cache(cache)
    assert "removed 3 files and folders" in capsys.readouterr().out
    assert entries(store).keys() == (good.keys() | {fresh.name}) - {cut.name}
    assert not about.exists()


def test_prune_removes_whole_folders_on_request(filled, cache, tmp_path):
    first = filled.store.folder
    wavs = write_clips(tmp_path / "wavs", 5)
    second = fill(cache, wavs, dtype="float32").store.folder
    with pytest.raises(InputError, match="no features 'nothing'; there are fbank-"):
        prune_cache(cache, signature="nothing")
    make_old(first, *first.rglob("*"), days=2)
    prune_cache(cache, older_than=3)
    assert first.exists()
    prune_cache(cache, older_than=1)
    assert (first.exists(), second.exists()) == (False, True)
    prune_cache(cache, signature=second.name[-16:])
    assert not second.exists()
