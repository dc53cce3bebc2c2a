"""The feature store: what is written is read, and nothing else is believed."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from caches import entries, fill, flip_bit, make_store, write_clips
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
def store(tmp_path):
    """Return a store with one entry of random features."""
    store = make_store(tmp_path / "cache")
    store.open_for_writing()
    layers = torch.randn(1, 9, 80, generator=torch.Generator().manual_seed(0))
    store.write(KEY, layers, samples=1280)
    return store


@pytest.fixture
def filled(tmp_path):
    """Return the features of five clips."""
    return fill(tmp_path / "cache", write_clips(tmp_path / "wavs", 5))


def make_old(path, days):
    """Set a file's time back."""
    then = time.time() - days * 86400
    os.utime(path, (then, then))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read(tmp_path, dtype):
    store = make_store(tmp_path, dtype=dtype)
    layers = 100 * torch.randn(1, 7, 80, generator=torch.Generator().manual_seed(1))
    store.write(KEY, layers, samples=960)
    got = store.read(KEY)
    assert got.dtype == DTYPES[dtype]
    assert torch.equal(got, layers.to(DTYPES[dtype]))
    assert torch.equal(store.read(KEY, verify=False), got)
    size = store.path(KEY).stat().st_size
    assert got.nbytes < size <= store.entry_bytes(7) < size + 512
    header = store.check(KEY)
    assert (header.samples, header.shape) == (960, (1, 7, 80))
    # any program reads it as safetensors
    assert torch.equal(load_file(store.path(KEY))["layers"], got)
    with safe_open(store.path(KEY), "pt") as file:
        (text,) = file.metadata().values()
    said = json.loads(text)
    assert said.pop("checksum")
    signature = store.folder.name.removeprefix("fbank-")
    assert said == {"signature": signature, "audio": KEY, "samples": 960}
    # equal features make equal files
    content = store.path(KEY).read_bytes()
    store.write(KEY, layers.transpose(0, 1).contiguous().transpose(0, 1), samples=960)
    assert store.path(KEY).read_bytes() == content


@pytest.mark.skipif(
    not os.path.exists("/proc/self/maps"), reason="needs Linux's list of mapped files"
)
def test_reading_maps_the_file(store):
    """Memory is that of the file: its pages appear in the list of mapped files."""
    layers = store.read(KEY, verify=False)
    with open("/proc/self/maps") as maps:
        assert KEY in maps.read()
    store.write(KEY, torch.zeros(1, 9, 80), samples=1280)  # a new file, not that one
    assert layers.abs().max() > 0.1


def test_missing_entries_and_wrong_shapes(store):
    other = "0" * 64
    assert store.has(KEY)
    assert not store.has(other)
    with pytest.raises(MissingEntryError, match=f"{other}.*extract the features"):
        store.read(other)
    for shape in ((2, 9, 80), (1, 9, 81), (9, 80)):
        with pytest.raises(ValueError, match=r"layers must be \(1, T, 80\) \(got"):
            store.write(KEY, torch.zeros(shape), samples=1280)
    assert list(entries(store)) == [f"{KEY}.safetensors"]


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


@pytest.mark.parametrize("size", [0, 7, 200, -1, 1])
def test_truncated_and_longer_entries_are_found_quickly(store, size):
    path = store.path(KEY)
    os.truncate(path, size if size > 1 or size == 0 else path.stat().st_size + size)
    assert not store.has(KEY)
    with pytest.raises(BadEntryError, match="truncated, too long or damaged"):
        store.read(KEY, verify=False)


def test_foreign_entries_are_found(store, tmp_path):
    """Whole entries of another precision or another clip, and other files."""
    path = store.path(KEY)
    other = make_store(tmp_path / "other", dtype="bfloat16")
    other.write(KEY, torch.zeros(1, 9, 80), samples=1280)
    clip = "cd" * 32
    store.path(clip).parent.mkdir()
    shutil.copy(path, store.path(clip))
    with pytest.raises(BadEntryError, match=f"foreign: its audio is {KEY}"):
        store.read(clip)
    shutil.copy(other.path(KEY), path)
    with pytest.raises(BadEntryError, match="foreign: its signature is"):
        store.read(KEY)
    path.write_bytes(b"RIFF" + bytes(2000))
    with pytest.raises(BadEntryError, match="damaged"):
        store.read(KEY)


def test_the_folder_follows_from_all_that_decides_the_values(tmp_path):
    for name, options in (
        ("a", {"seed": 0}),
        ("b", {"seed": 1}),
        ("c", {"seed": 0, "do_normalize": False}),
    ):
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


