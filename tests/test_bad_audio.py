"""Clips that cannot be used: reported at once, or left out and listed."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from diary import make_diary, plan, prepare
from releases import read_manifests

from sercorr.data.utterances import Corpus
from sercorr.errors import InputError


@pytest.fixture
def own(tmp_path) -> Corpus:
    """A small corpus, to be spoilt."""
    return make_diary(tmp_path / "own")


def spoil(corpus: Corpus) -> dict[str, str]:
    """Spoil five clips; return id -> complaint."""
    root = Path(corpus.data_folder)
    (root / "day1/day1-00.wav").unlink()
    (root / "day1/day1-05.wav").write_bytes(b"")
    (root / "day10/day10-01.wav").write_bytes(b"no audio at all" * 99)
    whole = (root / "day2/day2-02.wav").read_bytes()
    (root / "day2/day2-02.wav").write_bytes(whole[:2044])
    soundfile.write(root / "day2/day2-11.wav", np.zeros(399), 16000)
    return {
        "day1/day1-00": "missing: there is no such file",
        "day1/day1-05": "empty: the file has 0 bytes",
        "day10/day10-01": "not readable as audio",
        "day2/day2-02": "truncated: its header promises",
        "day2/day2-11": "too short: 399 samples",
    }


def require_complaints(bad: dict[str, str], lines: Sequence[str]) -> None:
    for (name, complaint), line in zip(bad.items(), lines, strict=True):
        assert re.search(rf"/{name}\.wav: {complaint}.*\(labelled in labels", line)


def test_all_unusable_clips_are_reported_at_once(own, tmp_path):
    bad = spoil(own)
    with pytest.raises(InputError) as caught:
        plan(own, tmp_path / "out")
    head, *lines, remedy = str(caught.value).splitlines()
    assert head == "5 clips cannot be used:"
    require_complaints(bad, lines)
    assert remedy == "mend them, or leave them out with --skip_bad_audio True"
    assert not (tmp_path / "out").exists()


def test_unusable_clips_are_left_out_and_listed(own, tmp_path, capsys):
    out = tmp_path / "out"
    whole = shutil.copytree(own.data_folder, tmp_path / "whole")
    bad = spoil(own)
    made = prepare(own, out, skip_bad_audio=True)
    assert (len(made.clips), made.skipped) == (31, 5)
    names = {name for manifest in read_manifests(out).values() for name in manifest}
    assert names == set(made.clips)
    assert not names & {name.split("/")[1] for name in bad}
    require_complaints(bad, (out / "skipped_audio.txt").read_text().splitlines())
    assert sum(made.counts["day1"].values()) == 10
    again = plan(own, out, skip_bad_audio=True)
    assert not again.fresh
    assert (again.clips, again.counts) == (made.clips, made.counts)
    for each in (made, again):
        each.report()
        note = f"note: 5 unusable clips left out, listed in {out / 'skipped_audio.txt'}"
        assert note in capsys.readouterr().out
    # Mended, the clips come back and the list goes.
    shutil.copytree(whole, own.data_folder, dirs_exist_ok=True)
    assert len(prepare(own, out, skip_bad_audio=True).clips) == 36
    assert not (out / "skipped_audio.txt").exists()


def test_a_long_list_of_unusable_clips_is_cut(own, tmp_path):
    for day in ("day1", "day2"):
        shutil.rmtree(Path(own.data_folder) / day)
    with pytest.raises(InputError, match=r"24 clips cannot be used") as caught:
        plan(own, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert sum("missing" in line for line in lines) == 20
    assert "and 4 more" in lines
    with pytest.raises(
        InputError, match=r"fold 1 \(day day1\) would have an empty test"
    ):
        plan(own, tmp_path / "out", skip_bad_audio=True)
    assert not (tmp_path / "out").exists()


def test_other_rates_and_channels_are_noted(own, tmp_path, capsys):
    path = Path(own.data_folder) / "day1/day1-00.wav"
    soundfile.write(path, np.zeros((44100, 2)), 44100)
    for _ in range(2):  # the second time from the record
        prepare(own, tmp_path / "out").report()
        note = (
            "note: 1 clips are not 16000 Hz mono .*day1-00 \\(44100 Hz, 2 channels\\)"
        )
        assert re.search(note, capsys.readouterr().out)
    entry = read_manifests(tmp_path / "out")[1, "test"]["day1-00"]
    assert entry["duration"] == 1.0