def test_about_says_what_is_signed(store, capsys):
    path = store.folder / "about.json"
    about = json.loads(path.read_text())
    assert about["dtype"] == "float16"
    assert about["upstream"]["digest"] == upstream_info("fbank").digest
    assert "source" not in about["upstream"]
    about["upstream"]["digest"] = "0" * 64
    path.write_text(json.dumps(about))
    assert verify_cache(store.folder.parent) == 1
    assert "about.json: foreign: it describes fbank-" in capsys.readouterr().out
    store.open_for_writing()
    assert verify_cache(store.folder.parent) == 0


def test_info(filled, capsys, tmp_path):
    show_info(tmp_path / "cache")
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "fbank-" in line)
    checked = [filled.store.check(digest) for digest in filled.digests.values()]
    hours = sum(header.samples for header in checked) / 16000 / 3600
    assert filled.store.folder.name in row
    assert "fbank, 1 x 80, weights" in row
    assert row.split()[-5:-2] == ["float16", "5", f"{hours:.2f}"]
    for folder in (tmp_path / "wavs", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="give the cache_folder of a run"):
            show_info(folder)


def test_looking_after_a_store_imports_no_torch(filled, tmp_path):
    program = (
        "import sys\nfrom sercorr.features import maintenance as m\n"
        f"m.show_info({str(tmp_path / 'cache')!r})\n"
        f"m.verify_cache({str(tmp_path / 'cache')!r})\n"
        "assert not {'torch', 'transformers', 'speechbrain'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_verify_names_and_removes_what_is_bad(filled, capsys, tmp_path):
    cache, store = tmp_path / "cache", filled.store
    assert verify_cache(cache) == 0
    assert capsys.readouterr().out == "5 files checked, 0 bad\n"
    digests = list(filled.digests.values())
    flipped, cut = store.path(digests[0]), store.path(digests[1])
    flip_bit(flipped, 8 * 2000 + 3)
    os.truncate(cut, 1000)
    notes = store.folder / "entries" / "notes.txt"
    notes.write_text("mine")
    misplaced = notes.with_name(f"{digests[2]}.safetensors")
    shutil.copy(store.path(digests[2]), misplaced)
    assert verify_cache(cache) == 1
    out = capsys.readouterr().out
    assert "7 files checked, 4 bad" in out
    assert f"{flipped}: corrupt: the checksum of its bytes" in out
    assert f"{cut}: truncated" in out
    assert f"{notes}: truncated" in out
    assert f"{misplaced}: foreign: its audio is {digests[2]}" in out
    assert verify_cache(cache, remove=True) == 1
    assert capsys.readouterr().out.count("; removed") == 4
    assert verify_cache(cache) == 0
    assert capsys.readouterr().out == "3 files checked, 0 bad\n"


def test_prune_takes_leftovers_and_damaged_files_only(filled, capsys, tmp_path):
    cache, store = tmp_path / "cache", filled.store
    good = entries(store)
    cut = store.path(list(filled.digests.values())[1])
    os.truncate(cut, 1000)
    leftover, fresh = cut.with_name(".leftover.tmp"), cut.with_name(".fresh.tmp")
    for path in (leftover, fresh, store.folder / ".about.x.json"):
        path.write_bytes(bytes(500))
    make_old(leftover, days=0.1)
    make_old(store.folder / ".about.x.json", days=0.1)
    prune_cache(cache, dry_run=True)
    assert "would remove 3 files and folders, 2.0 kB" in capsys.readouterr().out
    assert cut.exists()
    assert leftover.exists()
    prune_cache(cache)
    assert "removed 3 files and folders" in capsys.readouterr().out
    assert entries(store).keys() == (good.keys() | {fresh.name}) - {cut.name}
    assert not (store.folder / ".about.x.json").exists()


def test_prune_leaves_what_is_being_written(filled, capsys, tmp_path, monkeypatch):
    """Another process prunes at the moment before the new name is given."""
    replace = os.replace

    def prune_before(old, new):
        prune_cache(tmp_path / "cache")
        replace(old, new)

    monkeypatch.setattr(os, "replace", prune_before)
    filled.store.write(KEY, torch.ones(1, 9, 80), samples=1280)
    assert capsys.readouterr().out == "removed 0 files and folders, 0 bytes\n"
    assert filled.store.check(KEY).samples == 1280


def test_prune_removes_whole_folders_on_request(filled, tmp_path):
    cache, wavs = tmp_path / "cache", write_clips(tmp_path / "wavs", 5)
    first = filled.store.folder
    second = fill(cache, wavs, dtype="float32").store.folder
    third = fill(cache, wavs, dtype="bfloat16").store.folder
    with pytest.raises(InputError, match="no features 'nothing'; there are fbank-"):
        prune_cache(cache, signature="nothing")
    prune_cache(cache, signature=second.name)
    assert (first.exists(), second.exists(), third.exists()) == (True, False, True)
    for path in [first, *first.rglob("*")]:
        make_old(path, days=2)
    prune_cache(cache, older_than=3)
    assert first.exists()
    prune_cache(cache, older_than=1)
    assert (first.exists(), third.exists()) == (False, True)
